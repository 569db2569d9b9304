//! The faults that are injected, each with its label: what happens to whom, when, and whether a rule
//! must say so.
//!
//! A script covers the backlog and the first minutes, so that a short run sees every kind; after it
//! faults come at random, for ever. `s` is the start of live data, all times in seconds:
//!
//! ```text
//! -1800      -1500      -1020   -720      -300       s      +90
//!   | backlog  [cpu sustained]    [cpu sust.]         | live
//!   |             [short] [flapping]    [short]   [cpu sustained, 300 s old at s + 12]
//!   |    [burst]    [small]       [burst]             | [burst s+10] [small]
//!   |             memory shift s-840       memory shift s-12, s+5
//! ```

use serde::Serialize;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

use super::noise::{Key, Noise, Stream};
use super::roster::{Host, SERVICES};

/// Name of the demo's rule for processor load that stays high.
pub const RULE_CPU: &str = "cpu_sustained";
/// Name of the demo's rule for services that log many errors.
pub const RULE_BURST: &str = "error_burst";
/// Name of the demo's rule for memory that leaves its usual level.
pub const RULE_MEMORY: &str = "memory_anomaly";

/// Faults kept and injected in one run at most; after that the fleet stays healthy. One comes every
/// 40 s on average, at about 200 bytes: 10,000 are more than four days and 2 MB.
pub const FAULTS_MAX: usize = 10_000;

/// What is wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A host's processor stays above 90 % for more than 5 minutes.
    CpuSustained,
    /// A host's processor stays above 90 % for 100 to 280 seconds.
    CpuShort,
    /// Above 90 % twice for 200 seconds, with 40 healthy seconds between.
    CpuFlapping,
    /// A service logs at least 40 errors within a few seconds.
    ErrorBurst,
    /// A service logs 14 errors within half a minute.
    SmallBurst,
    /// A host's memory use changes its level at once by 22 to 26 points, and stays there.
    MemoryShift,
}

/// One injected fault and what is to be expected of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The rule that watches for it.
    pub rule: &'static str,
    /// The group of that rule that it concerns: a host or a service.
    pub group: Labels,
    /// When it begins: the event time of its first sample or line.
    pub start: EventTime,
    /// When it is over. A memory shift stays; five minutes after its start it is no news any more.
    pub end: EventTime,
    /// For a fault that must alert, when its rule's condition has held long enough, at the latest;
    /// for another one its end.
    pub due: EventTime,
    /// Whether its rule must open an incident. If not, it must not.
    pub must_alert: bool,
}

/// A burst of error lines to be written.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    pub(super) service: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) lines: u64,
    key: Key,
}

impl Burst {
    /// The instant of line `index`: evenly spaced with some jitter, in order.
    pub(super) fn line_at(&self, index: u64) -> u64 {
        let gap = (self.end - self.start) as f64 / self.lines.max(1) as f64;
        let jitter = 0.2 * self.key.sign(index) + 0.4;
        self.start + ((index as f64 + jitter) * gap) as u64
    }
}

/// The faults of a fleet, planned as far as has been asked for.
#[derive(Debug)]
pub(super) struct Plan {
    noise: Noise,
    start: u64,
    faults: Vec<Fault>,
    /// Per host, the spans of high load as (start, end).
    cpu: Vec<Vec<(u64, u64)>>,
    /// Per host, the shifts of its memory level as (instant, points).
    memory: Vec<Vec<(u64, f64)>>,
    bursts: Vec<Burst>,
    /// When each service's latest burst ended.
    burst_ended: [u64; SERVICES.len()],
    /// For each of the three kinds of trouble, how many random ones have been considered.
    considered: [u64; 3],
}

/// The script: (kind, seconds from the start of live data, length in seconds).
const SCRIPT: [(FaultKind, i64, u64); 15] = [
    (FaultKind::CpuSustained, -1_500, 480),
    (FaultKind::CpuShort, -1_320, 240),
    (FaultKind::CpuFlapping, -960, 440),
    (FaultKind::CpuSustained, -720, 420),
    (FaultKind::CpuShort, -540, 280),
    (FaultKind::CpuSustained, -288, 400),
    (FaultKind::CpuShort, -60, 150),
    (FaultKind::ErrorBurst, -1_200, 12),
    (FaultKind::SmallBurst, -900, 30),
    (FaultKind::ErrorBurst, -480, 20),
    (FaultKind::ErrorBurst, 10, 12),
    (FaultKind::SmallBurst, 25, 30),
    (FaultKind::MemoryShift, -840, 300),
    (FaultKind::MemoryShift, -12, 300),
    (FaultKind::MemoryShift, 5, 300),
];

