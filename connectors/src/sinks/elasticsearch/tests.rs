//! Documents, and the writer behind the driver against a scripted cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::record::{Level, LogLine, PartitionId, Topics};
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::http::{Fake, Recorded, Reply};
use tokio::runtime::Handle;

use super::document::Naming;
use super::*;
use crate::delivery::{Delivery, DeliveryState, SinkHandle};
use crate::sinks::sample::{Breakable, hurried, until};

fn topics() -> Topics {
    Topics::new(["server-logs", "app-logs"])
}

fn line(offset: i64) -> LogLine {
    LogLine {
        partition: PartitionId { topic: 1, partition: 3 },
        offset,
        index: 0,
        generation: 0,
        event_time: EventTime::from_millis(1_795_376_400_120),
        level: Level::Error,
        host: "web-1".into(),
        service: "shop".into(),
        message: "payment \"failed\"\nretrying".into(),
        extra: Box::default(),
    }
}

fn naming() -> Naming {
    Naming { index: "logs".into(), topics: topics() }
}

#[test]
fn a_document_is_the_same_bytes_each_time() {
    let line = LogLine { extra: "{\"b\": [1, 0.1],\n \"a\": {\"x\": null}}".into(), ..line(42) };
    let document = naming().document(&line).unwrap();
    assert_eq!(document.index, "logs-2026.11.22");
    assert_eq!(document.id, "0-server-logs-3-42-0");
    assert_eq!(
        serde_json::to_string(&document.body).unwrap(),
        concat!(
            r#"{"@timestamp":"2026-11-22T19:40:00.120Z","log":{"level":"ERROR"},"#,
            r#""host":{"name":"web-1"},"service":{"name":"shop"},"#,
            r#""message":"payment \"failed\"\nretrying","fields":{"a":{"x":null},"b":[1,0.1]}}"#
        )
    );
    let plain = self::line(1);
    let body = serde_json::to_value(naming().document(&plain).unwrap().body).unwrap();
    assert_eq!(body.get("fields"), None);
}

#[test]
fn the_longest_identity_fits() {
    let topics = Topics::new(["t".repeat(249)]);
    let line = LogLine {
        partition: PartitionId { topic: 0, partition: i32::MIN },
        offset: i64::MIN,
        index: u32::MAX,
        generation: u32::MAX,
        ..line(0)
    };
    let naming = Naming { topics, ..naming() };
    assert!(naming.document(&line).unwrap().id.len() <= 512);
}

#[test]
fn lines_that_are_no_documents_are_named() {
    let late = LogLine { event_time: EventTime::MAX, ..line(0) };
    assert_eq!(naming().document(&late).unwrap_err().reason.as_str(), "time_out_of_range");
    for extra in ["[1]", "{", "\"x\""] {
        let line = LogLine { extra: extra.into(), ..line(0) };
        assert_eq!(naming().document(&line).unwrap_err().reason.as_str(), "unparseable");
    }
}

#[test]
fn the_order_of_foreign_keys_is_fixed() {
    let value: Value = serde_json::from_str(r#"{"b":1,"a":2}"#).unwrap();
    assert_eq!(value.to_string(), r#"{"a":2,"b":1}"#, "serde_json keeps keys sorted in this build");
}

/// A cluster that keeps documents by index and id.
#[derive(Default)]
struct Cluster {
    documents: BTreeMap<(String, String), Value>,
    templates: BTreeMap<String, Value>,
    /// What the next bulk requests answer for each offset, instead of taking it.
    faults: Vec<BTreeMap<i64, Value>>,
}

const DOCUMENT_FAULT: &str = r#"{"status":400,"error":{"type":"document_parsing_exception",
    "reason":"failed to parse field [fields]","caused_by":{"type":"x","reason":"depth"}}}"#;

