//! Runs of a pipeline over one log and one state store, and how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tidewatch::cluster::Membership;
use tidewatch::pipeline::{
    Durability, Outputs, PipelineCounters, PipelineError, PipelineSpec, Running, Shared, Sources,
    StoreDurability, start,
};
use tidewatch_dataflow::alert::Incident;
use tidewatch_dataflow::checkpoint::StateStore as _;
use tidewatch_dataflow::ingest::{Decision, ResumePoint};
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::testing::{MemoryLog, MemoryStore};
use tidewatch_dataflow::time::{Clock, EventTime};

use super::codec::TestCodec;
use super::people::Setting;
use super::sink::{Delivered, Sink};
use super::store::{Fault, Gate};

/// Nothing in these tests may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

struct MemorySources {
    log: MemoryLog,
    seed: u64,
    topics: usize,
    from: EventTime,
    known: Mutex<BTreeSet<PartitionId>>,
}

impl Sources for MemorySources {
    fn partitions(&self) -> Vec<PartitionId> {
        let partitions = self.log.partitions();
        self.known.lock().unwrap().extend(&partitions);
        partitions
    }
    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        Ok(Box::new(self.log.reader_resuming(partitions, self.seed)))
    }
    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        let codec = || Box::new(TestCodec { from: self.from }) as Box<dyn Codec>;
        (0..self.topics).map(|_| codec()).collect()
    }
    fn discovered(&self) -> Vec<PartitionId> {
        let mut known = self.known.lock().unwrap();
        self.log.partitions().into_iter().filter(|p| known.insert(*p)).collect()
    }
}

/// How a run begins.
#[derive(Clone, Debug)]
pub struct Begin {
    pub workers: usize,
    pub seed: u64,
    pub fault: Option<(u64, Fault)>,
    pub every: Duration,
    pub eager: u64,
    pub now: EventTime,
    pub decisions: Vec<Decision>,
    /// Which edition of the rules it has, where people are told of incidents.
    pub edition: Option<u32>,
    /// Samples of before are not selected.
    pub from: EventTime,
}

impl Begin {
    /// One worker, without faults.
    pub fn plain(now: EventTime) -> Self {
        Begin {
            workers: 1,
            seed: 1,
            fault: None,
            every: Duration::from_millis(5),
            eager: 1,
            now,
            decisions: Vec::new(),
            edition: None,
            from: EventTime::MIN,
        }
    }
}

/// What all runs share.
pub struct World {
    pub log: MemoryLog,
    pub store: MemoryStore,
    pub far: Arc<Mutex<Delivered>>,
    runs: AtomicU64,
    /// The store as the first run with changed rules found it.
    pub copy: OnceLock<MemoryStore>,
}

impl World {
    pub fn new(partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        World {
            log: MemoryLog::new(partitions.into_iter().map(|p| (p, Vec::new())).collect()),
            store: MemoryStore::default(),
            far: Arc::default(),
            runs: AtomicU64::new(0),
            copy: OnceLock::new(),
        }
    }

    /// Another world with the same log and with copies of the objects of `store` in these folders.
    pub fn beside(&self, store: &MemoryStore, folders: &[&str]) -> World {
        let mut beside = World::new([]);
        beside.log = self.log.clone();
        for object in folders.iter().flat_map(|folder| store.list(folder).unwrap()) {
            let content = store.read(&object.name).unwrap();
            beside.store.create(&object.name, &content).unwrap();
        }
        beside
    }

    /// Keeps a copy of the store, the first time.
    pub fn keep_copy(&self) {
        self.copy.get_or_init(|| self.beside(&self.store, &[""]).store);
    }

    pub fn begin(&self, spec: impl FnOnce(Clock) -> PipelineSpec, with: &Begin) -> Live {
        let clock = Clock::manual(with.now);
        let spec = spec(clock.clone());
        let setting = with.edition.map(|edition| {
            let rules = spec.feeds.iter().flat_map(|feed| &feed.rules).cloned().collect();
            Setting { edition, rules }
        });
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let sink = Arc::new(Sink::new(&self.far, run, with.eager, setting));
        let dying = Arc::clone(&sink);
        let gate = Gate::new(&self.store, with.fault, move || dying.kill());
        let durability = StoreDurability {
            store: Arc::new(gate.clone()),
            pipeline: "simulated".to_owned(),
            topics: spec.topics.clone(),
            every: with.every,
            keep: 3,
            clock: clock.clone(),
            decisions: with.decisions.clone(),
        };
        let sources = MemorySources {
            log: self.log.clone(),
            seed: with.seed,
            topics: spec.topics.iter().count(),
            from: with.from,
            known: Mutex::default(),
        };
        let outputs = Arc::clone(&sink) as Arc<dyn Outputs>;
        let mut shared = Shared::new(spec, Box::new(sources), outputs, with.workers);
        shared.durability = Durability::Store(durability);
        let counters = Arc::clone(&shared.counters);
        let membership = Membership::alone(NonZeroUsize::new(with.workers).unwrap());
        let running = Some(start(&membership, shared).unwrap());
        Live { running, gate, sink, counters, clock, with: with.clone() }
    }
}

