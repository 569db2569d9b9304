//! When there is nothing more to come: the event time up to which every window must have fired.
//!
//! The last record of every partition is an end mark, a minute behind everything else. Once all have been read,
//! time stands at the least of them less the bound of disorder, cut to panes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tidewatch::config::PipelineConfig;
use tidewatch_connectors::codec;
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_dataflow::time::EventTime;

/// How long the brokers may take to hand out one record of each partition.
const WITHIN: Duration = Duration::from_secs(60);
/// More than a record has.
const SERIES_MAX: usize = 16;

/// Reads the last record of each of `partitions`, which count in the pipeline's topics.
pub(crate) fn find(
    config: &PipelineConfig,
    partitions: &[PartitionId],
) -> anyhow::Result<EventTime> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", config.kafka.brokers.join(","))
        .set("group.id", "tidewatch-fleet-end")
        .set("enable.auto.commit", "false")
        .create()
        .context("could not make a Kafka client")?;
    let topics = config.topics();
    let mut wanted = TopicPartitionList::new();
    for id in partitions {
        let topic = topics.name(id.topic);
        wanted.add_partition_offset(topic, id.partition, Offset::OffsetTail(1))?;
    }
    client.assign(&wanted).context("could not read the last records")?;
    let mut codecs: Vec<_> = config.formats().iter().map(codec::for_source).collect();
    let (mut left, deadline) = (partitions.to_vec(), Instant::now() + WITHIN);
    let mut least = EventTime::MAX;
    while !left.is_empty() {
        let message = client.poll(deadline.saturating_duration_since(Instant::now()));
        let message = message.with_context(|| {
            let (count, limit) = (left.len(), WITHIN.as_secs());
            format!("the last records of {count} partitions did not come within {limit} s")
        })??;
        let topic = topics.index(message.topic()).context("a topic that nobody asked for")?;
        let id = PartitionId { topic, partition: message.partition() };
        // Only the first one of a partition counts, should another have come meanwhile.
        let Some(at) = left.iter().position(|wanted| *wanted == id) else { continue };
        left.swap_remove(at);
        let time = message.timestamp().to_millis().and_then(|time| u64::try_from(time).ok());
        let time = time.map(EventTime::from_millis);
        let record = Record {
            offset: message.offset(),
            time: time.map_or(RecordTime::Unknown, RecordTime::Created),
            key: message.key(),
            value: message.payload(),
            headers: &[],
        };
        let codec = codecs.get_mut(topic as usize).context("a topic without a codec")?;
        least = least.min(event_time(&mut **codec, id, record).with_context(|| {
            format!("could not decode the last record of {}/{}", message.topic(), id.partition)
        })?);
    }
    ensure!(least < EventTime::MAX, "the topics have no partitions");
    Ok(config.tick().floor(least.saturating_sub(config.time.out_of_orderness)))
}

/// When what `record` tells was measured.
fn event_time(
    codec: &mut dyn Codec,
    partition: PartitionId,
    record: Record<'_>,
) -> anyhow::Result<EventTime> {
    let (mut series, mut decoded) = (SeriesTable::new(SERIES_MAX), Decoded::default());
    codec.decode(&RecordBatch { partition, records: &[record] }, &mut series, &mut decoded);
    let newest = decoded.points.iter().map(|point| point.event_time).max();
    newest.context("it has no measurement")
}
