//! The encoder on names that Prometheus cannot hold; the writer, behind the driver, against a scripted server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::http::{Fake, Recorded, Reply};
use tokio::runtime::Handle;

use super::series::{WriteRequest, request};
use super::*;
use crate::delivery::{Delivery, DeliveryState, SinkHandle};
use crate::sinks::sample::{Breakable, hurried, until};

fn point(labels: &[(&str, &str)], second: u64, value: f64) -> MetricPoint {
    MetricPoint {
        measurement: "cpu".into(),
        labels: Labels::from_pairs(labels.iter().copied()),
        time: EventTime::from_millis(1_795_376_400_000 + second * 1_000),
        fields: [("mean", value)].into_iter().collect(),
        is_correction: false,
    }
}

/// A request as text: series, then `value@second` for each sample.
fn text(request: &WriteRequest) -> Vec<String> {
    let series = request.timeseries.iter().map(|series| {
        let labels = series.labels.iter().map(|l| format!("{}={}", l.name, l.value));
        let samples = series
            .samples
            .iter()
            .map(|s| format!(" {}@{}", s.value, (s.timestamp - 1_795_376_400_000) / 1_000));
        labels.collect::<Vec<_>>().join(",") + &samples.collect::<String>()
    });
    series.collect()
}

#[test]
fn samples_of_a_series_are_together_and_in_order() {
    let mut both = point(&[("host", "b"), ("window", "10s")], 1, 2.0);
    both.fields = [("mean", 2.0), ("max", 3.0)].into_iter().collect();
    let points = [
        point(&[("host", "a")], 2, 1.0),
        both,
        point(&[("host", "a")], 1, 4.0),
        point(&[("host", "a")], 2, 5.0),
    ];
    assert_eq!(
        text(&request(&points).0),
        [
            "__name__=cpu_max,host=b,window=10s 3@1",
            "__name__=cpu_mean,host=a 4@1 5@2",
            "__name__=cpu_mean,host=b,window=10s 2@1",
        ]
    );
}

#[test]
fn names_are_made_sayable_and_labels_sorted() {
    let labels = [
        ("Zone", "z"),
        ("a.b", "1"),
        ("a-b", "2"),
        ("1st", "x"),
        ("__name__", "evil"),
        ("empty", ""),
        ("ok", "any \"value\" é"),
    ];
    let odd = MetricPoint { measurement: "http.requests:rate 5m".into(), ..point(&labels, 0, 1.5) };
    let written = text(&request(&[odd]).0);
    assert_eq!(
        written,
        [
            "Zone=z,_1st=x,__name__=http_requests:rate_5m_mean,_name__=evil,a_b=2,ok=any \"value\" é 1.5@0"
        ]
    );
    let digit = MetricPoint { measurement: "5xx".into(), ..point(&[], 0, 1.0) };
    assert_eq!(text(&request(&[digit]).0), ["__name__=_5xx_mean 1@0"]);
}

#[test]
fn what_cannot_be_written_is_named() {
    let nothing = point(&[], 0, f64::NAN);
    let nameless = MetricPoint { measurement: "".into(), ..point(&[], 0, 1.0) };
    let (request, rejected) = request(&[nothing, point(&[], 1, 1.0), nameless]);
    assert_eq!(text(&request), ["__name__=cpu_mean 1@1"]);
    let told: Vec<_> = rejected.iter().map(|r| (r.index, r.reason.as_str())).collect();
    assert_eq!(told, [(0, "not_a_number"), (2, "missing_field")]);
}

fn received(request: &Recorded) -> WriteRequest {
    let block = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
    WriteRequest::decode(block.as_slice()).unwrap()
}

fn config(url: &str, more: &Value) -> PrometheusConfig {
    let mut all = json!({"url": url, "batch_items": 8});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

type Dead = Arc<Mutex<Vec<String>>>;

fn sink(config: &PrometheusConfig) -> (SinkHandle<MetricPoint>, Dead) {
    let dead = Dead::default();
    let letters = Arc::clone(&dead);
    let delivery = hurried(config.delivery());
    let writer = config.open().unwrap();
    let sink =
        Delivery::spawn(&Handle::current(), "prometheus", writer, delivery, move |_, why| {
            letters.lock().unwrap().push(format!("{}: {}", why.reason.as_str(), why.detail));
        });
    (sink, dead)
}

#[tokio::test]
async fn only_the_bad_sample_is_dead_lettered() {
    let fake = Fake::start_with(|request| {
        let bad =
            received(request).timeseries.iter().any(|s| s.labels.iter().any(|l| l.value == "bad"));
        if bad { Reply::status(400).body("out of order sample") } else { Reply::status(204) }
    })
    .unwrap();
    let (sink, dead) = sink(&config(&fake.url("/api/v1/write"), &json!({})));
    sink.offer(["a", "b", "bad", "c", "d"].iter().map(|h| point(&[("host", h)], 0, 1.0)).collect());
    let closed = sink.close(Duration::from_secs(10)).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (4, 1));
    assert_eq!(*dead.lock().unwrap(), ["rejected: 400: out of order sample"]);
    let request = &fake.requests()[0];
    assert_eq!(request.header("content-encoding"), Some("snappy"));
    assert_eq!(request.header("x-prometheus-remote-write-version"), Some("0.1.0"));
}

#[tokio::test]
async fn whole_answers_are_classified_and_tell_no_secret() {
    let secret = json!({"username": "u", "password": {"env": "TIDEWATCH_TEST_NONE"}});
    assert!(config("http://a/w", &secret).open().is_err(), "the secret is not there");
    for (status, state) in [
        (429, DeliveryState::Retrying),
        (500, DeliveryState::Retrying),
        (401, DeliveryState::Refused),
        (404, DeliveryState::Refused),
        (302, DeliveryState::Refused),
    ] {
        let broken = Reply::status(status).body("token s3cret: no");
        let server = Breakable::start(broken, |_| Reply::status(200));
        let mut config = config(&server.fake.url("/w"), &json!({}));
        config.token = Some(tidewatch_dataflow::config::Secret::Given("s3cret".into()));
        let (sink, _) = sink(&config);
        sink.offer(vec![point(&[], 0, 1.0)]);
        let snapshot = until(&sink, |s| s.retried > 1).await;
        let error = snapshot.last_error.unwrap_or_default();
        assert_eq!(snapshot.state, state, "{status}: {error}");
        assert!(error.contains("token ***: no"), "{error}");
        assert_eq!(server.fake.requests()[0].header("authorization"), Some("Bearer s3cret"));
        server.mend();
        assert_eq!(sink.close(Duration::from_secs(10)).await.snapshot.delivered, 1);
    }
}

#[test]
fn the_configuration_is_checked() {
    let secret = json!({"env": "X"});
    config("http://p:9090/api/v1/write", &json!({"token": secret})).validate().unwrap();
    for (url, more, field) in [
        ("http://p:9090", json!({}), "url"),
        ("p", json!({}), "url"),
        ("http://p/w", json!({"username": "a"}), "username"),
        ("http://p/w", json!({"password": secret}), "password"),
        ("http://p/w", json!({"username": "a", "password": secret, "token": secret}), "token"),
    ] {
        let error = config(url, &more).validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}` is not usable")), "{error}");
    }
    assert!(serde_json::from_value::<PrometheusConfig>(json!({"url": "x", "x": 1})).is_err());
}
