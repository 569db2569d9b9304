//! What the topics hold: a pure function of the seed and of the second from which on all is quiet.
//!
//! Metrics of 50 hosts and log lines of 10 services, in seconds of event time since the start:
//! - each record reaches its partition 0 to 4 s after its event time, so that records are out of order,
//!   but inside the bound of 5 s; one of 400 comes 20 s late (a correction of its window) and one of 400
//!   comes 120 s late (a dead letter);
//! - some hosts have a hot processor or a jump of memory for some minutes, some services a burst of
//!   errors, at times drawn from the seed;
//! - some records are no metric at all;
//! - all hosts of a partition may be off for a while, on demand: they have no records of that time, and what was
//!   still to arrive from before is lost;
//! - the last partition of `memory-usage` never gets a record.
//!
//! The end: from `quiet_from` on nothing is wrong with anybody; [`QUIET`] seconds later each partition gets
//! one last record of the same time, so that everything up to 5 s before it is complete.

use std::fmt::Write as _;

use crate::random::hash;

pub const HOSTS: u64 = 50;
pub const SERVICES: u64 = 10;
/// How long all is quiet at the end: more than any incident needs to end.
const QUIET: u64 = 600;
/// Event times and hence watermarks are this many seconds apart at most.
pub const OUT_OF_ORDERNESS: u64 = 5;
/// The delays that are late, in seconds.
const LATE: [u64; 2] = [20, 120];
/// Incidents are drawn once for each host or service in each of these, in seconds.
pub const PERIOD: u64 = 1_800;

/// A topic of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Cpu,
    Memory,
    Logs,
}

impl Topic {
    pub const ALL: [Topic; 3] = [Topic::Cpu, Topic::Memory, Topic::Logs];

    pub fn name(self) -> &'static str {
        match self {
            Topic::Cpu => "cpu-usage",
            Topic::Memory => "memory-usage",
            Topic::Logs => "server-logs",
        }
    }

    pub fn partitions(self) -> i32 {
        match self {
            Topic::Cpu => 6,
            Topic::Memory | Topic::Logs => 4,
        }
    }

    /// Partitions that get records.
    pub fn used(self) -> u64 {
        match self {
            Topic::Cpu => 6,
            Topic::Memory => 3,
            Topic::Logs => 4,
        }
    }
}

/// What a record is about, as far as an oracle needs it.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A sample of a host's processor.
    Cpu { host: u64, value: f64, late: bool },
    /// A sample of a host's memory.
    Memory,
    /// A line with this text.
    Line(String),
    /// No record of its topic's format.
    Bad,
}

/// A record on its way to Kafka.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: Topic,
    pub partition: i32,
    pub key: String,
    pub value: String,
    /// Event time in milliseconds; also Kafka's timestamp.
    pub time: u64,
    pub content: Content,
}

/// All who write to a partition are off from one second of event time to another.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub topic: Topic,
    pub partition: i32,
    pub from: u64,
    pub to: u64,
}

/// The fleet of a run.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub seed: u64,
    /// Event time of its second 0, in milliseconds: a whole hour.
    pub start: u64,
    pub outages: Vec<Outage>,
}

impl Fleet {
    /// The second of the last records, when all is quiet from `quiet_from` on. All windows that end
    /// [`OUT_OF_ORDERNESS`] before it are complete.
    pub fn last_second(quiet_from: u64) -> u64 {
        (quiet_from + QUIET).next_multiple_of(60) + OUT_OF_ORDERNESS
    }

    /// The records that arrive in a second, in order. `quiet_from` may be unknown (`u64::MAX`) as long as
    /// `second` lies before it.
    pub fn arriving(&self, second: u64, quiet_from: u64) -> Vec<Record> {
        let mut records = Vec::new();
        for delay in (0..OUT_OF_ORDERNESS).chain(LATE) {
            let Some(s) = second.checked_sub(delay) else { break };
            for host in 0..HOSTS {
                if (s + host).is_multiple_of(5) && self.delay(1, host, s) == delay {
                    records.push(self.cpu(host, s, quiet_from));
                }
                if (s + host).is_multiple_of(10) && self.delay(2, host, s) == delay {
                    records.push(self.memory(host, s, quiet_from));
                }
            }
            for service in 0..SERVICES {
                if (s + service).is_multiple_of(4) && self.delay(3, service, s) == delay {
                    records.push(self.line(service, s, "INFO", 0));
                }
                if delay == 0 && s < quiet_from && self.is_bursting(service, s) {
                    records.extend((1..=3).map(|index| self.line(service, s, "ERROR", index)));
                }
            }
        }
        records.extend(self.bad(second));
        records.retain(|record| !self.is_off(record, second));
        records
    }

    /// Whether a record that would arrive in a second does not, since its host is off then or was at its time.
    fn is_off(&self, record: &Record, arrives: u64) -> bool {
        let time = (record.time - self.start) / 1_000;
        self.outages.iter().any(|outage| {
            let is_off = |second: u64| (outage.from..outage.to).contains(&second);
            (outage.topic, outage.partition) == (record.topic, record.partition)
                && (is_off(arrives) || is_off(time))
        })
    }

    /// The records that end each partition.
    pub fn closing(&self, last_second: u64) -> Vec<Record> {
        let mut records = Vec::new();
        // Hosts and services of as many numbers as there are partitions reach all of them.
        for index in 0..Topic::Cpu.used() {
            records.push(self.cpu_at(index, last_second, 0, 0));
        }
        for index in 0..Topic::Memory.used() {
            records.push(self.memory_at(index, last_second, 0, 0));
        }
        for index in 0..Topic::Logs.used() {
            records.push(self.line_at(index, last_second, 0, "INFO", 0));
        }
        records
    }

