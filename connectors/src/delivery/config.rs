//! How much a sink's queue and spill hold, how large its batches are, and how long it waits between attempts.

use std::time::Duration;

use serde::Deserialize;
use tidewatch_dataflow::config::ByteSize;

/// What happens when a sink's queue, and the spill behind it, are full.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Reading pauses until there is room: Kafka is the buffer, and its lag shows it. Nothing is lost.
    #[default]
    Stall,
    /// The newest items are dropped and counted; reading goes on.
    Shed,
}

/// How a [`Delivery`](super::Delivery) queues, batches and retries.
///
/// ```
/// use tidewatch_connectors::delivery::{DeliveryConfig, OnFull};
/// let config = DeliveryConfig { queue_items: 1_000, ..DeliveryConfig::default() };
/// assert_eq!((config.batch_items, config.on_full), (5_000, OnFull::Stall));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// The queue is full from this many items on, those of the batch under way included; at least 1.
    pub queue_items: usize,
    /// At most this many bytes of items that found the queue full wait in the state store behind it, where
    /// there is one. 0: none do.
    pub spill: u64,
    /// At most this many items go to the writer at once; at least 1.
    pub batch_items: usize,
    /// How long the first item of a batch waits for others to fill it.
    pub linger: Duration,
    /// Upper end of the first delay after a failed attempt; doubles with each further one.
    pub retry_delay_min: Duration,
    /// The upper end of a delay never grows beyond this.
    pub retry_delay_max: Duration,
    /// A longer `Retry-After` than this is cut to it, so that a wrong clock somewhere cannot hold a sink
    /// for ever.
    pub retry_after_max: Duration,
    /// What happens when the queue and the spill are full.
    pub on_full: OnFull,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        DeliveryConfig {
            queue_items: default_queue_items(),
            spill: default_spill().bytes(),
            batch_items: default_batch_items(),
            linger: Duration::from_millis(200),
            retry_delay_min: Duration::from_millis(100),
            retry_delay_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(300),
            on_full: OnFull::Stall,
        }
    }
}

impl DeliveryConfig {
    /// For stores: the bounds that their sections give, and the pace of every store.
    pub fn store(queue_items: usize, spill: ByteSize, batch_items: usize, on_full: OnFull) -> Self {
        let spill = spill.bytes();
        DeliveryConfig { queue_items, spill, batch_items, on_full, ..DeliveryConfig::default() }
    }

    /// For channels to people: one item at a time and at once, so that each answer (and its
    /// `Retry-After`) is about one message, and never a stall, since a revoked webhook must not stop
    /// the pipeline that all other receivers hang on.
    ///
    /// 10,000 notifications of about 2 KB are 20 MB, and more than anybody will read.
    pub fn channel() -> Self {
        DeliveryConfig {
            queue_items: 10_000,
            batch_items: 1,
            linger: Duration::ZERO,
            on_full: OnFull::Shed,
            ..DeliveryConfig::default()
        }
    }
}

/// 100,000 items: a metric point takes about 200 bytes and a log line about 1 KB, so a full queue is
/// 20 to 100 MB, and at 10,000 items a second it bridges ten seconds.
pub fn default_queue_items() -> usize {
    100_000
}

/// 1 GiB: at 200 bytes a metric point and 10,000 a second, an outage of one and a half hours.
pub fn default_spill() -> ByteSize {
    ByteSize::from_bytes(1 << 30)
}

/// 5,000 items: 0.5 MB of line protocol or a bulk request of 2 to 5 MB, what the stores' own manuals
/// recommend; larger batches cost memory on both sides and gain nothing.
pub fn default_batch_items() -> usize {
    5_000
}
