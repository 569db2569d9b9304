//! The journal: decisions beside the log that change what the dataflow computes.
//!
//! What is computed is a function of the log and of these facts. They are decided by the director alone, made
//! durable, and only then told to the sources; after a crash they are read again, so that a record meets the
//! same fate at its second reading as at its first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::generation::{Generation, Generations};
use super::quarantine::Quarantined;
use crate::checkpoint::CheckpointError;
use crate::record::PartitionId;
use crate::time::EventTime;

/// One fact about the records of a partition, or about what is done with them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Decision {
    /// Records from an offset on are admitted no earlier than `floor`: the partition was lifted, and time went
    /// on without it.
    Floor {
        /// The partition.
        partition: PartitionId,
        /// The first offset it holds for.
        from: i64,
        /// The earliest admission time.
        floor: EventTime,
    },
    /// A partition is lifted: time may go on without its records from an offset on.
    Lifted {
        /// The partition.
        partition: PartitionId,
        /// The first offset it holds for.
        from: i64,
    },
    /// A lifted partition takes part again; its floor stands beside.
    Returned {
        /// The partition.
        partition: PartitionId,
        /// The first offset it holds for.
        from: i64,
    },
    /// Time goes no further than this before the next such decision is durable: nothing that lies later has been
    /// told by the run that wrote it.
    Reached {
        /// The instant.
        to: EventTime,
    },
    /// A record is refused: when it was read it lay too far in the future, which a later clock would not say.
    Refused {
        /// The partition.
        partition: PartitionId,
        /// Its offset.
        offset: i64,
    },
    /// A record is passed over unread: reading it has ended the process.
    Skipped {
        /// The partition.
        partition: PartitionId,
        /// Its offset.
        offset: i64,
    },
    /// A group is left out by an operator: taking it in has ended the process.
    Quarantined {
        /// The operator and the group.
        what: Quarantined,
        /// It takes in nothing of the group that is admitted from here on.
        from: EventTime,
    },
    /// A topic was made anew: with the next run begins a generation of it.
    Recreated {
        /// Index of the topic.
        topic: u32,
        /// Number of the generation.
        generation: u32,
    },
    /// How far behind the newest record the watermark of a partition stays, for records from an offset on.
    Bound {
        /// The partition.
        partition: PartitionId,
        /// The first offset it holds for.
        from: i64,
        /// The bound.
        out_of_orderness: Duration,
    },
}

/// All decisions that are known, in a form that forgets order and repetition.
///
/// Bound: one floor for each return of a partition, one bound for each change of the configuration, one entry for
/// each refused or skipped record, since the oldest record that may be read again; see [`Facts::forget_before`].
/// And [`Quarantined::MAX`] groups, which is for the caller to see to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    floors: BTreeMap<(PartitionId, i64), EventTime>,
    refused: BTreeSet<(PartitionId, i64)>,
    skipped: BTreeSet<(PartitionId, i64)>,
    /// Where each partition was lifted last, and where it returned last.
    lifted: BTreeMap<PartitionId, i64>,
    returned: BTreeMap<PartitionId, i64>,
    reached: EventTime,
    /// Groups that are left out, and from when on.
    quarantined: BTreeMap<Quarantined, EventTime>,
    /// Which topics of their names all of this is about.
    generations: Generations,
    /// Bounds of each partition; in a checkpoint they are a piece of their own.
    #[serde(skip)]
    bounds: BTreeMap<(PartitionId, i64), Duration>,
}

/// What is known of a partition's taking part.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It was never lifted.
    Unknown,
    /// It is lifted for records from this offset on.
    LiftedAt(i64),
    /// It takes part again, since this offset.
    ReturnedAt(i64),
}

fn later(known: &mut BTreeMap<PartitionId, i64>, partition: PartitionId, from: i64) {
    let offset = known.entry(partition).or_insert(from);
    *offset = from.max(*offset);
}

/// What `known` says of records of `partition` from `offset` on, in order: of what begins earlier, only the last.
fn from<T: Copy>(
    known: &BTreeMap<(PartitionId, i64), T>,
    partition: PartitionId,
    offset: i64,
) -> Vec<(i64, T)> {
    let all = (partition, i64::MIN)..=(partition, i64::MAX);
    let mut found: Vec<_> = known.range(all).map(|((_, from), value)| (*from, *value)).collect();
    let begun = found.iter().filter(|(from, _)| *from <= offset).count();
    found.drain(..begun.saturating_sub(1));
    found
}

