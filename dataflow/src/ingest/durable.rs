//! The journal in a state store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::journal::{Decision, Facts, Journal};
use crate::checkpoint::frame::{Kind, frame, unframe};
use crate::checkpoint::{CheckpointError, Fence, StateStore, StoreError};

/// How many objects are kept: at one every ten seconds, what an idle pipeline writes, eleven days.
const OBJECTS_KEPT: usize = 100_000;
/// How often old objects are looked for, in objects written.
const PRUNE_EVERY: u64 = 10_000;
/// The longest pause between two attempts to write.
const RETRY_MAX: Duration = Duration::from_secs(5);

fn name(mark: u64) -> String {
    format!("journal/{:08}-{:010}", mark >> 32, mark & u64::from(u32::MAX))
}

/// The mark of an object: run and number in the run.
fn mark_of(name: &str) -> Option<u64> {
    let (run, number) = name.strip_prefix("journal/")?.split_once('-')?;
    Some((run.parse::<u64>().ok()? << 32) | number.parse::<u64>().ok()?)
}

/// Writes decisions as numbered objects, `journal/RUN-NUMBER`, on a thread of its own: those that wait are
/// written together.
pub struct StoreJournal {
    batches: Sender<Vec<Decision>>,
    durable: Receiver<(usize, u64)>,
    mark: u64,
}

impl StoreJournal {
    /// Starts the journal of run [`Fence::run`].
    pub fn start(store: Arc<dyn StateStore>, fence: Fence) -> Self {
        let ((batches, waiting), (done, durable)) = (channel(), channel());
        let mark = fence.run() << 32;
        let thread = std::thread::Builder::new().name("journal".to_owned());
        if let Err(error) = thread.spawn(move || write_all(&*store, &fence, &waiting, &done)) {
            // Without it no decision ever takes effect: time stands still, which the metrics show.
            tracing::error!(%error, "could not start the journal");
        }
        StoreJournal { batches, durable, mark }
    }

    /// All decisions written after `mark`, by any run.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn load(store: &dyn StateStore, mark: u64) -> Result<Facts, CheckpointError> {
        let mut facts = Facts::default();
        for object in store.list("journal/")? {
            if mark_of(&object.name).is_none_or(|number| number <= mark) {
                continue;
            }
            let bytes = store.read(&object.name)?;
            let decisions: Vec<Decision> = unframe(Kind::Journal, &bytes)
                .map_err(|reason| CheckpointError::Journal { name: object.name, reason })?;
            decisions.into_iter().for_each(|decision| facts.learn(decision));
        }
        Ok(facts)
    }

    /// Writes decisions at once, as the first of run [`Fence::run`], before its journal is started.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write_first(
        store: &dyn StateStore,
        fence: &Fence,
        decisions: &[Decision],
    ) -> Result<(), StoreError> {
        store.create(&name(fence.run() << 32), &frame(Kind::Journal, &decisions))
    }
}

impl Journal for StoreJournal {
    fn append(&mut self, decisions: Vec<Decision>) {
        // The thread ends when the run is fenced: then nothing may take effect any more.
        let _ = self.batches.send(decisions);
    }

    fn take_durable(&mut self) -> usize {
        let mut count = 0;
        while let Ok((batches, mark)) = self.durable.try_recv() {
            count += batches;
            self.mark = mark;
        }
        count
    }

    fn mark(&self) -> u64 {
        self.mark
    }
}

fn write_all(
    store: &dyn StateStore,
    fence: &Fence,
    waiting: &Receiver<Vec<Decision>>,
    done: &Sender<(usize, u64)>,
) {
    let mut mark = fence.run() << 32;
    while let Ok(first) = waiting.recv() {
        let batches: VecDeque<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let count = batches.len();
        let decisions: Vec<_> = batches.into_iter().flatten().collect();
        mark += 1;
        if let Err(error) = write(store, fence, mark, &decisions) {
            tracing::error!(%error, "the journal has ended: time stands still");
            return;
        }
        if done.send((count, mark)).is_err() {
            return;
        }
        if mark.is_multiple_of(PRUNE_EVERY)
            && let Err(error) = prune(store)
        {
            tracing::warn!(%error, "could not delete old objects of the journal");
        }
    }
}

/// Writes one object, for as long as it takes.
fn write(
    store: &dyn StateStore,
    fence: &Fence,
    mark: u64,
    decisions: &[Decision],
) -> Result<(), CheckpointError> {
    let content = frame(Kind::Journal, &decisions);
    let mut wait = Duration::from_millis(50);
    loop {
        fence.check()?;
        match store.create(&name(mark), &content) {
            Ok(()) => return Ok(()),
            // An attempt that seemed to fail had succeeded.
            Err(StoreError::Exists { .. })
                if store.read(&name(mark)).is_ok_and(|found| found == content) =>
            {
                return Ok(());
            }
            Err(error @ StoreError::Exists { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, ?wait, "could not write the journal, trying again");
                std::thread::sleep(wait);
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
}

fn prune(store: &dyn StateStore) -> Result<(), StoreError> {
    let objects = store.list("journal/")?;
    let surplus = objects.len().saturating_sub(OBJECTS_KEPT);
    objects.iter().take(surplus).try_for_each(|object| store.delete(&object.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::RunInfo;
    use crate::record::PartitionId;
    use crate::testing::MemoryStore;
    use crate::time::EventTime;

    #[test]
    fn decisions_are_durable_before_they_count_and_found_again() {
        let store = MemoryStore::default();
        let shared: Arc<dyn StateStore> = Arc::new(store.clone());
        let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 1 };
        let fence = Fence::claim(Arc::clone(&shared), &info).unwrap();
        let mut journal = StoreJournal::start(Arc::clone(&shared), fence);
        let partition = PartitionId { topic: 0, partition: 3 };
        let floor = |from| Decision::Floor { partition, from, floor: EventTime::from_millis(7) };
        (0..5).for_each(|from| journal.append(vec![floor(from)]));
        let mut durable = 0;
        while durable < 5 {
            durable += journal.take_durable();
            std::thread::yield_now();
        }
        let all = StoreJournal::load(&store, 0).unwrap();
        assert_eq!(all.decisions().collect::<Vec<_>>(), (0..5).map(floor).collect::<Vec<_>>());
        assert_eq!(StoreJournal::load(&store, journal.mark()).unwrap(), Facts::default());
        let _newer = Fence::claim(shared, &info).unwrap();
        journal.append(vec![floor(9)]);
        assert!(journal.durable.recv().is_err(), "a fenced run decides nothing");
        assert_eq!(StoreJournal::load(&store, 0).unwrap(), all);
    }
}
