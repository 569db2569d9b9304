//! Grafana's dashboards: each query of each panel, variable and annotation, sent as Grafana's data sources send it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::elastic;
use crate::world::{World, deploy, now, shipped};

/// What a panel's query gave: tables, each row by its columns, as text.
type Rows = Vec<BTreeMap<String, String>>;

/// The dashboards by file name.
pub fn dashboards() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(deploy().join("grafana/dashboards")).unwrap() {
        let path = entry.unwrap().path();
        let board = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        found.push((path.file_stem().unwrap().to_str().unwrap().to_owned(), board));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The indexes of the data sources, by uid, from the provisioning file.
fn indexes() -> BTreeMap<String, String> {
    let file: Value =
        serde_yaml_ng::from_str(&shipped("grafana/provisioning/datasources/tidewatch.yaml"))
            .unwrap();
    let sources = file["datasources"].as_array().unwrap().iter();
    let index = |source: &Value| {
        let uid = source["uid"].as_str()?.to_owned();
        Some((uid, source["jsonData"]["index"].as_str()?.to_owned()))
    };
    sources.filter_map(index).collect()
}

/// One look at the dashboards: the span of time, and what the variables stand at.
struct View<'a> {
    world: &'a World,
    indexes: BTreeMap<String, String>,
    from: u64,
    to: u64,
    host_regex: &'a str,
    service: &'a str,
}

impl View<'_> {
    /// Flux with Grafana's macros and variables put in.
    fn flux(&self, query: &str) -> String {
        query
            .replace("v.timeRangeStart", &rfc3339(self.from))
            .replace("v.timeRangeStop", &rfc3339(self.to))
            .replace("v.windowPeriod", "10000ms")
            .replace("v.defaultBucket", "\"tidewatch\"")
            .replace("${host:regex}", self.host_regex)
            .replace("${host}", "web-2")
    }

    fn lucene(&self, query: &str) -> String {
        query.replace("${host}", "web-2").replace("$service", self.service)
    }

    fn rows_of_flux(&self, query: &str) -> Result<Rows, String> {
        let flux = self.flux(query);
        if let Some(left) = ["${", "v."].iter().find(|mark| flux.contains(**mark)) {
            return Err(format!("`{left}` is left in {flux}"));
        }
        let csv = self.world.influx.query_csv(&flux).map_err(|error| error.to_string())?;
        Ok(rows(&csv))
    }

    /// As the Elasticsearch data source builds a search.
    fn elastic_body(&self, target: &Value) -> Value {
        let query = self.lucene(target["query"].as_str().unwrap_or_default());
        let filter = elastic::filter(&query, self.from, self.to);
        let metrics = target["metrics"].as_array().unwrap();
        let kind = metrics[0]["type"].as_str().unwrap();
        if matches!(kind, "logs" | "raw_data") {
            let settings = &metrics[0]["settings"];
            let size = settings["limit"].as_str().or(settings["size"].as_str()).unwrap();
            return json!({
                "size": size.parse::<u64>().unwrap(), "query": filter,
                "sort": [{"@timestamp": {"order": "desc", "unmapped_type": "boolean"}}],
            });
        }
        let mut inner = serde_json::Map::new();
        for metric in metrics.iter().filter(|metric| metric["type"] != "count") {
            let (id, kind) = (metric["id"].as_str().unwrap(), metric["type"].as_str().unwrap());
            inner.insert(id.to_owned(), json!({kind: {"field": metric["field"]}}));
        }
        let buckets = target["bucketAggs"].as_array().unwrap().iter().map(|bucket| {
            let settings = &bucket["settings"];
            let text = |key: &str| settings[key].as_str().unwrap().to_owned();
            let built = match bucket["type"].as_str().unwrap() {
                "date_histogram" => {
                    let interval = match text("interval") {
                        auto if auto == "auto" => "10s".to_owned(),
                        given => given,
                    };
                    let least = text("min_doc_count").parse().unwrap();
                    elastic::date_histogram(&interval, least, self.from, self.to)
                }
                "terms" => {
                    let field = bucket["field"].as_str().unwrap();
                    let size = text("size").parse().unwrap();
                    elastic::terms(field, size, &text("orderBy"), &text("order"))
                }
                other => panic!("no panel may use `{other}` before this test knows it"),
            };
            (bucket["id"].as_str().unwrap().to_owned(), built)
        });
        let aggs = elastic::nested(buckets.collect(), &Value::Object(inner));
        json!({"size": 0, "query": filter, "aggs": aggs})
    }

    /// Sends a query to Elasticsearch; how much came back.
    fn of_elastic(&self, target: &Value) -> Result<f64, String> {
        let uid = target["datasource"]["uid"].as_str().unwrap();
        let index = self.indexes.get(uid).ok_or(format!("no data source `{uid}`"))?;
        let answer = elastic::search(&self.world.elastic, index, &self.elastic_body(target))?;
        if answer["aggregations"].is_null() {
            let hits = answer["hits"]["hits"].as_array().unwrap();
            let complete = hits.iter().all(|hit| hit["_source"]["message"].is_string());
            return if complete {
                Ok(hits.len() as f64)
            } else {
                Err("a hit without message".into())
            };
        }
        let metrics = target["metrics"].as_array().unwrap().iter();
        for metric in metrics.filter(|metric| metric["type"] != "count") {
            if !elastic::has_number(&answer["aggregations"], metric["id"].as_str().unwrap()) {
                return Err(format!("no number of {metric}"));
            }
        }
        Ok(elastic::numbers(&answer["aggregations"]).iter().sum())
    }

    /// Sends a query to Prometheus; its numbers.
    fn of_prometheus(&self, target: &Value) -> Result<Vec<f64>, String> {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression.replace("$__rate_interval", "8s").replace("$instance", ".*");
        let series = self.world.prometheus.range(&expression)?;
        // A legend that names a label which no series has would show an empty name.
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            if let Some((metric, _)) = series.iter().find(|(metric, _)| metric[label].is_null()) {
                return Err(format!("the legend wants `{label}` of {metric}"));
            }
        }
        Ok(series.into_iter().flat_map(|(_, values)| values).collect())
    }

    fn target(&self, panel: &Value, target: &Value) -> Result<(), String> {
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        match target["datasource"]["type"].as_str().unwrap() {
            "influxdb" => {
                let rows = self.rows_of_flux(target["query"].as_str().unwrap())?;
                flux_rows(panel["type"].as_str().unwrap(), unit, &rows)
            }
            "elasticsearch" => match self.of_elastic(target)? {
                found if found > 0.0 => Ok(()),
                _ => Err(format!("empty: {}", self.elastic_body(target))),
            },
            "prometheus" => {
                let numbers = self.of_prometheus(target)?;
                match numbers.iter().any(|number| number.is_finite()) {
                    true if numbers.iter().all(|n| n.is_nan() || *n >= 0.0) => Ok(()),
                    true => Err(format!("a negative number in {numbers:?}")),
                    false => Err("no number".to_owned()),
                }
            }
            other => Err(format!("an unknown data source `{other}`")),
        }
    }
}

