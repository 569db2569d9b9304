//! A fleet in memory, a pipeline over it, and the slow, obvious answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidewatch::cluster::Membership;
use tidewatch::pipeline::{Outputs, PipelineSpec, Shared, Sources, TimeSpec, start};
use tidewatch_dataflow::alert::{Incident, Severity, Transition};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::ingest::ResumePoint;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{Decoded, LogLine, PartitionId, Point, RecordBatch, Topics};
use tidewatch_dataflow::series::{Labels, SeriesTable};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::testing::{MemoryLog, MemoryRecord};
use tidewatch_dataflow::time::{Clock, EventTime, PaneSize};
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::feed::{Aggregate, Detector, FeedSpec, RuleSpec, Selector, StatisticSpec};
use tidewatch_operators::window::WindowConfig;

/// How far records may be out of order.
const BOUND: Duration = Duration::from_secs(5);
const PANE: Duration = Duration::from_secs(10);
const WINDOWS: [(u64, u64); 2] = [(10, 10), (60, 10)];

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    partition: i32,
    host: String,
    time: EventTime,
    value: f64,
}

/// Samples of a few hosts over a few partitions.
#[derive(Clone, Debug, Default)]
pub struct Fleet(Vec<Sample>);

impl Fleet {
    /// Random samples of up to four hosts, each host in up to three partitions, over two minutes.
    pub fn any() -> impl Strategy<Value = Fleet> {
        let sample = (0..3i32, 0..4u8, 0..120_000u64, -1e6..1e6f64);
        prop::collection::vec(sample, 1..300).prop_map(|rows| {
            let rows = rows.into_iter().map(|(partition, host, at, value)| Sample {
                partition,
                host: format!("h{host}"),
                time: EventTime::from_millis(1_700_000_000_000 + at),
                value,
            });
            Fleet(rows.collect())
        })
    }

    /// One host with one sample a second.
    pub fn steady(host: &str, partition: i32, from: EventTime, length: Duration) -> Fleet {
        let rows = (0..length.as_secs()).map(|second| Sample {
            partition,
            host: host.to_owned(),
            time: from + Duration::from_secs(second),
            value: (second % 50) as f64,
        });
        Fleet(rows.collect())
    }

    /// A steady host whose value is 95 from `begin` for `length`, both ends included, and below 50 otherwise.
    pub fn hot(
        host: &str,
        from: EventTime,
        length: Duration,
        begin: EventTime,
        hot: Duration,
    ) -> Fleet {
        let mut fleet = Fleet::steady(host, 0, from, length);
        for row in fleet.0.iter_mut().filter(|r| r.time >= begin && r.time <= begin + hot) {
            row.value = 95.0;
        }
        fleet
    }

    pub fn join(&mut self, other: Fleet) {
        self.0.extend(other.0);
    }

    /// Drops the samples after `from` and before `until`.
    pub fn silence(&mut self, from: EventTime, until: EventTime) {
        self.0.retain(|r| r.time <= from || r.time >= until);
    }

    /// The log of these samples: in order of time, or shuffled as far as the bound allows.
    pub fn log(&self, shuffle: Option<u64>) -> MemoryLog {
        self.disturbed(shuffle.unwrap_or(0), if shuffle.is_some() { BOUND } else { Duration::ZERO })
            .0
    }

