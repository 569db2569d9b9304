//! The stores of a service: time series, logs, transitions, dead letters, and the live page.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tidewatch_connectors::delivery::{
    Closed, Delivery, DeliveryConfig, DeliveryStats, OnFull, SinkHandle,
};
use tidewatch_connectors::kafka::dead_letters::DeadLetterWriter;
use tidewatch_connectors::sinks::AlertPoints;
use tidewatch_connectors::sinks::influxdb::LongTerm;
use tidewatch_connectors::sinks::sqlite::{
    SqliteLogs, SqliteMetrics, SqliteStore, SqliteTransitions,
};
use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::dead_letter::{DeadLetter, Reason};
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::sink::{RejectedItem, SinkWriter};
use tidewatch_dataflow::time::Clock;
use tokio::runtime;

use super::kept::{Kept, Starter};
use crate::config::PipelineConfig;
use crate::page::{LiveLogs, LiveMetrics, LiveState, LiveTransitions};
use crate::pipeline::PipelineCounters;

/// Handles of all stores, by what they take.
#[derive(Default)]
pub(super) struct Stores {
    pub(super) points: Vec<SinkHandle<MetricPoint>>,
    /// The sink for what is kept long, and what it takes.
    long_term: Option<(SinkHandle<MetricPoint>, LongTerm)>,
    /// The sink for points as they were read.
    raw: Option<SinkHandle<MetricPoint>>,
    pub(super) logs: Vec<SinkHandle<LogLine>>,
    pub(super) transitions: Vec<SinkHandle<Transition>>,
    pub(super) letters: Vec<SinkHandle<DeadLetter>>,
}

/// Hands `items` to every handle; the last one gets them without a copy.
pub(super) fn offer_all<T: Clone>(handles: &[SinkHandle<T>], items: Vec<T>) {
    if let Some((last, others)) = handles.split_last() {
        for handle in others {
            handle.offer(items.clone());
        }
        last.offer(items);
    }
}

/// Tells in the log what a closed sink could not deliver.
///
/// Where the run keeps state nothing of it is lost: what the last checkpoint does not name is computed again.
pub(super) fn report_left<T>(closed: &Closed<T>, is_kept: bool) {
    let left = closed.left.len() as u64 + closed.spilled;
    if is_kept && left > 0 {
        tracing::info!(left, "stopped with items not delivered: the next run delivers them");
    } else if !closed.left.is_empty() {
        let error = closed.snapshot.last_error.as_deref().unwrap_or("no time was left");
        tracing::error!(lost = closed.left.len(), error, "stopped with items not delivered");
    }
}

/// The page may lose what it cannot show in time: it never holds anything up.
fn page_delivery() -> DeliveryConfig {
    DeliveryConfig { on_full: OnFull::Shed, ..DeliveryConfig::default() }
}

/// Nothing to do about an item that a store refused: the delivery has counted and logged it.
fn counted<T>(_item: &T, _why: &RejectedItem) {}

