//! The reference against cases counted by hand, and the comparison against every kind of fault.

use std::fs;
use std::path::Path;

use tidewatch::generate::output::files;
use tidewatch::generate::{Fact, Options, Topic, Workload};

use super::fold::{Fold, Observation, Partition};
use super::*;

const START: u64 = 1_700_000_000_000;

fn metric<'a>(key: &'a str, second: u64, measurement: &'static str, value: f64) -> Observation<'a> {
    Observation {
        key,
        event_time: START + second * 1_000,
        fact: Fact::Metric { measurement, value },
        is_late: None,
        is_mark: false,
    }
}

fn error(key: &str, second: u64) -> Observation<'_> {
    Observation { fact: Fact::Log { is_error: true }, ..metric(key, second, "", 0.0) }
}

/// The answers about records of one partition of metrics and one of logs, over `seconds`.
fn of(
    seconds: u64,
    metrics: &[Observation<'_>],
    logs: &[Observation<'_>],
) -> Result<Reference, ReferenceError> {
    let mut fold = Fold::new(START, START + seconds * 1_000, 2);
    for (topic, records) in [(Topic::Metrics, metrics), (Topic::Logs, logs)] {
        let mut partition = Partition::new(topic, 0);
        for record in records {
            fold.observe(&mut partition, record)?;
        }
    }
    Ok(fold.finish())
}

#[test]
fn four_samples_and_four_lines_by_hand() {
    let metrics = [
        metric("a", 3, "cpu", 10.0),
        metric("a", 1, "cpu", 30.0),
        metric("a", 12, "cpu", 95.0),
        metric("a", 12, "mem", 40.0),
    ];
    let info = Observation { fact: Fact::Log { is_error: false }, ..error("s", 13) };
    let logs = [error("s", 5), error("s", 5), error("s", 12), info, error("t", 14)];
    let reference = of(30, &metrics, &logs).unwrap();
    let lines = |query| reference.csv(query).replace("17000000", "");
    assert_eq!(
        lines(Query::Q1),
        "10000,cpu,a,2,20,10,30\n20000,cpu,a,1,95,95,95\n20000,mem,a,1,40,40,40\n"
    );
    assert_eq!(lines(Query::Q2), "10000,a,20,30\n20000,a,45,95\n30000,a,45,95\n");
    assert_eq!(lines(Query::Q3), "");
    assert_eq!(lines(Query::Q4), "20000,s,3\n30000,s,3\n", "more than two");
}

#[test]
fn windows_slide_out_of_what_they_held() {
    let metrics =
        [metric("a", 0, "cpu", 10.0), metric("a", 299, "cpu", 20.0), metric("a", 300, "cpu", 60.0)];
    let reference = of(1_000, &metrics, &[error("s", 0), error("s", 1), error("s", 2)]).unwrap();
    let at = |second: u64| reference.q2.get(&(START + second * 1_000, "a".into())).copied();
    assert_eq!(at(290), Some(MeanMax { mean: 10.0, max: 10.0 }));
    assert_eq!(at(300), Some(MeanMax { mean: 15.0, max: 20.0 }));
    assert_eq!(at(310), Some(MeanMax { mean: 40.0, max: 60.0 }));
    assert_eq!(at(600), Some(MeanMax { mean: 60.0, max: 60.0 }));
    assert_eq!((at(610), at(0)), (None, None));
    let ends: Vec<u64> = reference.q4.keys().map(|(end, _)| (end - START) / 1_000).collect();
    assert_eq!(ends, [10, 20, 30, 40, 50, 60]);
    // A run that ends in between: what ends later has no answer.
    let short = of(305, &metrics, &[]).unwrap();
    assert_eq!(short.q2.keys().next_back().map(|(end, _)| *end), Some(START + 300_000));
    assert_eq!(short.q1.len(), 2);
}

#[test]
fn a_condition_must_span_more_than_300_s_without_a_sample_below() {
    let run = |host: &'static str, from: u64, to: u64| {
        (from..=to).map(move |second| metric(host, second, "cpu", 90.5))
    };
    let mut metrics: Vec<_> = run("exact", 100, 400).chain(run("longer", 100, 401)).collect();
    metrics.extend(run("gap", 100, 600).filter(|record| record.event_time != START + 300_000));
    metrics.extend(run("broken", 100, 600));
    metrics.push(metric("broken", 350, "cpu", 90.0));
    metrics.push(metric("other", 500, "mem", 99.0));
    metrics.sort_by_key(|record| record.event_time);
    let reference = of(700, &metrics, &[]).unwrap();
    let broken_has_none = !reference.q3.contains_key("broken");
    assert_eq!(reference.csv(Query::Q3), "gap,1700000100000\nlonger,1700000100000\n");
    assert!(
        broken_has_none,
        "a sample at 350 s is not above, and of two at one time one is enough"
    );
}

#[test]
fn late_records_are_refused_and_their_labels_are_checked() {
    let late = metric("a", 10, "cpu", 99.0);
    let new = metric("a", 1_000, "cpu", 1.0);
    let reference = of(2_000, &[new, late], &[]).unwrap();
    assert_eq!((reference.refused, reference.q1.len()), (1, 1));
    assert_eq!(reference.metrics["cpu"], 2);
    let labelled = |is_late| Observation { is_late: Some(is_late), ..late };
    assert!(of(2_000, &[new, labelled(true)], &[]).is_ok());
    let told = |records: &[Observation<'_>]| of(2_000, records, &[]).unwrap_err().to_string();
    let unlabelled = told(&[new, labelled(false)]);
    assert_eq!(
        unlabelled,
        "record 1 of partition 0 of fleet-metrics is 990000 ms behind the newest, which is late, and it has no such label"
    );
    assert!(told(&[labelled(true)]).contains("not late"));
    assert!(told(&[new, metric("a", 900, "cpu", 1.0)]).contains("not late enough"));
    // Five seconds are within the bound.
    assert_eq!(of(2_000, &[new, metric("a", 995, "cpu", 1.0)], &[]).unwrap().refused, 0);
    // The other partitions do not matter.
    let mut fold = Fold::new(START, START + 2_000_000, 2);
    fold.observe(&mut Partition::new(Topic::Metrics, 0), &new).unwrap();
    fold.observe(&mut Partition::new(Topic::Metrics, 1), &late).unwrap();
    assert_eq!(fold.finish().refused, 0);
}

#[test]
fn the_generator_and_its_files_give_the_same_answers() {
    let workload = Workload::new(Options { hosts: 50, ..Options::new(2, 150 * 1_000) }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let labels = files::write(&workload, folder.path(), 2, |_| {}).unwrap();
    let reference = Reference::of_workload(&workload).unwrap();
    assert_eq!(reference, Reference::of_folder(folder.path()).unwrap());
    assert_eq!(reference.refused, labels.late.metrics + labels.late.logs);
    assert!(labels.late.metrics > 100 && labels.late.logs > 5);
    assert_eq!(reference.metrics.values().sum::<u64>(), 150_000);
    let labelled: BTreeMap<Name, Vec<(u64, u64)>> = labels
        .incidents
        .iter()
        .filter(|incident| incident.is_sustained)
        .map(|incident| {
            (incident.host.as_str().into(), vec![(incident.first_ms, incident.last_ms)])
        })
        .collect();
    assert_eq!(reference.q3, labelled);
    assert_eq!(labelled.len(), 2);
    for burst in &labels.bursts[1..] {
        let found = reference.q4.keys().any(|(end, service)| {
            **service == burst.service && (burst.last_ms..burst.last_ms + 10_001).contains(end)
        });
        assert!(found, "{burst:?}");
    }
    assert_eq!(reference.q1.len(), 50 * 3 * 100);
    assert_eq!(reference.q2.len(), 50 * 100);
}

/// A reference, and a folder with its answers.
fn answered() -> (Reference, tempfile::TempDir) {
    let run = (0..400).map(|second| metric("a", second, "cpu", 91.0));
    let mut metrics: Vec<_> = run.chain([metric("b", 395, "disk", 0.1)]).collect();
    metrics.sort_by_key(|record| record.event_time);
    let logs: Vec<_> = [50, 50, 51, 52].map(|second| error("s", second)).to_vec();
    let reference = of(400, &metrics, &logs).unwrap();
    let folder = tempfile::tempdir().unwrap();
    reference.write(folder.path()).unwrap();
    (reference, folder)
}

fn verdict(folder: &Path, reference: &Reference, corrects: bool) -> String {
    compare(folder, reference, &Query::ALL, corrects).unwrap().to_string()
}

#[test]
fn every_kind_of_fault_is_found() {
    let (reference, folder) = answered();
    let folder = folder.path();
    let check = |file: &str, text: &str, expected: &str| {
        let path = folder.join(file);
        let before = fs::read_to_string(&path).ok();
        fs::write(&path, text).unwrap();
        assert_eq!(verdict(folder, &reference, false), expected, "{file} with {text}");
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    };
    let csv = |query| reference.csv(query);
    let (q1, q3, q4) = (csv(Query::Q1), csv(Query::Q3), csv(Query::Q4));
    assert_eq!(q3, "a,1700000000000\n");
    let last = "1700000400000,disk,b,1,0.1,0.1,0.1\n";
    let without = q1.replace(last, "");
    check("q1.csv", &q1, "ok");
    check("q1.csv", &without, "wrong(q1: 1 missing)");
    check("q1.csv", &format!("{last}{without}"), "ok");
    // Differences below one part in a thousand million, other spellings, other files.
    check(
        "q1.csv",
        &(without.clone() + "1700000400000, disk, b, 1.0, 1.000000000001e-1, .1, 0.10\r\n\n"),
        "ok",
    );
    check(
        "q1.csv",
        &(without.clone() + "1700000400000,disk,b,1,0.1001,0.1,0.1\n"),
        "wrong(q1: 1 wrong)",
    );
    check(
        "q1.csv",
        &(without.clone() + "1700000400000,disk,b,2,0.1,0.1,0.1\n"),
        "wrong(q1: 1 wrong)",
    );
    check(
        "q1.csv",
        &(without + "1700000400000,disk,c,1,0.1,0.1,0.1\n"),
        "wrong(q1: 1 missing, 1 extra)",
    );
    check("q1.csv", &(q1.clone() + last), "ok");
    check("q1-9.csv", last, "ok");
    check("q1-9.csv", "1700000400000,disk,b,1,0.2,0.1,0.1\n", "wrong(q1: 1 wrong)");
    check("q1-9.csv", "1700000410000,disk,b,1,7,7,7\n", "ok");
    check("q1-9.csv", "1700000000000,disk,b,1,7,7,7\n", "wrong(q1: 1 extra)");
    check("q1-9.csv", "1700000005000,disk,b,1,7,7,7\n", "wrong(q1: 1 extra)");
    check("q1-9.csv", "window_end_ms,measurement,host,count\n", "wrong(q1: 1 malformed)");
    check("q1-9.csv", "1700000400000,swap,b,1,7,7,7\n", "wrong(q1: 1 malformed)");
    check("q1.csv.part", "nonsense", "ok");
    check("q2.csv", "", "wrong(q2: 40 missing)");
    check("q3.csv", "", "wrong(q3: 1 missing)");
    check("q3.csv", "a,1700000301000\n", "ok");
    check("q3.csv", "a,1700000301000\na,1700000000000\n", "ok");
    check("q3.csv", "a,1699999900000\n", "wrong(q3: 1 wrong)");
    check("q3.csv", &(q3.clone() + "a,1700000900000\n"), "wrong(q3: 1 extra)");
    check("q3.csv", &(q3 + "b,1700000000000\n"), "wrong(q3: 1 extra)");
    check("q3.csv", "a\n", "wrong(q3: 1 missing, 1 malformed)");
    check("q4.csv", &q4.replace(",4\n", ",3\n"), "wrong(q4: 6 wrong)");
    check("q4.csv", &(q4 + "1700000130000,s,2\n"), "wrong(q4: 1 extra)");
    fs::remove_file(folder.join("q1.csv")).unwrap();
    fs::remove_file(folder.join("q3.csv")).unwrap();
    assert_eq!(verdict(folder, &reference, false), "wrong(q1: 41 missing; q3: 1 missing)");
    let some = compare(folder, &reference, &[Query::Q2, Query::Q4], false).unwrap();
    assert!(some.is_ok(), "{some}");
    assert!(compare(&folder.join("none"), &reference, &Query::ALL, false).is_err());
}

#[test]
fn corrections_count_only_where_they_are_known_to_come() {
    let (reference, folder) = answered();
    let folder = folder.path();
    let (q1, last) = (reference.csv(Query::Q1), "1700000400000,disk,b,1,0.1,0.1,0.1\n");
    let early = "1700000400000,disk,b,1,9,9,9\n";
    fs::write(folder.join("q1.csv"), format!("{early}{q1}")).unwrap();
    assert_eq!(verdict(folder, &reference, true), "ok");
    assert_eq!(verdict(folder, &reference, false), "wrong(q1: 1 wrong)");
    fs::write(folder.join("q1.csv"), format!("{q1}{early}")).unwrap();
    assert_eq!(verdict(folder, &reference, true), "wrong(q1: 1 wrong)", "the last one counts");
    fs::write(folder.join("q1.csv"), &q1).unwrap();
    fs::write(folder.join("q1-other.csv"), format!("{early}{last}")).unwrap();
    assert_eq!(verdict(folder, &reference, true), "ok", "the last ones of both files");
    fs::remove_file(folder.join("q1-other.csv")).unwrap();
    for name in ["q1-other.csv", "q1.zz.csv"] {
        let file = folder.join(name);
        fs::write(&file, format!("{last}{early}")).unwrap();
        let told = verdict(folder, &reference, true);
        assert_eq!(told, "wrong(q1: 1 wrong)", "of two files none is the last");
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn totals_count_samples_whatever_their_window() {
    let (reference, folder) = answered();
    let folder = folder.path();
    let total = || compare_totals(folder, &reference).unwrap().to_string();
    assert_eq!(total(), "ok");
    let rows = |cpu: u64, disk: u64| {
        let text = format!("7,cpu,a,{cpu},1,1,1\n9,disk,b,{disk},1,1,1\n");
        fs::write(folder.join("q1.csv"), text).unwrap();
    };
    rows(412, 1);
    assert_eq!(total(), "ok", "end marks may be counted");
    rows(413, 1);
    assert_eq!(total(), "wrong(q1: 1 extra)");
    rows(390, 0);
    assert_eq!(total(), "wrong(q1: 11 missing)");
}

#[test]
fn examples_are_few() {
    let (reference, folder) = answered();
    fs::write(folder.path().join("q2.csv"), "").unwrap();
    let verdict = compare(folder.path(), &reference, &Query::ALL, false).unwrap();
    let examples = &verdict.faults[&Query::Q2].examples;
    assert_eq!(examples.len(), 5);
    assert!(examples[0].starts_with("missing: (1700000010000, \"a\")"), "{examples:?}");
}