    /// All records in the order of each partition.
    pub fn all(&self, quiet_from: u64) -> impl Iterator<Item = Record> {
        let last = Self::last_second(quiet_from);
        let before = (0..last).flat_map(move |second| self.arriving(second, quiet_from));
        before.chain(self.closing(last))
    }

    /// When a host's processor is hot in a period: from and to, in seconds.
    pub fn hot(&self, host: u64, period: u64) -> Option<(u64, u64)> {
        self.episode(20, host, period, 3).map(|(from, length)| (from, from + 90 + length))
    }

    /// When a service has a burst of errors in a period: from and to, in seconds.
    pub fn burst(&self, service: u64, period: u64) -> Option<(u64, u64)> {
        self.episode(21, service, period, 2).map(|(from, _)| (from, from + 20))
    }

    fn jump(&self, host: u64, period: u64) -> Option<(u64, u64)> {
        // Anomalies are judged once the first ten minutes are learned.
        let (from, _) = self.episode(22, host, period, 4)?;
        (period > 0).then_some((from, from + 120))
    }

    /// Begin and a length from 0 to 299 s, in one of `one_of` periods.
    fn episode(&self, kind: u64, who: u64, period: u64, one_of: u64) -> Option<(u64, u64)> {
        let hash = hash(&[self.seed, kind, who, period]);
        let from = period * PERIOD + 100 + hash / 8 % 1_200;
        hash.is_multiple_of(one_of).then_some((from, hash / 16_384 % 300))
    }

    fn is_bursting(&self, service: u64, s: u64) -> bool {
        self.burst(service, s / PERIOD).is_some_and(|(from, to)| (from..to).contains(&s))
    }

    fn delay(&self, kind: u64, who: u64, s: u64) -> u64 {
        let hash = hash(&[self.seed, kind, who, s]);
        match hash % 400 {
            0 => LATE[0],
            1 => LATE[1],
            _ => hash / 400 % OUT_OF_ORDERNESS,
        }
    }

    /// A time within second `s`.
    fn within(&self, kind: u64, who: u64, s: u64) -> u64 {
        hash(&[self.seed, kind + 10, who, s]) % 1_000
    }

    fn cpu(&self, host: u64, s: u64, quiet_from: u64) -> Record {
        self.cpu_at(host, s, self.within(1, host, s), quiet_from)
    }

    fn cpu_at(&self, host: u64, s: u64, millis: u64, quiet_from: u64) -> Record {
        let noise = hash(&[self.seed, 30, host, s]);
        let hot = s < quiet_from
            && self.hot(host, s / PERIOD).is_some_and(|(from, to)| (from..to).contains(&s));
        let value = if hot {
            91.0 + (noise % 800) as f64 * 0.01
        } else {
            20.0 + (noise % 5_000) as f64 * 0.01
        };
        let (time, idle) = (self.start + s * 1_000 + millis, 100.0 - value);
        Record {
            topic: Topic::Cpu,
            partition: (host % Topic::Cpu.used()) as i32,
            key: format!("host-{host}"),
            value: format!(
                "{{\"fields\":{{\"usage_active\":{value},\"usage_idle\":{idle}}},\"name\":\"cpu\",\"tags\":{{\"cpu\":\"cpu-total\",\"host\":\"host-{host}\"}},\"timestamp\":{time}}}\n"
            ),
            time,
            content: Content::Cpu { host, value, late: LATE.contains(&self.delay(1, host, s)) },
        }
    }

    fn memory(&self, host: u64, s: u64, quiet_from: u64) -> Record {
        let jumps = s < quiet_from
            && self.jump(host, s / PERIOD).is_some_and(|(from, to)| (from..to).contains(&s));
        self.memory_at(host, s, self.within(2, host, s), if jumps { 30 } else { 0 })
    }

    fn memory_at(&self, host: u64, s: u64, millis: u64, jump: u64) -> Record {
        let noise = hash(&[self.seed, 31, host, s]) % 200;
        Record {
            topic: Topic::Memory,
            partition: (host % Topic::Memory.used()) as i32,
            key: format!("host-{host}"),
            value: format!("{}.{:02}%", 40 + host % 7 + jump + noise / 100, noise % 100),
            time: self.start + s * 1_000 + millis,
            content: Content::Memory,
        }
    }

    fn line(&self, service: u64, s: u64, level: &str, index: u64) -> Record {
        self.line_at(service, s, self.within(3 + index, service, s), level, index)
    }

    fn line_at(&self, service: u64, s: u64, millis: u64, level: &str, index: u64) -> Record {
        let time = self.start + s * 1_000 + millis;
        let mut text = format!("request {s} of service {service}");
        if index > 0 {
            let _infallible = write!(text, " refused ({index})");
        }
        Record {
            topic: Topic::Logs,
            partition: (service % Topic::Logs.used()) as i32,
            key: format!("service-{service}"),
            value: format!(
                "{{\"@timestamp\":{time},\"level\":\"{level}\",\"host\":\"host-{service}\",\"service\":\"service-{service}\",\"message\":\"{text}\"}}"
            ),
            time,
            content: Content::Line(text),
        }
    }

    /// What is no metric, in some seconds.
    fn bad(&self, second: u64) -> Option<Record> {
        let hash = hash(&[self.seed, 40, second]);
        if !hash.is_multiple_of(40) {
            return None;
        }
        let (topic, value) = match hash / 40 % 2 {
            0 => (Topic::Cpu, format!("{{\"fields\":{{\"usage_active\": broken {second}")),
            _ => (Topic::Memory, format!("lots, in second {second}")),
        };
        Some(Record {
            topic,
            partition: (hash / 80 % topic.used()) as i32,
            key: format!("bad-{second}"),
            value,
            time: self.start + second * 1_000,
            content: Content::Bad,
        })
    }
}
