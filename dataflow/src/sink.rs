//! The port of sinks: something that takes batches of identified items and says what became of each.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::dead_letter::Reason;

/// The cause of a connector's error, whatever client library it came from.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a connector could not do its work, by who can act and whether trying again can help.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The world is in the way; the same request may succeed later.
    #[error("could not reach `{endpoint}`")]
    Transient {
        /// The object spoken to; never with a secret inside.
        endpoint: String,
        /// What the other side asked for (`Retry-After`).
        retry_after: Option<Duration>,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// A person must act (credentials, a missing bucket); everything is held and nothing is lost.
    #[error("`{endpoint}` refuses us: {reason}")]
    Refused {
        /// The object spoken to.
        endpoint: String,
        /// What it said, and the remedy.
        reason: String,
    },
    /// The request itself is at fault and will never succeed.
    #[error("`{endpoint}` rejected the request: {reason}")]
    Permanent {
        /// The object spoken to.
        endpoint: String,
        /// What it said.
        reason: String,
    },
}

/// One item of a batch that the other side will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedItem {
    /// Its index in the batch.
    pub index: usize,
    /// The kind of fault.
    pub reason: Reason,
    /// What the other side said.
    pub detail: String,
}

/// What became of a batch: each item is accepted, rejected for good, or to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// How many items are in.
    pub accepted: usize,
    /// Items that will never be taken: for the dead letters, not for the retry loop.
    pub rejected: Vec<RejectedItem>,
    /// Indexes of items to send again (an overloaded shard).
    pub retry: Vec<usize>,
}

/// Writes batches of items to one store or channel.
///
/// Every item carries its own identity, stable across retries, restarts and batch limits: writing it
/// twice is harmless. The driver retries what comes back as transient; writers do not retry.
pub trait SinkWriter: Send + 'static {
    /// What is written.
    type Item: Send + Sync + 'static;

    /// Sends `batch`, which is never empty and at most as large as the driver was told.
    ///
    /// # Errors
    /// See [`ConnectorError`]; the whole batch counts as not written.
    fn write(
        &mut self,
        batch: &[Self::Item],
    ) -> impl Future<Output = Result<Receipt, ConnectorError>> + Send;

    /// Does what is due without any item, and says how long it may wait to be called again; `None` when there
    /// is nothing to come. The driver calls it between attempts.
    fn upkeep(&mut self) -> impl Future<Output = Option<Duration>> + Send {
        std::future::ready(None)
    }

    /// Is given, before the first write, a flag that is raised when the driver has no time left. Returns how long a
    /// write that is under way may then go on.
    ///
    /// For writers of what people see twice when it is cut off between sending and its receipt: they end the item that
    /// they are at, begin no other, and have the rest sent again. By default a write is cut off at once.
    fn heed(&mut self, time_is_up: Arc<AtomicBool>) -> Duration {
        let _ = time_is_up;
        Duration::ZERO
    }
}
