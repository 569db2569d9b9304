//! A simulated fleet: hosts that write metrics and log lines as real agents do, and fall ill on purpose.
//!
//! The same seed, host count and start give the same messages, byte for byte; nothing here reads a
//! clock. Messages come in the order of their arrival at the broker, up to two seconds after their event
//! time, so that they are out of order as those of a real fleet are.
//!
//! # Volume
//!
//! Per host: processor load every 5 s, memory and disk every 10 s, a log line every 3.75 s on average.
//! The backlog of 30 minutes is then 360 × 410 B + 180 × 880 B + 180 × 340 B + 480 × 220 B = 148 + 158 +
//! 61 + 106 kB per host, each topic by itself. librdkafka's mock broker keeps 5 MiB or 100,000 messages of
//! a partition: 33 hosts of the largest topic. Records are placed by the hash of their key, the host, so
//! [`partitions`] plans for 12 hosts per partition on average; that one of them gets 33 has a chance of
//! about 1e-7. 100 hosts are 120,000 records and 47 MB.
//!
//! ```
//! use tidewatch::demo::fleet::{Fleet, HOSTS_MIN};
//! use tidewatch_dataflow::time::EventTime;
//!
//! let start = EventTime::from_millis(1_800_000_000_000);
//! let mut fleet = Fleet::new(7, HOSTS_MIN, start);
//! let backlog: Vec<_> = fleet.until(start).collect();
//! assert!(backlog.iter().all(|message| message.arrival < start));
//! assert_eq!(backlog.first(), Fleet::new(7, HOSTS_MIN, start).until(start).next().as_ref());
//! assert!(fleet.faults().iter().any(|fault| fault.must_alert));
//! ```

mod logs;
mod metrics;
mod noise;
mod plan;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::record::Level;
use tidewatch_dataflow::time::EventTime;

use noise::{Noise, Stream};
use plan::{CPU_INTERVAL, Plan, SLOW_INTERVAL};
pub use plan::{FAULTS_MAX, Fault, FaultKind, RULE_BURST, RULE_CPU, RULE_MEMORY};
use roster::{Host, SERVICES};

/// Topic of processor load.
pub const TOPIC_CPU: &str = "cpu-usage";
/// Topic of memory use.
pub const TOPIC_MEMORY: &str = "memory-usage";
/// Topic of disk use.
pub const TOPIC_DISK: &str = "disk-usage";
/// Topic of log lines.
pub const TOPIC_LOGS: &str = "server-logs";
/// All topics of the demo.
pub const TOPICS: [&str; 4] = [TOPIC_CPU, TOPIC_MEMORY, TOPIC_DISK, TOPIC_LOGS];

/// How far back the fleet's history reaches when live data begin.
pub const BACKLOG: Duration = Duration::from_secs(1_800);
/// A record arrives at the broker less than this after its event time.
pub const OUT_OF_ORDERNESS: Duration = Duration::from_secs(2);
/// The least fleet: one host for each of the ten services, and enough for the scripted faults.
pub const HOSTS_MIN: usize = 10;
/// The largest fleet: the backlog is held in memory by the mock broker, 0.47 MB per host, 0.94 GB.
pub const HOSTS_MAX: usize = 2_000;

/// How many partitions each topic needs so that the mock broker keeps the whole backlog of `hosts`.
pub fn partitions(hosts: usize) -> i32 {
    i32::try_from(hosts.div_ceil(12)).unwrap_or(i32::MAX).max(12)
}

/// One record on its way to Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One of [`TOPICS`].
    pub topic: &'static str,
    /// The host's name.
    pub key: Arc<str>,
    /// Telegraf JSON or a JSON log line.
    pub value: Vec<u8>,
    /// When it was measured or written: also Kafka's timestamp.
    pub event_time: EventTime,
    /// When it reaches the broker.
    pub arrival: EventTime,
}

/// The fleet, as far as it has been played.
#[derive(Debug)]
pub struct Fleet {
    noise: Noise,
    hosts: Vec<Host>,
    plan: Plan,
    start: EventTime,
    /// Everything with an event time before this has been made: a whole second, in milliseconds.
    made: u64,
    /// Made and not yet handed out, by (arrival, order of making). At most three seconds of messages.
    under_way: BTreeMap<(u64, u64), Message>,
    /// How many messages have been made.
    count: u64,
}

