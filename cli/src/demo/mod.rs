//! `tidewatch demo`: everything at work on one machine. A simulated fleet with labelled faults, an in-process
//! Kafka, the pipeline file, progress on the console, and the judgement of the run.

pub mod config;
pub mod console;
pub mod evaluate;
pub mod fleet;
pub mod mock;
pub mod run;
