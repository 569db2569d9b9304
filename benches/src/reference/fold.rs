//! Observations in, exact answers out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidewatch::generate::{Fact, LATE_MIN_MS, MEASUREMENTS, Topic};

use super::rows::{Count, MeanMax, Statistics};
use super::{
    ABOVE, BOUND_MS, CELL_MS, ERROR_WINDOW_MS, MEAN_WINDOW_MS, Name, Reference, ReferenceError,
    SUSTAINED_MS,
};

/// A record that was read.
#[derive(Copy, Clone, Debug)]
pub(super) struct Observation<'a> {
    pub(super) key: &'a str,
    pub(super) event_time: u64,
    pub(super) fact: Fact,
    /// What the generator says about it; where nobody says anything, only the watermark counts.
    pub(super) is_late: Option<bool>,
    pub(super) is_mark: bool,
}

/// One measurement of one host, or one service: what is known by cells of ten seconds, by their starts.
type Cells<T> = BTreeMap<u64, T>;

/// The sum of a cell.
#[derive(Copy, Clone, Debug)]
struct Cell {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Cell {
    const EMPTY: Cell = Cell { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    fn add(&mut self, other: Cell) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// What is known of a host.
#[derive(Debug, Default)]
struct Host {
    /// As in [`MEASUREMENTS`].
    cells: [Cells<Cell>; 3],
    /// Event time of every cpu sample, and whether it was above 90 %.
    cpu: Vec<(u64, bool)>,
}

/// All records that have been read.
#[derive(Debug)]
pub(super) struct Fold {
    reference: Reference,
    error_threshold: u64,
    hosts: HashMap<Name, Host>,
    services: HashMap<Name, Cells<u64>>,
}

/// Where a partition is.
#[derive(Debug)]
pub(super) struct Partition {
    topic: Topic,
    partition: u32,
    read: u64,
    newest: u64,
}

impl Partition {
    pub(super) fn new(topic: Topic, partition: u32) -> Self {
        Partition { topic, partition, read: 0, newest: 0 }
    }

    /// Whether the record is late, by the watermark of its partition.
    fn is_late(&mut self, record: &Observation<'_>) -> Result<bool, ReferenceError> {
        self.newest = self.newest.max(record.event_time);
        let behind_ms = self.newest - record.event_time;
        self.read += 1;
        let is_late = behind_ms > BOUND_MS;
        let reason = match record.is_late {
            Some(false) if is_late => "late, and it has no such label",
            Some(true) if !is_late => "not late, and it is labelled so",
            // The last window that it belongs to must have ended before the watermark.
            _ if is_late && behind_ms < BOUND_MS + MEAN_WINDOW_MS => "not late enough",
            _ if behind_ms > 2 * LATE_MIN_MS => "later than any record can be",
            _ => return Ok(is_late),
        };
        let Partition { topic, partition, read, .. } = *self;
        Err(ReferenceError::Lateness { topic, partition, record: read - 1, behind_ms, reason })
    }
}

impl Fold {
    /// For records from `start_ms` to `end_ms`.
    pub(super) fn new(start_ms: u64, end_ms: u64, error_threshold: u64) -> Self {
        let reference = Reference { start_ms, end_ms, ..Reference::default() };
        let (hosts, services) = (HashMap::new(), HashMap::new());
        Fold { reference, error_threshold, hosts, services }
    }

    /// Takes the next record of a partition.
    pub(super) fn observe(
        &mut self,
        partition: &mut Partition,
        record: &Observation<'_>,
    ) -> Result<(), ReferenceError> {
        let is_late = partition.is_late(record)?;
        if record.is_mark {
            return Ok(());
        }
        if let Fact::Metric { measurement, .. } = record.fact {
            *self.reference.metrics.entry(measurement).or_default() += 1;
        }
        if is_late {
            self.reference.refused += 1;
            return Ok(());
        }
        let cell = record.event_time / CELL_MS * CELL_MS;
        match record.fact {
            Fact::Metric { measurement, value } => {
                let host = entry(&mut self.hosts, record.key);
                let index = MEASUREMENTS.iter().position(|known| *known == measurement);
                if let Some(cells) = index.and_then(|index| host.cells.get_mut(index)) {
                    let one = Cell { count: 1, sum: value, min: value, max: value };
                    cells.entry(cell).or_insert(Cell::EMPTY).add(one);
                }
                if index == Some(0) {
                    host.cpu.push((record.event_time, value > ABOVE));
                }
            }
            Fact::Log { is_error } => {
                if is_error {
                    *entry(&mut self.services, record.key).entry(cell).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// The answers, once all records of all partitions are there.
    pub(super) fn finish(self) -> Reference {
        let Fold { mut reference, error_threshold, hosts, services } = self;
        let end_ms = reference.end_ms;
        for (name, host) in hosts {
            for (measurement, cells) in MEASUREMENTS.into_iter().zip(&host.cells) {
                let ended = cells.iter().map(|(start, cell)| (start + CELL_MS, cell));
                for (end, cell) in ended.filter(|(end, _)| *end <= end_ms) {
                    let Cell { count, min, max, .. } = *cell;
                    let row = Statistics { count, mean: cell.mean(), min, max };
                    reference.q1.insert((end, measurement, name.clone()), row);
                }
            }
            let [cpu, _, _] = &host.cells;
            for end in ends(cpu, MEAN_WINDOW_MS, end_ms) {
                let mut window = Cell::EMPTY;
                for (_, cell) in cpu.range(end.saturating_sub(MEAN_WINDOW_MS)..end) {
                    window.add(*cell);
                }
                if window.count > 0 {
                    let row = MeanMax { mean: window.mean(), max: window.max };
                    reference.q2.insert((end, name.clone()), row);
                }
            }
            let spans = spans_above(host.cpu);
            if !spans.is_empty() {
                reference.q3.insert(name, spans);
            }
        }
        for (name, cells) in services {
            for end in ends(&cells, ERROR_WINDOW_MS, end_ms) {
                let window = cells.range(end.saturating_sub(ERROR_WINDOW_MS)..end);
                let count = window.map(|(_, lines)| lines).sum();
                if count > error_threshold {
                    reference.q4.insert((end, name.clone()), Count(count));
                }
            }
        }
        reference
    }
}

/// The value of `key`, made if it is not there.
fn entry<'m, V: Default>(map: &'m mut HashMap<Name, V>, key: &str) -> &'m mut V {
    map.entry(Arc::from(key)).or_default()
}

/// The ends of all windows of `size` that may have something in `cells`, up to `end_ms`.
fn ends<T>(cells: &Cells<T>, size: u64, end_ms: u64) -> impl Iterator<Item = u64> {
    let first = cells.keys().next().map_or(u64::MAX, |start| start + CELL_MS);
    let last = cells.keys().next_back().map_or(0, |start| start + size);
    (first..=last.min(end_ms)).step_by(CELL_MS as usize)
}

/// The spans of more than 300 s in which every sample is above 90 %.
fn spans_above(mut samples: Vec<(u64, bool)>) -> Vec<(u64, u64)> {
    samples.sort_unstable();
    let runs = samples.chunk_by(|left, right| left.1 == right.1);
    let spans = runs.filter_map(|run| match (run.first(), run.last()) {
        (Some((first, true)), Some((last, _))) => Some((*first, *last)),
        _ => None,
    });
    spans.filter(|(first, last)| last - first > SUSTAINED_MS).collect()
}
