//! Windows and detectors for any keyed timely stream: the machines of this crate behind extension traits.
//!
//! ```text
//!              ┌─ admit ─┐   exchange by key   ┌──── gather ────┐   ┌─ machine ─┐
//!  records ──► │ too late│ ══════════════════► │ wait, sort, fold│──►│ panes     │──► firings, episodes
//!              └────┬────┘                     └────────────────┘   └───────────┘
//!                   └──► dropped
//! ```
//!
//! A record is a [`Keyed`]: a key, an event time, a value. The stream's timestamp may be
//! [`EventTime`] or a `u64` of milliseconds; it says how far the stream has come and need not equal the
//! event time of the records that travel with it.
//!
//! # Semantics
//! A record is admitted at the greater of its event time and the timestamp it travels with, and applied
//! when the frontier passes the end of its admission pane. So a sender that stamps each batch with a time
//! at or before all of its records has no late records, and the output does not depend on the order of
//! records, on batches, or on the number of workers: the records of a key and pane are put in order of
//! time and value first. The end of the input is the end of time: everything that waits is applied, open
//! windows fire, and open episodes end for want of data.
//!
//! # Late records
//! A record stamped later than its event time, in a later pane, is late. Windows take it as a correction
//! while they can; what comes too late, and everything late for a detector, is handed back in `dropped`,
//! with the timestamp it came with.
//!
//! # State
//! Records whose pane is not complete; the machine's state; one entry per key that has either. The numbers
//! of keys without state are given to new keys.
//!
//! # Output time
//! The last instant of the admission pane; inside a pane in order of keys on each worker.

mod anomaly;
mod burst;
mod gather;
mod shell;
mod sliding;
mod sustained;
mod tumbling;

use std::hash::Hash;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::time::{EventTime, EventTimestamp};
use timely::ExchangeData;
use timely::dataflow::StreamVec;

use crate::detect::Episode;
use crate::window::Firing;

pub use anomaly::DetectAnomaly;
pub use burst::DetectBurst;
pub use sliding::Sliding;
pub use sustained::DetectSustained;
pub use tumbling::{Tumbling, TumblingConfig};

/// What can be a key: it crosses workers, has an order and a hash.
pub trait Key: ExchangeData + Clone + Ord + Hash {}
impl<K: ExchangeData + Clone + Ord + Hash> Key for K {}

/// A record of a keyed stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Keyed<K, V> {
    /// Whose it is.
    pub key: K,
    /// When it happened.
    pub time: EventTime,
    /// What was measured.
    pub value: V,
}

impl<K, V> Keyed<K, V> {
    /// The `value` of `key` at `time`.
    pub fn new(key: K, time: EventTime, value: V) -> Self {
        Keyed { key, time, value }
    }
}

/// A record that came too late to count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dropped<K, V> {
    /// The record.
    pub record: Keyed<K, V>,
    /// When it would have been applied: the timestamp it came with.
    pub admission_time: EventTime,
}

/// What windows over a keyed stream put out.
pub struct WindowOutput<'scope, T: EventTimestamp, K, V, P> {
    /// One firing per key and window, and one more per correction.
    pub firings: StreamVec<'scope, T, Firing<P, K>>,
    /// Records that came too late even for the last window that contains them.
    pub dropped: StreamVec<'scope, T, Dropped<K, V>>,
}

/// What a detector over a keyed stream puts out.
pub struct DetectOutput<'scope, T: EventTimestamp, K, V> {
    /// Openings and ends.
    pub episodes: StreamVec<'scope, T, Episode<K>>,
    /// Records that came late.
    pub dropped: StreamVec<'scope, T, Dropped<K, V>>,
}
