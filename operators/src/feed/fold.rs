//! Folding samples into partials, on the worker that read them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidewatch_dataflow::ingest::{PointBatch, Tally};
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::{EventTime, Pane};

use super::quarantine::Fault;
use super::rows::{PaneRows, Row};
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

/// Rows for which work is done ahead at each opportunity, beside those in proportion to what comes in.
const SETTLE_MIN: usize = 1_024;

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

/// One sample of an earlier pane that waits for its admission pane.
#[derive(Copy, Clone, Debug)]
struct LateRow {
    slot: u32,
    /// The event pane's distance to the admission pane.
    panes_late: u32,
    partition: u64,
    event_time: EventTime,
    value: f64,
}

/// What waits for one admission pane.
#[derive(Debug, Default)]
struct Open {
    rows: PaneRows<FeedPartial>,
    corrections: Vec<LateRow>,
}

/// The rows of one feed by admission pane.
#[derive(Debug)]
struct FeedRows {
    spec: Arc<FeedSpec>,
    conditions: Vec<SustainedConfig>,
    panes: BTreeMap<Pane, Open>,
    /// How many slots were announced: in order of their numbers, and all that there are before any is used. What a lone
    /// sender tells then stands in order of groups where it is received, and need not be sorted.
    announced: u32,
}

/// The fold of `run`, samples in order.
fn fold_run(conditions: &[SustainedConfig], pane: Pane, run: &[Row]) -> FeedPartial {
    let of = |config| {
        let samples = run.iter().map(|row| (row.event_time, row.value));
        ConditionPartial::of(config, pane, samples)
    };
    FeedPartial {
        moments: Moments::of(run.iter().map(|row| row.value)),
        conditions: conditions.iter().map(of).collect(),
    }
}

