//! Reads all counters of the process when somebody asks for `/metrics`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tidewatch_connectors::delivery::{DeliverySnapshot, DeliveryState, DeliveryStats};
use tidewatch_connectors::kafka::{HealthSnapshot, KafkaHealth};
use tidewatch_connectors::outbox::Outbox;
use tidewatch_dataflow::checkpoint::Keeper;
use tidewatch_dataflow::ingest::PartitionGauges;
use tidewatch_dataflow::time::{Clock, EventTime};

use super::names::{self, Kind, Metric};
use crate::pipeline::worker::PipelineCounters;

/// Everything that is exposed; cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Counters of the pipeline.
    pub counters: Arc<PipelineCounters>,
    /// Gauges of the workers of this process.
    pub gauges: Vec<Arc<PartitionGauges>>,
    /// What is open once it is known what the run goes on from.
    pub opened: Arc<OnceLock<Opened>>,
    /// How the Kafka clients of the process fare; filled as they are made.
    pub kafka: Arc<Mutex<Vec<Arc<KafkaHealth>>>>,
    /// Tells how far behind event time is.
    pub clock: Clock,
}

/// What can be told of only when it is known what the run goes on from.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Counters of the sinks.
    pub sinks: Vec<Arc<DeliveryStats>>,
    /// Writes checkpoints, where state is kept.
    pub keeper: Option<Arc<Keeper>>,
    /// What people were told, on the process of worker 0.
    pub outbox: Option<Arc<Outbox>>,
}

impl Telemetry {
    /// The Prometheus text of all metrics.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Whether every partition of this process has been at the end of its log since the start.
    pub fn caught_up(&self) -> bool {
        self.gauges.iter().all(|gauges| gauges.caught_up.load(Ordering::Relaxed) == 1)
    }

    /// How many groups the operators of this process leave out, since they crashed at them.
    pub fn quarantined(&self) -> u64 {
        self.counters.feeds.quarantined_groups.load(Ordering::Relaxed)
    }

    /// How far applied event time is behind the clock, in seconds; `None` before the first pane.
    pub fn watermark_delay(&self) -> Option<f64> {
        let applied = EventTime::from_millis(self.counters.applied.load(Ordering::Relaxed));
        (applied > EventTime::MIN).then(|| self.clock.now().since(applied).as_secs_f64())
    }
}

impl Collector for Telemetry {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Encoder(encoder);
        let (ingest, feeds) = (&self.counters.ingest, &self.counters.feeds);
        out.counter(names::RECORDS, &ingest.records)?;
        out.counter(names::BYTES, &ingest.bytes)?;
        out.counter(names::POINTS, &ingest.points)?;
        out.counter(names::LOG_LINES, &ingest.log_lines)?;
        out.counter(names::NO_NUMBERS, &ingest.no_numbers)?;
        out.counter(names::READ_ERRORS, &ingest.read_errors)?;
        out.counter(names::RECREATED, &ingest.recreated)?;
        out.counter(names::SENT_BYTES, &self.counters.traffic.sent)?;
        out.counter(names::RECEIVED_BYTES, &self.counters.traffic.received)?;
        let workers = || self.gauges.iter().enumerate().map(|(i, g)| (i.to_string(), g));
        let lag = workers().map(|(i, g)| (i, g.lag.load(Ordering::Relaxed)));
        out.family(names::LAG, "worker", lag)?;
        let open = workers().map(|(i, g)| (i, g.open_points.load(Ordering::Relaxed)));
        out.family(names::OPEN_POINTS, "worker", open)?;
        let letters = ingest.dead_letters().map(|(r, n)| (r.as_str().to_owned(), n));
        out.family(names::DEAD_LETTERS, "reason", letters)?;
        let decisions = ingest.decisions().map(|(kind, n)| (kind.as_str().to_owned(), n));
        out.family(names::DECISIONS, "decision", decisions)?;
        out.counter(names::FILTERED, &feeds.filtered)?;
        out.counter(names::SELECTED, &feeds.selected)?;
        out.counter(names::LATE, &feeds.late)?;
        out.counter(names::CORRECTIONS, &feeds.corrections)?;
        out.counter(names::MERGED, &feeds.merged)?;
        out.gauge(names::QUARANTINED_GROUPS, self.quarantined() as f64)?;
        out.counter(names::QUARANTINED_SAMPLES, &feeds.quarantined)?;
        out.counter(names::FIRINGS, &self.counters.firings)?;
        out.counter(names::TRANSITIONS, &self.counters.transitions)?;
        if let Some(delay) = self.watermark_delay() {
            out.gauge(names::WATERMARK_DELAY, delay)?;
        }
        let nothing = Opened::default();
        let opened = self.opened.get().unwrap_or(&nothing);
        let sinks: Vec<(String, DeliverySnapshot)> =
            opened.sinks.iter().map(|s| (s.name().to_owned(), s.snapshot())).collect();
        let mut sink = |metric, number: fn(&DeliverySnapshot) -> u64| {
            out.family(metric, "sink", sinks.iter().map(|(name, s)| (name.clone(), number(s))))
        };
        sink(names::SINK_OFFERED, |s| s.offered)?;
        sink(names::SINK_DELIVERED, |s| s.delivered)?;
        sink(names::SINK_QUEUED, |s| s.queued)?;
        sink(names::SINK_SHED, |s| s.shed)?;
        sink(names::SINK_REJECTED, |s| s.rejected)?;
        sink(names::SINK_RETRIED, |s| s.retried)?;
        sink(names::SINK_RESTORED, |s| s.restored)?;
        sink(names::SINK_SPILLED, |s| s.spilled)?;
        sink(names::SINK_SPILLED_BYTES, |s| s.spilled_bytes)?;
        sink(names::SINK_FULL, |s| u64::from(s.full))?;
        sink(names::SINK_UP, |s| u64::from(s.state == DeliveryState::Up))?;
        out.counter(names::INDEXES_DELETED, &self.counters.indexes_deleted)?;
        self.checkpoints(opened, &mut out)?;
        self.kafka(&mut out)
    }
}

