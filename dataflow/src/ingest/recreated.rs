//! Topics that were found to be made anew: what was read of them is applied and comes into a checkpoint, and then
//! the run ends, since the next one is to read the new topic.
//!
//! ```text
//!  a reader finds out ─► all stop reading the topic ─► its partitions are silent, time goes on without them
//!      ─► a checkpoint holds all of it ─► journaled ─► the run ends, the next one begins a generation
//! ```
//! Without the wait, what was read since the last checkpoint would be gone with the old topic, and windows that
//! have fired would fire again without it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::record::PartitionId;
use crate::time::{EventTime, Pace};

/// What the director knows of topics made anew in this run.
#[derive(Debug)]
pub(super) struct Recreated {
    topics: BTreeSet<u32>,
    /// Until where records of partitions that are read no further have been admitted.
    ended: BTreeMap<PartitionId, EventTime>,
    /// Everything admitted before this is in a checkpoint; `None` when none are taken.
    kept: Option<EventTime>,
    /// How long a checkpoint is waited for.
    patience: Duration,
    waiting: Option<Pace>,
    is_told: bool,
}

impl Recreated {
    /// `kept`: the cut that this run went on from, where checkpoints are taken.
    pub(super) fn new(kept: Option<EventTime>, patience: Duration) -> Self {
        Recreated {
            topics: BTreeSet::new(),
            ended: BTreeMap::new(),
            kept,
            patience,
            waiting: None,
            is_told: false,
        }
    }

    /// A reader has found out about `topic`; whether that is news.
    pub(super) fn find(&mut self, topic: u32) -> bool {
        if self.waiting.is_none() {
            let mut waiting = Pace::new(self.patience);
            // Due at once the first time.
            waiting.is_due();
            self.waiting = Some(waiting);
        }
        self.topics.insert(topic)
    }

    /// Nothing more of `partition` is read; everything of it was admitted before `end`.
    pub(super) fn ended(&mut self, partition: PartitionId, end: EventTime) {
        self.ended.insert(partition, end);
    }

    /// A checkpoint at `cut` is complete.
    pub(super) fn committed(&mut self, cut: EventTime) {
        self.kept = self.kept.max(Some(cut));
    }

    /// The topics, once: when what was read of their `partitions` is in a checkpoint, or patience is over.
    pub(super) fn due(
        &mut self,
        mut partitions: impl Iterator<Item = PartitionId>,
    ) -> Option<Vec<u32>> {
        let waiting = self.waiting.as_mut().filter(|_| !self.is_told)?;
        let kept = self.kept.unwrap_or(EventTime::MAX);
        let (topics, ended) = (&self.topics, &self.ended);
        let is_kept = |p: PartitionId| ended.get(&p).is_some_and(|end| *end <= kept);
        let all_kept = partitions.all(|p| !topics.contains(&p.topic) || is_kept(p));
        if !all_kept {
            if !waiting.is_due() {
                return None;
            }
            tracing::warn!(
                patience = ?self.patience,
                "no checkpoint holds all that was read of a recreated topic: going on without what is missing"
            );
        }
        self.is_told = true;
        Some(self.topics.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(topic: u32, partition: i32) -> PartitionId {
        PartitionId { topic, partition }
    }

    fn at(seconds: u64) -> EventTime {
        EventTime::from_millis(seconds * 1_000)
    }

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_run_ends_once_all_partitions_are_in_a_checkpoint() {
        let mut recreated = Recreated::new(Some(at(100)), LONG);
        let all = || [of(0, 0), of(1, 0), of(1, 1)].into_iter();
        assert_eq!(recreated.due(all()), None, "nothing was found");
        assert!(recreated.find(1) && !recreated.find(1));
        recreated.ended(of(1, 0), at(90));
        assert_eq!(recreated.due(all()), None, "one partition is still read");
        recreated.ended(of(1, 1), at(120));
        assert_eq!(recreated.due(all()), None, "not all of it is in a checkpoint");
        recreated.committed(at(119));
        assert_eq!(recreated.due(all()), None);
        recreated.committed(at(120));
        assert_eq!(recreated.due(all()), Some(vec![1]));
        assert_eq!(recreated.due(all()), None, "told once");
    }

    #[test]
    fn patience_ends_and_without_checkpoints_nothing_is_waited_for() {
        let mut recreated = Recreated::new(Some(at(100)), Duration::ZERO);
        recreated.find(0);
        assert_eq!(recreated.due([of(0, 0)].into_iter()), Some(vec![0]));
        let mut recreated = Recreated::new(None, LONG);
        recreated.find(0);
        recreated.ended(of(0, 0), at(100));
        assert_eq!(recreated.due([of(0, 0)].into_iter()), Some(vec![0]));
    }
}