impl Stores {
    pub(super) fn open(
        config: &PipelineConfig,
        store: Option<SqliteStore>,
        live: &Arc<LiveState>,
        counters: &Arc<PipelineCounters>,
        starter: &Starter,
    ) -> anyhow::Result<Self> {
        let mut stores = Stores::default();
        let topics = config.topics();
        if let Some(topic) = &config.dead_letters {
            let writer = DeadLetterWriter::open(&config.kafka, &topics, topic)
                .with_context(|| format!("could not open the dead-letter topic `{topic}`"))?;
            let queue = DeliveryConfig::default();
            let handle = starter.spawn("dead_letters", writer, queue, counted);
            stores.letters.push(handle);
        }
        if let Some(influx) = &config.sinks.influxdb {
            let open = || influx.open().context("could not open `[sinks.influxdb]`");
            stores.points.push(starter.spawn("influxdb", open()?, influx.delivery(), counted));
            if let Some((long_term, config)) = influx.long_term.clone().zip(influx.long_term()) {
                let writer =
                    config.open().context("could not open `[sinks.influxdb.long_term]`")?;
                let handle =
                    starter.spawn("influxdb/long_term", writer, config.delivery(), counted);
                stores.long_term = Some((handle, long_term));
            }
            if let Some(raw) = influx.raw() {
                let writer = raw.open().context("could not open `[sinks.influxdb.raw]`")?;
                let handle = starter.spawn("influxdb/raw", writer, raw.delivery(), counted);
                stores.raw = Some(handle);
            }
            let (alerts, queue) = (AlertPoints::new(open()?), influx.delivery());
            stores.transitions.push(starter.spawn("influxdb/alerts", alerts, queue, counted));
        }
        if let Some(influx) = &config.sinks.influxdb1 {
            let open = || influx.open().context("could not open `[sinks.influxdb1]`");
            stores.points.push(starter.spawn("influxdb1", open()?, influx.delivery(), counted));
            let (alerts, queue) = (AlertPoints::new(open()?), influx.delivery());
            stores.transitions.push(starter.spawn("influxdb1/alerts", alerts, queue, counted));
        }
        if let Some(prometheus) = &config.sinks.prometheus {
            let open = || prometheus.open().context("could not open `[sinks.prometheus]`");
            let queue = || prometheus.delivery();
            stores.points.push(starter.spawn("prometheus", open()?, queue(), counted));
            let alerts = AlertPoints::new(open()?);
            stores.transitions.push(starter.spawn("prometheus/alerts", alerts, queue(), counted));
        }
        if let Some(elastic) = &config.sinks.elasticsearch {
            let mut writer =
                elastic.open(topics.clone()).context("could not open `[sinks.elasticsearch]`")?;
            let mut alerts =
                elastic.open_alerts().context("could not open `[sinks.elasticsearch]`")?;
            if starter.is_first {
                let deleted = || Arc::clone(&counters.indexes_deleted);
                let kept = elastic.retention;
                let alerts_kept = elastic.alerts_retention.unwrap_or(kept);
                writer = writer.expiring(kept.get(), Clock::System, deleted());
                alerts = alerts.expiring(alerts_kept.get(), Clock::System, deleted());
            }
            let letters = stores.letters.clone();
            let counters = Arc::clone(counters);
            let on_rejected = move |line: &LogLine, why: &RejectedItem| {
                counters.ingest.count_dead_letters(Reason::Rejected, 1);
                offer_all(&letters, vec![refused(line, why)]);
            };
            let queue = elastic.delivery();
            stores.logs.push(starter.spawn("elasticsearch", writer, queue, on_rejected));
            let queue = elastic.delivery();
            stores.transitions.push(starter.spawn("elasticsearch/alerts", alerts, queue, counted));
        }
        if let (Some(sqlite), Some(store)) = (&config.sinks.sqlite, store) {
            let metrics = SqliteMetrics::new(store.clone());
            stores.points.push(starter.spawn(
                "sqlite/metrics",
                metrics,
                sqlite.delivery(),
                counted,
            ));
            let logs = SqliteLogs::new(store.clone(), topics);
            stores.logs.push(starter.spawn("sqlite/logs", logs, sqlite.delivery(), counted));
            let transitions = SqliteTransitions::new(store.clone());
            let queue = sqlite.delivery();
            stores.transitions.push(starter.spawn("sqlite/alerts", transitions, queue, counted));
        }
        let metrics = LiveMetrics(Arc::clone(live));
        stores.points.push(page(&starter.runtime, "page/metrics", metrics, page_delivery()));
        let logs = LiveLogs(Arc::clone(live));
        stores.logs.push(page(&starter.runtime, "page/logs", logs, page_delivery()));
        let transitions = LiveTransitions(Arc::clone(live));
        stores.transitions.push(page(
            &starter.runtime,
            "page/alerts",
            transitions,
            page_delivery(),
        ));
        Ok(stores)
    }