impl Fleet {
    /// A fleet of `hosts` (held within [`HOSTS_MIN`] and [`HOSTS_MAX`]) whose live data begin at
    /// `start` and whose history reaches [`BACKLOG`] back from there.
    pub fn new(seed: u64, hosts: usize, start: EventTime) -> Self {
        let noise = Noise::new(seed);
        let hosts = roster::hosts(noise, hosts.clamp(HOSTS_MIN, HOSTS_MAX));
        let plan = Plan::new(noise, &hosts, start.as_millis());
        let made = start.saturating_sub(BACKLOG).as_millis() / 1_000 * 1_000;
        Fleet { noise, hosts, plan, start, made, under_way: BTreeMap::new(), count: 0 }
    }

    /// When live data begin.
    pub fn start(&self) -> EventTime {
        self.start
    }

    /// The hosts' names.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|host| &*host.name)
    }

    /// All faults planned so far, those that are still to come included.
    pub fn faults(&self) -> &[Fault] {
        self.plan.faults()
    }

    /// The messages that arrive before `limit` and have not been handed out yet, in order of arrival.
    /// `fleet.until(fleet.start())` is the backlog.
    pub fn until(&mut self, limit: EventTime) -> impl Iterator<Item = Message> {
        std::iter::from_fn(move || {
            loop {
                // What is made later has a later event time, so it cannot arrive before `made`.
                let final_before = self.made.min(limit.as_millis());
                if let Some(entry) = self.under_way.first_entry()
                    && entry.key().0 < final_before
                {
                    return Some(entry.remove());
                }
                if self.made >= limit.as_millis() {
                    return None;
                }
                self.make_second();
            }
        })
    }

    /// Makes everything with an event time in the next second.
    fn make_second(&mut self) {
        let (from, until) = (self.made, self.made + 1_000);
        self.made = until;
        self.plan.extend_to(until, &self.hosts);
        let mut out = Vec::new();
        for host in &self.hosts {
            if plan::next_tick(from, CPU_INTERVAL, host.phase * 1_000) == from {
                out.push((TOPIC_CPU, from, host, metrics::cpu(self.noise, &self.plan, host, from)));
            }
            if plan::next_tick(from, SLOW_INTERVAL, host.phase * 1_000) == from {
                let memory = metrics::memory(self.noise, &self.plan, host, from);
                out.push((TOPIC_MEMORY, from, host, memory));
                out.push((TOPIC_DISK, from, host, metrics::disk(self.noise, host, from)));
            }
            let line = logs::healthy(self.noise, host, from / logs::LINE_SLOT);
            if let Some((time, level, text)) =
                line.filter(|(time, ..)| (from..until).contains(time))
            {
                let bits = self.noise.key(Stream::LogText, host.index).bits(time ^ 1 << 50);
                out.push((TOPIC_LOGS, time, host, logs::line(host, time, level, text, bits)));
            }
        }
        for (time, service, level, text) in errors(self.noise, &self.plan, from, until) {
            let bits = self.noise.key(Stream::ErrorTime, service).bits(time ^ 1 << 50);
            // Hosts of a service are ten apart.
            let of_service = (self.hosts.len() - service).div_ceil(SERVICES.len());
            let chosen = service + SERVICES.len() * (bits % of_service.max(1) as u64) as usize;
            if let Some(host) = self.hosts.get(chosen) {
                out.push((TOPIC_LOGS, time, host, logs::line(host, time, level, text, bits)));
            }
        }
        for (topic, time, host, value) in out {
            let delays = self.noise.key(Stream::Delay, host.index);
            let delay = delays.below(self.count, OUT_OF_ORDERNESS.as_millis() as usize) as u64;
            let message = Message {
                topic,
                key: host.name.clone(),
                value,
                event_time: EventTime::from_millis(time),
                arrival: EventTime::from_millis(time + delay),
            };
            self.under_way.insert((time + delay, self.count), message);
            self.count += 1;
        }
    }
}

/// The error lines of all services within `[from, until)`: time, service, level, text.
fn errors(noise: Noise, plan: &Plan, from: u64, until: u64) -> Vec<(u64, usize, Level, String)> {
    let mut out = Vec::new();
    for service in 0..SERVICES.len() {
        let background = logs::background_error(noise, service, from);
        if let Some(time) = background.filter(|time| (from..until).contains(time)) {
            let text = logs::error_text(noise.key(Stream::LogText, usize::MAX - service), time);
            out.push((time, service, Level::Error, text));
        }
    }
    for burst in plan.bursts() {
        for index in 0..burst.lines {
            let time = burst.line_at(index);
            if (from..until).contains(&time) {
                let (level, text) = logs::burst_text(burst, index);
                out.push((time, burst.service, level, text));
            }
        }
    }
    out
}
