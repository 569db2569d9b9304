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
pub trait StateStore: Send + Sync {
    /// Creates `name` with this content. When it returns, the object survives the loss of the process and,
    /// as far as the medium can promise, of the machine.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one already, which is then left as it is.
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;

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
