//! Windows: fixed stretches of event time, tumbling (one after another) or sliding (overlapping).
//!
//! ```text
//! panes     |  0  |  1  |  2  |  3  |  4  |  5  |       slide = 1 pane, size = 3 panes
//! windows   [-----------------)
//!                 [-----------------)
//!                       [-----------------)
//! ```
//!
//! # Semantics
//! A window begins at every multiple of the slide since the epoch. It fires when the admission pane that
//! ends where the window ends is applied, for each group with at least one sample in it. Its value is the
//! join of the partial aggregates of its panes, in a shape that depends on absolute pane indexes only (see
//! `tree.rs`), so any arrival order inside the out-of-orderness bound, any number of workers and any
//! restore in between give the same value to the bit.
//!
//! # Late records
//! An entry whose event pane lies before its admission pane is a correction. It is merged into its pane,
//! and each window that contains it, has ended, and whose end plus the allowed lateness lies after the
//! start of the admission pane, fires once more with [`Timing::Late`] and the value it replaces. Several
//! corrections in one admission pane make one firing. An entry for which
//! [`WindowPlan::is_too_late`] holds is refused; the sender asks first, and counts.
//!
//! # State
//! Per pane inside some window or its allowed lateness, one partial aggregate for each group that has
//! samples there, and at most as many again for the nodes of the merge tree: at most
//! `2 * (size + allowed_lateness) / pane` partial aggregates per active group, nothing for silent ones.
//! Several windows over the same samples share all of it: the one that reaches back furthest decides.

mod column;
mod config;
mod firing;
mod machine;
mod set;
mod tree;

#[cfg(test)]
mod tests;

pub use config::{WINDOW_PANES_MAX, WindowConfig, WindowError, WindowPlan};
pub use firing::{Firing, Timing};
pub use machine::{Windows, WindowsState};
pub(crate) use set::WindowSet;
