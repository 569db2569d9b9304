//! The Kafka reader against librdkafka's mock cluster, in process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod kafka_util;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_util::{
    LIMIT, at, budget, cluster, fill, open, poll, read_count, read_to_end, texts, until_error,
    write,
};
use proptest::prelude::*;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_connectors::kafka::{
    Assigned, KafkaConfig, KafkaReader, OnRetention, PartitionFault, SeenRecord, Start,
};
use tidewatch_dataflow::record::{RecordTime, Topics};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Poll, SourceReader};
use tidewatch_dataflow::time::EventTime;

#[test]
fn every_record_once_and_in_order_from_partitions_filled_unevenly() {
    let (_mock, config) = cluster(&[("logs", 3), ("metrics", 24)]);
    // From nothing to more than one budget.
    let counts: BTreeMap<i32, usize> =
        (0..24).map(|p| (p, [0, 1, 7, 100, 2_500][p as usize % 5])).collect();
    fill(&config, "metrics", &counts);
    fill(&config, "logs", &BTreeMap::from([(2, 5)]));
    let topics = Topics::new(["metrics", "logs"]);
    let metrics = topics.index("metrics").unwrap();
    let assignment: Vec<_> = (0..24)
        .map(|p| (at(metrics, p), Start::Earliest))
        .chain([(at(topics.index("logs").unwrap(), 2), Start::Earliest)])
        .collect();
    let mut reader = open(&config, &topics, &assignment);
    assert!(reader.partitions().is_sorted());
    assert_eq!(reader.partitions().len(), 25);
    for (partition, count) in counts {
        let read = read_to_end(&mut reader, at(metrics, partition));
        let expected: Vec<String> = (0..count).map(|i| format!("{partition}/{i}")).collect();
        assert_eq!(texts(&read), expected, "partition {partition}");
        assert!(read.iter().map(|r| r.offset).eq(0..count as i64));
        assert_eq!(reader.position(at(metrics, partition)), Some(count as i64));
        assert_eq!(reader.lag(at(metrics, partition)), Some(0));
    }
    let read = read_to_end(&mut reader, at(topics.index("logs").unwrap(), 2));
    assert_eq!(texts(&read), ["2/0", "2/1", "2/2", "2/3", "2/4"]);
}

#[test]
fn a_partition_left_unread_does_not_keep_the_others_from_being_read() {
    let (_mock, mut config) = cluster(&[("t", 2)]);
    // Room for a few hundred records of partition 0 at most.
    config.prefetch = "32KiB".parse().unwrap();
    let producer = Producer::new(&config).unwrap();
    let value = vec![b'x'; 1_000];
    for i in 0..2_000 {
        let message = Message {
            topic: "t",
            partition: Some(i32::from(i % 4 == 0)),
            value: Some(&value),
            ..Message::default()
        };
        producer.send(&message, LIMIT).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    let topics = Topics::new(["t"]);
    let mut reader =
        open(&config, &topics, &[(at(0, 0), Start::Earliest), (at(0, 1), Start::Earliest)]);
    assert_eq!(read_to_end(&mut reader, at(0, 1)).len(), 500);
    assert_eq!(read_to_end(&mut reader, at(0, 0)).len(), 1_500);
}

#[test]
fn the_end_stays_the_end_until_a_record_comes() {
    let (_mock, config) = cluster(&[("t", 1)]);
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    // An empty partition has an end too.
    assert_eq!(read_to_end(&mut reader, at(0, 0)), []);
    // Over two rounds of statistics, in which the broker proves to be well.
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        assert_eq!(poll(&mut reader, at(0, 0), 10, &mut Vec::new()), Poll::AtEnd);
        std::thread::sleep(Duration::from_millis(20));
    }
    write(&config, "t", &["a"]);
    assert_eq!(texts(&read_count(&mut reader, at(0, 0), 1)), ["a"]);
    assert_eq!(read_to_end(&mut reader, at(0, 0)), []);
}

