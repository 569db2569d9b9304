//! Folding samples into partials, on the worker that read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;
use tidewatch_dataflow::ingest::{PointBatch, Tally};
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::{EventTime, Pane};

use super::message::bucket_of;
use super::{Detector, FeedMessage, FeedPartial, FeedSpec, Plans};
use crate::aggregate::{Aggregate as _, Moments};
use crate::detect::sustained::{ConditionPartial, SustainedConfig};

/// What became of the samples, over all workers of a process. In = filtered + late + merged + open.
#[derive(Debug, Default)]
pub struct FeedCounters {
    /// Numbers that no feed selects.
    pub filtered: AtomicU64,
    /// Samples selected, one for each feed that selects the number.
    pub selected: AtomicU64,
    /// Samples too late for everything that listens.
    pub late: AtomicU64,
    /// Samples folded as corrections: late for detectors, in time for a window.
    pub corrections: AtomicU64,
    /// Samples folded into partials and shipped.
    pub merged: AtomicU64,
    /// Samples of groups in quarantine, once for each operator that leaves the group out. In this run.
    pub quarantined: AtomicU64,
    /// Groups in quarantine that the workers of the process own, once for each operator that leaves one out.
    pub quarantined_groups: AtomicU64,
}

/// What a fold counts, in the order of its row in a checkpoint.
#[derive(Copy, Clone)]
enum Unit {
    Filtered,
    Selected,
    Late,
    Corrections,
    Merged,
    LatePoints,
}

/// How many units there are.
const UNITS: usize = 6;

/// The counts of a fold, which are part of every checkpoint.
pub type FoldTally = Tally<UNITS>;

impl FeedCounters {
    /// Begins with what earlier runs have counted; returns how many late points that were.
    pub fn go_on_from(&self, tally: &FoldTally) -> u64 {
        let [filtered, selected, late, corrections, merged, late_points] = *tally.before();
        self.filtered.fetch_add(filtered, Ordering::Relaxed);
        self.selected.fetch_add(selected, Ordering::Relaxed);
        self.late.fetch_add(late, Ordering::Relaxed);
        self.corrections.fetch_add(corrections, Ordering::Relaxed);
        self.merged.fetch_add(merged, Ordering::Relaxed);
        late_points
    }
}

/// A point of which at least one sample was too late.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LatePoint {
    /// Partition it was read from.
    pub partition: PartitionId,
    /// Offset of its record.
    pub offset: i64,
    /// Which topic of its name it was read from.
    pub generation: u32,
    /// When it was measured.
    pub event_time: EventTime,
    /// When it was admitted.
    pub admission_time: EventTime,
}

/// One sample that waits for its pane: 32 bytes.
#[derive(Copy, Clone, Debug)]
struct Row {
    slot: u32,
    /// Set for corrections only: the event pane's distance to the admission pane.
    panes_late: u32,
    partition: u64,
    event_time: EventTime,
    value: f64,
}

/// The rows of one feed by admission pane.
#[derive(Debug)]
struct FeedRows {
    spec: Arc<FeedSpec>,
    conditions: Vec<SustainedConfig>,
    panes: BTreeMap<Pane, Vec<Row>>,
    /// How many slots were announced; they are announced in order of their numbers.
    announced: Vec<bool>,
}

/// Rows of all feeds on one worker.
pub struct Fold {
    plans: Plans,
    feeds: Vec<FeedRows>,
    sender: u32,
    counters: Arc<FeedCounters>,
    tally: FoldTally,
}

/// A partition as a number that orders like it.
fn order(partition: PartitionId) -> u64 {
    (u64::from(partition.topic) << 32) | u64::from(partition.partition.unsigned_abs())
}

impl Fold {
    /// Nothing read yet, on worker `sender`.
    pub fn new(
        feeds: &[Arc<FeedSpec>],
        sender: usize,
        counters: Arc<FeedCounters>,
        tally: FoldTally,
    ) -> Self {
        let rows = feeds.iter().map(|spec| FeedRows {
            spec: Arc::clone(spec),
            conditions: spec
                .rules
                .iter()
                .filter_map(|rule| match &rule.detector {
                    Detector::Sustained(config) => Some(*config),
                    Detector::Burst(_) | Detector::Anomaly(_) => None,
                })
                .collect(),
            panes: BTreeMap::new(),
            announced: Vec::new(),
        });
        Fold {
            plans: Plans::new(feeds),
            feeds: rows.collect(),
            sender: u32::try_from(sender).unwrap_or(u32::MAX),
            counters,
            tally,
        }
    }

