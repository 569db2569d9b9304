//! Windows against their definition: every pane's samples kept, every value computed from scratch.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::operator::{Entry, GroupId, Inbox, PaneMachine};
use tidewatch_dataflow::time::{Pane, PaneSize};

use super::*;
use crate::aggregate::{Aggregate, Moments, Monoid};
use crate::testing::drive;

/// An entry and the pane it is admitted in.
type Admitted = (Pane, Entry<Moments>);

fn pane_size() -> PaneSize {
    PaneSize::new(Duration::from_secs(10)).unwrap()
}

fn plan(size: u64, slide: u64, late: u64) -> WindowPlan {
    let panes = |n| Duration::from_secs(10 * n);
    WindowConfig { size: panes(size), slide: panes(slide), allowed_lateness: panes(late) }
        .plan(pane_size())
        .unwrap()
}

fn entry(group: u32, event: u64, order: u64, values: &[f64]) -> Entry<Moments> {
    let partial = Moments::of(values.iter().copied());
    Entry { group: GroupId(group), event_pane: Pane(event), order, partial }
}

/// The join over `[from, to)`, by halving at absolute dyadic boundaries and without any memory.
fn joined(panes: &BTreeMap<u64, Moments>, from: u64, to: u64) -> Option<Moments> {
    fn node(panes: &BTreeMap<u64, Moments>, from: u64, size: u64) -> Option<Moments> {
        if size == 1 {
            return panes.get(&from).copied();
        }
        join(node(panes, from, size / 2), node(panes, from + size / 2, size / 2))
    }
    fn join(left: Option<Moments>, right: Option<Moments>) -> Option<Moments> {
        match (left, right) {
            (Some(mut left), Some(right)) => {
                left.merge(&right);
                Some(left)
            }
            (left, right) => left.or(right),
        }
    }
    let (mut value, mut at) = (None, from);
    while at < to {
        let mut size = 1;
        while at % (2 * size) == 0 && at + 2 * size <= to {
            size *= 2;
        }
        value = join(value, node(panes, at, size));
        at += size;
    }
    value
}

/// What must come out, admission pane by admission pane, straight from the definition.
fn reference(plan: WindowPlan, admitted: &[Admitted]) -> Vec<Firing<Moments>> {
    let mut out = Vec::new();
    let mut panes: BTreeMap<GroupId, BTreeMap<u64, Moments>> = BTreeMap::new();
    let (size, slide) = (plan.size_panes(), plan.slide_panes());
    let last = admitted.iter().map(|(pane, _)| pane.0).max().unwrap_or(0) + size;
    for now in 0..=last {
        let mut entries: Vec<_> =
            admitted.iter().filter(|(pane, _)| pane.0 == now).map(|(_, e)| e.clone()).collect();
        entries.sort_by_key(|e| (e.group, e.event_pane, e.order));
        entries.retain(|e| !plan.is_too_late(e.event_pane, Pane(now)));
        // Corrections of one admission pane are joined first, then merged into their panes.
        let before = panes.clone();
        let mut fresh: BTreeMap<(GroupId, u64), Moments> = BTreeMap::new();
        for e in &entries {
            fresh.entry((e.group, e.event_pane.0)).or_default().merge(&e.partial);
        }
        for ((group, pane), partial) in &fresh {
            panes.entry(*group).or_default().entry(*pane).or_default().merge(partial);
        }
        for (group, known) in &panes {
            for k in 0..=now {
                let (from, to) = (k * slide, k * slide + size);
                let touched = fresh.keys().any(|(g, p)| g == group && (from..to).contains(p));
                let open = plan.window(k).end + plan.lateness() > pane_size().start(Pane(now));
                let timing = match to.cmp(&(now + 1)) {
                    std::cmp::Ordering::Equal => Timing::OnTime,
                    std::cmp::Ordering::Less if touched && open => Timing::Late,
                    _ => continue,
                };
                let former = before.get(group).and_then(|panes| joined(panes, from, to));
                if let Some(value) = joined(known, from, to) {
                    let former = former.filter(|_| timing == Timing::Late);
                    let window = plan.window(k);
                    out.push(Firing { group: *group, window, timing, value, former });
                }
            }
        }
    }
    out
}

fn sorted(mut firings: Vec<Firing<Moments>>) -> Vec<Firing<Moments>> {
    firings.sort_by_key(|f| (f.window.end, f.group, f.timing, f.value.count));
    firings
}

fn bits(firings: &[Firing<Moments>]) -> Vec<String> {
    firings
        .iter()
        .map(|f| {
            let bits = |m: Moments| [m.sum, m.m2, m.min, m.max].map(f64::to_bits);
            format!("{f:?} {:?} {:?}", bits(f.value), f.former.map(bits))
        })
        .collect()
}

