//! What the workload promises, checked on its records.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::Value;
use tidewatch_dataflow::series::StableHash;

use super::labels::Counted;
use super::output::{Writer, write_all};
use super::*;

/// A record that is kept.
#[derive(Clone, Debug)]
struct Kept {
    key: String,
    payload: Vec<u8>,
    event_time: u64,
    fact: Fact,
    is_late: bool,
    is_mark: bool,
}

fn workload(options: Options) -> Workload {
    Workload::new(options).unwrap()
}

/// 50 hosts once a second.
fn small(seed: u64, seconds: u64) -> Workload {
    workload(Options { hosts: 50, ..Options::new(seed, 150 * seconds) })
}

/// The records of every partition of `topic`.
fn partitions(workload: &Workload, topic: Topic) -> Vec<Vec<Kept>> {
    let one = |partition| {
        let mut kept = Vec::new();
        let done: Result<(), Infallible> = workload.records(topic, partition, |record| {
            kept.push(Kept {
                key: record.key.to_owned(),
                payload: record.payload.to_vec(),
                event_time: record.event_time,
                fact: record.fact,
                is_late: record.is_late,
                is_mark: record.is_mark,
            });
            Ok(())
        });
        done.unwrap();
        kept
    };
    (0..PARTITIONS).map(one).collect()
}

fn all(workload: &Workload, topic: Topic) -> Vec<Kept> {
    partitions(workload, topic).concat()
}

fn fingerprint(workload: &Workload) -> u64 {
    let mut hash = StableHash::default();
    for topic in Topic::ALL {
        for record in all(workload, topic) {
            hash.write(record.key.as_bytes());
            hash.write(&record.payload);
        }
    }
    hash.finish()
}

/// Whoever changes a byte of the workload breaks comparisons with earlier runs: then the version in
/// `docs/benchmark.md` has to rise too.
#[test]
fn the_bytes_of_a_seed_never_change() {
    assert_eq!(fingerprint(&small(1, 640)), GOLDEN);
    assert_ne!(fingerprint(&small(2, 640)), GOLDEN);
}

const GOLDEN: u64 = 8_646_460_567_547_161_184;

