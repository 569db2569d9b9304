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

use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use timely::communication::AllocatorBuilder;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::initialize::Hooks;

use super::Membership;

/// How long between two looks at who is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long one attempt to connect, or one hello, may take.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How often the log says who is missing.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A connection over which nothing has been answered for this long is lost, and ends the process.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// Length of a hello on the wire.
const HELLO: usize = 40;
/// What the caller says last, once it has heard the right answer.
const AGREED: [u8; 1] = [1];
/// What a hello begins with.
const MAGIC: [u8; 8] = *b"tidewtr1";

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

/// What a process says of itself and of whom it means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Hello {
    /// The version of the program.
    build: [u8; 16],
    processes: u32,
    workers: u32,
    from: u32,
    to: u32,
}

/// Everything that timely needs to run the workers of `membership`: waits for all other processes.
///
/// # Errors
/// [`ConnectError`]; that others cannot be reached is none, they are waited for until `stop` is set.
pub fn connect(
    membership: &Membership,
    stop: &AtomicBool,
) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>), ConnectError> {
    let workers = membership.workers.get();
    if membership.hosts.len() < 2 {
        let alone = membership.communication().try_build();
        return alone.map_err(|reason| ConnectError::Threads(io::Error::other(reason)));
    }
    let sockets = sockets(membership, stop)?;
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
            match call(host, hello(membership, index)) {
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

/// What this process says to process `to`.
fn hello(membership: &Membership, to: usize) -> Hello {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut build = [0; 16];
    for (byte, letter) in build.iter_mut().zip(env!("CARGO_PKG_VERSION").bytes()) {
        *byte = letter;
    }
    Hello {
        build,
        processes: number(membership.hosts.len()),
        workers: number(membership.workers.get()),
        from: number(membership.process),
        to: number(to),
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
    say(&mut socket, ours)?;
    let theirs = hear(&mut socket)?;
    fits(ours, theirs)?;
    socket.write_all(&AGREED)?;
    socket.set_read_timeout(None)?;
    Ok(socket)
}

/// Answers whoever has connected. It is told who we are even if it is none of ours: it may be the one that
/// was started with the wrong arguments.
fn answer(mut socket: TcpStream, membership: &Membership) -> io::Result<(usize, TcpStream)> {
    // An accepted socket may have inherited this from the listener.
    socket.set_nonblocking(false)?;
    prepare(&socket)?;
    let theirs = hear(&mut socket)?;
    let index = usize::try_from(theirs.from).unwrap_or(usize::MAX);
    let ours = hello(membership, index);
    say(&mut socket, ours)?;
    fits(ours, theirs)?;
    if index <= membership.process || index >= membership.hosts.len() {
        return Err(io::Error::other(format!("process {index} should not have called")));
    }
    // It may have lost patience while we were busy: then it calls again.
    socket.read_exact(&mut AGREED.clone())?;
    socket.set_read_timeout(None)?;
    Ok((index, socket))
}

/// Whether the two belong together.
fn fits(ours: Hello, theirs: Hello) -> io::Result<()> {
    let wanted = Hello { from: ours.to, to: ours.from, ..ours };
    if theirs == wanted {
        return Ok(());
    }
    let Hello { build, processes, workers, from, to } = theirs;
    let end = build.iter().position(|byte| *byte == 0).unwrap_or(build.len());
    let build = String::from_utf8_lossy(build.get(..end).unwrap_or_default()).into_owned();
    Err(io::Error::other(format!(
        "it is process {from} of {processes} with {workers} workers each, version {build}, and means \
         process {to}: give all the same host file, -n, -w and program"
    )))
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

fn say(socket: &mut TcpStream, hello: Hello) -> io::Result<()> {
    let Hello { build, processes, workers, from, to } = hello;
    let mut bytes = Vec::with_capacity(HELLO);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&build);
    for number in [processes, workers, from, to] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    socket.write_all(&bytes)
}

fn hear(socket: &mut TcpStream) -> io::Result<Hello> {
    socket.set_read_timeout(Some(ATTEMPT))?;
    let mut magic = [0; 8];
    let mut build = [0; 16];
    let mut numbers = [[0; 4]; 4];
    socket.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(io::Error::other("it speaks another language"));
    }
    socket.read_exact(&mut build)?;
    for number in &mut numbers {
        socket.read_exact(number)?;
    }
    let [processes, workers, from, to] = numbers.map(u32::from_le_bytes);
    Ok(Hello { build, processes, workers, from, to })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::thread::{JoinHandle, spawn};

    use super::*;
    use crate::cluster::ports;

    /// Free addresses of this machine.
    fn hosts(count: usize) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        ports::write_hostfile(&path, count).unwrap();
        crate::cluster::Hostfile::read(&path, count).unwrap().0
    }

    fn member(hosts: &[String], process: usize) -> Membership {
        Membership { workers: NonZeroUsize::MIN, hosts: hosts.to_vec(), process }
    }

    type Outcome = Result<Vec<Option<TcpStream>>, ConnectError>;

    fn start(membership: Membership, stop: &Arc<AtomicBool>) -> JoinHandle<Outcome> {
        let stop = Arc::clone(stop);
        spawn(move || sockets(&membership, &stop))
    }

    /// Whether what one writes for the other arrives there.
    fn connected(
        from: &[Option<TcpStream>],
        to: &[Option<TcpStream>],
        ends: (usize, usize),
    ) -> bool {
        let (mut from, mut to) = (from[ends.1].as_ref().unwrap(), to[ends.0].as_ref().unwrap());
        let mut byte = [0; 1];
        from.write_all(&[7]).unwrap();
        to.read_exact(&mut byte).unwrap();
        byte == [7]
    }

    #[test]
    fn all_find_each_other_quickly_in_whatever_order_they_come() {
        let hosts = hosts(3);
        let stop = Arc::default();
        let began = Instant::now();
        let last = start(member(&hosts, 2), &stop);
        std::thread::sleep(Duration::from_millis(50));
        let middle = start(member(&hosts, 1), &stop);
        std::thread::sleep(Duration::from_millis(50));
        let first = start(member(&hosts, 0), &stop);
        let all = [first, middle, last].map(|thread| thread.join().unwrap().unwrap());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            assert!(connected(&all[a], &all[b], (a, b)), "{a} to {b}");
        }
        assert!((0..3).all(|index| all[index][index].is_none()));
    }

    #[test]
    fn strangers_and_processes_of_another_cluster_are_hung_up_on() {
        let hosts = hosts(2);
        let stop = Arc::default();
        let first = start(member(&hosts, 0), &stop);
        let knock = |bytes: &[u8]| loop {
            if let Ok(mut socket) = TcpStream::connect(&hosts[0]) {
                socket.write_all(bytes).unwrap();
                let mut answer = Vec::new();
                let _ = socket.read_to_end(&mut answer);
                return answer.len();
            }
        };
        assert_eq!(knock(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n........................"), 0);
        let two_workers =
            Membership { workers: NonZeroUsize::new(2).unwrap(), ..member(&hosts, 1) };
        let error = call(&hosts[0], hello(&two_workers, 0)).unwrap_err().to_string();
        assert!(error.contains("process 0 of 2 with 1 workers each"), "{error}");
        // Its own line in somebody else's host file.
        let error = call(&hosts[0], hello(&member(&hosts, 0), 1)).unwrap_err().to_string();
        assert!(error.contains("give all the same host file"), "{error}");
        let second = start(member(&hosts, 1), &stop);
        let (first, second) = (first.join().unwrap().unwrap(), second.join().unwrap().unwrap());
        assert!(connected(&first, &second, (0, 1)));
    }

    #[test]
    fn one_that_came_and_died_may_come_again() {
        let hosts = hosts(3);
        let stop = Arc::default();
        let first = start(member(&hosts, 0), &stop);
        let dead = loop {
            if let Ok(socket) = call(&hosts[0], hello(&member(&hosts, 1), 0)) {
                break socket;
            }
        };
        drop(dead);
        let others = [start(member(&hosts, 1), &stop), start(member(&hosts, 2), &stop)];
        let first = first.join().unwrap().unwrap();
        let [second, _third] = others.map(|thread| thread.join().unwrap().unwrap());
        assert!(connected(&second, &first, (1, 0)) && connected(&first, &second, (0, 1)));
    }

    #[test]
    fn a_stop_ends_the_waiting_and_a_taken_port_is_an_error() {
        let hosts = hosts(2);
        let stop = Arc::new(AtomicBool::new(false));
        let first = start(member(&hosts, 0), &stop);
        // Only once it listens can the port be taken.
        while call(&hosts[0], hello(&member(&hosts, 0), 1))
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {}
        let error = connect(&member(&hosts, 0), &stop).err().unwrap().to_string();
        assert!(
            error.starts_with("could not listen for other processes on `127.0.0.1:"),
            "{error}"
        );
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(first.join().unwrap(), Err(ConnectError::Stopped)));
    }
}
