//! Real-time infrastructure monitoring on timely and differential dataflow.

pub mod cluster;
pub mod commands;
pub mod config;
pub mod crumb;
pub mod demo;
pub mod generate;
pub mod notify;
pub mod page;
pub mod pipeline;
pub mod service;
pub mod telemetry;

/// The programs in the README, compiled and run as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct ReadmeDoctests;
