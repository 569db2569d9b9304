//! The runs that are measured.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidewatch::cluster::Membership;
use tidewatch::pipeline::{
    Outputs, PipelineCounters, PipelineSpec, Shared, Sources, TimeSpec, start,
};
use tidewatch_connectors::codec::{self, Format, SourceFormat};
use tidewatch_connectors::kafka::{KafkaConfig, KafkaReader, Start, partitions};
use tidewatch_dataflow::alert::{Incident, Severity, Transition};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::ingest::ResumePoint;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{LogLine, PartitionId, Topics};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::time::{Clock, PaneSize};
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::feed::{Aggregate, Detector, FeedSpec, RuleSpec, Selector, StatisticSpec};
use tidewatch_operators::window::WindowConfig;

use super::fleet::{Fleet, TOPIC};
use super::measure::{Cost, Meter};

const WITHIN: Duration = Duration::from_secs(600);
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);

struct KafkaSources {
    config: KafkaConfig,
    topics: Topics,
    partitions: Vec<PartitionId>,
}

impl KafkaSources {
    fn open(brokers: &str) -> anyhow::Result<Self> {
        let (config, topics) = (KafkaConfig::new([brokers]), Topics::new([TOPIC]));
        let partitions = partitions(&config, &topics, Duration::from_secs(30))?;
        Ok(KafkaSources { config, topics, partitions })
    }

    fn reader(&self, partitions: &[PartitionId]) -> Result<KafkaReader, ConnectorError> {
        let starts: Vec<_> = partitions.iter().map(|p| (*p, Start::Earliest)).collect();
        KafkaReader::open(&self.config, &self.topics, &starts)
    }
}

impl Sources for KafkaSources {
    fn partitions(&self) -> Vec<PartitionId> {
        self.partitions.clone()
    }
    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let partitions: Vec<_> = partitions.into_iter().map(|(p, _)| p).collect();
        Ok(Box::new(self.reader(&partitions)?))
    }
    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        vec![codec::for_source(&SourceFormat::new(TOPIC, Format::TelegrafJson))]
    }
}

/// Counts what comes out and keeps nothing.
#[derive(Default)]
struct Counted {
    tumbling: AtomicU64,
}

impl Outputs for Counted {
    fn points(&self, points: Vec<MetricPoint>) {
        let tumbling = points.iter().filter(|p| p.labels.get("window") == Some("10s")).count();
        self.tumbling.fetch_add(tumbling as u64, Ordering::Relaxed);
    }
    fn logs(&self, _: Vec<LogLine>) {}
    fn dead_letters(&self, _: Vec<DeadLetter>) {}
    fn transitions(&self, _: Vec<Transition>) {}
    fn active(&self, _: Vec<((Incident, Labels), isize)>) {}
    fn is_full(&self) -> bool {
        false
    }
}

/// The reader alone: every record handed out, none looked at.
pub(crate) fn floor(brokers: &str, messages: u64) -> anyhow::Result<Cost> {
    let sources = KafkaSources::open(brokers)?;
    let meter = Meter::start()?;
    let mut reader = sources.reader(&sources.partitions)?;
    let (mut read, began) = (0u64, Instant::now());
    while read < messages {
        anyhow::ensure!(began.elapsed() < WITHIN, "only {read} of {messages} could be read");
        let before = read;
        for partition in &sources.partitions {
            reader.poll(*partition, BATCH, &mut |batch| read += batch.records.len() as u64)?;
        }
        if read == before {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    meter.stop(messages)
}

/// Ten-second windows of cpu, mem and disk, five minutes of cpu sliding by ten seconds, and the sustained rule.
fn feeds() -> Option<Vec<FeedSpec>> {
    let seconds = Duration::from_secs;
    let pane = PaneSize::new(seconds(10))?;
    let window = |size, slide| WindowConfig {
        size: seconds(size),
        slide: seconds(slide),
        allowed_lateness: Duration::ZERO,
    };
    let selector = |measurement: &str, field: &str| Selector {
        measurement: measurement.into(),
        field: field.into(),
        filters: Vec::new(),
        group_by: vec!["host".to_owned()],
    };
    let statistic = |name: &str, windows| StatisticSpec {
        name: name.into(),
        windows,
        aggregates: vec![Aggregate::Count, Aggregate::Mean, Aggregate::Min, Aggregate::Max],
    };
    let sustained = SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 90.0,
        for_: seconds(300),
        clear_for: seconds(10),
        gap_tolerance: seconds(60),
        pane,
    };
    let rule = RuleSpec {
        name: "cpu_sustained".into(),
        severity: Severity::Critical,
        summary: "usage_active above 90 for 5m".into(),
        detector: Detector::Sustained(sustained),
    };
    let cpu = vec![window(10, 10), window(300, 10)];
    Some(vec![
        FeedSpec {
            selector: selector("cpu", "usage_active"),
            pane,
            statistics: vec![statistic("cpu", cpu)],
            rules: vec![rule],
        },
        FeedSpec {
            selector: selector("mem", "used_percent"),
            pane,
            statistics: vec![statistic("mem", vec![window(10, 10)])],
            rules: Vec::new(),
        },
        FeedSpec {
            selector: selector("disk", "used_percent"),
            pane,
            statistics: vec![statistic("disk", vec![window(10, 10)])],
            rules: Vec::new(),
        },
    ])
}

/// The whole pipeline, from the beginning of the topic until every window has fired.
pub(crate) fn pipeline(
    brokers: &str,
    workers: NonZeroUsize,
    fleet: &Fleet,
) -> anyhow::Result<Cost> {
    let sources = KafkaSources::open(brokers)?;
    let feeds = feeds().ok_or_else(|| anyhow::anyhow!("a pane of ten seconds"))?;
    let time = TimeSpec {
        out_of_orderness: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(1),
        future_tolerance: Duration::from_secs(600),
        max_lead: Duration::from_secs(120),
        clock: Clock::System,
    };
    let counted = Arc::new(Counted::default());
    let spec = PipelineSpec::new(sources.topics.clone(), time, feeds);
    let outputs = Arc::clone(&counted) as Arc<dyn Outputs>;
    let shared = Shared::new(spec, Box::new(sources), outputs, workers.get());
    let counters = Arc::clone(&shared.counters);
    let (meter, began) = (Meter::start()?, Instant::now());
    let running = start(&Membership::alone(workers), shared)?;
    let records = || counters.ingest.records.load(Ordering::Relaxed);
    while records() < fleet.messages {
        anyhow::ensure!(began.elapsed() < WITHIN, "only {} messages were read", records());
        std::thread::sleep(Duration::from_millis(5));
    }
    let cost = meter.stop(fleet.messages)?;
    // The last windows close once the partitions count as idle: not measured, but checked.
    let fired = || counted.tumbling.load(Ordering::Relaxed);
    while fired() < fleet.windows() && began.elapsed() < WITHIN {
        std::thread::sleep(Duration::from_millis(20));
    }
    running.stop();
    running.join()?;
    let (late, expected) = (counters.feeds.late.load(Ordering::Relaxed), fleet.windows());
    anyhow::ensure!(fired() == expected, "{} of {expected} windows fired", fired());
    anyhow::ensure!(late == 0, "{late} samples were late");
    Ok(cost)
}
