//! Feeds: samples of selected series, grouped and cut into panes once, for any number of consumers.
//!
//! ```text
//!  worker that reads the partition                       worker that owns the group
//!  points ─► plan ─► rows (by admission pane) ─► fold ══exchange══► feed machine ─► points, transitions
//!                    one flat buffer a pane      partials           windows, detectors
//! ```
//!
//! # Semantics
//! A sample is one number of one point that a feed selects. Samples wait in rows, one flat buffer for each
//! admission pane, until the frontier passes the pane; by then the rows are sorted by (group, event pane,
//! partition, event time, value) and every run is folded into one partial, most of it ahead of time (see
//! `rows.rs`). Sorting first makes the fold a function of the set of samples: no order of arrival shows in a
//! sum, to the bit. Partials are shipped once, to the worker that owns the group's bucket, and merged there in
//! partition order.
//!
//! # Late records
//! A sample whose event pane lies before its admission pane is a correction for the windows and late for the
//! detectors, which decide once. A sample too late even for the last window that holds it is counted as
//! late and handed out for the dead letters, once for each point.
//!
//! # State
//! Rows: what is open ahead of the frontier, bounded by the source's throttle. Slots: one label set for
//! each group and feed on each worker that reads it, bounded by the series limit. The machine's windows share
//! one tree of partial aggregates; how its state gets into checkpoints and back is told in `state/mod.rs`.

mod fold;
mod index;
mod machine;
mod message;
mod plan;
mod points;
mod quarantine;
mod rows;
mod rule;
mod shell;
mod spec;
mod state;
mod statistic;
mod wire;

pub use fold::{FeedCounters, Fold, FoldTally, LatePoint};
pub use machine::{FeedError, FeedMachine, FeedOutput};
pub use message::{FeedMessage, FeedPartial};
pub use plan::Plans;
pub use quarantine::{Fault, OperatorId};
pub use shell::{Folded, detect, fold};
pub use spec::{Aggregate, Detector, FeedSpec, RuleSpec, Selector, StatisticSpec};
pub use state::{ConsumerReport, OnChange, Outcome, ResetReason, RestoreReport};
pub use wire::{FeedBatch, FeedCodec};