#[test]
fn an_outage_is_not_taken_for_the_end() {
    let (mock, config) = cluster(&[("t", 1)]);
    write(&config, "t", &["a"]);
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["a"]);
    assert!(is_heard(&mut reader, true));
    mock.broker_down(1).unwrap();
    until(&mut reader, Poll::Pending);
    assert!(is_heard(&mut reader, false));
    let health = reader.health().snapshot();
    assert!(health.problems()[0].contains("no broker can be reached"), "{health:?}");
    mock.broker_up(1).unwrap();
    until(&mut reader, Poll::AtEnd);
    assert!(is_heard(&mut reader, true));
    write(&config, "t", &["b"]);
    assert_eq!(texts(&read_count(&mut reader, at(0, 0), 1)), ["b"]);
}

/// Polls partition 0 until the client's health is `ready`.
fn is_heard(reader: &mut KafkaReader, ready: bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    while reader.health().snapshot().is_ready() != ready && Instant::now() < deadline {
        poll(reader, at(0, 0), 10, &mut Vec::new());
        std::thread::sleep(Duration::from_millis(10));
    }
    reader.health().snapshot().is_ready() == ready
}

/// Polls partition 0 until the answer is `wanted`.
fn until(reader: &mut KafkaReader, wanted: Poll) {
    let deadline = Instant::now() + LIMIT;
    while poll(reader, at(0, 0), 10, &mut Vec::new()) != wanted {
        assert!(Instant::now() < deadline, "never {wanted:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn arrivals_and_ends_wake() {
    let (_mock, config) = cluster(&[("t", 2)]);
    let topics = Topics::new(["t"]);
    let mut reader =
        open(&config, &topics, &[(at(0, 0), Start::Earliest), (at(0, 1), Start::Earliest)]);
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    reader.on_arrival(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    // Only a wake-up is followed by polls, as a parked worker would do it.
    let wait = |reader: &mut KafkaReader, wanted: &mut dyn FnMut(&mut KafkaReader) -> bool| {
        let deadline = Instant::now() + LIMIT;
        loop {
            while woken.swap(0, Ordering::SeqCst) == 0 {
                assert!(Instant::now() < deadline, "not woken");
                std::thread::sleep(Duration::from_micros(100));
            }
            if wanted(reader) {
                return;
            }
        }
    };
    let mut at_end = |reader: &mut KafkaReader| {
        (0..2).all(|p| poll(reader, at(0, p), 10, &mut Vec::new()) == Poll::AtEnd)
    };
    wait(&mut reader, &mut at_end);
    for round in 0..5 {
        write(&config, "t", &["x"]);
        wait(&mut reader, &mut |reader| {
            let mut read = Vec::new();
            poll(reader, at(0, 0), 10, &mut read);
            read.first().is_some_and(|r| r.offset == round)
        });
    }
}

#[test]
fn reading_starts_where_it_is_told_to() {
    let (_mock, config) = cluster(&[("t", 1)]);
    write(&config, "t", &["a", "b", "c"]);
    let topics = Topics::new(["t"]);
    let from = |start| {
        let mut reader = open(&config, &topics, &[(at(0, 0), start)]);
        let read = read_to_end(&mut reader, at(0, 0));
        (reader, texts(&read))
    };
    assert_eq!(from(Start::Earliest).1, ["a", "b", "c"]);
    assert_eq!(from(Start::Offset(2)).1, ["c"]);
    assert_eq!(from(Start::Offset(3)).1, [""; 0]);
    let (mut latest, none) = from(Start::Latest);
    assert_eq!(none, [""; 0]);
    // The mock knows no offsets of times; without a record late enough, a time means the end.
    let (mut future, none) = from(Start::Time(EventTime::from_millis(4_000_000_000_000)));
    assert_eq!(none, [""; 0]);
    write(&config, "t", &["d"]);
    assert_eq!(texts(&read_count(&mut latest, at(0, 0), 1)), ["d"]);
    assert_eq!(texts(&read_count(&mut future, at(0, 0), 1)), ["d"]);
}

#[test]
fn what_is_written_right_after_opening_at_the_end_is_read() {
    let (_mock, config) = cluster(&[("t", 1)]);
    write(&config, "t", &["old"]);
    let topics = Topics::new(["t"]);
    // No poll between opening and writing: the end is that of the moment of opening.
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Latest)]);
    write(&config, "t", &["new"]);
    assert_eq!(texts(&read_count(&mut reader, at(0, 0), 1)), ["new"]);
    assert_eq!(reader.position(at(0, 0)), Some(2));
}

