//! Putting an artifact into the cache, whole or not at all.
//!
//! It is made in a folder `.part-NAME-VERSION` beside its place, stamped, and
//! renamed. A lock file per artifact keeps two commands from making the same
//! one at the same time: the second waits and then finds it done.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, Result};
use tidewatch_testkit::cache::{self, Artifact, STAMP_FILE};

/// Makes `artifact` with `make` unless it is complete and `usable`.
///
/// Returns whether it had to be made.
pub(crate) fn ensure(
    artifact: Artifact,
    usable: impl Fn(&Path) -> bool,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<bool> {
    let folder = artifact.folder()?;
    let root = cache::root()?;
    let name = format!("{}-{}", artifact.name, artifact.version);
    let lock_path = root.join(format!(".lock-{name}"));
    let lock = File::create(&lock_path)
        .with_context(|| format!("could not write `{}`", lock_path.display()))?;
    lock.lock().with_context(|| format!("could not lock `{}`", lock_path.display()))?;

    if artifact.find()?.is_some_and(|folder| usable(&folder)) {
        return Ok(false);
    }
    let part = root.join(format!(".part-{name}"));
    remove(&part)?;
    fs::create_dir(&part).with_context(|| format!("could not make `{}`", part.display()))?;
    make(&part)?;
    fs::write(part.join(STAMP_FILE), artifact.stamp())
        .with_context(|| format!("could not write into `{}`", part.display()))?;
    remove(&folder)?;
    fs::rename(&part, &folder).with_context(|| format!("could not rename `{}`", part.display()))?;
    Ok(true)
}

/// Removes a folder and what is in it, if it is there.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("could not remove `{}`", folder.display()))?;
    }
    Ok(())
}
