//! A server's process: started so that it cannot outlive us, ended by its id.
//!
//! # Death with the parent
//! Between fork and exec the child asks the kernel for `SIGKILL` when its
//! parent dies (`PR_SET_PDEATHSIG`). The kernel means the parent *thread*, and
//! the test runner ends a thread with each test; so all servers are started by
//! one thread that lives as long as the process.
//!
//! # Safety
//! [`CommandExt::pre_exec`] is the one unsafe call of this crate. Its closure
//! runs in a child forked from a process with many threads, where only
//! async-signal-safe calls are allowed and no allocation: it makes exactly two,
//! `prctl` and `getppid`, both plain system calls, on values captured before.

#![allow(unsafe_code, reason = "a server must die with the test process; see Safety above")]

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Pid, getppid},
};

use crate::{Error, Result, http::client, wait_for};

/// How long a server may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How many lines of its log an error carries.
const TAIL_LINES: usize = 40;

/// A running server process.
#[derive(Debug)]
pub(crate) struct Process {
    server: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output going to the file `log`.
    pub(crate) fn start(server: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.map_err(Error::io(format!("write `{}`", log.display())))?;
        let errors = output.try_clone().map_err(Error::io("share a log file"))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = spawn(command).map_err(Error::io(format!("start `{server}`")))?;
        Ok(Self { server, child, log: log.to_owned() })
    }

    /// Waits until `probe` succeeds; fails when the process ends before, or
    /// after `limit`.
    pub(crate) fn wait_ready(
        &mut self,
        limit: Duration,
        mut probe: impl FnMut() -> std::result::Result<(), String>,
    ) -> Result<()> {
        let started = Instant::now();
        let mut reason = String::from("no answer");
        let ready = wait_for(limit, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                reason = format!("it ended ({status})");
                return Some(false);
            }
            probe().map_err(|error| reason = error).ok().map(|()| true)
        });
        if ready == Some(true) {
            return Ok(());
        }
        let log = log_tail(&self.log);
        Err(Error::NotReady { server: self.server, waited: started.elapsed(), reason, log })
    }

    /// Waits as [`wait_ready`](Self::wait_ready) until GET `url` is answered with success.
    pub(crate) fn wait_answering(&mut self, limit: Duration, url: &str) -> Result<()> {
        self.wait_ready(limit, || match client::get(url, &[]) {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(format!("status {}: {}", answer.status, answer.body)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and ends it if it does not.
    pub(crate) fn stop(&mut self) {
        // It may have ended by itself; then there is nothing to ask.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        if !self.ends_within(STOP_LIMIT) {
            self.kill();
        }
    }

    /// Whether it has ended, or does so within `limit`.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        wait_for(limit, || self.child.try_wait().ok().flatten()).is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a log, for error messages.
fn log_tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// What the starting thread is sent: what to start, and where to answer.
type Job = (Command, Sender<io::Result<Child>>);

/// Starts `command` from the thread that never ends.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        thread::spawn(move || {
            for (command, answer) in jobs {
                // Whoever asked is waiting, unless its thread has died.
                let _ = answer.send(spawn_bound_to_us(command));
            }
        });
        Mutex::new(sender)
    });
    let gone = |_| io::Error::other("the thread that starts servers has ended");
    let (answer, answered) = channel();
    let sent = starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer));
    sent.map_err(|_| io::Error::other("the thread that starts servers has ended"))?;
    answered.recv().map_err(gone)?
}

fn spawn_bound_to_us(mut command: Command) -> io::Result<Child> {
    let parent = Pid::from_raw(process::id().cast_signed());
    let bind = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the request; then nobody would tell us.
        if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: the closure makes two async-signal-safe system calls and nothing
    // else; errors are built without allocation (module documentation).
    unsafe { command.pre_exec(bind) };
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::RunFolder;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn outlives_the_thread_that_asked_for_it_but_not_its_value() {
        let folder = RunFolder::new("sh").unwrap();
        let log = folder.path().join("log");
        let mut process =
            thread::spawn(move || Process::start("sh", sh("exec sleep 60"), &log).unwrap())
                .join()
                .unwrap();
        assert!(!process.ends_within(Duration::from_millis(200)));
        let pid = Pid::from_raw(process.child.id().cast_signed());
        drop(process);
        assert!(kill(pid, None).is_err(), "it is still there");
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let folder = RunFolder::new("sh").unwrap();
        let log = folder.path().join("log");
        let mut process = Process::start("sh", sh("echo no disk; exit 3"), &log).unwrap();
        let error = process.wait_ready(Duration::from_secs(20), || Err("refused".into()));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("exit status: 3") && text.contains("no disk"), "{text}");
    }

    #[test]
    fn stopping_asks_first() {
        let folder = RunFolder::new("sh").unwrap();
        let log = folder.path().join("log");
        let script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let mut process = Process::start("sh", sh(script), &log).unwrap();
        let read = || fs::read_to_string(&log).unwrap_or_default();
        let up = || if read().contains("up") { Ok(()) } else { Err("silent".into()) };
        process.wait_ready(Duration::from_secs(20), up).unwrap();
        process.stop();
        assert!(read().contains("asked"));
    }
}