/// Operations and documents of a bulk request.
fn operations(request: &Recorded) -> Vec<(Value, Value)> {
    let text = request.text().unwrap();
    assert!(text.ends_with('\n'));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.chunks(2).map(|pair| (pair[0]["create"].clone(), pair[1].clone())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn offset(operation: &Value) -> i64 {
    text(&operation["_id"]).split('-').nth_back(1).unwrap().parse().unwrap()
}

impl Cluster {
    fn answer(&mut self, request: &Recorded) -> Reply {
        match (request.method.as_str(), request.path()) {
            ("HEAD", path) => {
                let known =
                    self.templates.contains_key(path.trim_start_matches("/_index_template/"));
                Reply::status(if known { 200 } else { 404 })
            }
            ("PUT", path) if path.starts_with("/_index_template/") => {
                let name = path.trim_start_matches("/_index_template/").to_owned();
                self.templates.insert(name, request.json().unwrap());
                Reply::json(200, &json!({"acknowledged": true}))
            }
            ("POST", "/_bulk") => {
                let faults =
                    if self.faults.is_empty() { BTreeMap::new() } else { self.faults.remove(0) };
                let mut items = Vec::new();
                for (operation, document) in operations(request) {
                    let key = (text(&operation["_index"]), text(&operation["_id"]));
                    let outcome = match faults.get(&offset(&operation)) {
                        Some(fault) => fault.clone(),
                        None if self.documents.contains_key(&key) => json!({"status": 409, "error":
                            {"type": "version_conflict_engine_exception", "reason": "exists"}}),
                        None => {
                            self.documents.insert(key, document);
                            json!({"status": 201})
                        }
                    };
                    items.push(json!({"create": outcome}));
                }
                Reply::json(200, &json!({"items": items}))
            }
            _ => Reply::status(405),
        }
    }
}

fn start(cluster: Cluster) -> (Fake, Arc<Mutex<Cluster>>) {
    let cluster = Arc::new(Mutex::new(cluster));
    let shared = Arc::clone(&cluster);
    (Fake::start_with(move |request| shared.lock().unwrap().answer(request)).unwrap(), cluster)
}

fn config(url: &str) -> ElasticsearchConfig {
    serde_json::from_value(json!({"url": url, "index": "logs", "batch_items": 8})).unwrap()
}

type Dead = Arc<Mutex<Vec<(i64, String)>>>;

fn sink_of(config: &ElasticsearchConfig) -> (SinkHandle<LogLine>, Dead) {
    let dead = Dead::default();
    let letters = Arc::clone(&dead);
    let delivery = hurried(config.delivery());
    let writer = config.open(topics()).unwrap();
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

fn sink(fake: &Fake) -> (SinkHandle<LogLine>, Dead) {
    sink_of(&config(&fake.url("")))
}

fn offsets(cluster: &Mutex<Cluster>) -> Vec<i64> {
    let cluster = cluster.lock().unwrap();
    let mut offsets: Vec<i64> =
        cluster.documents.keys().map(|(_, id)| offset(&json!({"_id": id}))).collect();
    offsets.sort_unstable();
    offsets
}

#[tokio::test]
async fn lines_are_created_once_in_the_index_of_their_day() {
    let (fake, cluster) = start(Cluster::default());
    let (sink, _) = sink(&fake);
    let next_day = EventTime::from_millis(1_795_392_000_000);
    sink.offer(vec![line(1), LogLine { event_time: next_day, ..line(2) }]);
    fake.enqueue(Reply::status(404));
    let closed = sink.close(Duration::from_secs(10)).await;
    assert_eq!((closed.snapshot.delivered, closed.left.len()), (2, 0));
    let cluster = cluster.lock().unwrap();
    let keys: Vec<_> = cluster.documents.keys().cloned().collect();
    let key = |index: &str, id: &str| (index.to_owned(), id.to_owned());
    assert_eq!(
        keys,
        [
            key("logs-2026.11.22", "0-server-logs-3-1-0"),
            key("logs-2026.11.23", "0-server-logs-3-2-0")
        ]
    );
    let template = &cluster.templates["logs"];
    assert_eq!(template["index_patterns"], json!(["logs-*"]));
    let properties = &template["template"]["mappings"]["properties"];
    assert_eq!(properties["fields"]["type"], "flattened");
    assert_eq!(properties["log"]["properties"]["level"]["type"], "keyword");
    let requests = fake.requests();
    let asked: Vec<_> = requests.iter().map(|r| format!("{} {}", r.method, r.path())).collect();
    assert_eq!(asked, ["HEAD /_index_template/logs", "PUT /_index_template/logs", "POST /_bulk"]);
    assert!(requests[1].target.contains("create=true"));
}

#[tokio::test]
async fn a_lost_answer_stores_nothing_twice() {
    let (fake, cluster) = start(Cluster::default());
    cluster.lock().unwrap().templates.insert("logs".into(), json!({}));
    fake.enqueue_after_effect(Reply::status(200));
    fake.enqueue_after_effect(Reply::hang_up());
    fake.enqueue_after_effect(Reply::status(200).body("{\"items\":[]}"));
    fake.enqueue_after_effect(Reply::status(200).body("<html>"));
    let (sink, dead) = sink(&fake);
    sink.offer((0..5).map(line).collect());
    let closed = sink.close(Duration::from_secs(10)).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.retried), (5, 15));
    assert_eq!(offsets(&cluster), [0, 1, 2, 3, 4]);
    assert!(dead.lock().unwrap().is_empty());
    assert!(cluster.lock().unwrap().templates["logs"].get("version").is_none(), "left alone");
}

#[tokio::test]
async fn items_are_judged_one_by_one_and_by_position() {
    let fault: Value = serde_json::from_str(DOCUMENT_FAULT).unwrap();
    let busy = json!({"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "full"}});
    let first = BTreeMap::from([
        (1, busy.clone()),
        (2, fault.clone()),
        (
            4,
            json!({"status": 503, "error": {"type": "unavailable_shards_exception", "reason": "x"}}),
        ),
        (5, json!({"status": 403, "error": {"type": "cluster_block_exception", "reason": "x"}})),
        (
            6,
            json!({"status": 400, "error": {"type": "validation_exception", "reason": "maximum shards"}}),
        ),
    ]);
    let second = BTreeMap::from([(1, busy), (5, fault)]);
    let (fake, cluster) = start(Cluster { faults: vec![first, second], ..Cluster::default() });
    let (sink, dead) = sink(&fake);
    sink.offer((0..7).map(line).collect());
    let snapshot = until(&sink, |s| s.queued == 0).await;
    assert_eq!((snapshot.delivered, snapshot.rejected, snapshot.retried), (5, 2, 4 + 1));
    assert_eq!(offsets(&cluster), [0, 1, 3, 4, 6]);
    let dead = dead.lock().unwrap();
    assert_eq!(dead.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [2, 5]);
    let detail =
        "rejected: 400: document_parsing_exception: failed to parse field [fields]: x: depth";
    assert_eq!(dead[0].1, detail);
    let sent: Vec<Vec<i64>> = fake
        .requests()
        .iter()
        .filter(|r| r.path() == "/_bulk")
        .map(|r| operations(r).iter().map(|(operation, _)| offset(operation)).collect())
        .collect();
    assert_eq!(sent, [vec![0, 1, 2, 3, 4, 5, 6], vec![1, 4, 5, 6], vec![1]]);
}

#[tokio::test]
async fn a_blocked_index_holds_and_alarms() {
    let error = json!({"type": "cluster_block_exception", "reason": "index blocked"});
    let blocked = json!({"items": [{"create": {"status": 403, "error": error}}]});
    let (_fake, cluster) = start(Cluster::default());
    let shared = Arc::clone(&cluster);
    let server = Breakable::start(Reply::json(200, &blocked), move |request| {
        shared.lock().unwrap().answer(request)
    });
    let (sink, _) = sink(&server.fake);
    sink.offer(vec![line(0)]);
    let snapshot = until(&sink, |s| s.retried > 2).await;
    assert_eq!(snapshot.state, DeliveryState::Refused);
    assert!(snapshot.last_error.unwrap().contains("403: cluster_block_exception: index blocked"));
    server.mend();
    assert_eq!(sink.close(Duration::from_secs(10)).await.snapshot.delivered, 1);
    assert_eq!(offsets(&cluster), [0]);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved() {
    let (big, cluster) = start(Cluster::default());
    let limit = Fake::start_with(move |request| {
        if request.path() == "/_bulk" && operations(request).len() > 2 {
            return Reply::status(413);
        }
        cluster.lock().unwrap().answer(request)
    })
    .unwrap();
    let (first, _) = sink(&limit);
    first.offer((0..7).map(line).collect());
    assert_eq!(first.close(Duration::from_secs(10)).await.snapshot.delivered, 7);
    drop(big);
    let fake = Fake::start_with(|request| {
        Reply::status(if request.path() == "/_bulk" { 413 } else { 200 })
    })
    .unwrap();
    let (second, dead) = sink(&fake);
    second.offer(vec![line(0), line(1)]);
    assert_eq!(second.close(Duration::from_secs(10)).await.snapshot.rejected, 2);
    assert!(dead.lock().unwrap()[0].1.starts_with("too_large"));
}

#[tokio::test]
async fn a_batch_of_long_lines_goes_out_in_several_requests() {
    let (fake, cluster) = start(Cluster::default());
    let (sink, _) = sink(&fake);
    let long = |offset| LogLine { message: "x".repeat(3 << 20).into(), ..line(offset) };
    cluster.lock().unwrap().faults =
        vec![BTreeMap::new(), BTreeMap::from([(3, json!({"status": 400}))])];
    sink.offer((0..5).map(long).collect());
    let closed = sink.close(Duration::from_secs(30)).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (4, 1));
    assert_eq!(offsets(&cluster), [0, 1, 2, 4]);
    let bulks: Vec<usize> = fake
        .requests()
        .iter()
        .filter(|r| r.path() == "/_bulk")
        .map(|r| operations(r).len())
        .collect();
    assert_eq!(bulks, [2, 2, 1]);
}

#[tokio::test]
async fn whole_answers_are_classified_and_tell_no_secret() {
    for (status, state) in [
        (429, DeliveryState::Retrying),
        (503, DeliveryState::Retrying),
        (401, DeliveryState::Refused),
        (403, DeliveryState::Refused),
        (404, DeliveryState::Refused),
        (406, DeliveryState::Refused),
    ] {
        let (_fake, cluster) = start(Cluster::default());
        let shared = Arc::clone(&cluster);
        let broken = Reply::status(status).body("user elastic, password s3cret: no");
        let server =
            Breakable::start(broken, move |request| shared.lock().unwrap().answer(request));
        // The template is found, what comes after is not taken.
        server.fake.enqueue(Reply::status(200));
        let config = ElasticsearchConfig {
            username: Some("elastic".into()),
            password: Some(Secret::Given("s3cret".into())),
            ..config(&server.fake.url(""))
        };
        let (sink, _) = sink_of(&config);
        sink.offer(vec![line(0)]);
        let snapshot = until(&sink, |s| s.retried > 1).await;
        let error = snapshot.last_error.unwrap_or_default();
        assert_eq!(snapshot.state, state, "{status}: {error}");
        assert!(error.contains("password ***: no") && !error.contains("s3cret"), "{error}");
        let basic = Some("Basic ZWxhc3RpYzpzM2NyZXQ=");
        assert_eq!(server.fake.requests()[0].header("authorization"), basic);
        server.mend();
        assert_eq!(sink.close(Duration::from_secs(10)).await.snapshot.delivered, 1);
    }
}

#[tokio::test]
async fn a_template_that_cannot_be_had_holds_the_lines_and_missing_rights_do_not() {
    let (fake, cluster) = start(Cluster::default());
    fake.enqueue(Reply::status(404));
    fake.enqueue(
        Reply::status(400).body("No handler for type [flattened] declared on field [fields]"),
    );
    let (opensearch, _) = sink(&fake);
    opensearch.offer(vec![line(0)]);
    assert_eq!(opensearch.close(Duration::from_secs(10)).await.snapshot.delivered, 1);
    let put = cluster.lock().unwrap().templates["logs"].clone();
    assert_eq!(put["template"]["mappings"]["properties"]["fields"]["type"], "flat_object");

    let (_fake, cluster) = start(Cluster::default());
    let broken = Reply::status(400).body("multiple index templates may not match");
    let server = Breakable::start(broken, move |request| cluster.lock().unwrap().answer(request));
    server.fake.enqueue(Reply::status(404));
    let (refused, _) = sink(&server.fake);
    refused.offer(vec![line(0)]);
    let snapshot = until(&refused, |s| s.retried > 1).await;
    assert_eq!((snapshot.state, snapshot.queued), (DeliveryState::Refused, 1));
    server.mend();
    assert_eq!(
        refused.close(Duration::from_secs(10)).await.snapshot.delivered,
        1,
        "held till then"
    );

    for replies in [[403, 0], [404, 403]] {
        let (fake, cluster) = start(Cluster::default());
        replies.iter().filter(|s| **s > 0).for_each(|s| fake.enqueue(Reply::status(*s)));
        let (sink, _) = sink(&fake);
        sink.offer(vec![line(0)]);
        assert_eq!(sink.close(Duration::from_secs(10)).await.snapshot.delivered, 1);
        assert!(cluster.lock().unwrap().templates.is_empty());
    }
}

#[test]
fn the_configuration_has_the_documented_fields_and_no_others() {
    let read = |value: Value| serde_json::from_value::<ElasticsearchConfig>(value);
    let minimal = read(json!({"url": "http://es:9200"})).unwrap();
    assert_eq!((minimal.index.as_str(), minimal.batch_items.get()), ("tidewatch-logs", 5_000));
    minimal.validate().unwrap();
    assert!(read(json!({"url": "x", "shards": 3})).is_err());
    let secret = json!({"env": "X"});
    for (fields, field) in [
        (json!({"index": "Logs"}), "index"),
        (json!({"index": "-logs"}), "index"),
        (json!({"index": ""}), "index"),
        (json!({"username": "a"}), "username"),
        (json!({"password": secret}), "password"),
        (json!({"username": "a", "password": secret, "api_key": secret}), "api_key"),
    ] {
        let mut all = json!({"url": "http://es:9200"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let error = read(all).unwrap().validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}` is not usable")), "{error}");
    }
    let key = Some(Secret::Given("a b".into()));
    assert!(ElasticsearchConfig { api_key: key, ..minimal }.open(topics()).is_err());
}
