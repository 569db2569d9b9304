//! The keeper: one thread in each process that makes checkpoints durable, so that no worker ever waits for a
//! disk or a network.
//!
//! ```text
//!  workers ── pieces ──┐
//!                      ├─► pieces/… ─► parts/… ─► reference ─► worker 0 ─► manifests/… ─► garbage goes
//!  sinks ─── extras ───┘      durable, in this order                          last
//! ```

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::assemble::Assembly;
use super::garbage::Garbage;
use super::manifest::{Manifest, ObjectRef, name};
use super::{CheckpointError, Cut, Fence, StateStore, StoreError, WorkerPieces};
use crate::time::{Clock, EventTime, Stopwatch};

/// What a keeper must know of the run.
#[derive(Clone, Debug)]
pub struct KeeperConfig {
    /// The pipeline the state belongs to.
    pub pipeline: String,
    /// Topics in the order of their indexes.
    pub topics: Vec<String>,
    /// Index of this process.
    pub process: usize,
    /// How many workers this process has.
    pub local_workers: usize,
    /// How many workers there are in all.
    pub workers: usize,
    /// How many checkpoints are kept; at least one.
    pub keep: usize,
    /// Where the present comes from.
    pub clock: Clock,
}

enum Job {
    Share { cut: Cut, worker: usize, pieces: WorkerPieces },
    Extras { cut: Cut, pieces: WorkerPieces, others: Vec<String> },
    Commit { cut: Cut, parts: Vec<ObjectRef> },
}

/// What is to be known of the checkpoints of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeeperStats {
    /// When the newest checkpoint of this run was complete, by the wall clock; `None` before the first. Known
    /// in every process.
    pub committed_at: Option<EventTime>,
    /// Its cut.
    pub committed: Option<Cut>,
    /// How many were completed in this run.
    pub commits: u64,
    /// How long this process took to make its last part durable.
    pub duration: Duration,
    /// Bytes this process wrote for it.
    pub written_bytes: u64,
    /// Bytes of state of this process in it, whenever they were written.
    pub state_bytes: u64,
    /// How often the store failed and was asked again.
    pub retries: u64,
}

#[derive(Debug, Default)]
struct Shared {
    parts: VecDeque<(Cut, ObjectRef)>,
    committed: Option<Cut>,
    failure: Option<Arc<CheckpointError>>,
    stats: KeeperStats,
}

/// Handle of a process's keeper. Dropping it lets the thread end after what was asked of it.
pub struct Keeper {
    jobs: Mutex<Option<Sender<Job>>>,
    shared: Arc<Mutex<Shared>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Starts the keeper of a process of run [`Fence::run`].
    pub fn start(store: Arc<dyn StateStore>, fence: Fence, config: KeeperConfig) -> Arc<Keeper> {
        let (sender, jobs) = channel();
        let shared = Arc::default();
        let work = Work {
            assembly: Assembly::new(fence.run(), config.process),
            garbage: Garbage::new(config.keep),
            pending: Pending::default(),
            shared: Arc::clone(&shared),
            store,
            fence,
            config,
        };
        let thread = std::thread::Builder::new().name("keeper".to_owned());
        let thread = thread.spawn(move || work.run(&jobs));
        if let Err(error) = &thread {
            // Without the thread no checkpoint is ever complete, which the age of the last one shows.
            tracing::error!(%error, "could not start the keeper of checkpoints");
        }
        Arc::new(Keeper { jobs: Mutex::new(Some(sender)), shared, thread: Mutex::new(thread.ok()) })
    }

    fn ask(&self, job: Job) {
        if let Some(jobs) = lock(&self.jobs).as_ref() {
            // The thread ends only with this handle, or after a failure that the run ends for.
            let _ = jobs.send(job);
        }
    }

    /// Hands over what worker `worker` (over all processes) put at `cut`.
    pub fn share(&self, cut: Cut, worker: usize, pieces: WorkerPieces) {
        self.ask(Job::Share { cut, worker, pieces });
    }

