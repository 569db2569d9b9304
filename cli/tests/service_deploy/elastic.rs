//! Requests to Elasticsearch as Grafana's and Kibana's data sources build them, and their answers.

use serde_json::{Value, json};
use tidewatch_testkit::elasticsearch::Elastic;

/// The part of a search that says which documents: a span of time and a query in Lucene's words.
pub fn filter(query: &str, from: u64, to: u64) -> Value {
    let mut all =
        vec![json!({"range": {"@timestamp": {"gte": from, "lte": to, "format": "epoch_millis"}}})];
    if !query.is_empty() {
        all.push(json!({"query_string": {"analyze_wildcard": true, "query": query}}));
    }
    json!({"bool": {"filter": all}})
}

/// Buckets of `interval` over the whole span.
pub fn date_histogram(interval: &str, min_doc_count: u64, from: u64, to: u64) -> Value {
    json!({"date_histogram": {
        "field": "@timestamp", "fixed_interval": interval, "min_doc_count": min_doc_count,
        "extended_bounds": {"min": from, "max": to}, "format": "epoch_millis",
    }})
}

/// Buckets of the values of `field`.
pub fn terms(field: &str, size: u64, by: &str, order: &str) -> Value {
    json!({"terms": {"field": field, "size": size, "order": {by: order}, "min_doc_count": 1}})
}

/// `inner` within each of the buckets, the first being the outermost.
pub fn nested(buckets: Vec<(String, Value)>, inner: &Value) -> Value {
    buckets.into_iter().rev().fold(inner.clone(), |inner, (id, mut bucket)| {
        if inner.as_object().is_some_and(|inner| !inner.is_empty()) {
            bucket["aggs"] = inner;
        }
        json!({id: bucket})
    })
}

/// Sends a search.
pub fn search(elastic: &Elastic, index: &str, body: &Value) -> Result<Value, String> {
    let path = format!("/{index}/_search?ignore_unavailable=false");
    let answer = elastic.request("POST", &path, &body.to_string()).map_err(|e| e.to_string())?;
    if !answer.is_success() {
        return Err(format!("{}: {}", answer.status, answer.body));
    }
    serde_json::from_str(&answer.body).map_err(|error| error.to_string())
}

/// All numbers that the innermost aggregations of an answer hold.
pub fn numbers(aggregations: &Value) -> Vec<f64> {
    let mut found = Vec::new();
    for (name, value) in aggregations.as_object().into_iter().flatten() {
        if let Some(buckets) = value["buckets"].as_array() {
            for bucket in buckets {
                let inner = numbers(bucket);
                if inner.is_empty() {
                    found.extend(bucket["doc_count"].as_f64());
                }
                found.extend(inner);
            }
        } else if name != "key" {
            found.extend(value["value"].as_f64());
        }
    }
    found
}

/// Whether the metric `id` has a number in any bucket: of a field that does not exist it has none.
pub fn has_number(aggregations: &Value, id: &str) -> bool {
    aggregations[id]["value"].is_number()
        || aggregations.as_object().into_iter().flatten().any(|(_, value)| {
            let buckets = value["buckets"].as_array().into_iter().flatten();
            buckets.into_iter().any(|bucket| has_number(bucket, id))
        })
}

/// The keys of the outermost buckets whose documents are not none.
pub fn keys(aggregation: &Value) -> Vec<String> {
    let buckets = aggregation["buckets"].as_array().into_iter().flatten();
    let full = buckets.filter(|bucket| bucket["doc_count"].as_u64() > Some(0));
    full.map(|bucket| {
        bucket["key"].as_str().map_or_else(|| bucket["key"].to_string(), str::to_owned)
    })
    .collect()
}
