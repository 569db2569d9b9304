//! One member: a child process, and the socket over which it gives signs of life.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context as TaskContext, Poll, ready};
use std::{future::Future, io};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::cluster::process::{CRUMBS, PARENT};

/// How a member is started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) program: &'a OsString,
    pub(super) args: Vec<OsString>,
    /// Folder of the crumbs, when there is one.
    pub(super) crumbs: Option<&'a Path>,
}

/// A member that was started.
#[derive(Debug)]
pub(super) struct Member {
    child: Child,
    /// Our end of its standard input; gone once it has closed its own.
    beats: Option<UnixStream>,
    status: Option<ExitStatus>,
}

/// What a member did.
pub(super) enum Sign {
    Beat,
    Ended(ExitStatus),
}

impl Member {
    /// Starts it. It is killed when the value is dropped.
    ///
    /// Must be called on a thread that lives as long as the process: the kernel ends members with the
    /// thread that started them.
    pub(super) fn start(launch: Launch<'_>) -> anyhow::Result<Self> {
        let attempt = || format!("could not start `{}`", PathBuf::from(launch.program).display());
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().with_context(attempt)?;
        ours.set_nonblocking(true).with_context(attempt)?;
        let beats = UnixStream::from_std(ours).with_context(attempt)?;
        let mut command = Command::new(launch.program);
        command
            .args(launch.args)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .env(PARENT, std::process::id().to_string())
            // Ctrl-C in a terminal is for the supervisor: it passes the stop on, once.
            .process_group(0)
            .kill_on_drop(true);
        match launch.crumbs {
            Some(folder) => command.env(CRUMBS, folder),
            None => command.env_remove(CRUMBS),
        };
        let child = command.spawn().with_context(attempt)?;
        Ok(Member { child, beats: Some(beats), status: None })
    }

    /// The next thing it does; never ready again once it has ended.
    pub(super) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<Sign>> {
        if self.status.is_some() {
            return Poll::Pending;
        }
        // Beats first: those of a time when we slept ourselves count before anything is concluded.
        if self.poll_beat(cx).is_ready() {
            return Poll::Ready(Ok(Sign::Beat));
        }
        let status = ready!(pin!(self.child.wait()).poll(cx))?;
        self.status = Some(status);
        Poll::Ready(Ok(Sign::Ended(status)))
    }

    fn poll_beat(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let mut bytes = [0; 64];
        while let Some(beats) = &self.beats {
            match ready!(beats.poll_read_ready(cx)).and_then(|()| beats.try_read(&mut bytes)) {
                Ok(read) if read > 0 => return Poll::Ready(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Closed: either it is about to end, or it will be silent from now on.
                Ok(_) | Err(_) => self.beats = None,
            }
        }
        Poll::Pending
    }

    /// Its status, if it has ended, by itself or otherwise.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Asks it to stop, unless it has ended: its id may be somebody else's then.
    pub(super) fn terminate(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let (None, Some(id)) = (self.status, id) {
            // It has not been waited for, so the id is still its own, even if it has just ended.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
    }

    /// Kills it without waiting, unless it has ended.
    pub(super) fn kill(&mut self) {
        if self.status.is_none() {
            let _ = self.child.start_kill();
        }
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.wait().await.ok();
        }
        self.status
    }
}
