//! What goes wrong in a real Kafka: retention, topics made anew, gaps, new partitions, leaders that move.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod kafka_util;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_util::{
    LIMIT, at, budget, open, poll, read_count, read_to_end, seen_of, texts, until_error, write,
};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_connectors::kafka::{
    Assigned, KafkaConfig, KafkaReader, OnRecreated, OnRetention, PartitionFault, SeenRecord,
    Start, TopicWatch,
};
use tidewatch_dataflow::record::Topics;
use tidewatch_dataflow::source::{Poll, SourceReader};
use tidewatch_testkit::kafka::{Broker, Cluster};
use tidewatch_testkit::{Service, require, unique, wait_for};

/// The broker of all tests here but the last; it compacts without waiting.
fn broker() -> Option<&'static Broker> {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    require(Service::Kafka)?;
    Some(BROKER.get_or_init(|| Broker::start_with(&[("log.cleaner.backoff.ms", "200")]).unwrap()))
}

fn config(brokers: Vec<String>) -> KafkaConfig {
    let mut config = KafkaConfig::new(brokers);
    config.properties.insert("reconnect.backoff.max.ms".into(), "500".into());
    config
}

/// A new topic of one partition with these settings, and how to reach it.
fn topic(
    broker: &Broker,
    prefix: &str,
    settings: &[(&str, &str)],
) -> (String, Topics, KafkaConfig) {
    let name = unique(prefix);
    broker.create_topic_with(&name, 1, settings).unwrap();
    let topics = Topics::new([&name]);
    (name, topics, config(vec![broker.bootstrap()]))
}

fn resume(
    config: &KafkaConfig,
    topics: &Topics,
    offset: i64,
    seen: Option<SeenRecord>,
    policy: OnRetention,
) -> KafkaReader {
    let assigned = Assigned { partition: at(0, 0), start: Start::Offset(offset), seen };
    KafkaReader::open_with(config, topics, &[assigned], policy).unwrap()
}

#[test]
fn retention_past_the_resume_offset_stops_or_is_counted() {
    let Some(broker) = broker() else { return };
    let (name, topics, config) = topic(broker, "removed", &[]);
    write(&config, &name, &["0", "1", "2", "3", "4", "5", "6", "7"]);
    broker.delete_records(&name, 0, 6).unwrap();

    let mut reader = resume(&config, &topics, 2, None, OnRetention::Error);
    let error = until_error(&mut reader, at(0, 0)).to_string();
    for part in [
        &format!("{name}/0"),
        "offset 2 is wanted",
        "6 is the first",
        "4 records",
        "`on_retention = \"earliest\"`",
    ] {
        assert!(error.contains(part), "no {part} in: {error}");
    }
    let fault = PartitionFault::Expired { wanted: 2, first: 6 };
    assert_eq!((reader.fault(at(0, 0)), fault.lost()), (Some(fault), 4));
    assert_eq!(reader.health().snapshot().stopped.len(), 1);
    reader.restart(at(0, 0), None).unwrap();
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["6", "7"]);

    let seen = seen_of(1, "1");
    let mut reader = resume(&config, &topics, 2, Some(seen), OnRetention::Earliest);
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["6", "7"]);
    assert_eq!((reader.lost(), reader.lost_of(at(0, 0))), (4, 4));
    assert_eq!(reader.health().snapshot().lost, 4);
    assert_eq!(reader.position(at(0, 0)), Some(8));
    // Only the record to be compared is gone: nothing is lost.
    let mut reader = resume(&config, &topics, 6, Some(seen_of(5, "5")), OnRetention::Error);
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["6", "7"]);
    assert_eq!(reader.lost(), 0);
}