/// Forgets what `known` says only of records of `partition` before `offset`.
fn forget<T: Copy>(
    known: &mut BTreeMap<(PartitionId, i64), T>,
    partition: PartitionId,
    offset: i64,
) {
    if let Some((first, _)) = from(known, partition, offset).first() {
        let first = *first;
        known.retain(|(p, o), _| *p != partition || *o >= first);
    }
}

impl Facts {
    /// Adds a decision; adding one twice changes nothing. Of two floors from one offset the later instant holds, of two
    /// bounds the one that was decided last.
    pub fn learn(&mut self, decision: Decision) {
        match decision {
            Decision::Floor { partition, from, floor } => {
                let known = self.floors.entry((partition, from)).or_default();
                *known = floor.max(*known);
            }
            Decision::Refused { partition, offset } => {
                self.refused.insert((partition, offset));
            }
            Decision::Skipped { partition, offset } => {
                self.skipped.insert((partition, offset));
            }
            Decision::Lifted { partition, from } => later(&mut self.lifted, partition, from),
            Decision::Returned { partition, from } => later(&mut self.returned, partition, from),
            Decision::Reached { to } => self.reached = to.max(self.reached),
            Decision::Quarantined { what, from } => {
                let known = self.quarantined.entry(what).or_insert(from);
                *known = from.min(*known);
            }
            Decision::Recreated { topic, generation } => self.generations.find(topic, generation),
            Decision::Bound { partition, from, out_of_orderness } => {
                self.bounds.insert((partition, from), out_of_orderness);
            }
        }
    }

    /// The generation of a topic, by its index.
    pub fn generation(&self, topic: u32) -> Generation {
        self.generations.of(topic)
    }

    pub(super) fn generations(&self) -> &Generations {
        &self.generations
    }

    /// A run begins, and with it the generations that were found before. What is known of records of the former
    /// ones is forgotten: their offsets mean others now.
    pub fn begin_run(&mut self) {
        for topic in self.generations.begin(self.reached) {
            let is_kept = |p: PartitionId| p.topic != topic;
            self.keep_partitions(is_kept);
        }
    }

    /// Groups that are left out, in order, and from when on.
    pub fn quarantined(&self) -> impl ExactSizeIterator<Item = (&Quarantined, EventTime)> {
        self.quarantined.iter().map(|(what, from)| (what, *from))
    }

    /// Forgets the groups of operators that `is_current` says no of: what was changed begins anew.
    pub fn lift_quarantines(&mut self, is_current: impl Fn(&Quarantined) -> bool) {
        self.quarantined.retain(|what, _| is_current(what));
    }

    /// How far time may have gone.
    pub fn reached(&self) -> EventTime {
        self.reached
    }

    /// Whether time may have gone on without records of `partition`.
    pub fn part(&self, partition: PartitionId) -> Part {
        match (self.lifted.get(&partition), self.returned.get(&partition)) {
            (Some(lifted), Some(returned)) if lifted > returned => Part::LiftedAt(*lifted),
            (_, Some(returned)) => Part::ReturnedAt(*returned),
            (Some(lifted), None) => Part::LiftedAt(*lifted),
            (None, None) => Part::Unknown,
        }
    }

    /// Adds all that `other` knows of the same generations.
    pub fn merge(&mut self, other: &Facts) {
        self.generations.merge_begun(&other.generations);
        other.decisions().for_each(|decision| self.learn(decision));
    }

