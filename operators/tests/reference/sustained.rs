//! Sustained conditions by looking back from every sample, over all samples in order.

use std::collections::BTreeMap;

use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::detect::Episode;
use tidewatch_operators::detect::sustained::{Class, Condition, SustainedConfig};

/// Group, time, value.
pub(crate) type Sample = (u32, EventTime, f64);

/// All episodes, group by group.
pub(crate) fn episodes(config: &SustainedConfig, samples: &[Sample]) -> Vec<Episode<u32>> {
    let mut instants: BTreeMap<u32, BTreeMap<EventTime, Vec<f64>>> = BTreeMap::new();
    for (group, time, value) in samples {
        instants.entry(*group).or_default().entry(*time).or_default().push(*value);
    }
    let mut out = Vec::new();
    for (group, instants) in instants {
        let times: Vec<EventTime> = instants.keys().copied().collect();
        let all_are =
            |i: usize, class| instants[&times[i]].iter().all(|value| config.class(*value) == class);
        let value = |i: usize| {
            let mut values = instants[&times[i]].clone();
            values.sort_by(f64::total_cmp);
            match config.condition {
                Condition::Above(_) => values[values.len() - 1],
                Condition::Below(_) => values[0],
            }
        };
        let gap = |i: usize| i > 0 && times[i].since(times[i - 1]) > config.gap_tolerance;
        // The first index of the run of `class` that ends at `i` and begins at `floor` or later.
        let run = |i: usize, floor: usize, class| {
            let mut first = i;
            while first > floor && !gap(first) && all_are(first - 1, class) {
                first -= 1;
            }
            all_are(i, class).then_some(first)
        };
        let mut tell = |kind, started_at, at, decided: EventTime, value| {
            let sequence = u32::from(kind != TransitionKind::Opened);
            let decided_at = config.pane.end(config.pane.pane(decided));
            let value = Reading(value);
            out.push(Episode { group, sequence, kind, started_at, at, decided_at, value });
        };
        let no_data = TransitionKind::Ended(EndReason::NoData);
        let recovered = TransitionKind::Ended(EndReason::Recovered);
        let (mut open, mut floor) = (None, 0);
        for i in 0..times.len() {
            if let Some(started_at) = open
                && gap(i)
            {
                let end = times[i - 1] + config.gap_tolerance;
                tell(no_data, started_at, end, end, value(i - 1));
                (open, floor) = (None, i);
            }
            match open {
                None => {
                    if let Some(first) = run(i, floor, Class::Holding)
                        && times[i].since(times[first]) >= config.for_
                    {
                        tell(TransitionKind::Opened, times[first], times[i], times[i], value(i));
                        (open, floor) = (Some(times[first]), i + 1);
                    }
                }
                Some(started_at) => {
                    if let Some(first) = run(i, floor, Class::Clear)
                        && times[i].since(times[first]) >= config.clear_for
                    {
                        tell(recovered, started_at, times[first], times[i], value(i));
                        (open, floor) = (None, i + 1);
                    }
                }
            }
        }
        if let Some(started_at) = open {
            let last = times.len() - 1;
            let end = times[last] + config.gap_tolerance;
            tell(no_data, started_at, end, end, value(last));
        }
    }
    out
}
