//! State stores: where checkpoints, journal, spilled items and the outbox are kept.
//!
//! | store | written as | create-only by | survives |
//! | --- | --- | --- | --- |
//! | [`DirectoryStore`] | a folder: `tidewatch-state`, `/var/lib/tidewatch` | a hard link | the process; the machine, by `fsync` |
//! | [`BucketStore`] | a bucket: `s3://bucket/prefix` | `If-None-Match: *` | the machine, and its disk |
//!
//! Both implement [`StateStore`], block, and are used on threads of their own. A [`Location`] says which of
//! them is meant, and [`open`] opens it.

mod bucket;
mod directory;
mod location;
mod name;

use std::path::Path;
use std::sync::Arc;

use tidewatch_dataflow::checkpoint::StateStore;
use tokio::runtime::Handle;

pub use bucket::{BucketError, BucketStore};
pub use directory::{DirectoryError, DirectoryStore};
pub use location::{BucketLocation, Location, LocationError};
pub use name::NameError;

/// Why a state store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStateError {
    /// The text names none.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The folder cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Opens the store that `text` names, a folder or a URL, to write to it; a relative path starts at `base`.
///
/// Blocks, so it must not be called on a thread of a runtime. `runtime` is what a bucket is spoken to on.
///
/// # Errors
/// [`OpenStateError`], with what to do.
pub fn open(
    text: &str,
    base: &Path,
    runtime: &Handle,
) -> Result<Arc<dyn StateStore>, OpenStateError> {
    Location::parse(text, base)?.open(runtime)
}

impl Location {
    /// Opens the store to write to it: makes a folder that is not there, removes what killed writers have
    /// left, and tries whether a bucket keeps two writers apart. Blocks as [`open`] does.
    ///
    /// # Errors
    /// [`OpenStateError`], with what to do.
    pub fn open(&self, runtime: &Handle) -> Result<Arc<dyn StateStore>, OpenStateError> {
        Ok(match self {
            Location::Directory(path) => Arc::new(DirectoryStore::open(path)?),
            Location::Bucket(bucket) => Arc::new(BucketStore::open(bucket, runtime)?),
        })
    }

    /// Opens the store to look into it. Changes nothing, and makes nothing that is not there.
    ///
    /// # Errors
    /// [`OpenStateError`], with what to do.
    pub fn open_existing(&self, runtime: &Handle) -> Result<Arc<dyn StateStore>, OpenStateError> {
        Ok(match self {
            Location::Directory(path) => Arc::new(DirectoryStore::open_existing(path)?),
            Location::Bucket(bucket) => Arc::new(BucketStore::open_existing(bucket, runtime)?),
        })
    }
}
