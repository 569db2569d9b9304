//! The first words on a connection: who calls, whom it means, and whether the two belong together.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::ATTEMPT;
use crate::cluster::Membership;

/// What a hello begins with; it has 40 bytes in all.
const MAGIC: [u8; 8] = *b"tidewtr1";
/// What the caller says last, once it has heard the right answer.
const AGREED: [u8; 1] = [1];

/// What a process says of itself and of whom it means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// The version of the program.
    build: [u8; 16],
    processes: u32,
    workers: u32,
    pub(super) from: u32,
    to: u32,
}

impl Hello {
    /// What this process says to process `to`.
    pub(super) fn new(membership: &Membership, to: usize) -> Hello {
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

    /// Whether this and what was heard belong together.
    pub(super) fn fits(self, theirs: Hello) -> io::Result<()> {
        let wanted = Hello { from: self.to, to: self.from, ..self };
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

    /// Says it.
    pub(super) fn say(self, socket: &mut TcpStream) -> io::Result<()> {
        let Hello { build, processes, workers, from, to } = self;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&build);
        for number in [processes, workers, from, to] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        socket.write_all(&bytes)
    }

    /// Hears one; the limit of time stays on the connection.
    pub(super) fn hear(socket: &mut TcpStream) -> io::Result<Hello> {
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
}

/// The caller's last word: the connection holds.
pub(super) fn agree(socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(&AGREED)?;
    socket.set_read_timeout(None)
}

/// Waits for the caller's last word. It may have lost patience while we were busy: then it calls again.
pub(super) fn is_agreed(socket: &mut TcpStream) -> io::Result<()> {
    socket.read_exact(&mut AGREED.clone())?;
    socket.set_read_timeout(None)
}
