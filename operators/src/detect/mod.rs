//! Detectors: machines that watch groups and say when an episode opens and when it ends.
//!
//! | detector | opens when | state per group |
//! |---|---|---|
//! | [`sustained`] | samples hold a condition without a pause for long enough | 64 B, only while it holds |
//! | [`burst`] | more events than a bound, and than usual, fall into a sliding window | one number per pane with events |
//! | [`anomaly`] | a pane's mean stays far from its exponentially weighted past | 88 B, twice that while it does |
//!
//! All say [`Episode`]s, in order of groups inside an admission pane, and none depends on the order of
//! arrival inside the out-of-orderness bound. None corrects: see [`is_late`].

pub mod anomaly;
pub mod burst;
pub mod sustained;

mod episode;
mod group_state;

pub use episode::{Episode, is_late};
pub(crate) use group_state::GroupState;