/// Whether a Flux answer has what a panel of its type and unit shows.
fn flux_rows(kind: &str, unit: Option<&str>, rows: &Rows) -> Result<(), String> {
    let Some(first) = rows.first() else { return Err("no row".to_owned()) };
    let wanted: &[&str] = match kind {
        "timeseries" | "status-history" | "heatmap" | "state-timeline" => &["_time", "_value"],
        "table" => &["_time", "rule", "severity", "value"],
        "bargauge" => &["host"],
        _ => &[],
    };
    if let Some(column) = wanted.iter().find(|column| !first.contains_key(**column)) {
        return Err(format!("there is no column `{column}` but {:?}", first.keys()));
    }
    let labels = ["_time", "_start", "_stop", "_field", "table", "result", "window", ""];
    let mut numbers = 0;
    for row in rows {
        for (column, value) in row.iter().filter(|(column, _)| !labels.contains(&column.as_str())) {
            let Ok(number) = value.parse::<f64>() else { continue };
            numbers += 1;
            if unit == Some("percent") && !(0.0..=100.0).contains(&number) {
                return Err(format!("`{column}` is {number}, no percentage"));
            }
        }
    }
    if numbers == 0 { Err("no number".to_owned()) } else { Ok(()) }
}

/// The tables of an answer in CSV.
fn rows(csv: &str) -> Rows {
    let mut rows = Vec::new();
    let mut header: Vec<String> = Vec::new();
    for line in csv.lines().map(str::trim_end) {
        if line.is_empty() {
            header.clear();
            continue;
        }
        let cells = line.split(',').map(str::to_owned);
        if header.is_empty() {
            header = cells.collect();
        } else {
            rows.push(header.iter().cloned().zip(cells).collect());
        }
    }
    rows
}

fn rfc3339(millis: u64) -> String {
    jiff::Timestamp::from_millisecond(millis.cast_signed()).unwrap().to_string()
}

