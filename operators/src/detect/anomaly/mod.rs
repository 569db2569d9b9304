//! Anomalies: a group's mean over a pane stays far from the exponentially weighted past of that group.
//!
//! ```text
//!  value      ·  · ·          x x x x x x        mean ± score deviations
//!         ───────────────┐                 ┌──── the model stands still while panes are not usual, and
//!         ───────────────┘                 └──── takes over what they taught when they have lasted
//!              warm-up    for_  open
//! ```
//!
//! # Semantics
//! For the mean `x` of each pane with samples, `d = x - mean`. The pane is **not usual** when `d` is not 0,
//! `|d| >= min_deviation` and `|d| >= score * deviation`, and an **anomaly** when it also lies on the
//! configured side. Nothing is judged before the model is `warm_up` old and made of five panes.
//!
//! - An episode **opens** when every pane with samples was an anomaly for at least `for_`: `started_at` is
//!   the start of the first of them, `at` the end of the pane that made it long enough.
//! - It **ends** as recovered with the first pane that is none, `at` the start of that pane.
//! - It **ends** for want of data when there are no samples for longer than the greater of `for_` and six
//!   panes, so panes should be at least a sixth of the interval between samples.
//! - It **ends** as recovered when it has become the rule: once panes were not usual for longer than the
//!   greater of `half_life` and `for_`, the model made of them takes the place of the former one.
//! - `value` is the mean of the pane that decided it, of the last pane where none did.
//!
//! # Model
//! Exponentially weighted mean and variance, updated incrementally as by D. H. D. West, "Updating mean and
//! variance estimates: an improved method", Communications of the ACM 22 (1979), with the weights of
//! T. Finch, "Incremental calculation of weighted mean and variance" (2009): with `f = 2^(-dt / half_life)`
//!
//! ```text
//! weight = weight f + 1      mean += d / weight      squares = squares f + d (x - mean)
//! deviation = sqrt(squares / weight)
//! ```
//!
//! `dt` is the time since the last pane learned, so missing panes only make the past fade. Since weights are
//! summed, the first panes count alike, and a short warm-up already yields a fair deviation. A constant
//! series has the deviation 0, and `min_deviation` decides alone.
//!
//! Panes that are not usual, on either side, are not learned but on trial: a second model is made of each
//! run of them. It is dropped with the first usual pane, so no spike widens the deviation.
//!
//! # Late records
//! Left out, see [`crate::detect::is_late`].
//!
//! # State
//! 88 bytes for each group, 88 more while it is not usual; forgotten after four half-lives without samples.
//!
//! # Output time
//! With the end of the admission pane.

mod config;
mod machine;
mod model;

#[cfg(test)]
mod tests;

pub use config::{AnomalyConfig, AnomalyError, Direction};
pub use machine::{Anomaly, AnomalyState, GroupSnapshot};
