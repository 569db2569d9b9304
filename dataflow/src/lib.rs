//! Event time, records, ports and the timely shells that tidewatch is built from.
//!
//! Read the modules in this order: [`time`] says what an instant, a pane and a window are;
//! [`record`] and [`series`] what flows; [`admission`] when a record is applied; [`source`] and
//! [`sink`] are the ports that connectors implement; [`operator`] turns a state machine over panes
//! into a timely operator; [`alert`], [`metric`] and [`dead_letter`] are what comes out.
//!
//! This crate knows no rule, no file format and no protocol.

pub mod admission;
pub mod alert;
pub mod checkpoint;
pub mod config;
pub mod dead_letter;
pub mod ingest;
pub mod metric;
pub mod operator;
pub mod record;
pub mod series;
pub mod sink;
pub mod source;
pub mod testing;
pub mod time;
pub mod wire;
