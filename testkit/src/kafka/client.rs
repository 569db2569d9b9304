//! Topics, messages and what is in a topic: the client side of a test.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};

use super::Broker;
use crate::{Error, Result};

/// How long a single request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// How long one probe of a starting broker may take.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// A message to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Partition to write to; by the key's hash if `None`.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<String>,
    /// Value.
    pub value: String,
    /// Kafka's own timestamp in milliseconds; now if `None`.
    pub timestamp: Option<i64>,
}

/// A message as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Key; bytes that are not UTF-8 are replaced.
    pub key: Option<String>,
    /// Value; bytes that are not UTF-8 are replaced, none is empty.
    pub value: String,
    /// Headers in their order; bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    // A restarted broker is asked again quickly.
    config.set("reconnect.backoff.max.ms", "500");
    config
}

/// Whether the broker serves requests and knows `brokers` brokers.
pub(super) fn answers(bootstrap: &str, brokers: usize) -> std::result::Result<(), String> {
    let consumer: BaseConsumer = config(bootstrap).create().map_err(|error| error.to_string())?;
    let metadata = consumer.fetch_metadata(None, PROBE_LIMIT).map_err(|error| error.to_string())?;
    let found = metadata.brokers().len();
    if found < brokers { Err(format!("{found} of {brokers} brokers registered")) } else { Ok(()) }
}

/// The number of the broker that leads a partition.
pub(super) fn leader(bootstrap: &str, topic: &str, partition: i32) -> Option<i32> {
    let consumer: BaseConsumer = config(bootstrap).create().ok()?;
    let metadata = consumer.fetch_metadata(Some(topic), PROBE_LIMIT).ok()?;
    let partitions = metadata.topics().first()?.partitions();
    let leader = partitions.iter().find(|found| found.id() == partition)?.leader();
    (leader >= 0).then_some(leader)
}

/// Creates a topic with so many copies and waits until it can be used.
pub(super) fn create_topic(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    copies: i32,
    settings: &[(&str, &str)],
) -> Result<()> {
    let failed = |error: KafkaError| refused("create topic", topic, error);
    let admin: AdminClient<_> = config(bootstrap).create().map_err(failed)?;
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(copies));
    let wanted = settings.iter().fold(wanted, |topic, (key, value)| topic.set(key, value));
    let created = block_on(admin.create_topics([&wanted], &options())).map_err(failed)?;
    for outcome in created {
        outcome.map_err(|(_, code)| refused("create topic", topic, code))?;
    }
    let metadata = || admin.inner().fetch_metadata(Some(topic), PROBE_LIMIT).ok();
    let has_leaders = || {
        let metadata = metadata()?;
        let found = metadata.topics().first()?.partitions();
        let led = found.iter().filter(|partition| partition.leader() >= 0).count();
        (i32::try_from(led).ok()? == partitions).then_some(())
    };
    crate::wait_for(REQUEST_LIMIT, has_leaders)
        .ok_or_else(|| refused("create topic", topic, "its partitions have no leader"))
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(REQUEST_LIMIT))
}

fn refused(action: &str, topic: &str, reason: impl ToString) -> Error {
    let action = format!("{action} `{topic}`");
    Error::Refused { server: "kafka", action, reason: reason.to_string() }
}