#[test]
fn retention_overtaking_a_slow_reader_is_counted_exactly() {
    let Some(broker) = broker() else { return };
    let (name, topics, mut config) = topic(broker, "overtaken", &[]);
    let (value, mut writing) = ("x".repeat(20_000), config.clone());
    writing.properties.insert("compression.type".into(), "none".into());
    let producer = Producer::new(&writing).unwrap();
    for _ in 0..30 {
        let value = Some(value.as_bytes());
        producer.send(&Message { topic: &name, value, ..Message::default() }, LIMIT).unwrap();
        // One batch each.
        producer.flush(LIMIT).unwrap();
    }
    // A queue and fetches of one record or two.
    config.prefetch = "16KiB".parse().unwrap();
    for name in ["fetch.message.max.bytes", "fetch.max.bytes", "message.max.bytes"] {
        config.properties.insert(name.into(), "20500".into());
    }
    let mut reader = resume(&config, &topics, 0, None, OnRetention::Earliest);
    let mut read = read_count(&mut reader, at(0, 0), 3);
    broker.delete_records(&name, 0, 25).unwrap();
    read.extend(read_to_end(&mut reader, at(0, 0)));
    let offsets: Vec<i64> = read.iter().map(|r| r.offset).collect();
    let before = offsets.iter().filter(|offset| **offset < 25).count();
    let expected: Vec<i64> = (0..before as i64).chain(25..30).collect();
    assert_eq!(offsets, expected);
    assert!(before < 25, "it was never overtaken");
    assert_eq!(reader.lost(), 25 - before as u64);
}

