//! The encoder against an independent parser; the writer, behind the driver, against a scripted server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::http::{Fake, Recorded, Reply};
use tokio::runtime::Handle;

use super::line_protocol::encode;
use super::*;
use crate::delivery::{Closed, Delivery, DeliveryConfig, DeliveryState, SinkHandle, default_spill};
use crate::sinks::sample::{Breakable, hurried, until};

/// A parsed line: measurement, tags, fields, milliseconds.
type Line = (String, Vec<(String, String)>, Vec<(String, f64)>, u64);

/// Reads one line, character by character, from the description of the format: a backslash before a
/// comma, space or (outside of the measurement) equal sign takes that character's meaning away; before
/// anything else it is itself.
fn parse(line: &str) -> Option<Line> {
    let mut parts: Vec<Vec<String>> = vec![vec![String::new()]];
    let mut chars = line.strip_suffix('\n')?.chars().peekable();
    // parts[0] is the measurement and tags, parts[1] the fields, parts[2] the time; in each, the pieces
    // between commas; inside a piece an unescaped `=` is kept as U+0000.
    while let Some(c) = chars.next() {
        let in_measurement = parts.len() == 1 && parts.first()?.len() == 1;
        let special: &[char] = if in_measurement { &[',', ' '] } else { &[',', ' ', '='] };
        let last = parts.last_mut()?.last_mut()?;
        match c {
            '\\' if chars.peek().is_some_and(|c| special.contains(c)) => {
                last.push(chars.next()?);
            }
            ' ' => parts.push(vec![String::new()]),
            ',' => parts.last_mut()?.push(String::new()),
            '=' => last.push('\0'),
            '\n' | '\r' | '\t' => return None,
            c => last.push(c),
        }
    }
    let [key, fields, time]: [Vec<String>; 3] = parts.try_into().ok()?;
    let pair = |piece: &String| {
        let (name, value) = piece.split_once('\0')?;
        (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    // A measurement needs no escape for `=`.
    let measurement = key.first()?.replace('\0', "=");
    let tags = key.iter().skip(1).map(pair).collect::<Option<_>>()?;
    let number = |(name, value): (String, String)| {
        let is_float = value.contains(['.', 'e']);
        Some((name, value.parse().ok().filter(|_| is_float)?))
    };
    let fields = fields.iter().map(|f| number(pair(f)?)).collect::<Option<_>>()?;
    Some((measurement, tags, fields, time.first()?.parse().ok()?))
}

/// A name or value as it is after what the format cannot say was changed.
fn sayable(text: &str, unsayable: &[char]) -> String {
    let mut text = text.trim_end_matches('\\').to_owned();
    for c in unsayable {
        let said = format!("\\{c}");
        while text.contains(&said) {
            text = text.replace(&said, &c.to_string());
        }
    }
    let text = text.replace('\t', "\\t").replace('\n', "\\n");
    text.replace('\u{c}', "\\f").replace('\r', "\\r")
}

fn word() -> impl Strategy<Value = String> {
    let c = prop_oneof![
        3 => proptest::char::range('a', 'c'),
        3 => proptest::sample::select(vec![',', ' ', '=', '\\', '"', '#', '\'']),
        1 => proptest::sample::select(vec!['\n', '\r', '\t', '\u{c}', 'é', '日', '\u{1f525}']),
    ];
    proptest::collection::vec(c, 0..8).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #[test]
    fn oracle_a_line_reads_back_as_the_point(
        measurement in word(),
        labels in proptest::collection::vec((word(), word()), 0..4),
        fields in proptest::collection::vec((word(), proptest::num::f64::ANY), 0..4),
        millis in 0..9_223_372_036_854_u64,
    ) {
        let point = MetricPoint {
            measurement: measurement.as_str().into(),
            labels: Labels::from_pairs(labels),
            time: EventTime::from_millis(millis),
            fields: fields.iter().map(|(name, value)| (name.as_str(), *value)).collect(),
            is_correction: false,
        };
        let tags: Vec<_> = point.labels.iter().map(|(n, v)| (sayable(n, &[',', ' ', '=']), sayable(v, &[',', ' ', '='])))
            .filter(|(n, v)| !n.is_empty() && !v.is_empty()).collect();
        let kept: Vec<_> = fields.iter().map(|(n, v)| (sayable(n, &[',', ' ', '=', '"']), *v))
            .filter(|(n, v)| !n.is_empty() && v.is_finite()).collect();
        let measurement = sayable(&measurement, &[',', ' ', '"']);
        let mut out = String::from("before\n");
        let encoded = encode(&point, &mut out);
        let line = out.strip_prefix("before\n").unwrap();
        if measurement.is_empty() || measurement.starts_with('#') || kept.is_empty() {
            prop_assert!(encoded.is_err() && line.is_empty());
        } else {
            prop_assert_eq!(encoded, Ok(()));
            prop_assert_eq!(line.matches('\n').count(), 1);
            let parsed = parse(line);
            prop_assert_eq!(parsed, Some((measurement, tags, kept, millis)), "{}", line);
        }
    }
}

fn point(host: &str, value: f64) -> MetricPoint {
    MetricPoint {
        measurement: "cpu".into(),
        labels: Labels::from_pairs([("host", host)]),
        time: EventTime::from_millis(1_795_376_400_000),
        fields: [("mean", value)].into_iter().collect(),
        is_correction: false,
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    let mut out = String::new();
    let reason = |point: &MetricPoint| encode(point, &mut String::new()).unwrap_err().reason;
    assert_eq!(reason(&point("a", f64::NAN)), Reason::NotANumber);
    assert_eq!(
        reason(&MetricPoint { measurement: "".into(), ..point("a", 1.0) }),
        Reason::MissingField
    );
    assert_eq!(
        reason(&MetricPoint { measurement: "#a".into(), ..point("a", 1.0) }),
        Reason::Rejected
    );
    let late = MetricPoint { time: EventTime::from_millis(9_223_372_036_855), ..point("a", 1.0) };
    assert_eq!(reason(&late), Reason::TimeOutOfRange);
    for value in [0.1 + 0.2, 5e-324, f64::MAX, -0.0] {
        out.clear();
        encode(&point("a", value), &mut out).unwrap();
        let read = parse(&out).unwrap().2[0].1;
        assert_eq!(read.to_bits(), value.to_bits(), "to the bit: {out}");
    }
}

const TOKEN: &str = "very-secret-token";

/// What was dead-lettered, with reason and detail.
type Dead = Arc<Mutex<Vec<(MetricPoint, String)>>>;

/// A sink that writes to `fake`, and what it dead-letters.
fn sink(fake: &Fake) -> (SinkHandle<MetricPoint>, Dead) {
    let config = InfluxConfig { token: Secret::Given(TOKEN.into()), ..config(&fake.url("/base/")) };
    let dead = Arc::new(Mutex::new(Vec::new()));
    let letters = Arc::clone(&dead);
    let delivery = hurried(config.delivery());
    let writer = config.open().unwrap();
    let sink =
        Delivery::spawn(&Handle::current(), "influxdb", writer, delivery, move |item, fault| {
            let detail = format!("{}: {}", fault.reason.as_str(), fault.detail);
            letters.lock().unwrap().push((item.clone(), detail));
        });
    (sink, dead)
}

fn config(url: &str) -> InfluxConfig {
    InfluxConfig {
        url: url.into(),
        org: "my org".into(),
        bucket: "metrics".into(),
        token: Secret::Env("X".into()),
        retention: None,
        long_term: None,
        raw: None,
        on_full: Default::default(),
        queue_items: 1_000.try_into().unwrap(),
        spill: default_spill(),
        batch_items: 8.try_into().unwrap(),
    }
}

async fn deliver(sink: &SinkHandle<MetricPoint>, hosts: &[&str]) -> Closed<MetricPoint> {
    sink.offer(hosts.iter().map(|host| point(host, 1.5)).collect());
    sink.close(Duration::from_secs(30)).await
}

fn hosts(request: &Recorded) -> Vec<String> {
    let text = request.text().unwrap();
    let parsed = text.split_inclusive('\n').map(|line| parse(line).unwrap());
    parsed.map(|(_, tags, ..)| tags[0].1.clone()).collect()
}

/// A store that knows one bad host.
fn store(bad: &'static str, answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start_with(move |request| {
        let bad = hosts(request).iter().filter(|host| *host == bad).count();
        if bad == 0 { Reply::status(204) } else { answer(bad) }
    })
    .unwrap()
}

#[tokio::test]
async fn a_write_is_what_the_manual_says() {
    let fake = Fake::start_with(|_| Reply::status(204)).unwrap();
    let (sink, _) = sink(&fake);
    let closed = deliver(&sink, &["a", "b"]).await;
    assert_eq!((closed.snapshot.delivered, closed.left.len()), (2, 0));
    let requests = fake.requests();
    let request = &requests[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.path(), "/base/api/v2/write");
    assert!(
        request.target.ends_with("?org=my+org&bucket=metrics&precision=ms"),
        "{}",
        request.target
    );
    assert_eq!(request.header("authorization"), Some("Token very-secret-token"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(
        request.text().unwrap(),
        "cpu,host=a mean=1.5 1795376400000\ncpu,host=b mean=1.5 1795376400000\n"
    );
}

#[tokio::test]
async fn a_correction_outlives_an_older_write_that_arrives_after_it() {
    // The store as it is: what comes last counts. The first request is held up on the way.
    let fake = Fake::start_with(|_| Reply::status(204)).unwrap();
    fake.enqueue(Reply::hang_up());
    let (sink, _) = sink(&fake);
    sink.offer(vec![point("a", 1.0), point("b", 5.0)]);
    until(&sink, |s| s.queued == 0).await;
    sink.offer(vec![MetricPoint { is_correction: true, ..point("a", 2.0) }]);
    until(&sink, |s| s.queued == 0).await;
    let older = fake.requests()[0].text().unwrap().to_owned();
    // Nothing more is offered: the repetition comes by itself.
    let started = std::time::Instant::now();
    while fake.requests().len() < 4 {
        assert!(started.elapsed() < Duration::from_secs(30), "no repetition");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after: Vec<String> =
        fake.requests()[3..].iter().map(|r| r.text().unwrap().to_owned()).collect();
    assert!(older.contains("host=a mean=1"), "{older}");
    assert!(after[0].contains("host=a mean=2") && !after[0].contains("host=b"), "{after:?}");
    let closed = sink.close(Duration::from_secs(5)).await;
    assert_eq!((closed.snapshot.offered, closed.snapshot.delivered), (3, 3));
}

#[tokio::test]
async fn outages_of_every_kind_are_survived_in_order() {
    let fake = Fake::start_with(|_| Reply::status(204)).unwrap();
    let pause = Duration::from_secs(1);
    fake.enqueue(Reply::status(429).header("retry-after", "1"));
    for reply in [Reply::status(503), Reply::status(500), Reply::status(408), Reply::hang_up()] {
        fake.enqueue(reply);
    }
    fake.enqueue_after_effect(Reply::hang_up());
    let started = std::time::Instant::now();
    let (sink, dead) = sink(&fake);
    sink.offer(vec![point("a", 1.0)]);
    until(&sink, |s| s.queued == 0).await;
    assert!(started.elapsed() >= pause, "Retry-After is kept");
    let closed = deliver(&sink, &["b"]).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.retried), (2, 6));
    let seen: Vec<_> = fake.requests().iter().map(hosts).collect();
    assert_eq!(seen[..7], vec![vec!["a".to_owned()]; 7], "the same points each time");
    assert_eq!(seen[7], ["b"]);
    assert!(dead.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_bad_line_is_found_and_the_others_get_through() {
    let reason =
        r#"{"code":"invalid","message":"unable to parse 'cpu,host=bad …': invalid number"}"#;
    let fake = store("bad", move |_| Reply::status(400).body(reason));
    let (sink, dead) = sink(&fake);
    let closed = deliver(&sink, &["a", "b", "c", "bad", "d", "e"]).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (5, 1));
    let dead = dead.lock().unwrap();
    assert_eq!(dead[0].0, point("bad", 1.5));
    assert!(
        dead[0].1.contains("rejected: ") && dead[0].1.contains("invalid number"),
        "{}",
        dead[0].1
    );
}

#[tokio::test]
async fn a_partial_write_dead_letters_exactly_what_was_dropped() {
    let fake = store("bad", |bad| {
        let body = format!("partial write: field type conflict: … dropped={bad}");
        Reply::status(422).body(body)
    });
    let (first, dead) = sink(&fake);
    let closed = deliver(&first, &["a", "bad", "b"]).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (2, 1));
    assert_eq!(dead.lock().unwrap()[0].0, point("bad", 1.5));
    let before = fake.requests().len();
    let (second, _) = sink(&fake);
    let closed = deliver(&second, &["bad"; 5]).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (0, 5));
    assert_eq!(fake.requests().len(), before + 1, "all dropped: no search");
    let fake = store("bad", |_| Reply::status(422).body("stripped from point. dropped=0"));
    let (third, _) = sink(&fake);
    assert_eq!(deliver(&third, &["bad", "a"]).await.snapshot.delivered, 2);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved() {
    let fake =
        Fake::start_with(|request| Reply::status(if hosts(request).len() > 3 { 413 } else { 204 }))
            .unwrap();
    let (first, _) = sink(&fake);
    assert_eq!(deliver(&first, &["a", "b", "c", "d", "e", "f", "g"]).await.snapshot.delivered, 7);
    let fake = Fake::start_with(|_| Reply::status(413)).unwrap();
    let (second, dead) = sink(&fake);
    assert_eq!(deliver(&second, &["a"]).await.snapshot.rejected, 1);
    assert!(dead.lock().unwrap()[0].1.starts_with("too_large"));
}

#[tokio::test]
async fn a_refusal_holds_all_and_tells_no_secret() {
    for status in [401, 403, 404, 200, 302, 405] {
        let body = format!("the token {TOKEN} may not");
        let broken = Reply::status(status).body(body).header("location", "/elsewhere");
        let server = Breakable::start(broken, |_| Reply::status(204));
        let (sink, _) = sink(&server.fake);
        sink.offer(vec![point("a", 1.0)]);
        let snapshot = until(&sink, |s| s.retried > 1).await;
        let error = snapshot.last_error.unwrap_or_default();
        assert_eq!(snapshot.state, DeliveryState::Refused, "{status}: {error}");
        assert!(error.contains("*** may not") && !error.contains(TOKEN), "{error}");
        server.mend();
        assert_eq!(deliver(&sink, &["b"]).await.snapshot.delivered, 2, "{status}");
    }
}

#[tokio::test]
async fn an_unreachable_server_is_a_transient_failure_without_secrets() {
    let address = {
        let gone = Fake::start().unwrap();
        gone.url("/")
    };
    let mut writer =
        InfluxConfig { token: Secret::Given(TOKEN.into()), ..config(&address) }.open().unwrap();
    let batch = [point("a", 1.0)];
    let error = tidewatch_dataflow::sink::SinkWriter::write(&mut writer, &batch).await.unwrap_err();
    assert!(matches!(error, tidewatch_dataflow::sink::ConnectorError::Transient { .. }));
    assert!(!format!("{error:?} {writer:?}").contains(TOKEN));
    assert!(writer.health().await.is_err());
}

#[tokio::test]
async fn what_cannot_be_encoded_is_dead_lettered_and_the_rest_sent() {
    let fake = Fake::start_with(|_| Reply::status(204)).unwrap();
    let (sink, dead) = sink(&fake);
    sink.offer(vec![point("a", 1.0), point("b", f64::INFINITY), point("c", 2.0)]);
    let closed = sink.close(Duration::from_secs(10)).await;
    assert_eq!((closed.snapshot.delivered, closed.snapshot.rejected), (2, 1));
    assert_eq!(dead.lock().unwrap()[0].0.labels.get("host"), Some("b"));
    assert_eq!(hosts(&fake.requests()[0]), ["a", "c"]);
}

#[tokio::test]
async fn the_bucket_is_made_once_before_the_first_write() {
    let fake = Fake::start_with(|request| match (request.method.as_str(), request.path()) {
        ("GET", "/api/v2/buckets") => Reply::json(200, &serde_json::json!({"buckets": []})),
        ("GET", "/api/v2/orgs") => {
            Reply::json(200, &serde_json::json!({"orgs": [{"id": "0a", "name": "my org"}]}))
        }
        ("POST", "/api/v2/buckets") => Reply::json(201, &serde_json::json!({"name": "metrics"})),
        _ => Reply::status(204),
    })
    .unwrap();
    fake.enqueue(Reply::status(503));
    let config = InfluxConfig { token: Secret::Given(TOKEN.into()), ..config(&fake.url("")) };
    let writer = config.open().unwrap().ensuring_bucket(Some(Duration::from_secs(604_800)));
    let delivery =
        DeliveryConfig { retry_delay_max: Duration::from_millis(1), ..config.delivery() };
    let sink = Delivery::spawn(&Handle::current(), "influxdb", writer, delivery, |_, _| {});
    assert_eq!(deliver(&sink, &["a"]).await.snapshot.delivered, 1);
    let requests = fake.requests();
    let asked: Vec<_> = requests.iter().map(|r| format!("{} {}", r.method, r.path())).collect();
    assert_eq!(
        asked,
        [
            "GET /api/v2/buckets",
            "GET /api/v2/buckets",
            "GET /api/v2/orgs",
            "POST /api/v2/buckets",
            "POST /api/v2/write",
        ]
    );
    let made = requests[3].json().unwrap();
    assert_eq!(
        (&made["orgID"], &made["retentionRules"][0]["everySeconds"]),
        (&"0a".into(), &604_800.into())
    );
}

#[tokio::test]
async fn a_token_that_may_only_write_writes() {
    let fake = Fake::start_with(|request| {
        Reply::status(if request.path() == "/api/v2/write" { 204 } else { 403 })
    })
    .unwrap();
    let config = InfluxConfig { token: Secret::Given(TOKEN.into()), ..config(&fake.url("")) };
    let writer = config.open().unwrap().ensuring_bucket(None);
    let sink =
        Delivery::spawn(&Handle::current(), "influxdb", writer, config.delivery(), |_, _| {});
    assert_eq!(deliver(&sink, &["a"]).await.snapshot.delivered, 1);
}

#[test]
fn the_configuration_has_the_documented_fields_and_no_others() {
    let read = |text: &str| serde_json::from_str::<InfluxConfig>(text);
    let config = read(
        r#"{"url":"http://db:8086","org":"o","bucket":"b","token":{"env":"INFLUX_TOKEN"},"on_full":"shed"}"#,
    )
    .unwrap();
    let delivery = config.delivery();
    assert_eq!((delivery.queue_items, delivery.batch_items), (100_000, 5_000));
    assert_eq!(delivery.on_full, crate::delivery::OnFull::Shed);
    config.validate().unwrap();
    assert!(read(r#"{"url":"x","org":"o","bucket":"b","token":{"env":"T"},"retries":3}"#).is_err());
    assert!(InfluxConfig { org: String::new(), ..config.clone() }.validate().is_err());
    let long = |bucket: &str| {
        let text = format!(
            r#"{{"url":"http://db:8086","org":"o","bucket":"b","token":{{"env":"T"}},"retention":"7d",
                "long_term":{{"bucket":"{bucket}","retention":"365d"}}}}"#
        );
        read(&text).unwrap()
    };
    assert!(long("b").validate().is_err(), "a bucket of its own");
    long("long").validate().unwrap();
    let second = long("long").long_term().unwrap();
    assert_eq!((second.bucket.as_str(), second.retention), ("long", "365d".parse().ok()));
    let long_term = long("long").long_term.unwrap();
    let takes = |window: &str| {
        let labels = Labels::from_pairs([("host", "a"), ("window", window)]);
        long_term.takes(&MetricPoint { labels, ..point("a", 1.0) })
    };
    let taken = ["1h", "2h/10s", "1d", "59m", "10s", "1m/10s", "x"].map(takes);
    assert_eq!(taken, [true, true, true, false, false, false, false]);
    let raw = |bucket: &str| InfluxConfig {
        raw: Some(Raw { bucket: bucket.into(), retention: None, measurements: Vec::new() }),
        ..long("long")
    };
    assert!(raw("long").validate().is_err(), "a bucket of its own too");
    raw("raw").validate().unwrap();
    let third = raw("raw").raw().unwrap();
    assert_eq!((third.bucket.as_str(), third.retention, third.raw), ("raw", None, None));
    let error = InfluxConfig { token: Secret::Given("a\nb".into()), ..config }.open().unwrap_err();
    assert!(error.to_string().starts_with("`token` is not usable"), "{error}");
}
