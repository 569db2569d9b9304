//! One timely worker: begins from the state, drives the dataflow, and stops it without firing what is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidewatch_dataflow::checkpoint::{Cut, Recovery, Shard};
use tidewatch_dataflow::ingest::{
    Breadcrumb, CheckpointPace, Control, ControlPlane, Direction, IngestCounters, NoCrumbs,
    PartitionGauges, ResumePoint,
};
use tidewatch_dataflow::operator::{StopFlag, agree};
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::feed::FeedCounters;
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

use super::build::{Parts, build, machines};
use super::durability::{Begin, BeginFailure, Durability, Handout, Resumption, RunSize};
use super::outputs::Outputs;
use super::quarantine;
use super::running::PipelineError;
use super::spec::PipelineSpec;
use crate::cluster::{Pulse, Traffic};

/// Opens the reader of the partitions that one worker owns, and codecs for all topics by topic index.
pub trait Sources: Send + Sync {
    /// All partitions of the pipeline, sorted.
    fn partitions(&self) -> Vec<PartitionId>;

    /// A reader of these partitions, each from where a checkpoint says, or where the configuration says for a
    /// first start.
    ///
    /// # Errors
    /// [`ConnectorError`] when the reader cannot be made.
    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError>;

    /// One codec for each topic, by topic index.
    fn codecs(&self) -> Vec<Box<dyn Codec>>;

    /// Partitions found since the last call, on the process of worker 0.
    fn discovered(&self) -> Vec<PartitionId> {
        Vec::new()
    }

    /// Where worker `worker` leaves word of what it decodes.
    fn crumb(&self, worker: usize) -> Box<dyn Breadcrumb> {
        let _ = worker;
        Box::new(NoCrumbs)
    }
}

/// Counters of a pipeline, shared by all workers of the process.
#[derive(Debug, Default)]
pub struct PipelineCounters {
    /// Of the sources.
    pub ingest: Arc<IngestCounters>,
    /// Of the feeds.
    pub feeds: Arc<FeedCounters>,
    /// Windows fired, corrections included.
    pub firings: AtomicU64,
    /// Transitions, counted on worker 0.
    pub transitions: AtomicU64,
    /// Daily indexes of stores deleted since they were past their retention.
    pub indexes_deleted: Arc<AtomicU64>,
    /// Event time up to which everything is applied, in milliseconds.
    pub applied: AtomicU64,
    /// Between this process and the others of its cluster.
    pub traffic: Arc<Traffic>,
}

/// Everything the workers of a process share.
pub struct Shared {
    /// What is computed.
    pub spec: PipelineSpec,
    /// Where records come from.
    pub sources: Box<dyn Sources>,
    /// Where results go.
    pub outputs: Arc<dyn Outputs>,
    /// Set from outside to stop all workers of all processes.
    pub stop: Arc<AtomicBool>,
    /// What happened.
    pub counters: Arc<PipelineCounters>,
    /// One for each worker of this process.
    pub gauges: Vec<Arc<PartitionGauges>>,
    /// What survives.
    pub durability: Durability,
    /// What this process goes on from, read by its first worker.
    pub resumption: Handout,
    /// Says that the workers go round.
    pub pulse: Pulse,
}

impl Shared {
    /// What `workers` workers of a process share that has counted nothing yet and keeps no state.
    pub fn new(
        spec: PipelineSpec,
        sources: Box<dyn Sources>,
        outputs: Arc<dyn Outputs>,
        workers: usize,
    ) -> Self {
        Shared {
            spec,
            sources,
            outputs,
            stop: Arc::default(),
            counters: Arc::default(),
            gauges: (0..workers).map(|_| Arc::default()).collect(),
            durability: Durability::Nothing,
            resumption: Handout::default(),
            pulse: Pulse::new(workers),
        }
    }
}

/// The partitions of worker `index` of `peers`: every `peers`-th of the sorted list.
pub fn assignment(partitions: &[PartitionId], index: usize, peers: usize) -> Vec<PartitionId> {
    partitions.iter().skip(index).step_by(peers.max(1)).copied().collect()
}

/// How long a worker sleeps at most with nothing to do: stop requests are seen that soon.
const PARK_MAX: Duration = Duration::from_millis(20);

