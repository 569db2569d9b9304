//! Reading what all workers of a former run had put.

use serde::de::DeserializeOwned;
use tidewatch_dataflow::checkpoint::{Restored, Shard, Share, StateError};
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{EventTime, Pane};

use super::columns::PackedColumn;
use super::identity::{ConsumerRecord, Kind};
use super::names;
use super::snapshot::{Meta, OpenPiece};
use crate::aggregate::Moments;
use crate::detect::GroupState;
use crate::feed::rule::Opening;

/// The state of one feed, of all workers.
pub(super) struct Stored<'a> {
    operator: &'a str,
    pub(super) shares: Vec<StoredShare<'a>>,
    pub(super) consumers: Vec<ConsumerRecord>,
    /// Every sample of this time or later is in the panes; `None` without windows.
    pub(super) columns_from: Option<EventTime>,
}

/// What one worker had put.
pub(super) struct StoredShare<'a> {
    share: &'a Share,
    meta: Meta,
    /// Labels by the worker's own numbers.
    pub(super) groups: Vec<Labels>,
    /// Which of them this worker owns now.
    owned: Vec<bool>,
}

/// An incident that is open, of a group that this worker owns.
pub(super) struct OpenRecord {
    pub(super) share: usize,
    /// Index among the rules.
    pub(super) rule: u32,
    pub(super) group: GroupId,
    pub(super) opening: Opening,
}

/// Rows of one thing, by the numbers of one share.
pub(super) type Rows<T> = Vec<(GroupId, T)>;

/// The panes of one share.
pub(super) type Columns = Vec<(Pane, Rows<Moments>)>;

impl<'a> Stored<'a> {
    /// The state of `operator`, or `None` when no worker had put anything.
    pub(super) fn read(
        operator: &'a str,
        state: &'a Restored,
        shard: Shard,
    ) -> Result<Option<Self>, StateError> {
        let mut stored =
            Stored { operator, shares: Vec::new(), consumers: Vec::new(), columns_from: None };
        for share in &state.shares {
            if share.names("").next().is_none() {
                continue;
            }
            let meta: Meta = stored.get(share, names::META)?;
            let consumers: Vec<ConsumerRecord> = stored.get(share, names::CONSUMERS)?;
            stored.add_consumers(consumers)?;
            stored.columns_from = stored.columns_from.max(meta.columns_from);
            let groups = stored.read_groups(share, meta.groups as usize)?;
            let owned = groups.iter().map(|labels| shard.owns(labels.stable_hash())).collect();
            stored.shares.push(StoredShare { share, meta, groups, owned });
        }
        Ok((!stored.shares.is_empty()).then_some(stored))
    }

    /// All workers of a run have the same consumers; where one could say less of the past, that holds.
    fn add_consumers(&mut self, consumers: Vec<ConsumerRecord>) -> Result<(), StateError> {
        if self.shares.is_empty() {
            self.consumers = consumers;
            return Ok(());
        }
        let same = |a: &ConsumerRecord, b: &ConsumerRecord| {
            (a.kind, &a.name, a.content, a.shape) == (b.kind, &b.name, b.content, b.shape)
        };
        if self.consumers.len() != consumers.len()
            || !self.consumers.iter().zip(&consumers).all(|(a, b)| same(a, b))
        {
            return Err(self.unreadable(names::CONSUMERS, "the workers' pieces differ"));
        }
        for (mine, other) in self.consumers.iter_mut().zip(consumers) {
            mine.complete_from = mine.complete_from.max(other.complete_from);
        }
        Ok(())
    }

    fn read_groups(&self, share: &Share, count: usize) -> Result<Vec<Labels>, StateError> {
        let mut groups: Vec<Labels> = Vec::new();
        for index in 0.. {
            if groups.len() >= count {
                break;
            }
            let name = names::groups(index);
            let piece: Vec<Labels> = self.get(share, &name)?;
            if piece.is_empty() {
                return Err(self.unreadable(&name, "it is empty"));
            }
            groups.extend(piece);
        }
        if groups.len() > count {
            return Err(self.unreadable(names::META, "it says fewer groups than there are"));
        }
        Ok(groups)
    }