    /// The log of these samples when each is delayed by up to `delay`, and the samples of each partition in
    /// the order of the log.
    fn disturbed(&self, seed: u64, delay: Duration) -> (MemoryLog, Vec<Vec<Sample>>) {
        let mut random = seed | 1;
        let mut rows: Vec<(EventTime, &Sample)> = Vec::new();
        for sample in &self.0 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let jitter = random % (delay.as_millis() as u64 + 1);
            rows.push((sample.time + Duration::from_millis(jitter), sample));
        }
        rows.sort_by_key(|(at, _)| *at);
        let mut partitions: BTreeMap<PartitionId, Vec<MemoryRecord>> =
            (0..3).map(|p| (PartitionId { topic: 0, partition: p }, Vec::new())).collect();
        let mut samples = vec![Vec::new(); 3];
        for (_, sample) in rows {
            samples[sample.partition as usize].push(sample.clone());
            let value = format!("{} {} {}", sample.host, sample.time.as_millis(), sample.value);
            let id = PartitionId { topic: 0, partition: sample.partition };
            partitions.entry(id).or_default().push(MemoryRecord {
                key: None,
                value: Some(value.into_bytes()),
                created: sample.time,
            });
        }
        (MemoryLog::new(partitions), samples)
    }

    /// Runs the samples delayed far beyond the bound, with corrections for `lateness`, and compares windows
    /// and counters with admission and windows computed one by one.
    pub fn check_late(&self, run: Run, delay: Duration, lateness: Duration) -> Outcome {
        let (log, partitions) = self.disturbed(run.seed, delay);
        let mut expected: BTreeMap<(String, u64), u64> = BTreeMap::new();
        let (pane, mut late) = (PANE.as_millis() as u64, 0);
        for samples in &partitions {
            let mut newest = 0;
            for sample in samples {
                let time = sample.time.as_millis();
                let admitted = time.max(u64::saturating_sub(newest, BOUND.as_millis() as u64));
                newest = newest.max(time);
                let admission_pane = admitted / pane * pane;
                let mut counted = false;
                for (size, slide) in WINDOWS {
                    let (size, slide) = (size * 1_000, slide * 1_000);
                    let mut start = time - time % slide;
                    while start + size > time {
                        let on_time = time / pane * pane == admission_pane;
                        if on_time || start + size + lateness.as_millis() as u64 > admission_pane {
                            let label = if size == slide { "10s" } else { "1m/10s" };
                            let key =
                                (format!("host={},window={label}", sample.host), start + size);
                            *expected.entry(key).or_default() += 1;
                            counted = true;
                        }
                        start -= slide;
                    }
                }
                late += u64::from(!counted);
            }
        }
        let outcome = run.late(&log, lateness);
        let count = |(key, point): (&_, &BTreeMap<String, u64>)| {
            (<(String, u64)>::clone(key), f64::from_bits(point["count"]) as u64)
        };
        let found: BTreeMap<_, _> = outcome.points.iter().map(count).collect();
        assert_eq!(found, expected);
        assert_eq!(outcome.late, late);
        assert_eq!(outcome.late_letters, late, "one dead letter for each late point");
        assert_eq!(outcome.selected, outcome.merged + outcome.late, "what comes in comes out");
        outcome
    }

    /// Compares every point with the windows computed one by one from all samples.
    pub fn check(&self, outcome: &Outcome) {
        let mut expected: BTreeMap<(String, u64), Vec<f64>> = BTreeMap::new();
        for sample in &self.0 {
            for (size, slide) in WINDOWS {
                let (size, slide) = (size * 1_000, slide * 1_000);
                let time = sample.time.as_millis();
                let mut start = time - time % slide;
                while start + size > time {
                    let label = if size == slide { "10s" } else { "1m/10s" };
                    let key = (format!("host={},window={label}", sample.host), start + size);
                    expected.entry(key).or_default().push(sample.value);
                    start -= slide;
                }
            }
        }
        let found: Vec<_> = outcome.points.keys().cloned().collect();
        assert_eq!(found, expected.keys().cloned().collect::<Vec<_>>());
        for (key, values) in &expected {
            let point = &outcome.points[key];
            let number = |name: &str| f64::from_bits(point[name]);
            assert_eq!(number("count"), values.len() as f64, "{key:?}");
            assert_eq!(number("min"), values.iter().copied().fold(f64::INFINITY, f64::min));
            assert_eq!(number("max"), values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert!((number("mean") - mean).abs() <= 1e-9 * mean.abs().max(1e6), "{key:?}");
        }
    }
}

/// `host time value`, as [`Fleet::log`] writes it.
struct TestCodec;

impl Codec for TestCodec {
    fn decode(&mut self, batch: &RecordBatch<'_>, series: &mut SeriesTable, out: &mut Decoded) {
        for record in batch.records {
            let text = std::str::from_utf8(record.value.unwrap()).unwrap();
            let mut words = text.split(' ');
            let series_id = series.intern("m", &mut [("host", words.next().unwrap())]).unwrap();
            let time = EventTime::from_millis(words.next().unwrap().parse().unwrap());
            let field = series.intern_field("value").unwrap();
            let first = out.values.len() as u32;
            out.values.push((field, words.next().unwrap().parse().unwrap()));
            out.points.push(Point {
                series: series_id,
                event_time: time,
                admission_time: time,
                unread: 0,
                offset: record.offset,
                values: first..first + 1,
            });
        }
    }
}

struct MemorySources {
    log: MemoryLog,
    seed: u64,
}

impl Sources for MemorySources {
    fn partitions(&self) -> Vec<PartitionId> {
        self.log.partitions()
    }
    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        Ok(Box::new(self.log.reader_resuming(partitions, self.seed)))
    }
    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        vec![Box::new(TestCodec)]
    }
}

/// Keeps everything.
#[derive(Default)]
struct Memory {
    points: Mutex<Vec<MetricPoint>>,
    transitions: Mutex<Vec<Transition>>,
    active: Mutex<BTreeSet<(Incident, Labels)>>,
    letters: AtomicU64,
}

impl Outputs for Memory {
    fn points(&self, points: Vec<MetricPoint>) {
        self.points.lock().unwrap().extend(points);
    }
    fn logs(&self, _: Vec<LogLine>) {}
    fn dead_letters(&self, letters: Vec<DeadLetter>) {
        self.letters.fetch_add(letters.len() as u64, Ordering::Relaxed);
    }
    fn transitions(&self, transitions: Vec<Transition>) {
        self.transitions.lock().unwrap().extend(transitions);
    }
    fn active(&self, changes: Vec<((Incident, Labels), isize)>) {
        let mut active = self.active.lock().unwrap();
        for (incident, diff) in changes {
            let is_new = match diff {
                1 => active.insert(incident),
                -1 => active.remove(&incident),
                _ => false,
            };
            assert!(is_new, "a set changes by one, and only ends what is open: {diff}");
        }
    }
    fn is_full(&self) -> bool {
        false
    }
}

