//! Ports of 127.0.0.1 that nobody else takes between our looking and their
//! being bound.
//!
//! A port that the kernel picks (`bind` to 0) and that is closed again may be
//! picked a second time, for an outgoing connection of any test: the kernel
//! takes all of them from one range. So ports come from below that range, in
//! blocks:
//!
//! ```text
//!  15000 ······ 22999 | 23000 ······ 30999 | 32768 ········ 60999
//!  blocks of 16:      | members of local   | what the kernel gives to
//!  guard, 15 ports    | clusters           | outgoing connections
//! ```
//!
//! The first port of a block is its guard: a listener that this process holds
//! until it ends. Whoever cannot bind a guard takes another block, so no two
//! processes on this machine ever share one, and none comes twice in a process.

use std::{
    net::TcpListener,
    process,
    sync::{Mutex, PoisonError},
};

use crate::policy::fail;

/// The first port of the first block.
const FIRST: u16 = 15_000;
/// Ports of a block, its guard included.
const BLOCK: u16 = 16;
/// How many blocks there are: 500 times 16 ports end at 22,999.
const BLOCKS: u16 = 500;

/// The guards of this process, which are never given up.
static GUARDS: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// The first of `count` consecutive ports of 127.0.0.1, which are free and
/// which no other test is given, in no process of this machine, until this
/// process ends.
///
/// ```
/// let port = tidewatch_testkit::free_ports(2);
/// let first = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
/// let second = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
/// assert_ne!(tidewatch_testkit::free_ports(1), port);
/// ```
///
/// # Panics
/// When `count` is not between 1 and 15, or every block is taken.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    if !(1..BLOCK).contains(&count) {
        fail(&format!("asked for {count} consecutive ports: there are 1 to {} of them", BLOCK - 1));
    }
    let mut guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    // Each process begins elsewhere, so that most find a block at once.
    let start = process::id().wrapping_mul(37).wrapping_add(guards.len() as u32);
    for step in 0..u32::from(BLOCKS) {
        let block = start.wrapping_add(step) % u32::from(BLOCKS);
        let guard = FIRST + u16::try_from(block).unwrap_or(0) * BLOCK;
        let Ok(listener) = TcpListener::bind(("127.0.0.1", guard)) else { continue };
        if (guard + 1..=guard + count).all(is_free) {
            guards.push(listener);
            return guard + 1;
        }
    }
    fail(&format!("none of {BLOCKS} blocks of ports from {FIRST} on is free"))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_is_the_kernels() {
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| (0..4).map(|_| free_ports(3)).collect::<Vec<_>>()))
            .collect();
        let first: Vec<u16> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        let all: BTreeSet<u16> = first.iter().flat_map(|p| *p..p + 3).collect();
        assert_eq!(all.len(), 8 * 4 * 3);
        assert!(all.iter().all(|port| (FIRST..FIRST + BLOCKS * BLOCK).contains(port)));
    }

    #[test]
    fn a_block_in_use_is_passed_over() {
        let port = free_ports(2);
        // As another process sees it: the guard is taken.
        assert!(!is_free(port - 1) && is_free(port) && is_free(port + 1));
    }
}