    pub(super) fn unreadable(&self, piece: &str, reason: &str) -> StateError {
        StateError::Unreadable {
            operator: self.operator.to_owned(),
            piece: piece.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn get<T: DeserializeOwned>(&self, share: &Share, name: &str) -> Result<T, StateError> {
        share.get(name)?.ok_or_else(|| self.unreadable(name, "it is missing"))
    }

    /// The labels of a group by the number that share `share` gave it.
    pub(super) fn labels(&self, share: usize, group: GroupId) -> Result<&Labels, StateError> {
        let labels = self.shares.get(share).and_then(|s| s.groups.get(group.0 as usize));
        labels.ok_or_else(|| self.unreadable(names::META, "it says fewer groups than are used"))
    }

    /// Only the rows of groups that this worker owns.
    fn owned<T>(
        &self,
        share: &StoredShare<'_>,
        piece: &str,
        rows: Rows<T>,
    ) -> Result<Rows<T>, StateError> {
        let known = share.owned.len();
        if rows.iter().any(|(group, _)| group.0 as usize >= known) {
            return Err(self.unreadable(piece, "it names a group that there is not"));
        }
        if !rows.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(self.unreadable(piece, "its groups are not in order"));
        }
        let is_owned = |group: &GroupId| share.owned.get(group.0 as usize) == Some(&true);
        Ok(rows.into_iter().filter(|(group, _)| is_owned(group)).collect())
    }

    /// The name of the rule with index `rule` among the rules.
    pub(super) fn rule_name(&self, rule: u32) -> Result<&str, StateError> {
        let mut rules = self.consumers.iter().filter(|record| record.kind == Kind::Rule);
        let record = rules.nth(rule as usize);
        record
            .map(|record| record.name.as_ref())
            .ok_or_else(|| self.unreadable(names::OPEN, "it names a rule that there is not"))
    }

    /// All incidents that are open.
    pub(super) fn open(&self) -> Result<Vec<OpenRecord>, StateError> {
        let mut all = Vec::new();
        for (index, share) in self.shares.iter().enumerate() {
            let piece: OpenPiece = self.get(share.share, names::OPEN)?;
            for same in piece.chunk_by(|a, b| a.0 == b.0) {
                let Some((rule, ..)) = same.first() else { continue };
                let rows = same.iter().map(|(_, group, opening)| (*group, opening.clone()));
                let rows = self.owned(share, names::OPEN, rows.collect())?;
                all.extend(rows.into_iter().map(|(group, opening)| OpenRecord {
                    share: index,
                    rule: *rule,
                    group,
                    opening,
                }));
            }
        }
        Ok(all)
    }

    /// The state of rule `name`, by share.
    pub(super) fn rule<S: GroupState>(
        &self,
        name: &str,
        is_sound: impl Fn(&S) -> bool,
    ) -> Result<Vec<Rows<S>>, StateError> {
        let piece = names::rule(name);
        let shares = self.shares.iter().map(|share| {
            let rows: Rows<S> = self.get(share.share, &piece)?;
            if !rows.iter().all(|(_, state)| is_sound(state)) {
                return Err(self.unreadable(&piece, "it contradicts itself or the cut's time"));
            }
            self.owned(share, &piece, rows)
        });
        shares.collect()
    }

    /// The panes from `horizon` on, all before `cut`, by share.
    pub(super) fn columns(&self, horizon: Pane, cut: Pane) -> Result<Vec<Columns>, StateError> {
        let shares = self.shares.iter().map(|share| {
            let mut columns = Vec::new();
            let mut found = 0;
            for name in share.share.names(names::PANES) {
                found += 1;
                for packed in self.get::<Vec<PackedColumn>>(share.share, name)? {
                    if packed.pane >= cut {
                        return Err(self.unreadable(name, "a pane lies after the cut"));
                    }
                    if packed.pane >= horizon {
                        let rows = packed.unpack().map_err(|why| self.unreadable(name, why))?;
                        columns.push((packed.pane, self.owned(share, name, rows)?));
                    }
                }
            }
            if found != share.meta.column_pieces {
                let why = format!("{} of {} pieces are there", found, share.meta.column_pieces);
                return Err(self.unreadable(names::PANES, &why));
            }
            Ok(columns)
        });
        shares.collect()
    }
}