/// The random faults after the script: one of each is considered at `first`, and then every `every`
/// seconds, moved back by up to half of that.
const LATER: [(u64, u64); 3] = [(75, 90), (70, 120), (150, 240)];

/// Processor load is sampled this often, in milliseconds; spans of high load are whole samples.
pub(super) const CPU_INTERVAL: u64 = 5_000;
/// Memory and disk are sampled this often, in milliseconds.
pub(super) const SLOW_INTERVAL: u64 = 10_000;

/// A host rests this long between two processor faults, a service between two bursts (longer than the
/// burst rule's baseline), a host between two memory shifts (the anomaly rule takes a half-life of 10
/// minutes to accept the new level, and 10 more to warm up for it): milliseconds.
const REST: [u64; 3] = [600_000, 900_000, 1_800_000];

impl Plan {
    /// The script for `hosts`, of which there are at least as many as a kind of fault needs.
    pub(super) fn new(noise: Noise, hosts: &[Host], start: u64) -> Self {
        let mut plan = Plan {
            noise,
            start,
            faults: Vec::new(),
            cpu: vec![Vec::new(); hosts.len()],
            memory: vec![Vec::new(); hosts.len()],
            bursts: Vec::new(),
            burst_ended: [0; SERVICES.len()],
            considered: [0; 3],
        };
        let orders = [
            shuffled(noise.key(Stream::Shuffle, 0), hosts.len()),
            shuffled(noise.key(Stream::Shuffle, 1), SERVICES.len()),
            shuffled(noise.key(Stream::Shuffle, 2), hosts.len()),
        ];
        let mut used = [0_usize; 3];
        for (kind, from, length) in SCRIPT {
            let lane = lane(kind);
            if let Some(subject) = orders[lane].get(used[lane]) {
                used[lane] += 1;
                let from = start.saturating_add_signed(from * 1_000);
                plan.inject(kind, *subject, from, length * 1_000, hosts);
            }
        }
        plan
    }

    /// All faults planned so far.
    pub(super) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Plans everything that begins up to `time`, and forgets the bursts that are over by then.
    pub(super) fn extend_to(&mut self, time: u64, hosts: &[Host]) {
        self.bursts.retain(|burst| burst.end >= time);
        for (lane, (first, every)) in LATER.into_iter().enumerate() {
            loop {
                let number = self.considered[lane];
                let earliest = self.start + (first + every * number) * 1_000;
                if earliest > time || self.faults.len() >= FAULTS_MAX {
                    break;
                }
                self.considered[lane] += 1;
                self.consider(lane, number, earliest, every, hosts);
            }
        }
    }

    /// Draws one random fault; none when the subjects drawn have had one a short while ago.
    fn consider(&mut self, lane: usize, number: u64, earliest: u64, every: u64, hosts: &[Host]) {
        let key = self.noise.key(Stream::Later, lane);
        let draw = |what: u64| number * 16 + what;
        let from = earliest + (key.unit(draw(0)) * every as f64 * 500.0) as u64;
        let chance = key.unit(draw(1));
        let (kind, length) = match lane {
            0 if chance < 0.5 => (FaultKind::CpuSustained, 340 + key.below(draw(2), 240)),
            0 if chance < 0.8 => (FaultKind::CpuShort, 100 + key.below(draw(2), 180)),
            0 => (FaultKind::CpuFlapping, 440),
            1 if chance < 0.6 => (FaultKind::ErrorBurst, 10 + key.below(draw(2), 20)),
            1 => (FaultKind::SmallBurst, 30),
            _ => (FaultKind::MemoryShift, 300),
        };
        let subjects = if lane == 1 { SERVICES.len() } else { hosts.len() };
        let rested = (3..13).map(|what| key.below(draw(what), subjects)).find(|subject| {
            let last = match lane {
                0 => self.cpu.get(*subject).and_then(|spans| spans.last()).map(|(_, end)| *end),
                1 => self.burst_ended.get(*subject).copied(),
                _ => self.memory.get(*subject).and_then(|shifts| shifts.last()).map(|(at, _)| *at),
            };
            last.is_none_or(|last| last + REST[lane] <= from)
        });
        if let Some(subject) = rested {
            self.inject(kind, subject, from, length as u64 * 1_000, hosts);
        }
    }

