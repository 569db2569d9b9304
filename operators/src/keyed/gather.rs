//! From records to partials: names keys by numbers, puts the records of a pane in order, folds them.

use rustc_hash::FxHashMap;
use tidewatch_dataflow::operator::{Entry, GroupId, Inbox, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::{Key, Keyed};
use crate::aggregate::Value;
use crate::group::{Grouped, LiveGroups};

/// Fewer keys than this are never looked through for ones without state.
const KEYS_KEPT: usize = 1_024;

/// Keys and their numbers. Numbers are dense, and given to another key once theirs has no state.
#[derive(Debug)]
struct Keys<K> {
    numbers: FxHashMap<K, GroupId>,
    /// By number: the key, and how many of its records wait.
    known: Vec<Option<(K, u64)>>,
    free: Vec<GroupId>,
    /// With this many keys it is time to look for ones without state: twice as many as the last time.
    look_at: usize,
}

impl<K: Key> Keys<K> {
    fn new() -> Self {
        let (known, free) = (Vec::new(), Vec::new());
        Keys { numbers: FxHashMap::default(), known, free, look_at: KEYS_KEPT }
    }

    /// The number of `key`, of which one more record waits.
    fn await_one(&mut self, key: K) -> GroupId {
        if let Some(group) = self.numbers.get(&key) {
            if let Some(Some((_, waiting))) = self.known.get_mut(group.0 as usize) {
                *waiting += 1;
            }
            return *group;
        }
        let group = self.free.pop().unwrap_or_else(|| {
            self.known.push(None);
            GroupId(u32::try_from(self.known.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(place) = self.known.get_mut(group.0 as usize) {
            *place = Some((key.clone(), 1));
        }
        self.numbers.insert(key, group);
        group
    }

    /// `count` records of `group` wait no longer.
    fn applied(&mut self, group: GroupId, count: usize) {
        if let Some(Some((_, waiting))) = self.known.get_mut(group.0 as usize) {
            *waiting -= count as u64;
        }
    }

    fn key(&self, group: GroupId) -> Option<&K> {
        self.known.get(group.0 as usize)?.as_ref().map(|(key, _)| key)
    }

    /// Takes the numbers of keys that neither wait nor have state in `machine`, once enough came together
    /// for that to cost nothing per key.
    fn release(&mut self, machine: &impl LiveGroups) {
        if self.numbers.len() < self.look_at {
            return;
        }
        let mut is_live = vec![false; self.known.len()];
        machine.for_each_live(&mut |group| {
            if let Some(live) = is_live.get_mut(group.0 as usize) {
                *live = true;
            }
        });
        for ((place, is_live), number) in self.known.iter_mut().zip(is_live).zip(0u32..) {
            if let Some((key, 0)) = place
                && !is_live
            {
                self.numbers.remove(key);
                self.free.push(GroupId(number));
                *place = None;
            }
        }
        self.look_at = (2 * self.numbers.len()).max(KEYS_KEPT);
    }
}

/// A machine over records of a key and an instant, made of one over partials of a group and a pane.
pub(super) struct Gather<K, V, M, F> {
    keys: Keys<K>,
    machine: M,
    /// Folds the records of one key and event pane, in order of time and value.
    fold: F,
    /// Reused between panes.
    values: Vec<(EventTime, V)>,
}

impl<K, V, M, F> Gather<K, V, M, F>
where
    K: Key,
    V: Value,
    M: PaneMachine,
    F: FnMut(Pane, &mut dyn Iterator<Item = (EventTime, V)>) -> Option<M::Partial> + 'static,
{
    pub(super) fn new(machine: M, fold: F) -> Self {
        Gather { keys: Keys::new(), machine, fold, values: Vec::new() }
    }

    /// Takes in a record that travelled with `stamp`.
    pub(super) fn admit(
        &mut self,
        stamp: EventTime,
        record: Keyed<K, V>,
        inbox: &mut Inbox<(EventTime, V)>,
    ) {
        let (size, time) = (self.machine.pane_size(), record.time);
        let group = self.keys.await_one(record.key);
        let (event_pane, partial) = (size.pane(time), (time, record.value));
        let entry = Entry { group, event_pane, order: time.as_millis(), partial };
        inbox.admit(size.pane(time.max(stamp)), entry);
    }

    /// Folds the records of `same`, which have one group and event pane and stand in order of time.
    fn fold(&mut self, same: &[Entry<(EventTime, V)>]) -> Option<Entry<M::Partial>> {
        let first = same.first()?;
        self.values.clear();
        self.values.extend(same.iter().map(|entry| entry.partial.clone()));
        self.values.sort_by(|(a, v), (b, w)| a.cmp(b).then_with(|| v.order(w)));
        let partial = (self.fold)(first.event_pane, &mut self.values.drain(..))?;
        let (group, event_pane) = (first.group, first.event_pane);
        Some(Entry { group, event_pane, order: 0, partial })
    }
}

impl<K, V, M, F> PaneMachine for Gather<K, V, M, F>
where
    K: Key,
    V: Value,
    M: PaneMachine + LiveGroups,
    M::Output: Grouped,
    <M::Output as Grouped>::Named<K>: 'static,
    F: FnMut(Pane, &mut dyn Iterator<Item = (EventTime, V)>) -> Option<M::Partial> + 'static,
{
    type Partial = (EventTime, V);
    type Output = <M::Output as Grouped>::Named<K>;

    fn pane_size(&self) -> PaneSize {
        self.machine.pane_size()
    }

    fn apply(
        &mut self,
        pane: Pane,
        entries: &mut Vec<Entry<(EventTime, V)>>,
        out: &mut Vec<Self::Output>,
    ) {
        // 1. Fold: one partial for each key and event pane.
        let mut folded = Vec::new();
        let same_pane =
            |a: &Entry<_>, b: &Entry<_>| (a.group, a.event_pane) == (b.group, b.event_pane);
        for same in entries.chunk_by(same_pane) {
            folded.extend(self.fold(same));
        }
        // 2. Apply.
        let mut told = Vec::new();
        self.machine.apply(pane, &mut folded, &mut told);
        // 3. Name: in order of keys, since numbers depend on the order of arrival.
        let keys = &self.keys;
        told.sort_by(|a, b| keys.key(a.group()).cmp(&keys.key(b.group())));
        out.extend(told.into_iter().filter_map(|output| {
            let key = keys.key(output.group())?.clone();
            Some(output.named(key))
        }));
        // 4. Forget.
        for same in entries.chunk_by(|a, b| a.group == b.group) {
            if let Some(first) = same.first() {
                self.keys.applied(first.group, same.len());
            }
        }
        self.keys.release(&self.machine);
    }

    fn next_due(&self) -> Option<Pane> {
        self.machine.next_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Aggregate, Count};
    use crate::window::{WindowConfig, Windows};
    use std::time::Duration;

    #[test]
    fn the_numbers_of_keys_without_state_are_used_again() {
        let config = WindowConfig::tumbling(Duration::from_secs(1));
        let windows = Windows::<Count>::new(config.plan(config.pane().unwrap()).unwrap());
        let mut gather = Gather::new(windows, |_, values| Some(Count::of(values)));
        let mut inbox = Inbox::default();
        let mut out = Vec::new();
        for second in 0..500u64 {
            let time = EventTime::from_millis(1_000 * second);
            for key in 100 * second..100 * second + 100 {
                gather.admit(EventTime::MIN, Keyed::new(key, time, ()), &mut inbox);
            }
            gather.apply(Pane(second), &mut inbox.take(Pane(second)), &mut out);
        }
        let keys: Vec<u64> = out.iter().map(|firing| firing.group).collect();
        assert_eq!(keys, (0..50_000).collect::<Vec<_>>(), "each key once, in order");
        assert!(gather.keys.known.len() <= KEYS_KEPT + 100, "{}", gather.keys.known.len());
    }
}
