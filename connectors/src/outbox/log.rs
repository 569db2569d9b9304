//! The thread that writes the outbox: everything asked for while it writes one object goes into the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};

use tidewatch_dataflow::checkpoint::{CheckpointError, Fence, StateStore};
use tokio::sync::oneshot;

use super::event::{Event, FOLDER, Position, What, seal};
use super::stats::count;
use super::{Shared, lock};

/// At most about so many events go into one object: about 40 bytes each, 200 for an intent of an opening, so 40
/// to 200 KB.
const GROUP_EVENTS: usize = 1_000;

/// Why events are not durable; shared by all whose events were to be in one object.
pub(super) type Failure = Arc<CheckpointError>;

/// What the thread is asked for.
pub(super) enum Job {
    /// Make these durable, or, when there are none, only see whether this run may still write.
    Record { events: Vec<Event>, done: oneshot::Sender<Result<(), Failure>> },
    /// Delete the objects up to this one.
    Prune { upto: Position },
}

pub(super) struct Log {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) fence: Fence,
    pub(super) shared: Arc<Shared>,
    /// The number of the last object that was tried.
    pub(super) sequence: u64,
    /// Set once a newer run has taken over: nothing is written any more.
    pub(super) fenced: Option<Failure>,
    /// Objects to delete, one at a time while there is nothing else to do.
    pub(super) doomed: VecDeque<String>,
}

impl Log {
    /// Runs until the outbox is dropped and nobody waits.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Some(job) = self.next(jobs) {
            let (mut group, mut waiting) = (Vec::new(), Vec::new());
            let mut job = Some(job);
            while let Some(next) = job.take() {
                match next {
                    Job::Record { events, done } => {
                        group.extend(events);
                        waiting.push(done);
                    }
                    Job::Prune { upto } => self.condemn(upto),
                }
                job = (group.len() < GROUP_EVENTS).then(|| jobs.try_recv().ok()).flatten();
            }
            if waiting.is_empty() {
                continue;
            }
            let written = self.write(&group);
            for done in waiting {
                // Who no longer waits will find in the store what was written.
                let _ = done.send(written.clone());
            }
        }
    }

    fn next(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        loop {
            let Some(name) = self.doomed.pop_front() else { return jobs.recv().ok() };
            match jobs.try_recv() {
                Ok(job) => {
                    self.doomed.push_front(name);
                    return Some(job);
                }
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => match self.store.delete(&name) {
                    Ok(()) => count(&self.shared.counters.pruned),
                    Err(error) => tracing::warn!(%error, "could not delete an old outbox object"),
                },
            }
        }
    }

    /// Looks up what is to be deleted; what cannot be now is found again after the next checkpoint.
    fn condemn(&mut self, upto: Position) {
        match self.store.list(FOLDER) {
            Ok(objects) => {
                let names = objects.into_iter().map(|object| object.name);
                let is_old = |name: &String| Position::parse(name).is_some_and(|p| p <= upto);
                self.doomed = names.filter(is_old).collect();
            }
            Err(error) => tracing::warn!(%error, "could not list old outbox objects"),
        }
    }

    /// Makes `events` durable, and known once they are.
    fn write(&mut self, events: &[Event]) -> Result<(), Failure> {
        self.check()?;
        if events.is_empty() {
            return Ok(());
        }
        // A number that may have been used is not used again: should the attempt have succeeded after all, its
        // intents were never acted on, and its receipts are written once more.
        self.sequence += 1;
        let position = Position { run: self.fence.run(), sequence: self.sequence };
        let (name, content) = (position.to_string(), seal(events));
        self.store.create_same(&name, &content).map_err(|error| Arc::new(error.into()))?;
        count(&self.shared.counters.objects);
        if events.iter().any(|event| matches!(event.what, What::Intent { .. })) {
            // Only now is it certain that a newer run finds the intents: it claims its number before it looks.
            self.check()?;
        }
        let counters = &self.shared.counters;
        for event in events {
            match event.what {
                What::Intent { .. } => count(&counters.intents),
                What::Receipt => count(&counters.receipts),
                What::GaveUp => count(&counters.given_up),
                What::Superseded => count(&counters.superseded),
            }
        }
        lock(&self.shared.knowledge).apply(position, events, true);
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        if let Some(failure) = &self.fenced {
            return Err(Arc::clone(failure));
        }
        self.fence.check().map_err(|error| {
            let is_fenced = matches!(error, CheckpointError::Fenced { .. });
            let failure = Arc::new(error);
            if is_fenced {
                tracing::error!(error = %failure, "nothing is told any more");
                self.shared.is_fenced.store(true, Ordering::Release);
                self.fenced = Some(Arc::clone(&failure));
            }
            failure
        })
    }
}
