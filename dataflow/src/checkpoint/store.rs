//! The port of state stores: where checkpoints, journal, spilled items and the outbox are kept.

use crate::sink::BoxError;

/// Why a state store could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is an object of that name already: somebody else was first.
    #[error("`{name}` exists already")]
    Exists {
        /// Name of the object.
        name: String,
    },
    /// There is no object of that name.
    #[error("`{name}` does not exist")]
    Missing {
        /// Name of the object.
        name: String,
    },
    /// The store could not be reached or refused; trying again may help.
    #[error("could not {action} `{name}`")]
    Failed {
        /// What was attempted: `read`, `create`, `list`, `delete`.
        action: &'static str,
        /// Name of the object, or the prefix listed.
        name: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectInfo {
    /// Its whole name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Keeps immutable objects by name. A name is a path of parts separated by `/`, made of lower-case letters,
/// digits, `.`, `-` and `_`.
///
/// All methods block: they are called on threads of their own, never on a worker and never on a thread of
/// an async runtime. An object is either there whole or not at all, whatever the writer died of.
///
/// Everything else rests on `create` refusing a name that is there: of two runs that want the same number only
/// one gets it.
///
/// ```
/// use tidewatch_dataflow::checkpoint::{StateStore, StoreError};
/// /// What every store has to do, for a test of one.
/// fn keeps_its_promises(store: &dyn StateStore) -> Result<(), StoreError> {
///     store.create("runs/00000001", b"one")?;
///     assert!(matches!(store.create("runs/00000001", b"two"), Err(StoreError::Exists { .. })));
///     assert_eq!(store.read("runs/00000001")?, b"one", "the first one stays");
///     store.create("runs/00000002", b"")?;
///     let names: Vec<_> = store.list("runs/")?.into_iter().map(|object| object.name).collect();
///     assert_eq!(names, ["runs/00000001", "runs/00000002"]);
///     store.delete("runs/00000001")?;
///     store.delete("runs/00000001")?;
///     assert!(matches!(store.read("runs/00000001"), Err(StoreError::Missing { .. })));
///     Ok(())
/// }
/// keeps_its_promises(&tidewatch_dataflow::testing::MemoryStore::default()).unwrap();
/// ```
pub trait StateStore: Send + Sync {
    /// Creates `name` with this content. When it returns, the object survives the loss of the process and,
    /// as far as the medium can promise, of the machine.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one already, which is then left as it is.
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;

    /// As [`StateStore::create`], where an object with this very content counts as created: an attempt that
    /// seemed to fail had succeeded.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one with another content.
    fn create_same(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        match self.create(name, content) {
            Err(exists @ StoreError::Exists { .. }) => match self.read(name)? == content {
                true => Ok(()),
                false => Err(exists),
            },
            created => created,
        }
    }

    /// The whole content of `name`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none.
    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError>;

    /// All objects whose names begin with `prefix`, which ends with `/` or is empty, in order of their names.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// Deletes `name`; no error when there is none.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn delete(&self, name: &str) -> Result<(), StoreError>;
}
