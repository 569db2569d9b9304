//! The real Kafka starts, answers, keeps its data over a crash, and ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tidewatch_testkit::{
    Service,
    kafka::{Broker, Message},
    require, unique, wait_for,
};

fn message(partition: i32, value: &str) -> Message {
    Message { partition: Some(partition), value: value.into(), ..Message::default() }
}

fn values(broker: &Broker, topic: &str) -> Vec<(i32, i64, String)> {
    let records = broker.read_all(topic).unwrap();
    records.into_iter().map(|record| (record.partition, record.offset, record.value)).collect()
}

#[test]
fn topics_are_made_written_and_read() {
    let Some(broker) = Broker::shared() else { return };
    let topic = unique("cpu-usage");
    assert!(broker.read_all(&topic).is_err(), "a topic came into being by being read");
    broker.create_topic_with(&topic, 2, &[("retention.ms", "604800000")]).unwrap();
    assert!(broker.create_topic(&topic, 2).is_err(), "it exists already");
    assert_eq!(values(broker, &topic), []);
    let messages = [message(1, "a"), message(0, "b"), message(1, "c")];
    broker.produce(&topic, &messages).unwrap();
    let expected = [(0, 0, "b".to_owned()), (1, 0, "a".to_owned()), (1, 1, "c".to_owned())];
    assert_eq!(values(broker, &topic), expected);
    assert!(broker.produce("no-such-topic", &[message(0, "x")]).is_err());
}

#[test]
fn acknowledged_messages_survive_a_crash_and_the_end_is_the_end() {
    if require(Service::Kafka).is_none() {
        return;
    }
    let mut broker = Broker::start().unwrap();
    let topic = unique("logs");
    broker.create_topic(&topic, 1).unwrap();
    broker.produce(&topic, &[message(0, "before")]).unwrap();
    broker.kill();
    broker.restart().unwrap();
    let written =
        wait_for(Duration::from_secs(60), || broker.produce(&topic, &[message(0, "after")]).ok());
    assert!(written.is_some(), "it takes no messages after its restart");
    let expected = [(0, 0, "before".to_owned()), (0, 1, "after".to_owned())];
    assert_eq!(values(&broker, &topic), expected);
    let address = broker.bootstrap();
    drop(broker);
    assert!(std::net::TcpStream::connect(address).is_err(), "it still listens");
}
