//! What happens in a simulated world: which records arrive where and when, and what is computed of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use tidewatch::pipeline::{PipelineSpec, RawPoints, TimeSpec};
use tidewatch_dataflow::alert::Severity;
use tidewatch_dataflow::ingest::Decision;
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::testing::MemoryRecord;
use tidewatch_dataflow::time::{Clock, EventTime, PaneSize};
use tidewatch_operators::detect::anomaly::{AnomalyConfig, Direction};
use tidewatch_operators::detect::burst::BurstConfig;
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::feed::{Aggregate, Detector, FeedSpec, RuleSpec, Selector, StatisticSpec};
use tidewatch_operators::window::WindowConfig;

/// How far records may be out of order.
pub const BOUND: Duration = Duration::from_secs(5);

/// When the world begins: a multiple of every pane.
pub fn start() -> EventTime {
    EventTime::from_millis(1_700_000_040_000)
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A record on its way into the log.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// After the beginning of the world.
    pub after: Duration,
    pub partition: PartitionId,
    pub value: String,
}

impl Arrival {
    pub fn record(&self) -> MemoryRecord {
        let value = Some(self.value.clone().into_bytes());
        MemoryRecord { key: None, value, created: start() + self.after }
    }

    pub fn is_future(&self) -> bool {
        self.value.starts_with("future")
    }

    pub fn is_poison(&self) -> bool {
        self.value == "poison"
    }
}

/// What makes a world difficult.
#[derive(Clone, Debug)]
pub struct Nature {
    pub partitions: i32,
    pub length: Duration,
    /// Percent of samples that come far too late, and how late at most.
    pub late: (u32, Duration),
    /// Partitions that stop for a while: their records come later if the first is set, else never.
    pub outages: Option<bool>,
    /// How long corrections are taken.
    pub lateness: Duration,
    /// One to three.
    pub feeds: usize,
    pub has_poison: bool,
    pub has_future: bool,
    /// Each host has its own partition.
    pub keyed: bool,
    pub idle_timeout: Duration,
    /// Partitions from this number on appear during the run, or are empty when it begins.
    pub present: i32,
    /// They are of a topic that is added then, and whose name comes before that of the first.
    pub of_new_topic: bool,
}