    /// Everything, as decisions.
    pub fn decisions(&self) -> impl Iterator<Item = Decision> + '_ {
        let floors = self.floors.iter().map(|((partition, from), floor)| Decision::Floor {
            partition: *partition,
            from: *from,
            floor: *floor,
        });
        let refused = self.refused.iter();
        let refused = refused.map(|(partition, offset)| Decision::Refused {
            partition: *partition,
            offset: *offset,
        });
        let skipped = self.skipped.iter();
        let skipped = skipped.map(|(partition, offset)| Decision::Skipped {
            partition: *partition,
            offset: *offset,
        });
        let lifted = self.lifted.iter();
        let lifted =
            lifted.map(|(partition, from)| Decision::Lifted { partition: *partition, from: *from });
        let returned = self.returned.iter();
        let returned = returned
            .map(|(partition, from)| Decision::Returned { partition: *partition, from: *from });
        let reached = Decision::Reached { to: self.reached };
        let reached = (self.reached > EventTime::MIN).then_some(reached);
        let quarantined = self.quarantined();
        let quarantined =
            quarantined.map(|(what, from)| Decision::Quarantined { what: what.clone(), from });
        let facts = floors.chain(refused).chain(skipped).chain(lifted).chain(returned);
        let recreated = self.generations.found();
        let recreated =
            recreated.map(|(topic, generation)| Decision::Recreated { topic, generation });
        facts.chain(reached).chain(quarantined).chain(recreated).chain(self.all_bounds())
    }

    /// All bounds, as decisions.
    pub(super) fn all_bounds(&self) -> impl Iterator<Item = Decision> + '_ {
        self.bounds.iter().map(|((partition, from), bound)| Decision::Bound {
            partition: *partition,
            from: *from,
            out_of_orderness: *bound,
        })
    }

    /// Bounds of `partition` for records from `offset` on, in order: of those that begin earlier, only the last.
    pub fn bounds(&self, partition: PartitionId, offset: i64) -> Vec<(i64, Duration)> {
        from(&self.bounds, partition, offset)
    }

    /// Floors of `partition` for records from `offset` on, in order: of those that begin earlier, only the
    /// last, since floors rise.
    pub fn floors(&self, partition: PartitionId, offset: i64) -> Vec<(i64, EventTime)> {
        from(&self.floors, partition, offset)
    }

    /// Whether the record is refused.
    pub fn is_refused(&self, partition: PartitionId, offset: i64) -> bool {
        !self.refused.is_empty() && self.refused.contains(&(partition, offset))
    }

    /// Whether the record is to be passed over.
    pub fn is_skipped(&self, partition: PartitionId, offset: i64) -> bool {
        !self.skipped.is_empty() && self.skipped.contains(&(partition, offset))
    }

    /// Forgets what only records of `partition` before `offset` need, which are never read again.
    pub fn forget_before(&mut self, partition: PartitionId, offset: i64) {
        forget(&mut self.floors, partition, offset);
        forget(&mut self.bounds, partition, offset);
        self.refused.retain(|(p, o)| *p != partition || *o >= offset);
        self.skipped.retain(|(p, o)| *p != partition || *o >= offset);
    }

    /// Forgets what is about partitions that `is_kept` says no of, and all quarantines.
    pub fn keep_only(&mut self, is_kept: impl Fn(PartitionId) -> bool) {
        self.keep_partitions(is_kept);
        self.quarantined.clear();
    }

    fn keep_partitions(&mut self, is_kept: impl Fn(PartitionId) -> bool) {
        self.floors.retain(|(p, _), _| is_kept(*p));
        self.refused.retain(|(p, _)| is_kept(*p));
        self.skipped.retain(|(p, _)| is_kept(*p));
        self.lifted.retain(|p, _| is_kept(*p));
        self.returned.retain(|p, _| is_kept(*p));
        self.bounds.retain(|(p, _), _| is_kept(*p));
    }

    /// The same facts with topics numbered anew; those of topics for which `topic` says nothing are dropped.
    #[must_use]
    pub fn renumbered(&self, topic: impl Fn(u32) -> Option<u32>) -> Facts {
        let of = |p: PartitionId| topic(p.topic).map(|topic| PartitionId { topic, ..p });
        let generations = self.generations.begun_renumbered(&topic);
        let mut facts = Facts { generations, ..Facts::default() };
        for decision in self.decisions() {
            let moved = match decision {
                Decision::Floor { partition, from, floor } => {
                    of(partition).map(|partition| Decision::Floor { partition, from, floor })
                }
                Decision::Refused { partition, offset } => {
                    of(partition).map(|partition| Decision::Refused { partition, offset })
                }
                Decision::Skipped { partition, offset } => {
                    of(partition).map(|partition| Decision::Skipped { partition, offset })
                }
                Decision::Lifted { partition, from } => {
                    of(partition).map(|partition| Decision::Lifted { partition, from })
                }
                Decision::Returned { partition, from } => {
                    of(partition).map(|partition| Decision::Returned { partition, from })
                }
                Decision::Recreated { topic: index, generation } => {
                    topic(index).map(|topic| Decision::Recreated { topic, generation })
                }
                Decision::Bound { partition, from, out_of_orderness } => of(partition)
                    .map(|partition| Decision::Bound { partition, from, out_of_orderness }),
                Decision::Reached { .. } | Decision::Quarantined { .. } => Some(decision),
            };
            moved.into_iter().for_each(|decision| facts.learn(decision));
        }
        facts
    }
}

