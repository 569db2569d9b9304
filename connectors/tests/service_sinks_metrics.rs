//! The sinks for metrics beside InfluxDB 2 against real servers: InfluxDB 1, VictoriaMetrics through the same line
//! protocol and through remote write, and Prometheus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidewatch_connectors::delivery::{Delivery, DeliveryConfig, DeliveryState, SinkHandle};
use tidewatch_connectors::sinks::influxdb::Influx1Config;
use tidewatch_connectors::sinks::prometheus::PrometheusConfig;
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::SinkWriter;
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::influxdb1::Influx1;
use tidewatch_testkit::prometheus::Prometheus;
use tidewatch_testkit::victoriametrics::Victoria;
use tidewatch_testkit::{Service, require, wait_for};
use tokio::runtime::Handle;

/// 2026-11-22 19:40:00 UTC.
const START: u64 = 1_795_376_400_000;
const WITHIN: Duration = Duration::from_secs(60);

fn point(measurement: &str, host: &str, second: u64, value: f64) -> MetricPoint {
    MetricPoint {
        measurement: measurement.into(),
        labels: Labels::from_pairs([("host", host), ("window", "10s")]),
        time: EventTime::from_millis(START + second * 1_000),
        fields: [("mean", value)].into_iter().collect(),
        is_correction: false,
    }
}

fn points(seconds: std::ops::Range<u64>) -> Vec<MetricPoint> {
    seconds.map(|second| point("cpu", "web 1", second, second as f64 / 7.0)).collect()
}

type Dead = Arc<Mutex<Vec<(MetricPoint, String)>>>;

fn spawn<W>(writer: W, config: DeliveryConfig) -> (SinkHandle<MetricPoint>, Dead)
where
    W: SinkWriter<Item = MetricPoint>,
{
    let dead = Dead::default();
    let letters = Arc::clone(&dead);
    let delivery = DeliveryConfig {
        linger: Duration::ZERO,
        retry_delay_min: Duration::from_millis(5),
        retry_delay_max: Duration::from_millis(100),
        batch_items: 100,
        ..config
    };
    let sink =
        Delivery::spawn(&Handle::current(), "metrics", writer, delivery, move |item, fault| {
            letters.lock().unwrap().push((item.clone(), fault.detail.clone()));
        });
    (sink, dead)
}

