//! What every panel shows, written down for `cargo xtask pictures`, which draws it.
//!
//! One JSON file for each dashboard: its panels with kind, unit and place, and the answers to their queries as named
//! series over time, or as a table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::now;

/// The folder to write into; none unless somebody wants pictures.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("TIDEWATCH_ALBUM").map(PathBuf::from)
}

/// Writes one dashboard.
pub fn write(folder: &Path, name: &str, title: &str, panels: Vec<Value>) {
    fs::create_dir_all(folder).unwrap();
    let board = json!({"name": name, "title": title, "panels": panels});
    fs::write(folder.join(format!("{name}.json")), board.to_string()).unwrap();
}

/// What answers come to: numbers over time by name, and rows of text by column.
#[derive(Clone, Default)]
pub struct Shown {
    series: BTreeMap<String, Vec<(f64, f64)>>,
    /// In the order in which they came.
    columns: Vec<String>,
    rows: Vec<BTreeMap<String, String>>,
    /// Documents found, by whoever counts them.
    hits: Option<u64>,
}

/// Columns of Flux that name no series.
const UNNAMED: [&str; 9] =
    ["", "result", "table", "_time", "_value", "_start", "_stop", "_measurement", "window"];

impl Shown {
    /// A number of a series.
    pub fn number(&mut self, name: &str, millis: f64, value: f64) {
        if value.is_finite() {
            self.series.entry(name.to_owned()).or_default().push((millis, value));
        }
    }

    /// A row of a table.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, String)>) {
        let mut row = BTreeMap::new();
        for (column, text) in cells {
            if !self.columns.contains(&column) {
                self.columns.push(column.clone());
            }
            row.insert(column, text);
        }
        self.rows.push(row);
    }

    /// Rows of an answer, to the query `reference` where a panel has several. Each table is a series, called by what all
    /// its rows have in common.
    pub fn flux(&mut self, reference: Option<&str>, rows: &[BTreeMap<String, String>]) {
        let table = |row: &BTreeMap<String, String>| row.get("table").cloned();
        for row in rows {
            let is_common = |column: &str, text: &str| {
                let mut peers = rows.iter().filter(|peer| table(peer) == table(row));
                peers.all(|peer| peer.get(column).is_some_and(|other| other == text))
            };
            let named =
                row.iter().filter(|(c, text)| !UNNAMED.contains(&c.as_str()) && !text.is_empty());
            let number = row.get("_value").and_then(|text| text.parse::<f64>().ok());
            let time = row.get("_time").and_then(|text| text.parse::<jiff::Timestamp>().ok());
            if let (Some(number), Some(time)) = (number, time) {
                let common = named.filter(|(column, text)| is_common(column, text));
                let name: Vec<&str> =
                    reference.into_iter().chain(common.map(|(_, text)| text.as_str())).collect();
                self.number(&name.join(" "), time.as_millisecond() as f64, number);
            } else {
                let time = row.get("_time").map(|t| ("time".to_owned(), t.clone()));
                let value = row.get("_value").map(|v| ("value".to_owned(), v.clone()));
                let named = named.map(|(c, text)| (c.clone(), text.clone()));
                self.row(time.into_iter().chain(named).chain(value));
            }
        }
    }

    /// An answer of Elasticsearch: documents, or buckets.
    pub fn elastic(&mut self, answer: &Value) {
        self.hits = answer["hits"]["total"]["value"].as_u64();
        if answer["aggregations"].is_object() {
            self.buckets(&answer["aggregations"], "", None);
            return;
        }
        for hit in answer["hits"]["hits"].as_array().into_iter().flatten() {
            let source = &hit["_source"];
            let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
            let columns = [
                ("time", &source["@timestamp"]),
                ("level", &source["log"]["level"]),
                ("service", &source["service"]["name"]),
                ("message", &source["message"]),
            ];
            let present = columns.into_iter().filter(|(_, value)| !value.is_null());
            self.row(present.map(|(column, value)| (column.to_owned(), text(value))));
        }
    }

    fn buckets(&mut self, aggregations: &Value, name: &str, time: Option<f64>) {
        let parts = aggregations.as_object().into_iter().flatten();
        let mut numbers = Vec::new();
        for (_, part) in parts.filter(|(id, _)| *id != "key") {
            numbers.extend(part["value"].as_f64());
            for bucket in part["buckets"].as_array().into_iter().flatten() {
                // Times have no text of their own that a term has not.
                match (&bucket["key"], bucket["key"].as_f64().filter(|key| *key > 1e12)) {
                    (_, Some(millis)) => self.buckets(bucket, name, Some(millis)),
                    (Value::String(key), None) => {
                        self.buckets(bucket, &format!("{name} {key}"), time);
                    }
                    (key, None) => self.buckets(bucket, &format!("{name} {key}"), time),
                }
            }
        }
        let is_leaf = !aggregations
            .as_object()
            .into_iter()
            .flatten()
            .any(|(_, part)| part["buckets"].is_array());
        if !is_leaf {
            return;
        }
        if numbers.is_empty() {
            numbers.extend(aggregations["doc_count"].as_f64());
        }
        match time {
            Some(millis) => {
                numbers.first().into_iter().for_each(|n| self.number(name.trim(), millis, *n));
            }
            None => {
                let cells = numbers.iter().enumerate().map(|(i, n)| (format!("value {i}"), n));
                let cells = cells.map(|(column, number)| (column, format!("{number:.2}")));
                self.row([("name".to_owned(), name.trim().to_owned())].into_iter().chain(cells));
            }
        }
    }

    /// The panel that shows it. `format` is the unit, and how one number is made of many where one is shown: `sum`, or
    /// the last.
    pub fn panel(self, title: &str, kind: &str, format: (&str, &str), place: &Value) -> Value {
        let series = self.series.into_iter();
        let series: Vec<Value> = series
            .map(|(name, mut points)| {
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                json!({"name": name, "points": points})
            })
            .collect();
        let rows = self.rows.iter().map(|row| {
            let cell = |column| row.get(column).cloned().unwrap_or_default();
            self.columns.iter().map(cell).collect::<Vec<_>>()
        });
        json!({
            "title": title, "kind": kind, "unit": format.0, "reduce": format.1,
            "x": place["x"], "y": place["y"], "w": place["w"], "h": place["h"],
            "series": series, "columns": self.columns, "rows": rows.collect::<Vec<_>>(),
            "hits": self.hits, "to": now(),
        })
    }
}
