//! The Kafka connectors against a real Apache Kafka.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod kafka_util;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_util::{LIMIT, at, budget, open, poll, read_count, read_to_end, texts};
use tidewatch_connectors::kafka::admin::{Difference, TopicOutcome, TopicSpec, ensure_topics};
use tidewatch_connectors::kafka::dead_letters::DeadLetterWriter;
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_connectors::kafka::{KafkaConfig, KafkaReader, Start, partitions};
use tidewatch_dataflow::dead_letter::{DeadLetter, Reason};
use tidewatch_dataflow::record::{RecordTime, Topics};
use tidewatch_dataflow::sink::{ConnectorError, SinkWriter};
use tidewatch_dataflow::source::{Poll, SourceReader};
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::{Service, require, unique};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn config(broker: &Broker) -> KafkaConfig {
    let mut config = KafkaConfig::new([broker.bootstrap()]);
    config.properties.insert("reconnect.backoff.max.ms".into(), "500".into());
    config
}

fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: 1,
        retention: Some(WEEK),
        extra: BTreeMap::new(),
    }
}

fn make(
    broker: &Broker,
    prefix: &str,
    partitions: i32,
    extra: &[(&str, &str)],
) -> (String, Topics) {
    let name = unique(prefix);
    let extra = extra.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let wanted = TopicSpec { extra, ..spec(&name, partitions) };
    assert_eq!(ensure_topics(&config(broker), &[wanted], LIMIT).unwrap(), [TopicOutcome::Created]);
    let topics = Topics::new([&name]);
    (name, topics)
}

