//! Kibana's objects: references resolve, fields exist, and each search and visualisation finds something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::album::{self, Shown};
use crate::elastic;
use crate::world::{World, now, shipped};

type Key = (String, String);

/// All objects by type and identity.
pub fn objects() -> BTreeMap<Key, Value> {
    let text = shipped("kibana/tidewatch.ndjson");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let keyed = lines.map(|object| (key(&object), object));
    keyed.collect()
}

fn key(object: &Value) -> Key {
    (object["type"].as_str().unwrap().to_owned(), object["id"].as_str().unwrap().to_owned())
}

/// JSON that an object holds as text.
fn inside(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

struct Look<'a> {
    world: &'a World,
    objects: BTreeMap<Key, Value>,
    from: u64,
    to: u64,
    /// Fields in use, by index pattern.
    fields: BTreeMap<String, BTreeSet<String>>,
    /// What was found for each search and visualisation.
    shown: BTreeMap<Key, Shown>,
}

/// Executes everything.
pub fn check(world: &World, faults: &mut Vec<String>) {
    let objects = objects();
    let mut look = Look {
        world,
        objects: objects.clone(),
        from: world.start,
        to: now() + 1_000,
        fields: BTreeMap::new(),
        shown: BTreeMap::new(),
    };
    for ((kind, id), object) in &objects {
        let outcome = match kind.as_str() {
            "index-pattern" => look.data_view(object),
            "search" => look.search(object),
            "visualization" => look.visualization(object),
            "dashboard" => look.dashboard(object),
            other => Err(format!("no object may be a `{other}` before this test knows it")),
        };
        if let Err(fault) = outcome {
            faults.push(format!("kibana: {kind} {id}: {fault}"));
        }
    }
    if let Some(folder) = album::folder() {
        for ((_, id), board) in objects.iter().filter(|((kind, _), _)| kind == "dashboard") {
            look.picture(&folder, id, board);
        }
    }
    for (index, fields) in &look.fields {
        let list = fields.iter().cloned().collect::<Vec<_>>().join(",");
        let path = format!("/{index}/_field_caps?fields={list}");
        let answer = world.elastic.request("GET", &path, "").unwrap();
        let known: Value = serde_json::from_str(&answer.body).unwrap();
        for field in fields.iter().filter(|field| known["fields"][field].is_null()) {
            faults.push(format!("kibana: `{index}` has no field `{field}`"));
        }
    }
}