/// What a run put out, floats as bits.
pub struct Outcome {
    /// By labels and window end.
    pub points: BTreeMap<(String, u64), BTreeMap<String, u64>>,
    pub transitions: Vec<Transition>,
    pub late: u64,
    pub late_letters: u64,
    pub selected: u64,
    pub merged: u64,
    pub open_points_max: u64,
}

/// One way to run the pipeline.
#[derive(Copy, Clone, Debug)]
pub struct Run {
    pub workers: usize,
    pub seed: u64,
}

fn rule(for_: Duration, gap_tolerance: Duration) -> RuleSpec {
    let config = SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 90.0,
        for_,
        clear_for: PANE,
        gap_tolerance,
        pane: PaneSize::new(PANE).unwrap(),
    };
    RuleSpec {
        name: "hot".into(),
        severity: Severity::Critical,
        summary: "value above 90".into(),
        detector: Detector::Sustained(config),
    }
}

impl Run {
    pub fn of(self, log: &MemoryLog) -> Outcome {
        self.with(log, rule(Duration::from_secs(300), Duration::from_secs(60)), Duration::ZERO)
    }

    /// With corrections.
    fn late(self, log: &MemoryLog, lateness: Duration) -> Outcome {
        self.with(log, rule(Duration::from_secs(300), Duration::from_secs(60)), lateness)
    }

    /// With a rule of ten seconds that takes a gap of three for an end.
    pub fn with_short_rule(self, log: &MemoryLog) -> Vec<Transition> {
        self.with(log, rule(PANE, Duration::from_secs(3)), Duration::ZERO).transitions
    }

    fn with(self, log: &MemoryLog, rule: RuleSpec, allowed_lateness: Duration) -> Outcome {
        let end = EventTime::from_millis(1_700_100_000_000);
        let pane = PaneSize::new(PANE).unwrap();
        let selector = Selector {
            measurement: "m".into(),
            field: "value".into(),
            filters: Vec::new(),
            group_by: vec!["host".to_owned()],
        };
        let windows = WINDOWS.map(|(size, slide)| {
            let (size, slide) = (Duration::from_secs(size), Duration::from_secs(slide));
            WindowConfig { size, slide, allowed_lateness }
        });
        let statistic = StatisticSpec {
            name: "m".into(),
            windows: windows.to_vec(),
            aggregates: vec![
                Aggregate::Count,
                Aggregate::Mean,
                Aggregate::Min,
                Aggregate::Max,
                Aggregate::Stddev,
            ],
        };
        let spec = PipelineSpec::new(
            Topics::new(["t"]),
            TimeSpec {
                out_of_orderness: BOUND,
                idle_timeout: Duration::ZERO,
                future_tolerance: Duration::from_secs(600),
                max_lead: Duration::from_secs(120),
                clock: Clock::manual(end),
            },
            vec![FeedSpec { selector, pane, statistics: vec![statistic], rules: vec![rule] }],
        );
        let memory = Arc::new(Memory::default());
        let sources = Box::new(MemorySources { log: log.clone(), seed: self.seed });
        let outputs = Arc::clone(&memory) as Arc<dyn Outputs>;
        let shared = Shared::new(spec, sources, outputs, self.workers);
        let (counters, gauges) = (Arc::clone(&shared.counters), shared.gauges.clone());
        let membership = Membership::alone(NonZeroUsize::new(self.workers).unwrap());
        let running = start(&membership, shared).unwrap();
        let (deadline, mut open_points_max) = (Instant::now() + Duration::from_secs(60), 0);
        let counters: &tidewatch::pipeline::PipelineCounters = &counters;
        while counters.applied.load(Ordering::Relaxed) < end.as_millis() - 10_000 {
            assert!(Instant::now() < deadline, "event time stands still at {:?}", counters.applied);
            let open: &Arc<tidewatch_dataflow::ingest::PartitionGauges> = &gauges[0];
            open_points_max = open.open_points.load(Ordering::Relaxed).max(open_points_max);
            std::thread::sleep(Duration::from_millis(1));
        }
        running.stop();
        running.join().unwrap();
        assert!(memory.active.lock().unwrap().is_empty(), "every incident ended");
        let is_late = counters.feeds.corrections.load(Ordering::Relaxed) > 0;
        let mut points = BTreeMap::new();
        for point in memory.points.lock().unwrap().drain(..) {
            let fields = point.fields.iter().map(|(n, v)| (n.to_string(), v.to_bits())).collect();
            let key = (point.labels.to_string(), point.time.as_millis());
            let former = points.insert(key, fields);
            assert!(
                former.is_none() || is_late,
                "a window fired twice without a correction: {former:?}"
            );
        }
        let transitions = std::mem::take(&mut *memory.transitions.lock().unwrap());
        let feeds = &counters.feeds;
        let counter = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Outcome {
            points,
            transitions,
            late: counter(&feeds.late),
            late_letters: memory.letters.load(Ordering::Relaxed),
            selected: counter(&feeds.selected),
            merged: counter(&feeds.merged),
            open_points_max,
        }
    }
}
