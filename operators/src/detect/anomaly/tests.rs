//! The machine alone: shifts, spikes, silence, restoring, and a reference that forgets nothing.

use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::alert::{EndReason, TransitionKind};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::*;
use crate::aggregate::{Aggregate, Moments};
use crate::detect::Episode;
use crate::group::Grouped as _;
use crate::testing::drive;

#[path = "../../../tests/reference/anomaly.rs"]
mod reference;
use reference::Measured;

fn config() -> AnomalyConfig {
    AnomalyConfig {
        half_life: Duration::from_secs(600),
        warm_up: Duration::from_secs(300),
        score: 6.0,
        min_deviation: 10.0,
        direction: Direction::Both,
        for_: Duration::from_secs(30),
        pane: PaneSize::new(Duration::from_secs(10)).unwrap(),
    }
}

fn feed(machine: &mut Anomaly, values: impl IntoIterator<Item = (u64, f64)>) -> Vec<Episode> {
    let mut out = Vec::new();
    for (pane, value) in values {
        while let Some(due) = machine.next_due().filter(|due| due.0 < pane) {
            machine.apply(due, &mut Vec::new(), &mut out);
        }
        let (group, event_pane, partial) = (GroupId(0), Pane(pane), Moments::of([value]));
        let mut entries = vec![Entry { group, event_pane, order: 0, partial }];
        machine.apply(Pane(pane), &mut entries, &mut out);
    }
    out
}

/// A level of 50 with a ripple of one.
fn calm(panes: std::ops::Range<u64>) -> impl Iterator<Item = (u64, f64)> {
    panes.map(|pane| (pane, 50.0 + (pane % 3) as f64 - 1.0))
}

fn at(seconds: u64) -> EventTime {
    EventTime::from_millis(seconds * 1_000)
}

#[test]
fn a_shift_opens_after_its_time_and_ends_when_it_has_become_the_rule() {
    let mut machine = Anomaly::try_new(config()).unwrap();
    assert_eq!(feed(&mut machine, calm(0..100)), []);
    let episodes = feed(&mut machine, (100..200).map(|pane| (pane, 80.0)));
    let [opening, end] = episodes.as_slice() else { panic!("{episodes:?}") };
    assert_eq!((opening.started_at, opening.at), (at(1_000), at(1_030)));
    assert_eq!(end.kind, TransitionKind::Ended(EndReason::Recovered));
    assert_eq!(end.at, at(1_000 + 600), "after one half-life");
    assert_eq!(feed(&mut machine, (200..300).map(|pane| (pane, 80.0))), []);
}

#[test]
fn a_spike_is_no_episode_and_teaches_nothing() {
    let mut machine = Anomaly::try_new(config()).unwrap();
    feed(&mut machine, calm(0..100));
    assert_eq!(feed(&mut machine, [(100, 90.0), (101, 90.0)]), []);
    assert_eq!(feed(&mut machine, calm(102..110)), []);
    let episodes = feed(&mut machine, (110..113).map(|pane| (pane, 62.0)));
    assert_eq!(episodes.len(), 1, "12 above, 6 deviations of one, as if the spike had not been");
}

#[test]
fn it_recovers_and_it_can_lose_its_data() {
    let mut machine = Anomaly::try_new(config()).unwrap();
    feed(&mut machine, calm(0..100));
    let opened = feed(&mut machine, (100..105).map(|pane| (pane, 20.0)));
    assert_eq!(opened.len(), 1);
    let ended = feed(&mut machine, calm(105..106));
    assert_eq!(
        (ended[0].kind, ended[0].at),
        (TransitionKind::Ended(EndReason::Recovered), at(1_050))
    );
    feed(&mut machine, (106..110).map(|pane| (pane, 20.0)));
    let ended = feed(&mut machine, calm(200..201));
    assert_eq!(ended[0].kind, TransitionKind::Ended(EndReason::NoData));
    assert_eq!(ended[0].decided_at, at(1_170), "seven panes after the last: {ended:?}");
}

#[test]
fn a_constant_series_has_no_deviation_and_still_needs_the_least() {
    let mut machine = Anomaly::try_new(config()).unwrap();
    feed(&mut machine, (0..100).map(|pane| (pane, 50.0)));
    assert_eq!(feed(&mut machine, (100..120).map(|pane| (pane, 59.9))), []);
    assert_eq!(feed(&mut machine, (120..123).map(|pane| (pane, 95.0))).len(), 1);
}

#[test]
fn nothing_is_judged_in_the_warm_up() {
    let mut machine = Anomaly::try_new(config()).unwrap();
    assert_eq!(feed(&mut machine, (0..30).map(|pane| (pane, (pane % 2) as f64 * 90.0))), []);
}

#[test]
fn restores_to_the_same_answers_between_any_two_panes() {
    let values: Vec<_> =
        calm(0..60).chain((60..70).map(|p| (p, 90.0))).chain(calm(90..100)).collect();
    let mut straight = Anomaly::try_new(config()).unwrap();
    let expected = feed(&mut straight, values.iter().copied());
    assert_eq!(expected.len(), 2);
    for cut in 0..values.len() {
        let mut machine = Anomaly::try_new(config()).unwrap();
        let mut found = feed(&mut machine, values[..cut].iter().copied());
        let mut machine = Anomaly::restore(config(), machine.snapshot()).unwrap();
        found.extend(feed(&mut machine, values[cut..].iter().copied()));
        assert_eq!(found, expected, "restored before {cut}");
    }
}

