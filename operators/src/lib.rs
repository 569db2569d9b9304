//! Windows, detectors and alerts over event time: deterministic state machines in thin timely shells.
//! No clock, no I/O.
//!
//! | operator | what it says | state bound |
//! |---|---|---|
//! | [`window`]: tumbling, sliding | one aggregate per group and window, and its corrections | per group with samples, `2 (size + allowed_lateness) / pane` partial aggregates |
//! | [`detect::sustained`] | a condition held without a pause for `for`, exact to the sample | 64 B per group that holds or is open |
//! | [`detect::burst`] | more events in a sliding window than a bound, and than usual | 16 B per group and pane with events, `(window + baseline) / slide` panes |
//! | [`detect::anomaly`] | a pane's mean stays far from its exponentially weighted past | 88 B per group heard of within four half-lives |
//! | [`alert::active_incidents`] | the transition log as a differential collection of open incidents | one record per open incident |
//! | [`alert::with_inventory`] | owner, tier and the like for each of them | one arrangement of each side |
//! | [`alert::open_counts`] | how many are open by rule and severity | one count per rule and severity |
//! | [`feed`] | the engine's own shell: samples of Kafka partitions, folded before they cross workers | samples ahead of the frontier, and that of its machines |
//!
//! Windows and detectors are [`PaneMachine`](tidewatch_dataflow::operator::PaneMachine)s that know nothing of timely. The engine
//! drives them through [`feed`]; any other timely dataflow through the extension traits of [`keyed`]:
//! [`tumbling`](keyed::Tumbling), [`sliding`](keyed::Sliding), [`sustained`](keyed::DetectSustained),
//! [`burst`](keyed::DetectBurst), [`anomaly`](keyed::DetectAnomaly).
//!
//! # The law
//! The output is a function of the records and of when they are admitted, to the last bit of every float:
//! not of their order of arrival inside the out-of-orderness bound, of batches, of the number of workers,
//! or of a restore between any two panes. `tests/oracle` holds every operator to it.

pub mod aggregate;
pub mod alert;
pub mod detect;
pub mod evaluation;
pub mod feed;
pub mod group;
pub mod keyed;
pub mod window;

#[cfg(test)]
mod testing;

/// The references of `tests/` name this crate as its users do.
#[cfg(test)]
extern crate self as tidewatch_operators;
