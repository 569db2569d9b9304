//! `tidewatch generate` to a real Apache Kafka: the topics hold the workload, record by record.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidewatch::generate::{Labels, Options, PARTITIONS, Topic, Workload};
use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::unique;

fn generate(broker: &Broker, name: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(["generate", "--messages", "99k", "--hosts", "150", "--seed", "5"])
        .args(["--brokers", &broker.bootstrap()])
        .args(["--metrics-topic", &format!("{name}-metrics")])
        .args(["--logs-topic", &format!("{name}-logs")])
        .args(more)
        .output()
        .unwrap()
}

/// Kafka's timestamp of the last record of partition 0.
fn last_timestamp(broker: &Broker, topic: &str) -> Option<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "unused")
        .create()
        .unwrap();
    let mut partition = TopicPartitionList::new();
    partition.add_partition_offset(topic, 0, Offset::OffsetTail(1)).unwrap();
    consumer.assign(&partition).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match consumer.poll(Duration::from_millis(200)) {
            Some(message) => return message.unwrap().timestamp().to_millis(),
            None => assert!(Instant::now() < deadline, "the last record of {topic} does not come"),
        }
    }
}

#[test]
fn topics_hold_the_workload_and_are_never_mixed() {
    let Some(broker) = Broker::shared() else { return };
    let name = unique("generate");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.json");
    let output = generate(broker, &name, &["--labels", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let labels: Labels = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let workload = Workload::new(Options { hosts: 150, ..Options::new(5, 99_000) }).unwrap();
    for (topic, suffix) in Topic::ALL.into_iter().zip(["metrics", "logs"]) {
        let topic_name = format!("{name}-{suffix}");
        let mut there = broker.read_all(&topic_name).unwrap();
        there.sort_by_key(|record| (record.partition, record.offset));
        assert_eq!(there.len() as u64, labels.records.of(topic));
        let mut there = there.into_iter();
        for partition in 0..PARTITIONS {
            let done: Result<(), Infallible> = workload.records(topic, partition, |wanted| {
                let found = there.next().unwrap();
                assert_eq!(found.partition, i32::try_from(partition).unwrap());
                assert_eq!(found.key.as_deref(), Some(wanted.key));
                assert_eq!(found.value.as_bytes(), wanted.payload);
                Ok(())
            });
            done.unwrap();
        }
        let mark = i64::try_from(workload.mark_ms()).unwrap();
        assert_eq!(last_timestamp(broker, &topic_name), Some(mark), "event time is Kafka's time");
    }

    for compression in ["none", "zstd"] {
        let again = generate(broker, &name, &["--compression", compression]);
        let told = String::from_utf8(again.stderr).unwrap();
        assert_eq!(again.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("topic `{name}-metrics` is there already")), "{told}");
    }
    let packed = generate(broker, &unique("packed"), &["--compression", "zstd"]);
    assert_eq!(packed.status.code(), Some(0), "{packed:?}");
}