/// What a run has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub records: u64,
    pub points: u64,
    pub log_lines: u64,
    pub letters: BTreeMap<&'static str, u64>,
}

impl Counted {
    fn of(counters: &PipelineCounters) -> Self {
        let ingest = &counters.ingest;
        let letters = ingest.dead_letters();
        Counted {
            records: ingest.records.load(Ordering::Relaxed),
            points: ingest.points.load(Ordering::Relaxed),
            log_lines: ingest.log_lines.load(Ordering::Relaxed),
            letters: letters.map(|(reason, count)| (reason.as_str(), count)).collect(),
        }
    }
}

/// What is known at the end.
pub struct Outcome {
    pub delivered: Delivered,
    pub active: BTreeSet<(Incident, Labels)>,
    pub counted: Counted,
}

/// A run.
pub struct Live {
    running: Option<Running>,
    pub gate: Gate,
    pub sink: Arc<Sink>,
    pub counters: Arc<PipelineCounters>,
    pub clock: Clock,
    pub with: Begin,
}

impl Live {
    pub fn applied(&self) -> EventTime {
        EventTime::from_millis(self.counters.applied.load(Ordering::Relaxed))
    }

    pub fn records(&self) -> u64 {
        self.counters.ingest.records.load(Ordering::Relaxed)
    }

    pub fn letters(&self, reason: &str) -> u64 {
        Counted::of(&self.counters).letters.get(reason).copied().unwrap_or_default()
    }

    pub fn has_ended(&self) -> bool {
        self.running.as_ref().is_none_or(Running::has_ended)
    }

    /// Waits until `is_done`, or the run has ended by itself, or `patience` is over.
    pub fn wait(&self, patience: Duration, mut is_done: impl FnMut(&Live) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if is_done(self) {
                return true;
            }
            if self.has_ended() || Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// Stops the run and waits for its end.
    pub fn stop(mut self) -> Result<(), PipelineError> {
        let running = self.running.take().unwrap();
        running.stop();
        running.join()
    }

    /// Waits for everything to be read and for time to reach `end`, and stops.
    pub fn finish(self, records: u64, end: EventTime) -> Result<Outcome, String> {
        if !self.wait(PATIENCE, |live| live.records() >= records) {
            let text = format!("read {} of {records} records, {self:?}", self.records());
            return Err(match self.stop() {
                Ok(()) => text,
                Err(error) => format!("{text}: {error:?}"),
            });
        }
        let step = Duration::from_secs(1_200);
        let latest = end + Duration::from_secs(10 * 3_600);
        let done = self.wait(PATIENCE, |live| {
            live.clock.set((live.clock.now() + step).min(latest));
            std::thread::sleep(Duration::from_millis(1));
            live.applied() >= end
        });
        if !done {
            let text = format!("time stands still, {self:?}");
            return Err(match self.stop() {
                Ok(()) => text,
                Err(error) => format!("{text}: {error:?}"),
            });
        }
        let (sink, counters) = (Arc::clone(&self.sink), Arc::clone(&self.counters));
        if !sink.settle(self.applied()) {
            return Err(format!("people were not told in time, {self:?}"));
        }
        self.stop().map_err(|error| format!("{error:?}"))?;
        sink.flush();
        if let Some(offence) = sink.offence.lock().unwrap().take() {
            return Err(format!("active incidents: {offence}"));
        }
        let delivered = sink.delivered();
        Ok(Outcome { delivered, active: sink.active(), counted: Counted::of(&counters) })
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ended = self.has_ended();
        write!(f, "{:?} ended: {ended}, applied: {:?}", self.with, self.applied())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            // It may be a while until its threads have noticed: nobody waits for a dead process.
            std::thread::spawn(move || running.join());
        }
    }
}