fn admitted() -> impl Strategy<Value = Vec<Admitted>> {
    let one = (0..3u32, 0..60u64, prop_oneof![3 => Just(0), 1 => 0..25u64], 0..3u64, -5.0..5.0f64);
    prop::collection::vec(one, 0..60).prop_map(|all| {
        all.into_iter()
            .map(|(group, event, delay, order, value)| {
                (Pane(event + delay), entry(group, event, order, &[value, value * 0.1]))
            })
            .collect()
    })
}

fn plans() -> impl Strategy<Value = WindowPlan> {
    (1..20u64, 1..20u64, 0..12u64).prop_map(|(a, b, late)| plan(a.max(b), a.min(b), late))
}

proptest! {
    #[test]
    fn oracle_windows_fire_as_defined(plan in plans(), mut admitted in admitted()) {
        // Entries of one (group, event pane, order, admission pane) would tie: a sender ships one.
        admitted.sort_by_key(|(pane, e)| (*pane, e.group, e.event_pane, e.order));
        admitted.dedup_by_key(|(pane, e)| (*pane, e.group, e.event_pane, e.order));
        let expected = sorted(reference(plan, &admitted));
        admitted.reverse();
        let fired = sorted(drive(&mut Windows::new(plan), admitted));
        prop_assert_eq!(bits(&fired), bits(&expected));
    }

    #[test]
    fn restores_between_any_two_panes(plan in plans(), admitted in admitted(), cut in 0..90u64) {
        let straight = drive(&mut Windows::new(plan), admitted.clone());
        let (before, after): (Vec<_>, Vec<_>) =
            admitted.into_iter().partition(|(pane, _)| pane.0 < cut);
        let mut first = Windows::new(plan);
        let mut inbox = Inbox::default();
        before.into_iter().for_each(|(pane, entry)| inbox.admit(pane, entry));
        let mut fired = Vec::new();
        while let Some(pane) = inbox.first().into_iter().chain(first.next_due()).min()
            && pane.0 < cut
        {
            first.apply(pane, &mut inbox.take(pane), &mut fired);
        }
        let mut second = Windows::restore(plan, first.snapshot());
        prop_assert_eq!(second.snapshot(), first.snapshot());
        fired.extend(drive(&mut second, after));
        prop_assert_eq!(bits(&fired), bits(&straight));
    }
}

#[test]
fn a_jump_of_years_costs_what_is_not_empty() {
    let plan = plan(360, 1, 0);
    let mut windows = Windows::new(plan);
    let far = 100_000_000_000;
    let fired = drive(
        &mut windows,
        vec![(Pane(5), entry(0, 5, 0, &[1.0])), (Pane(far), entry(0, far, 0, &[2.0]))],
    );
    assert_eq!(fired.len(), 2 * 360 - 354, "the first window begins at the epoch");
    assert_eq!(windows.snapshot().panes.len(), 0, "nothing is kept behind the horizon");
}

#[test]
fn late_record_within_lateness_fires_again_and_says_what_it_replaces() {
    let fired = drive(
        &mut Windows::new(plan(1, 1, 2)),
        vec![
            (Pane(3), entry(0, 3, 0, &[1.0])),
            (Pane(5), entry(0, 3, 0, &[2.0])),
            (Pane(5), entry(0, 4, 0, &[7.0])),
            (Pane(6), entry(0, 3, 0, &[9.0])),
        ],
    );
    let told: Vec<_> = fired
        .iter()
        .map(|f| (f.window.start.as_millis() / 10_000, f.timing, f.value.sum, f.former))
        .collect();
    let one = Some(Moments::of([1.0]));
    assert_eq!(
        told,
        [(3, Timing::OnTime, 1.0, None), (3, Timing::Late, 3.0, one), (4, Timing::Late, 7.0, None)],
        "the last correction came too late"
    );
}

#[test]
fn what_comes_too_late_is_refused_and_counted() {
    let mut windows = Windows::new(plan(1, 1, 0));
    assert!(windows.is_too_late(Pane(3), Pane(4)));
    assert!(drive(&mut windows, vec![(Pane(4), entry(0, 3, 0, &[1.0]))]).is_empty());
    assert_eq!(windows.refused(), 1);
}

#[test]
fn a_late_part_of_an_open_sliding_window_is_in_its_value() {
    let fired = drive(
        &mut Windows::new(plan(3, 1, 0)),
        vec![(Pane(5), entry(0, 3, 0, &[1.0])), (Pane(5), entry(0, 5, 0, &[2.0]))],
    );
    assert_eq!(fired[0].value.sum, 3.0);
    assert_eq!(fired[0].timing, Timing::OnTime);
}
