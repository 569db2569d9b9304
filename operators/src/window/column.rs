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
    /// No rows, and room for as many.
    pub(super) fn with_room(rows: usize) -> Self {
        Column { rows: Vec::with_capacity(rows), stamp: 0 }
    }

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
    if let [only] = columns {
        for (group, partial) in only.rows() {
            evaluation::at(*group);
            visit(*group, partial.clone());
        }
        return;
    }
    let mut rest: smallvec::SmallVec<[&[(GroupId, P)]; 16]> =
        columns.iter().map(|column| column.rows()).collect();
    let mut first = rest.iter().filter_map(|rows| Some(rows.first()?.0)).min();
    while let Some(group) = first.take() {
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
            // The next group is looked for on the way, since its rows are under the hand.
            if let Some((head, _)) = rows.first() {
                first = Some(first.map_or(*head, |first| first.min(*head)));
            }
        }
        if let Some(value) = joined {
            visit(group, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Numbers in the order in which they were merged.
    #[derive(Clone, Debug, PartialEq)]
    struct Merged(Vec<u32>);

    impl Monoid for Merged {
        fn merge(&mut self, later: &Self) {
            self.0.extend(&later.0);
        }
    }

    proptest! {
        /// Against a map, for columns with and without common groups, of none to many, some empty.
        #[test]
        fn groups_are_visited_in_order_and_joined_from_the_first_column_to_the_last(
            sets in prop::collection::vec(prop::collection::btree_set(0..8u32, 0..8), 0..20),
        ) {
            let mut expected: BTreeMap<GroupId, Vec<u32>> = BTreeMap::new();
            let mut columns = Vec::new();
            for (number, groups) in (0u32..).zip(&sets) {
                let rows = groups.iter().map(|group| (GroupId(*group), Merged(vec![number])));
                columns.push(Column::from_rows(rows.collect()));
                groups.iter().for_each(|g| expected.entry(GroupId(*g)).or_default().push(number));
            }
            let mut visited = Vec::new();
            let columns: Vec<_> = columns.iter().collect();
            for_each_joined(&columns, |group, Merged(numbers)| visited.push((group, numbers)));
            prop_assert_eq!(visited, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