#[test]
fn a_topic_made_anew_is_told_from_the_one_that_was_read() {
    let Some(broker) = broker() else { return };
    let (name, topics, config) = topic(broker, "anew", &[]);
    write(&config, &name, &["a", "b", "c"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["a", "b", "c"]);
    let seen = reader.last_seen(at(0, 0)).unwrap();
    assert_eq!(seen, seen_of(2, "c"));
    assert_eq!(
        read_to_end(&mut resume(&config, &topics, 3, Some(seen), OnRetention::Error), at(0, 0)),
        []
    );

    broker.delete_topic(&name).unwrap();
    let denied = wait_for(LIMIT, || {
        let _ = reader.poll(at(0, 0), budget(10), &mut |_| panic!("there is no more"));
        let health = reader.health().snapshot();
        (!health.unknown.is_empty()).then_some(health)
    });
    assert_eq!(denied.unwrap().unknown, [(name.clone(), 0)]);
    let made = wait_for(LIMIT, || broker.create_topic(&name, 1).ok());
    assert!(made.is_some());
    // Longer than the one before, so that no offset is out of range.
    write(&config, &name, &["v", "w", "x", "y", "z"]);
    // Telling that the topic is missing may go on for a moment.
    let found = wait_for(LIMIT, || {
        let _ = reader.poll(at(0, 0), budget(10), &mut |_| panic!("read from another log"));
        reader.fault(at(0, 0))
    });
    assert!(found.is_some_and(|fault| fault.is_recreated()), "{found:?}");
    let error = until_error(&mut reader, at(0, 0)).to_string();
    assert!(error.contains("topic was recreated"), "{error}");

    let different = PartitionFault::Different { offset: 2, first: 0 };
    let mut resumed = resume(&config, &topics, 3, Some(seen), OnRetention::Earliest);
    until_error(&mut resumed, at(0, 0));
    assert_eq!(resumed.fault(at(0, 0)), Some(different));
    let mut resumed = resume(&config, &topics, 9, None, OnRetention::Earliest);
    let error = until_error(&mut resumed, at(0, 0)).to_string();
    assert!(error.contains("ends at 5") && error.contains("topic was recreated"), "{error}");
    assert!(!resumed.is_recreated(at(0, 0)), "nobody has said that it is to be read anew");
    resumed.on_recreated(OnRecreated::Restart);
    assert!(resumed.is_recreated(at(0, 0)));

    // A log that has lost its beginning may be the old one, cut short.
    broker.delete_records(&name, 0, 3).unwrap();
    let mut resumed = resume(&config, &topics, 9, None, OnRetention::Earliest);
    resumed.on_recreated(OnRecreated::Restart);
    let error = until_error(&mut resumed, at(0, 0)).to_string();
    assert!(error.contains("cut short") && error.contains("`store`"), "{error}");
    assert!(!resumed.is_recreated(at(0, 0)));
}

#[test]
fn a_topic_made_anew_in_a_moment_is_noticed_before_anything_of_it_is_read() {
    let Some(broker) = broker() else { return };
    let (name, _, config) = topic(broker, "moment", &[]);
    let (other, _, _) = topic(broker, "stays", &[]);
    let topics = Topics::new([&name, &other]);
    let both = [at(0, 0), at(1, 0)];
    for topic in [&name, &other] {
        write(&config, topic, &["a", "b", "c"]);
    }
    let mut reader = open(&config, &topics, &both.map(|p| (p, Start::Earliest)));
    for partition in both {
        assert_eq!(texts(&read_to_end(&mut reader, partition)), ["a", "b", "c"]);
    }
    reader.on_recreated(OnRecreated::Restart);
    broker.delete_topic(&name).unwrap();
    let made = wait_for(LIMIT, || broker.create_topic(&name, 1).ok());
    assert!(made.is_some());
    // Nobody has polled since, and no offset is out of range.
    write(&config, &name, &["v", "w", "x", "y", "z"]);
    write(&config, &other, &["d"]);
    let found = wait_for(LIMIT, || {
        let _ = reader.poll(at(0, 0), budget(10), &mut |_| panic!("read from another log"));
        reader.fault(at(0, 0))
    });
    assert_eq!(found, Some(PartitionFault::Replaced));
    assert!(reader.is_recreated(at(0, 0)) && !reader.is_recreated(at(1, 0)));
    assert_eq!(texts(&read_count(&mut reader, at(1, 0), 1)), ["d"], "others are read on");
}

#[test]
fn transactions_leave_gaps_and_the_end_behind_them_is_found() {
    let Some(broker) = broker() else { return };
    let (name, topics, config) = topic(broker, "transactions", &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("transactional.id", unique("writer"))
        .create()
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    let send = |value: &str| {
        producer.send(BaseRecord::<(), str>::to(&name).payload(value)).unwrap();
        producer.flush(LIMIT).unwrap();
    };
    for (value, commit) in [("kept", true), ("dropped", false), ("kept too", true), ("no", false)] {
        producer.begin_transaction().unwrap();
        send(value);
        match commit {
            true => producer.commit_transaction(LIMIT).unwrap(),
            false => producer.abort_transaction(LIMIT).unwrap(),
        }
    }
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["kept", "kept too"]);
    // Behind four records and four markers.
    assert_eq!(reader.position(at(0, 0)), Some(8));
    assert_eq!(reader.lag(at(0, 0)), Some(0));
    let seen = reader.last_seen(at(0, 0)).unwrap();
    assert_eq!(seen.offset, 4);

    // Resumed amid the gap, and with an offset of a marker to compare.
    for seen in [seen, SeenRecord { offset: 5, ..seen }, SeenRecord { offset: 6, ..seen }] {
        for offset in [7, 8] {
            let mut resumed = resume(&config, &topics, offset, Some(seen), OnRetention::Error);
            assert_eq!(read_to_end(&mut resumed, at(0, 0)), []);
            assert_eq!(resumed.position(at(0, 0)), Some(8));
        }
    }
    // What is not yet committed is not there yet: the log ends before it.
    producer.begin_transaction().unwrap();
    send("last");
    assert_eq!(read_to_end(&mut reader, at(0, 0)), []);
    producer.commit_transaction(LIMIT).unwrap();
    assert_eq!(texts(&read_count(&mut reader, at(0, 0), 1)), ["last"]);
}

#[test]
fn a_compacted_topic_is_read_over_its_gaps() {
    let Some(broker) = broker() else { return };
    let (name, topics, config) = topic(
        broker,
        "compacted",
        &[
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.01"),
        ],
    );
    let producer = Producer::new(&config).unwrap();
    let mut written = 0;
    let mut send = |count: i64| {
        for _ in 0..count {
            let (key, value) = (format!("k{}", written % 3), written.to_string());
            let message = Message {
                topic: &name,
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                ..Message::default()
            };
            producer.send(&message, LIMIT).unwrap();
            written += 1;
        }
        producer.flush(LIMIT).unwrap();
        written
    };
    send(30);
    // Each addition closes the segment before, which is compacted then.
    let compacted = wait_for(LIMIT, || {
        let written = send(1);
        std::thread::sleep(Duration::from_millis(150));
        let left = broker.read_all(&name).unwrap();
        (left.first()?.offset > 5).then_some((written, left))
    });
    let (written, left) = compacted.expect("it is never compacted");
    assert!((left.len() as i64) < written);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let read = read_to_end(&mut reader, at(0, 0));
    assert!(read.is_sorted_by_key(|r| r.offset) && read.len() as i64 >= 3);
    assert!(read.iter().all(|r| r.value == Some(r.offset.to_string().into_bytes())));
    assert_eq!(reader.position(at(0, 0)), Some(written));
    // The place and the record before it are compacted away.
    let seen = SeenRecord { offset: 1, hash: 1 };
    let mut resumed = resume(&config, &topics, 2, Some(seen), OnRetention::Error);
    assert_eq!(read_to_end(&mut resumed, at(0, 0)).last(), read.last());
    assert_eq!((resumed.lost(), resumed.fault(at(0, 0))), (0, None));
}

#[test]
fn new_partitions_are_found_and_read_from_their_beginning() {
    let Some(broker) = broker() else { return };
    let (name, topics, config) = topic(broker, "grown", &[]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Latest)]);
    let every = Duration::from_millis(100);
    let watch = TopicWatch::new(&config).unwrap();
    let (watch, found) = watch.watch(&topics, &[at(0, 0)], every).unwrap();
    broker.grow_topic(&name, 3).unwrap();
    kafka_util::fill(&config, &name, &[(0, 2), (1, 3), (2, 0)].into());
    for partition in [1, 2] {
        let new = found.recv_timeout(LIMIT).unwrap();
        assert_eq!(new, at(0, partition));
        let started = Instant::now();
        reader.assign(new, None).unwrap();
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    }
    for (partition, count) in [(2, 0), (1, 3), (0, 2)] {
        assert_eq!(read_to_end(&mut reader, at(0, partition)).len(), count, "{partition}");
    }
    broker.delete_topic(&name).unwrap();
    let missed = wait_for(LIMIT, || {
        let health = watch.health().snapshot();
        (!health.unknown_topics.is_empty()).then_some(health)
    });
    assert_eq!(missed.unwrap().unknown_topics, [name]);
}

