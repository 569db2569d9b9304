//! What the Kafka tests share: a mock cluster in process, filling it, and reading until an end.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_connectors::kafka::{KafkaConfig, KafkaReader, SeenRecord, Start};
use tidewatch_dataflow::record::{
    PartitionId, Record, RecordBatch, RecordTime, Topics, record_hash,
};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Poll, SourceReader};

/// Long enough for a machine whose cores are busy compiling.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A mock cluster of one broker with `topics` of so many partitions each.
pub fn cluster(topics: &[(&str, i32)]) -> (Mock, KafkaConfig) {
    let mock = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        mock.create_topic(topic, *partitions, 1).unwrap();
    }
    let config = KafkaConfig::new(mock.bootstrap_servers().split(','));
    (mock, config)
}

pub type Mock = MockCluster<'static, DefaultProducerContext>;

pub fn at(topic: u32, partition: i32) -> PartitionId {
    PartitionId { topic, partition }
}

pub fn budget(records: usize) -> NonZeroUsize {
    NonZeroUsize::new(records).unwrap()
}

/// A record as it was read, owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub offset: i64,
    pub time: RecordTime,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Everything of `partition` from where the reader stands up to the end of the log.
pub fn read_to_end(reader: &mut KafkaReader, partition: PartitionId) -> Vec<Read> {
    let mut all = Vec::new();
    let deadline = Instant::now() + LIMIT;
    loop {
        match poll(reader, partition, 1_000, &mut all) {
            Poll::Ready => {}
            Poll::AtEnd => return all,
            Poll::Pending => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(Instant::now() < deadline, "no end after {} records", all.len());
    }
}

/// Polls until `count` records were read, whether or not that is the end.
pub fn read_count(reader: &mut KafkaReader, partition: PartitionId, count: usize) -> Vec<Read> {
    let mut all = Vec::new();
    let deadline = Instant::now() + LIMIT;
    while all.len() < count {
        if poll(reader, partition, count - all.len(), &mut all) != Poll::Ready {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(Instant::now() < deadline, "{} of {count} records", all.len());
    }
    all
}

/// One poll that must not fail; checks what every batch must be.
pub fn poll(
    reader: &mut KafkaReader,
    partition: PartitionId,
    most: usize,
    into: &mut Vec<Read>,
) -> Poll {
    let mut visits = 0;
    let poll = reader
        .poll(partition, budget(most), &mut |batch| {
            visits += 1;
            assert_eq!(batch.partition, partition);
            assert!(!batch.records.is_empty() && batch.records.len() <= most);
            into.extend(batch.records.iter().map(|record| {
                Read {
                    offset: record.offset,
                    time: record.time,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .iter()
                        .map(|header| (header.name.to_owned(), header.value.to_vec()))
                        .collect(),
                }
            }));
        })
        .unwrap();
    assert_eq!(visits, usize::from(poll == Poll::Ready));
    poll
}

pub fn open(config: &KafkaConfig, topics: &Topics, starts: &[(PartitionId, Start)]) -> KafkaReader {
    KafkaReader::open(config, topics, starts).unwrap()
}

/// Writes `count` numbered values to each partition named in `counts`, in rounds, so that the
/// partitions fill unevenly and interleaved.
pub fn fill(config: &KafkaConfig, topic: &str, counts: &BTreeMap<i32, usize>) {
    let producer = Producer::new(config).unwrap();
    let most = counts.values().copied().max().unwrap_or(0);
    for round in 0..most {
        for (partition, count) in counts {
            if round < *count {
                let value = format!("{partition}/{round}");
                let message = Message {
                    topic,
                    partition: Some(*partition),
                    value: Some(value.as_bytes()),
                    ..Message::default()
                };
                producer.send(&message, LIMIT).unwrap();
            }
        }
    }
    producer.flush(LIMIT).unwrap();
}

/// Writes `values` to partition 0.
pub fn write(config: &KafkaConfig, topic: &str, values: &[&str]) {
    let producer = Producer::new(config).unwrap();
    for value in values {
        let message = Message {
            topic,
            partition: Some(0),
            value: Some(value.as_bytes()),
            ..Message::default()
        };
        producer.send(&message, LIMIT).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

/// The values as text.
pub fn texts(read: &[Read]) -> Vec<String> {
    read.iter().map(|r| String::from_utf8(r.value.clone().unwrap_or_default()).unwrap()).collect()
}

/// How a record without key and with this value is remembered.
pub fn seen_of(offset: i64, value: &str) -> SeenRecord {
    let time = RecordTime::Unknown;
    let record = Record { offset, time, key: None, value: Some(value.as_bytes()), headers: &[] };
    SeenRecord { offset, hash: record_hash(&record) }
}

/// Polls until the partition cannot be read; no record may come before.
pub fn until_error(reader: &mut KafkaReader, partition: PartitionId) -> ConnectorError {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = &mut |batch: RecordBatch<'_>| panic!("read {:?}", batch.records);
        if let Err(error) = reader.poll(partition, budget(10), found) {
            return error;
        }
        assert!(Instant::now() < deadline, "it is never told");
        std::thread::sleep(Duration::from_millis(5));
    }
}
