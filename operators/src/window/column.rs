//! The partial aggregates of one stretch of time, of all groups that have any: rows sorted by group.
//!
//! Groups without samples take no room, building a column from sorted entries appends only, and two
//! columns are joined in one pass over memory.

use std::cmp::Ordering;

use tidewatch_dataflow::operator::GroupId;

use crate::aggregate::Monoid;
use crate::evaluation;

/// Rows of (group, partial aggregate), sorted by group, each group at most once.
#[derive(Clone, Debug)]
pub(super) struct Column<P> {
    rows: Vec<(GroupId, P)>,
    /// Set by the tree: greater than that of every column that changed earlier.
    pub(super) stamp: u64,
}

impl<P> Default for Column<P> {
    fn default() -> Self {
        Column { rows: Vec::new(), stamp: 0 }
    }
}

impl<P: Monoid> Column<P> {
    /// The column of `rows` in any order; of rows of one group the later are merged into the first.
    pub(super) fn from_rows(mut rows: Vec<(GroupId, P)>) -> Self {
        if rows.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Column { rows, stamp: 0 };
        }
        rows.sort_by_key(|(group, _)| *group);
        let mut column = Column::default();
        for (group, partial) in rows {
            column.append(group, partial);
        }
        column
    }

    /// Adds to the last row, or a row after it. `group` must not lie before the last row's.
    pub(super) fn append(&mut self, group: GroupId, partial: P) {
        match self.rows.last_mut() {
            Some((last, held)) if *last == group => held.merge(&partial),
            _ => self.rows.push((group, partial)),
        }
    }

    /// All rows, sorted by group.
    pub(super) fn rows(&self) -> &[(GroupId, P)] {
        &self.rows
    }

    /// Whether no group has anything.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of `group`.
    pub(super) fn get(&self, group: GroupId) -> Option<&P> {
        let at = self.rows.binary_search_by_key(&group, |(g, _)| *g).ok()?;
        self.rows.get(at).map(|(_, partial)| partial)
    }

    /// Removes the row of `group`.
    pub(super) fn remove(&mut self, group: GroupId) {
        if let Ok(at) = self.rows.binary_search_by_key(&group, |(g, _)| *g) {
            self.rows.remove(at);
        }
    }

    /// Both columns as one; in groups that both have, `later` is merged into `self`.
    pub(super) fn joined(&self, later: &Column<P>) -> Column<P> {
        let mut rows = Vec::with_capacity(self.rows.len().max(later.rows.len()));
        let (mut left, mut right) = (self.rows.as_slice(), later.rows.as_slice());
        while let (Some(((a, p), left_rest)), Some(((b, q), right_rest))) =
            (left.split_first(), right.split_first())
        {
            let order = a.cmp(b);
            let mut partial = if order == Ordering::Greater { q.clone() } else { p.clone() };
            evaluation::at(*a.min(b));
            if order == Ordering::Equal {
                partial.merge(q);
            }
            rows.push((*a.min(b), partial));
            left = if order == Ordering::Greater { left } else { left_rest };
            right = if order == Ordering::Less { right } else { right_rest };
        }
        evaluation::between();
        rows.extend_from_slice(left);
        rows.extend_from_slice(right);
        Column { rows, stamp: 0 }
    }
}

/// Visits, in order of groups, every group that any of `columns` has, with the join of its rows from
/// the first column to the last.
pub(super) fn for_each_joined<P: Monoid>(
    columns: &[&Column<P>],
    mut visit: impl FnMut(GroupId, P),
) {
    let mut rest: smallvec::SmallVec<[&[(GroupId, P)]; 16]> =
        columns.iter().map(|column| column.rows()).collect();
    while let Some(group) = rest.iter().filter_map(|rows| Some(rows.first()?.0)).min() {
        evaluation::at(group);
        let mut joined: Option<P> = None;
        for rows in &mut rest {
            if let Some(((head, partial), tail)) = rows.split_first()
                && *head == group
            {
                match &mut joined {
                    Some(value) => value.merge(partial),
                    None => joined = Some(partial.clone()),
                }
                *rows = tail;
            }
        }
        if let Some(value) = joined {
            visit(group, value);
        }
    }
}