impl Broker {
    /// Creates a topic of `partitions` partitions and waits until it can be used.
    ///
    /// # Errors
    /// If the broker refuses, for instance since it exists.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// Creates a topic with settings such as `("retention.ms", "60000")`.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn create_topic_with(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        create_topic(&self.bootstrap(), topic, partitions, 1, settings)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// If the broker refuses, for instance since there is none.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        let failed = |error: KafkaError| refused("delete topic", topic, error);
        let admin: AdminClient<_> = config(&self.bootstrap()).create().map_err(failed)?;
        let deleted = block_on(admin.delete_topics(&[topic], &options())).map_err(failed)?;
        for outcome in deleted {
            outcome.map_err(|(_, code)| refused("delete topic", topic, code))?;
        }
        Ok(())
    }

    /// Makes a topic grow to `partitions` partitions.
    ///
    /// # Errors
    /// If the broker refuses, for instance since it has as many.
    pub fn grow_topic(&self, topic: &str, partitions: usize) -> Result<()> {
        let failed = |error: KafkaError| refused("grow topic", topic, error);
        let admin: AdminClient<_> = config(&self.bootstrap()).create().map_err(failed)?;
        let wanted = NewPartitions::new(topic, partitions);
        let grown = block_on(admin.create_partitions([&wanted], &options())).map_err(failed)?;
        for outcome in grown {
            outcome.map_err(|(_, code)| refused("grow topic", topic, code))?;
        }
        Ok(())
    }

    /// Removes the records of a partition before `offset`, as retention does.
    ///
    /// # Errors
    /// If the broker refuses, for instance since the log ends before.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let failed = |error: KafkaError| refused("delete records of", topic, error);
        let admin: AdminClient<_> = config(&self.bootstrap()).create().map_err(failed)?;
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(failed)?;
        let deleted = block_on(admin.delete_records(&before, &options())).map_err(failed)?;
        for element in deleted.elements() {
            element.error().map_err(failed)?;
        }
        Ok(())
    }

    /// Writes messages and waits until all are acknowledged. Within a
    /// partition they keep their order.
    ///
    /// # Errors
    /// If one can't be written.
    pub fn produce(&self, topic: &str, messages: &[Message]) -> Result<()> {
        let failed = |error: KafkaError| refused("write to", topic, error);
        let failures = Failures::default();
        let producer: BaseProducer<Failures> = config(&self.bootstrap())
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            // An unknown topic is an error soon: here, topics exist before they are used.
            .set("topic.metadata.propagation.max.ms", "2000")
            .create_with_context(failures.clone())
            .map_err(failed)?;
        for message in messages {
            let mut record = BaseRecord::to(topic).payload(message.value.as_bytes());
            record.key = message.key.as_deref().map(str::as_bytes);
            record.partition = message.partition;
            record.timestamp = message.timestamp;
            while let Err((error, returned)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed(error));
                }
                producer.poll(Duration::from_millis(100));
                record = returned;
            }
        }
        producer.flush(REQUEST_LIMIT).map_err(failed)?;
        match failures.first() {
            None => Ok(()),
            Some(reason) => Err(refused("write to", topic, reason)),
        }
    }

    /// All that a topic holds now, by partition and offset.
    ///
    /// # Errors
    /// If the topic does not exist, or can't be read to its end.
    pub fn read_all(&self, topic: &str) -> Result<Vec<Record>> {
        let failed = |error: KafkaError| refused("read", topic, error);
        let consumer: BaseConsumer = config(&self.bootstrap())
            .set("group.id", "testkit")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .map_err(failed)?;
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST_LIMIT).map_err(failed)?;
        let partitions = metadata.topics().first().map(|topic| topic.partitions());
        let mut open: Vec<i32> = partitions.into_iter().flatten().map(|p| p.id()).collect();
        if open.is_empty() {
            return Err(refused("read", topic, "there is no such topic"));
        }
        let from = open.iter().map(|id| ((topic.to_owned(), *id), Offset::Beginning));
        let from: HashMap<_, _> = from.collect();
        let list = TopicPartitionList::from_topic_map(&from).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;

        let mut records = Vec::new();
        while !open.is_empty() {
            match consumer.poll(REQUEST_LIMIT) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(ended))) => open.retain(|id| *id != ended),
                Some(Err(error)) => return Err(failed(error)),
                None => return Err(refused("read", topic, "its end was not reached in time")),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    use rdkafka::message::Headers as _;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let pair = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), text(header.value.unwrap_or_default()))
        };
        headers.iter().map(pair).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        value: text(message.payload().unwrap_or_default()),
        headers,
    }
}

/// Collects why messages were not delivered.
#[derive(Clone, Debug, Default)]
struct Failures(Arc<Mutex<Vec<String>>>);

impl Failures {
    fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }
    }
}

/// Waits for a future on this thread. A runtime would refuse to be entered
/// from a test that has one of its own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
