//! Deletes what no kept checkpoint needs.

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::Manifest;
use super::{CheckpointError, StateStore};

/// Folders whose objects belong to a run by their name, `FOLDER/RUN-...`.
const FOLDERS: [&str; 3] = ["pieces/", "parts/", "spill/"];

/// Knows what each kept checkpoint needs.
pub(super) struct Garbage {
    keep: usize,
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Garbage {
    pub(super) fn new(keep: usize) -> Self {
        Garbage { keep: keep.max(1), needs: BTreeMap::new() }
    }

    /// Learns of new checkpoints; returns the names of those to drop.
    fn look(&mut self, store: &dyn StateStore) -> Result<Vec<String>, CheckpointError> {
        let names = Manifest::list(store)?;
        self.needs.retain(|name, _| names.contains(name));
        for name in &names {
            if !self.needs.contains_key(name) {
                let objects = match Manifest::read(store, name).and_then(|m| m.objects(store)) {
                    Ok(objects) => objects,
                    // Nothing that a damaged checkpoint may need is known: it is dropped in its turn, and
                    // what only it needs is swept when the next run begins.
                    Err(CheckpointError::Object { .. }) => BTreeSet::new(),
                    Err(error) => return Err(error),
                };
                self.needs.insert(name.clone(), objects);
            }
        }
        let dropped = names.len().saturating_sub(self.keep);
        Ok(names.into_iter().take(dropped).collect())
    }

    /// Drops all checkpoints but the newest, and the objects that only they need.
    pub(super) fn collect(&mut self, store: &dyn StateStore) -> Result<(), CheckpointError> {
        for name in self.look(store)? {
            // First the checkpoint: one whose objects are gone must not be found.
            store.delete(&name)?;
            let needed = self.needs.remove(&name).unwrap_or_default();
            for object in needed {
                if !self.needs.values().any(|objects| objects.contains(&object)) {
                    store.delete(&object)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes what runs before `run` have written and no kept checkpoint needs: the beginnings of checkpoints
    /// that never became complete.
    pub(super) fn sweep(
        &mut self,
        store: &dyn StateStore,
        run: u64,
    ) -> Result<(), CheckpointError> {
        self.collect(store)?;
        for folder in FOLDERS {
            for object in store.list(folder)? {
                let of_run = object.name.strip_prefix(folder).and_then(|name| name.get(..8));
                let is_older = of_run.and_then(|n| n.parse().ok()).is_some_and(|n: u64| n < run);
                if is_older && !self.needs.values().any(|needs| needs.contains(&object.name)) {
                    store.delete(&object.name)?;
                }
            }
        }
        Ok(())
    }
}
