//! Kafka: the source that reads partitions in batches, topics, a producer, and the dead-letter topic.
//!
//! # What it reads
//!
//! The partitions that the engine assigns to a worker, in the order of their offsets, committed records
//! only. No consumer group takes part and nothing is committed to the broker: where to go on is kept in
//! checkpoints.
//!
//! ```text
//!            threads of librdkafka                     |   the worker's thread
//!  broker ──► fetcher ──► queue of partition 0 ──┐     |
//!                    └──► queue of partition 1 ──┼─────┼──► poll(partition, budget) ──► visit(batch)
//!  broker ──► fetcher ──► queue of partition 2 ──┘     |        one partition at a time, the driver
//!       a queue that was empty gets something ── wake ─┼──►     chooses which
//! ```
//!
//! Each partition has its own queue with its own share of `prefetch`, so that a partition that is far
//! ahead and therefore left unread cannot keep the others from being fetched. Nothing is ever paused:
//! pausing throws away what was fetched already.
//!
//! # Position
//!
//! Offsets within a partition rise from poll to poll, with gaps where the log has them: compacted records,
//! markers and aborted records of transactions. [`Start`] says where to begin; after that the position is
//! the offset after the last record handed out, or after the markers behind it
//! ([`SourceReader::position`](tidewatch_dataflow::source::SourceReader::position)).
//!
//! # When the place is gone
//!
//! Where the log no longer has the position, its bounds are asked for on a thread beside the worker:
//!
//! | the log | then |
//! | --- | --- |
//! | begins after the position | retention removed unread records: [`OnRetention`] decides |
//! | ends before it, three times a second apart | the topic was recreated, or its log cut short: the partition stops |
//! | has it | the place is tried again, with the last record read compared |
//!
//! A topic that was recreated may also have grown past the position already. So the record before it is
//! fetched again and compared where its hash is known ([`Assigned::seen`]). At run time brokers since Kafka 2.8
//! tell by the topic's id, before anything of the new one is read; with older ones the record is compared once
//! they have denied that the partition exists, which is asked every second. A partition that has stopped says so in every poll
//! ([`KafkaReader::fault`]) until [`KafkaReader::restart`]; the others go on.
//!
//! A log that is not the one that was read and begins at offset 0 is that of a recreated topic: under
//! [`OnRecreated::Restart`] it is to be read from its beginning, which
//! [`SourceReader::is_recreated`](tidewatch_dataflow::source::SourceReader::is_recreated) tells the driver. One
//! that begins later may as well be the old one, cut short by a leader that had not all of it, and reading that
//! again would repeat what was read: a person has to look.
//!
//! # The end of a partition
//!
//! [`Poll::AtEnd`](tidewatch_dataflow::source::Poll::AtEnd) says that the broker answered a fetch at the
//! end of the log, that nothing came since, and that the broker still answers: once a second the client
//! tells which brokers it is connected to and when each was last heard of. While the partition's broker
//! is out of reach, the answer is `Pending`, so that an outage is never taken for idleness.
//!
//! # Errors
//!
//! Lost connections, moved leaders and restarted brokers are dealt with by librdkafka and show as
//! `Pending`, with a line in the log. What a person must mend (credentials, a missing topic) is
//! `Refused` with the remedy. [`KafkaHealth`] says at any time what is wrong, for `/readyz` and metrics.

pub mod admin;
mod batch_queue;
mod config;
mod context;
pub mod dead_letters;
mod error;
mod health;
mod partition_watch;
pub mod producer;
mod reader;
mod start;
mod statistics;
mod topics;

pub use config::{KafkaConfig, KafkaConfigError, Mechanism, Protocol, Security};
pub use health::{HealthSnapshot, KafkaHealth};
pub use partition_watch::PartitionWatch;
pub use reader::{
    Assigned, BUDGET_MAX, KafkaReader, OnRecreated, OnRetention, PartitionFault, SeenRecord, Start,
};
pub use topics::{TopicWatch, partitions};
