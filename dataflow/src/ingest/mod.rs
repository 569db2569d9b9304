//! Ingest: the timely source that reads partitions, decodes, admits, and keeps event time moving.
//!
//! ```text
//!             ┌────────────── control dataflow: every worker hears every report ──────────────┐
//!             │                                                                              │
//!  reader ─► source operator ─► batches (points with admission times)                     board
//!             │      │   └────► log lines                                                   │
//!             │      └────────► dead letters                                     director (worker 0)
//!             └── capability at the least live watermark, floored to the tick  ◄── lifts, advances
//! ```
//!
//! Each source holds one capability. It stands at the least watermark of the worker's live partitions;
//! a worker without live partitions follows the least over all workers, so it never holds time back and
//! never has dropped the capability that a partition found later will need. Partitions that are at the
//! end of their log and silent are lifted out of the minimum by the **director** on worker 0, the one
//! place where the wall clock decides anything; when all are lifted it advances time by the clock, so
//! that the last window always closes.
//!
//! # Bounds
//! A partition is read only while its watermark leads the frontier by less than
//! [`IngestConfig::max_lead`], so what is open ahead of the frontier is bounded by the data of that span,
//! and by [`IngestConfig::open_points_max`] whatever the span holds.

mod admit;
mod board;
mod control;
mod counters;
mod crumb;
mod cuts;
mod director;
mod durable;
mod generation;
mod held;
mod journal;
mod ledger;
mod message;
mod partition;
mod quarantine;
mod read;
mod recreated;
mod resume;
mod source;
mod state;
mod throttle;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use board::{Board, Report};
pub use control::{Control, ControlPlane, Direction, Shared};
pub use counters::{DecisionKind, IngestCounters, PartitionGauges};
pub use crumb::{Breadcrumb, NoCrumbs, SharedCrumb};
pub use cuts::CheckpointPace;
pub use durable::StoreJournal;
pub use generation::Generation;
pub use journal::{Decision, Facts, Journal, NoJournal, Part};
pub use ledger::{IngestTally, Tally};
pub use quarantine::Quarantined;
pub use resume::ResumePoint;
pub use source::{Ingest, IngestOutput, PointBatch, ingest};
pub use state::IngestState;
pub use throttle::OpenPoints;

use crate::time::{Clock, PaneSize};

/// How records become admitted points. All times are event time unless said otherwise.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// How far behind the newest record a partition's watermark stays.
    pub out_of_orderness: Duration,
    /// A partition at the end of its log and silent for this long (wall clock) is lifted.
    pub idle_timeout: Duration,
    /// A record further than this beyond the broker's append time, or our clock, is refused.
    pub future_tolerance: Duration,
    /// How far a partition may lead the frontier.
    pub max_lead: Duration,
    /// Above this many points read and not yet applied, only the partition that holds time back is read.
    /// 4 million points of 40 bytes and one number of 16 are 224 MB.
    pub open_points_max: u64,
    /// The greatest common divisor of all panes: capabilities are floored to it.
    pub tick: PaneSize,
    /// The least common multiple of all panes: cuts come at its multiples.
    pub grid: PaneSize,
    /// Where the present comes from.
    pub clock: Clock,
}
