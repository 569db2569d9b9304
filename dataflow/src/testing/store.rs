//! A state store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::{ObjectInfo, StateStore, StoreError};

/// Objects in memory; clones share them, so that a test can look at what a run has left, or let the next
/// run find it.
///
/// ```
/// use tidewatch_dataflow::checkpoint::{StateStore, StoreError};
/// use tidewatch_dataflow::testing::MemoryStore;
/// let store = MemoryStore::default();
/// store.create("runs/1", b"first").unwrap();
/// assert!(matches!(store.create("runs/1", b"again"), Err(StoreError::Exists { .. })));
/// assert_eq!(store.read("runs/1").unwrap(), b"first");
/// assert_eq!(store.list("runs/").unwrap().len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<String, Arc<[u8]>>>>);

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an object, as a failing disk would.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(object) = self.lock().get_mut(name) {
            let mut bytes = object.to_vec();
            change(&mut bytes);
            *object = bytes.into();
        }
    }
}

impl StateStore for MemoryStore {
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let mut objects = self.lock();
        if objects.contains_key(name) {
            return Err(StoreError::Exists { name: name.to_owned() });
        }
        objects.insert(name.to_owned(), content.into());
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let found = self.lock().get(name).map(|bytes| bytes.to_vec());
        found.ok_or_else(|| StoreError::Missing { name: name.to_owned() })
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let objects = self.lock();
        let found = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found
            .map(|(name, bytes)| ObjectInfo { name: name.clone(), size: bytes.len() as u64 })
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.lock().remove(name);
        Ok(())
    }
}
