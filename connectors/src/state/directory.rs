//! A state store in a folder: each object a file, made whole before it has its name.
//!
//! ```text
//!  runs/.tmp-3f… ── write, fsync ──► link to runs/7 (refused if it is there) ──► unlink .tmp ──► fsync runs/
//! ```
//!
//! A link is made or is not, and the kernel makes one of several with the same name: that is all that
//! create-only and fencing rest on. It holds between processes, and between machines where the file
//! system does (NFS does).
//!
//! A writer holds a lock on its temporary file, and the kernel lets go of it however the writer ends. What is
//! left of dead writers is so told from what living ones are at, and removed when a store is opened.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tidewatch_dataflow::checkpoint::{ObjectInfo, StateStore, StoreError};

use super::name::{check, check_prefix, is_name};

/// What temporary files are called; no name of an object begins with a dot.
const TEMPORARY: &str = ".tmp-";

/// How often a temporary file may be taken away under a writer's hands: by another process that opens the
/// store between its creation and its lock. Twice in a row is next to impossible.
const ATTEMPTS: u32 = 8;

/// Why something could not be done with a file or folder.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{}`: {cause}: {}", path.display(), self.remedy())]
pub struct DirectoryError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl DirectoryError {
    fn remedy(&self) -> &'static str {
        match self.cause.kind() {
            _ if self.action == "link" => {
                "the folder must be on a file system with hard links, as ext4, xfs and NFS have them: choose \
                 another one, or a bucket"
            }
            ErrorKind::NotFound => {
                "name a folder that is there, or start the pipeline that writes it"
            }
            ErrorKind::PermissionDenied => "let this user read and write there",
            ErrorKind::ReadOnlyFilesystem => "choose a folder that can be written",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "make room there, or set `keep` or the sinks' `spill` lower"
            }
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
                "name a folder of its own for the store"
            }
            _ => "see whether the disk is well",
        }
    }
}

/// `action` on `path` has failed, with this cause.
fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_path_buf();
    move |cause| DirectoryError { action, path, cause }
}

/// A state store in a folder. Files can be read and written by their owner only (0600, folders 0700).
///
/// ```
/// use tidewatch_connectors::state::DirectoryStore;
/// use tidewatch_dataflow::checkpoint::{StateStore, StoreError};
/// let folder = tempfile::tempdir().unwrap();
/// let store = DirectoryStore::open(folder.path().join("state")).unwrap();
/// store.create("runs/1", b"first").unwrap();
/// assert!(matches!(store.create("runs/1", b"again"), Err(StoreError::Exists { .. })));
/// assert_eq!(store.read("runs/1").unwrap(), b"first");
/// ```
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
}

impl DirectoryStore {
    /// Opens the store at `path` to write to it: makes the folder when it is not there, and removes what
    /// writers that are dead have left.
    ///
    /// # Errors
    /// [`DirectoryError`] when the folder cannot be made or read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let path = path.as_ref();
        let root = std::path::absolute(path).map_err(failed("find", path))?;
        make_folder(&root)?;
        let store = DirectoryStore { root };
        store.tidy()?;
        Ok(store)
    }

    /// Opens the store at `path` to read from it. Changes nothing.
    ///
    /// # Errors
    /// [`DirectoryError`] when there is no such folder.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let path = path.as_ref();
        let root = std::path::absolute(path).map_err(failed("find", path))?;
        std::fs::read_dir(&root).map_err(failed("read", path))?;
        Ok(DirectoryStore { root })
    }

    /// Removes temporary files that nobody holds a lock on.
    fn tidy(&self) -> Result<(), DirectoryError> {
        let mut removed = 0_usize;
        walk(&self.root, &mut |path| {
            let name = path.file_name().unwrap_or_default();
            if !name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                return Ok(());
            }
            // Held, gone already, or on a file system without locks: left alone.
            let Ok(file) = File::open(path) else { return Ok(()) };
            if file.try_lock().is_ok() {
                std::fs::remove_file(path)
                    .or_else(unless_missing)
                    .map_err(failed("remove", path))?;
                removed += 1;
            }
            Ok(())
        })?;
        if removed > 0 {
            tracing::info!(removed, store = %self.root.display(), "removed what killed writers have left");
        }
        Ok(())
    }

    /// Writes `content` and gives it the name `path`; whether the name was free.
    fn link(&self, path: &Path, content: &[u8]) -> Result<bool, DirectoryError> {
        let folder = path.parent().unwrap_or(&self.root);
        for _ in 0..ATTEMPTS {
            make_folder(folder)?;
            let temporary = folder.join(format!("{TEMPORARY}{:016x}", fastrand::u64(..)));
            let linked = self.write_and_link(&temporary, path, content);
            let removed = std::fs::remove_file(&temporary).or_else(unless_missing);
            let is_free = match linked {
                Ok(Some(is_free)) => is_free,
                Ok(None) => continue,
                Err(error) => return Err(error),
            };
            removed.map_err(failed("remove", &temporary))?;
            sync_folder(folder)?;
            return Ok(is_free);
        }
        let cause = io::Error::other("its temporary files are taken away again and again");
        Err(failed("write", path)(cause))
    }

    /// `None` when the temporary file was taken for that of a dead writer.
    fn write_and_link(
        &self,
        temporary: &Path,
        path: &Path,
        content: &[u8],
    ) -> Result<Option<bool>, DirectoryError> {
        let mut options = OpenOptions::new();
        let mut file = match options.write(true).create_new(true).mode(0o600).open(temporary) {
            Ok(file) => file,
            Err(cause)
                if matches!(cause.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) =>
            {
                return Ok(None);
            }
            Err(cause) => return Err(failed("create", temporary)(cause)),
        };
        // Where there are no locks, nobody can take one and remove the file.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Ok(None);
        }
        file.write_all(content).map_err(failed("write", temporary))?;
        file.sync_all().map_err(failed("sync", temporary))?;
        match std::fs::hard_link(temporary, path) {
            Ok(()) => Ok(Some(true)),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(Some(false)),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(failed("link", path)(cause)),
        }
    }
}

