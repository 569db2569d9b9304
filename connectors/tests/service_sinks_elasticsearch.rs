//! The Elasticsearch sink against a real node: documents, identity, mapping, and every kind of refusal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidewatch_connectors::delivery::{
    Delivery, DeliveryConfig, DeliverySnapshot, DeliveryState, SinkHandle,
};
use tidewatch_connectors::sinks::elasticsearch::ElasticsearchConfig;
use tidewatch_dataflow::record::{Level, LogLine, PartitionId, Topics};
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::elasticsearch::Elastic;
use tidewatch_testkit::unique;
use tokio::runtime::Handle;

/// 2026-11-22 19:40:00 UTC.
const START: u64 = 1_795_376_400_000;

fn line(offset: i64) -> LogLine {
    LogLine {
        partition: PartitionId { topic: 0, partition: 3 },
        offset,
        index: 0,
        generation: 0,
        event_time: EventTime::from_millis(START + 120),
        level: Level::Error,
        host: "web-1".into(),
        service: "shop".into(),
        message: format!("payment {offset} \"failed\"\n\tretrying").into(),
        extra: Box::default(),
    }
}

type Dead = Arc<Mutex<Vec<(i64, String)>>>;

fn sink(elastic: &Elastic, index: &str) -> (SinkHandle<LogLine>, Dead) {
    let text = json!({"url": elastic.url(), "index": index, "batch_items": 200});
    let config: ElasticsearchConfig = serde_json::from_value(text).unwrap();
    let dead = Dead::default();
    let letters = Arc::clone(&dead);
    let delivery = DeliveryConfig {
        linger: Duration::ZERO,
        retry_delay_min: Duration::from_millis(5),
        retry_delay_max: Duration::from_millis(100),
        ..config.delivery()
    };
    let writer = config.open(Topics::new(["server-logs"])).unwrap();
    let sink = Delivery::spawn(
        &Handle::current(),
        "elasticsearch",
        writer,
        delivery,
        move |line, fault| {
            let detail = format!("{}: {}", fault.reason.as_str(), fault.detail);
            letters.lock().unwrap().push((line.offset, detail));
        },
    );
    (sink, dead)
}

