//! Topics, producer and dead letters against librdkafka's mock cluster, and the configuration.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod kafka_util;

use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use kafka_util::{LIMIT, at, cluster};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidewatch_connectors::kafka::dead_letters::DeadLetterWriter;
use tidewatch_connectors::kafka::producer::{Message, Producer, Queued};
use tidewatch_connectors::kafka::{HealthSnapshot, KafkaConfig, TopicWatch, partitions};
use tidewatch_dataflow::dead_letter::{DeadLetter, Reason};
use tidewatch_dataflow::record::Topics;
use tidewatch_dataflow::sink::{ConnectorError, SinkWriter};
use tidewatch_dataflow::time::EventTime;

#[test]
fn partitions_of_all_topics_sorted() {
    let (_mock, config) = cluster(&[("b", 3), ("a", 2), ("unused", 9)]);
    let found = partitions(&config, &Topics::new(["b", "a"]), LIMIT).unwrap();
    assert_eq!(found, [at(0, 0), at(0, 1), at(1, 0), at(1, 1), at(1, 2)]);
    let watch = TopicWatch::new(&config).unwrap();
    assert_eq!(watch.partitions(&Topics::new(["a"]), LIMIT).unwrap(), [at(0, 0), at(0, 1)]);
}

#[test]
fn a_missing_topic_is_named_with_the_remedy_and_not_created() {
    let (_mock, config) = cluster(&[("there", 1)]);
    let topics = Topics::new(["there", "cpu-usage", "memory-usage"]);
    for _ in 0..2 {
        let error = partitions(&config, &topics, LIMIT).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ConnectorError::Refused { .. }), "{error:?}");
        for part in ["`cpu-usage`, `memory-usage`", "tidewatch topics"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("`there`"), "{text}");
    }
}