    /// Puts one fault on the plan, with its label.
    fn inject(&mut self, kind: FaultKind, subject: usize, from: u64, length: u64, hosts: &[Host]) {
        let lane = lane(kind);
        let group = match (lane, hosts.get(subject), SERVICES.get(subject)) {
            (1, _, Some(service)) => Labels::from_pairs([("service", *service)]),
            (_, Some(host), _) => Labels::from_pairs([("host", &host.name)]),
            _ => return,
        };
        let phase = hosts.get(subject).map_or(0, |host| host.phase * 1_000);
        let (start, end, due) = match kind {
            FaultKind::CpuSustained | FaultKind::CpuShort | FaultKind::CpuFlapping => {
                let start = next_tick(from, CPU_INTERVAL, phase);
                let end = start + length.next_multiple_of(CPU_INTERVAL);
                let spans = self.cpu.get_mut(subject);
                let parts: &[(u64, u64)] = match kind {
                    FaultKind::CpuFlapping => &[(start, start + 200_000), (start + 240_000, end)],
                    _ => &[(start, end)],
                };
                spans.into_iter().for_each(|spans| spans.extend_from_slice(parts));
                let sustained = kind == FaultKind::CpuSustained;
                (start, end, if sustained { start + 300_000 } else { end })
            }
            FaultKind::ErrorBurst | FaultKind::SmallBurst => {
                let key = self.noise.key(Stream::BurstTime, self.faults.len());
                let lines = if kind == FaultKind::SmallBurst { 14 } else { 40 + key.bits(0) % 25 };
                let (start, end) = (from, from + length);
                let burst = Burst { service: subject, start, end, lines, key };
                // More than 20 within the window: the line that counts is the 21st.
                let due = if kind == FaultKind::SmallBurst { end } else { burst.line_at(20) };
                let first = burst.line_at(0);
                self.burst_ended.get_mut(subject).into_iter().for_each(|ended| *ended = end);
                self.bursts.push(burst);
                (first, end, due)
            }
            FaultKind::MemoryShift => {
                let start = next_tick(from, SLOW_INTERVAL, phase);
                let key = self.noise.key(Stream::Later, 3);
                let points = 22.0 + 4.0 * key.unit(self.faults.len() as u64);
                let shifts = self.memory.get_mut(subject);
                let up = shifts.as_ref().is_none_or(|shifts| shifts.len() % 2 == 0);
                let shift = (start, if up { points } else { -points });
                shifts.into_iter().for_each(|shifts| shifts.push(shift));
                // Its pane is the first that counts, and the second makes it `for = "20s"`.
                (start, start + length, start + 20_000)
            }
        };
        self.faults.push(Fault {
            kind,
            rule: [RULE_CPU, RULE_BURST, RULE_MEMORY][lane],
            group,
            start: EventTime::from_millis(start),
            end: EventTime::from_millis(end),
            due: EventTime::from_millis(due),
            must_alert: matches!(
                kind,
                FaultKind::CpuSustained | FaultKind::ErrorBurst | FaultKind::MemoryShift
            ),
        });
    }

    /// Whether the processor of `host` is overloaded at `time`.
    pub(super) fn cpu_is_high(&self, host: usize, time: u64) -> bool {
        let spans = self.cpu.get(host).map_or(&[][..], Vec::as_slice);
        spans.iter().rev().any(|(start, end)| *start <= time && time < *end)
    }

    /// By how many points the memory use of `host` is off its first level at `time`.
    pub(super) fn memory_shift(&self, host: usize, time: u64) -> f64 {
        let shifts = self.memory.get(host).map_or(&[][..], Vec::as_slice);
        shifts.iter().filter(|(at, _)| *at <= time).map(|(_, points)| points).sum()
    }

    /// The bursts that are not over.
    pub(super) fn bursts(&self) -> &[Burst] {
        &self.bursts
    }
}

/// Which of the three kinds of trouble: processor, errors, memory.
fn lane(kind: FaultKind) -> usize {
    match kind {
        FaultKind::CpuSustained | FaultKind::CpuShort | FaultKind::CpuFlapping => 0,
        FaultKind::ErrorBurst | FaultKind::SmallBurst => 1,
        FaultKind::MemoryShift => 2,
    }
}

/// The first instant, at or after `from`, that is `phase` past a multiple of `interval`.
pub(super) fn next_tick(from: u64, interval: u64, phase: u64) -> u64 {
    let phase = phase % interval;
    (from.saturating_sub(phase)).next_multiple_of(interval) + phase
}

/// The numbers below `count`, in random order.
fn shuffled(key: Key, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|index| key.bits(*index as u64));
    order
}