#[test]
fn messages_say_what_the_facts_say() {
    let workload = workload(Options { hosts: 130, ..Options::new(5, 130 * 3 * 700) });
    for record in all(&workload, Topic::Metrics) {
        let Fact::Metric { measurement, value } = record.fact else { panic!("{record:?}") };
        let json: Value = serde_json::from_slice(&record.payload).unwrap();
        let field = if measurement == "cpu" { "usage_active" } else { "used_percent" };
        assert_eq!(json["fields"][field].as_f64(), Some(value));
        assert_eq!(json["name"], measurement);
        assert_eq!(json["tags"]["host"], *record.key);
        assert_eq!(json["timestamp"], record.event_time);
        assert!((200..=330).contains(&record.payload.len()), "{record:?}");
        assert!((0.0..=100.0).contains(&value));
        let fields = json["fields"].as_object().unwrap();
        let sum = |names: &[&str]| names.iter().map(|n| fields[*n].as_f64().unwrap()).sum::<f64>();
        match measurement {
            "cpu" => {
                let parts = sum(&["usage_iowait", "usage_system", "usage_user"]);
                assert!((parts - value).abs() < 1e-9);
                assert!((sum(&["usage_idle", "usage_active"]) - 100.0).abs() < 1e-9);
            }
            "mem" => {
                assert_eq!(sum(&["available", "used"]), fields["total"].as_f64().unwrap());
                assert_eq!(sum(&["cached", "free"]), fields["available"].as_f64().unwrap());
            }
            _ => assert_eq!(sum(&["free", "used"]), fields["total"].as_f64().unwrap()),
        }
    }
    let mut levels = BTreeMap::<String, u32>::new();
    for record in all(&workload, Topic::Logs) {
        let json: Value = serde_json::from_slice(&record.payload).unwrap();
        let time: jiff::Timestamp = json["@timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(u64::try_from(time.as_millisecond()), Ok(record.event_time));
        assert_eq!(json["service"], *record.key);
        let level = json["level"].as_str().unwrap();
        assert_eq!(record.fact, Fact::Log { is_error: level == "ERROR" });
        *levels.entry(level.to_owned()).or_default() += 1;
    }
    let names: Vec<_> = levels.keys().map(String::as_str).collect();
    assert_eq!(names, ["DEBUG", "ERROR", "INFO", "WARN"]);
}

/// The least margin between the newest event time and a record, per record of a partition in order.
fn check_order(records: &[Kept], is_long: bool) -> u64 {
    let (mut newest, mut late) = (0, 0);
    for record in records {
        let behind = newest.max(record.event_time) - record.event_time;
        if record.is_late {
            late += 1;
            // It arrives 600 to 1,200 s after its time, when the newest is up to 2 s old, or some seconds
            // where a partition has few records.
            assert!((590_000..1_200_000).contains(&behind), "{behind} ms late");
        } else {
            assert!(behind < DISORDER_MS, "{behind} ms out of order");
        }
        newest = newest.max(record.event_time);
    }
    assert!(is_long || late == 0);
    late
}

#[test]
fn disorder_is_bounded_and_one_in_a_thousand_is_late() {
    let workload = small(3, 2_400);
    for topic in Topic::ALL {
        let partitions = partitions(&workload, topic);
        let late: u64 = partitions.iter().map(|records| check_order(records, true)).sum();
        let records: usize = partitions.iter().map(Vec::len).sum();
        let share = late as f64 / records as f64;
        let (least, most) = if topic == Topic::Metrics { (9e-4, 1.1e-3) } else { (7e-4, 1.3e-3) };
        assert!((least..most).contains(&share), "{late} of {records}");
        let disordered = partitions
            .iter()
            .map(|records| records.windows(2).filter(|w| w[0].event_time > w[1].event_time).count())
            .sum::<usize>();
        assert!(disordered > records / 5, "only {disordered} of {records} are out of order");
    }
}

#[test]
fn incidents_last_exactly_as_long_as_planned() {
    let workload = small(11, 1_500);
    let labels = Labels::new(&workload, Counted::default(), Counted::default());
    assert_eq!(labels.incidents.len(), 4);
    let mut samples = BTreeMap::<String, Vec<(u64, bool, bool)>>::new();
    for record in all(&workload, Topic::Metrics) {
        if let Fact::Metric { measurement: "cpu", value } = record.fact {
            let sample = (record.event_time, value > 90.0, record.is_late);
            samples.entry(record.key).or_default().push(sample);
        }
    }
    let mut spikes = 0;
    for (host, mut samples) in samples {
        samples.sort_unstable();
        let incident = labels.incidents.iter().find(|incident| incident.host == host);
        for run in samples.chunk_by(|a, b| a.1 == b.1).filter(|run| run[0].1) {
            let (first, last) = (run[0], run[run.len() - 1]);
            match incident.filter(|incident| incident.first_ms == first.0) {
                Some(incident) => {
                    assert_eq!(incident.last_ms, last.0);
                    assert_eq!(last.0 - first.0, incident.planned_s * 1_000);
                    assert_eq!(run.len() as u64, incident.planned_s + 1);
                    assert_eq!(incident.is_sustained, incident.planned_s > 300);
                    assert!(!first.2 && !last.2, "the ends are not late");
                    assert!(last.0 + 60_000 <= workload.end_ms());
                }
                None => {
                    assert!(last.0 - first.0 < 5_000, "{host} is busy without a label");
                    spikes += 1;
                    let near = incident.is_some_and(|incident| {
                        first.0 + 60_000 >= incident.first_ms
                            && first.0 <= incident.last_ms + 60_000
                    });
                    assert!(!near, "{host} has a spike near its incident");
                }
            }
        }
        if let Some(incident) = incident {
            assert!(samples.contains(&(incident.first_ms, true, false)), "{incident:?}");
        }
    }
    assert!(spikes > 40, "{spikes}");
}

#[test]
fn sparse_incidents_keep_away_from_the_limit_of_300_s() {
    for interval in [1, 7, 10, 60] {
        let messages = 150 * (1_800 / u64::from(interval));
        let workload = workload(Options { hosts: 50, interval, ..Options::new(4, messages) });
        let labels = Labels::new(&workload, Counted::default(), Counted::default());
        assert_eq!(labels.incidents.len(), 4);
        let cpu: HashSet<(String, u64)> = all(&workload, Topic::Metrics)
            .into_iter()
            .filter(|record| matches!(record.fact, Fact::Metric { measurement: "cpu", value } if value > 90.0))
            .map(|record| (record.key, record.event_time))
            .collect();
        for label in labels.incidents {
            let span = label.last_ms - label.first_ms;
            assert_eq!(label.is_sustained, label.planned_s > 300, "{label:?} at {interval} s");
            assert!(span != 300_000, "{label:?} at {interval} s");
            for time in [label.first_ms, label.last_ms] {
                assert!(cpu.contains(&(label.host.clone(), time)), "{label:?} at {interval} s");
            }
        }
    }
}

#[test]
fn bursts_come_on_top_of_one_percent_of_errors() {
    let workload = workload(Options::new(9, 3_000 * 400));
    let labels = Labels::new(&workload, Counted::default(), Counted::default());
    assert_eq!((labels.bursts.len(), labels.error_threshold), (6, 20));
    let services: BTreeSet<_> = labels.bursts.iter().map(|burst| &burst.service).collect();
    assert_eq!(services.len(), 6);
    let records = all(&workload, Topic::Logs);
    let errors: Vec<&Kept> =
        records.iter().filter(|r| r.fact == Fact::Log { is_error: true } && !r.is_mark).collect();
    let extra: u64 = labels.bursts.iter().map(|burst| burst.lines).sum();
    let usual = errors.len() as f64 - extra as f64;
    assert!((usual / 120_000.0 - 0.01).abs() < 0.001, "{usual} errors");
    for burst in &labels.bursts {
        let within = errors.iter().filter(|r| {
            r.key == burst.service && (burst.first_ms..=burst.last_ms).contains(&r.event_time)
        });
        assert!(within.count() as u64 >= burst.lines, "{burst:?}");
    }
    let counts: Vec<u64> = labels.bursts.iter().map(|burst| burst.lines).collect();
    assert_eq!(counts, [20, 30, 40, 50, 60, 70]);
}

#[test]
fn larger_fleets_have_a_higher_threshold() {
    let of = |hosts, seconds| {
        workload(Options { hosts, ..Options::new(1, 3 * u64::from(hosts) * seconds) })
            .error_threshold()
    };
    // Four times 36 lines a minute.
    assert_eq!((of(1_000, 100), of(10_000, 100)), (20, 144));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_sample_is_there_once_whatever_the_options(
        seed: u64, hosts in 50_u32..160, interval in 1_u32..14, rounds in 1_u64..70, start in 0_u64..START_MAX,
    ) {
        let messages = 3 * u64::from(hosts) * rounds;
        let workload = workload(Options { seed, messages, hosts, interval, start });
        let mut seen = HashSet::new();
        for (partition, records) in partitions(&workload, Topic::Metrics).into_iter().enumerate() {
            let is_long = workload.end_ms() - workload.start_ms() > LATE_MIN_MS;
            check_order(&records[..records.len() - 3], is_long);
            for record in &records {
                let Fact::Metric { measurement, .. } = record.fact else { panic!("{record:?}") };
                prop_assert!(seen.insert((record.key.clone(), record.event_time, measurement)));
                let number: usize = record.key.rsplit('-').next().unwrap().parse().unwrap();
                prop_assert_eq!(number % 12, partition);
                prop_assert!((200..=330).contains(&record.payload.len()));
                if record.is_mark {
                    prop_assert_eq!(&record.key, &format!("end-{partition:02}"));
                    prop_assert_eq!(record.event_time, workload.end_ms() + MARK_AFTER_MS);
                } else {
                    prop_assert!((start..workload.end_ms()).contains(&record.event_time));
                }
            }
            prop_assert!(records[records.len() - 3..].iter().all(|record| record.is_mark));
        }
        prop_assert_eq!(seen.len() as u64, messages + 36);
        prop_assert_eq!(workload.count(Topic::Metrics), messages + 36);
        let logs = partitions(&workload, Topic::Logs);
        let count: usize = logs.iter().map(Vec::len).sum();
        prop_assert_eq!(workload.count(Topic::Logs), count as u64);
        let extra: u64 = workload.bursts.iter().map(|burst| burst.lines).sum();
        prop_assert_eq!(count as u64, messages / 10 + extra + 12);
        for records in logs {
            prop_assert!(records.last().is_some_and(|record| record.is_mark));
        }
    }
}

/// Remembers what it was given, and fails at a record if it has to.
struct Remembering<'a> {
    written: &'a AtomicU64,
    fails_at: Option<u64>,
}

