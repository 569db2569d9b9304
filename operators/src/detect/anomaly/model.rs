//! The usual level of one group, and how far a pane is from it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::time::{Pane, millis};

use super::AnomalyConfig;
use crate::aggregate::finite;

/// A level is not judged by before it was made of this many panes, however long they took: a deviation of
/// fewer numbers says little.
const PANES_MIN: u64 = 5;

/// An exponentially weighted mean and deviation.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    mean: f64,
    /// The weighted sum of squared differences from the mean; never negative.
    squares: f64,
    /// The sum of weights; the pane learned last weighs 1.
    weight: f64,
    /// The first pane learned, and the last.
    since: Pane,
    learned: Pane,
    panes: u64,
}

impl Level {
    /// Whether it can be made of panes up to `last`.
    pub(super) fn is_sound(&self, last: Pane) -> bool {
        let numbers = [self.mean, self.squares, self.weight];
        let span = last.0.saturating_sub(self.since.0).saturating_add(1);
        numbers.iter().all(|x| x.is_finite())
            && self.squares >= 0.0
            && self.weight >= 1.0
            && self.since <= self.learned
            && self.learned <= last
            && (1..=span).contains(&self.panes)
    }

    /// A level of one pane.
    pub(super) fn beginning(pane: Pane, x: f64) -> Self {
        Level { mean: x, squares: 0.0, weight: 1.0, since: pane, learned: pane, panes: 1 }
    }

    /// Takes in the mean `x` of `pane`. All panes before lose weight by the time since the last one.
    pub(super) fn learn(&mut self, config: &AnomalyConfig, pane: Pane, x: f64) {
        let elapsed = pane.0.saturating_sub(self.learned.0) as f64 * config.pane.as_millis() as f64;
        let fade = (-elapsed / millis(config.half_life) as f64).exp2();
        self.weight = self.weight * fade + 1.0;
        let before = x - self.mean;
        self.mean = finite(self.mean + before / self.weight);
        self.squares = finite(self.squares * fade + before * (x - self.mean));
        self.learned = pane;
        self.panes += 1;
    }

    /// On which side of the usual `x` lies, or `None` when it is usual, or the level not known well enough.
    pub(super) fn side(&self, config: &AnomalyConfig, pane: Pane, x: f64) -> Option<Ordering> {
        let age = pane.0.saturating_sub(self.since.0);
        let is_warm = age >= config.panes(config.warm_up) && self.panes >= PANES_MIN;
        let distance = (x - self.mean).abs();
        let deviation = (self.squares / self.weight).sqrt();
        let is_far = distance >= config.min_deviation && distance >= config.score * deviation;
        let side = x.total_cmp(&self.mean);
        (is_warm && is_far && distance > 0.0).then_some(side)
    }
}
