//! The journal in a state store.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// One object. Partitions are known by the indexes of their topics, which another run may number otherwise.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Names of the topics by index.
    topics: Vec<String>,
    decisions: Vec<Decision>,
}

/// Writes decisions as numbered objects, `journal/RUN-NUMBER`, on a thread of its own: those that wait are
/// written together.
pub struct StoreJournal {
    batches: Sender<Vec<Decision>>,
    durable: Receiver<(usize, u64)>,
    mark: u64,
    failure: Arc<OnceLock<Arc<CheckpointError>>>,
}

impl StoreJournal {
    /// Starts the journal of run [`Fence::run`], for topics in the order of their indexes.
    pub fn start(store: Arc<dyn StateStore>, fence: Fence, topics: Vec<String>) -> Self {
        let ((batches, waiting), (done, durable)) = (channel(), channel());
        let mark = fence.run() << 32;
        let failure = Arc::new(OnceLock::new());
        let failed = Arc::clone(&failure);
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let started = thread.spawn(move || {
            if let Err(error) = write_all(&*store, &fence, &topics, &waiting, &done) {
                tracing::error!(%error, "the journal has ended");
                // Set once, here.
                let _ = failed.set(Arc::new(error));
            }
        });
        if let Err(error) = started {
            // Without it no decision ever takes effect: time stands still, which the metrics show.
            tracing::error!(%error, "could not start the journal");
        }
        StoreJournal { batches, durable, mark, failure }
    }

    /// Adds to `facts`, which hold everything up to `mark`, all decisions written after it by any run, about
    /// topics that `topic` knows the index of; then another run begins ([`Facts::begin_run`]).
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn load(
        store: &dyn StateStore,
        mark: u64,
        topic: impl Fn(&str) -> Option<u32>,
        facts: &mut Facts,
    ) -> Result<(), CheckpointError> {
        let objects = store.list("journal/")?;
        let objects =
            objects.into_iter().filter_map(|object| Some((mark_of(&object.name)?, object)));
        let mut objects: Vec<_> = objects.filter(|(number, _)| *number > mark).collect();
        objects.sort_by_key(|(number, _)| *number);
        let mut run = mark >> 32;
        for (number, object) in objects {
            if number >> 32 > run {
                run = number >> 32;
                facts.begin_run();
            }
            let bytes = store.read(&object.name)?;
            let Entry { topics, decisions } = unframe(Kind::Journal, &bytes)
                .map_err(|reason| CheckpointError::Object { name: object.name, reason })?;
            let mut written = Facts::default();
            decisions.into_iter().for_each(|decision| written.learn(decision));
            facts.merge(&written.renumbered(|index| topic(topics.get(index as usize)?)));
        }
        facts.begin_run();
        Ok(())
    }

    /// Writes decisions at once, as the first of run [`Fence::run`], before its journal is started.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write_first(
        store: &dyn StateStore,
        fence: &Fence,
        topics: Vec<String>,
        decisions: Vec<Decision>,
    ) -> Result<(), StoreError> {
        store.create(&name(fence.run() << 32), &frame(Kind::Journal, &Entry { topics, decisions }))
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

    fn failure(&self) -> Option<Arc<CheckpointError>> {
        self.failure.get().cloned()
    }
}

fn write_all(
    store: &dyn StateStore,
    fence: &Fence,
    topics: &[String],
    waiting: &Receiver<Vec<Decision>>,
    done: &Sender<(usize, u64)>,
) -> Result<(), CheckpointError> {
    let mut mark = fence.run() << 32;
    while let Ok(first) = waiting.recv() {
        let batches: VecDeque<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let count = batches.len();
        let decisions = batches.into_iter().flatten().collect();
        mark += 1;
        write(store, fence, mark, &Entry { topics: topics.to_vec(), decisions })?;
        if done.send((count, mark)).is_err() {
            return Ok(());
        }
        if mark.is_multiple_of(PRUNE_EVERY)
            && let Err(error) = prune(store)
        {
            tracing::warn!(%error, "could not delete old objects of the journal");
        }
    }
    Ok(())
}

/// Writes one object, for as long as it takes.
fn write(
    store: &dyn StateStore,
    fence: &Fence,
    mark: u64,
    entry: &Entry,
) -> Result<(), CheckpointError> {
    let content = frame(Kind::Journal, entry);
    let mut wait = Duration::from_millis(50);
    loop {
        let error = match write_once(store, fence, &name(mark), &content) {
            Err(CheckpointError::Store(error)) if !matches!(error, StoreError::Exists { .. }) => {
                error
            }
            written => return written,
        };
        tracing::warn!(%error, ?wait, "could not write the journal, trying again");
        std::thread::sleep(wait);
        wait = (wait * 2).min(RETRY_MAX);
    }
}

fn write_once(
    store: &dyn StateStore,
    fence: &Fence,
    name: &str,
    content: &[u8],
) -> Result<(), CheckpointError> {
    fence.check()?;
    store.create_same(name, content)?;
    // A run that has begun since the first look may not have found what was written after its claim.
    fence.check()
}

