//! Checkpoints of a dataflow that drives itself in one process: the short way for dataflows of others.
//!
//! ```text
//!  announce(t) ─► input up to t, advance ─► complete: operators put ─► durable ─► manifest ─► next
//!      │             nothing beyond t                                                │
//!      └── on every worker, the same instants ───────────────────────────────────────┘
//! ```
//!
//! The input stands still while a checkpoint is taken. A pipeline that must not, that runs in several processes or
//! chooses its cuts by the clock, puts [`Recovery`] and [`Keeper`] under its own control plane, as
//! [`ingest`](crate::ingest) does.

use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

use super::{
    CheckpointError, Cut, Fence, Keeper, KeeperConfig, Manifest, Recovery, RestoredState, RunInfo,
    Shard, StateStore,
};
use crate::time::{Clock, EventTime, EventTimestamp};

/// How many checkpoints are kept: the newest, one that somebody may be reading, and one more.
const KEEP: usize = 3;
/// How long a worker sleeps at most while it waits for the store.
const PARK_MAX: Duration = Duration::from_millis(1);

/// The checkpoints of a process, shared by its workers; they are all there are.
///
/// ```
/// use std::sync::Arc;
/// use tidewatch_dataflow::checkpoint::LocalCheckpoints;
/// use tidewatch_dataflow::testing::MemoryStore;
/// use tidewatch_dataflow::time::EventTime;
/// use timely::dataflow::InputHandleVec;
/// use timely::dataflow::operators::Probe;
///
/// // Counts to ten, five in each run: a driver with nothing but a number for a state.
/// fn run(store: &MemoryStore) -> u64 {
///     let checkpoints = LocalCheckpoints::open(Arc::new(store.clone()), "counter", 1).unwrap();
///     timely::execute_directly(move |worker| {
///         let mut checkpoints = checkpoints.worker(0);
///         let counter = checkpoints.recovery().participant("counter");
///         let restored = counter.restored();
///         let mut count: u64 = restored.shares.iter().filter_map(|s| s.get::<u64>("count").unwrap()).sum();
///         let mut input = InputHandleVec::<u64, u64>::new();
///         let probe = worker.dataflow(|scope| input.to_stream(scope).probe().0);
///         let at = checkpoints.recovery().resumed_at().as_millis() + 5;
///         let cut = checkpoints.announce(EventTime::from_millis(at));
///         count += 5;
///         input.advance_to(at);
///         counter.put(|pieces| pieces.put("count", &count));
///         cut.complete(worker, &probe).unwrap();
///         count
///     })
/// }
/// let store = MemoryStore::default();
/// assert_eq!((run(&store), run(&store)), (5, 10));
/// ```
#[derive(Clone, Debug)]
pub struct LocalCheckpoints {
    keeper: Arc<Keeper>,
    state: Arc<RestoredState>,
    workers: usize,
}

impl LocalCheckpoints {
    /// Begins a run of `workers` workers in `store`: fences all earlier ones, and reads the newest checkpoint if
    /// there is one. `pipeline` says whose state it is. Blocks while it reads; called before any worker runs.
    ///
    /// # Errors
    /// [`CheckpointError`]: the store does not work, the newest checkpoint is damaged or is not `pipeline`'s.
    pub fn open(
        store: Arc<dyn StateStore>,
        pipeline: &str,
        workers: usize,
    ) -> Result<LocalCheckpoints, CheckpointError> {
        let clock = Clock::System;
        let info = RunInfo {
            started_at: clock.now(),
            pid: std::process::id(),
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
        };
        // First the claim: what an older run writes after it is not found.
        let fence = Fence::claim(Arc::clone(&store), &info)?;
        let state = match Manifest::newest(&*store, pipeline)? {
            Some(manifest) => manifest.load(&*store)?,
            None => RestoredState::default(),
        };
        let config = KeeperConfig {
            pipeline: pipeline.to_owned(),
            topics: Vec::new(),
            process: 0,
            local_workers: workers,
            workers,
            keep: KEEP,
            clock,
        };
        let keeper = Keeper::start(store, fence, config);
        Ok(LocalCheckpoints { keeper, state: Arc::new(state), workers })
    }

    /// The part of worker `index`.
    pub fn worker(&self, index: usize) -> WorkerCheckpoints {
        let shard = Shard { index, peers: self.workers };
        let recovery = Recovery::new(shard, Arc::clone(&self.state));
        WorkerCheckpoints { keeper: Arc::clone(&self.keeper), recovery, index, sequence: 0 }
    }
}

/// One worker's part of [`LocalCheckpoints`].
pub struct WorkerCheckpoints {
    keeper: Arc<Keeper>,
    recovery: Recovery,
    index: usize,
    sequence: u64,
}