    /// Hands over what the process itself has to keep at `cut`, once every sink has made durable what was
    /// offered before it; `others` are further objects that the pieces speak of.
    pub fn extras(&self, cut: Cut, pieces: WorkerPieces, others: Vec<String>) {
        self.ask(Job::Extras { cut, pieces, others });
    }

    /// A part of this process that has become durable, for worker 0: each once.
    pub fn take_part(&self) -> Option<(Cut, ObjectRef)> {
        lock(&self.shared).parts.pop_front()
    }

    /// All parts of `cut` are durable: writes the manifest. Called in the process of worker 0.
    pub fn commit(&self, cut: Cut, parts: Vec<ObjectRef>) {
        self.ask(Job::Commit { cut, parts });
    }

    /// The cut whose manifest has been written, once.
    pub fn take_committed(&self) -> Option<Cut> {
        lock(&self.shared).committed.take()
    }

    /// Notes in a process other than worker 0's that the checkpoint at `cut` is complete.
    pub fn heard_committed(&self, cut: Cut, now: EventTime) {
        note_committed(&mut lock(&self.shared).stats, cut, now);
    }

    /// Why no checkpoint will ever be written again in this run.
    pub fn failure(&self) -> Option<Arc<CheckpointError>> {
        lock(&self.shared).failure.clone()
    }

    /// What is to be known of it.
    pub fn stats(&self) -> KeeperStats {
        lock(&self.shared).stats.clone()
    }