impl Nature {
    /// Nothing is idle, so that the log alone decides everything; nothing is poison, of the future or keyed yet.
    pub fn of_the_log(rng: &mut Rng) -> Self {
        Nature {
            partitions: rng.i32(1..=4),
            length: seconds(rng.u64(300..1_500)),
            late: (rng.u32(0..10), seconds(rng.u64(10..200))),
            outages: rng.bool().then_some(true),
            lateness: seconds([0, 20, 60, 120][rng.usize(..4)]),
            feeds: rng.usize(1..=3),
            has_poison: false,
            has_future: false,
            keyed: false,
            idle_timeout: seconds(3_600),
            present: 4,
            of_new_topic: false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub nature: Nature,
    pub arrivals: Vec<Arrival>,
}

struct Host {
    name: String,
    is_hot: bool,
    partition: i32,
}

fn sample(host: &Host, time: EventTime, rng: &mut Rng) -> String {
    let value = if host.is_hot { 91.0 + 8.0 * rng.f64() } else { 30.0 + 40.0 * rng.f64() };
    format!("{} value {} {value}", host.name, time.as_millis())
}

impl Plan {
    pub fn new(nature: Nature, rng: &mut Rng) -> Plan {
        let mut hosts: Vec<_> = (0..4)
            .map(|index| Host {
                name: format!("h{index}"),
                is_hot: false,
                partition: index % nature.partitions,
            })
            .collect();
        let mut rows: Vec<Arrival> = Vec::new();
        // When a partition that stopped goes on.
        let mut stopped: BTreeMap<i32, Duration> = BTreeMap::new();
        let mut now = Duration::ZERO;
        let mut burst = 0;
        while now < nature.length {
            now += Duration::from_millis(rng.u64(100..1_900));
            let host = rng.usize(..hosts.len());
            let host = &mut hosts[host];
            if rng.u32(..40) == 0 {
                host.is_hot = !host.is_hot;
            }
            let partition =
                if nature.keyed { host.partition } else { rng.i32(0..nature.partitions) };
            if let Some(keeps) = nature.outages
                && rng.u32(..150) == 0
            {
                stopped.insert(partition, now + seconds(rng.u64(20..240)));
                if !keeps && rng.bool() {
                    // All fall silent, so that only the clock moves time.
                    let until = now + seconds(rng.u64(60..200));
                    stopped.extend((0..nature.partitions).map(|p| (p, until)));
                }
            }
            let delay = match rng.u32(..100) {
                chance if chance < nature.late.0 => {
                    Duration::from_millis(rng.u64(..nature.late.1.as_millis() as u64))
                }
                chance if chance % 3 == 0 => Duration::ZERO,
                _ => Duration::from_millis(rng.u64(..4_900)),
            };
            let time = (start() + now).saturating_sub(delay).max(start());
            let mut after = now;
            if let Some(until) = stopped.get(&partition).filter(|until| **until > now) {
                if nature.outages == Some(false) && rng.u32(..4) > 0 {
                    continue;
                }
                after = *until;
            }
            let mut add =
                |value: String| rows.push(Arrival { after, partition: at(partition), value });
            match rng.u32(..60) {
                0 => add("bad luck".to_owned()),
                1 if nature.has_future && now < nature.length / 2 => {
                    add(format!("future value {} 1", (start() + FUTURE).as_millis()));
                }
                2 if nature.has_poison && now > nature.length / 2 => add("poison".to_owned()),
                3 => burst = rng.u32(5..40),
                4 => {
                    let value = sample(host, time, rng);
                    add(value.clone());
                    add(value);
                }
                _ if burst > 0 => {
                    burst -= 1;
                    add(format!("log {} {}", host.name, time.as_millis()));
                }
                _ => add(sample(host, time, rng)),
            }
        }
        rows.sort_by_key(|row| row.after);
        // Every partition that is there begins with a sample that is on time.
        let present = nature.present.min(nature.partitions);
        let appears = |partition: i32| nature.length / 5 * (partition - present + 1).max(0) as u32;
        rows.retain(|row| row.after >= appears(row.partition.partition));
        let mut first: Vec<_> = (0..present)
            .map(|p| Arrival {
                after: Duration::ZERO,
                partition: at(p),
                value: format!(
                    "h{p} value {} 50",
                    (start() + Duration::from_millis(p as u64)).as_millis()
                ),
            })
            .collect();
        first.extend(rows);
        if nature.of_new_topic {
            for arrival in &mut first {
                arrival.partition.topic = u32::from(arrival.partition.partition < present);
            }
        }
        Plan { nature, arrivals: first }
    }

    /// Nothing happens after this; all windows are closed and all but the stuck incidents have ended.
    pub fn end(&self) -> EventTime {
        start() + self.nature.length + seconds(3_600)
    }

    /// Decisions about records that must not be read.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut next: BTreeMap<PartitionId, i64> = BTreeMap::new();
        let mut decisions = Vec::new();
        for arrival in &self.arrivals {
            let offset = next.entry(arrival.partition).or_default();
            if arrival.is_poison() {
                let (partition, offset) = (arrival.partition, *offset);
                decisions.push(Decision::Skipped { partition, offset });
            }
            *offset += 1;
        }
        decisions
    }

    pub fn partitions(&self) -> BTreeSet<PartitionId> {
        self.arrivals.iter().map(|arrival| arrival.partition).collect()
    }

    /// Those that are there when the world begins.
    pub fn present(&self) -> BTreeSet<PartitionId> {
        self.partitions().into_iter().filter(|p| p.partition < self.nature.present).collect()
    }

    /// All topics.
    pub fn topics(&self) -> Topics {
        if self.nature.of_new_topic { Topics::new(["a", "b"]) } else { Topics::new(["b"]) }
    }

    /// The pipeline, with this clock.
    pub fn spec(&self, clock: Clock, topics: Topics) -> PipelineSpec {
        let time = TimeSpec {
            out_of_orderness: BOUND,
            idle_timeout: self.nature.idle_timeout,
            future_tolerance: seconds(600),
            max_lead: seconds(120),
            clock,
        };
        let feeds = feeds(self.nature.lateness).into_iter().take(self.nature.feeds).collect();
        let raw = Some(RawPoints::default());
        PipelineSpec { raw, ..PipelineSpec::new(topics, time, feeds) }
    }
}

/// Where records of the future lie.
pub const FUTURE: Duration = Duration::from_secs(5 * 3_600);

fn at(partition: i32) -> PartitionId {
    PartitionId { topic: 0, partition }
}

fn pane(length: u64) -> PaneSize {
    PaneSize::new(seconds(length)).unwrap()
}

pub fn selector(field: &str, group_by: &str) -> Selector {
    Selector {
        measurement: "m".into(),
        field: field.into(),
        filters: Vec::new(),
        group_by: vec![group_by.to_owned()],
    }
}

fn statistic(name: &str, windows: &[(u64, u64)], lateness: Duration) -> StatisticSpec {
    let windows = windows.iter().map(|(size, slide)| WindowConfig {
        size: seconds(*size),
        slide: seconds(*slide),
        allowed_lateness: lateness,
    });
    StatisticSpec {
        name: name.into(),
        windows: windows.collect(),
        aggregates: vec![
            Aggregate::Count,
            Aggregate::Sum,
            Aggregate::Mean,
            Aggregate::Min,
            Aggregate::Max,
            Aggregate::Stddev,
        ],
    }
}

pub fn sustained(name: &str, for_: u64, gap: Duration) -> RuleSpec {
    let config = SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 90.0,
        for_: seconds(for_),
        clear_for: seconds(10),
        gap_tolerance: gap,
        pane: pane(10),
    };
    RuleSpec {
        name: name.into(),
        severity: Severity::Critical,
        summary: "value above 90".into(),
        detector: Detector::Sustained(config),
    }
}