/// Builds and drives the pipeline on `worker` until a stop is requested on any worker of any process.
///
/// # Errors
/// [`PipelineError`] when the state cannot be gone on from, the reader cannot be opened or a feed makes no
/// sense; the run is stopped then.
pub fn run(worker: &mut Worker, shared: &Shared) -> Result<(), PipelineError> {
    let local_workers = shared.gauges.len().max(1);
    let size =
        RunSize { process: worker.index() / local_workers, local_workers, workers: worker.peers() };
    // 1. All agree on the run, and each process reads the state once.
    let mut failed = None;
    let said: Option<Result<Begin, BeginFailure>> = agree(worker, || {
        let begun = shared.durability.begin(shared.sources.partitions(), size);
        begun.map_err(|error| {
            let failure = BeginFailure::of(&error);
            failed = Some(error);
            failure
        })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let begin = match said {
        Some(Ok(begin)) => begin,
        Some(Err(failure)) => return Err(PipelineError::Begin(failure)),
        None => {
            let reason = "it has gone".to_owned();
            return Err(PipelineError::Begin(BeginFailure { reason, is_refused_state: false }));
        }
    };
    let mut failed = None;
    let resumption = shared.resumption.take(local_workers, || {
        let resumed = shared.durability.resume(&begin, size).and_then(|mut resumption| {
            let ingest = Arc::make_mut(&mut resumption.ingest);
            quarantine::settle(&shared.spec, ingest)?;
            if resumption.fence.is_some() {
                ingest.admit_under(&begin.partitions, shared.spec.ingest.out_of_orderness);
            }
            shared.outputs.resume(&resumption)?;
            Ok(resumption)
        });
        resumed.map_err(|error| {
            let failure = BeginFailure::of(&error);
            failed = Some(error);
            failure
        })
    });
    // 2. The control plane runs even if nothing else can: the others must hear that it is over.
    let (mut resumed, mut outcome) = match resumption {
        Ok(resumption) => (resumption, Ok(())),
        Err(failure) => {
            let error = failed.map_or_else(|| PipelineError::Begin(failure), Into::into);
            (Resumption::default(), Err(error))
        }
    };
    let stop = StopFlag::default();
    let recovery = Recovery::new(
        Shard { index: worker.index(), peers: worker.peers() },
        Arc::clone(&resumed.state),
    );
    let pace = CheckpointPace { every: shared.durability.every(), grid: shared.spec.ingest.grid };
    let direction = Direction {
        journal: shared.durability.journal(&resumed, worker.index()),
        processes: worker.peers() / local_workers,
        checkpoints: resumed.keeper.clone().map(|keeper| (keeper, pace)),
        counters: Arc::clone(&shared.counters.ingest),
        first: resumed.ingest.first.clone(),
    };
    let mut control = ControlPlane::new(
        worker,
        &begin.partitions,
        &shared.spec.ingest,
        stop.clone(),
        recovery.clone(),
        resumed.ingest.facts.clone(),
        direction,
    );
    if size.process > 0 && worker.index().is_multiple_of(local_workers) {
        let decisions = shared.durability.found_out(recovery.resumed_at());
        if !decisions.is_empty() {
            control.send(Control::FoundOut { decisions });
        }
    }
    // 3. The dataflow.
    let applied = ProbeHandle::new();
    if outcome.is_ok() {
        let starts = assignment(&begin.partitions, worker.index(), worker.peers());
        let starts =
            starts.into_iter().map(|p| (p, resumed.ingest.point(p, recovery.resumed_at())));
        let machines = machines(shared, &recovery, &resumed.ingest, worker.index());
        let opened =
            machines.and_then(|machines| Ok((machines, shared.sources.open(starts.collect())?)));
        match opened {
            Ok((machines, reader)) => {
                let parts = Parts {
                    shared,
                    control: control.shared(),
                    recovery: recovery.clone(),
                    state: Arc::clone(&resumed.ingest),
                    stop: stop.clone(),
                    applied: applied.clone(),
                };
                worker.dataflow_named::<EventTime, _, _>("pipeline", |scope| {
                    build(scope, parts, machines, reader);
                });
            }
            Err(error) => outcome = Err(error),
        }
    }
    if outcome.is_err() {
        // The others wait for this worker's share of the dataflow: they are told to stop.
        shared.stop.store(true, Ordering::Relaxed);
    }
    // 4. Go round until all have stopped, without the state that everybody has taken over.
    recovery.let_go();
    resumed.state = Arc::default();
    let mut driver = Driver {
        shared,
        recovery,
        resumed,
        is_first_of_process: worker.index().is_multiple_of(local_workers),
        process: size.process,
        cutting: None,
        requested: false,
        has_failed: outcome.is_err(),
        seen: None,
    };
    let pulse = shared.pulse.join();
    loop {
        pulse.bump();
        let ended = driver.before_step(&mut control, worker.index());
        if outcome.is_ok() {
            outcome = ended;
        }
        if control.all_stopped() {
            break;
        }
        worker.step_or_park(Some(PARK_MAX));
        driver.after_step(&control, &applied, worker.index());
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    outcome
}

/// What a worker does beside stepping.
struct Driver<'a> {
    shared: &'a Shared,
    recovery: Recovery,
    resumed: Resumption,
    is_first_of_process: bool,
    process: usize,
    /// The cut whose outputs this process has still to make durable.
    cutting: Option<Cut>,
    requested: bool,
    /// Whether there is no dataflow to go on with.
    has_failed: bool,
    seen: Option<EventTime>,
}

impl Driver<'_> {
    fn before_step(
        &mut self,
        control: &mut ControlPlane,
        worker: usize,
    ) -> Result<(), PipelineError> {
        let mut ended = Ok(());
        if let Some(keeper) = &self.resumed.keeper {
            if self.is_first_of_process
                && !self.requested
                && let Some(error) = keeper.failure()
            {
                ended = Err(PipelineError::Checkpoints(error));
                self.shared.stop.store(true, Ordering::Relaxed);
            }
            if !self.requested
                && let Some(error) = control.failure()
            {
                ended = Err(PipelineError::Checkpoints(error));
                self.shared.stop.store(true, Ordering::Relaxed);
            }
            while self.is_first_of_process
                && let Some((cut, part)) = keeper.take_part()
            {
                let process = u32::try_from(self.process).unwrap_or(u32::MAX);
                control.send(Control::Part { sequence: cut.sequence, process, part });
            }
        }
        if !self.requested
            && let Some(topics) = control.renewing()
        {
            let names = topics.iter().map(|topic| self.shared.spec.topics.name(*topic).to_owned());
            ended = Err(PipelineError::Recreated { topics: names.collect() });
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        if worker == 0 {
            for partition in self.shared.sources.discovered() {
                control.send(Control::Discovered { partition });
            }
        }
        if !self.requested && self.shared.stop.load(Ordering::Relaxed) {
            self.requested = true;
            match self.has_failed || ended.is_err() {
                true => control.request_end(),
                false => control.request_stop(),
            }
        }
        control.pump();
        ended
    }

    fn after_step(
        &mut self,
        control: &ControlPlane,
        applied: &ProbeHandle<EventTime>,
        worker: usize,
    ) {
        let now = applied.with_frontier(|f| f.first().copied());
        if now != self.seen {
            self.seen = now;
            control.wake_source();
            if let Some(time) = now {
                self.shared.counters.applied.store(time.as_millis(), Ordering::Relaxed);
            }
        }
        let Some(keeper) = &self.resumed.keeper else { return };
        if let Some((cut, pieces)) = self.recovery.take_complete() {
            keeper.share(cut, worker, pieces);
            self.cutting = self.is_first_of_process.then_some(cut);
        }
        if let Some(cut) = self.cutting
            && now.is_some_and(|time| time >= cut.at)
        {
            self.cutting = None;
            let keeper = Arc::clone(keeper);
            let done = move |pieces, others| keeper.extras(cut, pieces, others);
            self.shared.outputs.make_durable(cut, Box::new(done));
        }
        if let Some(cut) = control.take_committed()
            && self.is_first_of_process
        {
            if self.process > 0 {
                keeper.heard_committed(cut, self.shared.spec.ingest.clock.now());
            }
            self.shared.outputs.committed(cut);
        }
    }
}
