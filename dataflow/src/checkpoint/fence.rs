//! Fencing: of all runs that share a store, only the newest may write.
//!
//! Partitions are assigned by hand, so no broker would stop a second run. Each run claims the next number by
//! creating an object that nobody can create twice; whoever is about to write looks whether a higher one is
//! there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::frame::{Kind, frame};
use super::{CheckpointError, StateStore, StoreError};
use crate::time::EventTime;

/// What a run says of itself when it claims its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// When it began, by the wall clock.
    pub started_at: EventTime,
    /// Process id of the process of worker 0.
    pub pid: u32,
    /// How many workers it has.
    pub workers: u32,
}

/// A run's right to write.
///
/// ```
/// use std::sync::Arc;
/// use tidewatch_dataflow::checkpoint::{CheckpointError, Fence, RunInfo, StateStore};
/// use tidewatch_dataflow::testing::MemoryStore;
/// use tidewatch_dataflow::time::EventTime;
/// let store: Arc<dyn StateStore> = Arc::new(MemoryStore::default());
/// let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 2 };
/// let first = Fence::claim(Arc::clone(&store), &info).unwrap();
/// assert!(first.check().is_ok());
/// let second = Fence::claim(store, &info).unwrap();
/// assert!(matches!(first.check(), Err(CheckpointError::Fenced { own: 1, newer: 2 })));
/// assert!(second.check().is_ok());
/// ```
#[derive(Clone)]
pub struct Fence {
    store: Arc<dyn StateStore>,
    run: u64,
}

/// Runs are remembered so long: the newest few, so that the folder does not grow for ever.
const RUNS_KEPT: usize = 100;

fn number(name: &str) -> Option<u64> {
    name.strip_prefix("runs/")?.parse().ok()
}

fn newest(store: &dyn StateStore) -> Result<u64, StoreError> {
    Ok(store.list("runs/")?.iter().filter_map(|object| number(&object.name)).max().unwrap_or(0))
}

impl Fence {
    /// Claims the next run number; from then on all older runs are fenced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn claim(store: Arc<dyn StateStore>, info: &RunInfo) -> Result<Fence, StoreError> {
        loop {
            let run = newest(&*store)? + 1;
            match store.create(&format!("runs/{run:08}"), &frame(Kind::Run, info)) {
                Ok(()) => {
                    let old = store.list("runs/")?;
                    for object in old.iter().rev().skip(RUNS_KEPT) {
                        store.delete(&object.name)?;
                    }
                    return Ok(Fence { store, run });
                }
                // Somebody else began at the same moment: the later number wins.
                Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The right of run `run`, claimed by another process of it.
    pub fn of(store: Arc<dyn StateStore>, run: u64) -> Fence {
        Fence { store, run }
    }

    /// The number of the run.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Whether the run may still write.
    ///
    /// # Errors
    /// [`CheckpointError::Fenced`] when a newer run has begun.
    pub fn check(&self) -> Result<(), CheckpointError> {
        match newest(&*self.store)? {
            newer if newer > self.run => Err(CheckpointError::Fenced { own: self.run, newer }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryStore;

    #[test]
    fn a_second_run_fences_the_first() {
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::default());
        let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 2 };
        let first = Fence::claim(Arc::clone(&store), &info).unwrap();
        assert!(first.check().is_ok());
        let second = Fence::claim(Arc::clone(&store), &info).unwrap();
        assert_eq!(second.run(), first.run() + 1);
        assert!(matches!(first.check(), Err(CheckpointError::Fenced { own: 1, newer: 2 })));
        assert!(second.check().is_ok());
        for _ in 0..2 * RUNS_KEPT {
            Fence::claim(Arc::clone(&store), &info).unwrap();
        }
        assert_eq!(store.list("runs/").unwrap().len(), RUNS_KEPT);
        assert!(second.check().is_err());
    }
}