impl StateStore for DirectoryStore {
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        check("create", name)?;
        let exists = || StoreError::Exists { name: name.to_owned() };
        let path = self.root.join(name);
        // Only to write nothing in vain; who is first is decided by the link.
        if path.symlink_metadata().is_ok() {
            return Err(exists());
        }
        match self.link(&path, content) {
            Ok(true) => Ok(()),
            Ok(false) => Err(exists()),
            Err(error) => Err(store_error("create", name, error)),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        check("read", name)?;
        let path = self.root.join(name);
        std::fs::read(&path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => StoreError::Missing { name: name.to_owned() },
            _ => store_error("read", name, failed("read", &path)(cause)),
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let folder = self.root.join(check_prefix(prefix)?);
        let mut found = Vec::new();
        walk(&folder, &mut |path| {
            let below = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            let Some(name) = below.filter(|name| is_name(name)) else { return Ok(()) };
            match path.metadata() {
                Ok(metadata) => {
                    found.push(ObjectInfo { name: name.to_owned(), size: metadata.len() })
                }
                // Deleted since the folder was read.
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => return Err(failed("read", path)(cause)),
            }
            Ok(())
        })
        .map_err(|error| store_error("list", prefix, error))?;
        found.sort();
        Ok(found)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check("delete", name)?;
        let path = self.root.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(failed("delete", &path)(cause)),
        }
        .map_err(|error| store_error("delete", name, error))
    }
}

fn store_error(action: &'static str, name: &str, error: DirectoryError) -> StoreError {
    StoreError::Failed { action, name: name.to_owned(), source: Box::new(error) }
}

/// Gives every file below `folder` to `each`; none when the folder is not there. Folders are those of the
/// store's own names, so few and shallow.
fn walk(
    folder: &Path,
    each: &mut dyn FnMut(&Path) -> Result<(), DirectoryError>,
) -> Result<(), DirectoryError> {
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == ErrorKind::NotFound => continue,
            Err(cause) => return Err(failed("read", &folder)(cause)),
        };
        for entry in entries {
            let entry = entry.map_err(failed("read", &folder))?;
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() => each(&path)?,
                // Links, sockets and the like are none of ours.
                Ok(_) => {}
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => return Err(failed("read", &path)(cause)),
            }
        }
    }
    Ok(())
}

/// Makes `folder`, and those above it, if they are not there, so that they survive the loss of the machine.
fn make_folder(folder: &Path) -> Result<(), DirectoryError> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent();
    above.map_or(Ok(()), make_folder)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => above.map_or(Ok(()), sync_folder),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(cause) => Err(failed("create the folder", folder)(cause)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), DirectoryError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

fn unless_missing(cause: io::Error) -> io::Result<()> {
    if cause.kind() == ErrorKind::NotFound { Ok(()) } else { Err(cause) }
}
