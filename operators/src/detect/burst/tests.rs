//! The detector against a reference that walks every pane, and what it is for.

use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::operator::{Entry, GroupId, Inbox, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane};

use super::*;
use crate::detect::Episode;
use crate::group::Grouped as _;
use crate::testing::drive;

#[path = "../../../tests/reference/burst.rs"]
mod reference;

/// Group, pane, partition, events.
type Events = (u32, u64, u64, u64);

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn errors() -> BurstConfig {
    BurstConfig {
        window: secs(60),
        slide: secs(10),
        above: 20,
        factor: Some(5.0),
        baseline: secs(600),
        clear_for: secs(60),
    }
}

fn entries(all: &[Events]) -> Vec<(Pane, Entry<u64>)> {
    let entries = all.iter().map(|(group, pane, order, events)| {
        let group = GroupId(*group);
        (Pane(*pane), Entry { group, event_pane: Pane(*pane), order: *order, partial: *events })
    });
    entries.collect()
}

fn detect(config: BurstConfig, all: &[Events]) -> Vec<Episode> {
    drive(&mut Burst::try_new(config).unwrap(), entries(all))
}

fn by_group(episodes: Vec<Episode>) -> Vec<Episode<u32>> {
    let mut named: Vec<_> = episodes.into_iter().map(|e| (e.group.0, e)).collect();
    named.sort_by_key(|(group, _)| *group);
    named.into_iter().map(|(group, episode)| episode.named(group)).collect()
}

fn events() -> impl Strategy<Value = Vec<Events>> {
    let level = prop_oneof![6 => Just(0u64), 4 => 0..4u64, 2 => 5..40u64];
    let stretch = (0..2u32, level, 1..30u64);
    prop::collection::vec((stretch, prop::collection::vec(0..3u64, 30)), 1..20).prop_map(
        |stretches| {
            let mut now = [0u64; 2];
            let mut all = Vec::new();
            for ((group, level, length), noise) in stretches {
                for noise in noise.into_iter().take(length as usize) {
                    let pane = &mut now[group as usize];
                    *pane += 1;
                    if level > 0 {
                        all.push((group, *pane, noise, level + noise));
                        all.push((group, *pane, noise + 1, noise));
                    }
                }
            }
            all
        },
    )
}

fn configs() -> impl Strategy<Value = BurstConfig> {
    let factor = prop_oneof![Just(None), Just(Some(1.0)), Just(Some(2.5)), Just(Some(5.0))];
    (1..8u64, 0..60u64, factor, 1..40u64, 0..100u64).prop_map(|(n, above, factor, b, clear)| {
        BurstConfig {
            window: secs(10 * n),
            slide: secs(10),
            above,
            factor,
            baseline: secs(10 * b),
            clear_for: secs(clear),
        }
    })
}

proptest! {
    #[test]
    fn oracle_exact_to_the_pane(config in configs(), events in events()) {
        let counts: Vec<_> = events.iter().map(|(g, pane, _, n)| (*g, *pane, *n)).collect();
        let expected = reference::episodes(&config, &counts);
        prop_assert_eq!(by_group(detect(config, &events)), expected);
    }

    #[test]
    fn restores_between_any_two_panes(config in configs(), events in events(), cut in 0..300u64) {
        let straight = detect(config, &events);
        let (before, after): (Vec<_>, Vec<_>) =
            entries(&events).into_iter().partition(|(pane, _)| pane.0 < cut);
        let mut first = Burst::try_new(config).unwrap();
        let mut inbox = Inbox::default();
        before.into_iter().for_each(|(pane, entry)| inbox.admit(pane, entry));
        let mut told = Vec::new();
        while let Some(pane) = inbox.first().into_iter().chain(first.next_due()).min()
            && pane.0 < cut
        {
            first.apply(pane, &mut inbox.take(pane), &mut told);
        }
        let mut second = Burst::restore(config, first.snapshot()).unwrap();
        prop_assert_eq!(second.snapshot(), first.snapshot());
        told.extend(drive(&mut second, after));
        prop_assert_eq!(told, straight);
    }
}