    /// Ends the thread after what was asked of it.
    pub fn close(&self) {
        lock(&self.jobs).take();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn note_committed(stats: &mut KeeperStats, cut: Cut, now: EventTime) {
    stats.committed = Some(cut);
    stats.committed_at = Some(now);
    stats.commits += 1;
}

/// What has been handed over for the cut in progress.
#[derive(Default)]
struct Pending {
    cut: Option<Cut>,
    shares: Vec<(usize, WorkerPieces)>,
    extras: Option<(WorkerPieces, Vec<String>)>,
}

impl Pending {
    /// Begins with `cut` if it is another one than before, which then never became whole.
    fn of(&mut self, cut: Cut) -> &mut Self {
        if self.cut != Some(cut) {
            *self = Pending { cut: Some(cut), ..Pending::default() };
        }
        self
    }
}

struct Work {
    assembly: Assembly,
    garbage: Garbage,
    pending: Pending,
    shared: Arc<Mutex<Shared>>,
    store: Arc<dyn StateStore>,
    fence: Fence,
    config: KeeperConfig,
}

impl Work {
    fn run(mut self, jobs: &Receiver<Job>) {
        if self.config.process == 0
            && let Err(error) = self.garbage.sweep(&*self.store, self.fence.run())
        {
            tracing::warn!(%error, "could not delete what earlier runs left behind");
        }
        loop {
            let worked = match jobs.recv_timeout(FENCE_CHECK_EVERY) {
                Ok(job) => self.work(job),
                // Nothing to write: look all the same whether somebody else has taken over.
                Err(RecvTimeoutError::Timeout) => match self.fence.check() {
                    Err(CheckpointError::Store(error)) => {
                        tracing::warn!(%error, "could not look for newer runs");
                        Ok(())
                    }
                    checked => checked,
                },
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = worked {
                tracing::error!(%error, "checkpoints have ended");
                lock(&self.shared).failure = Some(Arc::new(error));
                return;
            }
        }
    }

    fn work(&mut self, job: Job) -> Result<(), CheckpointError> {
        match job {
            Job::Share { cut, worker, pieces } => {
                self.pending.of(cut).shares.push((worker, pieces));
            }
            Job::Extras { cut, pieces, others } => {
                self.pending.of(cut).extras = Some((pieces, others));
            }
            Job::Commit { cut, parts } => return self.commit(cut, parts),
        }
        if self.pending.shares.len() < self.config.local_workers {
            return Ok(());
        }
        let Some((extras, others)) = self.pending.extras.take() else { return Ok(()) };
        let Pending { cut, mut shares, .. } = std::mem::take(&mut self.pending);
        let Some(cut) = cut else { return Ok(()) };
        shares.sort_by_key(|(worker, _)| *worker);
        let first = self.config.process * self.config.local_workers;
        shares.push((first, extras));
        self.write(cut, shares, others)
    }

    /// Makes the pieces of this process durable, then the list of them.
    fn write(
        &mut self,
        cut: Cut,
        shares: Vec<(usize, WorkerPieces)>,
        others: Vec<String>,
    ) -> Result<(), CheckpointError> {
        let watch = Stopwatch::start();
        let built = self.assembly.build(&*self.store, cut, shares, others)?;
        let mut written = 0;
        if let Some((name, content)) = &built.pieces {
            written += content.len() as u64;
            self.create(name, content)?;
        }
        let (run, process) = (self.fence.run(), self.config.process);
        let name = name("parts", run, cut.sequence, &format!("-p{process:04}"));
        let content = super::frame::frame(super::frame::Kind::Part, &built.part);
        written += content.len() as u64;
        self.create(&name, &content)?;
        let mut shared = lock(&self.shared);
        shared.stats.duration = watch.elapsed();
        shared.stats.written_bytes = written;
        shared.stats.state_bytes = built.state_bytes;
        shared.parts.push_back((cut, ObjectRef::of(name, &content)));
        Ok(())
    }

    fn commit(&mut self, cut: Cut, parts: Vec<ObjectRef>) -> Result<(), CheckpointError> {
        let manifest = Manifest {
            pipeline: self.config.pipeline.clone(),
            run: self.fence.run(),
            cut,
            written_at: self.config.clock.now(),
            workers: u32::try_from(self.config.workers).unwrap_or(u32::MAX),
            topics: self.config.topics.clone(),
            parts,
        };
        self.may_write()?;
        self.create(&manifest.name(), &manifest.encode())?;
        if let Err(fenced) = self.may_write() {
            // Whoever has taken over may have deleted what this names already.
            self.store.delete(&manifest.name())?;
            return Err(fenced);
        }
        let mut shared = lock(&self.shared);
        note_committed(&mut shared.stats, cut, self.config.clock.now());
        shared.committed = Some(cut);
        drop(shared);
        if let Err(error) = self.garbage.collect(&*self.store) {
            tracing::warn!(%error, "could not delete old checkpoints");
        }
        Ok(())
    }

    /// Creates an object, for as long as it takes: without it there is no checkpoint, and the run goes on.
    fn create(&self, name: &str, content: &[u8]) -> Result<(), CheckpointError> {
        let mut wait = Duration::from_millis(100);
        loop {
            let error = match self.store.create_same(name, content) {
                Ok(()) => return Ok(()),
                Err(error @ StoreError::Exists { .. }) => return Err(error.into()),
                Err(error) => error,
            };
            lock(&self.shared).stats.retries += 1;
            tracing::warn!(object = name, %error, ?wait, "could not write checkpoint, trying again");
            std::thread::sleep(wait);
            wait = (wait * 2).min(RETRY_MAX);
            self.may_write()?;
        }
    }

    /// Whether no newer run has taken over; while the store does not say, it is asked again.
    fn may_write(&self) -> Result<(), CheckpointError> {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.fence.check() {
                Err(CheckpointError::Store(error)) => {
                    lock(&self.shared).stats.retries += 1;
                    tracing::warn!(%error, ?wait, "could not look for newer runs, trying again");
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(RETRY_MAX);
                }
                checked => return checked,
            }
        }
    }
}

/// How often a process looks whether a newer run has taken over.
const FENCE_CHECK_EVERY: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to write.
const RETRY_MAX: Duration = Duration::from_secs(10);
