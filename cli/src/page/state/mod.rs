//! What the page shows, kept in bounded memory: the last hour of every host, log rates, recent lines,
//! open and past alerts, progress.
//!
//! # Bounds
//!
//! | what | how many at most | bytes |
//! | --- | --- | --- |
//! | points | 2,000 hosts × 4 panels × 400 points of 16 B | 51 MB; 1.9 MB for 100 hosts and 3 panels |
//! | log rate | 400 steps of 56 B | 22 kB |
//! | recent lines | 1,000 of at most 1.3 kB | 1.3 MB |
//! | open alerts shown | 1,000 of about 1 kB | 1 MB |
//! | past alerts | 1,000 of about 1 kB | 1 MB |
//! | events not yet read by a slow client | 64 ticks, shared by all clients | 64 × 0.3 MB for 2,000 hosts |
//!
//! When there are more hosts than that, the one that has been silent for longest gives way if it has been
//! silent for [`SILENT_AFTER`]; otherwise the new one is left out and counted.

mod alerts;
mod logs;
mod panel;
mod series;
#[cfg(test)]
mod tests;
mod tick;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tidewatch_connectors::sinks::sqlite::SqliteStore;
use tidewatch_dataflow::alert::{Incident, Transition};
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{Level, LogLine};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime};
use tokio::sync::broadcast;

use crate::config::PipelineConfig;
use alerts::Alerts;
pub use alerts::{AlertView, AlertsView};
pub(super) use logs::LEVEL_NAMES;
use logs::Logs;
pub use logs::{LOG_STEP, LineView, RateView};
pub use panel::Panel;
pub use series::HostView;
use series::Hosts;

/// A host without points for this long, in event time, may give way to a new one.
pub const SILENT_AFTER: Duration = Duration::from_secs(600);

/// Ticks that a slow client may be behind before it is told to load everything anew.
const TICKS_MAX: usize = 64;

/// How a [`LiveState`] is set up.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// The charts; those beyond the fourth are left out.
    pub panels: Vec<Panel>,
    /// Hosts at most.
    pub hosts: usize,
    /// The embedded store, for the search in all logs, for ranges beyond an hour and for alerts of former
    /// runs; without it there is what memory holds.
    pub store: Option<SqliteStore>,
    /// Where the present comes from.
    pub clock: Clock,
}

impl Default for LiveConfig {
    /// The panels of the demo, 2,000 hosts, no store, the system's clock.
    fn default() -> Self {
        LiveConfig {
            panels: vec![
                Panel::percent("CPU", "cpu", &["cpu_sustained"], Some(90.0)),
                Panel::percent("Memory", "mem", &["memory_anomaly"], None),
                Panel::percent("Disk", "disk", &[], None),
            ],
            hosts: 2_000,
            store: None,
            clock: Clock::System,
        }
    }
}

impl LiveConfig {
    /// The panels of a pipeline: one for each of the first four statistics that are grouped by host. The
    /// rest as in [`LiveConfig::default`].
    pub fn of(config: &PipelineConfig) -> Self {
        LiveConfig { panels: panel::of(config), ..LiveConfig::default() }
    }
}

/// Panels beyond this many are left out.
const PANELS_MAX: usize = 4;

/// What the pipeline is doing.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been read yet.
    #[default]
    Starting,
    /// Reading what was there before.
    CatchingUp {
        /// How much of it, in percent, where known.
        percent: Option<f64>,
    },
    /// Reading as it comes.
    Live,
    /// No longer reading.
    Stopped,
}

/// Progress of the pipeline, set by whoever drives it, about once a second.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Records read so far.
    pub records: u64,
    /// Records read per second, of late.
    pub records_per_second: f64,
    /// Event time up to which everything has been applied.
    pub watermark: Option<EventTime>,
}

/// Progress as the API tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusView {
    /// What the pipeline is doing.
    pub phase: Phase,
    /// Records read so far.
    pub records: u64,
    /// Records read per second.
    pub records_per_second: f64,
    /// Event time up to which everything has been applied, in milliseconds.
    pub watermark: Option<u64>,
    /// How far that is behind the present, in seconds.
    pub watermark_delay: Option<f64>,
    /// The present, in milliseconds.
    pub now: u64,
    /// Hosts shown.
    pub hosts: usize,
    /// Points left out since there were too many hosts.
    pub left_out: u64,
    /// Open alerts.
    pub open_alerts: usize,
    /// Counts up with every change of the alerts.
    pub alerts_version: u64,
}

/// Everything the page shows. Fed by sinks and by the engine, read by the API; shared by an [`Arc`].
#[derive(Debug)]
pub struct LiveState {
    panels: Vec<Panel>,
    store: Option<SqliteStore>,
    clock: Clock,
    inner: Mutex<Inner>,
    ticks: broadcast::Sender<Arc<str>>,
    /// Whether the task that sends ticks runs.
    ticking: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    hosts: Hosts,
    logs: Logs,
    alerts: Alerts,
    status: Status,
}

