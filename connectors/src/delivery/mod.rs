//! The driver that every sink stands behind: queue, batches, retries, dead letters, numbers.
//!
//! ```text
//!  timely workers                        the sink's own tokio task
//!  ──────────────                        ─────────────────────────
//!  offer(items) ─►  queue (bounded)  ─►  batch ─► SinkWriter::write ─► the store or channel
//!  is_full()  ◄──   stall or shed          ▲            │
//!                                          │            ├─ accepted       delivered
//!                                          │            ├─ rejected       dead letter
//!                                          │            └─ to be sent again, or the attempt failed
//!                                          └── wait: back-off, full jitter, Retry-After ──┘
//! ```
//! With a [`Spill`] what does not fit into memory goes to segments in a state store, and comes back in order:
//! ```text
//!  offer ─► front (memory) ─► batch         as long as the front has room
//!  offer ─► tail (memory) ─► segments (store) ─► front ─► batch            once it has none
//!                               ▲
//!  a cut: what is undelivered and in no segment is written, and stays in memory too
//! ```
//!
//! # What becomes of an attempt
//! - A receipt is read item by item: what was accepted is delivered, what was rejected goes to the dead
//!   letters, the rest is sent again together with what has come since.
//! - A **transient** failure is repeated for ever; so is a **refusal** (credentials, a missing bucket),
//!   which besides is logged as an error, since a person must act. Nothing is lost by either.
//! - A **permanent** rejection of a whole batch is taken apart: halves are sent, and halves of halves,
//!   until the item at fault stands alone and is dead-lettered; all others get through.
//!
//! # Order
//! Items are sent in the order they were offered, and none overtakes another, except that items which a
//! receipt singles out for another attempt are sent after those of their batch that were accepted.
//!
//! # Isolation
//! Each sink has its own queue and its own task. One that is down, slow or refused fills its own queue
//! and nothing else; only with [`OnFull::Stall`] does a full queue hold up the reading of the source.

mod backoff;
mod batch;
mod config;
mod driver;
mod handle;
mod queue;
mod spill;
mod stats;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidewatch_dataflow::sink::{RejectedItem, SinkWriter};
use tokio::runtime;
use tokio::sync::{RwLock, watch};

pub use config::{DeliveryConfig, OnFull, default_batch_items, default_queue_items, default_spill};
pub use handle::{Closed, SinkHandle};
pub use spill::{SegmentRef, SinkState, Spill, SpillError, verify_segment};
pub use stats::{DeliverySnapshot, DeliveryState, DeliveryStats};

/// Starts sinks.
#[derive(Debug)]
pub struct Delivery;

impl Delivery {
    /// Starts the task of a sink on `runtime`: everything offered to the handle goes to `writer`.
    ///
    /// `name` stands in logs and metrics (`influxdb`, `slack/oncall`). `on_rejected` is called on the
    /// runtime for each item that the other side will never take; it must not block.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewatch_connectors::delivery::{Delivery, DeliveryConfig};
    /// use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
    ///
    /// struct Sum(u64);
    /// impl SinkWriter for Sum {
    ///     type Item = u64;
    ///     async fn write(&mut self, batch: &[u64]) -> Result<Receipt, ConnectorError> {
    ///         self.0 += batch.iter().sum::<u64>();
    ///         Ok(Receipt { accepted: batch.len(), ..Receipt::default() })
    ///     }
    /// }
    ///
    /// let runtime = tokio::runtime::Runtime::new().unwrap();
    /// let config = DeliveryConfig::default();
    /// let sink = Delivery::spawn(runtime.handle(), "sum", Sum(0), config, |_, _| {});
    /// sink.offer(vec![1, 2, 3]);
    /// let closed = runtime.block_on(sink.close(Duration::from_secs(5)));
    /// assert_eq!((closed.snapshot.delivered, closed.left.len()), (3, 0));
    /// ```
    pub fn spawn<W: SinkWriter>(
        runtime: &runtime::Handle,
        name: impl Into<Arc<str>>,
        writer: W,
        config: DeliveryConfig,
        on_rejected: impl Fn(&W::Item, &RejectedItem) + Send + 'static,
    ) -> SinkHandle<W::Item> {
        start(runtime, name.into(), writer, config, None, on_rejected)
    }

