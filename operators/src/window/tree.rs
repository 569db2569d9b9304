//! The canonical merge tree: partial aggregates over dyadic stretches of absolute pane indexes.
//!
//! Node `i` of level `l` covers the panes `[i * 2^l, (i + 1) * 2^l)` and is the join of its two children.
//! A window is the join, from left to right, of the largest nodes that tile it:
//!
//! ```text
//! level 2   [  4   5   6   7 ]
//! level 1   [4   5] [6   7]  [8   9]
//! level 0   3  4  5  6  7  8  9  10
//! window    [3  4  5  6  7  8  9)   =  3 · (4 5 6 7) · (8 9)
//! ```
//!
//! Which nodes those are depends on the window's absolute pane indexes alone, and so do the bits of the
//! result: not on when nodes were computed, nor on what was evicted or restored in between. At most
//! 2 log2(panes) nodes tile a window, and each node is computed once, so a slide costs about that many
//! joins per group.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use smallvec::SmallVec;
use tidewatch_dataflow::operator::GroupId;

use super::column::{Column, for_each_joined};
use crate::aggregate::Monoid;

/// A node by level and index.
type Node = (u32, u64);

/// Panes (level 0) and the nodes above them that were needed so far. A node without samples is absent.
#[derive(Debug)]
pub(super) struct Tree<P> {
    /// By level, then by index. Level 0 is the truth; all above can be dropped and computed again.
    levels: Vec<BTreeMap<u64, Column<P>>>,
    /// How often a pane has changed.
    changes: u64,
}

/// The nodes that tile the panes `[from, to)`, from left to right.
fn tiling(from: u64, to: u64) -> SmallVec<[Node; 16]> {
    let mut nodes = SmallVec::new();
    let mut at = from;
    while at < to {
        let level = at.trailing_zeros().min((to - at).ilog2());
        nodes.push((level, at >> level));
        at += 1 << level;
    }
    nodes
}

impl<P: Monoid> Tree<P> {
    /// An empty tree for stretches of at most `panes` panes.
    pub(super) fn new(panes: u64) -> Self {
        let levels = panes.max(1).ilog2() + 1;
        Tree { levels: (0..levels).map(|_| BTreeMap::new()).collect(), changes: 0 }
    }

    fn node(&self, (level, index): Node) -> Option<&Column<P>> {
        self.levels.get(level as usize)?.get(&index)
    }

    /// Adds `column` to pane `pane`, after what is there, and forgets the nodes above it.
    pub(super) fn add(&mut self, pane: u64, column: Column<P>) {
        if column.is_empty() {
            return;
        }
        let Some((panes, above)) = self.levels.split_first_mut() else { return };
        let held = match panes.entry(pane) {
            Entry::Vacant(place) => place.insert(column),
            Entry::Occupied(held) => {
                let held = held.into_mut();
                *held = held.joined(&column);
                held
            }
        };
        self.changes += 1;
        held.stamp = self.changes;
        for (nodes, level) in above.iter_mut().zip(1..) {
            nodes.remove(&(pane >> level));
        }
    }

    /// Removes the rows of `group` from all panes. Every pane counts as changed: some may be gone altogether.
    pub(super) fn forget(&mut self, group: GroupId) {
        let Some((panes, above)) = self.levels.split_first_mut() else { return };
        self.changes += 1;
        panes.retain(|_, column| {
            column.remove(group);
            column.stamp = self.changes;
            !column.is_empty()
        });
        above.iter_mut().for_each(BTreeMap::clear);
    }

    /// First pane at or after `pane` that has samples.
    pub(super) fn first_pane(&self, pane: u64) -> Option<u64> {
        self.levels.first()?.range(pane..).next().map(|(index, _)| *index)
    }

    /// Computes a node and those below it, unless they are there or have no samples.
    fn ensure_node(&mut self, (level, index): Node) {
        if level == 0 || self.node((level, index)).is_some() {
            return;
        }
        let panes = (index << level)..((index + 1) << level);
        if self.first_pane(panes.start).is_none_or(|first| first >= panes.end) {
            return;
        }
        let (left, right) = ((level - 1, 2 * index), (level - 1, 2 * index + 1));
        self.ensure_node(left);
        self.ensure_node(right);
        let column = match (self.node(left), self.node(right)) {
            (Some(left), Some(right)) => left.joined(right),
            (Some(only), None) | (None, Some(only)) => only.clone(),
            (None, None) => return,
        };
        if let Some(nodes) = self.levels.get_mut(level as usize) {
            nodes.insert(index, column);
        }
    }

    /// Computes the nodes that tile the panes `[from, to)`.
    pub(super) fn ensure(&mut self, from: u64, to: u64) {
        for node in tiling(from, to) {
            self.ensure_node(node);
        }
    }

    /// Visits the join over the panes `[from, to)` of every group with samples there, in order of groups.
    pub(super) fn for_each(&mut self, from: u64, to: u64, visit: impl FnMut(GroupId, P)) {
        self.ensure(from, to);
        let columns: SmallVec<[&Column<P>; 16]> =
            tiling(from, to).into_iter().filter_map(|node| self.node(node)).collect();
        for_each_joined(&columns, visit);
    }

    /// The join over the panes `[from, to)` of one group. Call [`Tree::ensure`] for them first.
    pub(super) fn value(&self, from: u64, to: u64, group: GroupId) -> Option<P> {
        let mut partials =
            tiling(from, to).into_iter().filter_map(|node| self.node(node)?.get(group));
        let mut value = partials.next()?.clone();
        partials.for_each(|partial| value.merge(partial));
        Some(value)
    }

    /// Forgets all panes before `horizon`, and every node that reaches before it.
    pub(super) fn evict(&mut self, horizon: u64) {
        for (level, nodes) in self.levels.iter_mut().enumerate() {
            let first = horizon.div_ceil(1 << level);
            while nodes.first_key_value().is_some_and(|(index, _)| *index < first) {
                nodes.pop_first();
            }
        }
    }

    /// The panes that have samples, in order.
    pub(super) fn panes(&self) -> impl Iterator<Item = (u64, &Column<P>)> {
        self.levels.first().into_iter().flatten().map(|(pane, column)| (*pane, column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_tile_every_stretch_from_left_to_right() {
        for from in 0..70u64 {
            for to in from + 1..from + 140 {
                let nodes = tiling(from, to);
                let mut at = from;
                for (level, index) in &nodes {
                    assert_eq!(index << level, at);
                    at += 1 << level;
                }
                assert_eq!(at, to);
                let log = u64::from((to - from).next_power_of_two().ilog2());
                assert!(nodes.len() as u64 <= 2 * log.max(1), "{from}..{to}: {nodes:?}");
            }
        }
    }
}
