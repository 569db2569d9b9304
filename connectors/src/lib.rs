//! Everything of tidewatch that touches the outside: Kafka, the formats of records, stores and channels.
//!
//! The ports are in `tidewatch_dataflow`; here are their adapters.

pub mod codec;
pub mod delivery;
mod http;
pub mod kafka;
pub mod outbox;
pub mod sinks;
pub mod state;
