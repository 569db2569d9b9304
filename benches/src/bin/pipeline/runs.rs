//! The runs that are measured.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tidewatch::cluster::Membership;
use tidewatch::pipeline::{
    Durability, Outputs, PipelineSpec, Shared, Sources, StoreDurability, TimeSpec, start,
};
use tidewatch_connectors::codec::{self, Format, SourceFormat};
use tidewatch_connectors::kafka::{KafkaConfig, KafkaReader, Start, partitions};
use tidewatch_connectors::state::DirectoryStore;
use tidewatch_dataflow::alert::{Incident, Severity, Transition};
use tidewatch_dataflow::checkpoint::{Manifest, Recovery, Shard};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::ingest::ResumePoint;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{LogLine, PartitionId, Topics};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::time::{Clock, EventTime, PaneSize};
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::feed::{
    Aggregate, Detector, FeedMachine, FeedSpec, OnChange, RuleSpec, Selector, StatisticSpec,
};
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
    state: Option<&Path>,
) -> anyhow::Result<(Cost, Kept)> {
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
    let topics = sources.topics.clone();
    let mut shared = Shared::new(spec, Box::new(sources), outputs, workers.get());
    if let Some(folder) = state {
        shared.durability = durability(folder, topics)?;
    }
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
    let kept = state.map(Kept::of).transpose()?.unwrap_or_default();
    Ok((cost, kept))
}

/// Checkpoints every second in `folder`.
fn durability(folder: &Path, topics: Topics) -> anyhow::Result<Durability> {
    Ok(Durability::Store(StoreDurability {
        store: Arc::new(DirectoryStore::open(folder)?),
        pipeline: "bench".to_owned(),
        topics,
        every: Duration::from_secs(1),
        keep: 3,
        clock: Clock::System,
        decisions: Vec::new(),
    }))
}

/// The newest checkpoint of a run.
#[derive(Default)]
pub(crate) struct Kept {
    checkpoints: u64,
    /// Bytes of the last one's state.
    state_bytes: u64,
}

impl Kept {
    fn of(folder: &Path) -> anyhow::Result<Self> {
        let store = DirectoryStore::open(folder)?;
        let Some(manifest) = Manifest::newest(&store, "bench")? else { return Ok(Kept::default()) };
        let parts = manifest.parts(&store)?;
        let pieces = parts.iter().flat_map(|part| &part.operators).flat_map(|o| &o.pieces);
        let state_bytes = pieces.map(|piece| piece.length).sum();
        Ok(Kept { checkpoints: manifest.cut.sequence, state_bytes })
    }
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} checkpoints, {} bytes of state in the last",
            self.checkpoints, self.state_bytes
        )
    }
}

/// How long it takes to read the newest checkpoint and to hand it to the machines of one worker.
pub(crate) fn restore(folder: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let store = DirectoryStore::open(folder)?;
    let manifest = Manifest::newest(&store, "bench")?.context("there is no checkpoint")?;
    let state = Arc::new(manifest.load(&store)?);
    let recovery = Recovery::new(Shard::ALL, state);
    for feed in feeds().context("a pane of ten seconds")? {
        let name = format!("detect/{}", feed.key());
        let mut machine = FeedMachine::try_new(Arc::new(feed), EventTime::MIN)?;
        let stored = recovery.participant(&name).restored();
        machine.restore_with(&stored, Shard::ALL, recovery.resumed_at(), OnChange::Reset)?;
    }
    Ok(began.elapsed())
}
