//! A pipeline as a service: opened from its configuration, with stores, channels, page and telemetry.
//!
//! ```text
//!  configuration ─► sources (Kafka) ─► pipeline ─► outlets ─► stores, channels, dead letters
//!                                         │           └─► live page
//!                                         └─► telemetry ─► /metrics /healthz /readyz
//! ```

mod channels;
mod http;
mod kafka;
mod outlets;
mod progress;
mod stores;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context;
use tidewatch_connectors::sinks::sqlite::SqliteStore;
use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::time::Clock;
use tokio::runtime;

use outlets::Opening;
pub use outlets::Outlets;

use crate::cluster::Membership;
use crate::config::PipelineConfig;
use crate::page::{LiveConfig, LiveState};
use crate::pipeline::{Outputs, PipelineCounters, PipelineSpec, Running, Shared, TimeSpec, start};
use crate::telemetry::{Health, Telemetry};

/// How long sinks may flush after the workers have stopped.
const FLUSH_WITHIN: Duration = Duration::from_secs(10);

/// A service that runs.
pub struct Service {
    running: Running,
    outlets: Arc<Outlets>,
    /// What it counts.
    pub telemetry: Telemetry,
    /// Where it serves page, API and metrics; `None` when it was told not to.
    pub address: Option<SocketAddr>,
    live: Arc<LiveState>,
    runtime: runtime::Handle,
}

/// What a service is started with besides its configuration.
pub struct ServiceOptions {
    /// Which part of a cluster it is.
    pub membership: Membership,
    /// Set to stop it.
    pub stop: Arc<AtomicBool>,
    /// Whether to serve page, API and metrics.
    pub serve: bool,
    /// Hears of every transition as it leaves the dataflow, on the process of worker 0.
    pub observer: Option<Sender<Transition>>,
}

impl Service {
    /// Opens everything and starts the workers of this process on a runtime of the caller.
    ///
    /// # Errors
    /// Whatever cannot be opened, by name.
    pub fn start(
        config: &PipelineConfig,
        options: ServiceOptions,
        runtime: &runtime::Handle,
    ) -> anyhow::Result<Service> {
        let clock = Clock::System;
        let ServiceOptions { membership, stop, serve, observer } = options;
        let counters = Arc::new(PipelineCounters::default());
        let gauges: Vec<_> = (0..membership.workers.get()).map(|_| Arc::default()).collect();
        let sources = kafka::KafkaSources::open(config, &clock)?;
        let store = config.sinks.sqlite.as_ref().map(SqliteStore::open).transpose();
        let store = store.context("could not open `[sinks.sqlite]`")?;
        let live = LiveState::new(LiveConfig {
            store: store.clone(),
            clock: clock.clone(),
            ..LiveConfig::of(config)
        });
        let opening = Opening {
            store,
            live: Arc::clone(&live),
            clock: clock.clone(),
            counters: Arc::clone(&counters),
            observer,
        };
        let outlets = Outlets::open(config, opening, runtime)?;
        let telemetry = Telemetry {
            counters: Arc::clone(&counters),
            gauges: gauges.clone(),
            sinks: outlets.stats(),
            clock: clock.clone(),
        };
        let address = if serve {
            let health = Health { telemetry: telemetry.clone(), stopping: Arc::clone(&stop) };
            let mut listen = config.listen;
            if listen.port() != 0 {
                // Each process of one machine has a port of its own, counting up.
                let index = u16::try_from(membership.process).unwrap_or(0);
                listen.set_port(listen.port().saturating_add(index));
            }
            Some(http::serve(listen, health, &live, runtime)?)
        } else {
            None
        };
        let shared = Shared {
            spec: PipelineSpec { complete_from: sources.complete_from(), ..spec(config, clock) },
            sources: Box::new(sources),
            outputs: Arc::clone(&outlets) as Arc<dyn Outputs>,
            stop,
            counters,
            gauges,
        };
        progress::keep(&live, telemetry.clone(), runtime);
        let running = start(&membership, shared).context("could not start the pipeline")?;
        Ok(Service { running, outlets, telemetry, address, live, runtime: runtime.clone() })
    }

    /// Records read and windows fired so far, on this process.
    pub fn totals(&self) -> (u64, u64) {
        let counters = &self.telemetry.counters;
        let records = counters.ingest.records.load(Ordering::Relaxed);
        (records, counters.firings.load(Ordering::Relaxed))
    }

    /// Whether the workers have ended.
    pub fn has_ended(&self) -> bool {
        self.running.has_ended()
    }

    /// Waits until the workers have stopped, then flushes the sinks; what they could not deliver is told
    /// in the log.
    ///
    /// # Errors
    /// What ended the workers, when it was not a stop.
    pub fn wait(self) -> anyhow::Result<()> {
        let ended = self.running.join();
        progress::stopped(&self.live, &self.telemetry);
        self.runtime.block_on(self.outlets.close(FLUSH_WITHIN));
        Ok(ended?)
    }
}

/// The pipeline of a configuration.
fn spec(config: &PipelineConfig, clock: Clock) -> PipelineSpec {
    let time = TimeSpec {
        out_of_orderness: config.time.out_of_orderness,
        idle_timeout: config.time.idle_timeout,
        future_tolerance: config.time.future_tolerance,
        max_lead: config.time.max_lead,
        clock,
    };
    PipelineSpec {
        inventory: outlets::inventory(config),
        series_max: config.series_max,
        ..PipelineSpec::new(config.topics(), time, config.feeds())
    }
}

/// How far before the end of the log a first start begins, so that the first windows and conditions are
/// whole when the first record comes live.
fn reach(config: &PipelineConfig) -> Duration {
    config.longest_window() + 2 * config.time.out_of_orderness
}
