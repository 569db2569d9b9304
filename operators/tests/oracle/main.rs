//! Every keyed operator through timely, with one, two and three workers and records shuffled inside the
//! out-of-orderness bound, against its slow reference: equal to the bit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../reference/mod.rs"]
mod reference;
mod shuffle;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};
use tidewatch_operators::aggregate::{Aggregate, Moments};
use tidewatch_operators::detect::Episode;
use tidewatch_operators::detect::anomaly::{AnomalyConfig, Direction};
use tidewatch_operators::detect::burst::BurstConfig;
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::keyed::{
    DetectAnomaly, DetectBurst, DetectSustained, Dropped, Keyed, Sliding, Tumbling, TumblingConfig,
};
use tidewatch_operators::window::{Firing, WindowConfig};
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use reference::windows::Admitted;
use shuffle::{Late, Record, Sent, run};

/// Records may arrive this much later than one of a later time.
const BOUND: u64 = 7_000;

/// Both outputs of an operator as one.
#[derive(Clone, Debug, PartialEq)]
enum Out<O> {
    Told(O),
    Dropped(Dropped<u32, f64>),
}

fn parted<O>(all: Vec<Out<O>>) -> (Vec<O>, Vec<Late>) {
    let (mut told, mut dropped) = (Vec::new(), Vec::new());
    for out in all {
        match out {
            Out::Told(output) => told.push(output),
            Out::Dropped(Dropped { record, admission_time }) => {
                dropped.push((admission_time, record))
            }
        }
    }
    (told, sorted(dropped))
}

