//! The Elasticsearch sink against a real Elasticsearch and a real OpenSearch: documents, identity, mapping,
//! retention, and every kind of refusal. Each test is run on both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidewatch_connectors::delivery::{
    Delivery, DeliveryConfig, DeliverySnapshot, DeliveryState, SinkHandle,
};
use tidewatch_connectors::sinks::elasticsearch::{ElasticsearchConfig, ElasticsearchWriter};
use tidewatch_dataflow::alert::{
    EndReason, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::record::{Level, LogLine, PartitionId, Topics};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime};
use tidewatch_testkit::elasticsearch::{Dialect, Elastic};
use tidewatch_testkit::unique;
use tokio::runtime::Handle;

/// Each of these tests on each of the servers.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod elasticsearch {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Dialect::Elasticsearch).await;
            })*
        }
        mod opensearch {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Dialect::OpenSearch).await;
            })*
        }
    };
}

on_both!(
    lines_read_back_as_they_were_and_a_replay_adds_nothing,
    what_does_not_fit_the_mapping_is_dead_lettered_alone,
    a_blocked_index_holds_its_lines_and_only_those,
    a_shard_that_is_missing_holds_its_lines_and_only_those,
    a_template_that_somebody_changed_is_left_alone,
    openings_and_ends_are_documents_of_their_own,
    days_past_the_retention_are_deleted_and_nothing_else,
    a_node_in_trouble_gets_everything_exactly_once,
);

/// 2026-11-22 19:40:00 UTC.
const START: u64 = 1_795_376_400_000;
const DAY: Duration = Duration::from_secs(86_400);

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

fn config(elastic: &Elastic, index: &str) -> ElasticsearchConfig {
    let text = json!({"url": elastic.url(), "index": index, "batch_items": 200});
    serde_json::from_value(text).unwrap()
}

fn sink(elastic: &Elastic, index: &str) -> (SinkHandle<LogLine>, Dead) {
    let config = config(elastic, index);
    let writer = config.open(Topics::new(["server-logs"])).unwrap();
    spawn(&config, writer)
}

