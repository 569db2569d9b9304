//! The detector against a slow reference over all raw samples, and the table of phases.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::alert::{EndReason, TransitionKind};
use tidewatch_dataflow::operator::{Entry, GroupId, Inbox, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::*;
use crate::detect::Episode;
use crate::group::Grouped as _;
use crate::testing::drive;

#[path = "../../../tests/reference/sustained.rs"]
mod reference;

/// Group, partition, time, value.
type Sample = (u32, u64, EventTime, f64);

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: u64) -> EventTime {
    EventTime::from_millis(s * 1_000)
}

fn cpu() -> SustainedConfig {
    SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 85.0,
        for_: secs(300),
        clear_for: secs(10),
        gap_tolerance: secs(60),
        pane: PaneSize::new(secs(10)).unwrap(),
    }
}

/// The partials a sender would ship, each in the admission pane of its event pane.
fn partials(config: &SustainedConfig, all: &[Sample]) -> Vec<(Pane, Entry<ConditionPartial>)> {
    let mut parts: BTreeMap<(Pane, u32, u64), Vec<(EventTime, f64)>> = BTreeMap::new();
    for (group, partition, time, value) in all {
        let key = (config.pane.pane(*time), *group, *partition);
        parts.entry(key).or_default().push((*time, *value));
    }
    let parts = parts.into_iter().filter_map(|((pane, group, order), samples)| {
        let partial = ConditionPartial::of(config, pane, samples)?;
        Some((pane, Entry { group: GroupId(group), event_pane: pane, order, partial }))
    });
    parts.collect()
}

fn detect(config: SustainedConfig, samples: &[Sample]) -> Vec<Episode> {
    drive(&mut Sustained::try_new(config).unwrap(), partials(&config, samples))
}

fn by_group(episodes: Vec<Episode>) -> Vec<Episode<u32>> {
    let mut named: Vec<_> = episodes.into_iter().map(|e| (e.group.0, e)).collect();
    named.sort_by_key(|(group, _)| *group);
    named.into_iter().map(|(group, episode)| episode.named(group)).collect()
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![
        8 => Just(95.0),
        2 => Just(91.0),
        1 => Just(90.0),
        1 => Just(87.0),
        1 => Just(85.0),
        3 => Just(40.0),
    ];
    // Runs of one value make episodes likely; steps of half seconds meet every bound exactly.
    let run = (0..2u32, 0..3u64, value, 1..12usize, 1..9u64, 0..60u64);
    prop::collection::vec(run, 1..25).prop_map(|runs| {
        let mut all = Vec::new();
        let mut now = [0u64; 2];
        for (group, partition, value, length, step, pause) in runs {
            let clock = &mut now[group as usize];
            *clock += if pause > 50 { pause } else { 0 };
            for i in 0..length {
                *clock += step;
                let partition = if i % 4 == 3 { partition + 1 } else { partition };
                all.push((group, partition, EventTime::from_millis(*clock * 500), value));
                if i % 5 == 4 {
                    all.push((group, 7, EventTime::from_millis(*clock * 500), 95.0));
                }
            }
        }
        all
    })
}

fn configs() -> impl Strategy<Value = SustainedConfig> {
    (5..12u64, 5..20u64, 5..16u64, 1..20u64, any::<bool>()).prop_map(
        |(pane, for_, clear, gap, below)| {
            let half = |halves: u64| Duration::from_millis(halves * 500);
            SustainedConfig {
                condition: if below { Condition::Below(90.5) } else { Condition::Above(90.0) },
                clear: if below { 93.0 } else { 85.0 },
                for_: half(for_.max(pane)),
                clear_for: half(clear.max(pane)),
                gap_tolerance: half(gap),
                pane: PaneSize::new(half(pane)).unwrap(),
            }
        },
    )
}

proptest! {
    #[test]
    fn oracle_exact_to_the_sample(config in configs(), samples in samples()) {
        let raw: Vec<_> = samples.iter().map(|(g, _, time, value)| (*g, *time, *value)).collect();
        let expected = reference::episodes(&config, &raw);
        prop_assert_eq!(by_group(detect(config, &samples)), expected);
    }

    #[test]
    fn restores_between_any_two_panes(config in configs(), samples in samples(), cut in 0..100u64) {
        let straight = detect(config, &samples);
        let (before, after): (Vec<_>, Vec<_>) =
            partials(&config, &samples).into_iter().partition(|(pane, _)| pane.0 < cut);
        let mut first = Sustained::try_new(config).unwrap();
        let mut inbox = Inbox::default();
        before.into_iter().for_each(|(pane, entry)| inbox.admit(pane, entry));
        let mut told = Vec::new();
        while let Some(pane) = inbox.first().into_iter().chain(first.next_due()).min()
            && pane.0 < cut
        {
            first.apply(pane, &mut inbox.take(pane), &mut told);
        }
        let mut second = Sustained::restore(config, first.snapshot()).unwrap();
        prop_assert_eq!(second.snapshot(), first.snapshot());
        told.extend(drive(&mut second, after));
        prop_assert_eq!(told, straight);
    }
}

