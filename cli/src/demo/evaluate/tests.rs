//! Runs that pass and, one by one, the ways in which a run must fail.

use tidewatch_dataflow::alert::{EndReason, Reading, Severity, TransitionKind};
use tidewatch_dataflow::series::Labels;

use super::super::fleet::{RULE_BURST, RULE_CPU};
use super::*;

/// Live data begin at 1,000 s; the run lasts until 1,090 s.
fn facts() -> RunFacts {
    RunFacts {
        seed: 7,
        hosts: 10,
        start: at(1_000),
        end: at(1_090),
        records_read: 5_000,
        windows_fired: 900,
        catch_up_records: 4_000,
        catch_up: Some(Duration::from_secs(2)),
    }
}

fn at(seconds: u64) -> EventTime {
    EventTime::from_millis(seconds * 1_000)
}

fn host(name: &str) -> Labels {
    Labels::from_pairs([("host", name)])
}

fn cpu_fault(name: &str, start: u64, length: u64) -> Fault {
    let must_alert = length >= 300;
    Fault {
        kind: if must_alert { FaultKind::CpuSustained } else { FaultKind::CpuShort },
        rule: RULE_CPU,
        group: host(name),
        start: at(start),
        end: at(start + length),
        due: if must_alert { at(start + 300) } else { at(start + length) },
        must_alert,
    }
}

fn opening(rule: &str, group: Labels, started: u64, held: u64) -> Seen {
    Seen {
        transition: Transition {
            decided_at: at(held.next_multiple_of(10)),
            incident: IncidentId::new(rule, &group, at(started)),
            sequence: 0,
            kind: TransitionKind::Opened,
            rule: rule.into(),
            group,
            severity: Severity::Critical,
            started_at: at(started),
            at: at(held),
            value: Reading(95.0),
            summary: "usage_active above 90 for 5m".into(),
        },
        seen_at: at(held.max(1_000) + 12),
    }
}

fn ending(opening: &Seen, when: u64) -> Seen {
    let mut ended = opening.clone();
    ended.transition.sequence = 1;
    ended.transition.kind = TransitionKind::Ended(EndReason::Recovered);
    (ended.transition.at, ended.transition.decided_at) = (at(when), at(when.next_multiple_of(10)));
    ended
}

#[test]
fn a_good_run_passes_with_its_delays() {
    let faults = [cpu_fault("a", 500, 400), cpu_fault("b", 700, 280), cpu_fault("c", 743, 400)];
    let (a, c) = (opening(RULE_CPU, host("a"), 500, 800), opening(RULE_CPU, host("c"), 743, 1_043));
    let report = evaluate(&faults, &[ending(&a, 900), a, c], &facts());
    assert_eq!((report.exit_code(), report.verdict, report.missed), (0, "pass", 0));
    assert_eq!(report.alerts, AlertCounts { opened: 2, ended: 1 });
    let outcomes: Vec<Outcome> = report.faults.iter().map(|fault| fault.outcome).collect();
    assert_eq!(outcomes, [Outcome::Detected, Outcome::Quiet, Outcome::Detected]);
    assert_eq!(report.faults[0].wall_delay_seconds, Some(12.0), "from the start of live data");
    assert_eq!(report.faults[2].delay_seconds, Some(7.0), "from 1,043 s to the pane's end");
    assert_eq!(report.faults[2].wall_delay_seconds, Some(12.0));
    assert_eq!(report.catch_up.unwrap().records_per_second, 2_000.0);
}

#[test]
fn a_missed_fault_fails() {
    let report = evaluate(&[cpu_fault("a", 500, 400)], &[], &facts());
    assert_eq!((report.exit_code(), report.verdict, report.missed), (1, "fail", 1));
    assert_eq!(report.faults[0].outcome, Outcome::Missed);
}

#[test]
fn a_fault_counts_as_missed_only_after_the_grace() {
    let end = 1_090;
    for (due, outcome) in [(end - 35, Outcome::Missed), (end - 34, Outcome::NotDue)] {
        let report = evaluate(&[cpu_fault("a", due - 300, 400)], &[], &facts());
        assert_eq!(report.faults[0].outcome, outcome, "due at {due}");
        assert_eq!(report.exit_code() == 1, outcome == Outcome::Missed);
    }
}

#[test]
fn an_alert_for_a_short_episode_fails() {
    let report =
        evaluate(&[cpu_fault("a", 700, 280)], &[opening(RULE_CPU, host("a"), 700, 979)], &facts());
    assert_eq!((report.exit_code(), report.false_alarms.len()), (1, 1));
    assert_eq!(report.faults[0].outcome, Outcome::FalseAlarm);
}

#[test]
fn an_alert_about_nothing_fails() {
    let report = evaluate(&[], &[opening(RULE_CPU, host("a"), 700, 1_000)], &facts());
    assert_eq!((report.exit_code(), report.missed), (1, 0));
    assert_eq!(report.false_alarms[0].group, "host=a");
}

#[test]
fn another_rule_another_host_or_another_time_is_no_detection() {
    let fault = [cpu_fault("a", 500, 400)];
    for wrong in [
        opening(RULE_BURST, host("a"), 500, 800),
        opening(RULE_CPU, host("b"), 500, 800),
        opening(RULE_CPU, host("a"), 150, 499),
        opening(RULE_CPU, host("a"), 661, 961),
    ] {
        let report = evaluate(&fault, &[wrong], &facts());
        assert_eq!((report.missed, report.false_alarms.len()), (1, 1));
    }
}

#[test]
fn a_second_incident_for_one_fault_is_false_and_a_repeated_transition_is_not() {
    let fault = [cpu_fault("a", 500, 500)];
    let first = opening(RULE_CPU, host("a"), 500, 800);
    let report = evaluate(&fault, &[first.clone(), first.clone()], &facts());
    assert_eq!((report.exit_code(), report.alerts.opened), (0, 1));
    let report = evaluate(&fault, &[first, opening(RULE_CPU, host("a"), 640, 940)], &facts());
    assert_eq!((report.exit_code(), report.missed, report.false_alarms.len()), (1, 0, 1));
}

#[test]
fn faults_after_the_end_are_left_out() {
    let report = evaluate(&[cpu_fault("a", 1_091, 400)], &[], &facts());
    assert!(report.faults.is_empty());
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn the_report_is_json_with_the_names_that_scripts_use() {
    let report = evaluate(&[cpu_fault("a", 500, 400)], &[], &facts());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["records_read"], 5_000);
    assert_eq!(json["windows_fired"], 900);
    assert_eq!(json["alerts"]["opened"], 0);
    assert_eq!(json["missed"], 1);
    assert_eq!(json["false_alarms"].as_array().unwrap().len(), 0);
    assert_eq!(json["catch_up"]["records_per_second"], 2_000.0);
    assert_eq!(json["faults"][0]["kind"], "cpu_sustained");
    assert_eq!(json["faults"][0]["detected"], false);
    assert_eq!(json["faults"][0]["outcome"], "missed");
    assert_eq!(json["faults"][0]["start"], "1970-01-01T00:08:20.000Z");
}