    /// Takes in a batch; returns how many rows it became and appends its late points to `late`.
    pub fn admit(
        &mut self,
        batch: &PointBatch,
        series: &mut SeriesTable,
        late: &mut Vec<LatePoint>,
    ) -> u64 {
        let partition = order(batch.partition);
        let (mut values, mut selected, mut rows, mut too_late) = (0u64, 0u64, 0u64, 0u64);
        let mut used = 0u64;
        for point in &batch.decoded.points {
            let numbers = batch.decoded.values_of(point);
            values += numbers.len() as u64;
            let targets = self.plans.of(point.series, series);
            let mut is_late = false;
            for (field, value) in numbers {
                let before = selected;
                let at = point.admission_time;
                for target in targets.iter().filter(|t| t.field == *field) {
                    selected += 1;
                    let Some(feed) = self.feeds.get_mut(target.feed as usize) else { continue };
                    let event_pane = feed.spec.pane.pane(point.event_time);
                    let admission_pane = feed.spec.pane.pane(point.admission_time);
                    let panes_late = admission_pane.0.saturating_sub(event_pane.0);
                    if panes_late > 0 && feed.spec.is_too_late(event_pane, admission_pane) {
                        too_late += 1;
                        self.tally.add(Unit::Late as usize, at, 1);
                        is_late = true;
                        continue;
                    }
                    rows += 1;
                    feed.panes.entry(admission_pane).or_default().push(Row {
                        slot: target.slot,
                        panes_late: u32::try_from(panes_late).unwrap_or(u32::MAX),
                        partition,
                        event_time: point.event_time,
                        value: *value,
                    });
                }
                used += u64::from(selected > before);
                if selected > before {
                    self.tally.add(Unit::Selected as usize, at, selected - before);
                } else {
                    self.tally.add(Unit::Filtered as usize, at, 1);
                }
            }
            if is_late {
                self.tally.add(Unit::LatePoints as usize, point.admission_time, 1);
                late.push(LatePoint {
                    partition: batch.partition,
                    offset: point.offset,
                    generation: batch.generation,
                    event_time: point.event_time,
                    admission_time: point.admission_time,
                });
            }
        }
        self.counters.filtered.fetch_add(values - used, Ordering::Relaxed);
        self.counters.selected.fetch_add(selected, Ordering::Relaxed);
        self.counters.late.fetch_add(too_late, Ordering::Relaxed);
        rows
    }

    /// Puts the counts into an announced checkpoint: everything before `time` has been admitted and closed.
    pub fn put_if_due(&mut self, time: EventTime) {
        self.tally.put_if_due(time);
    }

    /// The first admission pane of feed `feed` that holds rows.
    pub fn first_open(&self, feed: usize) -> Option<Pane> {
        self.feeds.get(feed)?.panes.keys().next().copied()
    }

    /// Folds the rows of `pane` and appends the messages; returns how many rows there were.
    pub fn close(&mut self, feed: usize, pane: Pane, out: &mut Vec<FeedMessage>) -> u64 {
        let (Some(rows), Some(slots)) = (self.feeds.get_mut(feed), self.plans.slots(feed)) else {
            return 0;
        };
        let Some(mut samples) = rows.panes.remove(&pane) else { return 0 };
        samples.sort_unstable_by(|a, b| {
            (a.slot, std::cmp::Reverse(a.panes_late), a.partition, a.event_time)
                .cmp(&(b.slot, std::cmp::Reverse(b.panes_late), b.partition, b.event_time))
                .then(a.value.total_cmp(&b.value))
        });
        rows.announced.resize(slots.groups.len(), false);
        let runs = samples.chunk_by(|a, b| {
            (a.slot, a.panes_late, a.partition) == (b.slot, b.panes_late, b.partition)
        });
        let mut corrections = 0u64;
        for run in runs {
            let Some(first) = run.first() else { continue };
            let Some((labels, hash)) = slots.groups.get(first.slot as usize) else { continue };
            let (sender, slot, hash) = (self.sender, first.slot, *hash);
            if let Some(announced) = rows.announced.get_mut(slot as usize)
                && !std::mem::replace(announced, true)
            {
                out.push(FeedMessage::Group { hash, sender, slot, labels: labels.clone() });
            }
            let late = first.panes_late > 0;
            corrections += if late { run.len() as u64 } else { 0 };
            let mut conditions = SmallVec::new();
            if !late && !rows.conditions.is_empty() {
                let samples = || run.iter().map(|row| (row.event_time, row.value));
                let of = |config| ConditionPartial::of(config, pane, samples());
                conditions.extend(rows.conditions.iter().map(of));
            }
            out.push(FeedMessage::Partial {
                bucket: bucket_of(hash),
                sender,
                slot,
                order: first.partition,
                event_pane: Pane(pane.0 - u64::from(first.panes_late)),
                admission_pane: pane,
                partial: FeedPartial {
                    moments: Moments::of(run.iter().map(|row| row.value)),
                    conditions,
                },
            });
        }
        let at = rows.spec.pane.start(pane);
        self.tally.add(Unit::Corrections as usize, at, corrections);
        self.tally.add(Unit::Merged as usize, at, samples.len() as u64);
        self.counters.corrections.fetch_add(corrections, Ordering::Relaxed);
        self.counters.merged.fetch_add(samples.len() as u64, Ordering::Relaxed);
        samples.len() as u64
    }
}