fn spawn(config: &ElasticsearchConfig, writer: ElasticsearchWriter) -> (SinkHandle<LogLine>, Dead) {
    let dead = Dead::default();
    let letters = Arc::clone(&dead);
    let delivery = DeliveryConfig {
        linger: Duration::ZERO,
        retry_delay_min: Duration::from_millis(5),
        retry_delay_max: Duration::from_millis(100),
        ..config.delivery()
    };
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

async fn lines_read_back_as_they_were_and_a_replay_adds_nothing(dialect: Dialect) {
    let Some(elastic) = Elastic::shared_as(dialect) else { return };
    let index = unique("logs");
    let mut lines: Vec<LogLine> = (0..500).map(line).collect();
    lines[1].event_time = EventTime::from_millis(START + 86_400_000);
    lines[2].extra = r#"{"code": 500, "trace": {"id": "abc"}, "tags": ["x", "y"]}"#.into();
    lines[3].extra = r#"{"code": "none", "trace": "flat"}"#.into();
    lines[4].level = Level::Warn;
    lines[5].extra = json!({"blob": "x".repeat(100_000), "none": null}).to_string().into();
    // The type of OpenSearch for further fields refuses long values.
    let refused: Option<i64> = (dialect == Dialect::OpenSearch).then_some(5);
    let taken = if refused.is_some() { 499 } else { 500 };
    for _ in 0..2 {
        let (sink, dead) = sink(elastic, &index);
        sink.offer(lines.clone());
        let snapshot = close(&sink).await;
        let dead = dead.lock().unwrap();
        assert_eq!((snapshot.delivered, snapshot.queued), (taken, 0), "{dead:?}");
        assert_eq!(
            dead.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(),
            Vec::from_iter(refused)
        );
    }
    let numbers = (0..500).filter(|n| Some(*n) != refused);
    let expected: BTreeSet<String> = numbers.map(|n| format!("0-server-logs-3-{n}-0")).collect();
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
    assert_eq!(count(elastic, &pattern, &term("host.name", "web-1")), taken);
    assert_eq!(count(elastic, &pattern, &term("fields.trace.id", "abc")), 1);
    assert_eq!(count(elastic, &pattern, &term("fields.code", "500")), 1);
    assert_eq!(count(elastic, &pattern, &json!({"match": {"message": "retrying"}})), taken);
    let day = json!({"range": {"@timestamp": {"gte": "2026-11-23"}}});
    assert_eq!(count(elastic, &pattern, &day), 1);
}

async fn what_does_not_fit_the_mapping_is_dead_lettered_alone(dialect: Dialect) {
    let Some(elastic) = Elastic::shared_as(dialect) else { return };
    let index = unique("mapping");
    // A type that the line does not have; OpenSearch has no limit for the depth of further fields.
    let own = json!({
        "index_patterns": [format!("{index}-*")],
        "priority": 300,
        "template": {"mappings": {"properties": {
            "fields": {"properties": {"a": {"type": "long"}, "blob": {"type": "text"}}},
        }}},
    });
    if dialect == Dialect::OpenSearch {
        ask(elastic, "PUT", &format!("/_index_template/{index}"), &own);
    }
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

async fn a_blocked_index_holds_its_lines_and_only_those(dialect: Dialect) {
    let Some(elastic) = Elastic::shared_as(dialect) else { return };
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

async fn a_shard_that_is_missing_holds_its_lines_and_only_those(dialect: Dialect) {
    let Some(elastic) = Elastic::shared_as(dialect) else { return };
    let index = unique("unassigned");
    let today = format!("{index}-2026.11.22");
    let nowhere = json!({"settings": {"index.routing.allocation.require._name": "nope"}});
    ask(elastic, "PUT", &format!("/{today}?wait_for_active_shards=0"), &nowhere);
    let (sink, dead) = sink(elastic, &index);
    let tomorrow = EventTime::from_millis(START) + DAY;
    sink.offer(vec![line(0), LogLine { event_time: tomorrow, ..line(1) }, line(2)]);
    let snapshot = until(&sink, |s| s.delivered == 1 && s.retried > 1).await;
    assert_eq!((snapshot.queued, snapshot.state), (2, DeliveryState::Retrying));
    let anywhere = json!({"index.routing.allocation.require._name": null});
    ask(elastic, "PUT", &format!("/{today}/_settings"), &anywhere);
    assert_eq!(close(&sink).await.delivered, 3);
    assert_eq!(ids(elastic, &index).len(), 3);
    assert!(dead.lock().unwrap().is_empty());
}

async fn a_template_that_somebody_changed_is_left_alone(dialect: Dialect) {
    let Some(elastic) = Elastic::shared_as(dialect) else { return };
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

fn opening(incident: u64) -> Transition {
    let at = EventTime::from_millis(START);
    Transition {
        decided_at: at + Duration::from_secs(10),
        incident: IncidentId(incident),
        sequence: 0,
        kind: TransitionKind::Opened,
        rule: "cpu_sustained".into(),
        group: Labels::from_pairs([("host", "web-1"), ("rack", "r 7")]),
        severity: Severity::Critical,
        started_at: at.saturating_sub(Duration::from_secs(300)),
        at,
        value: Reading(97.25),
        summary: "usage_active above 90 for 5m".into(),
    }
}

async fn openings_and_ends_are_documents_of_their_own(dialect: Dialect) {
    let Some(elastic) = Elastic::shared_as(dialect) else { return };
    let alerts = unique("alerts");
    let mut config = config(elastic, &unique("logs"));
    config.alerts = alerts.clone();
    let mut all: Vec<Transition> = (0..300).map(opening).collect();
    let end = TransitionKind::Ended(EndReason::Recovered);
    let ended = |t: &Transition| Transition { sequence: 1, kind: end, at: t.at + DAY, ..t.clone() };
    all.extend(all.iter().take(100).map(ended).collect::<Vec<_>>());
    for _ in 0..2 {
        let delivery = DeliveryConfig { linger: Duration::ZERO, ..config.delivery() };
        let writer = config.open_alerts().unwrap();
        let sink = Delivery::spawn(&Handle::current(), "alerts", writer, delivery, |_, _| {});
        sink.offer(all.clone());
        let snapshot = sink.close(Duration::from_secs(120)).await.snapshot;
        assert_eq!((snapshot.delivered, snapshot.queued), (400, 0), "{snapshot:?}");
    }
    assert_eq!(ids(elastic, &alerts).len(), 400);
    let term = |field: &str, value: &str| json!({"term": {field: value}});
    assert_eq!(
        count(elastic, &format!("{alerts}-2026.11.23"), &term("event.action", "ended")),
        100
    );
    let pattern = format!("{alerts}-*");
    assert_eq!(count(elastic, &pattern, &term("alert.incident", "tw-0000000000000007")), 2);
    assert_eq!(count(elastic, &pattern, &term("labels.rack", "r 7")), 400);
    let hot = json!({"range": {"alert.value": {"gt": 97}}});
    assert_eq!(count(elastic, &pattern, &hot), 400);
}

/// A line of the day that was so many days before the present.
fn days_ago(days: u32, offset: i64) -> LogLine {
    LogLine { event_time: Clock::System.now().saturating_sub(DAY * days), ..line(offset) }
}

async fn days_past_the_retention_are_deleted_and_nothing_else(dialect: Dialect) {
    let Some(elastic) = Elastic::shared_as(dialect) else { return };
    let index = unique("retained");
    let look_alikes = [
        format!("{index}-2020.01.01-backup"),
        format!("{index}-app-2020.01.01"),
        format!("{index}-2020.13.01"),
        format!("{index}x-2020.01.01"),
    ];
    for other in &look_alikes {
        ask(elastic, "PUT", &format!("/{other}"), &Value::Null);
    }
    // An alias of exactly the form: what it stands for is not ours.
    let alias = json!({"actions": [{"add": {
        "index": look_alikes[0], "alias": format!("{index}-2020.01.02"),
    }}]});
    ask(elastic, "POST", "/_aliases", &alias);
    let config = config(elastic, &index);
    let open = || config.open(Topics::new(["server-logs"])).unwrap();
    // Another process writes and deletes nothing.
    let (other, _) = spawn(&config, open());
    other.offer(vec![days_ago(0, 0), days_ago(7, 1), days_ago(9, 2), days_ago(40, 3)]);
    assert_eq!(close(&other).await.delivered, 4);
    let days = || {
        let found = ask(elastic, "GET", &format!("/{index}-*/_alias"), &Value::Null);
        found.as_object().unwrap().len() - 3
    };
    assert_eq!(days(), 4);
    let deleted = Arc::new(AtomicU64::new(0));
    let writer = open().expiring(7 * DAY, Clock::System, Arc::clone(&deleted));
    let (sink, dead) = spawn(&config, writer);
    sink.offer(vec![days_ago(1, 4), days_ago(30, 5)]);
    let started = Instant::now();
    while deleted.load(Ordering::Relaxed) < 3 {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", sink.stats().snapshot());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(days(), 3, "three days are left");
    assert_eq!(
        ids(elastic, &index).iter().filter_map(|id| id.split('-').nth(4)).collect::<Vec<_>>(),
        ["0", "1", "4"]
    );
    for other in &look_alikes {
        ask(elastic, "GET", &format!("/{other}"), &Value::Null);
    }
    assert_eq!(close(&sink).await.delivered, 2);
    assert!(dead.lock().unwrap().is_empty());
    for other in &look_alikes {
        ask(elastic, "DELETE", &format!("/{other}"), &Value::Null);
    }
}

/// Sets a setting of the whole cluster, or takes it back.
fn set(elastic: &Elastic, name: &str, value: &Value) {
    ask(elastic, "PUT", "/_cluster/settings", &json!({"persistent": {name: value}}));
}

/// One node of its own through all that concerns a whole node, since a start is dear.
async fn a_node_in_trouble_gets_everything_exactly_once(dialect: Dialect) {
    if Elastic::shared_as(dialect).is_none() {
        return;
    }
    // A full batch is too large to be read (413), half of it too large for the heap (429).
    let settings = [
        ("http.max_content_length", "40kb"),
        ("indexing_pressure.memory.limit", "24kb"),
        ("thread_pool.write.size", "1"),
        ("thread_pool.write.queue_size", "1"),
    ];
    let mut elastic = Elastic::start_as(dialect, &settings).unwrap();
    let index = "trouble";
    let (sink, dead) = sink(&elastic, index);
    sink.offer((0..400).map(line).collect());
    let snapshot = until(&sink, |s| s.delivered == 400).await;
    assert!(snapshot.retried > 0, "no request was too large: {snapshot:?}");

    // What the cluster is told, what becomes of the sink, and what the last error says.
    let (retrying, refused) = (DeliveryState::Retrying, DeliveryState::Refused);
    let troubles = [
        ("network.breaker.inflight_requests.limit", json!("2kb"), retrying, "429"),
        ("cluster.blocks.read_only", json!(true), refused, "cluster_block_exception"),
        ("action.auto_create_index", json!("false"), refused, "index_not_found_exception"),
        ("cluster.max_shards_per_node", json!(1), refused, "validation_exception"),
    ];
    let mut sent = 400;
    for (day, (name, value, state, text)) in (1_u32..).zip(troubles) {
        set(&elastic, name, &value);
        // Some need an index that is not there yet.
        let time = EventTime::from_millis(START) + DAY * day;
        sink.offer((sent..sent + 50).map(|n| LogLine { event_time: time, ..line(n) }).collect());
        sent += 50;
        let snapshot = until(&sink, |s| s.state == state).await;
        let error = snapshot.last_error.unwrap_or_default();
        assert!(error.contains(text), "{name}: {error}");
        set(&elastic, name, &Value::Null);
        until(&sink, |s| s.delivered == sent as u64).await;
    }

    elastic.kill();
    sink.offer((sent..sent + 200).map(line).collect());
    until(&sink, |s| s.state == retrying).await;
    let huge = LogLine { message: "x".repeat(60_000).into(), ..line(5_000) };
    sink.offer(vec![huge]);
    sink.offer((sent + 200..1_000).map(line).collect());
    elastic.restart().unwrap();
    // Many at once, on a node that does one thing after another.
    let others: Vec<_> = (0..12).map(|n| self::sink(&elastic, &format!("many-{n}"))).collect();
    for (other, _) in &others {
        other.offer((0..300).map(line).collect());
    }
    for (n, (other, dead)) in others.iter().enumerate() {
        let snapshot = close(other).await;
        assert_eq!((snapshot.delivered, snapshot.rejected), (300, 0), "{:?}", dead.lock().unwrap());
        assert_eq!(ids(&elastic, &format!("many-{n}")).len(), 300);
    }
    let closed = sink.close(Duration::from_secs(300)).await;
    assert_eq!(closed.left.len(), 0, "{:?}", closed.snapshot);
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (1_000, 1));
    let dead = dead.lock().unwrap();
    assert!(dead[0].0 == 5_000 && dead[0].1.starts_with("too_large"), "{dead:?}");
    let expected: BTreeSet<String> = (0..1_000).map(|n| format!("0-server-logs-3-{n}-0")).collect();
    assert_eq!(ids(&elastic, index), expected);
}
