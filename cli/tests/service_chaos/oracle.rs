//! What must be in the stores, computed from the fleet's records one by one, as far as that is simple:
//! all documents, all bad records, all short windows without late samples, and how many incidents the
//! processors and the bursts of errors give.

use std::collections::{BTreeMap, BTreeSet};

use tidewatch_dataflow::ingest::Facts;
use tidewatch_dataflow::record::PartitionId;

use crate::fleet::{Content, Fleet, HOSTS, OUT_OF_ORDERNESS, PERIOD, SERVICES, Topic};
use crate::left::{Left, origin};

/// What a run over a whole fleet must leave behind.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The text of each document, by its identity.
    documents: BTreeMap<String, String>,
    /// Origins of the records that are none.
    bad: BTreeSet<String>,
    /// Count, minimum and maximum of the short windows of processors, by the point's name; `None` where a
    /// late sample makes it hard to tell.
    windows: BTreeMap<String, Option<(u64, f64, f64)>>,
    /// Incidents by rule and group; `None` where the end of the run cut one short, where hosts were off, and where
    /// records came after time had gone on without them.
    incidents: BTreeMap<(&'static str, String), Option<usize>>,
    /// Hosts that must have the last short window.
    last_hosts: usize,
    /// Records that time had gone on without, and those of them that it has gone so far ahead of that the clock
    /// must have moved it: all were silent.
    overtaken: [usize; 2],
}

impl Oracle {
    /// What must be there of `fleet`; `facts` are what was decided about time beside the records.
    pub fn new(fleet: &Fleet, quiet_from: u64, facts: &Facts) -> Self {
        let mut oracle = Oracle::default();
        // Partitions of which something is missing or was admitted later than it says.
        let mut disturbed: BTreeSet<(Topic, i32)> =
            fleet.outages.iter().map(|outage| (outage.topic, outage.partition)).collect();
        let mut floors = Floors::new(facts);
        let complete = fleet.start + (Fleet::last_second(quiet_from) - OUT_OF_ORDERNESS) * 1_000;
        let mut offsets: BTreeMap<(Topic, i32), u64> = BTreeMap::new();
        for record in fleet.all(quiet_from) {
            let next = offsets.entry((record.topic, record.partition)).or_default();
            let origin = origin(record.topic, record.partition, *next);
            let floor = floors.of(record.topic, record.partition, *next);
            *next += 1;
            // No pane is shorter.
            let is_overtaken = record.time - record.time % 10_000 + 10_000 <= floor;
            if is_overtaken {
                oracle.overtaken[0] += 1;
                oracle.overtaken[1] += usize::from(floor > complete);
                disturbed.insert((record.topic, record.partition));
            }
            match record.content {
                Content::Line(text) => {
                    oracle.documents.insert(format!("0-{origin}-0"), text);
                }
                Content::Bad => {
                    oracle.bad.insert(origin);
                }
                Content::Cpu { host, value, late } => {
                    let end = record.time - record.time % 10_000 + 10_000;
                    if end > complete {
                        continue;
                    }
                    let second = (end - fleet.start) as f64 / 1_000.0;
                    let name = format!("cpu host-{host} 10s to second {second}");
                    let window = oracle.windows.entry(name);
                    let window = window.or_insert(Some((0, f64::INFINITY, f64::NEG_INFINITY)));
                    *window = window.filter(|_| !late && !is_overtaken).map(|(count, min, max)| {
                        (count + 1, f64::min(min, value), f64::max(max, value))
                    });
                }
                Content::Memory => {}
            }
        }
        let last = format!("10s to second {}", (complete - fleet.start) / 1_000);
        let is_last =
            |(name, window): &(&String, &Option<_>)| name.ends_with(&last) && window.is_some();
        oracle.last_hosts = oracle.windows.iter().filter(is_last).count();
        let periods = 0..=quiet_from / PERIOD;
        for (rule, label, count) in
            [("cpu_sustained", "host", HOSTS), ("error_burst", "service", SERVICES)]
        {
            for who in 0..count {
                let episode = |period| match rule {
                    "cpu_sustained" => fleet.hot(who, period),
                    _ => fleet.burst(who, period),
                };
                let begun =
                    periods.clone().filter_map(episode).filter(|(from, _)| *from < quiet_from);
                let begun: Vec<_> = begun.collect();
                let topic = if label == "host" { Topic::Cpu } else { Topic::Logs };
                let partition = (who % topic.used()) as i32;
                let cut = begun.iter().any(|(_, to)| *to > quiet_from)
                    || disturbed.contains(&(topic, partition));
                let group = format!("{label}={label}-{who}");
                oracle.incidents.insert((rule, group), (!cut).then_some(begun.len()));
            }
        }
        oracle
    }

