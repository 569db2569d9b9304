//! The supervisor: starts the members of a run on this machine, watches over them, and starts all again
//! when one has failed.
//!
//! ```text
//!            ┌────────────────── wait: 0 s, 0.5 s, 1 s … 30 s ◄─────────────────┐
//!            ▼                                                                  │
//!  ports, host file ─► members up ─► one fails, hangs ─► all killed, waited for ┤
//!                           │                                                   └─► suspects
//!                           └─► stop, or an end for good ─► exit code
//! ```
//!
//! It reads no record, keeps no state of the pipeline and opens nothing: what a run can die of, it
//! cannot. [`watch`] decides, a state machine over events; [`run`] carries out; [`member`] is what a member
//! is to the operating system.

mod member;
mod run;
#[cfg(test)]
mod tests;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use tidewatch_dataflow::ingest::Quarantined;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::backoff::{Backoff, BackoffConfig};
use super::exit;
use crate::crumb::{self, Suspects};
use run::{Ended, Run, asked};
pub use watch::Limits;
use watch::Outcome;

/// What to start.
#[derive(Clone, Debug)]
pub struct Members {
    /// The program.
    pub program: OsString,
    /// Arguments that all members share.
    pub args: Vec<OsString>,
    /// How many on this machine. Each of several is given its `--process` and a `--hostfile`.
    pub count: usize,
    /// The index of the first one in its cluster.
    pub first: usize,
}

/// A supervisor's folder on this machine, removed when it ends.
struct Folder(TempDir);

impl Folder {
    /// For several members there has to be one; a single one goes without.
    fn new(members: &Members) -> anyhow::Result<Option<Self>> {
        match TempDir::with_prefix("tidewatch-") {
            Ok(folder) => Ok(Some(Folder(folder))),
            Err(error) if members.count == 1 => {
                let consequence = "what crashes us will stay unknown: set TMPDIR";
                tracing::warn!(%error, consequence, "could not make a temporary folder");
                Ok(None)
            }
            Err(error) => {
                Err(error).context("could not make a folder for the host file: set TMPDIR")
            }
        }
    }

    fn hosts(&self) -> PathBuf {
        self.0.path().join("hosts")
    }

    fn crumbs(&self) -> PathBuf {
        self.0.path().join("crumbs")
    }

    /// Reads what was under way in the processes that crashed, and what threads evaluated when they panicked.
    fn suspect(&self, crashed: &[usize]) -> anyhow::Result<()> {
        let crumbs = self.crumbs();
        let mut under_way = crumb::read_all(&crumbs).context("could not read the crumbs")?;
        under_way.retain(|suspect| crashed.contains(&suspect.process));
        let mut suspects = Suspects::load(&crumbs)?;
        for (topic, partition, offset) in suspects.after_crash(&under_way) {
            tracing::error!(topic, partition, offset, "this record crashes us: it will be skipped");
        }
        let evaluated = crumb::take_words(&crumbs).context("could not read words of panics")?;
        for Quarantined { operator, group, .. } in suspects.after_panics(evaluated) {
            let consequence = "it is left out from now on";
            tracing::error!(%operator, %group, consequence, "this group crashes us: in quarantine");
        }
        Ok(suspects.save(&crumbs)?)
    }

    /// Forgets all suspects: offsets of a topic that was made anew mean other records. What was convicted is
    /// journaled.
    fn acquit(&self) -> anyhow::Result<()> {
        Ok(Suspects::forget(&self.crumbs())?)
    }
}

/// Runs the members, and again when they fail, until they stop or end for good; none is left when it
/// returns the exit code for the supervisor. Every message of `stops` asks to stop, the second one at once.
///
/// Members are children of the calling thread, which has to live as long as the process.
///
/// # Errors
/// When the members cannot be started the first time.
pub async fn supervise(
    members: &Members,
    limits: &Limits,
    backoff: BackoffConfig,
    stops: &mut mpsc::Receiver<()>,
) -> anyhow::Result<u8> {
    let folder = Folder::new(members)?;
    let mut backoff = Backoff::new(backoff);
    let mut restart = 0_u64;
    loop {
        let (process, reason, healthy) = match Run::start(members, folder.as_ref()) {
            Err(error) if restart == 0 => return Err(error),
            Err(error) => (members.first, format!("{error:#}"), Duration::ZERO),
            Ok(run) => {
                tracing::info!(processes = members.count, restart, "members started");
                let Ended { outcome, healthy, crashed } = run.finish(limits, stops).await?;
                let (place, why) = match outcome {
                    Outcome::Failed(place, why) => (place, why),
                    other => return Ok(code(&other, members)),
                };
                let crashed: Vec<usize> = crashed.iter().map(|at| members.first + at).collect();
                let noted = folder.as_ref().map(|folder| match why.is_renewal() {
                    true => folder.acquit(),
                    false => folder.suspect(&crashed),
                });
                if let Some(Err(error)) = noted {
                    tracing::warn!(error = %format!("{error:#}"), "nobody is suspected of the crash");
                }
                (members.first + place, why.to_string(), healthy)
            }
        };
        let delay = backoff.after(healthy);
        let attempt = backoff.failures();
        tracing::warn!(process, reason, attempt, ?delay, "a member failed: starting all again");
        let again = Instant::now() + delay;
        tokio::select! {
            () = asked(stops) => return Ok(exit::STOPPED),
            () = sleep_until(again.into()) => restart += 1,
        }
    }
}

/// The supervisor's exit code for an outcome that no restart follows.
fn code(outcome: &Outcome, members: &Members) -> u8 {
    match outcome {
        Outcome::Stopped => exit::STOPPED,
        Outcome::Forced => exit::FORCED,
        Outcome::ForGood(place, code) => {
            let process = members.first + place;
            tracing::error!(process, code, "a member ended for good: no restart");
            *code
        }
        Outcome::Unclean | Outcome::Failed(..) => {
            tracing::error!("not all members stopped in order and in time");
            exit::FAILED
        }
    }
}