#[test]
fn an_unwatched_side_is_no_episode_and_widens_nothing() {
    let config = AnomalyConfig { direction: Direction::Up, ..config() };
    let mut machine = Anomaly::try_new(config).unwrap();
    feed(&mut machine, calm(0..100));
    assert_eq!(feed(&mut machine, (100..110).map(|pane| (pane, 0.0))), []);
    let told = feed(&mut machine, (110..114).map(|pane| (pane, 62.0)));
    assert_eq!(told.len(), 1, "the dip did not blind it: {told:?}");
    assert_eq!(told[0].started_at, at(1_100));
    let told = feed(&mut machine, (114..115).map(|pane| (pane, 0.0)));
    assert_eq!(told[0].kind, TransitionKind::Ended(EndReason::Recovered), "the other side");
}

#[test]
fn a_short_warm_up_gives_a_fair_deviation() {
    // Five minutes of a half-life of ten: the deviation of the ripple, neither less nor more.
    let mut machine = Anomaly::try_new(AnomalyConfig { min_deviation: 0.0, ..config() }).unwrap();
    assert_eq!(feed(&mut machine, calm(0..200)), []);
    let mut machine = Anomaly::try_new(AnomalyConfig { min_deviation: 0.0, ..config() }).unwrap();
    assert_eq!(feed(&mut machine, calm(0..31)), []);
    assert_eq!(feed(&mut machine, (31..34).map(|pane| (pane, 54.5))), [], "5.5 deviations");
    let mut machine = Anomaly::try_new(AnomalyConfig { min_deviation: 0.0, ..config() }).unwrap();
    feed(&mut machine, calm(0..31));
    assert_eq!(feed(&mut machine, (31..34).map(|pane| (pane, 55.5))).len(), 1, "6.7 deviations");
}

#[test]
fn spikes_leave_no_timers_behind() {
    let mut machine = Anomaly::try_new(config()).unwrap();
    feed(&mut machine, calm(0..100));
    let spikes = (100..10_000).map(|pane| (pane, if pane % 5 == 0 { 95.0 } else { 50.0 }));
    assert_eq!(feed(&mut machine, spikes), []);
    let mut due = 0;
    let mut out = Vec::new();
    while let Some(pane) = machine.next_due() {
        machine.apply(pane, &mut Vec::new(), &mut out);
        due += 1;
    }
    assert!(due <= 3, "the one that stood, one to see silence, one to forget: {due}");
    assert_eq!(machine.snapshot(), AnomalyState::default());
}

fn measured() -> impl Strategy<Value = Vec<Measured>> {
    let level = prop_oneof![5 => Just(50.0), 2 => Just(90.0), 2 => Just(10.0), 1 => 0.0..100.0f64];
    let stretch = (0..2u32, level, 0..4u32, 1..20u64, prop_oneof![6 => 0..2u64, 1 => 0..60u64]);
    prop::collection::vec(stretch, 1..20).prop_map(|stretches| {
        let mut now = [0u64; 2];
        let mut all = Vec::new();
        for (group, level, ripple, length, pause) in stretches {
            now[group as usize] += pause;
            for i in 0..length {
                now[group as usize] += 1;
                let wave = f64::from(ripple) * ((i * 7 % 5) as f64 - 2.0);
                all.push((group, now[group as usize], level + wave));
            }
        }
        all
    })
}

fn configs() -> impl Strategy<Value = AnomalyConfig> {
    let direction = prop_oneof![Just(Direction::Up), Just(Direction::Down), Just(Direction::Both)];
    (2..20u64, 0..20u64, 1..8u32, 0..30u32, direction, 1..8u64).prop_map(
        |(half_life, warm_up, score, least, direction, for_)| AnomalyConfig {
            half_life: Duration::from_secs(10 * half_life),
            warm_up: Duration::from_secs(10 * warm_up),
            score: f64::from(score),
            min_deviation: f64::from(least) + 0.25,
            direction,
            for_: Duration::from_secs(10 * for_),
            pane: PaneSize::new(Duration::from_secs(10)).unwrap(),
        },
    )
}

proptest! {
    #[test]
    fn oracle_episodes_are_those_of_the_definition(config in configs(), measured in measured()) {
        let expected = reference::episodes(&config, &measured);
        prop_assume!(expected.is_some());
        let entries = measured.iter().map(|(group, pane, x)| {
            let (event_pane, partial) = (Pane(*pane), Moments::of([*x]));
            (Pane(*pane), Entry { group: GroupId(*group), event_pane, order: 0, partial })
        });
        let told = drive(&mut Anomaly::try_new(config).unwrap(), entries.collect());
        let mut told: Vec<_> = told.into_iter().map(|e| { let group = e.group.0; e.named(group) }).collect();
        told.sort_by_key(|episode| episode.group);
        prop_assert_eq!(Some(told), expected);
    }
}