#[test]
fn ten_times_the_usual_is_told_and_twice_is_not() {
    let mut usual: Vec<Events> = (0..90).map(|pane| (0, pane, 0, 3)).collect();
    usual.extend((90..96).map(|pane| (0, pane, 0, 6)));
    assert_eq!(detect(errors(), &usual[..1]), [], "3 in a window are no burst");
    let told = detect(errors(), &usual);
    assert_eq!(told, [], "36 a minute are twice the usual 18");
    usual.extend((96..100).map(|pane| (0, pane, 0, 60)));
    let told = detect(errors(), &usual);
    let [opened, ended] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(opened.value, Reading(144.0), "4 panes of 6 and 2 of 60 exceed 5 times the usual");
    assert_eq!(opened.at.since(opened.started_at), secs(60));
    assert_eq!(ended.kind, TransitionKind::Ended(EndReason::Recovered));
}

#[test]
fn the_baseline_does_not_learn_from_an_open_burst() {
    // An hour of burst, six times the baseline: still open, then over; and the next one is told too.
    let mut events: Vec<Events> = (0..60).map(|pane| (0, pane, 0, 2)).collect();
    events.extend((60..420).map(|pane| (0, pane, 0, 50)));
    events.extend((420..480).map(|pane| (0, pane, 0, 2)));
    events.extend((480..490).map(|pane| (0, pane, 0, 50)));
    let told = detect(errors(), &events);
    let kinds: Vec<_> = told.iter().map(|e| e.sequence).collect();
    assert_eq!(kinds, [0, 1, 0, 1]);
    let pane = |p: u64| EventTime::from_millis(p * 10_000);
    assert!(told[1].at > pane(420) && told[1].at <= pane(426), "{told:?}");
    assert!(told[2].at <= pane(483), "judged by the past before the first burst: {told:?}");
}

#[test]
fn a_burst_out_of_silence_is_told_by_the_absolute_bound() {
    let told = detect(errors(), &[(0, 1_000, 0, 21)]);
    assert_eq!(told.len(), 2);
    assert_eq!(detect(errors(), &[(0, 1_000, 0, 20)]), [], "not more than the bound");
}

#[test]
fn a_normal_level_over_the_absolute_bound_is_learned_on_trial() {
    // 60 a minute from the first sight on: told once, then known to be normal; 600 a minute is not.
    let mut events: Vec<Events> = (0..200).map(|pane| (0, pane, 0, 10)).collect();
    events.extend((200..206).map(|pane| (0, pane, 0, 100)));
    events.extend((206..260).map(|pane| (0, pane, 0, 10)));
    let told = detect(errors(), &events);
    let pane = |p: u64| EventTime::from_millis(p * 10_000);
    let steps: Vec<_> = told.iter().map(|e| (e.sequence, e.at)).collect();
    assert_eq!(steps[..2], [(0, pane(3)), (1, pane(66))], "window, then a whole baseline");
    assert_eq!(steps[2..].iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1]);
    assert!(steps[2].1 > pane(200) && steps[2].1 <= pane(206), "{told:?}");
}

#[test]
fn two_bursts_out_of_silence_are_both_told() {
    let burst = |from: u64| (from..from + 12).map(|pane| (0, pane, 0, 50));
    let told = detect(errors(), &burst(0).chain(burst(40)).collect::<Vec<_>>());
    assert_eq!(told.iter().map(|e| e.sequence).collect::<Vec<_>>(), [0, 1, 0, 1]);
}

#[test]
fn silent_groups_cost_nothing() {
    let mut burst = Burst::try_new(errors()).unwrap();
    let events: Vec<Events> = (0..1_000).map(|group| (group, 7, 0, 1)).collect();
    drive(&mut burst, entries(&events));
    assert_eq!(burst.next_due(), None, "one event wakes nobody");
    assert_eq!(burst.snapshot().groups.len(), 1_000);
    drive(&mut burst, entries(&[(5, 100_000_000, 0, 1)]));
    assert_eq!(burst.snapshot().groups.len(), 1);
}

#[test]
fn each_bad_combination_has_its_own_message() {
    let told = |config: BurstConfig| config.validate().unwrap_err().to_string();
    assert!(told(BurstConfig { slide: Duration::ZERO, ..errors() }).starts_with("burst slide"));
    assert!(told(BurstConfig { window: secs(65), ..errors() }).starts_with("burst window `65s`"));
    assert!(told(BurstConfig { baseline: secs(5), ..errors() }).starts_with("burst baseline `5s`"));
    assert!(told(BurstConfig { factor: Some(0.0), ..errors() }).starts_with("burst factor `0`"));
    assert!(told(BurstConfig { baseline: secs(864_000), ..errors() }).contains("86406 slides"));
    let none = BurstConfig { factor: None, baseline: Duration::ZERO, ..errors() };
    assert_eq!(none.validate(), Ok(()), "no baseline is needed without a factor");
}
