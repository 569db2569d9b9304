//! Slow, obvious references for every operator: all samples at once, no panes to close, no state to keep.
//!
//! The machines' own tests include these files too.

pub(crate) mod anomaly;
pub(crate) mod burst;
pub(crate) mod sustained;
pub(crate) mod windows;
