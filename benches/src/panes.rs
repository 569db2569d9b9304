//! Panes full of partials, for whoever measures operators: 1,000 groups with ten samples each.

use std::time::Duration;

use anyhow::Context as _;
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};
use tidewatch_operators::aggregate::{Aggregate, Moments};
use tidewatch_operators::detect::sustained::{Condition, ConditionPartial, SustainedConfig};
use tidewatch_operators::feed::{FeedMessage, FeedPartial};
use tidewatch_operators::window::{WindowConfig, Windows};

/// Groups in a pane.
pub const GROUPS: u32 = 1_000;
/// Samples of a group in a pane.
pub const SAMPLES: u64 = 10;
/// The first pane: a multiple of every window, far from the epoch.
pub const FIRST: u64 = 180_000_000;
const SECONDS: u64 = 10;

/// Panes of ten seconds.
///
/// # Errors
/// None: ten seconds are a pane.
pub fn pane_size() -> anyhow::Result<PaneSize> {
    PaneSize::new(Duration::from_secs(SECONDS)).context("ten seconds are no pane")
}

/// The samples of a group in a pane: never above 90, so that no rule fires.
pub fn samples(group: u32, pane: u64) -> impl Iterator<Item = f64> {
    let first = u64::from(group) * 31 + pane.wrapping_mul(SAMPLES) * 7;
    (0..SAMPLES).map(move |n| 20.0 + (first.wrapping_add(n * 7) % 97) as f64 / 1.7)
}

/// One entry for each group.
pub fn entries<P>(pane: u64, partial: impl Fn(u32) -> P) -> Vec<Entry<P>> {
    let event_pane = Pane(pane);
    let entry =
        |group| Entry { group: GroupId(group), event_pane, order: 0, partial: partial(group) };
    (0..GROUPS).map(entry).collect()
}

/// The moments of all groups in a pane.
pub fn moments(pane: u64) -> Vec<Entry<Moments>> {
    entries(pane, |group| Moments::of(samples(group, pane)))
}

/// Windows of `size` seconds, sliding by ten.
///
/// # Errors
/// When `size` is no multiple of ten.
pub fn windows(size: u64) -> anyhow::Result<Windows<Moments>> {
    let config = WindowConfig {
        size: Duration::from_secs(size),
        slide: Duration::from_secs(SECONDS),
        allowed_lateness: Duration::ZERO,
    };
    Ok(Windows::new(config.plan(pane_size()?)?))
}

/// Above 90 for five minutes.
///
/// # Errors
/// None: the rule makes sense.
pub fn sustained_config() -> anyhow::Result<SustainedConfig> {
    Ok(SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 85.0,
        for_: Duration::from_secs(300),
        clear_for: Duration::from_secs(10),
        gap_tolerance: Duration::from_secs(60),
        pane: pane_size()?,
    })
}

/// What the samples of a group say about a condition.
pub fn condition(config: &SustainedConfig, group: u32, pane: u64) -> Option<ConditionPartial> {
    let start = config.pane.start(Pane(pane)).as_millis();
    let at = |n: usize| EventTime::from_millis(start + n as u64 * 1_000 + 137);
    let samples = samples(group, pane).enumerate().map(|(n, value)| (at(n), value));
    ConditionPartial::of(config, Pane(pane), samples)
}

/// The partials of a pane as they cross workers; with what a sustained rule needs, or without.
///
/// # Errors
/// None: the rule makes sense.
pub fn messages(has_condition: bool) -> anyhow::Result<Vec<FeedMessage>> {
    let config = sustained_config()?;
    let message = |group| {
        let condition = has_condition.then(|| condition(&config, group, FIRST));
        FeedMessage::Partial {
            bucket: group as u8,
            sender: 0,
            slot: group,
            order: 3,
            event_pane: Pane(FIRST),
            admission_pane: Pane(FIRST),
            partial: FeedPartial {
                moments: Moments::of(samples(group, FIRST)),
                conditions: condition.into_iter().collect(),
            },
        }
    };
    Ok((0..GROUPS).map(message).collect())
}

/// Applies `panes` panes from `first` on; the next pane.
pub fn warm_up<M: PaneMachine>(
    machine: &mut M,
    panes: u64,
    pane: impl Fn(u64) -> Vec<Entry<M::Partial>>,
) -> u64 {
    let mut out = Vec::new();
    for at in FIRST..FIRST + panes {
        machine.apply(Pane(at), &mut pane(at), &mut out);
        out.clear();
    }
    FIRST + panes
}
