//! Temporary folders of servers, which leave nothing behind.
//!
//! A folder is removed when its value is dropped. A server that all tests of a
//! binary share is never dropped, so folders carry the process id of their
//! owner, and each process removes those whose owner has died.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, chown},
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Error, Result};

/// A folder of one server's configuration, data and log.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes an empty folder that every user may enter.
    pub(crate) fn new(server: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::temp_dir()
            .join(format!("tidewatch-testkit-{}", nix::unistd::geteuid().as_raw()));
        SWEEP.call_once(|| sweep(&parent));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{}-{number}-{server}", process::id()));
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&path);
        made.map_err(Error::io(format!("make `{}`", path.display())))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it and gives its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content).map_err(Error::io(format!("write `{}`", path.display())))?;
        Ok(path)
    }

    /// Makes a folder inside it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(Error::io(format!("make `{}`", path.display())))?;
        Ok(path)
    }

    /// Gives everything in it to another user.
    pub(crate) fn give_to(&self, user: u32) -> Result<()> {
        give(&self.path, user).map_err(Error::io(format!("chown `{}`", self.path.display())))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What stays behind is swept by a later process.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn give(path: &Path, user: u32) -> io::Result<()> {
    chown(path, Some(user), Some(user))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Removes the folders whose owner has died.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_string_lossy().split('-').next().and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_removed_on_drop_and_swept_after_death() {
        let folder = RunFolder::new("x").unwrap();
        let path = folder.path().to_owned();
        folder.write("file", "text").unwrap();
        // No process has this id: it is above the kernel's greatest.
        let orphan = path.with_file_name("999999999-0-x");
        fs::create_dir(&orphan).unwrap();
        sweep(path.parent().unwrap());
        assert!(path.exists() && !orphan.exists());
        drop(folder);
        assert!(!path.exists());
    }
}
