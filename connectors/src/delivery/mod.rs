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
mod stats;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tidewatch_dataflow::sink::{RejectedItem, SinkWriter};
use tokio::runtime;
use tokio::sync::watch;

pub use config::{DeliveryConfig, OnFull, default_batch_items, default_queue_items};
pub use handle::{Closed, SinkHandle};
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
        let stats = Arc::new(DeliveryStats::new(name.into()));
        let shared = Arc::new(handle::Shared { queue: queue::Queue::new(&config), stats });
        let (sender, closing) = watch::channel(None);
        let driver = driver::Driver {
            writer,
            on_rejected,
            shared: Arc::clone(&shared),
            backoff: backoff::Backoff::new(&config, fastrand::Rng::new()),
            config,
            closing,
            batch: batch::Batch::new(),
        };
        let task = runtime.spawn(driver.run());
        SinkHandle::new(shared, sender, task)
    }
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
