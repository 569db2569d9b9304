//! Generations of topics: one that is deleted and made again under its name begins another, in which offsets that
//! were used before mean other records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

/// One life of a topic.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// How often the topic has been made anew; part of the identity of everything that is known by an offset.
    pub number: u32,
    /// Nothing of it is admitted before this: time had come so far when it began.
    pub floor: EventTime,
}

/// The generations of all topics, by their index.
///
/// That a topic was made anew is found while it is read, and journaled; the new generation begins with the next
/// run. So within a run an offset means one record, and where a generation begins among the facts of the journal is
/// decided by the numbers of the runs alone.
///
/// Bound: one entry for each topic that was ever made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generations {
    /// Those that have begun; other topics are in their first.
    begun: BTreeMap<u32, Generation>,
    /// Numbers of those that begin with the next run.
    found: BTreeMap<u32, u32>,
}

impl Generations {
    /// The generation of `topic` that is being read.
    pub(super) fn of(&self, topic: u32) -> Generation {
        self.begun.get(&topic).copied().unwrap_or_default()
    }

    /// How often topics have been made anew.
    pub(super) fn count(&self) -> u64 {
        self.begun.values().map(|generation| u64::from(generation.number)).sum()
    }

    /// Generation `number` of `topic` begins with the next run.
    pub(super) fn find(&mut self, topic: u32, number: u32) {
        if number > self.of(topic).number {
            let known = self.found.entry(topic).or_default();
            *known = number.max(*known);
        }
    }

    /// What was found and has not begun.
    pub(super) fn found(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.found.iter().map(|(topic, number)| (*topic, *number))
    }

    /// A run begins, when time had come to `floor`: what was found begins with it. Returns the topics.
    pub(super) fn begin(&mut self, floor: EventTime) -> Vec<u32> {
        let found = std::mem::take(&mut self.found).into_iter();
        let begun = found.map(|(topic, number)| {
            self.begun.insert(topic, Generation { number, floor });
            topic
        });
        begun.collect()
    }

    /// Adds those that have begun by what `other` knows of the same run.
    pub(super) fn merge_begun(&mut self, other: &Generations) {
        for (topic, generation) in &other.begun {
            if generation.number > self.of(*topic).number {
                self.begun.insert(*topic, *generation);
            }
        }
    }

    /// Those that have begun, with topics numbered anew.
    pub(super) fn begun_renumbered(&self, topic: impl Fn(u32) -> Option<u32>) -> Generations {
        let begun = self.begun.iter();
        let begun = begun.filter_map(|(index, generation)| Some((topic(*index)?, *generation)));
        Generations { begun: begun.collect(), found: BTreeMap::new() }
    }
}
