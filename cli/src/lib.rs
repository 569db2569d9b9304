//! Real-time infrastructure monitoring on timely and differential dataflow.

pub mod cluster;
pub mod notify;
pub mod pipeline;
