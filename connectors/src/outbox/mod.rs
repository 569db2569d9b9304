//! The outbox: what people were told, so that a restart neither forgets nor repeats it.
//!
//! ```text
//!  notification ─► intent durable ─► the channel tells ─► receipt durable ─► delivered
//!                        └───────────────────┴── died in between: told again, with the same identity
//! ```
//! After a restore from a checkpoint the transitions since its cut are decided once more, and the items that
//! a sink had spilled are offered once more. The outbox is newer than the cut and has the last word: each
//! [`Event`] is durable in the state store before it has an effect, as part of a numbered object that nobody
//! can create twice.
//!
//! # Guarantees, for each channel
//! - Nothing is told before its intent is durable, and nothing again whose receipt is.
//! - A notification with an intent and no receipt, left by a run that died, is told again; its transition's
//!   id, and with it PagerDuty's key and a mail's `Message-ID`, is the same.
//! - No opening is told after a later step of its incident was attempted.
//! - A run that a newer one has fenced tells nothing any more: it is refused before each attempt.
//! - What was told as open is known with everything that its end needs ([`Outbox::openings`]), should the rule
//!   that opened it be changed or gone by the next run.
//!
//! # State
//! What an incident's notifications came to on a channel is remembered until the incident has ended on all, it
//! lies as it is in the oldest kept checkpoint, no restore can decide its steps again, and no copy of them
//! can still be on its way to the channel. For what an earlier run has told, the last is known once the
//! channel is offered something that was decided later: each channel gets what is decided in that order, after
//! what was left of the run before, and each transition at most once in a run. Objects that the oldest kept
//! checkpoint covers are deleted. Channels that are no longer configured are forgotten likewise.
//!
//! # Cost
//! Two objects and about three listings of `runs/` for a notification on an idle channel; what several
//! channels ask for while an object is written shares the next one.

mod event;
mod log;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_dataflow::alert::{IncidentId, Transition};
use tidewatch_dataflow::checkpoint::{CheckpointError, Fence, StateStore};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::time::EventTime;
use tokio::sync::oneshot;

pub use event::{Event, OutboxError, Position, What};
pub use state::OutboxState;
pub use stats::OutboxStats;
pub use writer::Outboxed;

use log::{Failure, Job, Log};
use state::{Knowledge, Verdict};
use stats::Counters;

/// What an outbox and its thread share.
struct Shared {
    knowledge: Mutex<Knowledge>,
    counters: Counters,
    is_fenced: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outbox of one run. Its thread ends when it is dropped.
pub struct Outbox {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Opens the outbox of the run that holds `fence`: goes on from `restored`, the part in the checkpoint cut
    /// at `resumed_at`, and the objects written since. `keep` checkpoints are kept. Blocks while it reads the
    /// store.
    ///
    /// # Errors
    /// [`OutboxError`]: an object that cannot be read is never passed over.
    pub fn open(
        store: Arc<dyn StateStore>,
        fence: Fence,
        restored: OutboxState,
        resumed_at: EventTime,
        keep: usize,
    ) -> Result<Arc<Outbox>, OutboxError> {
        let covered = restored.covered();
        let mut knowledge = Knowledge::new(fence.run(), restored, resumed_at, keep);
        let (mut sequence, mut expected) = (0, covered);
        for object in store.list(event::FOLDER)? {
            let Some(position) = Position::parse(&object.name) else {
                tracing::warn!(
                    name = object.name,
                    "an object in the outbox that is none of its own"
                );
                continue;
            };
            if position.run == fence.run() {
                sequence = sequence.max(position.sequence);
            }
            if position <= covered {
                continue;
            }
            if expected.run != position.run {
                expected = Position { run: position.run, sequence: 0 };
            }
            expected.sequence += 1;
            if expected.sequence < position.sequence {
                // An attempt to write that failed leaves a gap, and so does whoever deletes an object.
                tracing::info!(from = %expected, to = %position, "a gap in the outbox");
            }
            expected = position;
            let events = event::open(&object.name, &store.read(&object.name)?)?;
            knowledge.apply(position, &events, false);
        }
        let shared = Arc::new(Shared {
            knowledge: Mutex::new(knowledge),
            counters: Counters::default(),
            is_fenced: AtomicBool::new(false),
        });
        let (jobs, receiver) = channel();
        let log = Log {
            store,
            fence,
            shared: Arc::clone(&shared),
            sequence,
            fenced: None,
            doomed: VecDeque::new(),
        };
        let thread = std::thread::Builder::new().name("outbox".to_owned());
        thread.spawn(move || log.run(&receiver)).map_err(OutboxError::Thread)?;
        Ok(Arc::new(Outbox { shared, jobs }))
    }