#[test]
fn a_log_that_is_too_short_stops_that_partition_only_and_says_so() {
    let (_mock, config) = cluster(&[("t", 2)]);
    fill(&config, "t", &BTreeMap::from([(0, 3), (1, 3)]));
    let topics = Topics::new(["t"]);
    let mut reader =
        open(&config, &topics, &[(at(0, 0), Start::Offset(99)), (at(0, 1), Start::Earliest)]);
    let error = until_error(&mut reader, at(0, 0));
    let ConnectorError::Refused { endpoint, reason } = &error else { panic!("{error:?}") };
    assert!(endpoint.contains("t/0"), "{endpoint}");
    for part in ["offset 99", "ends at 3", "topic was recreated", "`on_recreated"] {
        assert!(reason.contains(part), "no {part} in: {reason}");
    }
    assert!(reader.poll(at(0, 0), budget(10), &mut |_| {}).is_err(), "it must be told again");
    let fault = reader.fault(at(0, 0)).unwrap();
    assert_eq!(fault, PartitionFault::Shorter { wanted: 99, first: 0, end: 3 });
    let health = reader.health().snapshot();
    assert!(health.stopped.len() == 1 && health.stopped[0].contains("t/0"), "{health:?}");
    assert!(!health.is_ready());
    assert_eq!(read_to_end(&mut reader, at(0, 1)).len(), 3);

    reader.restart(at(0, 0), Some(1)).unwrap();
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["0/1", "0/2"]);
    assert_eq!((reader.fault(at(0, 0)), reader.health().snapshot().stopped.len()), (None, 0));
}

#[test]
fn the_record_before_proves_that_the_log_is_the_same() {
    let (_mock, config) = cluster(&[("t", 1)]);
    write(&config, "t", &["a", "b", "c", "d"]);
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    read_count(&mut reader, at(0, 0), 2);
    let seen = reader.last_seen(at(0, 0)).unwrap();
    assert_eq!((seen.offset, reader.position(at(0, 0))), (1, Some(2)));
    let from = |seen| {
        let start = Start::Offset(2);
        let assigned = Assigned { partition: at(0, 0), start, seen: Some(seen) };
        KafkaReader::open_with(&config, &topics, &[assigned], OnRetention::Error).unwrap()
    };
    let mut same = from(seen);
    assert_eq!(same.position(at(0, 0)), Some(2));
    // A budget of one is spent on the record that is compared, and there is more.
    assert_eq!(texts(&read_one_by_one(&mut same, 2)), ["c", "d"]);
    let mut other = from(SeenRecord { hash: seen.hash ^ 1, ..seen });
    let error = until_error(&mut other, at(0, 0)).to_string();
    assert!(error.contains("offset 1 ") && error.contains("topic was recreated"), "{error}");
    assert_eq!(other.fault(at(0, 0)), Some(PartitionFault::Different { offset: 1, first: 0 }));
}