impl LiveState {
    /// An empty state; with a store, the alerts of former runs are read from it, which blocks for a
    /// moment.
    pub fn new(config: LiveConfig) -> Arc<Self> {
        let LiveConfig { mut panels, hosts, store, clock } = config;
        panels.truncate(PANELS_MAX);
        let mut alerts = Alerts::default();
        if let Some(store) = &store {
            match store.incidents(alerts::PAST_MAX) {
                Ok(former) => alerts.load(former),
                Err(error) => tracing::warn!(%error, "could not read the alerts of former runs"),
            }
        }
        let inner = Inner {
            hosts: Hosts::new(panels.len(), hosts),
            logs: Logs::default(),
            alerts,
            status: Status::default(),
        };
        Arc::new(LiveState {
            panels,
            store,
            clock,
            inner: Mutex::new(inner),
            ticks: broadcast::channel(TICKS_MAX).0,
            ticking: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete before anything can panic, so a poisoned state is still a good one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the points that some panel draws.
    pub fn add_points(&self, points: &[MetricPoint]) {
        let mut inner = self.lock();
        for point in points {
            let Some(host) = point.labels.get("host") else { continue };
            let window = point.labels.get("window").unwrap_or_default();
            for (index, panel) in self.panels.iter().enumerate() {
                if *panel.measurement == *point.measurement && panel.window == window {
                    let value = point.fields.get(&panel.field);
                    if let Some(value) = value.filter(|value| value.is_finite()) {
                        inner.hosts.add(host, index, (point.time.as_millis(), value));
                    }
                }
            }
        }
    }

    /// Counts lines and remembers the most recent ones.
    pub fn add_lines(&self, lines: &[LogLine]) {
        let mut inner = self.lock();
        lines.iter().for_each(|line| inner.logs.add(line));
    }

    /// Notes openings and ends, for the list of past alerts.
    pub fn add_transitions(&self, transitions: &[Transition]) {
        let mut inner = self.lock();
        transitions.iter().for_each(|transition| inner.alerts.note(transition));
    }

    /// Replaces the open alerts: each incident with what the inventory knows of its group.
    pub fn set_active(&self, active: Vec<(Incident, Labels)>) {
        self.lock().alerts.set_active(active);
    }

    /// Changes the open alerts: +1 for one that opened, -1 for one that ended.
    pub fn change_active(&self, changes: Vec<((Incident, Labels), isize)>) {
        self.lock().alerts.change_active(changes);
    }

    /// Replaces the progress.
    pub fn set_status(&self, status: Status) {
        self.lock().status = status;
    }

    /// The charts.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// The embedded store, if there is one.
    pub fn store(&self) -> Option<&SqliteStore> {
        self.store.as_ref()
    }

    /// The present.
    pub fn now(&self) -> EventTime {
        self.clock.now()
    }

    /// Progress as of now.
    pub fn status(&self) -> StatusView {
        self.status_of(&self.lock())
    }

    fn status_of(&self, inner: &Inner) -> StatusView {
        let (status, now) = (inner.status, self.clock.now());
        StatusView {
            phase: status.phase,
            records: status.records,
            records_per_second: status.records_per_second,
            watermark: status.watermark.map(EventTime::as_millis),
            watermark_delay: status.watermark.map(|mark| now.since(mark).as_secs_f64()),
            now: now.as_millis(),
            hosts: inner.hosts.len(),
            left_out: inner.hosts.left_out(),
            open_alerts: inner.alerts.open_count(),
            alerts_version: inner.alerts.version(),
        }
    }

    /// All hosts with their newest values and how many alerts are open for each, sorted by name.
    pub fn hosts(&self) -> Vec<HostView> {
        let inner = self.lock();
        let open = inner.alerts.open_by_host();
        inner.hosts.view(&self.panels, &open)
    }

    /// The points of `host` from `from` on, per panel; `None` for an unknown host.
    pub fn series(&self, host: &str, from: EventTime) -> Option<Vec<Vec<(u64, f64)>>> {
        self.lock().hosts.series(host, from.as_millis())
    }

    /// Whether memory reaches back to `from` for `host`.
    pub fn reaches(&self, host: &str, from: EventTime) -> bool {
        self.lock().hosts.reaches(host, from.as_millis())
    }

    /// Open and past alerts, the newest first.
    pub fn alerts(&self) -> AlertsView {
        self.lock().alerts.view()
    }

    /// Lines per level and step, oldest first.
    pub fn log_rate(&self) -> Vec<RateView> {
        self.lock().logs.rate()
    }

    /// The most recent lines at `level` or above that hold all words of `query`, newest first.
    pub fn recent_lines(&self, query: &str, level: Level, limit: usize) -> Vec<LineView> {
        self.lock().logs.search(query, level, limit)
    }
}