#[test]
fn topics_are_created_and_verified() {
    let Some(broker) = Broker::shared() else { return };
    let config = config(broker);
    let (a, b) = (unique("cpu-usage"), unique("server-logs"));
    let compressed = BTreeMap::from([("compression.type".to_owned(), "zstd".to_owned())]);
    let wanted = [spec(&a, 12), TopicSpec { extra: compressed, ..spec(&b, 1) }];
    let outcome = ensure_topics(&config, &wanted, LIMIT).unwrap();
    assert_eq!(outcome, [TopicOutcome::Created, TopicOutcome::Created]);
    let topics = Topics::new([&a, &b]);
    assert_eq!(partitions(&config, &topics, LIMIT).unwrap().len(), 13);
    let outcome = ensure_topics(&config, &wanted, LIMIT).unwrap();
    assert_eq!(outcome, [TopicOutcome::Matches, TopicOutcome::Matches]);

    let other = TopicSpec {
        retention: Some(Duration::from_secs(3_600)),
        extra: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
        ..spec(&a, 6)
    };
    let outcome = ensure_topics(&config, &[other], LIMIT).unwrap();
    let [TopicOutcome::Differs(differences)] = &outcome[..] else { panic!("{outcome:?}") };
    let difference = |what: &str, wanted: &str, found: &str| Difference {
        what: what.to_owned(),
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    };
    assert_eq!(
        *differences,
        [
            difference("partitions", "6", "12"),
            difference("cleanup.policy", "compact", "delete"),
            difference("retention.ms", "3600000", "604800000"),
        ]
    );
    assert_eq!(
        differences[2].to_string(),
        "retention.ms is 604800000 where 3600000 is wanted (7d and 1h)"
    );
    // Nothing was changed.
    assert_eq!(partitions(&config, &topics, LIMIT).unwrap().len(), 13);

    let many = TopicSpec { replication: 3, ..spec(&unique("t"), 1) };
    let error = ensure_topics(&config, &[many], LIMIT).unwrap_err();
    assert!(matches!(&error, ConnectorError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("`replication`"), "{error}");
    let odd = TopicSpec {
        extra: BTreeMap::from([("no.such.setting".to_owned(), "1".to_owned())]),
        ..spec(&unique("t"), 1)
    };
    let error = ensure_topics(&config, &[odd], LIMIT).unwrap_err();
    assert!(matches!(error, ConnectorError::Permanent { .. }), "{error:?}");
}

#[test]
fn records_are_read_back_exactly_whatever_the_compression() {
    let Some(broker) = Broker::shared() else { return };
    for codec in ["none", "lz4", "zstd", "gzip", "snappy"] {
        let (name, topics) = make(broker, "records", 3, &[]);
        let mut config = config(broker);
        config.properties.insert("compression.type".into(), codec.into());
        let producer = Producer::new(&config).unwrap();
        let time = |i: u64| EventTime::from_millis(1_795_375_196_000 + i * 7);
        let mut written: Vec<Vec<_>> = vec![Vec::new(); 3];
        for i in 0..6_000_u64 {
            let key = (i % 5 != 0).then(|| format!("host-{}", i % 17).into_bytes());
            let value = (i % 11 != 0).then(|| vec![b'a' + (i % 26) as u8; (i % 300) as usize]);
            let partition = i32::from(i % 3 == 0) + i32::from(i % 7 == 0);
            let message = Message {
                topic: &name,
                partition: Some(partition),
                key: key.as_deref(),
                value: value.as_deref(),
                time: Some(time(i)),
                headers: &[],
            };
            producer.send(&message, LIMIT).unwrap();
            written[partition as usize].push((key, value, RecordTime::Created(time(i))));
        }
        assert_eq!(producer.flush(LIMIT).unwrap().delivered, 6_000);
        let assignment = [0, 1, 2].map(|p| (at(0, p), Start::Earliest));
        let mut reader = open(&config, &topics, &assignment);
        for partition in 0..3 {
            let read = read_to_end(&mut reader, at(0, partition));
            assert!(read.iter().map(|r| r.offset).eq(0..read.len() as i64));
            let read: Vec<_> = read.into_iter().map(|r| (r.key, r.value, r.time)).collect();
            assert!(read == written[partition as usize], "{codec}, partition {partition}");
            assert_eq!(reader.lag(at(0, partition)), Some(0));
        }
    }
}

#[test]
fn headers_are_read_where_they_are_asked_for() {
    let Some(broker) = Broker::shared() else { return };
    for codec in ["none", "zstd"] {
        let (name, _) = make(broker, "headers", 1, &[]);
        let (other, _) = make(broker, "unasked", 1, &[]);
        let topics = Topics::new([&name, &other]);
        let mut config = config(broker);
        config.properties.insert("compression.type".into(), codec.into());
        let producer = Producer::new(&config).unwrap();
        let all: [&[(&str, &[u8])]; 5] = [
            &[("x-region", b"eu-1"), ("trace", b"\xff\x00"), ("x-cell", b"")],
            &[],
            &[("x-region", b"old"), ("X-Region", b"another"), ("x-region", b"new")],
            &[("trace", b"only")],
            &[("x-cell", b"7"), ("x-region", b"us-1")],
        ];
        for topic in [&name, &other] {
            for headers in all {
                let value = Some(&b"85%"[..]);
                let message = Message { topic, value, headers, ..Message::default() };
                producer.send(&message, LIMIT).unwrap();
            }
        }
        producer.flush(LIMIT).unwrap();
        let starts = [0, 1].map(|topic| (at(topic, 0), Start::Earliest));
        let mut reader = open(&config, &topics, &starts);
        let asked = topics.index(&name).unwrap();
        reader.read_headers(asked, ["x-region", "x-cell", "no\0name"]);
        let read = read_to_end(&mut reader, at(asked, 0));
        let read: Vec<Vec<(&str, &[u8])>> = read
            .iter()
            .map(|r| r.headers.iter().map(|(name, value)| (&**name, &**value)).collect())
            .collect();
        let expected: [&[(&str, &[u8])]; 5] = [
            &[("x-region", b"eu-1"), ("x-cell", b"")],
            &[],
            &[("x-region", b"new")],
            &[],
            &[("x-region", b"us-1"), ("x-cell", b"7")],
        ];
        assert_eq!(read, expected, "{codec}");
        let read = read_to_end(&mut reader, at(1 - asked, 0));
        assert!(read.len() == 5 && read.iter().all(|r| r.headers.is_empty()));
    }
}

#[test]
fn the_brokers_clock_is_told_from_the_producers() {
    let Some(broker) = Broker::shared() else { return };
    let (name, topics) =
        make(broker, "appended", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let config = config(broker);
    let producer = Producer::new(&config).unwrap();
    let message = Message {
        topic: &name,
        value: Some(b"x"),
        time: Some(EventTime::from_millis(1_000)),
        ..Message::default()
    };
    producer.send(&message, LIMIT).unwrap();
    producer.flush(LIMIT).unwrap();
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let read = read_count(&mut reader, at(0, 0), 1);
    let RecordTime::Appended(time) = read[0].time else { panic!("{read:?}") };
    assert!(time > EventTime::from_millis(1_600_000_000_000), "{time:?}");
}

#[test]
fn reading_starts_at_a_time() {
    let Some(broker) = Broker::shared() else { return };
    let (name, topics) = make(broker, "timed", 2, &[]);
    let config = config(broker);
    let producer = Producer::new(&config).unwrap();
    let base = 1_795_375_000_000;
    let send = |partition, offset: u64| {
        let value = offset.to_string();
        let message = Message {
            topic: &name,
            partition: Some(partition),
            value: Some(value.as_bytes()),
            time: Some(EventTime::from_millis(base + offset * 1_000)),
            ..Message::default()
        };
        producer.send(&message, LIMIT).unwrap();
        producer.flush(LIMIT).unwrap();
    };
    (0..10).for_each(|i| send(0, i));
    (0..3).for_each(|i| send(1, i));
    let from = |millis: u64| {
        let start = Start::Time(EventTime::from_millis(millis));
        let mut reader = open(&config, &topics, &[(at(0, 0), start), (at(0, 1), start)]);
        let read = [0, 1].map(|p| texts(&read_to_end(&mut reader, at(0, p))).len());
        (reader, read)
    };
    assert_eq!(from(0).1, [10, 3]);
    assert_eq!(from(base + 2_000).1, [8, 1]);
    assert_eq!(from(base + 2_001).1, [7, 0]);
    let (mut reader, none) = from(base + 60_000);
    assert_eq!(none, [0, 0]);
    // At the end for want of a later record: what comes is read, whatever its time.
    send(1, 3);
    assert_eq!(texts(&read_count(&mut reader, at(0, 1), 1)), ["3"]);
}

#[test]
fn a_crash_of_the_broker_loses_and_doubles_nothing() {
    if require(Service::Kafka).is_none() {
        return;
    }
    let mut broker = Broker::start().unwrap();
    let (name, topics) = make(&broker, "crash", 2, &[]);
    let config = config(&broker);
    let mut reader =
        open(&config, &topics, &[(at(0, 0), Start::Earliest), (at(0, 1), Start::Earliest)]);
    let producer = Producer::new(&config).unwrap();
    let send = |from: u64, to: u64| {
        for i in from..to {
            let value = i.to_string();
            let message = Message {
                topic: &name,
                partition: Some((i % 2) as i32),
                value: Some(value.as_bytes()),
                ..Message::default()
            };
            producer.send(&message, LIMIT).unwrap();
        }
    };
    send(0, 2_000);
    producer.flush(LIMIT).unwrap();
    let mut read = read_count(&mut reader, at(0, 0), 500);
    read_to_end(&mut reader, at(0, 1));
    broker.kill();
    // While it is gone, the partition at its end must not look idle.
    let deadline = Instant::now() + LIMIT;
    while poll(&mut reader, at(0, 1), 1, &mut Vec::new()) != Poll::Pending {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    send(2_000, 3_000);
    broker.restart().unwrap();
    assert_eq!(producer.flush(LIMIT).unwrap().delivered, 3_000);
    read.extend(read_count(&mut reader, at(0, 0), 1_000));
    let expected: Vec<String> = (0..1_500_u64).map(|i| (i * 2).to_string()).collect();
    assert_eq!(texts(&read), expected);
    let rest = read_to_end(&mut reader, at(0, 1));
    assert_eq!(rest.len(), 500);
    assert_eq!(texts(&rest)[0], "2001");
    assert_eq!(read_to_end(&mut reader, at(0, 0)), []);
}

#[test]
fn a_missing_topic_is_named_with_the_remedy() {
    let Some(broker) = Broker::shared() else { return };
    let config = config(broker);
    let (missing, topics) = (unique("missing"), Topics::new(["no-such-topic"]));
    let error = partitions(&config, &Topics::new([&missing]), LIMIT).unwrap_err().to_string();
    assert!(error.contains(&missing) && error.contains("tidewatch topics"), "{error}");
    for start in [Start::Latest, Start::Time(EventTime::MIN)] {
        let error = KafkaReader::open(&config, &topics, &[(at(0, 0), start)]).err().unwrap();
        assert!(matches!(error, ConnectorError::Refused { .. }), "{error:?}");
    }
    // Without a question to ask at the start, the first polls tell.
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let deadline = Instant::now() + LIMIT;
    let error = loop {
        match reader.poll(at(0, 0), budget(1), &mut |_| {}) {
            Err(error) => break error,
            Ok(poll) => assert_eq!(poll, Poll::Pending),
        }
        assert!(Instant::now() < deadline, "a missing topic is never told");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(matches!(error, ConnectorError::Refused { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_reach_their_topic() {
    let Some(broker) = Broker::shared() else { return };
    let (name, _) = make(broker, "dead-letters", 1, &[]);
    let mut writer =
        DeadLetterWriter::open(&config(broker), &Topics::new(["logs"]), &name).unwrap();
    let letter = |offset| DeadLetter {
        partition: at(0, 2),
        offset,
        generation: 0,
        reason: Reason::Unparseable,
        detail: "nonsense".into(),
        key: None,
        value: b"?".as_slice().into(),
        event_time: None,
    };
    let letters: Vec<_> = (0..500).map(letter).collect();
    let receipt = writer.write(&letters).await.unwrap();
    assert_eq!((receipt.accepted, receipt.rejected.len(), receipt.retry.len()), (500, 0, 0));
    let read = broker.read_all(&name).unwrap();
    assert_eq!(read.len(), 500);
    let origin = |offset: &str| {
        [
            ("tidewatch.reason", "unparseable"),
            ("tidewatch.detail", "nonsense"),
            ("tidewatch.topic", "logs"),
            ("tidewatch.partition", "2"),
            ("tidewatch.offset", offset),
            ("tidewatch.generation", "0"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
    };
    assert_eq!((&*read[7].value, &read[7].headers[..]), ("?", &origin("7")[..]));
    let mut lost = DeadLetterWriter::open(
        &KafkaConfig {
            properties: [("message.timeout.ms".into(), "2000".into())].into(),
            ..config(broker)
        },
        &Topics::new(["logs"]),
        "no-such-topic",
    )
    .unwrap();
    let error = lost.write(&[letter(1)]).await.unwrap_err();
    assert!(!matches!(error, ConnectorError::Permanent { .. }), "{error:?}");
}