#[test]
fn a_message_larger_than_a_fetch_is_read() {
    let Some(broker) = broker() else { return };
    let (name, topics, mut config) = topic(broker, "large", &[("max.message.bytes", "6000000")]);
    let mut writing = config.clone();
    for (key, value) in [("message.max.bytes", "6000000"), ("compression.type", "none")] {
        writing.properties.insert(key.into(), value.into());
    }
    let large = "x".repeat(5_000_000);
    write(&writing, &name, &["before", &large, "after"]);
    config.prefetch = "16KiB".parse().unwrap();
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let sizes: Vec<usize> =
        texts(&read_to_end(&mut reader, at(0, 0))).iter().map(String::len).collect();
    assert_eq!(sizes, [6, 5_000_000, 5]);
}

#[test]
fn a_leader_that_dies_loses_and_doubles_nothing() {
    if require(Service::Kafka).is_none() {
        return;
    }
    let mut cluster = Cluster::start().unwrap();
    let name = unique("moved");
    cluster.create_topic(&name, 1).unwrap();
    let config = config(cluster.bootstrap());
    let topics = Topics::new([&name]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let producer = Producer::new(&config).unwrap();
    let stop = AtomicBool::new(false);
    let mut read = Vec::new();
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut next = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let value = next.to_string();
                let value = Some(value.as_bytes());
                let message = Message { topic: &name, value, ..Message::default() };
                producer.send(&message, LIMIT).unwrap();
                next += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            next
        });
        read.extend(read_count(&mut reader, at(0, 0), 500));
        let leader = wait_for(LIMIT, || cluster.leader(&name, 0)).unwrap();
        cluster.kill(leader);
        let at_kill = producer.counts().delivered;
        let is_told = |reader: &KafkaReader| {
            let health = reader.health().snapshot();
            !health.brokers_down.is_empty() || !health.leaderless.is_empty()
        };
        let deadline = Instant::now() + LIMIT;
        let mut told = false;
        while !told || producer.counts().delivered < at_kill + 500 {
            if poll(&mut reader, at(0, 0), 1_000, &mut read) != Poll::Ready {
                std::thread::sleep(Duration::from_millis(1));
            }
            told |= is_told(&reader);
            assert!(Instant::now() < deadline, "told: {told}, no new leader");
        }
        let new = wait_for(LIMIT, || cluster.leader(&name, 0).filter(|new| *new != leader));
        assert!(new.is_some(), "the leader has not moved");
        cluster.restart(leader).unwrap();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert_eq!(producer.flush(LIMIT).unwrap().delivered, written);
    let left = written as usize - read.len();
    read.extend(read_count(&mut reader, at(0, 0), left));
    assert!(read.iter().map(|r| r.offset).eq(0..written as i64));
    assert!(texts(&read).into_iter().eq((0..written).map(|i| i.to_string())));
    assert_eq!(read_to_end(&mut reader, at(0, 0)), []);
}