async fn until(sink: &SinkHandle<MetricPoint>, state: DeliveryState) -> String {
    let started = Instant::now();
    while sink.stats().state() != state {
        assert!(started.elapsed() < WITHIN, "{:?}", sink.stats().snapshot());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sink.stats().snapshot().last_error.unwrap_or_default().to_string()
}

async fn until_delivered(sink: &SinkHandle<MetricPoint>, items: u64) {
    let started = Instant::now();
    while sink.stats().snapshot().delivered < items {
        assert!(started.elapsed() < WITHIN, "{:?}", sink.stats().snapshot());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn influx1(influx: &Influx1, database: &str, more: &Value) -> Influx1Config {
    let mut all = json!({"url": influx.url(), "database": database, "username": Influx1::USER});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all["password"] = json!({"env": "GIVEN_BELOW"});
    let config: Influx1Config = serde_json::from_value(all).unwrap();
    Influx1Config { password: Some(Secret::Given(Influx1::PASSWORD.into())), ..config }
}

/// Times and values of `measurement`.
fn stored(influx: &Influx1, from: &str) -> Vec<(u64, f64)> {
    let result = influx.query(&format!("SELECT mean FROM {from}")).unwrap();
    let rows = result["series"][0]["values"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| (row[0].as_u64().unwrap(), row[1].as_f64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_1_gets_everything_once_and_names_what_is_at_fault() {
    if require(Service::InfluxDb1).is_none() {
        return;
    }
    let mut influx = Influx1::start().unwrap();

    // A database that is made, with its retention, and a server that dies.
    let config = influx1(&influx, "made", &json!({"retention": "0s", "retention_policy": "all"}));
    let (sink, dead) = spawn(config.open().unwrap(), config.delivery());
    sink.offer(points(0..300));
    until_delivered(&sink, 100).await;
    influx.kill();
    sink.offer(points(300..600));
    until(&sink, DeliveryState::Retrying).await;
    influx.restart().unwrap();
    sink.offer(points(600..1_000));
    // A correction, and what was written once already.
    sink.offer(vec![point("cpu", "web 1", 3, -1.0), point("cpu", "web 1", 4, 4.0 / 7.0)]);
    let closed = sink.close(WITHIN).await;
    assert_eq!((closed.snapshot.delivered, closed.left.len()), (1_002, 0));
    let expected: Vec<(u64, f64)> = (0..1_000_u64)
        .map(|s| (START + s * 1_000, if s == 3 { -1.0 } else { s as f64 / 7.0 }))
        .collect();
    assert_eq!(stored(&influx, "made.\"all\".cpu WHERE host = 'web 1'"), expected);
    assert!(dead.lock().unwrap().is_empty());
    let policies = influx.query("SHOW RETENTION POLICIES ON made").unwrap();
    assert_eq!(policies["series"][0]["values"][0][0], "all");

    // A retention that bounds what is taken: 400, with the rest stored.
    let config = influx1(&influx, "week", &json!({"retention": "7d"}));
    let now = tidewatch_dataflow::time::Clock::System.now();
    let at = |days: u64| MetricPoint {
        time: now.saturating_sub(Duration::from_secs(days * 86_400)),
        ..point("cpu", "a", 0, days as f64)
    };
    let (sink, dead) = spawn(config.open().unwrap(), config.delivery());
    sink.offer(vec![at(0), at(30), at(2), at(60), at(3)]);
    let closed = sink.close(WITHIN).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (3, 2));
    for (point, detail) in dead.lock().unwrap().iter() {
        assert!(detail.contains("beyond retention policy"), "{point:?} {detail}");
    }
    assert_eq!(stored(&influx, "week..cpu").len(), 3);

    // Refusals hold everything until a person has acted.
    let config = influx1(&influx, "later", &json!({}));
    let (sink, _) = spawn(config.open().unwrap(), config.delivery());
    sink.offer(points(0..1));
    let error = until(&sink, DeliveryState::Refused).await;
    assert!(error.contains("database not found") && error.contains("`retention`"), "{error}");
    influx.query("CREATE DATABASE later").unwrap();
    assert_eq!(sink.close(WITHIN).await.snapshot.delivered, 1);
    let wrong = Influx1Config { password: Some(Secret::Given("wrong-word".into())), ..config };
    let (sink, _) = spawn(wrong.open().unwrap(), wrong.delivery());
    sink.offer(points(1..2));
    let error = until(&sink, DeliveryState::Refused).await;
    assert!(error.contains("401") && error.contains("`password`"), "{error}");
    assert!(!error.contains("wrong-word"), "{error}");
    assert_eq!(sink.close(Duration::from_millis(20)).await.left.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn victoriametrics_takes_line_protocol_and_remote_write() {
    if require(Service::VictoriaMetrics).is_none() {
        return;
    }
    let victoria = Victoria::start().unwrap();
    let lines = json!({"url": victoria.url(), "database": "tidewatch", "retention": "7d"});
    let lines: Influx1Config = serde_json::from_value(lines).unwrap();
    let remote = json!({"url": format!("{}/api/v1/write", victoria.url())});
    let remote: PrometheusConfig = serde_json::from_value(remote).unwrap();
    let renamed = |points: Vec<MetricPoint>| {
        points.into_iter().map(|p| MetricPoint { measurement: "mem".into(), ..p }).collect()
    };
    // Twice, as after a crash.
    for _ in 0..2 {
        let (sink, _) = spawn(lines.open().unwrap(), lines.delivery());
        sink.offer(points(0..500));
        assert_eq!(sink.close(WITHIN).await.snapshot.delivered, 500);
        let (sink, _) = spawn(remote.open().unwrap(), remote.delivery());
        sink.offer(renamed(points(0..500)));
        assert_eq!(sink.close(WITHIN).await.snapshot.delivered, 500);
    }
    let times = |series: &Value| {
        let mut times: Vec<u64> =
            series["timestamps"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap()).collect();
        times.dedup();
        times
    };
    let expected: Vec<u64> = (0..500).map(|s| START + s * 1_000).collect();
    for (name, mut labels) in [
        ("cpu_mean", json!({"__name__": "cpu_mean", "db": "tidewatch"})),
        ("mem_mean", json!({"__name__": "mem_mean"})),
    ] {
        labels["host"] = "web 1".into();
        labels["window"] = "10s".into();
        let found = wait_for(WITHIN, || {
            let found = victoria.export(name).unwrap();
            found.first().is_some_and(|series| times(series).len() == 500).then_some(found)
        });
        let found = found.unwrap_or_else(|| victoria.export(name).unwrap());
        assert_eq!((found.len(), &found[0]["metric"]), (1, &labels));
        assert_eq!(times(&found[0]), expected);
        assert_eq!(found[0]["values"][0], 0.0);
    }
}

/// The samples of `selector`: seconds since [`START`], value.
fn samples(prometheus: &Prometheus, selector: &str) -> Vec<(u64, f64)> {
    let found = prometheus.samples(selector, "1h", START / 1_000 + 3_000).unwrap();
    assert!(found.len() <= 1, "{found:?}");
    let sample = |pair: &Value| {
        let millis = (pair[0].as_f64().unwrap() * 1_000.0).round() as u64;
        ((millis - START) / 1_000, pair[1].as_str().unwrap().parse().unwrap())
    };
    let values = found.first().and_then(|series| series["values"].as_array().cloned());
    values.unwrap_or_default().iter().map(sample).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_gets_every_sample_once_and_names_what_it_refuses() {
    if require(Service::Prometheus).is_none() {
        return;
    }
    let config = |prometheus: &Prometheus| -> PrometheusConfig {
        serde_json::from_value(json!({"url": prometheus.write_url()})).unwrap()
    };
    let selector = "cpu_mean{host=\"web 1\",window=\"10s\"}";
    let expected: Vec<(u64, f64)> = (0..600).map(|s| (s, s as f64 / 7.0)).collect();

    // With a window for what comes out of order: a crash of the server, and everything once more.
    let mut prometheus = Prometheus::start("1h").unwrap();
    let (sink, dead) = spawn(config(&prometheus).open().unwrap(), config(&prometheus).delivery());
    sink.offer(points(0..300));
    until_delivered(&sink, 100).await;
    prometheus.kill();
    sink.offer(points(300..600));
    until(&sink, DeliveryState::Retrying).await;
    prometheus.restart().unwrap();
    until_delivered(&sink, 600).await;
    sink.offer(points(0..600));
    let closed = sink.close(WITHIN).await;
    assert_eq!(
        (closed.snapshot.delivered, closed.left.len()),
        (1_200, 0),
        "{:?}",
        dead.lock().unwrap()
    );
    assert_eq!(samples(&prometheus, selector), expected);

    // Without one: what is older than the newest sample of its series is refused alone.
    let strict = Prometheus::start("0s").unwrap();
    let (sink, dead) = spawn(config(&strict).open().unwrap(), config(&strict).delivery());
    sink.offer(points(0..600));
    until_delivered(&sink, 600).await;
    sink.offer(vec![
        point("cpu", "other", 1, 1.0),
        point("cpu", "web 1", 7, -1.0),
        point("cpu", "other", 2, 2.0),
    ]);
    let closed = sink.close(WITHIN).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (602, 1));
    assert!(dead.lock().unwrap()[0].1.contains("out of order"), "{:?}", dead.lock().unwrap());
    assert_eq!(samples(&strict, selector), expected);
    assert_eq!(samples(&strict, "cpu_mean{host=\"other\"}"), [(1, 1.0), (2, 2.0)]);

    // An address that takes no remote write.
    let wrong = json!({"url": strict.write_url().replace("write", "nothing")});
    let wrong: PrometheusConfig = serde_json::from_value(wrong).unwrap();
    let (sink, _) = spawn(wrong.open().unwrap(), wrong.delivery());
    sink.offer(points(0..1));
    let error = until(&sink, DeliveryState::Refused).await;
    assert!(error.contains("404") && error.contains("enable-remote-write-receiver"), "{error}");
    assert_eq!(sink.close(Duration::from_millis(20)).await.left.len(), 1);
}
