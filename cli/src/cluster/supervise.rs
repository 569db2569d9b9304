//! The supervisor: spawns the members of a local cluster and watches over them.

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::PARENT;

/// How a member is started: the program, and its arguments without index and host file.
pub struct Members {
    /// The program.
    pub program: OsString,
    /// Arguments that all members share.
    pub args: Vec<OsString>,
    /// How many.
    pub count: usize,
}

/// How often the supervisor looks at its members.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long members have to stop by themselves before they are killed: sinks flush in that time.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Runs the members until they end or `stop` is set; none is left when it returns.
///
/// # Errors
/// When a member cannot be started.
pub fn supervise(members: &Members, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let hosts = hostfile(members.count)?;
    let mut children = Vec::new();
    for index in 0..members.count {
        let child = Command::new(&members.program)
            .args(&members.args)
            .args(["--process".into(), OsString::from(index.to_string())])
            .args(["--hostfile".into(), hosts.path().as_os_str().to_owned()])
            .env(PARENT, std::process::id().to_string())
            // Ctrl-C in a terminal is for the supervisor: it passes the stop on, once.
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start member {index} of {}", members.count));
        match child {
            Ok(child) => children.push(child),
            Err(error) => {
                end(&mut children, Signal::SIGKILL);
                return Err(error);
            }
        }
    }
    tracing::info!(processes = members.count, "cluster started");
    watch(children, stop)
}

/// Waits until all members ended well, one ended badly, or a stop is wanted.
fn watch(mut children: Vec<Child>, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let mut ended: Vec<Option<ExitStatus>> = vec![None; children.len()];
    let mut deadline = None;
    loop {
        for (child, ended) in children.iter_mut().zip(&mut ended) {
            if ended.is_none() {
                *ended = child.try_wait().context("could not watch a member")?;
            }
        }
        let failed = ended.iter().position(|s| s.is_some_and(|s| !s.success()));
        if let Some(index) = failed {
            if let Some(Some(status)) = ended.get(index) {
                tracing::error!(process = index, %status, "a member died: ending the run");
            }
            end(&mut children, Signal::SIGKILL);
            return Ok(ExitCode::FAILURE);
        }
        if ended.iter().all(Option::is_some) {
            return Ok(ExitCode::SUCCESS);
        }
        if stop.load(Ordering::Relaxed) && deadline.is_none() {
            deadline = Some(Instant::now() + STOP_WITHIN);
            signal(&children, Signal::SIGTERM);
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            tracing::error!(within = ?STOP_WITHIN, "members did not stop in time: killing them");
            end(&mut children, Signal::SIGKILL);
            return Ok(ExitCode::FAILURE);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn signal(children: &[Child], signal: Signal) {
    for child in children {
        // A member that has ended already needs no signal.
        let _ = i32::try_from(child.id()).map(|pid| kill(Pid::from_raw(pid), signal));
    }
}

fn end(children: &mut [Child], with: Signal) {
    signal(children, with);
    for child in children {
        let _ = child.wait();
    }
}

/// A host file with free ports on this machine; deleted when dropped.
fn hostfile(count: usize) -> anyhow::Result<tempfile::NamedTempFile> {
    let what = "could not write the host file of a local cluster";
    let mut file = tempfile::NamedTempFile::new().context(what)?;
    // All listeners are held until every port is chosen, so that no port is chosen twice.
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .context("could not find free ports on this machine")?;
    for listener in &listeners {
        writeln!(file, "{}", listener.local_addr().context(what)?).context(what)?;
    }
    file.flush().context(what)?;
    Ok(file)
}