/// Rows of all feeds on one worker.
pub struct Fold {
    plans: Plans,
    feeds: Vec<FeedRows>,
    sender: u32,
    counters: Arc<FeedCounters>,
    tally: FoldTally,
    /// The partitions read here, as numbers that order like them: a row's source is an index of this.
    sources: Vec<u64>,
    /// The greatest admission time seen.
    newest: EventTime,
    /// The frontier as it was told last, and how far it lay behind the newest sample when it came there.
    passed: EventTime,
    lag: Option<u64>,
    /// Rows taken in that no work was done ahead for.
    unpaid: u64,
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
            announced: 0,
        });
        Fold {
            plans: Plans::new(feeds),
            feeds: rows.collect(),
            sender: u32::try_from(sender).unwrap_or(u32::MAX),
            counters,
            tally,
            sources: Vec::new(),
            newest: EventTime::MIN,
            passed: EventTime::MIN,
            lag: None,
            unpaid: 0,
        }
    }

    /// The number of `partition` among those read here.
    fn source(&mut self, partition: u64) -> u32 {
        let known = self.sources.iter().position(|source| *source == partition);
        let index = known.unwrap_or(self.sources.len());
        if known.is_none() {
            self.sources.push(partition);
        }
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Panics at points of `fault`: for tests of what becomes of a panic.
    pub fn break_at(&mut self, fault: Fault) {
        self.plans.break_at(fault);
    }

    /// Takes in a batch; returns how many rows it became and appends its late points to `late`.
    pub fn admit(
        &mut self,
        batch: &PointBatch,
        series: &mut SeriesTable,
        late: &mut Vec<LatePoint>,
    ) -> u64 {
        let partition = order(batch.partition);
        let source = self.source(partition);
        let (mut values, mut selected, mut rows, mut too_late) = (0u64, 0u64, 0u64, 0u64);
        let mut used = 0u64;
        for point in &batch.decoded.points {
            let numbers = batch.decoded.values_of(point);
            let all = numbers.len() as u64 + u64::from(point.unread);
            values += all;
            let targets = self.plans.of(point.series, series);
            let mut is_late = false;
            let at = point.admission_time;
            self.newest = self.newest.max(at);
            let (selected_before, used_before) = (selected, used);
            for (field, value) in numbers {
                let before = selected;
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
                    let (slot, event_time, value) = (target.slot, point.event_time, *value);
                    let open = feed.panes.entry(admission_pane).or_default();
                    if panes_late == 0 {
                        open.rows.push(Row { slot, source, event_time, value });
                        continue;
                    }
                    open.corrections.push(LateRow {
                        slot,
                        panes_late: u32::try_from(panes_late).unwrap_or(u32::MAX),
                        partition,
                        event_time,
                        value,
                    });
                }
                used += u64::from(selected > before);
            }
            self.tally.add(Unit::Selected as usize, at, selected - selected_before);
            self.tally.add(Unit::Filtered as usize, at, all - (used - used_before));
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
        self.unpaid += rows;
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

    /// Whether a rule listens to feed `feed`.
    pub fn has_rules(&self, feed: usize) -> bool {
        self.feeds.get(feed).is_some_and(|feed| !feed.spec.rules.is_empty())
    }

    /// Does work ahead for panes that the frontier, at `passed`, has not come to but from which nothing more is
    /// expected: those that ended half as long ago as the newest sample leads when the frontier advances. Some
    /// rows for each that was taken in since, so that it is spread over the time until they close.
    pub fn settle(&mut self, passed: EventTime) {
        let newest = self.newest.as_millis();
        if passed > self.passed {
            self.passed = passed;
            self.lag = Some(newest.saturating_sub(passed.as_millis()));
        }
        let Some(lag) = self.lag else { return };
        let quiet = newest.saturating_sub(lag / 2);
        let unpaid = usize::try_from(std::mem::take(&mut self.unpaid)).unwrap_or(usize::MAX);
        let mut may_begin = true;
        for (index, feed) in self.feeds.iter_mut().enumerate() {
            let size = feed.spec.pane;
            // All rows of a pane in half of the time until it closes.
            let pace = (size.as_millis() * 4 / lag.max(1)).clamp(4, 64) as usize;
            let mut budget = SETTLE_MIN + unpaid.saturating_mul(pace);
            let slots = self.plans.slots(index).map_or(0, |slots| slots.groups.len());
            for (pane, Open { rows, .. }) in &mut feed.panes {
                if size.end(*pane).as_millis() > quiet || budget == 0 {
                    break;
                }
                if !rows.has_begun() {
                    // One at a time: it cannot be done in parts.
                    if !std::mem::take(&mut may_begin) {
                        break;
                    }
                    rows.begin(slots);
                }
                let conditions = &feed.conditions;
                let done = rows.advance(budget, |run| fold_run(conditions, *pane, run));
                budget = budget.saturating_sub(done);
            }
        }
    }

    /// Folds the rows of `pane` and hands out the messages; returns how many rows there were.
    pub fn close(&mut self, feed: usize, pane: Pane, mut out: impl FnMut(FeedMessage)) -> u64 {
        let (Some(feed), Some(slots)) = (self.feeds.get_mut(feed), self.plans.slots(feed)) else {
            return 0;
        };
        let Some(Open { rows, mut corrections }) = feed.panes.remove(&pane) else { return 0 };
        let late = corrections.len() as u64;
        let count = rows.len() as u64 + late;
        let (sender, conditions) = (self.sender, &feed.conditions);
        for labels in slots.groups.iter().skip(feed.announced as usize) {
            let (hash, slot) = (labels.stable_hash(), feed.announced);
            out(FeedMessage::Group { hash, sender, slot, labels: labels.clone() });
            feed.announced += 1;
        }
        let mut tell = |slot: u32, order: u64, event_pane: Pane, partial: FeedPartial| {
            let Some(bucket) = slots.buckets.get(slot as usize).copied() else { return };
            out(FeedMessage::Partial {
                bucket,
                sender,
                slot,
                order,
                event_pane,
                admission_pane: pane,
                partial,
            });
        };
        let fold = |run: &[Row]| fold_run(conditions, pane, run);
        rows.finish(slots.groups.len(), fold, |run, partial| {
            let Some(first) = run.first() else { return };
            let Some(order) = self.sources.get(first.source as usize) else { return };
            tell(first.slot, *order, pane, partial);
        });
        let key = |row: &LateRow| (row.slot, Reverse(row.panes_late), row.partition);
        corrections.sort_unstable_by(|a, b| {
            let times = (key(a), a.event_time).cmp(&(key(b), b.event_time));
            times.then(a.value.total_cmp(&b.value))
        });
        for run in corrections.chunk_by(|a, b| key(a) == key(b)) {
            let Some(first) = run.first() else { continue };
            let moments = Moments::of(run.iter().map(|row| row.value));
            let partial = FeedPartial { moments, conditions: Default::default() };
            let event_pane = Pane(pane.0 - u64::from(first.panes_late));
            tell(first.slot, first.partition, event_pane, partial);
        }
        let at = feed.spec.pane.start(pane);
        self.tally.add(Unit::Corrections as usize, at, late);
        self.tally.add(Unit::Merged as usize, at, count);
        self.counters.corrections.fetch_add(late, Ordering::Relaxed);
        self.counters.merged.fetch_add(count, Ordering::Relaxed);
        count
    }
}
