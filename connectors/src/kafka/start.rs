//! Turns the starts of partitions into offsets, in at most two rounds of requests for all of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;

use super::batch_queue::StartAt;
use super::context::Context;
use super::error::{classify, from_kafka};
use super::reader::{Start, endpoint};

/// One request waits no longer for an answer, so that a refusal (a wrong password) is noticed soon. Asking
/// again starts no new connection, so one that is slow to make is waited for all the same.
const REQUEST_MAX: Duration = Duration::from_secs(1);
/// No more log lines, errors and statistics are taken from the client between two requests.
const EVENTS_MAX: usize = 64;

/// The offsets to start at.
///
/// A time is looked up after the ends were: a record appended in between is behind the end found, so
/// starting there when no record is late enough loses none.
pub(super) fn resolve(
    consumer: &BaseConsumer<Context>,
    topics: &Topics,
    assignment: &[(PartitionId, Start)],
    brokers: &str,
    timeout: Duration,
) -> Result<Vec<(PartitionId, StartAt)>, ConnectorError> {
    let deadline = Instant::now() + timeout;
    let ends = look_up(consumer, topics, brokers, deadline, assignment, |start| match start {
        Start::Latest | Start::Time(_) => Some(Offset::End),
        Start::Earliest | Start::Offset(_) => None,
    })?;
    let times = look_up(consumer, topics, brokers, deadline, assignment, |start| match start {
        // A negative time is a request for an end; event time is never negative.
        Start::Time(time) => {
            Some(Offset::Offset(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
        }
        _ => None,
    })?;
    assignment
        .iter()
        .map(|(partition, start)| {
            let found = match start {
                Start::Earliest => return Ok((*partition, StartAt::Beginning)),
                Start::Offset(offset) => Some(*offset),
                Start::Latest => ends.get(partition).copied(),
                Start::Time(_) => times.get(partition).or_else(|| ends.get(partition)).copied(),
            };
            found.map(|offset| (*partition, StartAt::Offset(offset))).ok_or_else(|| {
                let topic = topics.name(partition.topic);
                classify(
                    &endpoint(topic, *partition, brokers),
                    RDKafkaErrorCode::OperationTimedOut,
                    "the broker did not say where the partition ends",
                )
            })
        })
        .collect()
}

/// Asks for the offsets of those partitions for which `wanted` says what; none where the broker has none.
fn look_up(
    consumer: &BaseConsumer<Context>,
    topics: &Topics,
    brokers: &str,
    deadline: Instant,
    assignment: &[(PartitionId, Start)],
    wanted: impl Fn(&Start) -> Option<Offset>,
) -> Result<HashMap<PartitionId, i64>, ConnectorError> {
    let mut list = TopicPartitionList::with_capacity(assignment.len());
    for (partition, start) in assignment {
        if let Some(offset) = wanted(start) {
            let topic = topics.name(partition.topic);
            list.add_partition_offset(topic, partition.partition, offset)
                .map_err(|error| from_kafka(&endpoint(topic, *partition, brokers), &error))?;
        }
    }
    if list.count() == 0 {
        return Ok(HashMap::new());
    }
    let answer = ask(consumer, &list, &format!("kafka at {brokers}"), deadline)?;
    let mut found = HashMap::new();
    for element in answer.elements() {
        let Some(topic) = topics.index(element.topic()) else { continue };
        let partition = PartitionId { topic, partition: element.partition() };
        if let Err(error) = element.error() {
            return Err(from_kafka(&endpoint(element.topic(), partition, brokers), &error));
        }
        if let Offset::Offset(offset) = element.offset() {
            found.insert(partition, offset);
        }
    }
    Ok(found)
}

/// Asks until an answer comes, the brokers refuse, or the time is over.
fn ask(
    consumer: &BaseConsumer<Context>,
    list: &TopicPartitionList,
    endpoint: &str,
    deadline: Instant,
) -> Result<TopicPartitionList, ConnectorError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match consumer.offsets_for_times(list.clone(), left.min(REQUEST_MAX)) {
            Ok(answer) => return Ok(answer),
            Err(error) => from_kafka(endpoint, &error),
        };
        for _ in 0..EVENTS_MAX {
            // Errors go to the context as well; there are no records on this queue.
            let _ = consumer.poll(Duration::ZERO);
        }
        if let Some((code, reason)) = consumer.context().health().take_refusal() {
            return Err(classify(endpoint, code, &reason));
        }
        if !matches!(error, ConnectorError::Transient { .. }) || Instant::now() >= deadline {
            return Err(error);
        }
    }
}