fn sorted(mut late: Vec<Late>) -> Vec<Late> {
    late.sort_by(|(s, a), (t, b)| {
        (s, a.key, a.time).cmp(&(t, b.key, b.time)).then(a.value.total_cmp(&b.value))
    });
    late
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn pane() -> PaneSize {
    PaneSize::new(secs(10)).unwrap()
}

/// Stretches of samples around one level, of three keys.
fn series() -> impl Strategy<Value = Vec<Record>> {
    let level = prop_oneof![4 => Just(95.0), 3 => Just(50.0), 1 => Just(87.0), 1 => 0.0..100.0f64];
    let stretch = (0..3u32, level, 1..40u64, 1..12u64, 0..8u64);
    prop::collection::vec(stretch, 1..16).prop_map(|stretches| {
        let mut now = [100_000u64; 3];
        let mut all = Vec::new();
        for (key, level, length, step, pause) in stretches {
            let clock = &mut now[key as usize];
            *clock += pause * pause * 700;
            for i in 0..length {
                *clock += step * 500;
                let value = level + 0.1 * (i * 7 % 11) as f64;
                all.push(Keyed::new(key, EventTime::from_millis(*clock), value));
                if i % 4 == 3 {
                    all.push(Keyed::new(key, EventTime::from_millis(*clock), value * 1.01));
                }
            }
        }
        all
    })
}

/// Records admitted later than measured.
fn late() -> impl Strategy<Value = Vec<Late>> {
    let one = (0..3u32, 100_000..300_000u64, 0..90_000u64, -5.0..5.0f64);
    prop::collection::vec(one, 0..25).prop_map(|all| {
        let late = all.into_iter().map(|(key, time, delay, value)| {
            let record = Keyed::new(key, EventTime::from_millis(time), value);
            (EventTime::from_millis(time + delay), record)
        });
        late.collect()
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    (series(), late()).prop_map(|(on_time, late)| Sent { on_time, late })
}

fn panes_of(record: &Record, admission: EventTime) -> (u64, u64) {
    (pane().pane(record.time).0, pane().pane(admission).0)
}

/// Everything sent, with admission times.
fn admissions(sent: &Sent) -> impl Iterator<Item = Late> + '_ {
    let on_time = sent.on_time.iter().map(|record| (record.time, record.clone()));
    on_time
        .chain(sent.late.iter().map(|(stamp, record)| ((*stamp).max(record.time), record.clone())))
}

fn expected_windows(config: &WindowConfig, sent: &Sent) -> (Vec<Firing<Moments, u32>>, Vec<Late>) {
    let plan = config.plan(pane()).unwrap();
    let mut dropped = Vec::new();
    let mut values: BTreeMap<(u64, u32, u64), Vec<(EventTime, f64)>> = BTreeMap::new();
    for (admission, record) in admissions(sent) {
        let (event, at) = panes_of(&record, admission);
        if plan.is_too_late(Pane(event), Pane(at)) {
            dropped.push((admission, record));
        } else {
            values.entry((at, record.key, event)).or_default().push((record.time, record.value));
        }
    }
    let admitted = values.into_iter().map(|((admission, group, event), mut values)| {
        values.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let partial = Moments::of(values.into_iter().map(|(_, value)| value));
        Admitted { group, event, admission, order: 0, partial }
    });
    let admitted: Vec<Admitted> = admitted.collect();
    (reference::windows::firings(config, pane(), &admitted), sorted(dropped))
}

/// What detectors see, and what comes late for them.
fn in_time(sent: &Sent) -> (Vec<Record>, Vec<Late>) {
    let (late, kept): (Vec<_>, Vec<_>) = admissions(sent).partition(|(admission, record)| {
        let (event, at) = panes_of(record, *admission);
        event < at
    });
    (kept.into_iter().map(|(_, record)| record).collect(), sorted(late))
}

fn by_group(mut episodes: Vec<Episode<u32>>) -> Vec<Episode<u32>> {
    episodes.sort_by_key(|e| (e.group, e.decided_at, e.started_at, e.sequence));
    episodes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn oracle_sliding(
        sent in sent(), size in 1..12u64, slide in 1..12u64, lateness in 0..6u64, seed in any::<u64>(),
    ) {
        let (size, slide) = (secs(10 * size.max(slide)), secs(10 * size.min(slide)));
        let config = WindowConfig { size, slide, allowed_lateness: secs(10 * lateness) };
        // The operator's own panes: the greatest common divisor, which the references do not need.
        prop_assume!(config.pane().unwrap() == pane());
        let (firings, late) = expected_windows(&config, &sent);
        for workers in 1..=3 {
            let all = run(workers, &sent, BOUND, seed ^ workers as u64, move |records| {
                let output = records.sliding::<Moments>("oracle", config).unwrap();
                output.firings.map(Out::Told).concat(output.dropped.map(Out::Dropped))
            });
            let (told, dropped) = parted(all);
            prop_assert_eq!(reference::windows::bits(&told), reference::windows::bits(&firings));
            prop_assert_eq!(&dropped, &late);
        }
    }

    #[test]
    fn oracle_tumbling(sent in sent(), lateness in 0..8u64, seed in any::<u64>()) {
        let config = TumblingConfig { size: secs(10), allowed_lateness: secs(lateness * 10) };
        let TumblingConfig { size, allowed_lateness } = config;
        let (firings, late) =
            expected_windows(&WindowConfig { size, slide: size, allowed_lateness }, &sent);
        for workers in 1..=3 {
            let all = run(workers, &sent, BOUND, seed ^ workers as u64, move |records| {
                let output = records.tumbling::<Moments>("oracle", config).unwrap();
                output.firings.map(Out::Told).concat(output.dropped.map(Out::Dropped))
            });
            let (told, dropped) = parted(all);
            prop_assert_eq!(reference::windows::bits(&told), reference::windows::bits(&firings));
            prop_assert_eq!(&dropped, &late);
        }
    }

    #[test]
    fn oracle_sustained(sent in sent(), for_ in 20..80u64, gap in 3..30u64, seed in any::<u64>()) {
        let config = SustainedConfig {
            condition: Condition::Above(90.0),
            clear: 85.0,
            for_: Duration::from_millis(for_ * 500),
            clear_for: secs(10),
            gap_tolerance: secs(gap),
            pane: pane(),
        };
        let (kept, late) = in_time(&sent);
        let samples: Vec<_> = kept.iter().map(|r| (r.key, r.time, r.value)).collect();
        let expected = by_group(reference::sustained::episodes(&config, &samples));
        for workers in 1..=3 {
            let all = run(workers, &sent, BOUND, seed ^ workers as u64, move |records| {
                let output = records.sustained("oracle", config).unwrap();
                output.episodes.map(Out::Told).concat(output.dropped.map(Out::Dropped))
            });
            let (told, dropped) = parted(all);
            prop_assert_eq!(&by_group(told), &expected);
            prop_assert_eq!(&dropped, &late);
        }
    }

    #[test]
    fn oracle_burst(sent in sent(), above in 2..30u64, factor in 1..4u32, seed in any::<u64>()) {
        let config = BurstConfig {
            window: secs(30),
            slide: secs(10),
            above,
            factor: (factor > 1).then(|| f64::from(factor) - 0.5),
            baseline: secs(90),
            clear_for: secs(20),
        };
        let (kept, late) = in_time(&sent);
        let events: Vec<_> = kept.iter().map(|r| (r.key, pane().pane(r.time).0, 1)).collect();
        let expected = by_group(reference::burst::episodes(&config, &events));
        for workers in 1..=3 {
            let all = run(workers, &sent, BOUND, seed ^ workers as u64, move |records| {
                let output = records.burst("oracle", config).unwrap();
                output.episodes.map(Out::Told).concat(output.dropped.map(Out::Dropped))
            });
            let (told, dropped) = parted(all);
            prop_assert_eq!(&by_group(told), &expected);
            prop_assert_eq!(&dropped, &late);
        }
    }

    #[test]
    fn oracle_anomaly(sent in sent(), for_ in 1..4u64, least in 1..20u32, seed in any::<u64>()) {
        let config = AnomalyConfig {
            half_life: secs(120),
            warm_up: secs(40),
            score: 3.0,
            min_deviation: f64::from(least) + 0.123,
            direction: Direction::Both,
            for_: secs(10 * for_),
            pane: pane(),
        };
        let (kept, late) = in_time(&sent);
        let mut values: BTreeMap<(u32, u64), Vec<(EventTime, f64)>> = BTreeMap::new();
        for r in &kept {
            values.entry((r.key, pane().pane(r.time).0)).or_default().push((r.time, r.value));
        }
        let measured: Vec<_> = values
            .into_iter()
            .map(|((key, pane), mut values)| {
                values.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
                (key, pane, Moments::of(values.into_iter().map(|(_, value)| value)).mean())
            })
            .collect();
        let expected = reference::anomaly::episodes(&config, &measured).map(by_group);
        prop_assume!(expected.is_some());
        for workers in 1..=3 {
            let all = run(workers, &sent, BOUND, seed ^ workers as u64, move |records| {
                let output = records.anomaly("oracle", config).unwrap();
                output.episodes.map(Out::Told).concat(output.dropped.map(Out::Dropped))
            });
            let (told, dropped) = parted(all);
            prop_assert_eq!(Some(&by_group(told)), expected.as_ref());
            prop_assert_eq!(&dropped, &late);
        }
    }
}