/// Executes everything.
pub fn check(world: &World, faults: &mut Vec<String>) {
    let (from, to) = (world.start, now() + 1_000);
    let view =
        |host_regex, service| View { world, indexes: indexes(), from, to, host_regex, service };
    // As they stand at first, and with values chosen.
    let views = [view(".*", "*"), view(r"(web-2|db-1)", "(\"pay\" OR \"web\")")];
    for (name, board) in dashboards() {
        for view in &views {
            for panel in board["panels"].as_array().unwrap() {
                for target in panel["targets"].as_array().unwrap() {
                    if let Err(fault) = view.target(panel, target) {
                        let (title, reference) = (&panel["title"], &target["refId"]);
                        faults.push(format!("{name}: {title} {reference}: {fault}"));
                    }
                }
            }
            for annotation in board["annotations"]["list"].as_array().unwrap() {
                let mut target = annotation["target"].clone();
                target["datasource"] = annotation["datasource"].clone();
                // Only `web-2` is looked at as one host, whose incident is open.
                let is_end = annotation["name"] == "Incidents ended" && name == "host";
                match view.of_elastic(&target) {
                    Ok(found) if found > 0.0 || is_end => {}
                    found => faults.push(format!("{name}: {}: {found:?}", annotation["name"])),
                }
            }
        }
        for variable in board["templating"]["list"].as_array().unwrap() {
            variables(&views[0], &name, variable, faults);
        }
    }
    figures(&views[0], faults);
}

/// The values that a variable offers.
fn variables(view: &View<'_>, name: &str, variable: &Value, faults: &mut Vec<String>) {
    let found: Vec<String> = match variable["datasource"]["type"].as_str().unwrap() {
        "influxdb" => {
            let rows = view.rows_of_flux(variable["query"].as_str().unwrap()).unwrap_or_default();
            rows.into_iter().filter_map(|row| row.get("_value").cloned()).collect()
        }
        "elasticsearch" => {
            let query: Value = serde_json::from_str(variable["query"].as_str().unwrap()).unwrap();
            let field = query["field"].as_str().unwrap();
            let terms = elastic::terms(field, query["size"].as_u64().unwrap(), "_key", "asc");
            let filter = elastic::filter("", view.from, view.to);
            let body = json!({"size": 0, "query": filter, "aggs": {"1": terms}});
            let index = &view.indexes[variable["datasource"]["uid"].as_str().unwrap()];
            let answer = elastic::search(&view.world.elastic, index, &body).unwrap();
            elastic::keys(&answer["aggregations"]["1"])
        }
        _ => {
            let query = variable["query"]["query"].as_str().unwrap();
            let inside =
                query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')).unwrap();
            let (metric, label) = inside.split_once(", ").unwrap();
            view.world.prometheus.label_values(metric, label)
        }
    };
    let wanted: &[&str] = match variable["name"].as_str().unwrap() {
        "host" => &["web-1", "web-2", "db-1", "telegraf-host"],
        "service" => &["web", "pay", "billing"],
        _ => &["127.0.0.1"],
    };
    for value in wanted {
        if !found.iter().any(|found| found.starts_with(value)) {
            faults.push(format!("{name}: the variable {} offers {found:?}", variable["name"]));
        }
    }
}

/// Some panels, to the number.
fn figures(view: &View<'_>, faults: &mut Vec<String>) {
    let boards: BTreeMap<_, _> = dashboards().into_iter().collect();
    let rows = |board: &str, kind: &str, title: &str| {
        let panels = boards[board]["panels"].as_array().unwrap();
        let panel = panels.iter().find(|panel| panel["type"] == kind && panel["title"] == title);
        let panel = panel.unwrap_or_else(|| panic!("{board} has no {kind} `{title}`"));
        view.rows_of_flux(panel["targets"][0]["query"].as_str().unwrap()).unwrap()
    };
    let mut expect = |what: &str, holds: bool, rows: &Rows| {
        if !holds {
            faults.push(format!("{what}: {rows:?}"));
        }
    };
    let hosts = rows("fleet", "stat", "Hosts reporting");
    expect("four hosts report", hosts.len() == 1 && hosts[0]["hosts"] == "4", &hosts);
    let busiest = rows("fleet", "bargauge", "Busiest processors");
    let first = busiest.first().map(|row| (row["host"].as_str(), row["cpu"].parse::<f64>()));
    let burns = |row: Option<(&str, Result<f64, _>)>| row == Some(("web-2", Ok(97.5)));
    // The machine of this test may be busier still.
    let second = busiest.get(1).map(|row| (row["host"].as_str(), row["cpu"].parse::<f64>()));
    expect("web-2 is the busiest", burns(first) || burns(second), &busiest);
    let open = rows("fleet", "table", "Open incidents");
    let is_open = |host: &str| {
        open.iter()
            .any(|row| row["rule"] == "cpu_sustained" && row.get("host").is_some_and(|h| h == host))
    };
    expect("web-2 burns, db-1 does no longer", is_open("web-2") && !is_open("db-1"), &open);
    let timeline = rows("alerts", "state-timeline", "Incidents over time");
    let states: Vec<_> = timeline
        .iter()
        .filter(|row| row.get("host").is_some_and(|host| host == "db-1"))
        .map(|row| row["_value"].as_str())
        .collect();
    expect("db-1 opened and ended", states == ["1", "0"], &timeline);
}
