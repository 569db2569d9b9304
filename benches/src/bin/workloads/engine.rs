//! A pipeline under measurement: started through the facade, watched from outside.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidewatch::cluster::Membership;
use tidewatch::pipeline::{
    Durability, Outputs, PipelineCounters, PipelineSpec, Running, Shared, Sources, StoreDurability,
    TimeSpec, start,
};
use tidewatch_dataflow::alert::{Incident, Transition};
use tidewatch_dataflow::checkpoint::{Manifest, StateStore};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::ingest::PartitionGauges;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{LogLine, Topics};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime};
use tidewatch_operators::feed::FeedSpec;

/// Name of the pipeline that checkpoints belong to.
const PIPELINE: &str = "workload";

/// Counts what comes out and keeps nothing.
#[derive(Default)]
pub(crate) struct Counted {
    /// Windows.
    pub(crate) points: AtomicU64,
}

impl Outputs for Counted {
    fn points(&self, points: Vec<MetricPoint>) {
        self.points.fetch_add(points.len() as u64, Ordering::Relaxed);
    }
    fn logs(&self, _: Vec<LogLine>) {}
    fn dead_letters(&self, _: Vec<DeadLetter>) {}
    fn transitions(&self, _: Vec<Transition>) {}
    fn active(&self, _: Vec<((Incident, Labels), isize)>) {}
    fn is_full(&self) -> bool {
        false
    }
}

/// What runs, and how.
pub(crate) struct Plan {
    pub(crate) topic: &'static str,
    pub(crate) feeds: Vec<FeedSpec>,
    pub(crate) workers: NonZeroUsize,
    /// How far a partition may lead; the engine takes at least four panes.
    pub(crate) max_lead: Duration,
    /// Where checkpoints go, and how often.
    pub(crate) checkpoints: Option<(Arc<dyn StateStore>, Duration)>,
}

/// A pipeline that runs.
pub(crate) struct Engine {
    running: Running,
    pub(crate) counters: Arc<PipelineCounters>,
    pub(crate) gauges: Vec<Arc<PartitionGauges>>,
    began: Instant,
}

/// No wait of a workload takes longer.
const WITHIN: Duration = Duration::from_secs(3_600);

impl Engine {
    /// Starts it. `counters` are those that the sources know of.
    pub(crate) fn start(
        plan: Plan,
        counters: Arc<PipelineCounters>,
        sources: Box<dyn Sources>,
        outputs: Arc<dyn Outputs>,
    ) -> anyhow::Result<Self> {
        let Plan { topic, feeds, workers, max_lead, checkpoints } = plan;
        let topics = Topics::new([topic]);
        let time = TimeSpec {
            out_of_orderness: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            future_tolerance: Duration::from_secs(600),
            max_lead,
            clock: Clock::System,
        };
        let mut spec = PipelineSpec::new(topics.clone(), time, feeds);
        spec.series_max = 4_000_000;
        let mut shared = Shared::new(spec, sources, outputs, workers.get());
        shared.counters = Arc::clone(&counters);
        if let Some((store, every)) = checkpoints {
            shared.durability = Durability::Store(StoreDurability {
                store,
                pipeline: PIPELINE.to_owned(),
                topics,
                every,
                keep: 1,
                clock: Clock::System,
                decisions: Vec::new(),
            });
        }
        let gauges = shared.gauges.clone();
        let running = start(&Membership::alone(workers), shared)?;
        Ok(Engine { running, counters, gauges, began: Instant::now() })
    }

    /// Messages read.
    pub(crate) fn records(&self) -> u64 {
        self.counters.ingest.records.load(Ordering::Relaxed)
    }

    /// Event time up to which everything is applied.
    pub(crate) fn applied(&self) -> EventTime {
        EventTime::from_millis(self.counters.applied.load(Ordering::Relaxed))
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Calls `look` every few milliseconds until it says that it has seen enough.
    ///
    /// # Errors
    /// When the pipeline ends meanwhile, or nothing comes of it for an hour.
    pub(crate) fn watch(&self, mut look: impl FnMut(&Engine) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !look(self) {
            anyhow::ensure!(!self.running.has_ended(), "the pipeline has ended by itself");
            anyhow::ensure!(began.elapsed() < WITHIN, "only {} messages were read", self.records());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Stops it.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.running.stop();
        self.running.join().context("the pipeline has failed")
    }

    /// An error when a sample was late or a record refused: then what was measured is something else.
    pub(crate) fn check_clean(&self) -> anyhow::Result<()> {
        let late = self.counters.feeds.late.load(Ordering::Relaxed);
        let refused: u64 = self.counters.ingest.dead_letters().map(|(_, count)| count).sum();
        anyhow::ensure!(
            late == 0 && refused == 0,
            "{late} samples late, {refused} records refused"
        );
        Ok(())
    }
}

/// Bytes of state in the newest checkpoint, and how many were taken.
pub(crate) fn state_bytes(store: &dyn StateStore) -> anyhow::Result<(u64, u64)> {
    let manifest = Manifest::newest(store, PIPELINE)?.context("no checkpoint was taken")?;
    let parts = manifest.parts(store)?;
    let pieces = parts.iter().flat_map(|part| &part.operators).flat_map(|o| &o.pieces);
    Ok((pieces.map(|piece| piece.length).sum(), manifest.cut.sequence))
}
