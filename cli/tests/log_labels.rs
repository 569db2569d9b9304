//! Labels of log lines that nothing asks for: the pipeline puts out the same with and without them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidewatch::cluster::Membership;
use tidewatch::config::{self, PipelineConfig};
use tidewatch::pipeline::{Outputs, PipelineSpec, Shared, Sources, TimeSpec, start};
use tidewatch_connectors::codec::{LogLabels, SourceFormat, for_source};
use tidewatch_dataflow::alert::{Incident, Transition};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::ingest::ResumePoint;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{LogLine, PartitionId};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::testing::{MemoryLog, MemoryRecord};
use tidewatch_dataflow::time::{Clock, EventTime};

const START: u64 = 1_700_000_000_000;
const END: u64 = START + 3_600_000;
const FILE: &str = "[kafka]\nbrokers = [\"localhost:1\"]\n[[sources]]\ntopic = \"t\"\n";

/// A log as `auto` takes it.
struct MemorySources {
    log: MemoryLog,
    formats: Vec<SourceFormat>,
}

impl Sources for MemorySources {
    fn partitions(&self) -> Vec<PartitionId> {
        self.log.partitions()
    }
    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        Ok(Box::new(self.log.reader_resuming(partitions, 1)))
    }
    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        self.formats.iter().map(for_source).collect()
    }
}

/// Everything that a run puts out.
#[derive(Default)]
struct Memory {
    points: Mutex<Vec<MetricPoint>>,
    logs: Mutex<Vec<LogLine>>,
    letters: Mutex<Vec<String>>,
    transitions: Mutex<Vec<Transition>>,
}

impl Outputs for Memory {
    fn points(&self, points: Vec<MetricPoint>) {
        self.points.lock().unwrap().extend(points);
    }
    fn logs(&self, lines: Vec<LogLine>) {
        self.logs.lock().unwrap().extend(lines);
    }
    fn dead_letters(&self, letters: Vec<DeadLetter>) {
        self.letters.lock().unwrap().extend(letters.iter().map(|letter| format!("{letter:?}")));
    }
    fn transitions(&self, transitions: Vec<Transition>) {
        self.transitions.lock().unwrap().extend(transitions);
    }
    fn active(&self, _: Vec<((Incident, Labels), isize)>) {}
    fn is_full(&self) -> bool {
        false
    }
}

/// Ten minutes of lines of 40 hosts and four services, with errors in bursts, and among them a metric and two lines
/// that are refused.
fn log() -> MemoryLog {
    let mut partitions: BTreeMap<PartitionId, Vec<MemoryRecord>> = BTreeMap::new();
    for i in 0..3_000_u64 {
        let time = START + i * 200;
        let level = if i / 300 % 3 == 0 && i % 2 == 0 { "ERROR" } else { "info" };
        let host = match i {
            1_001 => "x".repeat(5_000),
            _ => format!("web-{}", i * 7 % 40),
        };
        let value = match i {
            2_001 => "{\"level\":\"ERROR\",\"message\":".to_owned(),
            i if i % 50 == 0 => format!(
                r#"{{"fields":{{"busy":{}}},"name":"cpu","tags":{{"host":"{host}"}},"timestamp":{time}}}"#,
                i % 97
            ),
            _ => format!(
                r#"{{"@timestamp":{time},"level":"{level}","service":"s{}","host":"{host}","message":"m {i}"}}"#,
                i / 3 % 4
            ),
        };
        let id = PartitionId { topic: 0, partition: (i % 3) as i32 };
        partitions.entry(id).or_default().push(MemoryRecord {
            key: None,
            value: Some(value.into_bytes()),
            created: EventTime::from_millis(time),
        });
    }
    MemoryLog::new(partitions)
}

