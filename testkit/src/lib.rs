//! Test support of tidewatch: real servers for service tests, and strict
//! in-process fakes for services that cannot be had. Never shipped.
//!
//! | module | what it starts | real or fake |
//! | --- | --- | --- |
//! | [`kafka`] | Apache Kafka: one node, three, or one with encryption and authentication | real |
//! | [`influxdb`] | InfluxDB 2, set up with organisation, bucket and token | real |
//! | [`influxdb1`] | InfluxDB 1, with a user | real |
//! | [`prometheus`] | Prometheus, which takes remote write | real |
//! | [`victoriametrics`] | a single-node VictoriaMetrics | real |
//! | [`elasticsearch`] | a one-node Elasticsearch or OpenSearch | real |
//! | [`smtp`] | a mail server with STARTTLS, TLS and authentication | real |
//! | [`http`] | an HTTP server with scripted answers; Slack, PagerDuty and S3 by contract | fake |
//!
//! # Which tests may use a real server
//! A test that needs one lives in an integration test file whose name starts
//! with `service`, such as `tests/service_kafka.rs`: `cargo xtask test` runs
//! those in a step of their own, after the servers have been fetched.
//!
//! ```no_run
//! # use tidewatch_testkit::{kafka::Broker, unique};
//! let Some(broker) = Broker::shared() else { return }; // told, and a failure in CI
//! let topic = unique("cpu-usage");
//! broker.create_topic(&topic, 4).unwrap();
//! ```
//!
//! # Life and death
//! A server belongs to the process that started it: it is ended when its value
//! is dropped, and killed by the kernel when the process dies, however that
//! happens. `shared()` gives all tests of one binary the same server, so tests
//! that share must use names of their own ([`unique`]); a test that kills or
//! restarts starts its own. Everything binds to 127.0.0.1 on a free port
//! ([`free_ports`]).

pub mod cache;
mod error;

#[cfg(feature = "servers")]
pub mod elasticsearch;
#[cfg(feature = "servers")]
pub mod http;
#[cfg(feature = "servers")]
pub mod influxdb;
#[cfg(feature = "servers")]
pub mod influxdb1;
#[cfg(feature = "servers")]
pub mod kafka;
#[cfg(feature = "servers")]
mod policy;
#[cfg(feature = "servers")]
mod ports;
#[cfg(feature = "servers")]
mod process;
#[cfg(feature = "servers")]
mod program;
#[cfg(feature = "servers")]
pub mod prometheus;
#[cfg(feature = "servers")]
mod run_folder;
#[cfg(feature = "servers")]
pub mod smtp;
#[cfg(feature = "servers")]
pub mod victoriametrics;
#[cfg(feature = "servers")]
mod wait;

pub use error::{Error, Result};
#[cfg(feature = "servers")]
pub use policy::{Service, require};
#[cfg(feature = "servers")]
pub use ports::free_ports;
#[cfg(feature = "servers")]
pub use program::Program;
#[cfg(feature = "servers")]
pub use wait::{unique, wait_for};
