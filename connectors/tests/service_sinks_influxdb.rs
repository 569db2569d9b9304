//! The InfluxDB sink against a real InfluxDB 2: what is stored, and what becomes of each kind of failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidewatch_connectors::delivery::{
    Delivery, DeliveryConfig, DeliveryState, SinkHandle, default_spill,
};
use tidewatch_connectors::sinks::influxdb::{BucketState, InfluxConfig};
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::influxdb::Influx;
use tidewatch_testkit::unique;
use tokio::runtime::Handle;

/// 2026-11-22 19:40:00 UTC.
const START: u64 = 1_795_376_400_000;

fn point(measurement: &str, labels: &[(&str, &str)], second: u64, value: f64) -> MetricPoint {
    MetricPoint {
        measurement: measurement.into(),
        labels: Labels::from_pairs(labels.iter().copied()),
        time: EventTime::from_millis(START + second * 1_000),
        fields: [("mean", value)].into_iter().collect(),
        is_correction: false,
    }
}

fn config(influx: &Influx, bucket: &str) -> InfluxConfig {
    InfluxConfig {
        url: influx.url(),
        org: Influx::ORG.into(),
        bucket: bucket.into(),
        token: Secret::Given(Influx::TOKEN.into()),
        retention: None,
        long_term: None,
        raw: None,
        on_full: Default::default(),
        queue_items: 100_000.try_into().unwrap(),
        spill: default_spill(),
        batch_items: 100.try_into().unwrap(),
    }
}

type Dead = Arc<Mutex<Vec<(MetricPoint, String)>>>;

fn sink(config: &InfluxConfig) -> (SinkHandle<MetricPoint>, Dead) {
    let dead = Dead::default();
    let letters = Arc::clone(&dead);
    let delivery = DeliveryConfig {
        linger: Duration::ZERO,
        retry_delay_min: Duration::from_millis(5),
        retry_delay_max: Duration::from_millis(100),
        ..config.delivery()
    };
    let writer = config.open().unwrap();
    let sink =
        Delivery::spawn(&Handle::current(), "influxdb", writer, delivery, move |item, fault| {
            letters.lock().unwrap().push((item.clone(), fault.detail.clone()));
        });
    (sink, dead)
}

async fn until(sink: &SinkHandle<MetricPoint>, state: DeliveryState) {
    let started = Instant::now();
    while sink.stats().state() != state {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", sink.stats().snapshot());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The cells of a CSV table: quoted ones may hold commas, line breaks and doubled quotes.
fn cells(csv: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = csv.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            c => cell.push(c),
        }
    }
    rows
}

/// All rows of `bucket` as maps from column to value.
fn rows(influx: &Influx, bucket: &str) -> Vec<BTreeMap<String, String>> {
    let flux = format!("from(bucket: \"{bucket}\") |> range(start: 0, stop: 2100-01-01T00:00:00Z)");
    let mut header = Vec::new();
    let mut rows = Vec::new();
    for row in cells(&influx.query_csv(&flux).unwrap()) {
        if row.iter().any(|cell| cell == "_value") {
            header = row;
        } else if row.len() == header.len() {
            rows.push(
                header.iter().cloned().zip(row).filter(|(name, _)| !name.is_empty()).collect(),
            );
        }
    }
    rows
}

/// The values of `bucket` by time, then by host, to the bit.
fn values(influx: &Influx, bucket: &str) -> BTreeMap<(String, String), u64> {
    let key = |row: &BTreeMap<String, String>| (row["_time"].clone(), row["host"].clone());
    let bits = |row: &BTreeMap<String, String>| row["_value"].parse::<f64>().unwrap().to_bits();
    rows(influx, bucket).iter().map(|row| (key(row), bits(row))).collect()
}

