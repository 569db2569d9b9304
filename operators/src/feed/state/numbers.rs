//! New numbers for the groups of former workers.

use rustc_hash::{FxBuildHasher, FxHashSet};
use tidewatch_dataflow::checkpoint::StateError;
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::series::Labels;

use super::names;
use super::stored::{Rows, Stored};

/// Which groups have anything, by share and former number.
pub(super) struct Live(Vec<Vec<bool>>);

impl Live {
    /// None yet.
    pub(super) fn new(stored: &Stored<'_>) -> Self {
        Live(stored.shares.iter().map(|share| vec![false; share.groups.len()]).collect())
    }

    /// The groups of `rows` have something.
    pub(super) fn mark<T>(&mut self, share: usize, rows: &Rows<T>) {
        let Some(live) = self.0.get_mut(share) else { return };
        for (group, _) in rows {
            if let Some(is_live) = live.get_mut(group.0 as usize) {
                *is_live = true;
            }
        }
    }

    /// The same for all shares.
    pub(super) fn mark_all<T>(&mut self, shares: &[Rows<T>]) {
        shares.iter().enumerate().for_each(|(share, rows)| self.mark(share, rows));
    }

    /// Numbers them by share and former number, so that what was in order stays so.
    pub(super) fn number(self, stored: &Stored<'_>) -> Result<(Vec<Labels>, Numbers), StateError> {
        let count = self.0.iter().flatten().filter(|live| **live).count();
        let mut labels = Vec::with_capacity(count);
        let mut known = FxHashSet::with_capacity_and_hasher(count, FxBuildHasher);
        let mut numbers = Vec::with_capacity(self.0.len());
        for (share, live) in stored.shares.iter().zip(self.0) {
            let groups = share.groups.iter().zip(live).map(|(group, is_live)| {
                let number = GroupId(u32::try_from(labels.len()).unwrap_or(u32::MAX));
                is_live.then(|| {
                    labels.push(group.clone());
                    known.insert(group);
                    number
                })
            });
            numbers.push(groups.collect());
        }
        if known.len() < count {
            return Err(stored.unreadable(&names::groups(0), "a group belongs to two workers"));
        }
        Ok((labels, Numbers(numbers)))
    }
}

/// New numbers by share and former number.
pub(super) struct Numbers(Vec<Vec<Option<GroupId>>>);

impl Numbers {
    /// The number of a group, if it has anything.
    pub(super) fn of(&self, share: usize, group: GroupId) -> Option<GroupId> {
        *self.0.get(share)?.get(group.0 as usize)?
    }

    /// The rows of one share under new numbers.
    fn renumber<T>(&self, share: usize, rows: Rows<T>) -> impl Iterator<Item = (GroupId, T)> {
        let numbered = rows.into_iter();
        numbered.filter_map(move |(group, row)| Some((self.of(share, group)?, row)))
    }

    /// The rows of all shares as one.
    pub(super) fn merge<T>(&self, shares: Vec<Rows<T>>) -> Rows<T> {
        let mut all = Rows::new();
        for (share, rows) in shares.into_iter().enumerate() {
            self.append(&mut all, share, rows);
        }
        all
    }

    /// Adds the rows of one share to those of the shares before: in order if `rows` are.
    pub(super) fn append<T>(&self, all: &mut Rows<T>, share: usize, rows: Rows<T>) {
        if all.is_empty() {
            // In place: the rows of a worker that goes on alone are not copied.
            *all = self.renumber(share, rows).collect();
        } else {
            all.extend(self.renumber(share, rows));
        }
    }
}
