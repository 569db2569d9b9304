//! What is under `deploy/`, at work: real brokers and stores, tidewatch with the pipeline file of `compose.yaml`, Telegraf,
//! rsyslog, collectd and Prometheus with the shipped configurations; a processor that burns, a burst of errors; and then
//! every query of every panel of Grafana and Kibana.
//!
//! ```text
//!  history (burners, burst) ─┐                             ┌─► InfluxDB ──────► Grafana's panels
//!  Telegraf ─────────────────┼─► Kafka ─► tidewatch ───────┼─► Elasticsearch ─► Grafana's and Kibana's panels
//!  rsyslog ──────────────────┘                             └─► /metrics ─► Prometheus ─► panels, rules
//! ```
//!
//! Grafana and Kibana themselves cannot be had here: [`grafana`] and [`kibana`] build the requests that they would send.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says how far it got"
)]

mod album;
mod elastic;
mod grafana;
mod history;
mod kibana;
mod producers;
mod prometheus;
mod schemas;
mod types;
mod world;

use std::process::Command;

use world::{World, deploy};

/// One test, since all of it looks at one run.
#[test]
fn every_panel_shows_what_the_shipped_configurations_write() {
    let Some(world) = World::start() else { return };
    let mut faults = Vec::new();
    for path in ["/healthz", "/readyz"] {
        let mut probe = Command::new("bash");
        probe.arg(deploy().join("healthcheck.sh")).args([path, &world.port.to_string()]);
        if !probe.status().unwrap().success() {
            faults.push(format!("healthcheck.sh says that {path} is not well"));
        }
    }
    producers::check(&world, &mut faults);
    prometheus::check_rules(&world, &mut faults);
    grafana::check(&world, &mut faults);
    kibana::check(&world, &mut faults);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
