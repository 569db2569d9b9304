//! Windows, detectors and alerts over event time: deterministic state machines in thin timely shells.
//! No clock, no I/O.

pub mod aggregate;
pub mod alert;
pub mod detect;
pub mod feed;
pub mod group;
pub mod window;

#[cfg(test)]
mod testing;
