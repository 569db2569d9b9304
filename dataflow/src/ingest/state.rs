//! What sources put into a checkpoint, and find again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::durable::StoreJournal;
use super::journal::{Decision, Facts};
use super::resume::ResumePoint;
use super::source::Source;
use crate::checkpoint::{CheckpointError, Restored, StateError, StateStore};
use crate::record::PartitionId;
use crate::time::EventTime;

/// What the sources of all workers had put at a cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestState {
    /// Where reading goes on.
    pub points: BTreeMap<PartitionId, ResumePoint>,
    /// Decisions about records that are read again, or later.
    pub facts: Facts,
    /// The last batch of the journal that `facts` contain.
    pub journal: u64,
    /// What this run begins with: in `facts`, and for the director to journal before anything else.
    pub first: Vec<Decision>,
}

impl IngestState {
    /// Where to go on with `partition`, for a state cut at `cut`; `None` on a first start, and for a topic that
    /// the state does not know. A partition of a known topic that was found after the cut is read from its
    /// beginning, and so is one whose topic was made anew.
    pub fn point(&self, partition: PartitionId, cut: EventTime) -> Option<ResumePoint> {
        let found = ResumePoint {
            partition,
            offset: None,
            watermark: None,
            floor: EventTime::MIN,
            before: None,
            lifted: !self.begins_anew(partition),
            next: None,
            out_of_orderness: Duration::ZERO,
        };
        let is_known = cut > EventTime::MIN && self.knows(partition.topic);
        match self.points.get(&partition) {
            Some(point) => Some(*point),
            None => (is_known || self.begins_anew(partition)).then_some(found),
        }
    }

    /// Whether the topic of `partition` was made anew, and nothing of it is in the state yet.
    pub fn begins_anew(&self, partition: PartitionId) -> bool {
        self.facts.generation(partition.topic).number > 0 && !self.knows(partition.topic)
    }

    fn knows(&self, topic: u32) -> bool {
        self.points.keys().any(|known| known.topic == topic)
    }

    /// Adds what was decided since, by the journal in `store`, about topics that `topic` knows the index of.
    /// Topics that were found to be made anew are from now on read from their beginning.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn go_on(
        &mut self,
        store: &dyn StateStore,
        topic: impl Fn(&str) -> Option<u32>,
    ) -> Result<(), CheckpointError> {
        let mut facts = std::mem::take(&mut self.facts);
        let was: BTreeMap<u32, _> =
            self.points.keys().map(|p| (p.topic, facts.generation(p.topic))).collect();
        StoreJournal::load(store, self.journal, topic, &mut facts)?;
        self.points.retain(|p, _| was.get(&p.topic) == Some(&facts.generation(p.topic)));
        self.facts = facts;
        Ok(())
    }

    /// The run admits records of `partitions` under the bound `out_of_orderness`, from the first that was not read at the
    /// cut. Where that is news it becomes a fact, the first bound of a partition too: a replay begins with it.
    pub fn admit_under(&mut self, partitions: &[PartitionId], out_of_orderness: Duration) {
        for &partition in partitions {
            let (next, then) = match self.points.get(&partition) {
                Some(point) => {
                    let then = point.next.map_or(out_of_orderness, |_| point.out_of_orderness);
                    (point.next.unwrap_or(0), then)
                }
                None => (0, out_of_orderness),
            };
            let known = self.facts.bounds(partition, i64::MAX).pop();
            let bound = |from, bound| Decision::Bound { partition, from, out_of_orderness: bound };
            let before = known.is_none().then(|| bound(0, then));
            let (from, last) = known.unwrap_or((0, then));
            let now = (last != out_of_orderness).then(|| bound(next.max(from), out_of_orderness));
            for decision in before.into_iter().chain(now) {
                self.facts.learn(decision.clone());
                self.first.push(decision);
            }
        }
    }

    /// The state that `restored` holds, with topics numbered anew; partitions of topics for which `topic` says
    /// nothing are dropped.
    ///
    /// # Errors
    /// [`StateError`] when a piece is missing or cannot be read.
    pub fn read(
        restored: &Restored,
        topic: impl Fn(u32) -> Option<u32> + Copy,
    ) -> Result<Self, StateError> {
        let mut state = IngestState::default();
        for share in &restored.shares {
            let points: Vec<ResumePoint> = share.get("partitions")?.unwrap_or_default();
            for mut point in points {
                let Some(topic) = topic(point.partition.topic) else { continue };
                point.partition.topic = topic;
                state.points.insert(point.partition, point);
            }
            let mut facts: Facts = share.get("facts")?.unwrap_or_default();
            let bounds: Vec<Decision> = share.get("bounds")?.unwrap_or_default();
            bounds.into_iter().for_each(|bound| facts.learn(bound));
            state.facts.merge(&facts.renumbered(topic));
            state.journal = state.journal.max(share.get("journal")?.unwrap_or_default());
        }
        let points = state.points.values();
        let known: Vec<_> = points.filter_map(|p| Some((p.partition, p.offset?))).collect();
        known.into_iter().for_each(|(p, offset)| state.facts.forget_before(p, offset));
        Ok(state)
    }
}

/// Puts the state of `source` at the announced cut.
pub(super) fn put(source: &Source) {
    let Some(cut) = source.participant.pending() else { return };
    let partitions = source.partitions.iter();
    let points: Vec<_> =
        partitions.map(|p| p.resume_point(cut, source.reader.position(p.id))).collect();
    let control = &source.ingest.control;
    let mut facts = control.facts.borrow_mut();
    // What is before the resume point now is before that of every later cut.
    for point in &points {
        if let Some(offset) = point.offset {
            facts.forget_before(point.partition, offset);
        }
    }
    let mut own = facts.clone();
    drop(facts);
    if control.recovery.shard().index > 0 {
        own.keep_only(|partition| points.iter().any(|point| point.partition == partition));
    }
    source.participant.put(|pieces| {
        pieces.put("partitions", &points);
        pieces.put("facts", &own);
        pieces.put("bounds", &own.all_bounds().collect::<Vec<_>>());
        pieces.put("journal", &control.journal_mark.get());
    });
}