#[tokio::test]
async fn points_read_back_as_they_were() {
    let Some(influx) = Influx::shared() else { return };
    let bucket = unique("exact");
    influx.create_bucket(&bucket).unwrap();
    let kept = [
        "plain",
        "with space",
        "a,b",
        "a=b",
        "a\\b",
        "\"quoted\"",
        "'x'",
        "#x",
        "日本 é",
        "a\\\\b",
        "=",
        ",",
        " ",
        "\\n",
        "C:\\Program Files",
        "\"",
        "=\"",
    ];
    // A backslash before a separator cannot be said.
    let changed = [
        ("a\\,b", "a,b"),
        ("a\\\\=", "a="),
        ("\\ b", " b"),
        ("\\ \\=\"", " =\""),
        ("x y=z,w\\", "x y=z,w"),
        ("two\nlines", "two\\nlines"),
    ];
    let mut expected = Vec::new();
    let mut points = Vec::new();
    for (second, (sent, stored)) in
        kept.iter().zip(&kept).chain(changed.iter().map(|(a, b)| (a, b))).enumerate()
    {
        let name = if stored.starts_with('#') { "m" } else { stored };
        let value = 0.1 + second as f64;
        points.push(MetricPoint {
            fields: [(sent, value)].into_iter().collect(),
            is_correction: false,
            ..point(name, &[(sent, sent)], second as u64, 0.0)
        });
        expected.push((name, *stored, value));
    }
    // In a name the store drops a point for it, in a tag it does not.
    points.push(MetricPoint {
        fields: [("\\\"", 0.25)].into_iter().collect(),
        is_correction: false,
        ..point("\\\"", &[("tag", "\\\"")], 0, 0.0)
    });
    for (second, value) in [0.1 + 0.2, 5e-324, f64::MAX, -1e-7, 1e21, 3.0].into_iter().enumerate() {
        points.push(point("exact", &[("host", "h")], second as u64, value));
    }
    let (sink, dead) = sink(&config(influx, &bucket));
    sink.offer(points.clone());
    let closed = sink.close(Duration::from_secs(60)).await;
    assert_eq!(closed.snapshot.delivered, points.len() as u64, "{:?}", dead.lock().unwrap());
    let rows = rows(influx, &bucket);
    for (name, text, value) in expected {
        let found = rows.iter().any(|row| {
            row["_measurement"] == name
                && row["_field"] == text
                && row.get(text).is_some_and(|tag| tag == text)
                && row["_value"] == format!("{value}")
        });
        assert!(found, "{text:?} is not among {rows:#?}");
    }
    let exact: Vec<u64> = rows
        .iter()
        .filter(|row| row["_measurement"] == "exact")
        .map(|row| row["_value"].parse::<f64>().unwrap().to_bits())
        .collect();
    let sent: Vec<u64> = points
        .iter()
        .filter(|point| &*point.measurement == "exact")
        .map(|point| point.fields.iter().next().unwrap().1.to_bits())
        .collect();
    assert_eq!(exact, sent, "to the bit");
    let quote = rows.iter().find(|row| row["_value"] == "0.25").unwrap();
    assert_eq!((&*quote["_measurement"], &*quote["_field"], &*quote["tag"]), ("\"", "\"", "\\\""));
    assert_eq!(rows.len(), points.len());
}

