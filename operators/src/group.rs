//! Groups inside machines: naming them in outputs, knowing which are alive, state and timers per group.

use std::collections::BTreeMap;

use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::time::Pane;

/// An output of a machine, which names its group by number, and can name it by anything else.
pub trait Grouped {
    /// The same output with a group of type `G`.
    type Named<G>;

    /// The group's number.
    fn group(&self) -> GroupId;

    /// The same output under the name `group`.
    fn named<G>(self, group: G) -> Self::Named<G>;
}

/// A machine that can say of which groups it still holds anything. The number of any other group can be
/// given to a new one.
pub trait LiveGroups {
    /// Visits every group with state, in any order, perhaps more than once.
    fn for_each_live(&self, visit: &mut dyn FnMut(GroupId));
}

/// State of those groups that have any, by group number.
///
/// Bound: one `Option<S>` for each number up to the greatest with state. Numbers are dense and reused.
#[derive(Clone, Debug)]
pub(crate) struct Groups<S> {
    states: Vec<Option<S>>,
}

impl<S> Default for Groups<S> {
    fn default() -> Self {
        Groups { states: Vec::new() }
    }
}

impl<S> Groups<S> {
    pub(crate) fn get_mut(&mut self, group: GroupId) -> Option<&mut S> {
        self.states.get_mut(group.0 as usize)?.as_mut()
    }

    /// The place of `group`, to be filled or emptied.
    pub(crate) fn slot(&mut self, group: GroupId) -> &mut Option<S> {
        let index = group.0 as usize;
        if self.states.len() <= index {
            self.states.resize_with(index + 1, || None);
        }
        &mut self.states[index]
    }

    /// Takes the state of `group` out; gives memory behind the last group with state back.
    pub(crate) fn remove(&mut self, group: GroupId) -> Option<S> {
        let state = self.states.get_mut(group.0 as usize)?.take();
        if group.0 as usize + 1 == self.states.len() {
            while let Some(None) = self.states.last() {
                self.states.pop();
            }
            if self.states.len() < self.states.capacity() / 4 {
                self.states.shrink_to(self.states.len() * 2);
            }
        }
        state
    }

    /// All groups with state, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupId, &S)> {
        (0u32..).zip(&self.states).filter_map(|(id, state)| Some((GroupId(id), state.as_ref()?)))
    }
}

/// Groups to look at when a pane is applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    by_pane: BTreeMap<Pane, Vec<GroupId>>,
}

impl Timers {
    /// Looks at `group` when `pane` is applied.
    pub(crate) fn arm(&mut self, pane: Pane, group: GroupId) {
        self.by_pane.entry(pane).or_default().push(group);
    }

    /// The first pane with a timer.
    pub(crate) fn first(&self) -> Option<Pane> {
        self.by_pane.keys().next().copied()
    }

    /// Takes all timers up to and including `pane`: each group once, in order.
    pub(crate) fn take_due(&mut self, pane: Pane) -> Vec<GroupId> {
        let mut due = Vec::new();
        while let Some(entry) = self.by_pane.first_entry().filter(|e| *e.key() <= pane) {
            due.append(&mut entry.remove());
        }
        due.sort_unstable();
        due.dedup();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_removed_groups_is_given_back() {
        let mut groups = Groups::default();
        for id in 0..10_000 {
            *groups.slot(GroupId(id)) = Some([id; 8]);
        }
        for id in 1..10_000 {
            assert_eq!(groups.remove(GroupId(id)), Some([id; 8]));
        }
        assert_eq!(groups.iter().map(|(id, _)| id).collect::<Vec<_>>(), [GroupId(0)]);
        assert!(groups.states.capacity() < 64, "{}", groups.states.capacity());
    }

    #[test]
    fn a_timer_is_told_once() {
        let mut timers = Timers::default();
        timers.arm(Pane(7), GroupId(2));
        timers.arm(Pane(5), GroupId(2));
        timers.arm(Pane(5), GroupId(1));
        timers.arm(Pane(9), GroupId(3));
        assert_eq!(timers.first(), Some(Pane(5)));
        assert_eq!(timers.take_due(Pane(8)), [GroupId(1), GroupId(2)]);
        assert_eq!(timers.first(), Some(Pane(9)));
    }
}