/// What the pipeline of `config` makes of the log read as `formats`, in an order of its own.
fn run(config: &PipelineConfig, formats: Vec<SourceFormat>) -> [Vec<String>; 4] {
    let time = TimeSpec {
        out_of_orderness: Duration::from_secs(5),
        idle_timeout: Duration::ZERO,
        future_tolerance: Duration::from_secs(600),
        max_lead: Duration::from_secs(120),
        clock: Clock::manual(EventTime::from_millis(END)),
    };
    let spec = PipelineSpec::new(config.topics(), time, config.feeds());
    let memory = Arc::new(Memory::default());
    let outputs = Arc::clone(&memory) as Arc<dyn Outputs>;
    let shared = Shared::new(spec, Box::new(MemorySources { log: log(), formats }), outputs, 2);
    let counters = Arc::clone(&shared.counters);
    let running = start(&Membership::alone(NonZeroUsize::new(2).unwrap()), shared).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while counters.applied.load(Ordering::Relaxed) < END - 60_000 {
        assert!(Instant::now() < deadline, "event time stands still at {:?}", counters.applied);
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop();
    running.join().unwrap();
    let points = memory.points.lock().unwrap().iter().map(|p| format!("{p:?}")).collect();
    let logs = memory.logs.lock().unwrap().iter().map(|l| format!("{l:?}")).collect();
    let letters = memory.letters.lock().unwrap().clone();
    let transitions = memory.transitions.lock().unwrap().iter().map(|t| format!("{t:?}")).collect();
    [points, logs, letters, transitions].map(|mut all: Vec<String>| {
        all.sort();
        all
    })
}

fn statistic(measurement: &str, field: &str, rest: &str) -> String {
    format!(
        "[[statistics]]\nname = \"{measurement}\"\nmeasurement = \"{measurement}\"\nfield = \"{field}\"\n\
         windows = [{{ size = \"1m\", slide = \"10s\" }}]\naggregates = [\"count\", \"sum\"]\n{rest}\n"
    )
}

fn burst(rest: &str) -> String {
    format!(
        "[[rules]]\nname = \"errors\"\nkind = \"error_burst\"\nwindow = \"1m\"\nabove = 5\n{rest}\n"
    )
}

#[test]
fn what_is_put_out_does_not_depend_on_labels_that_nothing_asks_for() {
    let none = LogLabels::NONE;
    let by_service = burst("group_by = [\"service\"]\nwhere = { level = \"ERROR\" }");
    for (more, expected, has_alerts) in [
        (statistic("cpu", "busy", "group_by = [\"host\"]"), none, false),
        (statistic("log", "lines", "group_by = []"), none, false),
        (
            statistic("log", "lines", "group_by = [\"service\"]\nwhere = { level = \"ERROR\" }"),
            LogLabels { host: false, ..LogLabels::ALL },
            false,
        ),
        (
            statistic("cpu", "busy", "group_by = [\"host\"]") + &by_service,
            LogLabels { host: false, ..LogLabels::ALL },
            true,
        ),
        (
            statistic(
                "log",
                "lines",
                "group_by = [\"host\"]\nwhere = { service = [\"s1\", \"s2\"] }",
            ),
            LogLabels { level: false, ..LogLabels::ALL },
            false,
        ),
        (
            statistic("log", "lines", "group_by = [\"level\"]") + &by_service,
            LogLabels { host: false, ..LogLabels::ALL },
            true,
        ),
        (
            statistic("log", "lines", "where = { host = \"web-7\" }\ngroup_by = []") + &by_service,
            LogLabels::ALL,
            true,
        ),
    ] {
        let config = config::parse(&format!("{FILE}{more}"), "t.toml").unwrap();
        let whole: Vec<_> = config.sources.iter().map(|source| source.format.clone()).collect();
        assert_eq!(whole[0].log_labels, LogLabels::ALL);
        let cut = config.formats();
        assert_eq!(cut[0].log_labels, expected, "{more}");
        let [with, without] = [whole, cut].map(|formats| run(&config, formats));
        assert_eq!(with, without, "{more}");
        let [points, logs, letters, transitions] = with;
        assert_eq!(
            (points.is_empty(), logs.len(), letters.len()),
            (config.statistics.is_empty(), 2_938, 2)
        );
        assert_eq!(!transitions.is_empty(), has_alerts, "{more}");
    }
}