    /// Like [`Delivery::spawn`], with a spill behind the queue: what does not fit into memory waits in `spill`,
    /// and so does at a cut what is not delivered yet.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tidewatch_connectors::delivery::{Delivery, DeliveryConfig, Spill};
    /// use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
    /// use tidewatch_dataflow::testing::MemoryStore;
    ///
    /// /// A store that is down, or up.
    /// struct Store(bool);
    /// impl SinkWriter for Store {
    ///     type Item = u64;
    ///     async fn write(&mut self, batch: &[u64]) -> Result<Receipt, ConnectorError> {
    ///         let (endpoint, source) = ("store".to_owned(), "connection refused".into());
    ///         match self.0 {
    ///             true => Ok(Receipt { accepted: batch.len(), ..Receipt::default() }),
    ///             false => Err(ConnectorError::Transient { endpoint, retry_after: None, source }),
    ///         }
    ///     }
    /// }
    ///
    /// let runtime = tokio::runtime::Runtime::new().unwrap();
    /// let objects = Arc::new(MemoryStore::default());
    /// let start = |run: u32, up| {
    ///     let prefix = format!("spill/{run:08}-p0-store");
    ///     let spill = Spill { store: objects.clone(), prefix, max_bytes: 1 << 20 };
    ///     let config = DeliveryConfig::default();
    ///     Delivery::spawn_with(runtime.handle(), "store", Store(up), config, Some(spill), |_, _| {})
    /// };
    /// let first = start(1, false);
    /// first.offer(vec![1, 2, 3]);
    /// let state = runtime.block_on(first.make_durable(first.mark())).unwrap();
    /// assert_eq!(state.unsettled(), 3);
    /// drop(first);
    ///
    /// let second = start(2, true);
    /// runtime.block_on(second.restore(state.segments)).unwrap();
    /// let closed = runtime.block_on(second.close(Duration::from_secs(5)));
    /// assert_eq!((closed.snapshot.restored, closed.snapshot.delivered), (3, 3));
    /// ```
    pub fn spawn_with<W: SinkWriter>(
        runtime: &runtime::Handle,
        name: impl Into<Arc<str>>,
        writer: W,
        config: DeliveryConfig,
        spill: Option<Spill>,
        on_rejected: impl Fn(&W::Item, &RejectedItem) + Send + 'static,
    ) -> SinkHandle<W::Item>
    where
        W::Item: Serialize + DeserializeOwned,
    {
        let spill = spill.map(|spill| (spill, spill::Codec::postcard()));
        start(runtime, name.into(), writer, config, spill, on_rejected)
    }
}

fn start<W: SinkWriter>(
    runtime: &runtime::Handle,
    name: Arc<str>,
    mut writer: W,
    config: DeliveryConfig,
    spill: Option<(Spill, spill::Codec<W::Item>)>,
    on_rejected: impl Fn(&W::Item, &RejectedItem) + Send + 'static,
) -> SinkHandle<W::Item> {
    let stats = Arc::new(DeliveryStats::new(name));
    let spill_bytes = spill.as_ref().map_or(0, |(spill, _)| spill.max_bytes);
    let limits = waiting::Limits::new(&config, spill_bytes);
    let shared = Arc::new(handle::Shared {
        queue: queue::Queue::new(limits, Arc::clone(&stats)),
        stats,
        batch: Arc::new(RwLock::new(batch::Batch::new())),
        spiller: spill.map(|(spill, codec)| spill::Spiller::new(spill, codec)),
    });
    if shared.spiller.is_some() {
        runtime.spawn(spill::overflow(Arc::clone(&shared)));
    }
    let (sender, closing) = watch::channel(None);
    let driver = driver::Driver {
        last_item: driver::LastItem::of(&mut writer),
        writer,
        on_rejected,
        shared: Arc::clone(&shared),
        backoff: backoff::Backoff::new(&config, fastrand::Rng::new()),
        config,
        closing,
    };
    let task = runtime.spawn(driver.run());
    SinkHandle::new(shared, sender, task, runtime.clone())
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