/// Feeds over panes of 10 s, 20 s and one minute.
pub fn feeds(lateness: Duration) -> Vec<FeedSpec> {
    let burst = BurstConfig {
        window: seconds(40),
        slide: seconds(20),
        above: 3,
        factor: Some(1.5),
        baseline: seconds(200),
        clear_for: seconds(40),
    };
    let anomaly = AnomalyConfig {
        half_life: seconds(300),
        warm_up: seconds(180),
        score: 1.5,
        min_deviation: 1.0,
        direction: Direction::Both,
        for_: seconds(60),
        pane: pane(60),
    };
    let rule = |name: &str, detector| RuleSpec {
        name: name.into(),
        severity: Severity::Warning,
        summary: name.into(),
        detector,
    };
    vec![
        FeedSpec {
            selector: selector("value", "host"),
            pane: pane(10),
            statistics: vec![statistic("ten", &[(10, 10), (60, 10)], lateness)],
            rules: vec![
                sustained("hot", 30, seconds(60)),
                // Ends only after a clear sample: some are open at the end.
                sustained("stuck", 20, seconds(100 * 3_600)),
            ],
        },
        FeedSpec {
            selector: selector("lines", "dc"),
            pane: pane(20),
            statistics: vec![statistic("twenty", &[(20, 20), (120, 40)], lateness / 2)],
            rules: vec![rule("burst", Detector::Burst(burst))],
        },
        FeedSpec {
            selector: selector("value", "dc"),
            pane: pane(60),
            statistics: vec![statistic("sixty", &[(60, 60), (180, 60)], lateness)],
            rules: vec![rule("odd", Detector::Anomaly(anomaly))],
        },
    ]
}
