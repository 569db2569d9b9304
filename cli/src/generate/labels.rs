//! What is true of a workload: how much of what was written, and everything that goes wrong in it.

use serde::{Deserialize, Serialize};

use super::plan::SUSTAINED;
use super::{Options, Topic, Workload};

/// The labels beside a workload: `labels.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// What it is made from: see [`Options`].
    pub options: Options,
    /// Seconds of event time.
    pub seconds: u64,
    /// Event time of the first second, milliseconds since 1970.
    pub start_ms: u64,
    /// When the last second is over. Only answers for windows that end at or before are compared.
    pub end_ms: u64,
    /// Event time of the end marks.
    pub mark_ms: u64,
    /// Q4 is about services with more ERROR lines than this in a minute.
    pub error_threshold: u64,
    /// Records in all partitions of a topic, end marks included.
    pub records: PerTopic,
    /// End marks.
    pub marks: PerTopic,
    /// Records that arrive 10 to 20 minutes late: to be refused.
    pub late: PerTopic,
    /// Bytes of the messages, without keys.
    pub bytes: PerTopic,
    /// Hosts whose processor is busy for long.
    pub incidents: Vec<IncidentLabel>,
    /// Services that log many errors.
    pub bursts: Vec<BurstLabel>,
}

/// A number about each of the topics.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerTopic {
    /// About the topic of metrics.
    pub metrics: u64,
    /// About the topic of logs.
    pub logs: u64,
}

impl PerTopic {
    /// The number about `topic`.
    pub fn of(self, topic: Topic) -> u64 {
        match topic {
            Topic::Metrics => self.metrics,
            Topic::Logs => self.logs,
        }
    }
}

/// How much was written to a topic.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) records: u64,
    pub(super) marks: u64,
    pub(super) late: u64,
    pub(super) bytes: u64,
}

impl Counted {
    /// Adds what another partition holds.
    pub(super) fn add(&mut self, other: Counted) {
        self.records += other.records;
        self.marks += other.marks;
        self.late += other.late;
        self.bytes += other.bytes;
    }
}

/// A host whose processor is above 90 % in every sample from the first to the last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentLabel {
    /// Its name.
    pub host: String,
    /// Seconds it was planned for: 100, 299, 301 or 600.
    pub planned_s: u64,
    /// Event time of the first sample above 90 %.
    pub first_ms: u64,
    /// Event time of the last sample above 90 %.
    pub last_ms: u64,
    /// Whether the samples span more than 300 s: whether Q3 has it.
    pub is_sustained: bool,
}

/// A service that logs errors on top of the usual ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurstLabel {
    /// Its name.
    pub service: String,
    /// Event time of the first additional line.
    pub first_ms: u64,
    /// Event time of the last additional line.
    pub last_ms: u64,
    /// How many.
    pub lines: u64,
}

impl Labels {
    /// The labels of `workload`, of which so much was written.
    pub(super) fn new(workload: &Workload, metrics: Counted, logs: Counted) -> Self {
        let per_topic = |number: fn(&Counted) -> u64| PerTopic {
            metrics: number(&metrics),
            logs: number(&logs),
        };
        let Workload { options, hosts, services, .. } = workload;
        let at = |millis: u64| options.start + millis;
        let incidents = workload.incidents.iter().filter_map(|incident| {
            let host = hosts.get(incident.host as usize)?;
            Some(IncidentLabel {
                host: host.name.to_string(),
                planned_s: incident.length,
                first_ms: at(incident.first * 1_000 + host.phase),
                last_ms: at(incident.last * 1_000 + host.phase),
                is_sustained: incident.last - incident.first > SUSTAINED,
            })
        });
        let bursts = workload.bursts.iter().filter_map(|burst| {
            Some(BurstLabel {
                service: services.get(burst.service as usize)?.to_string(),
                first_ms: at(burst.line_at(0)),
                last_ms: at(burst.line_at(burst.lines.saturating_sub(1))),
                lines: burst.lines,
            })
        });
        Labels {
            options: *options,
            seconds: workload.seconds,
            start_ms: workload.start_ms(),
            end_ms: workload.end_ms(),
            mark_ms: workload.mark_ms(),
            error_threshold: workload.error_threshold,
            records: per_topic(|counted| counted.records),
            marks: per_topic(|counted| counted.marks),
            late: per_topic(|counted| counted.late),
            bytes: per_topic(|counted| counted.bytes),
            incidents: incidents.collect(),
            bursts: bursts.collect(),
        }
    }
}
