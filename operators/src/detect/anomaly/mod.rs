//! Anomalies: a group's mean over a pane stays far from the exponentially weighted past of that group.
//!
//! ```text
//!  value      ·  · ·          x x x x x x        mean ± score deviations
//!         ───────────────┐                 ┌──── the model stands still while it is suspicious,
//!         ───────────────┘                 └──── and begins anew when the new level has lasted
//!              warm-up   suspicious  open
//! ```
//!
//! # Semantics
//! For the mean `x` of each pane with samples, `d = x - mean`. It is an anomaly when `d` lies on the
//! configured side, `|d| >= min_deviation` and `|d| >= score * deviation`. An episode opens when every pane
//! with samples was an anomaly for at least `for_`: it began at the start of the first of them, and opens
//! at the end of the pane that made it long enough. It ends at the start of the first pane that is none;
//! with [`EndReason::NoData`](tidewatch_dataflow::alert::EndReason::NoData) when there are no samples for
//! longer than the greater of `for_` and six panes; and, since what lasts is no anomaly, after one
//! half-life: the model then begins anew at the level reached, with its warm-up.
//!
//! # Model
//! Exponentially weighted mean and variance, updated incrementally (T. Finch, "Incremental calculation of
//! weighted mean and variance", 2009, section 9): with `a = 1 - 2^(-dt / half_life)`,
//! `mean += a d` and `variance = (1 - a) (variance + a d^2)`. `dt` is the time since the last pane learned, so
//! that missing panes only make the past fade. Panes that are an anomaly are not learned.
//!
//! # Late records
//! None is taken back: see [`crate::detect::is_late`].
//!
//! # State
//! 72 bytes for each group, forgotten after four half-lives without samples.
//!
//! # Output time
//! At the end of the admission pane.

mod config;
mod machine;
#[cfg(test)]
mod tests;

pub use config::{AnomalyConfig, AnomalyError, Direction};
pub use machine::{Anomaly, AnomalyState};