impl Look<'_> {
    /// The object that a reference of `object` called `name` points to.
    fn referred(&self, object: &Value, name: &str) -> Result<&Value, String> {
        let references = object["references"].as_array().unwrap();
        let found = references.iter().find(|reference| reference["name"] == name);
        let found = found.ok_or(format!("no reference `{name}`"))?;
        self.objects.get(&key(found)).ok_or(format!("`{name}` points to nothing: {found}"))
    }

    /// The index pattern behind a reference.
    fn index(&self, object: &Value, name: &str) -> Result<String, String> {
        let view = self.referred(object, name)?;
        Ok(view["attributes"]["title"].as_str().ok_or("it is no data view")?.to_owned())
    }

    /// Keeps an answer for the picture.
    fn show(&mut self, object: &Value, answer: &Value) {
        self.shown.entry(key(object)).or_default().elastic(answer);
    }

    fn uses(&mut self, index: &str, field: &str) {
        self.fields.entry(index.to_owned()).or_default().insert(field.to_owned());
    }

    fn data_view(&mut self, object: &Value) -> Result<(), String> {
        let attributes = &object["attributes"];
        let index = attributes["title"].as_str().unwrap().to_owned();
        self.uses(&index, attributes["timeFieldName"].as_str().unwrap());
        for part in ["fieldAttrs", "fieldFormatMap"] {
            for field in inside(&attributes[part]).as_object().unwrap().keys() {
                self.uses(&index, field);
            }
        }
        Ok(())
    }

    /// Index and query of an object with a search source.
    fn source(&self, object: &Value) -> Result<(String, String), String> {
        let source = inside(&object["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let name = source["indexRefName"].as_str().ok_or("no data view")?;
        if source["query"]["language"] != "lucene" {
            return Err("its query is not in Lucene's words, which this test executes".to_owned());
        }
        Ok((self.index(object, name)?, source["query"]["query"].as_str().unwrap().to_owned()))
    }

    fn found(&self, index: &str, query: &str, aggs: &Value) -> Result<Value, String> {
        let filter = elastic::filter(query, self.from, self.to);
        let mut body = json!({"size": 10, "query": filter, "sort": [{"@timestamp": "desc"}]});
        if aggs.as_object().is_some_and(|aggs| !aggs.is_empty()) {
            body["aggs"] = aggs.clone();
        }
        let answer = elastic::search(&self.world.elastic, index, &body)?;
        let hits = answer["hits"]["total"]["value"].as_u64().unwrap();
        if hits == 0 { Err(format!("`{query}` finds nothing")) } else { Ok(answer) }
    }

    fn search(&mut self, object: &Value) -> Result<(), String> {
        let (index, query) = self.source(object)?;
        for column in object["attributes"]["columns"].as_array().unwrap() {
            self.uses(&index, column.as_str().unwrap());
        }
        let answer = self.found(&index, &query, &Value::Null)?;
        self.show(object, &answer);
        Ok(())
    }

    fn visualization(&mut self, object: &Value) -> Result<(), String> {
        let state = inside(&object["attributes"]["visState"]);
        if state["title"] != object["attributes"]["title"] {
            return Err("its two titles differ".to_owned());
        }
        if state["type"] == "metrics" {
            return self.time_series(object, &state["params"]);
        }
        let (index, query) = self.source(object)?;
        let (mut buckets, mut metrics) = (Vec::new(), Map::new());
        for part in state["aggs"].as_array().unwrap() {
            let (id, params) = (part["id"].as_str().unwrap(), &part["params"]);
            if let Some(field) = params["field"].as_str() {
                self.uses(&index, field);
            }
            match part["type"].as_str().unwrap() {
                "count" => {}
                "date_histogram" => {
                    let built = elastic::date_histogram("30s", 1, self.from, self.to);
                    buckets.push((id.to_owned(), built));
                }
                "terms" => {
                    let metric = params["orderBy"].as_str().unwrap();
                    let counts = state["aggs"].as_array().unwrap().iter();
                    let is_count =
                        counts.clone().any(|a| a["id"] == metric && a["type"] == "count");
                    let by = if is_count { "_count" } else { metric };
                    let field = params["field"].as_str().unwrap();
                    let size = params["size"].as_u64().unwrap();
                    let order = params["order"].as_str().unwrap();
                    buckets.push((id.to_owned(), elastic::terms(field, size, by, order)));
                }
                kind @ ("avg" | "max" | "cardinality") => {
                    metrics.insert(id.to_owned(), json!({kind: {"field": params["field"]}}));
                }
                other => return Err(format!("this test does not know `{other}`")),
            }
        }
        let aggs = elastic::nested(buckets, &Value::Object(metrics.clone()));
        let answer = self.found(&index, &query, &aggs)?;
        if let Some(id) =
            metrics.keys().find(|id| !elastic::has_number(&answer["aggregations"], id))
        {
            return Err(format!("the metric {id} has no number"));
        }
        self.show(object, &answer);
        let has_aggs = aggs.as_object().is_some_and(|aggs| !aggs.is_empty());
        let sum: f64 = elastic::numbers(&answer["aggregations"]).iter().sum();
        if has_aggs && sum <= 0.0 { Err(format!("no bucket: {aggs}")) } else { Ok(()) }
    }

    /// A visualisation of the time series builder, with its annotations.
    fn time_series(&mut self, object: &Value, params: &Value) -> Result<(), String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let index = self.index(object, &text(&params["index_pattern_ref_name"]))?;
        let query = text(&params["filter"]["query"]);
        for series in params["series"].as_array().unwrap() {
            let field = text(&series["terms_field"]);
            self.uses(&index, &field);
            let terms = elastic::terms(&field, 10, &text(&series["terms_order_by"]), "desc");
            let time = elastic::date_histogram("30s", 0, self.from, self.to);
            let aggs = elastic::nested(vec![("a".into(), terms), ("b".into(), time)], &Value::Null);
            let answer = self.found(&index, &query, &aggs)?;
            self.show(object, &answer);
            let names = elastic::keys(&answer["aggregations"]["a"]);
            if !["pay", "billing"].iter().all(|name| names.iter().any(|found| found == name)) {
                return Err(format!("services with errors are {names:?}"));
            }
        }
        for annotation in params["annotations"].as_array().unwrap() {
            let index = self.index(object, &text(&annotation["index_pattern_ref_name"]))?;
            for field in text(&annotation["fields"]).split(',') {
                self.uses(&index, field);
            }
            let answer =
                self.found(&index, &text(&annotation["query_string"]["query"]), &Value::Null)?;
            let marked = answer["hits"]["total"]["value"].as_u64().unwrap();
            if marked != 3 {
                return Err(format!(
                    "{marked} bursts are marked, not those of pay, billing and switchd"
                ));
            }
        }
        Ok(())
    }

    /// Writes down what a dashboard shows. Kibana's grid is twice as fine as Grafana's.
    fn picture(&self, folder: &Path, id: &str, board: &Value) {
        let mut panels = Vec::new();
        for panel in inside(&board["attributes"]["panelsJSON"]).as_array().unwrap() {
            let name = format!(
                "{}:{}",
                panel["panelIndex"].as_str().unwrap(),
                panel["panelRefName"].as_str().unwrap()
            );
            let object = self.referred(board, &name).unwrap().clone();
            let half = |side: &str| panel["gridData"][side].as_u64().unwrap().div_ceil(2);
            let place = json!({"x": half("x"), "y": half("y"), "w": half("w"), "h": half("h")});
            let kind = match object["type"].as_str() {
                Some("search") => "logs".to_owned(),
                _ => inside(&object["attributes"]["visState"])["type"].as_str().unwrap().to_owned(),
            };
            let shown = self.shown.get(&key(&object)).cloned().unwrap_or_default();
            let title = object["attributes"]["title"].as_str().unwrap();
            panels.push(shown.panel(title, &kind, ("", ""), &place));
        }
        let title = board["attributes"]["title"].as_str().unwrap();
        album::write(folder, &id.replace("tidewatch-dash-", "kibana-"), title, panels);
    }

    fn dashboard(&mut self, object: &Value) -> Result<(), String> {
        for panel in inside(&object["attributes"]["panelsJSON"]).as_array().unwrap() {
            let index = panel["panelIndex"].as_str().unwrap();
            let name = format!("{index}:{}", panel["panelRefName"].as_str().unwrap());
            let shown = self.referred(object, &name)?;
            if shown["type"] != panel["type"] {
                return Err(format!("panel {index} is no {}", panel["type"]));
            }
        }
        inside(&object["attributes"]["optionsJSON"]);
        Ok(())
    }
}
