//! Ports for the members of a local cluster, chosen anew for each start.
//!
//! The members bind them a moment after we have found them free. What could take one in between are
//! outgoing connections, whose ports the kernel picks from a range of its own (from 32,768 on, unless
//! somebody has moved it): so ours come from below. Should a member not get its port nevertheless, it
//! ends, and the next start has other ports.

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;

use anyhow::Context;

/// Where the ports come from: 8,000 for at most 1,024 members.
const FIRST: u16 = 23_000;
const COUNT: u16 = 8_000;

/// `count` different ports of this machine that were free just now, from the `start`th of the range on.
///
/// # Errors
/// When there are not so many.
fn choose(start: u16, count: usize) -> io::Result<Vec<u16>> {
    let range = (0..COUNT).map(|step| FIRST + (start % COUNT + step) % COUNT);
    let free = range.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    if ports.len() < count {
        let (found, last) = (ports.len(), FIRST + COUNT - 1);
        return Err(io::Error::other(format!("only {found} ports of {FIRST} to {last} are free")));
    }
    Ok(ports)
}

/// Writes a host file of `count` local members to `path`, over the one of the start before.
///
/// # Errors
/// When no ports are free, or the file cannot be written.
pub(super) fn write_hostfile(path: &Path, count: usize) -> anyhow::Result<()> {
    let ports = choose(fastrand::u16(0..COUNT), count)
        .context("could not find free ports for the members on this machine")?;
    let attempt = || format!("could not write the host file `{}`", path.display());
    let mut file = std::fs::File::create(path).with_context(attempt)?;
    for port in ports {
        writeln!(file, "127.0.0.1:{port}").with_context(attempt)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::Hostfile;

    #[test]
    fn ports_are_different_and_not_the_kernels() {
        // From the last of the range on, so that it wraps.
        let ports = choose(COUNT - 1, 200).unwrap();
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), 200);
        assert!(ports.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let port = choose(fastrand::u16(0..COUNT), 1).unwrap()[0];
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(!choose(port - FIRST, 100).unwrap().contains(&port));
    }

    #[test]
    fn each_start_has_its_own_host_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        write_hostfile(&path, 3).unwrap();
        let first = Hostfile::read(&path, 3).unwrap();
        write_hostfile(&path, 3).unwrap();
        // Ports are drawn: the same three out of 8,000 twice is not what happens four times running.
        let again = (0..4).any(|_| {
            write_hostfile(&path, 3).unwrap();
            Hostfile::read(&path, 3).unwrap() != first
        });
        assert!(again);
    }
}
