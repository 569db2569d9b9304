//! Anomalies with every level summed anew from all the panes it was made of.

use std::collections::BTreeSet;
use std::time::Duration;

use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::time::{EventTime, Pane};
use tidewatch_operators::detect::Episode;
use tidewatch_operators::detect::anomaly::{AnomalyConfig, Direction};

fn panes(config: &AnomalyConfig, span: Duration) -> u64 {
    span.as_millis().div_ceil(config.pane.duration().as_millis()) as u64
}

/// Group, pane, mean of its samples.
pub(crate) type Measured = (u32, u64, f64);

/// Episodes by the definition, every level summed anew from all panes it was made of; `None` where a
/// verdict hangs on the last bits.
pub(crate) fn episodes(config: &AnomalyConfig, all: &[Measured]) -> Option<Vec<Episode<u32>>> {
    struct Known(Vec<(u64, f64)>);
    impl Known {
        fn side(&self, config: &AnomalyConfig, pane: u64, x: f64) -> Option<Option<bool>> {
            let half_life = config.half_life.as_secs_f64() / config.pane.duration().as_secs_f64();
            let last = self.0.last()?.0;
            let weight = |p: u64| (-((last - p) as f64) / half_life).exp2();
            let total: f64 = self.0.iter().map(|(p, _)| weight(*p)).sum();
            let mean = self.0.iter().map(|(p, y)| weight(*p) * y).sum::<f64>() / total;
            let squares = self.0.iter().map(|(p, y)| weight(*p) * (y - mean) * (y - mean));
            let limit = config.score * (squares.sum::<f64>() / total).sqrt();
            let distance = (x - mean).abs();
            let first = self.0.first()?.0;
            if self.0.len() < 5 || pane - first < panes(config, config.warm_up) {
                return Some(None);
            }
            let near = |bound: f64| (distance - bound).abs() < 1e-6;
            if near(limit) || near(config.min_deviation) || near(0.0) {
                // Equal series give exactly nothing; all else this close is left to the bits.
                return if x == self.0[0].1 && limit == 0.0 { Some(None) } else { None };
            }
            let far = distance >= config.min_deviation && distance >= limit;
            Some(far.then_some(x > mean))
        }
    }
    let size = config.pane;
    let gap = panes(config, config.for_).max(6);
    let memory = (4 * panes(config, config.half_life)).max(gap);
    let first = all.iter().map(|m| m.1).min().unwrap_or(0);
    let last = all.iter().map(|m| m.1).max().unwrap_or(0) + memory + 2;
    let mut out = Vec::new();
    let groups: BTreeSet<u32> = all.iter().map(|m| m.0).collect();
    for group in groups {
        let mut usual: Option<Known> = None;
        let mut seen = (first, 0.0);
        // The run's first pane, its watched part's first pane, whether open, what it teaches.
        let mut run: Option<(u64, Option<u64>, bool, Known)> = None;
        for pane in first..=last {
            let mut tell = |kind: TransitionKind, first: u64, at: EventTime, value: f64| {
                out.push(Episode {
                    group,
                    sequence: u32::from(kind != TransitionKind::Opened),
                    kind,
                    started_at: size.start(Pane(first)),
                    at,
                    decided_at: size.end(Pane(pane)),
                    value: Reading(value),
                });
            };
            let start = size.start(Pane(pane));
            let recovered = TransitionKind::Ended(EndReason::Recovered);
            let Some((_, _, x)) = all.iter().find(|m| (m.0, m.1) == (group, pane)).copied() else {
                if usual.is_some() && pane - seen.0 == gap + 1 {
                    if let Some((_, Some(first), true, _)) = run {
                        tell(TransitionKind::Ended(EndReason::NoData), first, start, seen.1);
                    }
                    run = None;
                }
                if pane - seen.0 > memory {
                    usual = None;
                }
                continue;
            };
            seen = (pane, x);
            let Some(known) = &mut usual else {
                usual = Some(Known(vec![(pane, x)]));
                continue;
            };
            let Some(up) = known.side(config, pane, x)? else {
                if let Some((_, Some(first), true, _)) = run {
                    tell(recovered, first, start, x);
                }
                run = None;
                known.0.push((pane, x));
                continue;
            };
            let (since, watched, is_open, fresh) =
                run.get_or_insert_with(|| (pane, None, false, Known(Vec::new())));
            fresh.0.push((pane, x));
            let wanted = match config.direction {
                Direction::Up => up,
                Direction::Down => !up,
                Direction::Both => true,
            };
            if wanted {
                let first = *watched.get_or_insert(pane);
                if !*is_open && pane + 1 - first >= panes(config, config.for_) {
                    *is_open = true;
                    tell(TransitionKind::Opened, first, size.end(Pane(pane)), x);
                }
            } else {
                if let (Some(first), true) = (*watched, *is_open) {
                    tell(recovered, first, start, x);
                }
                (*watched, *is_open) = (None, false);
            }
            let lasted = pane + 1 - *since;
            if lasted > panes(config, config.half_life).max(panes(config, config.for_))
                && let Some((_, watched, is_open, fresh)) = run.take()
            {
                if let (Some(first), true) = (watched, is_open) {
                    tell(recovered, first, start, x);
                }
                usual = Some(fresh);
            }
        }
    }
    Some(out)
}