fn prune(store: &dyn StateStore) -> Result<(), StoreError> {
    let objects = store.list("journal/")?;
    let surplus = objects.len().saturating_sub(OBJECTS_KEPT);
    objects.iter().take(surplus).try_for_each(|object| store.delete(&object.name))
}

#[cfg(test)]
mod tests {
    use super::super::generation::Generation;
    use super::*;
    use crate::checkpoint::RunInfo;
    use crate::record::PartitionId;
    use crate::testing::MemoryStore;
    use crate::time::EventTime;

    #[test]
    fn a_generation_begins_with_the_run_after_the_one_that_found_it() {
        let partition = PartitionId { topic: 0, partition: 3 };
        let (other, topics) =
            (PartitionId { topic: 1, ..partition }, ["t", "u"].map(str::to_owned));
        let at = EventTime::from_millis;
        let floor = |partition, from| Decision::Floor { partition, from, floor: at(7) };
        let recreated = |generation| Decision::Recreated { topic: 0, generation };
        let reached = |to| Decision::Reached { to: at(to) };
        let store = MemoryStore::default();
        let write = |run: u64, number: u64, decisions: Vec<Decision>| {
            let entry = Entry { topics: topics.to_vec(), decisions };
            store.create(&name((run << 32) + number), &frame(Kind::Journal, &entry)).unwrap();
        };
        let index = |topic: &str| ["t", "u"].iter().position(|t| *t == topic).map(|at| at as u32);
        let load = |mark, facts: &Facts| {
            let mut facts = facts.clone();
            StoreJournal::load(&store, mark, index, &mut facts).unwrap();
            facts
        };
        write(1, 1, vec![floor(partition, 5), floor(other, 6), reached(100)]);
        write(1, 2, vec![recreated(1)]);
        // What the run decided before it ended is about the former topic too.
        write(1, 3, vec![floor(partition, 9), reached(200)]);
        let first = load(0, &Facts::default());
        let generation = |number, floor| Generation { number, floor: at(floor) };
        assert_eq!(first.generation(0), generation(1, 200));
        assert_eq!(first.generation(1), Generation::default());
        assert_eq!(
            (first.floors(partition, 0), first.floors(other, 0)),
            (vec![], vec![(6, at(7))])
        );
        // Runs that come to nothing change nothing about it.
        write(2, 0, vec![floor(partition, 2)]);
        write(4, 1, vec![reached(300)]);
        let later = load(0, &Facts::default());
        assert_eq!(later.generation(0), generation(1, 200));
        assert_eq!(later.floors(partition, 0), [(2, at(7))]);
        // A checkpoint in the middle of a run knows of its own generation, and of the next.
        let mut kept = Facts::default();
        for known in [floor(partition, 5), floor(other, 6), reached(100), recreated(1)] {
            kept.learn(known);
        }
        assert_eq!(kept.generation(0), Generation::default());
        assert_eq!(load((1 << 32) + 2, &kept), later);
        write(4, 2, vec![recreated(2)]);
        assert_eq!(load(4 << 32, &later).generation(0), generation(2, 300));
        let kept = load(4 << 32, &later).renumbered(|topic| (topic == 0).then_some(8));
        assert_eq!(
            (kept.generation(8), kept.generation(0)),
            (generation(2, 300), Generation::default())
        );
    }

    #[test]
    fn decisions_are_durable_before_they_count_and_found_again() {
        let store = MemoryStore::default();
        let shared: Arc<dyn StateStore> = Arc::new(store.clone());
        let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 1 };
        let fence = Fence::claim(Arc::clone(&shared), &info).unwrap();
        let mut journal = StoreJournal::start(Arc::clone(&shared), fence, vec!["t".to_owned()]);
        let partition = PartitionId { topic: 0, partition: 3 };
        let floor = |from| Decision::Floor { partition, from, floor: EventTime::from_millis(7) };
        (0..5).for_each(|from| journal.append(vec![floor(from)]));
        let mut durable = 0;
        while durable < 5 {
            durable += journal.take_durable();
            std::thread::yield_now();
        }
        let of = |mark, topic: fn(&str) -> Option<u32>| {
            let mut facts = Facts::default();
            StoreJournal::load(&store, mark, topic, &mut facts).map(|()| facts)
        };
        let load = |mark| of(mark, |topic| (topic == "t").then_some(0));
        let all = load(0).unwrap();
        assert_eq!(all.decisions().collect::<Vec<_>>(), (0..5).map(floor).collect::<Vec<_>>());
        assert_eq!(load(journal.mark()).unwrap(), Facts::default());
        let moved = of(0, |_| Some(7)).unwrap();
        assert_eq!(moved, all.renumbered(|_| Some(7)), "topics are known by name");
        let _newer = Fence::claim(shared, &info).unwrap();
        journal.append(vec![floor(9)]);
        assert!(journal.durable.recv().is_err(), "a fenced run decides nothing");
        assert_eq!(load(0).unwrap(), all);
        assert!(
            journal.failure().is_some_and(|error| matches!(*error, CheckpointError::Fenced { .. }))
        );
    }
}