/// Polls for one record at a time, each time only after a wake-up or a record.
fn read_one_by_one(reader: &mut KafkaReader, count: usize) -> Vec<kafka_util::Read> {
    let woken = Arc::new(AtomicUsize::new(1));
    let counter = Arc::clone(&woken);
    reader.on_arrival(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let mut read = Vec::new();
    let deadline = Instant::now() + LIMIT;
    while read.len() < count {
        assert!(Instant::now() < deadline, "not woken");
        if woken.swap(0, Ordering::SeqCst) > 0 {
            while poll(reader, at(0, 0), 1, &mut read) == Poll::Ready {}
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    read
}

#[test]
fn keys_tombstones_empty_values_and_timestamps() {
    let (_mock, config) = cluster(&[("t", 1)]);
    let producer = Producer::new(&config).unwrap();
    let bare = Message { topic: "t", partition: Some(0), ..Message::default() };
    let time = EventTime::from_millis(1_795_375_196_123);
    for message in [
        Message { key: Some(b"web-1"), value: Some(b"85%"), time: Some(time), ..bare },
        Message { key: Some(b"web-1"), value: None, time: Some(time), ..bare },
        Message { key: None, value: Some(b""), ..bare },
        Message { key: Some(b""), value: Some(&[0xff, 0]), ..bare },
    ] {
        producer.send(&message, LIMIT).unwrap();
    }
    let counts = producer.flush(LIMIT).unwrap();
    assert_eq!((counts.queued, counts.delivered, counts.failed), (4, 4, 0));
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let read = read_to_end(&mut reader, at(0, 0));
    let content: Vec<_> = read.iter().map(|r| (r.key.as_deref(), r.value.as_deref())).collect();
    assert_eq!(
        content,
        [
            (Some(&b"web-1"[..]), Some(&b"85%"[..])),
            (Some(b"web-1"), None),
            (None, Some(b"")),
            (Some(b""), Some(&[0xff, 0])),
        ]
    );
    assert_eq!(read[0].time, RecordTime::Created(time));
    assert!(
        matches!(read[2].time, RecordTime::Created(t) if t > EventTime::from_millis(1_600_000_000_000))
    );
}

#[test]
fn a_panic_in_the_visitor_neither_leaks_nor_breaks_the_reader() {
    let (_mock, config) = cluster(&[("t", 1)]);
    write(&config, "t", &["a", "b", "c", "d"]);
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let deadline = Instant::now() + LIMIT;
    loop {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            reader.poll(at(0, 0), budget(2), &mut |_| std::panic::resume_unwind(Box::new("poison")))
        }));
        if polled.is_err() {
            break;
        }
        assert!(Instant::now() < deadline, "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
    // What was handed out counts as handed out.
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["c", "d"]);
}

#[test]
fn a_budget_is_kept_and_bounded() {
    let (_mock, config) = cluster(&[("t", 1)]);
    fill(&config, "t", &BTreeMap::from([(0, 20_000)]));
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let mut read = 0;
    let deadline = Instant::now() + LIMIT;
    for budget_of in [1, 2, 8_192, 1_000_000].into_iter().cycle() {
        reader
            .poll(at(0, 0), budget(budget_of), &mut |batch| {
                assert!(batch.records.len() <= budget_of.min(8_192));
                assert_eq!(batch.records[0].offset, read);
                read += batch.records.len() as i64;
            })
            .unwrap();
        if read == 20_000 {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn partitions_can_be_added_while_others_are_read() {
    let (_mock, config) = cluster(&[("t", 2)]);
    fill(&config, "t", &BTreeMap::from([(0, 3), (1, 4)]));
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 1), Start::Earliest)]);
    assert_eq!(read_to_end(&mut reader, at(0, 1)).len(), 4);
    reader.assign(at(0, 0), Some(1)).unwrap();
    assert_eq!(reader.partitions(), [at(0, 0), at(0, 1)]);
    assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["0/1", "0/2"]);
    assert_eq!(read_to_end(&mut reader, at(0, 1)), [], "what was read stays read");
    let foreign = reader.poll(at(0, 7), budget(1), &mut |_| {}).unwrap_err();
    assert!(matches!(foreign, ConnectorError::Permanent { .. }), "{foreign:?}");
    // Assigning again what is being read changes nothing, and does not end its reading.
    reader.assign(at(0, 1), None).unwrap();
    assert_eq!(read_to_end(&mut reader, at(0, 1)), []);
    fill(&config, "t", &BTreeMap::from([(1, 1)]));
    assert_eq!(texts(&read_count(&mut reader, at(0, 1), 1)), ["1/0"]);
}

