//! The live page over HTTP: its files, its data, its events.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod page_support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use page_support::Player;
use serde_json::Value;
use tidewatch::demo::fleet::{Fleet, RULE_BURST};
use tidewatch::page::{LiveConfig, LiveLogs, LiveMetrics, LiveState, Phase, router};
use tidewatch_connectors::sinks::sqlite::{
    SqliteConfig, SqliteLogs, SqliteMetrics, SqliteStore, SqliteTransitions,
};
use tidewatch_dataflow::alert::{
    EndReason, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{Level, LogLine, PartitionId, Topics};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::SinkWriter;
use tidewatch_dataflow::time::{Clock, EventTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const START: u64 = 1_800_000_000_000;

fn at(seconds: u64) -> EventTime {
    EventTime::from_millis(START + seconds * 1_000)
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn serve(state: &Arc<LiveState>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(Arc::clone(state));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: page\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut text = String::new();
    ask(address, path).await.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: body.to_owned() }
}

/// A page with the fleet's backlog and a minute of live data.
async fn played() -> (SocketAddr, Arc<LiveState>) {
    let clock = Clock::manual(at(60));
    let state = LiveState::new(LiveConfig { clock, ..LiveConfig::default() });
    let mut player = Player::new(Fleet::new(1, 20, at(0)), Arc::clone(&state));
    player.play(at(0), Phase::CatchingUp { percent: Some(50.0) }).unwrap();
    player.play(at(60), Phase::Live).unwrap();
    (serve(&state).await, state)
}

#[tokio::test]
async fn the_page_and_its_files_come_with_a_strict_policy() {
    let (address, _state) = played().await;
    let page = get(address, "/").await;
    assert!(page.headers["content-type"].starts_with("text/html"));
    assert!(page.body.contains("<title>tidewatch</title>"));
    for path in ["/", "/static/app.js", "/api/status", "/static/style.css"] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    let script = get(address, "/static/app.js").await;
    assert!(script.headers["content-type"].starts_with("text/javascript"));
    for path in ["/static/..%2Fmod.rs", "/static/none.js", "/elsewhere"] {
        assert_eq!(get(address, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn status_hosts_and_alerts_tell_what_was_fed() {
    let (address, _state) = played().await;
    let status = get(address, "/api/status").await.json();
    assert_eq!(status["phase"]["name"], "live");
    assert_eq!(status["hosts"], 20);
    assert_eq!(status["watermark_delay"], 5.3);
    assert_eq!(status["stored"], false);
    let titles: Vec<&Value> =
        status["panels"].as_array().unwrap().iter().map(|panel| &panel["title"]).collect();
    assert_eq!(titles, ["CPU", "Memory", "Disk"]);

    let hosts = get(address, "/api/hosts").await.json();
    assert_eq!(hosts.as_array().unwrap().len(), 20);
    for key in ["cpu", "mem", "disk"] {
        let value = hosts[0]["values"][key][1].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&value));
    }

    let alerts = get(address, "/api/alerts").await.json();
    let open = alerts["open"].as_array().unwrap();
    assert_eq!(alerts["open_count"], open.len());
    assert!(open.iter().any(|alert| alert["rule"] == RULE_BURST && alert["host"].is_null()));
    assert!(!alerts["past"].as_array().unwrap().is_empty());
    let alerting: u64 =
        hosts.as_array().unwrap().iter().map(|h| h["alerts"].as_u64().unwrap()).sum();
    let of_hosts = open.iter().filter(|alert| alert["host"].is_string()).count() as u64;
    assert_eq!(alerting, of_hosts);
}

#[tokio::test]
async fn series_are_cut_to_the_time_asked_for() {
    let (address, _state) = played().await;
    let hosts = get(address, "/api/hosts").await.json();
    let host = hosts[3]["host"].as_str().unwrap().to_owned();
    let answer = get(address, &format!("/api/series?host={host}&minutes=5")).await.json();
    let (from, to) = (answer["from"].as_u64().unwrap(), answer["to"].as_u64().unwrap());
    assert_eq!((from, to), (START - 240_000, START + 60_000));
    for key in ["cpu", "mem", "disk"] {
        let points = answer["series"][key].as_array().unwrap();
        assert!((28..=31).contains(&points.len()), "{key}: {} points", points.len());
        assert!(points.windows(2).all(|pair| pair[0][0].as_u64() < pair[1][0].as_u64()));
        assert!(points[0][0].as_u64().unwrap() >= from);
    }
    let whole = get(address, &format!("/api/series?host={host}&minutes=99999999")).await.json();
    assert!(whole["series"]["cpu"].as_array().unwrap().len() <= 720);
    assert_eq!(get(address, "/api/series?host=nobody").await.status, 404);
    assert_eq!(get(address, "/api/series").await.status, 400);
}

#[tokio::test]
async fn logs_are_searched_in_memory_when_there_is_no_store() {
    let (address, _state) = played().await;
    let lines = get(address, "/api/logs?q=answered+200&limit=5").await.json();
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line["message"].as_str().unwrap().contains("answered 200")));
    let errors = get(address, "/api/logs?level=error").await.json();
    let levels: Vec<&Value> =
        errors.as_array().unwrap().iter().map(|line| &line["level"]).collect();
    assert!(!levels.is_empty());
    assert!(levels.iter().all(|level| **level == "ERROR" || **level == "FATAL"));
    assert_eq!(get(address, "/api/logs?level=loud").await.status, 400);
    assert!(get(address, "/api/logs?limit=100000").await.json().as_array().unwrap().len() <= 500);
    let rate = get(address, "/api/log-rate").await.json();
    assert_eq!((rate["step"].as_u64(), rate["levels"][4].as_str()), (Some(10_000), Some("ERROR")));
    assert!(rate["rate"].as_array().unwrap().len() > 150);
}

fn line(offset: i64, seconds: u64, message: &str) -> LogLine {
    LogLine {
        partition: PartitionId { topic: 0, partition: 0 },
        offset,
        index: 0,
        generation: 0,
        event_time: at(seconds),
        level: Level::Error,
        host: "web-1".into(),
        service: "cart".into(),
        message: message.into(),
        extra: "".into(),
    }
}

fn point(seconds: u64, mean: f64) -> MetricPoint {
    MetricPoint {
        measurement: "cpu".into(),
        labels: Labels::from_pairs([("host", "web-1"), ("window", "10s")]),
        time: at(seconds),
        fields: [("mean", mean)].into_iter().collect(),
        is_correction: false,
    }
}

fn transition(sequence: u32, kind: TransitionKind) -> Transition {
    let group = Labels::from_pairs([("host", "web-1")]);
    Transition {
        decided_at: at(400),
        incident: IncidentId::new("cpu_sustained", &group, at(0)),
        sequence,
        kind,
        rule: "cpu_sustained".into(),
        group,
        severity: Severity::Critical,
        started_at: at(0),
        at: at(300 + u64::from(sequence)),
        value: Reading(95.0),
        summary: "usage_active above 90 for 5m".into(),
    }
}

/// What memory no longer has, the store gives: all logs, long ranges, alerts of former runs.
#[tokio::test]
async fn the_store_stands_behind_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(folder.path().join("store.db"));
    let clock = Clock::manual(at(20_000));
    let store = SqliteStore::open_with_clock(&config, clock.clone()).unwrap();
    let ended = TransitionKind::Ended(EndReason::Recovered);
    let former = [transition(0, TransitionKind::Opened), transition(1, ended)];
    SqliteTransitions::new(store.clone()).write(&former).await.unwrap();

    let state =
        LiveState::new(LiveConfig { clock, store: Some(store.clone()), ..LiveConfig::default() });
    let address = serve(&state).await;
    let (mut kept, mut shown) =
        (SqliteMetrics::new(store.clone()), LiveMetrics(Arc::clone(&state)));
    for step in 0..2_000 {
        let batch = [point(step * 10, step as f64 / 20.0)];
        kept.write(&batch).await.unwrap();
        shown.write(&batch).await.unwrap();
    }
    let lines: Vec<LogLine> =
        (0..1_500).map(|n| line(n, 10, &format!("attempt{n} failed"))).collect();
    SqliteLogs::new(store, Topics::new(["server-logs"])).write(&lines).await.unwrap();
    LiveLogs(Arc::clone(&state)).write(&lines).await.unwrap();

    let status = get(address, "/api/status").await.json();
    assert_eq!(status["stored"], true);
    let oldest = get(address, "/api/logs?q=attempt7&limit=500").await.json();
    assert!(oldest.as_array().unwrap().iter().any(|line| line["message"] == "attempt7 failed"));
    let alerts = get(address, "/api/alerts").await.json();
    assert_eq!(alerts["past"][0]["ended_at"], START + 301_000, "of a former run");

    let long = get(address, "/api/series?host=web-1&minutes=330").await.json();
    let points = long["series"]["cpu"].as_array().unwrap();
    assert!((300..=720).contains(&points.len()), "{} points", points.len());
    assert!(points.windows(2).all(|pair| pair[0][0].as_u64() < pair[1][0].as_u64()));
    assert!(points[0][0].as_u64().unwrap() < START + 600_000, "from the store");
    assert_eq!(points.last().unwrap()[0], START + 19_990_000, "from memory");
}

/// Reads events until `done` says so of the text so far.
async fn events_until(stream: &mut TcpStream, done: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    while !done(&text) {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer));
        let count = read.await.unwrap().unwrap();
        assert!(count > 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

#[tokio::test]
async fn events_bring_points_and_progress() {
    let (address, state) = played().await;
    let mut stream = ask(address, "/events").await;
    let head = events_until(&mut stream, |text| text.contains("event: tick")).await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    state.add_points(&[point(70, 12.25)]);
    let fresh =
        |text: &str| text.contains(&format!(r#""web-1":{{"cpu":[{},12.25]}}"#, START + 70_000));
    events_until(&mut stream, fresh).await;
    state.set_active(Vec::new());
    events_until(&mut stream, |text| text.contains(r#""open_alerts":0"#)).await;
}
