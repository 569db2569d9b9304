//! Windows against their definition: every pane's samples kept, every value computed from scratch.

use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::operator::{Entry, GroupId, Inbox, PaneMachine};
use tidewatch_dataflow::time::{Pane, PaneSize};

use super::*;
use crate::aggregate::{Aggregate, Moments};
use crate::testing::drive;

#[path = "../../tests/reference/windows.rs"]
mod reference;

/// An entry and the pane it is admitted in.
type Admitted = (Pane, Entry<Moments>);

fn pane_size() -> PaneSize {
    PaneSize::new(Duration::from_secs(10)).unwrap()
}

fn config(size: u64, slide: u64, late: u64) -> WindowConfig {
    let panes = |n| Duration::from_secs(10 * n);
    WindowConfig { size: panes(size), slide: panes(slide), allowed_lateness: panes(late) }
}

fn plan(size: u64, slide: u64, late: u64) -> WindowPlan {
    config(size, slide, late).plan(pane_size()).unwrap()
}

fn entry(group: u32, event: u64, order: u64, values: &[f64]) -> Entry<Moments> {
    let partial = Moments::of(values.iter().copied());
    Entry { group: GroupId(group), event_pane: Pane(event), order, partial }
}

/// The firings under plain numbers, in an order of their own, with the bits of every number.
fn bits(fired: Vec<Firing<Moments>>) -> Vec<reference::Bits> {
    let named = fired.into_iter().map(|f| {
        let group = f.group.0;
        f.with_group(group)
    });
    reference::bits(&named.collect::<Vec<_>>())
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

fn configs() -> impl Strategy<Value = WindowConfig> {
    (1..20u64, 1..20u64, 0..12u64).prop_map(|(a, b, late)| config(a.max(b), a.min(b), late))
}

proptest! {
    #[test]
    fn oracle_windows_fire_as_defined(config in configs(), mut admitted in admitted()) {
        // Entries of one (group, event pane, order, admission pane) would tie: a sender ships one.
        admitted.sort_by_key(|(pane, e)| (*pane, e.group, e.event_pane, e.order));
        admitted.dedup_by_key(|(pane, e)| (*pane, e.group, e.event_pane, e.order));
        let samples = admitted.iter().map(|(pane, e)| reference::Admitted {
            group: e.group.0,
            event: e.event_pane.0,
            admission: pane.0,
            order: e.order,
            partial: e.partial,
        });
        let expected = reference::firings(&config, pane_size(), &samples.collect::<Vec<_>>());
        admitted.reverse();
        let fired = drive(&mut Windows::new(config.plan(pane_size()).unwrap()), admitted);
        prop_assert_eq!(bits(fired), reference::bits(&expected));
    }

    #[test]
    fn differential_windows_that_share_panes_fire_as_each_alone(
        configs in prop::collection::vec(configs(), 1..4), mut admitted in admitted(),
    ) {
        admitted.sort_by_key(|(pane, e)| (*pane, e.group, e.event_pane, e.order));
        admitted.dedup_by_key(|(pane, e)| (*pane, e.group, e.event_pane, e.order));
        let plans: Vec<_> = configs.iter().map(|c| c.plan(pane_size()).unwrap()).collect();
        let mut inbox = Inbox::default();
        admitted.iter().cloned().for_each(|(pane, entry)| inbox.admit(pane, entry));
        let mut set = WindowSet::new(plans.clone());
        let mut fired = vec![Vec::new(); plans.len()];
        while let Some(pane) = inbox.first().into_iter().chain(set.next_due()).min() {
            set.apply(pane, inbox.take(pane).into_iter(), |window, firing| fired[window].push(firing));
        }
        for (plan, fired) in plans.into_iter().zip(fired) {
            let alone = drive(&mut Windows::new(plan), admitted.clone());
            prop_assert_eq!(&fired, &alone);
            prop_assert_eq!(bits(fired), bits(alone));
        }
    }

    #[test]
    fn restores_between_any_two_panes(config in configs(), admitted in admitted(), cut in 0..90u64) {
        let plan = config.plan(pane_size()).unwrap();
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
        prop_assert_eq!(&fired, &straight);
        prop_assert_eq!(bits(fired), bits(straight));
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