async fn until(
    sink: &SinkHandle<LogLine>,
    what: impl Fn(&DeliverySnapshot) -> bool,
) -> DeliverySnapshot {
    let started = Instant::now();
    loop {
        let snapshot = sink.stats().snapshot();
        if what(&snapshot) {
            return snapshot;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{snapshot:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn close(sink: &SinkHandle<LogLine>) -> DeliverySnapshot {
    sink.close(Duration::from_secs(120)).await.snapshot
}

/// Sends a request that has to succeed.
fn ask(elastic: &Elastic, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = elastic.request(method, path, &body).unwrap();
    assert!(answer.is_success(), "{method} {path}: {} {}", answer.status, answer.body);
    serde_json::from_str(&answer.body).unwrap_or_default()
}

/// How many documents of `index` match `query`.
fn count(elastic: &Elastic, index: &str, query: &Value) -> u64 {
    ask(elastic, "POST", &format!("/{index}/_refresh"), &Value::Null);
    let found = ask(elastic, "POST", &format!("/{index}/_count"), &json!({"query": query}));
    found["count"].as_u64().unwrap()
}

fn ids(elastic: &Elastic, index: &str) -> BTreeSet<String> {
    let documents = elastic.documents(&format!("{index}-*")).unwrap();
    let ids: Vec<String> =
        documents.iter().map(|d| d["_id"].as_str().unwrap().to_owned()).collect();
    let set: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(ids.len(), set.len(), "an identity is stored twice");
    set
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_read_back_as_they_were_and_a_replay_adds_nothing() {
    let Some(elastic) = Elastic::shared() else { return };
    let index = unique("logs");
    let mut lines: Vec<LogLine> = (0..500).map(line).collect();
    lines[1].event_time = EventTime::from_millis(START + 86_400_000);
    lines[2].extra = r#"{"code": 500, "trace": {"id": "abc"}, "tags": ["x", "y"]}"#.into();
    lines[3].extra = r#"{"code": "none", "trace": "flat"}"#.into();
    lines[4].level = Level::Warn;
    for _ in 0..2 {
        let (sink, dead) = sink(elastic, &index);
        sink.offer(lines.clone());
        let snapshot = close(&sink).await;
        assert_eq!((snapshot.delivered, snapshot.queued), (500, 0), "{:?}", dead.lock().unwrap());
    }
    let expected: BTreeSet<String> = (0..500).map(|n| format!("0-server-logs-3-{n}-0")).collect();
    assert_eq!(ids(elastic, &index), expected);
    let documents = elastic.documents(&format!("{index}-*")).unwrap();
    let find = |offset: i64| {
        let id = json!(format!("0-server-logs-3-{offset}-0"));
        documents.iter().find(|document| document["_id"] == id).unwrap()
    };
    assert_eq!(find(0)["_index"], json!(format!("{index}-2026.11.22")));
    assert_eq!(find(1)["_index"], json!(format!("{index}-2026.11.23")));
    assert_eq!(
        find(2)["_source"],
        json!({
            "@timestamp": "2026-11-22T19:40:00.120Z",
            "log": {"level": "ERROR"},
            "host": {"name": "web-1"},
            "service": {"name": "shop"},
            "message": "payment 2 \"failed\"\n\tretrying",
            "fields": {"code": 500, "trace": {"id": "abc"}, "tags": ["x", "y"]},
        })
    );
    let pattern = format!("{index}-*");
    let term = |field: &str, value: &str| json!({"term": {field: value}});
    assert_eq!(count(elastic, &pattern, &term("log.level", "WARN")), 1);
    assert_eq!(count(elastic, &pattern, &term("host.name", "web-1")), 500);
    assert_eq!(count(elastic, &pattern, &term("fields.trace.id", "abc")), 1);
    assert_eq!(count(elastic, &pattern, &term("fields.code", "500")), 1);
    assert_eq!(count(elastic, &pattern, &json!({"match": {"message": "retrying"}})), 500);
    let day = json!({"range": {"@timestamp": {"gte": "2026-11-23"}}});
    assert_eq!(count(elastic, &pattern, &day), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_mapping_is_dead_lettered_alone() {
    let Some(elastic) = Elastic::shared() else { return };
    let index = unique("mapping");
    let (sink, dead) = sink(elastic, &index);
    let mut lines: Vec<LogLine> = (0..50).map(line).collect();
    // Deeper than a flattened field goes.
    lines[17].extra = format!("{}1{}", "{\"a\":".repeat(30), "}".repeat(30)).into();
    // Long values and names are kept, only not searched for.
    lines[18].extra = json!({"blob": "x".repeat(100_000)}).to_string().into();
    lines[19].host = "h".repeat(5_000).into();
    lines[20].message = "word ".repeat(40_000).into();
    sink.offer(lines);
    let snapshot = close(&sink).await;
    assert_eq!((snapshot.delivered, snapshot.rejected), (49, 1), "{:?}", dead.lock().unwrap());
    let dead = dead.lock().unwrap();
    assert_eq!(dead[0].0, 17);
    assert!(dead[0].1.starts_with("rejected: 400: "), "{}", dead[0].1);
    assert_eq!(ids(elastic, &index).len(), 49);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_index_holds_its_lines_and_only_those() {
    let Some(elastic) = Elastic::shared() else { return };
    for (setting, state) in [
        ("index.blocks.read_only_allow_delete", DeliveryState::Retrying),
        ("index.blocks.write", DeliveryState::Refused),
    ] {
        let index = unique("blocked");
        let (sink, dead) = sink(elastic, &index);
        sink.offer(vec![line(0)]);
        until(&sink, |s| s.delivered == 1).await;
        let settings = format!("/{index}-2026.11.22/_settings");
        ask(elastic, "PUT", &settings, &json!({setting: true}));
        let tomorrow = EventTime::from_millis(START + 86_400_000);
        sink.offer(vec![line(1), LogLine { event_time: tomorrow, ..line(2) }, line(3)]);
        until(&sink, |s| s.delivered == 2).await;
        let snapshot = until(&sink, |s| s.retried > 4 && s.state == state).await;
        assert_eq!(snapshot.queued, 2);
        let error = snapshot.last_error.unwrap_or_default();
        assert!(error.contains("cluster_block_exception"), "{error}");
        ask(elastic, "PUT", &settings, &json!({setting: null}));
        assert_eq!(close(&sink).await.delivered, 4);
        assert_eq!(ids(elastic, &index).len(), 4);
        assert!(dead.lock().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_somebody_changed_is_left_alone() {
    let Some(elastic) = Elastic::shared() else { return };
    let index = unique("template");
    let own = json!({
        "index_patterns": [format!("{index}-*")],
        "priority": 300,
        "template": {"mappings": {"dynamic": "strict", "properties": {"message": {"type": "text"}}}},
    });
    ask(elastic, "PUT", &format!("/_index_template/{index}"), &own);
    let (sink, dead) = sink(elastic, &index);
    sink.offer(vec![line(0)]);
    assert_eq!(close(&sink).await.rejected, 1);
    assert!(dead.lock().unwrap()[0].1.contains("strict_dynamic_mapping_exception"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_and_comes_back_gets_everything_exactly_once() {
    if Elastic::shared().is_none() {
        return;
    }
    // A small limit on requests, so that batches have to be halved as well.
    let mut elastic = Elastic::start_with(&[("http.max_content_length", "20kb")]).unwrap();
    let index = "outage";
    let (sink, dead) = sink(&elastic, index);
    sink.offer((0..400).map(line).collect());
    until(&sink, |s| s.delivered >= 100).await;
    elastic.kill();
    sink.offer((400..800).map(line).collect());
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    let huge = LogLine { message: "x".repeat(30_000).into(), ..line(5_000) };
    sink.offer(vec![huge]);
    sink.offer((800..1_000).map(line).collect());
    elastic.restart().unwrap();
    let closed = sink.close(Duration::from_secs(300)).await;
    assert_eq!(closed.left.len(), 0, "{:?}", closed.snapshot);
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (1_000, 1));
    let dead = dead.lock().unwrap();
    assert!(dead[0].0 == 5_000 && dead[0].1.starts_with("too_large"), "{dead:?}");
    let expected: BTreeSet<String> = (0..1_000).map(|n| format!("0-server-logs-3-{n}-0")).collect();
    assert_eq!(ids(&elastic, index), expected);
}
