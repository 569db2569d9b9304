//! The fleet through a producer, and through the mock broker to a consumer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tidewatch_dataflow::time::{Clock, EventTime};

use super::super::fleet::{Fleet, Message};
use super::*;

#[derive(Clone, Default)]
struct Kept(std::sync::Arc<Mutex<Vec<Message>>>);

impl Produce for Kept {
    fn produce(&mut self, message: &Message) -> anyhow::Result<()> {
        self.0.lock().unwrap().push(message.clone());
        Ok(())
    }
    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_backlog_comes_at_once_and_the_rest_with_the_clock() {
    let start = EventTime::from_millis(1_800_000_000_000);
    let clock = Clock::manual(start);
    let kept = Kept::default();
    let feeder = Feeder::spawn(Fleet::new(1, 10, start), kept.clone(), clock.clone()).unwrap();
    until("the backlog", || feeder.progress().backlog.is_some());
    let backlog = Fleet::new(1, 10, start).until(start).count() as u64;
    assert_eq!(feeder.progress(), FeedProgress { sent: backlog, backlog: Some(backlog) });
    let later = start + Duration::from_secs(20);
    clock.set(later);
    let whole: Vec<Message> = Fleet::new(1, 10, start).until(later).collect();
    until("the live part", || kept.0.lock().unwrap().len() == whole.len());
    let fleet = feeder.stop().unwrap();
    assert_eq!(*kept.0.lock().unwrap(), whole);
    assert_eq!(fleet.start(), start);
}

#[test]
fn a_producer_that_fails_ends_the_feeder() {
    struct Broken;
    impl Produce for Broken {
        fn produce(&mut self, _: &Message) -> anyhow::Result<()> {
            anyhow::bail!("no broker")
        }
        fn flush(&mut self) -> anyhow::Result<()> {
            Ok(())
        }
    }
    let start = EventTime::from_millis(1_800_000_000_000);
    let feeder = Feeder::spawn(Fleet::new(1, 10, start), Broken, Clock::manual(start)).unwrap();
    until("the end", || feeder.has_ended());
    assert_eq!(feeder.stop().unwrap_err().to_string(), "no broker");
}

/// Every record of the backlog can be read back from the mock: it keeps them all, in order.
#[test]
fn the_mock_keeps_the_whole_backlog() {
    let start = EventTime::from_millis(1_800_000_000_000);
    let kafka = MockKafka::start(100).unwrap();
    let producer = FleetProducer::connect(kafka.brokers()).unwrap();
    let feeder = Feeder::spawn(Fleet::new(2, 100, start), producer, Clock::manual(start)).unwrap();
    until("the backlog", || feeder.progress().backlog.is_some());

    let mut expected: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for message in Fleet::new(2, 100, start).until(start) {
        expected.entry(format!("{} {}", message.topic, message.key)).or_default().push(message);
    }
    let total: usize = expected.values().map(Vec::len).sum();
    assert_eq!(feeder.progress().sent, total as u64);

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for topic in TOPICS {
        for partition in 0..partitions(100) {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&assignment).unwrap();
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = 0;
    until("reading everything back", || {
        while let Some(record) = consumer.poll(Duration::from_millis(50)) {
            let record = record.unwrap();
            let key = std::str::from_utf8(record.key().unwrap()).unwrap();
            let series = format!("{} {key}", record.topic());
            let next = read.entry(series.clone()).or_default();
            let message = &expected[&series][*next];
            assert_eq!(record.payload(), Some(message.value.as_slice()));
            let stamp = record.timestamp().to_millis();
            assert_eq!(stamp, Some(message.event_time.as_millis() as i64));
            *next += 1;
            count += 1;
        }
        count == total
    });
    drop(consumer);
    feeder.stop().unwrap();
}