#[tokio::test]
async fn a_store_that_dies_and_comes_back_gets_everything_exactly_once() {
    if Influx::shared().is_none() {
        return;
    }
    let mut influx = Influx::start().unwrap();
    let (sink, _) = sink(&config(&influx, Influx::BUCKET));
    let batch = |from: u64| {
        (from..from + 500).map(|s| point("cpu", &[("host", "a")], s, s as f64 / 7.0)).collect()
    };
    sink.offer(batch(0));
    until_delivered(&sink, 200).await;
    influx.kill();
    sink.offer(batch(500));
    until(&sink, DeliveryState::Retrying).await;
    sink.offer(batch(1_000));
    influx.restart().unwrap();
    let closed = sink.close(Duration::from_secs(120)).await;
    assert_eq!((closed.snapshot.delivered, closed.left.len()), (1_500, 0));
    let stored = values(&influx, Influx::BUCKET);
    assert_eq!(stored.len(), 1_500);
    let mut found: Vec<u64> = stored.into_values().collect();
    let mut expected: Vec<u64> = (0..1_500).map(|s| (s as f64 / 7.0).to_bits()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

async fn until_delivered(sink: &SinkHandle<MetricPoint>, items: u64) {
    let started = Instant::now();
    while sink.stats().snapshot().delivered < items {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", sink.stats().snapshot());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn only_what_is_at_fault_is_dead_lettered() {
    let Some(influx) = Influx::shared() else { return };
    let bucket = unique("faults");
    influx.create_bucket(&bucket).unwrap();
    // A field that somebody else writes as an integer, and a tag that the store keeps for itself.
    influx.write(&bucket, &format!("taken,host=a mean=1i {START}")).unwrap();
    let (sink, dead) = sink(&config(influx, &bucket));
    let mut points: Vec<MetricPoint> =
        (0..40).map(|s| point("cpu", &[("host", "a")], s, s as f64)).collect();
    points.insert(7, point("taken", &[("host", "a")], 1, 2.0));
    points.insert(19, point("cpu", &[("_field", "x")], 1, 2.0));
    points.insert(33, point("taken", &[("host", "b")], 2, 3.0));
    sink.offer(points);
    let closed = sink.close(Duration::from_secs(60)).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (40, 3));
    let dead = dead.lock().unwrap();
    let details: Vec<&str> = dead.iter().map(|(_, detail)| detail.as_str()).collect();
    assert!(details[0].contains("field type conflict"), "{details:?}");
    assert!(details[1].contains("_field"), "{details:?}");
    assert!(details[2].contains("field type conflict"), "{details:?}");
    let stored = rows(influx, &bucket);
    assert_eq!(stored.iter().filter(|row| row["_measurement"] == "cpu").count(), 40);
}

#[tokio::test]
async fn a_correction_overwrites_what_it_corrects() {
    let Some(influx) = Influx::shared() else { return };
    let bucket = unique("corrections");
    influx.create_bucket(&bucket).unwrap();
    let (sink, _) = sink(&config(influx, &bucket));
    let host = [("host", "a")];
    // In one batch, and across two.
    sink.offer(vec![
        point("cpu", &host, 0, 1.0),
        point("cpu", &host, 1, 1.0),
        point("cpu", &host, 0, 2.0),
    ]);
    until_delivered(&sink, 3).await;
    sink.offer(vec![point("cpu", &host, 1, 3.0)]);
    assert_eq!(sink.close(Duration::from_secs(60)).await.snapshot.delivered, 4);
    let stored: Vec<f64> = values(influx, &bucket).into_values().map(f64::from_bits).collect();
    assert_eq!(stored, [2.0, 3.0]);
}

#[tokio::test]
async fn a_bucket_is_made_with_its_retention_which_bounds_what_is_taken() {
    let Some(influx) = Influx::shared() else { return };
    let bucket = unique("retained");
    let config = config(influx, &bucket);
    let writer = config.open().unwrap();
    writer.health().await.unwrap();
    let week = Some(Duration::from_secs(604_800));
    assert_eq!(writer.ensure_bucket(week).await.unwrap(), BucketState::Created);
    assert_eq!(writer.ensure_bucket(week).await.unwrap(), BucketState::Existed);
    let now = tidewatch_dataflow::time::Clock::System.now();
    let at = |days: u64, value: f64| MetricPoint {
        time: now.saturating_sub(Duration::from_secs(days * 86_400)),
        ..point("cpu", &[("host", "a")], 0, value)
    };
    // By the configuration: before the first write.
    let bucket = unique("configured");
    let config = InfluxConfig { retention: week.map(Into::into), ..self::config(influx, &bucket) };
    let (sink, dead) = sink(&config);
    sink.offer(vec![at(0, 1.0), at(30, 2.0), at(1, 3.0), at(60, 4.0)]);
    let closed = sink.close(Duration::from_secs(60)).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (2, 2));
    let dead = dead.lock().unwrap();
    assert!(dead.iter().all(|(_, detail)| detail.contains("retention policy")), "{dead:?}");
    assert_eq!(rows(influx, &bucket).len(), 2);
}

#[tokio::test]
async fn refusals_hold_everything_until_a_person_has_acted() {
    let Some(influx) = Influx::shared() else { return };
    let bucket = unique("missing");
    let (sink_, _) = sink(&config(influx, &bucket));
    sink_.offer(vec![point("cpu", &[("host", "a")], 0, 1.0)]);
    until(&sink_, DeliveryState::Refused).await;
    let error = sink_.stats().snapshot().last_error.unwrap_or_default();
    assert!(error.contains("not found") && error.contains("`bucket`"), "{error}");
    influx.create_bucket(&bucket).unwrap();
    assert_eq!(sink_.close(Duration::from_secs(60)).await.snapshot.delivered, 1);

    let token = Secret::Given("wrong-token".into());
    let (sink_, _) = sink(&InfluxConfig { token, ..config(influx, &bucket) });
    sink_.offer(vec![point("cpu", &[("host", "a")], 1, 1.0)]);
    until(&sink_, DeliveryState::Refused).await;
    let error = sink_.stats().snapshot().last_error.unwrap_or_default();
    assert!(error.contains("401") && error.contains("`token`"), "{error}");
    assert!(!error.contains("wrong-token"), "{error}");
    assert_eq!(sink_.close(Duration::from_millis(20)).await.left.len(), 1);
    let nobody = InfluxConfig { org: "nobody".into(), ..config(influx, "nothing") };
    let failure = nobody.open().unwrap().ensure_bucket(None).await.unwrap_err().to_string();
    assert!(failure.contains("`org`"), "{failure}");
}