#[test]
fn opens_at_300_seconds_and_not_at_299_at_every_phase_of_the_pane() {
    for phase in (0..10_000).step_by(250) {
        for held in [299, 300, 301] {
            let start = 50_000 + phase;
            let time = |s: u64| EventTime::from_millis(start + s * 1_000);
            let mut samples: Vec<Sample> = (0..=held).map(|s| (0, 0, time(s), 95.0)).collect();
            samples.push((0, 0, time(held + 1), 10.0));
            samples.push((0, 0, time(held + 11), 10.0));
            let told = detect(cpu(), &samples);
            if held < 300 {
                assert_eq!(told, [], "phase {phase} held {held}");
                continue;
            }
            let [opened, ended] = told.as_slice() else { panic!("phase {phase}: {told:?}") };
            assert_eq!(
                (opened.kind, opened.started_at, opened.at),
                (TransitionKind::Opened, time(0), time(300))
            );
            assert_eq!(
                (ended.started_at, ended.at),
                (time(0), time(held + 1)),
                "first clear sample"
            );
            assert!(
                opened.decided_at.since(opened.at) <= secs(10) && opened.decided_at > opened.at
            );
        }
    }
}

#[test]
fn an_episode_that_opens_and_ends_within_one_pane_is_told() {
    let config = SustainedConfig { gap_tolerance: secs(2), for_: secs(10), ..cpu() };
    let samples: Vec<Sample> = (0..=5).map(|i| (0, 0, at(100 + 2 * i), 95.0)).collect();
    let told = detect(config, &samples);
    let steps: Vec<_> = told.iter().map(|e| (e.kind, e.at, e.decided_at)).collect();
    let no_data = TransitionKind::Ended(EndReason::NoData);
    assert_eq!(
        steps,
        [(TransitionKind::Opened, at(110), at(120)), (no_data, at(112), at(120))],
        "both, in order"
    );
}

#[test]
fn a_failing_sample_of_another_partition_at_the_same_instant_wins() {
    let mut samples: Vec<Sample> = (0..=31).map(|i| (0, 0, at(10 * i), 95.0)).collect();
    assert_eq!(detect(cpu(), &samples).len(), 2);
    samples.push((0, 1, at(150), 10.0));
    assert_eq!(detect(cpu(), &samples), []);
}

#[test]
fn silence_ends_an_episode_without_another_sample() {
    let samples: Vec<Sample> = (0..=30).map(|i| (0, 0, at(10 * i + 3), 95.0)).collect();
    let told = detect(cpu(), &samples);
    let end = &told[1];
    assert_eq!(end.kind, TransitionKind::Ended(EndReason::NoData));
    assert_eq!((end.at, end.decided_at), (at(303 + 60), at(370)));
}

#[test]
fn quiet_groups_have_no_state() {
    let config = cpu();
    let mut sustained = Sustained::try_new(config).unwrap();
    let samples: Vec<Sample> = (0..1_000).map(|g| (g, 0, at(5), 50.0)).collect();
    assert_eq!(drive(&mut sustained, partials(&config, &samples)), []);
    assert_eq!(sustained.snapshot().groups.len(), 0);
    assert_eq!(sustained.next_due(), None);
}

#[test]
fn each_bad_combination_has_its_own_message() {
    let told = |config: SustainedConfig| config.validate().unwrap_err().to_string();
    assert!(told(SustainedConfig { clear: 95.0, ..cpu() }).contains("lies on the holding side"));
    assert!(told(SustainedConfig { clear: f64::NAN, ..cpu() }).contains("not a finite number"));
    assert!(told(SustainedConfig { for_: secs(9), ..cpu() }).starts_with("`for` of `9s`"));
    assert!(told(SustainedConfig { clear_for: secs(9), ..cpu() }).starts_with("`clear_for` of"));
    let gap_tolerance = Duration::ZERO;
    assert!(told(SustainedConfig { gap_tolerance, ..cpu() }).starts_with("gap tolerance `0ns`"));
    assert_eq!(SustainedConfig { clear: 90.0, ..cpu() }.validate(), Ok(()));
}
