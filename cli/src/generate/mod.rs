//! The reference workload "fleet" of the benchmark: metrics and logs of a fleet, made from a seed.
//!
//! The same [`Options`] give the same bytes; nothing here reads a clock, and every number is a function of
//! the seed, the host or line, and the second, so any record can be made anywhere. What a record says and
//! when it arrives is written down in `docs/benchmark.md`, so that others can build the same.
//!
//! ```
//! use tidewatch::generate::{Fact, Options, PARTITIONS, Topic, Workload};
//!
//! let workload = Workload::new(Options { hosts: 50, ..Options::new(7, 3_000) })?;
//! let mut active = Vec::new();
//! for partition in 0..PARTITIONS {
//!     workload.records(Topic::Metrics, partition, |record| {
//!         if let Fact::Metric { measurement: "cpu", value } = record.fact {
//!             active.push(value);
//!         }
//!         Ok::<(), std::convert::Infallible>(())
//!     }).unwrap();
//! }
//! assert_eq!(active.len(), 1_000 + 12, "and an end mark in each partition");
//! # Ok::<(), tidewatch::generate::OptionsError>(())
//! ```

mod arrival;
mod draw;
mod labels;
mod logs;
mod metrics;
mod options;
pub mod output;
mod plan;
mod roster;
mod streams;
#[cfg(test)]
mod tests;
mod text;

pub use arrival::{DISORDER_MS, LATE_MAX_MS, LATE_MIN_MS};
pub use labels::{BurstLabel, IncidentLabel, Labels, PerTopic};
pub use options::{
    HOSTS_MAX, HOSTS_MIN, INTERVAL_MAX, Options, OptionsError, SECONDS_MAX, START_DEFAULT,
    START_MAX, parse_count,
};

use draw::Draws;
use logs::LineDraws;
use plan::{Burst, Incident};
use roster::Host;

/// Partitions of each topic.
pub const PARTITIONS: u32 = 12;
/// How many services log.
pub const SERVICES: u32 = 50;
/// The names of the measurements; a host sends all of them.
pub const MEASUREMENTS: [&str; 3] = ["cpu", "mem", "disk"];
/// How long after the end of the run the end marks are, in milliseconds.
pub const MARK_AFTER_MS: u64 = 60_000;
/// The first letters of an end mark's host or service; two digits of the partition follow.
pub const MARK_PREFIX: &str = "end-";

/// Bursts of errors.
const BURSTS: u64 = 6;
/// Places in [`MEASUREMENTS`].
const CPU: u64 = 0;
const MEM: u64 = 1;

/// One of the two topics.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Telegraf JSON, keyed by host.
    Metrics,
    /// Log lines as JSON, keyed by service.
    Logs,
}

impl Topic {
    /// Both.
    pub const ALL: [Topic; 2] = [Topic::Metrics, Topic::Logs];

    /// The topic's usual name, and the first part of the names of its files.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Metrics => "fleet-metrics",
            Topic::Logs => "fleet-logs",
        }
    }
}

/// One record in the order of its partition.
#[derive(Copy, Clone, Debug)]
pub struct Record<'a> {
    /// A host's name, or a service's.
    pub key: &'a str,
    /// The message.
    pub payload: &'a [u8],
    /// Milliseconds since 1970; it stands in the message too.
    pub event_time: u64,
    /// What it says that a query wants to know.
    pub fact: Fact,
    /// Whether it arrives 10 to 20 minutes late, and has to be refused.
    pub is_late: bool,
    /// Whether it is an end mark.
    pub is_mark: bool,
}

/// What a record says that a query wants to know.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Fact {
    /// A sample of one of [`MEASUREMENTS`]: `usage_active` of cpu, `used_percent` of the others.
    Metric {
        /// Which one.
        measurement: &'static str,
        /// Percent; the message has exactly this number.
        value: f64,
    },
    /// A log line.
    Log {
        /// Whether its level is ERROR.
        is_error: bool,
    },
}

/// A workload, ready to be written: whoever takes part, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Workload {
    options: Options,
    draws: Draws,
    seconds: u64,
    hosts: Vec<Host>,
    services: Vec<Box<str>>,
    incidents: Vec<Incident>,
    bursts: Vec<Burst>,
    /// Log lines without those of bursts.
    lines: u64,
    line_draws: LineDraws,
    late_one_in: Option<u64>,
    error_threshold: u64,
}

impl Workload {
    /// Plans the workload of `options`.
    ///
    /// # Errors
    /// [`OptionsError`] when an option is out of its bounds, or there are too few messages for one round.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        let seconds = options.seconds()?;
        let draws = Draws::new(options.seed);
        let mut hosts = roster::hosts(draws, options.hosts);
        let incidents = plan::incidents(draws, &options, seconds);
        plan::mark(&mut hosts, &incidents);
        let lines =
            options.messages / (3 * u64::from(options.hosts)) * 3 * u64::from(options.hosts) / 10;
        // Four times the ERROR lines that a service has in a minute on average: lines/seconds * 60 / 50 / 100 * 4.
        let error_threshold = (6 * lines).div_ceil(125 * seconds).max(20);
        Ok(Workload {
            options,
            draws,
            seconds,
            hosts,
            services: roster::services(),
            incidents,
            bursts: plan::bursts(draws, seconds, error_threshold),
            lines,
            line_draws: LineDraws::new(draws),
            late_one_in: arrival::late_one_in(seconds),
            error_threshold,
        })
    }

    /// What it is made from.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Event time of the first second, in milliseconds since 1970.
    pub fn start_ms(&self) -> u64 {
        self.options.start
    }

    /// When the last second is over: every record but the end marks has an earlier event time.
    pub fn end_ms(&self) -> u64 {
        self.options.start + self.seconds * 1_000
    }

    /// The event time of the end marks.
    pub fn mark_ms(&self) -> u64 {
        self.end_ms() + MARK_AFTER_MS
    }

    /// Q4 is about services with more ERROR lines than this in a minute.
    pub fn error_threshold(&self) -> u64 {
        self.error_threshold
    }

    /// How many records `topic` has in all partitions, end marks included.
    pub fn count(&self, topic: Topic) -> u64 {
        let (marks, bursts) = (u64::from(PARTITIONS), self.bursts.iter().map(|burst| burst.lines));
        match topic {
            Topic::Metrics => {
                let rounds = self.seconds / u64::from(self.options.interval);
                (rounds * u64::from(self.options.hosts) + marks) * MEASUREMENTS.len() as u64
            }
            Topic::Logs => self.lines + bursts.sum::<u64>() + marks,
        }
    }

    /// Hands the records of `partition` of `topic` to `visit`, in their order: by arrival, the end marks last.
    ///
    /// # Errors
    /// The first error of `visit`, after which nothing more is handed out.
    pub fn records<E>(
        &self,
        topic: Topic,
        partition: u32,
        visit: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match topic {
            Topic::Metrics => streams::metrics(self, partition, visit),
            Topic::Logs => streams::logs(self, partition, visit),
        }
    }
}
