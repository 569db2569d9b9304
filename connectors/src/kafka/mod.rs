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
//! Offsets within a partition rise from poll to poll. [`Start`] says where to begin; after that the
//! position is the offset after the last record handed out ([`KafkaReader::position`]).
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
//! `Refused` with the remedy. An offset that retention has removed stops that partition, and every poll
//! says so, since going on silently would lose records; other partitions go on.

pub mod admin;
mod batch_queue;
mod config;
mod context;
pub mod dead_letters;
mod error;
pub mod producer;
mod reader;
mod start;
mod topics;

pub use config::{KafkaConfig, KafkaConfigError, Mechanism, Protocol, Security};
pub use reader::{BUDGET_MAX, KafkaReader, Start};
pub use topics::{TopicWatch, partitions};
