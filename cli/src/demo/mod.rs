//! `tidewatch demo`: everything but the engine. A simulated fleet with labelled faults, an in-process
//! Kafka, the pipeline file, progress on the console, and the judgement of the run.

pub mod config;
pub mod console;
pub mod evaluate;
pub mod fleet;
pub mod mock;
