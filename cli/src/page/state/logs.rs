//! Log lines: how many of each level over time, and the most recent ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::Serialize;
use tidewatch_dataflow::record::{Level, LogLine};

/// Lines are counted in steps of this length.
pub const LOG_STEP: Duration = Duration::from_secs(10);
/// Steps kept: more than an hour.
const STEPS_MAX: usize = 400;
/// Recent lines kept.
const LINES_MAX: usize = 1_000;
/// A message is cut at this many bytes; host and service at a quarter of it each.
const TEXT_MAX: usize = 768;

/// The names of the levels, the least serious first: the order of [`RateView::levels`].
pub(in super::super) const LEVEL_NAMES: [&str; 6] =
    ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// How many lines of each level there are in one step.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateView {
    /// First instant of the step, in milliseconds.
    pub time: u64,
    /// Lines at TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub levels: [u64; 6],
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineView {
    /// When it was written, in milliseconds.
    pub time: u64,
    /// Its level: `ERROR`.
    pub level: &'static str,
    /// The machine.
    pub host: String,
    /// The service.
    pub service: String,
    /// The text.
    pub message: String,
}

/// Counts and recent lines.
#[derive(Debug, Default)]
pub(super) struct Logs {
    rate: BTreeMap<u64, [u64; 6]>,
    recent: VecDeque<LineView>,
    /// Steps that changed since the last tick.
    changed: BTreeSet<u64>,
}

impl Logs {
    pub(super) fn add(&mut self, line: &LogLine) {
        let step = LOG_STEP.as_millis() as u64;
        let time = line.event_time.as_millis() / step * step;
        // A line older than everything kept would only push out another old step.
        let oldest = self.rate.first_key_value().map(|(time, _)| *time);
        if self.rate.len() < STEPS_MAX || oldest.is_some_and(|oldest| oldest < time) {
            let counts = self.rate.entry(time).or_default();
            counts.get_mut(level_index(line.level)).into_iter().for_each(|count| *count += 1);
            self.changed.insert(time);
        }
        while self.rate.len() > STEPS_MAX {
            if let Some((time, _)) = self.rate.pop_first() {
                self.changed.remove(&time);
            }
        }
        if self.recent.len() >= LINES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(LineView {
            time: line.event_time.as_millis(),
            level: line.level.as_str(),
            host: cut(&line.host, TEXT_MAX / 4),
            service: cut(&line.service, TEXT_MAX / 4),
            message: cut(&line.message, TEXT_MAX),
        });
    }

    pub(super) fn rate(&self) -> Vec<RateView> {
        self.rate.iter().map(|(time, levels)| RateView { time: *time, levels: *levels }).collect()
    }

    /// The steps that changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<RateView> {
        let changed = std::mem::take(&mut self.changed);
        let view = |time| self.rate.get(&time).map(|levels| RateView { time, levels: *levels });
        changed.into_iter().filter_map(view).collect()
    }

    pub(super) fn search(&self, query: &str, least: Level, limit: usize) -> Vec<LineView> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let least = level_index(least);
        let matches = |line: &&LineView| {
            let level = LEVEL_NAMES.iter().position(|name| *name == line.level).unwrap_or(0);
            let text = format!("{} {} {}", line.message, line.host, line.service).to_lowercase();
            level >= least && words.iter().all(|word| text.contains(word))
        };
        let mut found: Vec<LineView> =
            self.recent.iter().rev().filter(matches).take(limit).cloned().collect();
        found.sort_by_key(|line| std::cmp::Reverse(line.time));
        found
    }
}

/// Where [`RateView::levels`] counts `level`.
fn level_index(level: Level) -> usize {
    LEVEL_NAMES.iter().position(|name| *name == level.as_str()).unwrap_or_default()
}

/// `text`, at most `bytes` long.
fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
