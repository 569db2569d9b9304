//! Who sends: hosts with what stays the same about them, and services.

use super::draw::{Draws, Stream};
use super::{PARTITIONS, SERVICES};

const ROLES: [&str; 4] = ["web", "db", "cache", "batch"];
const CENTRES: [&str; 3] = ["eu-1", "eu-2", "us-1"];
const SERVICE_NAMES: [&str; 10] = [
    "checkout", "cart", "search", "payment", "login", "catalog", "stock", "mail", "report",
    "gateway",
];

/// A host: its name, its tags, and the numbers about it that never change.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Such as `web-0042`: the key of its messages.
    pub(super) name: Box<str>,
    /// The tag `dc`.
    pub(super) centre: &'static str,
    /// The tag `role`.
    pub(super) role: &'static str,
    /// The number in the tag `rack`, 1 to 40.
    pub(super) rack: u64,
    /// Processors: 4, 8, 16 or 32.
    pub(super) cores: u64,
    /// Bytes of memory: 16, 32, 64 or 128 GiB.
    pub(super) memory: u64,
    /// Bytes of the file system: 100, 200, 400 or 800 GiB.
    pub(super) disk: u64,
    /// Milliseconds after the full second at which it samples.
    pub(super) phase: u64,
    /// Usual levels of processor, memory and disk, 0 to 1.
    pub(super) levels: [f64; 3],
    /// First and last second of its incident, if it has one.
    pub(super) high: Option<(u64, u64)>,
}

/// The first `count` hosts, healthy.
pub(super) fn hosts(draws: Draws, count: u32) -> Vec<Host> {
    (0..count)
        .map(|index| {
            let own = draws.key(Stream::Host, u64::from(index));
            let pick = |names: &[&'static str], round: u32| {
                names.get((index / round) as usize % names.len()).copied().unwrap_or_default()
            };
            let role = pick(&ROLES, PARTITIONS);
            Host {
                name: format!("{role}-{index:04}").into(),
                centre: pick(&CENTRES, PARTITIONS * 4),
                role,
                rack: 1 + own.below(0, 40),
                cores: 4 << own.below(1, 4),
                memory: (16 << 30) << own.below(2, 4),
                disk: (100 << 30) << own.below(3, 4),
                phase: own.below(4, 1_000),
                levels: [5, 6, 7].map(|index| own.unit(index)),
                high: None,
            }
        })
        .collect()
}

/// The names of all services: ten words, then the same with `-1` to `-4`.
pub(super) fn services() -> Vec<Box<str>> {
    let words = SERVICE_NAMES.iter().cycle().take(SERVICES as usize).enumerate();
    words
        .map(|(index, word)| match index / SERVICE_NAMES.len() {
            0 => (*word).into(),
            round => format!("{word}-{round}").into(),
        })
        .collect()
}
