//! Signs of life: from the workers of a member to its heartbeat, and from there to the supervisor.
//!
//! ```text
//!  worker ─bump()─┐                           socket (the member's standard input)
//!  worker ─bump()─┼─► Pulse ─► heartbeat ────────── one byte a second ──────────► supervisor
//!  worker ─bump()─┘            thread: only when all workers went round since the last byte
//! ```
//!
//! A member that hangs, in one worker or as a whole, falls silent, and the supervisor ends the run. Its
//! connections would not tell: a stopped process keeps them open.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::process::is_member;

/// How often a member that lives says so.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How often the heartbeat looks again at workers that have not gone round.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a worker's counter says once it has left.
const LEFT: u64 = u64::MAX;

/// The workers of this process and how far each has come.
///
/// ```
/// use tidewatch::cluster::Pulse;
/// let pulse = Pulse::new(2);
/// let (first, second) = (pulse.join(), pulse.join());
/// let mut seen = Default::default();
/// first.bump();
/// assert!(!pulse.all_moved(&mut seen), "the second one has not gone round yet");
/// second.bump();
/// assert!(pulse.all_moved(&mut seen));
/// assert!(!pulse.all_moved(&mut seen), "not since then");
/// first.bump();
/// drop(second);
/// assert!(pulse.all_moved(&mut seen), "who has ended in order is not waited for");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    expected: usize,
    workers: Arc<Mutex<Vec<Arc<AtomicU64>>>>,
}

/// One worker's part of a [`Pulse`]; dropping it means that the worker has ended in order.
#[derive(Debug)]
pub struct WorkerPulse(Arc<AtomicU64>);

impl Pulse {
    /// Of a process whose `workers` will each [`join`](Self::join). With none it says no more than that the
    /// process lives, as [`Pulse::default`].
    pub fn new(workers: usize) -> Self {
        Pulse { expected: workers, workers: Arc::default() }
    }

    /// The part of one worker, to be taken before its loop begins.
    pub fn join(&self) -> WorkerPulse {
        let count = Arc::new(AtomicU64::new(0));
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&count));
        WorkerPulse(count)
    }

    /// Whether all workers have gone round at least once since this was true for `seen` before, which is empty
    /// at first; `seen` is renewed then.
    pub fn all_moved(&self, seen: &mut Vec<u64>) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() < self.expected {
            return false;
        }
        let now: Vec<u64> = workers.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        seen.resize(now.len(), 0);
        let moved = now.iter().zip(seen.iter()).all(|(now, seen)| now != seen || *now == LEFT);
        if moved {
            *seen = now;
        }
        moved
    }
}

impl WorkerPulse {
    /// The worker's loop went round once.
    pub fn bump(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for WorkerPulse {
    fn drop(&mut self) {
        self.0.store(LEFT, Ordering::Relaxed);
    }
}

/// Beats until dropped.
#[derive(Debug)]
pub struct Heartbeat {
    stop: Arc<AtomicBool>,
    thread: thread::Thread,
}

/// Begins to tell the supervisor once a second that all workers go round; `None` in a process that has no
/// supervisor.
///
/// # Errors
/// When the socket to the supervisor or the thread cannot be had.
pub fn beat(pulse: &Pulse) -> anyhow::Result<Option<Heartbeat>> {
    if !is_member() {
        return Ok(None);
    }
    let attempt = "could not reach the supervisor over the standard input";
    let socket = io::stdin().as_fd().try_clone_to_owned().context(attempt)?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(true).context(attempt)?;
    Ok(Some(start(pulse.clone(), socket)?))
}

fn start(pulse: Pulse, mut socket: UnixStream) -> anyhow::Result<Heartbeat> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let run = move || {
        let mut seen = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            if !pulse.all_moved(&mut seen) {
                thread::park_timeout(LOOK_EVERY);
                continue;
            }
            match socket.write(b".") {
                Ok(_) => {}
                // The supervisor is itself stopped, and finds enough beats when it goes on.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "the supervisor does not hear us any more");
                    return;
                }
            }
            thread::park_timeout(BEAT_EVERY);
        }
    };
    let builder = thread::Builder::new().name("heartbeat".to_owned());
    let thread = builder.spawn(run).context("could not start the heartbeat")?.thread().clone();
    Ok(Heartbeat { stop, thread })
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn workers_that_have_not_come_yet_are_waited_for() {
        let pulse = Pulse::new(2);
        let mut seen = Vec::new();
        let first = pulse.join();
        first.bump();
        assert!(!pulse.all_moved(&mut seen));
        let second = pulse.join();
        assert!(!pulse.all_moved(&mut seen));
        second.bump();
        assert!(pulse.all_moved(&mut seen));
        drop(first);
        assert!(!pulse.all_moved(&mut seen), "the second one hangs");
        drop(second);
        assert!(pulse.all_moved(&mut seen) && pulse.all_moved(&mut seen), "the sinks flush");
    }

    /// Whether a beat comes within `limit`.
    fn hears(socket: &mut UnixStream, limit: Duration) -> bool {
        socket.set_read_timeout(Some(limit)).unwrap();
        loop {
            match socket.read(&mut [0; 1]) {
                // Signals of other tests' children.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read.is_ok_and(|read| read == 1),
            }
        }
    }

    #[test]
    fn beats_stop_with_a_worker_and_go_on_with_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let pulse = Pulse::new(1);
        let worker = pulse.join();
        let heartbeat = start(pulse, ours).unwrap();
        let long = Duration::from_secs(20);
        assert!(!hears(&mut theirs, Duration::from_millis(300)), "no beat before the first round");
        worker.bump();
        assert!(hears(&mut theirs, long));
        let beat = BEAT_EVERY + Duration::from_millis(500);
        assert!(!hears(&mut theirs, beat), "no beat while the worker hangs");
        drop(worker);
        assert!(hears(&mut theirs, long));
        drop(heartbeat);
        let mut rest = 0;
        while hears(&mut theirs, long) {
            rest += 1;
        }
        assert!(rest <= 1, "it ends when it is dropped");
    }
}