impl Writer for Remembering<'_> {
    type Error = u64;

    fn write(&mut self, _record: &Record<'_>) -> Result<(), u64> {
        let written = self.written.fetch_add(1, Ordering::Relaxed);
        if self.fails_at.is_some_and(|at| written >= at) { Err(written) } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), u64> {
        Ok(())
    }
}

#[test]
fn what_is_written_is_counted_and_the_first_failure_ends_it() {
    let workload = small(1, 700);
    for threads in [0, 1, 3, 100] {
        let written = AtomicU64::new(0);
        let open = |_, _| Ok(Remembering { written: &written, fails_at: None });
        let labels = write_all(&workload, threads, open, |_| {}).unwrap();
        assert_eq!(labels.records.metrics, workload.count(Topic::Metrics));
        assert_eq!(labels.records.logs, workload.count(Topic::Logs));
        assert_eq!((labels.marks.metrics, labels.marks.logs), (36, 12));
        assert!(labels.late.metrics > 0);
        assert_eq!(labels.records.metrics + labels.records.logs, written.into_inner());

        let written = AtomicU64::new(0);
        let open = |_, _| Ok(Remembering { written: &written, fails_at: Some(5_000) });
        assert!(write_all(&workload, threads, open, |_| {}).is_err());
        assert!(written.into_inner() < 60_000, "the others stop soon");
    }
}
