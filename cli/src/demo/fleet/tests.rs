//! The fleet against its labels: what a slow reading of the rules finds must be what was injected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;

const START: u64 = 1_800_000_000_123;

fn start() -> EventTime {
    EventTime::from_millis(START)
}

/// One episode that a reference found: rule, group value, when its condition held long enough.
type Found = Vec<(&'static str, String, u64)>;

fn played(seed: u64, hosts: usize, live: Duration) -> (Vec<Message>, Vec<Fault>) {
    let mut fleet = Fleet::new(seed, hosts, start());
    let messages = fleet.until(start() + live).collect();
    (messages, fleet.faults().to_vec())
}

/// The series of one field, by host: sorted (time, value).
fn series(messages: &[Message], topic: &str, field: &str) -> BTreeMap<String, Vec<(u64, f64)>> {
    let mut out: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for message in messages.iter().filter(|message| message.topic == topic) {
        let json: Value = serde_json::from_slice(&message.value).unwrap();
        let time = json["timestamp"].as_u64().unwrap();
        assert_eq!(time, message.event_time.as_millis());
        assert_eq!(json["tags"]["host"], *message.key);
        let value = json["fields"][field].as_f64().unwrap();
        out.entry(message.key.to_string()).or_default().push((time, value));
    }
    for samples in out.values_mut() {
        samples.sort_by_key(|(time, _)| *time);
    }
    out
}

/// Runs of samples above 90 that last for 5 minutes.
fn sustained(messages: &[Message], found: &mut Found) {
    for (host, samples) in series(messages, TOPIC_CPU, "usage_active") {
        let mut since = None;
        let mut told = false;
        for (time, value) in samples {
            if value > 90.0 {
                let since = *since.get_or_insert(time);
                if time - since >= 300_000 && !told {
                    told = true;
                    found.push((RULE_CPU, host.clone(), since + 300_000));
                }
            } else {
                assert!(value < 85.0, "{host} is neither healthy nor ill at {time}: {value}");
                (since, told) = (None, false);
            }
        }
    }
}

/// Windows of 60 s, every 10 s, with more than 20 error lines and more than five times the mean of the
/// ten minutes before.
fn bursts(messages: &[Message], found: &mut Found) {
    let mut errors: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for message in messages.iter().filter(|message| message.topic == TOPIC_LOGS) {
        let json: Value = serde_json::from_slice(&message.value).unwrap();
        if matches!(json["level"].as_str(), Some("ERROR" | "FATAL")) {
            let service = json["service"].as_str().unwrap();
            errors.entry(service.to_owned()).or_default().push(message.event_time.as_millis());
        }
    }
    for (service, times) in errors {
        let count = |from: u64, to: u64| {
            times.iter().filter(|time| (from..to).contains(time)).count() as f64
        };
        let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        let mut quiet_windows = 6;
        for end in (first / 10_000 * 10_000..last + 120_000).step_by(10_000) {
            let here = count(end - 60_000, end);
            let before = count(end - 660_000, end - 60_000) / 10.0;
            if here > 20.0 && here > 5.0 * before {
                if quiet_windows >= 6 {
                    found.push((RULE_BURST, service.clone(), end));
                }
                quiet_windows = 0;
            } else {
                quiet_windows += 1;
            }
        }
    }
}

/// Panes that differ from the exponentially weighted mean of the healthy panes before them by 10 points
/// and 6 deviations, two in a row; after ten minutes of that the new level is learned from the start.
fn anomalies(messages: &[Message], found: &mut Found) {
    let pane = |time: u64| time / 10_000 * 10_000;
    for (host, samples) in series(messages, TOPIC_MEMORY, "used_percent") {
        let keep = 0.5_f64.powf(10.0 / 600.0);
        let (mut begin, mut mean, mut variance) = (pane(samples[0].0), samples[0].1, 0.0);
        let mut run: Vec<u64> = Vec::new();
        for (time, value) in samples {
            let off = value - mean;
            assert!(value < 95.0, "{host} is full at {time}");
            let far = off.abs() >= 10.0 && off.abs() >= 6.0 * f64::sqrt(variance);
            if pane(time) - begin >= 600_000 && far {
                run.push(pane(time));
                if run.len() == 2 {
                    found.push((RULE_MEMORY, host.clone(), pane(time) + 10_000));
                }
                if run.len() > 60 {
                    (begin, mean, variance) = (pane(time), value, 0.0);
                    run.clear();
                }
            } else {
                run.clear();
                mean += (1.0 - keep) * off;
                variance = keep * (variance + (1.0 - keep) * off * off);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let live = Duration::from_secs(5);
    let (once, again) = (played(3, 12, live), played(3, 12, live));
    assert_eq!(once, again);
    assert_ne!(once.0, played(4, 12, live).0);
}

#[test]
fn stepping_makes_no_difference() {
    let (whole, _) = played(5, 10, Duration::from_secs(60));
    let mut fleet = Fleet::new(5, 10, start());
    let mut stepped: Vec<Message> = fleet.until(start()).collect();
    for step in 1..=600 {
        stepped.extend(fleet.until(start() + Duration::from_millis(100) * step));
    }
    assert_eq!(whole, stepped);
}

#[test]
fn arrivals_are_ordered_and_mildly_late() {
    let (messages, _) = played(1, 20, Duration::from_secs(30));
    assert!(messages.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
    assert!(messages.windows(2).any(|pair| pair[0].event_time > pair[1].event_time));
    for message in &messages {
        let delay = message.arrival.since(message.event_time);
        assert!(message.event_time <= message.arrival && delay < OUT_OF_ORDERNESS);
    }
}

/// The heart of the demo: rules read slowly and plainly find exactly the labelled faults.
#[test]
fn oracle_rules_find_what_is_labelled_and_nothing_else() {
    for (seed, hosts, live) in [(0, 100, 600), (1, 10, 5_400), (2, 25, 3_600), (3, 40, 1_800)] {
        let (messages, faults) = played(seed, hosts, Duration::from_secs(live));
        let mut found = Found::new();
        sustained(&messages, &mut found);
        bursts(&messages, &mut found);
        anomalies(&messages, &mut found);
        let end = START + live * 1_000;
        let mut expected: Vec<&Fault> = faults.iter().filter(|fault| fault.must_alert).collect();
        for (rule, group, at) in found {
            let name = if rule == RULE_BURST { "service" } else { "host" };
            let hit = expected.iter().position(|fault| {
                fault.rule == rule
                    && fault.group.get(name) == Some(&group)
                    && fault.start.as_millis() <= at
                    && at < fault.end.as_millis() + 60_000
            });
            let hit =
                hit.unwrap_or_else(|| panic!("seed {seed}: {rule} {group} at {at} is not meant"));
            let fault = expected.swap_remove(hit);
            let late = at.saturating_sub(fault.due.as_millis());
            assert!(late <= 10_000, "seed {seed}: {fault:?} held only at {at}");
        }
        expected.retain(|fault| fault.due.as_millis() + 20_000 < end);
        assert!(expected.is_empty(), "seed {seed}: never seen: {expected:?}");
        let kinds: BTreeSet<_> = faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), 6, "seed {seed}: every kind occurs");
    }
}

#[test]
fn a_run_of_a_minute_sees_every_kind_that_must_alert_live() {
    for seed in 0..8 {
        let (_, faults) = played(seed, 100, Duration::from_secs(60));
        for rule in [RULE_CPU, RULE_BURST, RULE_MEMORY] {
            let live =
                faults.iter().filter(|fault| fault.rule == rule && fault.must_alert).any(|f| {
                    let due = f.due.as_millis();
                    (START..START + 25_000).contains(&due)
                });
            assert!(live, "seed {seed}: {rule} is not due 35 s before the end");
        }
    }
}

#[test]
fn the_backlog_fits_into_the_mock_broker() {
    let (messages, _) = played(0, 100, Duration::ZERO);
    for topic in TOPICS {
        let mut per_host: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for message in messages.iter().filter(|message| message.topic == topic) {
            let entry = per_host.entry(&message.key).or_default();
            *entry = (entry.0 + 1, entry.1 + message.value.len() + message.key.len() + 20);
        }
        assert_eq!(per_host.len(), 100, "every host writes to {topic}");
        let (records, bytes) =
            per_host.values().fold((0, 0), |most, one| (one.0.max(most.0), one.1.max(most.1)));
        assert!(bytes * 30 < 5 << 20, "{topic}: {bytes} bytes of one host");
        assert!(records * 30 < 100_000, "{topic}: {records} records of one host");
    }
}

#[test]
fn metrics_look_as_telegraf_writes_them() {
    let (messages, _) = played(0, 10, Duration::ZERO);
    let mut whole = 0;
    for message in messages.iter().filter(|message| message.topic != TOPIC_LOGS) {
        let text = std::str::from_utf8(&message.value).unwrap();
        assert!(text.ends_with("}\n") && !text.contains(".0,") && !text.contains(".0}"), "{text}");
        let json: Value = serde_json::from_str(text).unwrap();
        let fields = text.strip_prefix("{\"fields\":{").and_then(|rest| rest.split('}').next());
        let keys: Vec<&str> = fields.unwrap().split(',').collect();
        assert!(keys.is_sorted(), "{text}");
        whole += usize::from(json["fields"]["usage_steal"].is_u64());
    }
    assert!(whole > 10, "a float field is a whole number at times");
}

#[test]
fn log_lines_carry_their_fields() {
    let (messages, _) = played(0, 10, Duration::from_secs(30));
    let mut levels = BTreeSet::new();
    for message in messages.iter().filter(|message| message.topic == TOPIC_LOGS) {
        let json: Value = serde_json::from_slice(&message.value).unwrap();
        let stamp: jiff::Timestamp = json["@timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(stamp.as_millisecond() as u64, message.event_time.as_millis());
        assert_eq!(json["host"], *message.key);
        assert!(message.key.starts_with(json["service"].as_str().unwrap()));
        assert!(!json["message"].as_str().unwrap().is_empty());
        levels.insert(json["level"].as_str().unwrap().to_owned());
    }
    assert_eq!(levels.into_iter().collect::<Vec<_>>(), ["DEBUG", "ERROR", "FATAL", "INFO", "WARN"]);
}
