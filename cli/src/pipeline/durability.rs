//! What survives a run: where state is kept, and how a run begins from it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::checkpoint::{
    CheckpointError, Fence, Keeper, KeeperConfig, Manifest, RestoredState, RunInfo, StateError,
    StateStore, StoreError,
};
use tidewatch_dataflow::ingest::{
    Decision, IngestState, Journal, NoJournal, Quarantined, StoreJournal,
};
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::time::{Clock, EventTime};

/// What all workers of a run must agree on before they build anything. Worker 0 says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Number of the run.
    pub run: u64,
    /// Name of the checkpoint to go on from.
    pub manifest: Option<String>,
    /// All partitions, sorted.
    pub partitions: Vec<PartitionId>,
}

/// What one process goes on from.
#[derive(Clone, Default)]
pub struct Resumption {
    /// State of the operators.
    pub state: Arc<RestoredState>,
    /// State of the sources, with everything that was decided since the cut.
    pub ingest: Arc<IngestState>,
    /// Writes checkpoints, if any are wanted.
    pub keeper: Option<Arc<Keeper>>,
    /// The right of this run to write, and where.
    pub fence: Option<(Fence, Arc<dyn StateStore>)>,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// Index of this process, and how many there are.
    pub process: (usize, usize),
}

/// Size of a run.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RunSize {
    /// Index of this process.
    pub process: usize,
    /// Workers in this process.
    pub local_workers: usize,
    /// Workers in all.
    pub workers: usize,
}

impl RunSize {
    /// Index of this process, and how many there are.
    fn of_processes(self) -> (usize, usize) {
        (self.process, self.workers / self.local_workers.max(1))
    }
}

/// Why a run cannot go on from its state.
#[derive(Debug, thiserror::Error)]
pub enum DurabilityError {
    /// The checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An operator cannot take its state over.
    #[error(transparent)]
    State(#[from] StateError),
    /// More groups are left out than single groups can be to blame for.
    #[error(
        "{count} groups are in quarantine, more than {max}: windows or rules crash at almost any group; \
         `tidewatch checkpoint inspect` and the log name them: change or remove these, start another version, or \
         begin with a new `store`",
        max = Quarantined::MAX
    )]
    Quarantine {
        /// How many.
        count: usize,
    },
    /// The outputs cannot be opened, or cannot go on from their state.
    #[error("{0}")]
    Outputs(String),
}

/// Where a pipeline's state is kept.
#[derive(Clone)]
pub enum Durability {
    /// Nowhere: a restart begins anew.
    Nothing,
    /// In a store.
    Store(StoreDurability),
}

/// State in a store.
#[derive(Clone)]
pub struct StoreDurability {
    /// The store.
    pub store: Arc<dyn StateStore>,
    /// Name of the pipeline that the state belongs to.
    pub pipeline: String,
    /// Its topics.
    pub topics: Topics,
    /// How often a checkpoint is taken, by the wall clock.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// Where the present comes from.
    pub clock: Clock,
    /// Decisions to add at the start: records to pass over and groups to leave out, since they have ended earlier
    /// runs. A quarantine holds from the cut that the run goes on from, or from when it says if that is later.
    pub decisions: Vec<Decision>,
}

impl DurabilityError {
    /// Whether the state itself is at fault: another start would find it as it is.
    pub(super) fn is_refused_state(&self) -> bool {
        match self {
            DurabilityError::State(_) | DurabilityError::Quarantine { .. } => true,
            DurabilityError::Checkpoint(error) => {
                let missing = matches!(error, CheckpointError::Store(StoreError::Missing { .. }));
                let another =
                    matches!(error, CheckpointError::Store(_) | CheckpointError::Fenced { .. });
                missing || !another
            }
            DurabilityError::Outputs(_) => false,
        }
    }
}

/// Why a run could not begin, as other workers hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginFailure {
    /// In words.
    pub reason: String,
    /// Whether the state itself is at fault.
    pub is_refused_state: bool,
}

impl BeginFailure {
    pub(super) fn of(error: &DurabilityError) -> Self {
        let is_refused_state = error.is_refused_state();
        BeginFailure { reason: error.to_string(), is_refused_state }
    }
}

impl fmt::Display for BeginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl StoreDurability {
    /// Names of the topics in the order of their indexes.
    fn topic_names(&self) -> Vec<String> {
        self.topics.iter().map(str::to_owned).collect()
    }

    /// Says in the log which topics are read from their beginning, since they were made anew.
    fn report_generations(&self, ingest: &IngestState) {
        for (index, topic) in self.topics.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let partition = PartitionId { topic: index, partition: 0 };
            let generation = ingest.facts.generation(index);
            if ingest.begins_anew(partition) {
                tracing::warn!(
                    topic,
                    generation = generation.number,
                    not_before = generation.floor.as_millis(),
                    "the topic was recreated: reading it from its beginning, as a new generation"
                );
            }
        }
    }

    /// The decisions to add, for a run that goes on from `cut`.
    fn decisions_at(&self, cut: EventTime) -> Vec<Decision> {
        let mut decisions = self.decisions.clone();
        for decision in &mut decisions {
            if let Decision::Quarantined { from, .. } = decision {
                *from = cut.max(*from);
            }
        }
        decisions
    }
}

