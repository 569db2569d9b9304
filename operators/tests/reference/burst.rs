//! Bursts by walking every pane of every group, with plain lists of counts.

use std::collections::BTreeMap;

use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};
use tidewatch_operators::detect::Episode;
use tidewatch_operators::detect::burst::BurstConfig;

/// Group, pane, events.
pub(crate) type Events = (u32, u64, u64);

/// All episodes, group by group.
pub(crate) fn episodes(config: &BurstConfig, all: &[Events]) -> Vec<Episode<u32>> {
    let size = PaneSize::new(config.slide).unwrap();
    let n = size.count(config.window).unwrap() as usize;
    let b = config.factor.map_or(0, |_| size.count(config.baseline).unwrap() as usize);
    let mut groups: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let clear = config.clear_for.as_millis().div_ceil(10_000) as usize;
    let last = all.iter().map(|e| e.1).max().unwrap_or(0) as usize + n + b + clear + 5;
    for (group, pane, events) in all {
        groups.entry(*group).or_insert_with(|| vec![0; last + 1])[*pane as usize] += events;
    }
    let mut out = Vec::new();
    for (group, counts) in groups {
        // Every learned pane, zeros included; the first pane to learn; the open burst's start and the
        // first pane of its clear sequence.
        let mut past: Vec<u64> = Vec::new();
        let mut learn_from: Option<usize> = None;
        let mut open: Option<(EventTime, Option<usize>)> = None;
        let mut blind = false;
        for now in 0..=last {
            let from = (now + 1).saturating_sub(n);
            if (open.is_none() || blind)
                && now >= n
                && learn_from.is_some_and(|first| first <= now - n)
            {
                past.push(counts[now - n]);
            }
            let known = past.len().min(b);
            let baseline: u64 = past[past.len() - known..].iter().sum();
            if open.is_none() && counts[from..now].iter().sum::<u64>() == 0 && baseline == 0 {
                (past, learn_from) = (Vec::new(), None);
            }
            if counts[now] > 0 && learn_from.is_none() {
                learn_from = Some(now);
            }
            let known = past.len().min(b);
            let baseline: u64 = past[past.len() - known..].iter().sum();
            let count: u64 = counts[from..=now].iter().sum();
            let over = count > config.above
                && match config.factor {
                    Some(factor) if known > 0 && !(blind && known < b) => {
                        (count * known as u64) as f64 > factor * (baseline * n as u64) as f64
                    }
                    _ => true,
                };
            let end = size.end(Pane(now as u64));
            let mut tell = |kind, started_at, at| {
                let sequence = u32::from(kind != TransitionKind::Opened);
                let value = Reading(count as f64);
                out.push(Episode { group, sequence, kind, started_at, at, decided_at: end, value });
            };
            match (open, over) {
                (None, false) => {}
                (None, true) => {
                    let started_at = size.start(Pane(from as u64));
                    tell(TransitionKind::Opened, started_at, end);
                    open = Some((started_at, None));
                    blind = known == 0;
                }
                (Some((started_at, _)), true) => open = Some((started_at, None)),
                (Some((started_at, since)), false) => {
                    let since = since.unwrap_or(now);
                    open = Some((started_at, Some(since)));
                    let clear_at = size.end(Pane(since as u64));
                    if end.since(clear_at) >= config.clear_for {
                        tell(TransitionKind::Ended(EndReason::Recovered), started_at, clear_at);
                        open = None;
                        if !blind || known < b {
                            if blind {
                                past.clear();
                            }
                            learn_from = Some(since);
                            let gone = (since..=now).take_while(|q| q + n <= now);
                            past.extend(gone.map(|q| counts[q]));
                        }
                        blind = false;
                    }
                }
            }
        }
    }
    out
}