#[test]
fn assigning_waits_for_nobody() {
    let config = KafkaConfig::new(["127.0.0.1:1"]);
    let mut reader = open(&config, &Topics::new(["t"]), &[]);
    let started = Instant::now();
    reader.assign(at(0, 3), None).unwrap();
    reader.assign(at(0, 4), Some(7)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(reader.partitions(), [at(0, 3), at(0, 4)]);
    assert_eq!((reader.position(at(0, 3)), reader.position(at(0, 4))), (None, Some(7)));
    assert_eq!(poll(&mut reader, at(0, 3), 10, &mut Vec::new()), Poll::Pending);
}

#[test]
fn fetch_errors_of_the_broker_lose_and_double_nothing() {
    let (mock, config) = cluster(&[("t", 1)]);
    let topics = Topics::new(["t"]);
    fill(&config, "t", &BTreeMap::from([(0, 500)]));
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR__TRANSPORT as LOST, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as MOVED,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as SLOW,
    };
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
    let mut read = read_count(&mut reader, at(0, 0), 100);
    mock.request_errors(RDKafkaApiKey::Fetch, &[MOVED, LOST, SLOW, LOST]);
    // The helper unwraps every poll: a fault that passes is no error of the reader.
    fill(&config, "t", &BTreeMap::from([(0, 500)]));
    read.extend(read_count(&mut reader, at(0, 0), 900));
    assert!(read.iter().map(|r| r.offset).eq(0..1_000));
}

#[test]
fn nobody_there_is_pending_and_a_missing_topic_is_refused() {
    // A port that was free a moment ago and that nobody listens on.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let config = KafkaConfig::new([format!("127.0.0.1:{port}")]);
    let topics = Topics::new(["t"]);
    let mut reader = open(&config, &topics, &[(at(0, 0), Start::Offset(5))]);
    assert_eq!(poll(&mut reader, at(0, 0), 10, &mut Vec::new()), Poll::Pending);
    drop(reader);

    let (_mock, config) = cluster(&[("other", 1)]);
    let started = Instant::now();
    let error = KafkaReader::open(&config, &topics, &[(at(0, 0), Start::Latest)]).err().unwrap();
    assert!(matches!(error, ConnectorError::Refused { .. }), "{error:?}");
    assert!(started.elapsed() < LIMIT);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However budgets and partitions are mixed, each partition is read whole and in order.
    #[test]
    fn any_order_of_polls_reads_everything(
        counts in prop::collection::vec(0_usize..400, 1..6),
        turns in prop::collection::vec((0_usize..6, 1_usize..300), 1..60),
    ) {
        let partitions = counts.len();
        let (_mock, config) = cluster(&[("t", i32::try_from(partitions).unwrap())]);
        fill(&config, "t", &(0..).zip(counts.iter().copied()).collect());
        let topics = Topics::new(["t"]);
        let ids: Vec<_> = (0..).take(partitions).map(|p| at(0, p)).collect();
        let starts: Vec<_> = ids.iter().map(|id| (*id, Start::Earliest)).collect();
        let mut reader = open(&config, &topics, &starts);
        let mut read = vec![Vec::new(); partitions];
        for (turn, most) in turns {
            let which = turn % partitions;
            poll(&mut reader, ids[which], most, &mut read[which]);
        }
        for (which, id) in ids.iter().enumerate() {
            read[which].extend(read_to_end(&mut reader, *id));
            prop_assert!(read[which].iter().map(|r| r.offset).eq(0..counts[which] as i64));
        }
    }
}

#[test]
fn a_reader_may_be_made_on_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<KafkaReader>();
}