#[test]
fn a_broker_out_of_reach_is_transient_and_bounded() {
    let config = KafkaConfig::new(["127.0.0.1:1"]);
    let started = Instant::now();
    let error = partitions(&config, &Topics::new(["t"]), Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, ConnectorError::Transient { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn new_partitions_are_told_once_whatever_happens_to_the_broker() {
    let (mock, config) = cluster(&[("a", 3)]);
    let topics = Topics::new(["a", "later"]);
    let every = Duration::from_millis(50);
    let watch = TopicWatch::new(&config).unwrap();
    let (watch, found) = watch.watch(&topics, &[at(0, 0), at(0, 2), at(0, 7)], every).unwrap();
    assert_eq!(found.recv_timeout(LIMIT).unwrap(), at(0, 1));
    let until = |wanted: &dyn Fn(&HealthSnapshot) -> bool| {
        let deadline = Instant::now() + LIMIT;
        loop {
            let health = watch.health().snapshot();
            if wanted(&health) {
                return health;
            }
            assert!(Instant::now() < deadline, "{health:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let health = until(&|health| !health.unknown_topics.is_empty());
    assert_eq!(health.unknown_topics, ["later"]);
    assert_eq!(health.unknown, [("a".to_owned(), 7)]);
    mock.broker_down(1).unwrap();
    until(&|health| health.brokers_up == 0);
    mock.create_topic("later", 1, 1).unwrap();
    mock.broker_up(1).unwrap();
    assert_eq!(found.recv_timeout(LIMIT).unwrap(), at(1, 0));
    until(&|health| health.unknown_topics.is_empty() && health.brokers_up == 1);
    assert!(found.try_recv().is_err(), "told twice");
    drop(watch);
    let ended = found.recv_timeout(LIMIT);
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
}

#[test]
fn the_producer_is_bounded_counts_and_flushes() {
    let (_mock, mut config) = cluster(&[("t", 1)]);
    config.properties.insert("queue.buffering.max.messages".into(), "10".into());
    config.properties.insert("linger.ms".into(), "2000".into());
    let producer = Producer::new(&config).unwrap();
    let message = Message { topic: "t", value: Some(b"x"), ..Message::default() };
    let queued = (0..50).filter(|_| producer.try_send(&message).unwrap() == Queued::Yes).count();
    assert!((10..50).contains(&queued), "{queued} found room in a queue of 10");
    let counts = producer.flush(LIMIT).unwrap();
    assert_eq!((counts.queued, counts.delivered), (queued as u64, queued as u64));
    // Waiting for room instead.
    for _ in 0..30 {
        producer.send(&message, LIMIT).unwrap();
    }
    assert_eq!(producer.flush(LIMIT).unwrap().delivered, queued as u64 + 30);
}

#[test]
fn a_failed_delivery_is_counted_and_told_at_the_flush() {
    let mut config = KafkaConfig::new(["127.0.0.1:1"]);
    config.properties.insert("message.timeout.ms".into(), "300".into());
    let producer = Producer::new(&config).unwrap();
    let message = Message { topic: "t", value: Some(b"x"), ..Message::default() };
    assert_eq!(producer.try_send(&message).unwrap(), Queued::Yes);
    let error = producer.flush(LIMIT).unwrap_err();
    assert!(matches!(error, ConnectorError::Transient { .. }), "{error:?}");
    assert_eq!(producer.counts().failed, 1);
    let too_large = vec![b'x'; 2_000_000];
    let message = Message { topic: "t", value: Some(&too_large), ..Message::default() };
    let error = producer.try_send(&message).unwrap_err();
    assert!(matches!(error, ConnectorError::Permanent { .. }), "{error:?}");
}

fn letter(offset: i64, value: &[u8]) -> DeadLetter {
    DeadLetter {
        partition: at(1, 3),
        offset,
        generation: 0,
        reason: Reason::NotANumber,
        detail: "`höst` is no number".into(),
        key: Some(b"web-1"[..].into()),
        value: value.into(),
        event_time: Some(EventTime::from_millis(1_795_375_196_120)),
    }
}

#[tokio::test]
async fn dead_letters_carry_their_origin_and_reason() {
    let (_mock, config) = cluster(&[("dead", 1)]);
    let topics = Topics::new(["a", "cpu-usage"]);
    let mut writer = DeadLetterWriter::open(&config, &topics, "dead").unwrap();
    let batch = [
        letter(7, b"value"),
        letter(8, &vec![b'x'; 1_100_000]),
        DeadLetter { key: None, event_time: None, ..letter(9, b"") },
    ];
    let receipt = writer.write(&batch).await.unwrap();
    assert_eq!((receipt.accepted, receipt.retry.len()), (2, 0));
    assert_eq!(receipt.rejected.len(), 1);
    assert_eq!((receipt.rejected[0].index, receipt.rejected[0].reason), (1, Reason::TooLarge));

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", config.brokers.join(","))
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("dead", 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let message = consumer.poll(LIMIT).unwrap().unwrap();
    assert_eq!((message.key(), message.payload()), (Some(&b"web-1"[..]), Some(&b"value"[..])));
    let headers: Vec<(String, String)> = message
        .headers()
        .unwrap()
        .iter()
        .map(|h| (h.key.to_owned(), String::from_utf8(h.value.unwrap().to_vec()).unwrap()))
        .collect();
    let expected = [
        ("tidewatch.reason", "not_a_number"),
        ("tidewatch.detail", "`höst` is no number"),
        ("tidewatch.topic", "cpu-usage"),
        ("tidewatch.partition", "3"),
        ("tidewatch.offset", "7"),
        ("tidewatch.generation", "0"),
        ("tidewatch.event_time", "2026-11-22T19:19:56.120Z"),
    ];
    assert_eq!(headers, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    let message = consumer.poll(LIMIT).unwrap().unwrap();
    assert_eq!((message.key(), message.payload()), (None, Some(&b""[..])));
    assert_eq!(message.headers().unwrap().count(), 6);
}

#[tokio::test]
async fn dead_letters_without_brokers_are_transient() {
    let mut config = KafkaConfig::new(["127.0.0.1:1"]);
    config.properties.insert("message.timeout.ms".into(), "300".into());
    let mut writer = DeadLetterWriter::open(&config, &Topics::new(["t"]), "dead").unwrap();
    let error = writer.write(&[letter(1, b"x"), letter(2, b"y")]).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Transient { .. }), "{error:?}");
}

fn parse(text: &str) -> Result<KafkaConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn the_configuration_is_checked_without_a_network() {
    let good = parse(
        r#"{"brokers":["a:9092"],"security":{"protocol":"sasl_ssl","mechanism":"SCRAM-SHA-512",
            "username":"u","password":{"env":"X"},"ca":"/ca.pem"},
            "properties":{"fetch.wait.max.ms":"50"},"prefetch":"8MiB"}"#,
    )
    .unwrap();
    good.validate().unwrap();
    assert!(parse(r#"{"brokers":["a:1"],"broker":1}"#).unwrap_err().contains("broker"));

    let wrong = |text: &str| parse(text).unwrap().validate().unwrap_err().to_string();
    for (text, field) in [
        (r#"{"brokers":[]}"#, "`kafka.brokers`"),
        (r#"{"brokers":["nohost"]}"#, "`kafka.brokers`"),
        (r#"{"brokers":["a:1,b:2"]}"#, "`kafka.brokers`"),
        (r#"{"brokers":["a:1"],"security":{"protocol":"sasl_ssl"}}"#, "`kafka.security.mechanism`"),
        (r#"{"brokers":["a:1"],"security":{"username":"u"}}"#, "`kafka.security.protocol`"),
        (r#"{"brokers":["a:1"],"security":{"ca":"x"}}"#, "`kafka.security.protocol`"),
        (
            r#"{"brokers":["a:1"],"security":{"protocol":"ssl","key":"k"}}"#,
            "`kafka.security.certificate`",
        ),
        (r#"{"brokers":["a:1"],"properties":{"group.id":"x"}}"#, "`kafka.properties.group.id`"),
        (r#"{"brokers":["a:1"],"properties":{"no.such":"x"}}"#, "`kafka.properties.no.such`"),
        (
            r#"{"brokers":["a:1"],"properties":{"fetch.wait.max.ms":"soon"}}"#,
            "`kafka.properties.fetch.wait.max.ms`",
        ),
    ] {
        let error = wrong(text);
        assert!(error.contains(field), "{text}: {error}");
    }
}

#[test]
fn the_client_gets_the_tuned_values_and_the_users() {
    let mut config = KafkaConfig::new(["a:1", "b:2"]);
    config.properties = BTreeMap::from([("fetch.wait.max.ms".into(), "7".into())]);
    let client = config.consumer_config(4).unwrap();
    for (name, value) in [
        ("bootstrap.servers", "a:1,b:2"),
        ("fetch.queue.backoff.ms", "5"),
        ("enable.partition.eof", "true"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("check.crcs", "true"),
        ("auto.offset.reset", "error"),
        ("queued.max.messages.kbytes", "4096"),
        ("fetch.wait.max.ms", "7"),
    ] {
        assert_eq!(client.get(name), Some(value), "{name}");
    }
    assert_eq!(client.get("group.id"), None);
    client.create_native_config().unwrap();
    // Far more partitions than kilobytes still leave each something.
    let client = config.consumer_config(1_000_000).unwrap();
    assert_eq!(client.get("queued.max.messages.kbytes"), Some("16"));
}

#[test]
fn a_password_is_taken_from_its_place_and_never_shown() {
    let config = parse(
        r#"{"brokers":["a:1"],"security":{"protocol":"sasl_ssl","mechanism":"PLAIN",
            "username":"u","password":{"env":"TIDEWATCH_TEST_UNSET"}}}"#,
    )
    .unwrap();
    let error = config.client_config().unwrap_err().to_string();
    assert!(error.contains("TIDEWATCH_TEST_UNSET"), "{error}");
    let mut config = config;
    config.security.password =
        Some(tidewatch_dataflow::config::Secret::Given("swordfish".to_owned()));
    let client = config.client_config().unwrap();
    assert_eq!(client.get("sasl.password"), Some("swordfish"));
    assert!(!format!("{config:?} {client:?}").contains("swordfish"));
}
