//! The last points of every host.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use tidewatch_dataflow::time::millis;

use super::{Panel, SILENT_AFTER};

/// Points kept per host and panel: more than an hour of 10 s.
const POINTS_MAX: usize = 400;

/// A host's newest values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostView {
    /// Its name.
    pub host: String,
    /// Per panel the newest point: time in milliseconds, value.
    pub values: BTreeMap<String, (u64, f64)>,
    /// How many alerts are open for it.
    pub alerts: usize,
}

/// Points of one host for one panel, sorted by time, each time once.
#[derive(Clone, Debug, Default)]
struct Line {
    points: VecDeque<(u64, f64)>,
    /// How many of the newest points no tick has carried.
    unsent: usize,
    /// An older point changed, or more came at once than a tick carries.
    rewritten: bool,
}

impl Line {
    fn add(&mut self, point: (u64, f64)) {
        let at = self.points.partition_point(|(time, _)| *time < point.0);
        match self.points.get_mut(at) {
            Some(there) if there.0 == point.0 => {
                self.rewritten |= *there != point;
                *there = point;
                return;
            }
            Some(_) => {
                self.points.insert(at, point);
                self.rewritten = true;
            }
            None => {
                self.points.push_back(point);
                self.unsent = (self.unsent + 1).min(POINTS_MAX);
            }
        }
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    fn newest(&self) -> Option<(u64, f64)> {
        self.points.back().copied()
    }
}

/// All hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    lines: BTreeMap<Box<str>, Vec<Line>>,
    panels: usize,
    hosts_max: usize,
    left_out: u64,
    /// The newest time of all.
    newest: u64,
}

/// What changed since the last tick.
#[derive(Debug, Default, Serialize)]
pub(super) struct Fresh<'a> {
    /// Per host, per panel the newest point.
    pub(super) points: BTreeMap<&'a str, BTreeMap<&'a str, (u64, f64)>>,
    /// Some line changed by more than its newest point: charts must be loaded anew.
    pub(super) rewritten: bool,
}

impl Hosts {
    pub(super) fn new(panels: usize, hosts_max: usize) -> Self {
        Hosts { lines: BTreeMap::new(), panels, hosts_max, left_out: 0, newest: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn add(&mut self, host: &str, panel: usize, point: (u64, f64)) {
        self.newest = self.newest.max(point.0);
        if !self.lines.contains_key(host) {
            if self.lines.len() >= self.hosts_max && !self.give_way() {
                self.left_out += 1;
                return;
            }
            self.lines.insert(host.into(), vec![Line::default(); self.panels]);
        }
        let line = self.lines.get_mut(host).and_then(|lines| lines.get_mut(panel));
        line.into_iter().for_each(|line| line.add(point));
    }

    /// Forgets the host that has been silent for longest, if it has been for long enough.
    fn give_way(&mut self) -> bool {
        let last = |lines: &[Line]| lines.iter().filter_map(Line::newest).map(|p| p.0).max();
        let silent = self.lines.iter().map(|(host, lines)| (last(lines).unwrap_or(0), host)).min();
        let silent = silent.filter(|(last, _)| last + millis(SILENT_AFTER) < self.newest);
        let Some(host) = silent.map(|(_, host)| host.clone()) else { return false };
        self.lines.remove(&host);
        true
    }

    pub(super) fn view(&self, panels: &[Panel], open: &BTreeMap<String, usize>) -> Vec<HostView> {
        self.lines
            .iter()
            .map(|(host, lines)| HostView {
                host: host.to_string(),
                values: panels
                    .iter()
                    .zip(lines)
                    .filter_map(|(panel, line)| Some((panel.key.clone(), line.newest()?)))
                    .collect(),
                alerts: open.get(&**host).copied().unwrap_or(0),
            })
            .collect()
    }

    pub(super) fn series(&self, host: &str, from: u64) -> Option<Vec<Vec<(u64, f64)>>> {
        let since = |line: &Line| line.points.iter().filter(|p| p.0 >= from).copied().collect();
        Some(self.lines.get(host)?.iter().map(since).collect())
    }

    /// Whether every line of `host` that has points has had to drop none since `from`.
    pub(super) fn reaches(&self, host: &str, from: u64) -> bool {
        let full = |line: &Line| line.points.len() >= POINTS_MAX;
        let begins = |line: &Line| line.points.front().is_some_and(|point| point.0 <= from);
        let lines = self.lines.get(host).map_or(&[][..], Vec::as_slice);
        lines.iter().all(|line| begins(line) || !full(line))
    }

    /// What changed since the last call.
    pub(super) fn take_fresh<'a>(&'a mut self, panels: &'a [Panel]) -> Fresh<'a> {
        let mut fresh = Fresh::default();
        for (host, lines) in &mut self.lines {
            for (panel, line) in panels.iter().zip(lines) {
                let unsent = std::mem::take(&mut line.unsent);
                fresh.rewritten |= std::mem::take(&mut line.rewritten) || unsent > 1;
                if let Some(point) = line.newest().filter(|_| unsent > 0) {
                    fresh.points.entry(host).or_default().insert(&panel.key, point);
                }
            }
        }
        fresh
    }
}
