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
mod kept;
mod outlets;
mod poison;
mod progress;
mod stores;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context;
use tidewatch_connectors::sinks::sqlite::SqliteStore;
use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::ingest::Decision;
use tidewatch_dataflow::time::Clock;
use tokio::runtime;

use outlets::Opening;
pub use outlets::Outlets;

use crate::cluster::exit::{Final, Renewed};
use crate::cluster::{Membership, Pulse};
use crate::config::PipelineConfig;
use crate::page::{LiveConfig, LiveState};
use crate::pipeline::{
    Durability, Outputs, PipelineCounters, PipelineSpec, RawPoints, Running, Shared,
    StoreDurability, TimeSpec, start,
};
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
    /// Says that the workers go round.
    pub pulse: Pulse,
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
        let sources = kafka::KafkaSources::open(config, &clock, membership.process)?;
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
        let outlets = Outlets::new(config, opening, runtime);
        let telemetry = Telemetry {
            counters: Arc::clone(&counters),
            gauges: gauges.clone(),
            opened: outlets.opened(),
            kafka: sources.health(),
            clock: clock.clone(),
        };
        let address = if serve {
            let health = Health { telemetry: telemetry.clone(), stopping: Arc::clone(&stop) };
            let mut listen = config.listen;
            if listen.port() != 0 {
                // Each process of one machine has a port of its own, counting up.
                let index = u16::try_from(membership.place_on_machine()).unwrap_or(0);
                listen.set_port(listen.port().saturating_add(index));
            }
            Some(http::serve(listen, health, &live, runtime)?)
        } else {
            None
        };
        let convicted = sources.convicted();
        let complete_from = sources.complete_from();
        let spec = PipelineSpec { complete_from, ..spec(config, clock.clone()) };
        let outputs = Arc::clone(&outlets) as Arc<dyn Outputs>;
        let shared = Shared {
            stop,
            counters,
            gauges,
            durability: durability(config, clock, runtime, convicted)?,
            ..Shared::new(spec, Box::new(sources), outputs, membership.workers.get())
        };
        let pulse = shared.pulse.clone();
        progress::keep(&live, telemetry.clone(), runtime);
        let running = start(&membership, shared).context("could not start the pipeline")?;
        let runtime = runtime.clone();
        Ok(Service { running, outlets, telemetry, address, pulse, live, runtime })
    }

    /// Ends the process, with the exit code that says so, as soon as a newer run is found to have taken over:
    /// what this one computes belongs to nobody any more.
    pub fn leave_when_fenced(&self) {
        let opened = Arc::clone(&self.telemetry.opened);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let keeper = opened.get().and_then(|opened| opened.keeper.as_ref());
                let failure = keeper.and_then(|keeper| keeper.failure());
                if let Some(error) = failure.filter(|error| error.is_fenced()) {
                    tracing::error!(%error, "leaving");
                    Final::Fenced.leave();
                }
            }
        });
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
        let ended = self.running.join().map_err(|error| {
            let end = match (error.is_fenced(), error.is_refused_state()) {
                (true, _) => Some(Final::Fenced),
                (_, true) => Some(Final::Refused),
                _ => None,
            };
            let is_recreated = error.is_recreated();
            let error = anyhow::Error::new(error);
            match end {
                Some(end) => error.context(end),
                None if is_recreated => error.context(Renewed),
                None => error,
            }
        });
        progress::stopped(&self.live, &self.telemetry);
        self.runtime.block_on(self.outlets.close(FLUSH_WITHIN));
        ended
    }
}

/// Where the state of a pipeline is kept.
fn durability(
    config: &PipelineConfig,
    clock: Clock,
    runtime: &runtime::Handle,
    decisions: Vec<Decision>,
) -> anyhow::Result<Durability> {
    let checkpoint = &config.checkpoint;
    if !checkpoint.enabled {
        return Ok(Durability::Nothing);
    }
    let store = checkpoint.store.open(runtime).context("could not open `[checkpoint] store`")?;
    Ok(Durability::Store(StoreDurability {
        store,
        pipeline: checkpoint.pipeline.clone(),
        topics: config.topics(),
        every: checkpoint.interval,
        keep: checkpoint.keep,
        clock,
        decisions,
    }))
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
        raw: raw(config),
        series_max: config.series_max,
        on_change: config.checkpoint.on_change,
        fault: poison::fault(),
        ..PipelineSpec::new(config.topics(), time, config.feeds())
    }
}

/// What `[sinks.influxdb.raw]` asks for.
fn raw(config: &PipelineConfig) -> Option<RawPoints> {
    let raw = config.sinks.influxdb.as_ref()?.raw.as_ref()?;
    Some(RawPoints::of(&raw.measurements))
}

/// How far before the end of the log a first start begins, so that the first windows and conditions are
/// whole when the first record comes live.
fn reach(config: &PipelineConfig) -> Duration {
    config.longest_window() + 2 * config.time.out_of_orderness
}
