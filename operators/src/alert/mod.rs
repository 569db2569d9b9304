//! Alerts as differential collections: what is open, what the inventory knows of it, how many there are.
//!
//! The transition log is the truth and people are told from it; the collections here are views of it,
//! maintained incrementally.

mod active;

pub use active::{active_incidents, open_counts, with_inventory};