impl Durability {
    /// What the machine of this process has found out, for worker 0 of another one: takes effect with the next
    /// run.
    pub(super) fn found_out(&self, cut: EventTime) -> Vec<Decision> {
        match self {
            Durability::Nothing => Vec::new(),
            Durability::Store(store) => store.decisions_at(cut),
        }
    }

    /// How often a checkpoint is taken.
    pub(super) fn every(&self) -> Duration {
        match self {
            Durability::Nothing => Duration::MAX,
            Durability::Store(store) => store.every,
        }
    }

    /// Begins a run over `partitions`: called once, for worker 0.
    pub(super) fn begin(
        &self,
        partitions: Vec<PartitionId>,
        size: RunSize,
    ) -> Result<Begin, DurabilityError> {
        let Durability::Store(own) = self else {
            return Ok(Begin { run: 0, manifest: None, partitions });
        };
        let info = RunInfo {
            started_at: own.clock.now(),
            pid: std::process::id(),
            workers: u32::try_from(size.workers).unwrap_or(u32::MAX),
        };
        // First the claim: what an older run writes after it is not found.
        let fence = Fence::claim(Arc::clone(&own.store), &info).map_err(CheckpointError::Store)?;
        let manifest = Manifest::newest(&*own.store, &own.pipeline)?;
        if !own.decisions.is_empty() {
            let cut = manifest.as_ref().map_or(EventTime::MIN, |manifest| manifest.cut.at);
            let decisions = own.decisions_at(cut);
            StoreJournal::write_first(&*own.store, &fence, own.topic_names(), decisions)
                .map_err(CheckpointError::Store)?;
        }
        match &manifest {
            Some(manifest) => tracing::info!(
                run = fence.run(),
                checkpoint = manifest.name(),
                cut = manifest.cut.at.as_millis(),
                workers_then = manifest.workers,
                workers_now = size.workers,
                "going on from checkpoint"
            ),
            None => tracing::info!(run = fence.run(), "no checkpoint yet: beginning anew"),
        }
        Ok(Begin { run: fence.run(), manifest: manifest.map(|m| m.name()), partitions })
    }

    /// Reads what a process goes on from: called once in each process.
    pub(super) fn resume(
        &self,
        begin: &Begin,
        size: RunSize,
    ) -> Result<Resumption, DurabilityError> {
        let Durability::Store(own) = self else {
            let process = size.of_processes();
            return Ok(Resumption { process, ..Resumption::default() });
        };
        let fence = Fence::of(Arc::clone(&own.store), begin.run);
        let (mut state, mut ingest) = (RestoredState::default(), IngestState::default());
        if let Some(name) = &begin.manifest {
            let manifest = Manifest::read(&*own.store, name)?;
            state = manifest.load(&*own.store)?;
            let topics = &manifest.topics;
            let sources = state.operators.remove("ingest").unwrap_or_default();
            ingest =
                IngestState::read(&sources, |topic| own.topics.index(topics.get(topic as usize)?))?;
        }
        ingest.go_on(&*own.store, |topic| own.topics.index(topic))?;
        if size.process == 0 {
            own.report_generations(&ingest);
        }
        let config = KeeperConfig {
            pipeline: own.pipeline.clone(),
            topics: own.topic_names(),
            process: size.process,
            local_workers: size.local_workers,
            workers: size.workers,
            keep: own.keep,
            clock: own.clock.clone(),
        };
        let keeper = Keeper::start(Arc::clone(&own.store), fence.clone(), config);
        Ok(Resumption {
            state: Arc::new(state),
            ingest: Arc::new(ingest),
            keeper: Some(keeper),
            fence: Some((fence, Arc::clone(&own.store))),
            keep: own.keep,
            process: size.of_processes(),
        })
    }

    /// The journal of a run; of worker 0 only it is used.
    pub(super) fn journal(&self, resumption: &Resumption, worker: usize) -> Box<dyn Journal> {
        match (self, &resumption.fence) {
            (Durability::Store(own), Some((fence, _))) if worker == 0 => {
                let (store, fence) = (Arc::clone(&own.store), fence.clone());
                Box::new(StoreJournal::start(store, fence, own.topic_names()))
            }
            _ => Box::new(NoJournal::default()),
        }
    }
}

/// Hands what a process goes on from to each of its workers, and keeps nothing after the last.
#[derive(Default)]
pub struct Handout(Mutex<Option<(usize, Result<Resumption, BeginFailure>)>>);

impl Handout {
    /// What the first of `workers` workers has found with `read`.
    pub(super) fn take(
        &self,
        workers: usize,
        read: impl FnOnce() -> Result<Resumption, BeginFailure>,
    ) -> Result<Resumption, BeginFailure> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, found) = held.take().unwrap_or_else(|| (workers, read()));
        if left > 1 {
            *held = Some((left - 1, found.clone()));
        }
        found
    }
}
