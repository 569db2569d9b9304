//! What goes wrong, where and when: hosts whose processor is busy for long, services that log many errors.

use super::draw::{Draws, Stream};
use super::options::Options;
use super::roster::Host;
use super::{BURSTS, PARTITIONS, SERVICES};

/// For how many seconds the processors of hosts are above 90 %, in turn.
const LENGTHS: [u64; 4] = [100, 299, 301, 600];
/// Q3 wants more than this many seconds.
pub(super) const SUSTAINED: u64 = 300;

/// A span in which a host's processor is above 90 %, with its first and its last sample.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) host: u32,
    /// Which of [`LENGTHS`] it was planned with.
    pub(super) length: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// A span in which a service logs errors on top of the usual ones.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Burst {
    pub(super) service: u32,
    /// First second.
    pub(super) start: u64,
    /// Seconds.
    pub(super) length: u64,
    pub(super) lines: u64,
}

impl Burst {
    /// Milliseconds from second 0 to line `index`: evenly spaced.
    pub(super) fn line_at(&self, index: u64) -> u64 {
        self.start * 1_000 + index * self.length * 1_000 / self.lines.max(1)
    }
}

/// The second in which the host samples for the first time.
pub(super) fn slot(host: u32, interval: u32) -> u64 {
    u64::from(host / PARTITIONS % interval)
}

/// One host in 50, four at least: those that a shuffle brings to the front. An incident that does not fit
/// into the run, with a minute before and after, is left out.
pub(super) fn incidents(draws: Draws, options: &Options, seconds: u64) -> Vec<Incident> {
    let shuffle = draws.key(Stream::Incident, 0);
    let mut order: Vec<u32> = (0..options.hosts).collect();
    order.sort_unstable_by_key(|host| (shuffle.bits(u64::from(*host)), *host));
    let wanted = (options.hosts / 50).max(4) as usize;
    let starts = draws.key(Stream::Incident, 1);
    let interval = u64::from(options.interval);
    let planned = order.into_iter().take(wanted).zip(LENGTHS.into_iter().cycle()).zip(0..);
    planned
        .filter_map(|((host, length), index)| {
            let room = seconds.checked_sub(length + 180)?;
            let start = 60 + starts.below(index, room + 1);
            // The host's first sample at or after the start. Whole intervals, away from the 300 s that decide.
            let slot = slot(host, options.interval);
            let first = start + (slot + interval - start % interval) % interval;
            let samples = match length {
                0..=SUSTAINED => length / interval,
                _ => length.div_ceil(interval),
            };
            Some(Incident { host, length, first, last: first + samples * interval })
        })
        .collect()
}

/// Tells the hosts of their incidents.
pub(super) fn mark(hosts: &mut [Host], incidents: &[Incident]) {
    for incident in incidents {
        if let Some(host) = hosts.get_mut(incident.host as usize) {
            host.high = Some((incident.first, incident.last));
        }
    }
}

/// Six services, one after another, with 1 to 3.5 times `threshold` errors each. None in a run of less than 10 s.
pub(super) fn bursts(draws: Draws, seconds: u64, threshold: u64) -> Vec<Burst> {
    let shuffle = draws.key(Stream::Burst, 0);
    let mut order: Vec<u32> = (0..SERVICES).collect();
    order.sort_unstable_by_key(|service| (shuffle.bits(u64::from(*service)), *service));
    let bursts = order.into_iter().zip(0..BURSTS).map(|(service, index)| Burst {
        service,
        start: seconds * (index + 1) / 8,
        length: (20 + 10 * index).min(seconds / 10),
        lines: threshold * (index + 2) / 2,
    });
    bursts.filter(|burst| burst.length > 0).collect()
}