impl Telemetry {
    fn checkpoints(&self, opened: &Opened, out: &mut Encoder<'_>) -> Result<(), fmt::Error> {
        let stats = opened.keeper.as_ref().map(|keeper| keeper.stats()).unwrap_or_default();
        if let Some(at) = stats.committed_at {
            out.gauge(names::CHECKPOINT_AGE, self.clock.now().since(at).as_secs_f64())?;
        }
        out.count(names::CHECKPOINT_COMMITS, stats.commits)?;
        out.gauge(names::CHECKPOINT_DURATION, stats.duration.as_secs_f64())?;
        out.gauge(names::CHECKPOINT_WRITTEN, stats.written_bytes as f64)?;
        out.gauge(names::CHECKPOINT_STATE, stats.state_bytes as f64)?;
        out.count(names::CHECKPOINT_RETRIES, stats.retries)?;
        let told = opened.outbox.as_ref().map(|outbox| outbox.stats()).unwrap_or_default();
        out.count(names::OUTBOX_INTENTS, told.intents)?;
        out.count(names::OUTBOX_RECEIPTS, told.receipts)?;
        out.count(names::OUTBOX_REPEATED, told.repeated)?;
        out.count(names::OUTBOX_SUPPRESSED, told.suppressed)
    }

    fn kafka(&self, out: &mut Encoder<'_>) -> Result<(), fmt::Error> {
        let clients = self.kafka.lock().unwrap_or_else(PoisonError::into_inner);
        let clients: Vec<_> = clients.iter().map(|health| health.snapshot()).collect();
        let mut family = |metric, number: fn(&HealthSnapshot) -> u64| {
            let values = clients.iter().enumerate().map(|(i, c)| (i.to_string(), number(c)));
            out.family(metric, "client", values)
        };
        family(names::KAFKA_BROKERS, |c| c.brokers_up as u64)?;
        family(names::KAFKA_LEADERLESS, |c| c.leaderless.len() as u64)?;
        family(names::KAFKA_STOPPED, |c| c.stopped.len() as u64)?;
        family(names::KAFKA_LOST, |c| c.lost)
    }

    /// What is wrong with the way to Kafka, in words; empty when nothing is.
    pub fn kafka_problems(&self) -> Vec<String> {
        let clients = self.kafka.lock().unwrap_or_else(PoisonError::into_inner);
        let problems = clients.iter().flat_map(|health| health.snapshot().problems());
        problems.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

struct Encoder<'a>(DescriptorEncoder<'a>);

impl Encoder<'_> {
    fn counter(&mut self, metric: Metric, value: &AtomicU64) -> Result<(), fmt::Error> {
        self.count(metric, value.load(Ordering::Relaxed))
    }

    fn count(&mut self, metric: Metric, value: u64) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(value);
        let encoder =
            self.0.encode_descriptor(metric.name, metric.help, None, MetricType::Counter)?;
        counter.encode(encoder)
    }

    fn gauge(&mut self, metric: Metric, value: f64) -> Result<(), fmt::Error> {
        let encoder =
            self.0.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn family(
        &mut self,
        metric: Metric,
        label: &str,
        values: impl Iterator<Item = (String, u64)>,
    ) -> Result<(), fmt::Error> {
        let kind = match metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut encoder = self.0.encode_descriptor(metric.name, metric.help, None, kind)?;
        for (name, value) in values {
            let labels = [(label, name.as_str())];
            let encoder = encoder.encode_family(&labels)?;
            match metric.kind {
                Kind::Counter => ConstCounter::new(value).encode(encoder)?,
                Kind::Gauge => {
                    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_exposed_under_its_name() {
        let telemetry = Telemetry {
            counters: Arc::default(),
            gauges: vec![Arc::default()],
            opened: Arc::default(),
            kafka: Arc::default(),
            clock: Clock::manual(EventTime::from_millis(5_000)),
        };
        telemetry.counters.applied.store(2_000, Ordering::Relaxed);
        let text = telemetry.encode().unwrap();
        let age = names::CHECKPOINT_AGE.name;
        assert!(!text.contains(age), "there is no checkpoint yet, so it has no age");
        for metric in names::METRICS.iter().filter(|metric| metric.name != age) {
            assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}\n{text}", metric.name);
        }
        let exposed =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
        for name in exposed {
            let is_listed = names::METRICS.iter().any(|metric| metric.name == name);
            assert!(
                is_listed,
                "`{name}` is not in METRICS, so that no test asks for its documentation"
            );
        }
        assert!(text.contains("tidewatch_watermark_delay_seconds 3.0"), "{text}");
        assert!(text.contains("tidewatch_dead_letters_total{reason=\"late\"} 0"), "{text}");
    }
}
