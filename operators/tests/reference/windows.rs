//! Windows by their definition: every pane kept for ever, every value joined from scratch.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use tidewatch_dataflow::time::{EventTime, Pane, PaneSize, Window};
use tidewatch_operators::aggregate::{Moments, Monoid};
use tidewatch_operators::window::{Firing, Timing, WindowConfig};

/// The samples of one group, event pane and partition, and the pane they are admitted in.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) group: u32,
    pub(crate) event: u64,
    pub(crate) admission: u64,
    pub(crate) order: u64,
    pub(crate) partial: Moments,
}

type Panes = BTreeMap<u64, Moments>;

fn join(left: Option<Moments>, right: Option<Moments>) -> Option<Moments> {
    match (left, right) {
        (Some(mut left), Some(right)) => {
            left.merge(&right);
            Some(left)
        }
        (left, right) => left.or(right),
    }
}

/// The join over the `size` panes from `from` on, by halves.
fn halves(panes: &Panes, from: u64, size: u64) -> Option<Moments> {
    match size {
        1 => panes.get(&from).copied(),
        _ => join(halves(panes, from, size / 2), halves(panes, from + size / 2, size / 2)),
    }
}

/// The join over `[from, to)`: the largest stretches of a power of two of panes that begin at a multiple of
/// their length, from left to right.
fn joined(panes: &Panes, from: u64, to: u64) -> Option<Moments> {
    let (mut value, mut at) = (None, from);
    while at < to {
        let mut size = 1;
        while at % (2 * size) == 0 && at + 2 * size <= to {
            size *= 2;
        }
        value = join(value, halves(panes, at, size));
        at += size;
    }
    value
}

/// All firings, admission pane by admission pane.
pub(crate) fn firings(
    config: &WindowConfig,
    pane: PaneSize,
    admitted: &[Admitted],
) -> Vec<Firing<Moments, u32>> {
    let start = |index: u64| pane.start(Pane(index));
    let (size, slide) = (pane.count(config.size).unwrap(), pane.count(config.slide).unwrap());
    let is_over = |window: Window, now: u64| window.end + config.allowed_lateness <= start(now);
    let mut out = Vec::new();
    let mut panes: BTreeMap<u32, Panes> = BTreeMap::new();
    let last = admitted.iter().map(|a| a.admission).max().unwrap_or(0) + size;
    let first = admitted.iter().map(|a| a.event).min().unwrap_or(0);
    for now in first..=last {
        let window = |k: u64| Window { start: start(k * slide), end: start(k * slide + size) };
        let mut fresh: Vec<&Admitted> = admitted
            .iter()
            .filter(|a| a.admission == now && !is_over(window(a.event / slide), now))
            .collect();
        fresh.sort_by_key(|a| (a.group, a.event, a.order));
        // What one admission pane brings for one pane is joined first, and then added.
        let before = panes.clone();
        let mut brought: BTreeMap<(u32, u64), Moments> = BTreeMap::new();
        for a in fresh {
            brought.entry((a.group, a.event)).or_default().merge(&a.partial);
        }
        for ((group, event), partial) in &brought {
            panes.entry(*group).or_default().entry(*event).or_default().merge(partial);
        }
        for (group, known) in &panes {
            for k in first.saturating_sub(size) / slide..=now / slide {
                let (from, to) = (k * slide, k * slide + size);
                let changed = brought.keys().any(|(g, e)| g == group && (from..to).contains(e));
                let timing = match to.cmp(&(now + 1)) {
                    Ordering::Equal => Timing::OnTime,
                    Ordering::Less if changed && !is_over(window(k), now) => Timing::Late,
                    Ordering::Less | Ordering::Greater => continue,
                };
                let former = before.get(group).and_then(|panes| joined(panes, from, to));
                let former = former.filter(|_| timing == Timing::Late);
                if let Some(value) = joined(known, from, to) {
                    out.push(Firing { group: *group, window: window(k), timing, value, former });
                }
            }
        }
    }
    out
}

/// A firing as its window's end, group, timing, and a text with the bits of every number.
pub(crate) type Bits = (EventTime, u32, Timing, String);

/// The firings in an order of their own, with the bits of every number.
pub(crate) fn bits(firings: &[Firing<Moments, u32>]) -> Vec<Bits> {
    let moments = |m: &Moments| {
        let bits = [m.sum, m.m2, m.min, m.max].map(f64::to_bits);
        format!("{} {bits:x?}", m.count)
    };
    let mut all: Vec<_> = firings
        .iter()
        .map(|f| {
            let text = format!(
                "{:?} {} {:?}",
                f.window,
                moments(&f.value),
                f.former.as_ref().map(moments)
            );
            (f.window.end, f.group, f.timing, text)
        })
        .collect();
    all.sort();
    all
}