    /// Makes `events` durable; what others ask for at the same time goes into the same object. With no events
    /// it only makes sure that this run may still write.
    ///
    /// # Errors
    /// [`ConnectorError::Refused`] for ever once a newer run has taken over; [`ConnectorError::Transient`] when
    /// the store fails: then some of the events may be durable all the same.
    pub async fn record(&self, events: Vec<Event>) -> Result<(), ConnectorError> {
        let (done, written) = oneshot::channel();
        let gone = || ConnectorError::Refused {
            endpoint: "the outbox".to_owned(),
            reason: "its thread has ended; restart this process".to_owned(),
        };
        self.jobs.send(Job::Record { events, done }).map_err(|_| gone())?;
        written.await.map_err(|_| gone())?.map_err(failed)
    }

    /// The channels on which the opening of `incident` was attempted, in order of their names: it may have been
    /// told there, so its end is owed there. Empty for an incident that is long over.
    pub fn attempted(&self, incident: IncidentId) -> Vec<Arc<str>> {
        lock(&self.shared.knowledge).attempted(incident)
    }

    /// Whether the opening of `incident` was attempted on any channel.
    pub fn was_attempted(&self, incident: IncidentId) -> bool {
        !self.attempted(incident).is_empty()
    }

    /// Openings that may have been told, by any run, and that the checkpoint which this one goes on from does not
    /// know of, as they were decided later or by a later run; each with the time from which on it may be decided
    /// again. It is, unless its rule has changed: then nobody else knows of it.
    pub fn openings(&self) -> Vec<(EventTime, Transition)> {
        lock(&self.shared.knowledge).openings()
    }

    /// Whether a newer run has taken over.
    pub fn is_fenced(&self) -> bool {
        self.shared.is_fenced.load(Ordering::Acquire)
    }

    /// A number that changes whenever [`Outbox::snapshot`] would.
    pub fn version(&self) -> u64 {
        lock(&self.shared.knowledge).version()
    }

    /// The state for the checkpoint that is being taken. It may hold what was told after the cut: the outbox is
    /// newer than the cut.
    pub fn snapshot(&self) -> OutboxState {
        lock(&self.shared.knowledge).snapshot()
    }

    /// The last object whose events are known.
    pub fn covered(&self) -> Position {
        lock(&self.shared.knowledge).covered()
    }

    /// The checkpoint cut at `at`, which holds the last snapshot, is complete: forgets what no kept checkpoint
    /// needs, and deletes the objects that all of them cover. Nothing happens before this run has completed as
    /// many checkpoints as are kept.
    pub fn committed(&self, at: EventTime) {
        let upto = lock(&self.shared.knowledge).commit(at);
        if let Some(upto) = upto {
            // The thread ends only with this handle.
            let _ = self.jobs.send(Job::Prune { upto });
        }
    }

    /// The outbox in numbers.
    pub fn stats(&self) -> OutboxStats {
        let incidents = lock(&self.shared.knowledge).incidents();
        self.shared.counters.snapshot(incidents)
    }

    fn configure(&self, channel: &Arc<str>) {
        lock(&self.shared.knowledge).configure(channel);
    }

    fn decides(&self, transition: &Transition) -> bool {
        lock(&self.shared.knowledge).decides(transition)
    }

    fn judge(&self, channel: &Arc<str>, transition: &Transition) -> Verdict {
        lock(&self.shared.knowledge).judge(channel, transition)
    }
}

/// A failure to write, as channels tell it.
fn failed(failure: Failure) -> ConnectorError {
    let endpoint = "the outbox".to_owned();
    match &*failure {
        CheckpointError::Fenced { .. } => {
            ConnectorError::Refused { endpoint, reason: failure.to_string() }
        }
        _ => ConnectorError::Transient { endpoint, retry_after: None, source: Box::new(failure) },
    }
}
