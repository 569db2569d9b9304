//! A condition that holds without a pause: CPU above 90 % for five minutes.
//!
//! ```text
//! value   91  92  95  88  91  93  94 ... 95  96  87  84  83  80
//! above 90 |---holds---|   |------------- holds -----|
//!                       no  ^ started_at     ^ open        ^ end: clear (at most 85) for clear_for
//!                                            `for` after   at = first clear sample of that run
//! ```
//!
//! # Semantics
//! Exact to the sample, at every phase of the pane.
//!
//! - Each **instant** with samples of the group is *holding*, *clear* or *between*. All samples of one
//!   instant (from several series, or several partitions) count as one: it holds if all of them hold, it is
//!   clear if all are clear, else it is between. So at one instant a failing sample wins over a holding
//!   one, and ties need no order. (Sorting ties by offset, the other way to decide them, would make the
//!   result depend on how a producer interleaves two series of one instant.)
//! - A **run** is a sequence of consecutive holding instants (of clear ones, for the end), no two
//!   neighbours further apart than `gap_tolerance`.
//! - An episode **opens** at the first instant of a run that lies `for` or more after the run's first:
//!   `started_at` is the first instant of the run, `at` the instant that opened it, `value` its value.
//! - It **ends** as recovered at the first instant of a clear run that lies `clear_for` or more after the
//!   run's first: `at` is the first instant of the clear run, `value` that of the instant that decided.
//! - It **ends** for want of data when no sample lies in the `gap_tolerance` after the last one: `at` is the
//!   last instant plus `gap_tolerance`, `value` the last one. Decided with the pane of that `at`, so no
//!   sample is needed.
//! - The value of an instant with several samples is the one furthest towards holding.
//!
//! # Late records
//! Left out, see [`crate::detect::is_late`].
//!
//! # State
//! 64 bytes for each group whose last sample held or whose episode is open; nothing for all others, which
//! is most of them.

mod config;
mod machine;
mod partial;

#[cfg(test)]
mod tests;

pub use config::{Class, Condition, SustainedConfig, SustainedError};
pub use machine::{GroupSnapshot, Sustained, SustainedState};
pub use partial::ConditionPartial;
