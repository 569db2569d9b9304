//! When what happened: for each pane of the rule, the moments on its way from the broker to people.
//!
//! ```text
//!  append ──► handed ────────► passed ───────► fired ─────► offered ──► told
//!   broker    reader to codec  capability at   transition   channel's   channel's
//!             (all partitions) the pane's end  log          queue       writer
//!      source        watermark        window       channel       outbox
//! ```
//! The record that closes a pane is, among the first of each partition whose time lies beyond the end of the
//! pane and the bound, the one that came last.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewatch::pipeline::Sources;
use tidewatch_dataflow::ingest::{PartitionGauges, ResumePoint};
use tidewatch_dataflow::record::{PartitionId, RecordBatch};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, Poll, SourceReader};

use super::super::fleet::time_of;

/// Now, in milliseconds with fractions.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1_000.0
}

/// The moments of one pane, by its end.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Moments {
    /// How many partitions have passed it.
    pub(super) partitions: usize,
    /// The latest append of the records that made them pass; the broker says whole milliseconds.
    pub(super) appended: f64,
    /// When the last of them was handed to the codec.
    pub(super) handed: f64,
    /// When the source's capability was seen beyond it.
    pub(super) passed: Option<f64>,
    /// When the transition log came to it.
    pub(super) fired: Option<f64>,
}

/// Shared by all who see something happen.
pub(super) struct Stamps {
    /// Length of the panes, in milliseconds.
    pane: u64,
    /// How far beyond the end of a pane a record must lie to close it, in milliseconds.
    bound: u64,
    panes: Mutex<BTreeMap<u64, Moments>>,
}

impl Stamps {
    pub(super) fn new(pane: Duration, bound: Duration) -> Arc<Self> {
        let (pane, bound) = (pane.as_millis() as u64, bound.as_millis() as u64);
        Arc::new(Stamps { pane, bound, panes: Mutex::default() })
    }

    /// Changes what is known of the pane that ends at `end`.
    pub(super) fn note(&self, end: u64, change: impl FnOnce(&mut Moments)) {
        let mut panes = self.panes.lock().unwrap_or_else(PoisonError::into_inner);
        change(panes.entry(end).or_default());
    }

    pub(super) fn all(&self) -> BTreeMap<u64, Moments> {
        self.panes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends of panes in `(from, to]`.
    fn ends(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + use<> {
        let pane = self.pane;
        (from / pane + 1..=to / pane).map(move |at| at * pane)
    }

    /// Looks at the capabilities of all workers twice a millisecond until `over` says so.
    pub(super) fn watch(&self, gauges: &[Arc<PartitionGauges>], over: impl Fn() -> bool) {
        let mut seen = 0;
        while !over() {
            let least = gauges.iter().map(|gauge| gauge.capability.load(Ordering::Relaxed)).min();
            let least = least.unwrap_or_default();
            if seen > 0 {
                let now = now();
                self.ends(seen, least)
                    .for_each(|end| self.note(end, |moments| moments.passed = Some(now)));
            }
            seen = seen.max(least);
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Sources whose readers note when panes close.
pub(super) struct Stamped<S> {
    pub(super) inner: S,
    pub(super) stamps: Arc<Stamps>,
}

impl<S: Sources> Sources for Stamped<S> {
    fn partitions(&self) -> Vec<PartitionId> {
        self.inner.partitions()
    }

    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let (inner, stamps) = (self.inner.open(partitions)?, Arc::clone(&self.stamps));
        Ok(Box::new(StampedReader { inner, stamps, newest: BTreeMap::new() }))
    }

    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        self.inner.codecs()
    }
}

struct StampedReader {
    inner: Box<dyn SourceReader>,
    stamps: Arc<Stamps>,
    /// The newest event time of each partition.
    newest: BTreeMap<PartitionId, u64>,
}

impl StampedReader {
    fn look(newest: &mut u64, stamps: &Stamps, batch: &RecordBatch<'_>) {
        for record in batch.records {
            let time = record.value.and_then(time_of).unwrap_or_default();
            let before = std::mem::replace(newest, time.max(*newest));
            if before == 0 || time <= before {
                continue;
            }
            let reached = |time: u64| time.saturating_sub(stamps.bound);
            for end in stamps.ends(reached(before), reached(time)) {
                let now = now();
                let appended = record.appended().map_or(now, |time| time.as_millis() as f64);
                stamps.note(end, |moments| {
                    moments.partitions += 1;
                    moments.appended = moments.appended.max(appended);
                    moments.handed = moments.handed.max(now);
                });
            }
        }
    }
}

impl SourceReader for StampedReader {
    fn partitions(&self) -> &[PartitionId] {
        self.inner.partitions()
    }

    fn poll(
        &mut self,
        partition: PartitionId,
        budget: NonZeroUsize,
        visit: &mut dyn FnMut(RecordBatch<'_>),
    ) -> Result<Poll, ConnectorError> {
        let (stamps, newest) = (&self.stamps, self.newest.entry(partition).or_default());
        self.inner.poll(partition, budget, &mut |batch| {
            Self::look(newest, stamps, &batch);
            visit(batch);
        })
    }

    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.inner.on_arrival(wake);
    }

    fn position(&self, partition: PartitionId) -> Option<i64> {
        self.inner.position(partition)
    }

    fn assign(
        &mut self,
        partition: PartitionId,
        offset: Option<i64>,
    ) -> Result<(), ConnectorError> {
        self.inner.assign(partition, offset)
    }

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        self.inner.lag(partition)
    }
}