    /// How many documents there must be.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// How many hosts must have the last short window.
    pub fn last_hosts(&self) -> usize {
        self.last_hosts
    }

    /// How many records time had gone on without, and how many of them it was hours ahead of.
    pub fn overtaken(&self) -> [usize; 2] {
        self.overtaken
    }

    /// In what way `left` is not what it must be.
    pub fn check(&self, left: &Left) -> Vec<String> {
        let mut faults = Vec::new();
        let ids = |key: &String| key.split(' ').next().unwrap_or_default().to_owned();
        let found: Vec<_> = left.documents.iter().map(|(key, source)| (ids(key), source)).collect();
        let mut seen = BTreeSet::new();
        for (id, source) in found {
            match self.documents.get(&id) {
                Some(text) if source.contains(&format!("{text:?}")) => {}
                Some(text) => faults.push(format!("document {id} is {source}, expected {text:?}")),
                None => faults.push(format!("document {id} stands for no record: {source}")),
            }
            if !seen.insert(id.clone()) {
                faults.push(format!("document {id} is there on two days"));
            }
        }
        let missing = self.documents.keys().filter(|id| !seen.contains(*id));
        faults.extend(missing.map(|id| format!("document {id} is missing")));
        self.check_letters(left, &mut faults);
        self.check_windows(left, &mut faults);
        self.check_incidents(left, &mut faults);
        faults
    }

    fn check_letters(&self, left: &Left, faults: &mut Vec<String>) {
        let late = |reason: &str| reason.starts_with("late");
        let refused = left.letters.keys().filter(|letter| !late(&letter.reason));
        let refused: BTreeSet<_> = refused.map(|letter| letter.origin.clone()).collect();
        let missing = self.bad.difference(&refused);
        faults.extend(missing.map(|origin| format!("bad record {origin} has no dead letter")));
        let extra = refused.difference(&self.bad);
        faults.extend(extra.map(|origin| format!("record {origin} is a dead letter and not bad")));
    }

    fn check_windows(&self, left: &Left, faults: &mut Vec<String>) {
        let found = left
            .points
            .iter()
            .filter(|(name, _)| name.starts_with("cpu ") && name.contains(" 10s to "));
        let found: BTreeMap<_, _> = found.collect();
        for (name, expected) in &self.windows {
            let number = |field: &str| {
                found.get(name).and_then(|point| point.get(field)?.parse::<f64>().ok())
            };
            let point = number("count").zip(number("min")).zip(number("max"));
            match (expected, point) {
                (Some(_), None) => faults.push(format!("point {name} is missing")),
                (Some((count, min, max)), Some(found)) => {
                    let expected = ((*count as f64, *min), *max);
                    if found != expected {
                        faults.push(format!("point {name} is {found:?}, expected {expected:?}"));
                    }
                }
                // All its samples may have come too late.
                (None, _) => {}
            }
        }
        let extra = found.keys().filter(|name| !self.windows.contains_key(**name));
        faults.extend(extra.map(|name| format!("point {name} stands for no sample")));
    }

    fn check_incidents(&self, left: &Left, faults: &mut Vec<String>) {
        let mut opened: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
        for told in left.told[1].iter().filter(|told| told.is_opening) {
            let event: serde_json::Value = serde_json::from_str(&told.text).unwrap_or_default();
            let text = |name: &str| event["payload"][name].as_str().unwrap_or_default().to_owned();
            opened.entry((text("class"), text("source"))).or_default().insert(&told.incident);
        }
        for ((rule, group), expected) in &self.incidents {
            let found = opened.get(&((*rule).to_owned(), group.clone())).map_or(0, BTreeSet::len);
            if expected.is_some_and(|expected| expected != found) {
                faults
                    .push(format!("{found} incidents of {rule} on {group}, expected {expected:?}"));
            }
        }
    }
}

/// The floors of all partitions, asked for in the order of offsets.
struct Floors<'a> {
    facts: &'a Facts,
    known: BTreeMap<(Topic, i32), Vec<(i64, u64)>>,
}

impl<'a> Floors<'a> {
    fn new(facts: &'a Facts) -> Self {
        Floors { facts, known: BTreeMap::new() }
    }

    /// The earliest time, in milliseconds, at which a record may have been admitted.
    fn of(&mut self, topic: Topic, partition: i32, offset: u64) -> u64 {
        let floors = self.known.entry((topic, partition)).or_insert_with(|| {
            let place = Topic::ALL.iter().position(|other| *other == topic).unwrap_or_default();
            let id = PartitionId { topic: place as u32, partition };
            let floors = self.facts.floors(id, 0).into_iter();
            floors.map(|(from, floor)| (from, floor.as_millis())).collect()
        });
        let begun = floors.iter().rfind(|(from, _)| *from <= offset.cast_signed());
        begun.map_or(0, |(_, floor)| *floor)
    }
}