/// Port: makes decisions durable. Used by the director, on the worker with index 0; never blocks.
pub trait Journal {
    /// Begins to make `decisions` durable, all or none of them, after all batches before.
    fn append(&mut self, decisions: Vec<Decision>);

    /// How many batches have become durable since the last call.
    fn take_durable(&mut self) -> usize;

    /// The number of the last batch that [`Journal::take_durable`] has counted: what a checkpoint need not read
    /// again.
    fn mark(&self) -> u64;

    /// Why nothing will ever become durable any more.
    fn failure(&self) -> Option<Arc<CheckpointError>> {
        None
    }
}

/// A journal for dataflows that need not survive: everything counts as durable at once.
#[derive(Debug, Default)]
pub struct NoJournal(usize);

impl Journal for NoJournal {
    fn append(&mut self, _decisions: Vec<Decision>) {
        self.0 += 1;
    }

    fn take_durable(&mut self) -> usize {
        std::mem::take(&mut self.0)
    }

    fn mark(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId { topic: 0, partition: 0 };
    const Q: PartitionId = PartitionId { topic: 1, partition: 0 };

    fn at(seconds: u64) -> EventTime {
        EventTime::from_millis(seconds * 1_000)
    }

    fn floor(partition: PartitionId, from: i64, seconds: u64) -> Decision {
        Decision::Floor { partition, from, floor: at(seconds) }
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let decisions = [floor(P, 5, 10), floor(P, 5, 30), floor(P, 9, 40), floor(Q, 1, 7)];
        let (mut one, mut two) = (Facts::default(), Facts::default());
        decisions.iter().for_each(|d| one.learn(d.clone()));
        decisions.iter().rev().chain(&decisions).for_each(|d| two.learn(d.clone()));
        assert_eq!(one, two);
        assert_eq!(one.floors(P, 0), [(5, at(30)), (9, at(40))]);
        assert_eq!(one.floors(P, 7), [(5, at(30)), (9, at(40))], "the one in force is kept");
        assert_eq!(one.floors(P, 9), [(9, at(40))]);
    }

    #[test]
    fn what_is_never_read_again_is_forgotten() {
        let mut facts = Facts::default();
        for d in [floor(P, 5, 10), floor(P, 9, 40), floor(Q, 1, 7)] {
            facts.learn(d);
        }
        facts.learn(Decision::Refused { partition: P, offset: 6 });
        facts.learn(Decision::Skipped { partition: P, offset: 12 });
        let floors = facts.floors(P, 10);
        facts.forget_before(P, 10);
        assert_eq!(facts.floors(P, 10), floors, "what is still read is treated alike");
        assert!(!facts.is_refused(P, 6) && facts.is_skipped(P, 12));
        assert_eq!(facts.floors(Q, 0), [(1, at(7))]);
        let moved = facts.renumbered(|topic| (topic == 0).then_some(3));
        assert_eq!(moved.floors(PartitionId { topic: 3, ..P }, 10), floors);
        assert_eq!(moved.floors(Q, 0), []);
    }

    #[test]
    fn the_bound_that_was_decided_last_holds() {
        let bound = |partition, from, seconds| Decision::Bound {
            partition,
            from,
            out_of_orderness: Duration::from_secs(seconds),
        };
        let mut facts = Facts::default();
        for d in [bound(P, 0, 5), bound(P, 9, 20), bound(P, 9, 10), bound(Q, 0, 5)] {
            facts.learn(d);
        }
        let of = |facts: &Facts, offset| -> Vec<_> {
            let bounds = facts.bounds(P, offset).into_iter();
            bounds.map(|(from, bound)| (from, bound.as_secs())).collect()
        };
        assert_eq!(of(&facts, 0), [(0, 5), (9, 10)]);
        facts.forget_before(P, 12);
        assert_eq!(of(&facts, 12), [(9, 10)], "what is still read is treated alike");
        let mut again = Facts::default();
        again.merge(&facts);
        assert_eq!(again, facts);
        facts.keep_only(|partition| partition == Q);
        assert!(facts.bounds(P, 0).is_empty() && facts.bounds(Q, 7).len() == 1);
    }
}
