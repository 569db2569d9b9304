//! Connecting the processes of a cluster, in milliseconds and without trusting whoever calls.
//!
//! ```text
//!  process 1                                    process 0
//!  connect ── hello: processes, workers, 1, 0 ─► accept: is it one of ours, does it mean us?
//!          ◄── hello: processes, workers, 0, 1 ─
//!          ── agreed ─────────────────────────►
//! ```
//!
//! Each process listens on its own address, connects to those before it and accepts those after it, until
//! all are there: other machines may be started much later. A process that came, died and comes again takes
//! the place of its dead connection. What is not a hello, or not one of this cluster, is told in the log and
//! hung up on, and everybody goes on trying.
//!
//! Timely would do the same for us, but it sleeps for a second between attempts, which is half of the time
//! that a restart may take; it prints; and it believes everyone who connects. It does not notice either
//! that a machine has gone without a word: so connections are kept alive, and are lost after
//! [`LOST_AFTER`] without an answer.

mod hello;
#[cfg(test)]
mod tests;
mod traffic;

use std::any::Any;
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use timely::communication::AllocatorBuilder;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::initialize::Hooks;

use super::Membership;
use hello::Hello;
use traffic::Counted;

pub use traffic::Traffic;

/// How long between two looks at who is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long one attempt to connect, or one hello, may take.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How often the log says who is missing.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A connection over which nothing has been answered for this long is lost, and ends the process.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// Why a process could not take its place in its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The own address cannot be listened on.
    #[error("could not listen for other processes on `{address}`: {source}")]
    Listen {
        /// The own line of the host file.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connections cannot be used.
    #[error("could not start the threads of the connections: {0}")]
    Threads(#[source] io::Error),
    /// A stop was asked for while others were missing.
    #[error("stopped before all processes were there")]
    Stopped,
}

/// Everything that timely needs to run the workers of `membership`: waits for all other processes. What crosses the
/// connections is counted in `traffic`.
///
/// # Errors
/// [`ConnectError`]; that others cannot be reached is none, they are waited for until `stop` is set.
pub fn connect(
    membership: &Membership,
    stop: &AtomicBool,
    traffic: &Arc<Traffic>,
) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>), ConnectError> {
    let workers = membership.workers.get();
    if membership.hosts.len() < 2 {
        let alone = membership.communication().try_build();
        return alone.map_err(|reason| ConnectError::Threads(io::Error::other(reason)));
    }
    let sockets = sockets(membership, stop)?.into_iter();
    let sockets = sockets.map(|socket| socket.map(|s| Counted::new(s, traffic))).collect();
    let hooks = Hooks::default();
    let local =
        ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    let (builders, guard) =
        initialize_networking_from_sockets(local, sockets, membership.process, workers, hooks)
            .map_err(ConnectError::Threads)?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
}

/// One connection for each process, none for this one.
fn sockets(
    membership: &Membership,
    stop: &AtomicBool,
) -> Result<Vec<Option<TcpStream>>, ConnectError> {
    let own = membership.process;
    let address = membership.hosts.get(own).cloned().unwrap_or_default();
    let failed = |source| ConnectError::Listen { address: address.clone(), source };
    let listener = TcpListener::bind(&address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let mut sockets: Vec<Option<TcpStream>> = membership.hosts.iter().map(|_| None).collect();
    let mut told = Instant::now();
    let mut refused: Option<String> = None;
    loop {
        let mut missing = Vec::new();
        let places = sockets.iter_mut().zip(&membership.hosts).enumerate();
        for (index, (socket, host)) in places.take(own).filter(|(_, (s, _))| s.is_none()) {
            match call(host, Hello::new(membership, index)) {
                Ok(connected) => *socket = Some(connected),
                Err(error) => missing.push(format!("{index} ({host}): {error}")),
            }
        }
        while let Ok((caller, from)) = listener.accept() {
            match answer(caller, membership) {
                Ok((index, caller)) => {
                    if let Some(socket) = sockets.get_mut(index) {
                        *socket = Some(caller);
                    }
                }
                Err(error) => refused = Some(format!("{from}: {error}")),
            }
        }
        for (index, host) in membership.hosts.iter().enumerate().skip(own + 1) {
            if let Some(None) = sockets.get(index) {
                missing.push(format!("{index} ({host}): has not come"));
            }
        }
        if missing.is_empty() {
            return Ok(sockets);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(ConnectError::Stopped);
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tracing::warn!(process = own, ?missing, ?refused, "waiting for other processes");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Connects to `host`, which should be who `ours` is for.
fn call(host: &str, ours: Hello) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::other("the name has no address"));
    for address in host.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, ATTEMPT);
        if outcome.is_ok() {
            break;
        }
    }
    let mut socket = outcome?;
    prepare(&socket)?;
    ours.say(&mut socket)?;
    ours.fits(Hello::hear(&mut socket)?)?;
    hello::agree(&mut socket)?;
    Ok(socket)
}

/// Answers whoever has connected. It is told who we are even if it is none of ours: it may be the one that
/// was started with the wrong arguments.
fn answer(mut socket: TcpStream, membership: &Membership) -> io::Result<(usize, TcpStream)> {
    // An accepted socket may have inherited this from the listener.
    socket.set_nonblocking(false)?;
    prepare(&socket)?;
    let theirs = Hello::hear(&mut socket)?;
    let index = usize::try_from(theirs.from).unwrap_or(usize::MAX);
    let ours = Hello::new(membership, index);
    ours.say(&mut socket)?;
    ours.fits(theirs)?;
    if index <= membership.process || index >= membership.hosts.len() {
        return Err(io::Error::other(format!("process {index} should not have called")));
    }
    hello::is_agreed(&mut socket)?;
    Ok((index, socket))
}

/// Sets what timely expects of a connection, and a limit to silence.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &10)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &5)?;
    setsockopt(socket, sockopt::TcpKeepCount, &4)?;
    let millis = u32::try_from(LOST_AFTER.as_millis()).unwrap_or(u32::MAX);
    // Of what was sent and not answered: probes of keepalive are sent over silent connections only.
    setsockopt(socket, sockopt::TcpUserTimeout, &millis)?;
    Ok(())
}