    /// Hands points to all sinks that take them.
    pub(super) fn offer_points(&self, points: Vec<MetricPoint>) {
        if let Some((handle, long_term)) = &self.long_term {
            let long: Vec<_> = points.iter().filter(|p| long_term.takes(p)).cloned().collect();
            if !long.is_empty() {
                handle.offer(long);
            }
        }
        offer_all(&self.points, points);
    }

    /// Hands points on as they were read.
    pub(super) fn offer_raw(&self, points: Vec<MetricPoint>) {
        if let Some(handle) = &self.raw {
            handle.offer(points);
        }
    }

    /// All sinks of points.
    fn all_points(&self) -> impl Iterator<Item = &SinkHandle<MetricPoint>> {
        let long_term = self.long_term.as_ref().map(|(handle, _)| handle);
        self.points.iter().chain(long_term).chain(&self.raw)
    }

    /// The sinks whose items survive, without the dead letters: what the others refuse becomes one.
    pub(super) fn kept(&self) -> Vec<Arc<dyn Kept>> {
        let mut kept: Vec<Arc<dyn Kept>> = Vec::new();
        kept.extend(self.all_points().map(|sink| Arc::new(sink.clone()) as Arc<dyn Kept>));
        kept.extend(self.logs.iter().map(|sink| Arc::new(sink.clone()) as Arc<dyn Kept>));
        kept.extend(self.transitions.iter().map(|sink| Arc::new(sink.clone()) as Arc<dyn Kept>));
        kept.retain(|sink| !sink.name().starts_with("page/"));
        kept
    }

    /// The dead letters, as a sink whose items survive.
    pub(super) fn kept_letters(&self) -> Vec<Arc<dyn Kept>> {
        self.letters.iter().map(|sink| Arc::new(sink.clone()) as Arc<dyn Kept>).collect()
    }

    pub(super) fn stats(&self) -> Vec<Arc<DeliveryStats>> {
        let points = self.all_points().map(SinkHandle::stats);
        let logs = self.logs.iter().map(SinkHandle::stats);
        let transitions = self.transitions.iter().map(SinkHandle::stats);
        points
            .chain(logs)
            .chain(transitions)
            .chain(self.letters.iter().map(SinkHandle::stats))
            .collect()
    }

    /// Whether one that may lose nothing is full.
    pub(super) fn is_full(&self) -> bool {
        self.all_points().any(SinkHandle::must_stall)
            || self.logs.iter().any(SinkHandle::must_stall)
            || self.transitions.iter().any(SinkHandle::must_stall)
            || self.letters.iter().any(SinkHandle::must_stall)
    }

    pub(super) async fn close(&self, deadline: Duration, is_kept: bool) {
        tokio::join!(
            close_all(self.all_points(), deadline, is_kept),
            close_all(&self.logs, deadline, is_kept),
            close_all(&self.transitions, deadline, is_kept),
        );
        // Last, since a store may refuse items until it is closed.
        close_all(&self.letters, deadline, is_kept).await;
    }
}

/// Starts a sink of the page: what it shows need not survive.
fn page<W: SinkWriter>(
    runtime: &runtime::Handle,
    name: &str,
    writer: W,
    queue: DeliveryConfig,
) -> SinkHandle<W::Item> {
    Delivery::spawn(runtime, name, writer, queue, counted)
}

async fn close_all<'a, T: Send + Sync + 'static>(
    handles: impl IntoIterator<Item = &'a SinkHandle<T>>,
    deadline: Duration,
    is_kept: bool,
) {
    let closing = handles.into_iter().map(|handle| handle.close(deadline));
    for closed in futures_util::future::join_all(closing).await {
        report_left(&closed, is_kept);
    }
}

/// The dead letter of a log line that a store refused.
fn refused(line: &LogLine, why: &RejectedItem) -> DeadLetter {
    DeadLetter {
        partition: line.partition,
        offset: line.offset,
        generation: line.generation,
        reason: why.reason,
        detail: why.detail.as_str().into(),
        key: None,
        value: line.message.as_bytes().into(),
        event_time: Some(line.event_time),
    }
}