impl WorkerCheckpoints {
    /// What the worker's operators take part in, and find their state with.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Announces a cut at `at`, which is a multiple of every pane and lies after the one before. Neither this
    /// worker's inputs nor data sent into them have passed `at` yet; all workers announce the same cuts.
    pub fn announce(&mut self, at: EventTime) -> AnnouncedCut<'_> {
        self.sequence += 1;
        let cut = Cut { sequence: self.sequence, at };
        self.recovery.announce(cut);
        AnnouncedCut { checkpoints: self, cut }
    }
}

/// A cut that every operator of the worker is about to put its pieces at.
#[must_use = "the checkpoint is not taken before it is completed"]
pub struct AnnouncedCut<'a> {
    checkpoints: &'a mut WorkerCheckpoints,
    cut: Cut,
}

impl AnnouncedCut<'_> {
    /// Steps `worker`, whose inputs all stand at the cut by now, until the checkpoint is complete; a worker other
    /// than the first only until it has given its part. `output` stands behind whatever makes the dataflow's
    /// results durable: a checkpoint is never newer than what it follows from.
    ///
    /// # Errors
    /// Why there will be no further checkpoint in this run: it is fenced, or an object cannot be written.
    pub fn complete<T: EventTimestamp>(
        self,
        worker: &mut Worker,
        output: &ProbeHandle<T>,
    ) -> Result<(), Arc<CheckpointError>> {
        let AnnouncedCut { checkpoints, cut } = self;
        let WorkerCheckpoints { keeper, recovery, index, .. } = checkpoints;
        let end = T::at(cut.at);
        // 1. Everything before the cut is applied and has left.
        let pieces = loop {
            worker.step_or_park(Some(PARK_MAX));
            if !output.less_than(&end)
                && let Some((_, pieces)) = recovery.take_complete()
            {
                break pieces;
            }
        };
        keeper.share(cut, *index, pieces);
        if *index > 0 {
            return Ok(());
        }
        // 2. The keeper makes the pieces of all workers durable, then the manifest.
        keeper.extras(cut, Vec::new(), Vec::new());
        while keeper.take_committed() != Some(cut) {
            if let Some(failure) = keeper.failure() {
                return Err(failure);
            }
            if let Some((cut, part)) = keeper.take_part() {
                keeper.commit(cut, vec![part]);
            }
            // The other workers have still to give theirs.
            worker.step_or_park(Some(PARK_MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use timely::dataflow::InputHandleVec;
    use timely::dataflow::operators::Probe;

    use super::*;
    use crate::testing::MemoryStore;

    fn open(store: &MemoryStore, pipeline: &str) -> Result<LocalCheckpoints, CheckpointError> {
        LocalCheckpoints::open(Arc::new(store.clone()), pipeline, 2)
    }

    /// Takes checkpoints at these instants with two workers; how many of their runs ended well.
    fn take(checkpoints: LocalCheckpoints, instants: &[u64]) -> usize {
        let instants = instants.to_vec();
        let ended = timely::execute(timely::Config::process(2), move |worker| {
            let mut checkpoints = checkpoints.worker(worker.index());
            let state = checkpoints.recovery().participant("state");
            let mut input = InputHandleVec::<u64, ()>::new();
            let probe = worker.dataflow(|scope| input.to_stream(scope).probe().0);
            for at in &instants {
                let cut = checkpoints.announce(EventTime::from_millis(*at));
                input.advance_to(*at);
                state.put(|pieces| pieces.put("at", at));
                if cut.complete(worker, &probe).is_err() {
                    return false;
                }
            }
            true
        });
        ended.unwrap().join().into_iter().filter(|ended| matches!(ended, Ok(true))).count()
    }

    #[test]
    fn all_workers_are_in_every_checkpoint_and_three_are_kept() {
        let store = MemoryStore::default();
        assert_eq!(take(open(&store, "p").unwrap(), &[10, 20, 30, 40, 50]), 2);
        assert_eq!(Manifest::list(&store).unwrap().len(), KEEP);
        let restored = open(&store, "p").unwrap().worker(0);
        assert_eq!(restored.recovery().resumed_at(), EventTime::from_millis(50));
        let restored = restored.recovery().participant("state").restored();
        let at: Vec<u64> =
            restored.shares.iter().filter_map(|share| share.get("at").unwrap()).collect();
        assert_eq!(at, [50, 50]);
        assert!(matches!(open(&store, "q"), Err(CheckpointError::Foreign { .. })));
    }

    #[test]
    fn a_fenced_run_takes_no_checkpoint() {
        let store = MemoryStore::default();
        let (older, newer) = (open(&store, "p").unwrap(), open(&store, "p").unwrap());
        // The first worker hears of it; the other one has given its part.
        assert_eq!(take(older, &[10]), 1);
        assert!(Manifest::list(&store).unwrap().is_empty());
        assert_eq!(take(newer, &[10]), 2);
        assert_eq!(Manifest::list(&store).unwrap().len(), 1);
    }
}
