//! Section `[sinks.sqlite]` of the pipeline file.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, HumanDuration};

use crate::delivery::{
    DeliveryConfig, OnFull, default_batch_items, default_queue_items, default_spill,
};

/// Where the embedded store is and how much it keeps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The database file; it is created when it is not there. SQLite puts two more files beside it.
    pub path: PathBuf,
    /// What is older than this is deleted. Default: a week.
    #[serde(default = "default_retention")]
    pub retention: HumanDuration,
    /// The file never grows beyond this; the oldest goes first. At least 16 MiB. Default: 1 GiB.
    #[serde(default = "default_max_size")]
    pub max_size: ByteSize,
    /// What happens when the queue in front of the store and the spill are full. Default: `"stall"`.
    #[serde(default)]
    pub on_full: OnFull,
    /// How many items wait at most, for each of metrics, logs and alerts.
    #[serde(default = "default_queue_items")]
    pub queue_items: usize,
    /// Bytes behind each queue, in the state store of `[checkpoint]`, for what finds it full. Default: 1 GiB.
    #[serde(default = "default_spill")]
    pub spill: ByteSize,
    /// How many items one transaction takes at most.
    #[serde(default = "default_batch_items")]
    pub batch_items: usize,
}

impl SqliteConfig {
    /// The least `max_size` that makes sense: a full batch of 5,000 log lines of 300 B is 3 MiB with its
    /// index, which needs about as much again while it is merged.
    pub const MAX_SIZE_MIN: u64 = 16 << 20;

    /// How to queue, batch and retry, for each of metrics, logs and alerts.
    pub fn delivery(&self) -> DeliveryConfig {
        let (queue_items, batch_items) = (self.queue_items, self.batch_items);
        DeliveryConfig::store(queue_items, self.spill, batch_items, self.on_full)
    }

    /// A store at `path` with default bounds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SqliteConfig {
            path: path.into(),
            retention: default_retention(),
            max_size: default_max_size(),
            on_full: OnFull::default(),
            queue_items: default_queue_items(),
            spill: default_spill(),
            batch_items: default_batch_items(),
        }
    }
}

fn default_retention() -> HumanDuration {
    Duration::from_secs(7 * 86_400).into()
}

fn default_max_size() -> ByteSize {
    ByteSize::from_bytes(1 << 30)
}
