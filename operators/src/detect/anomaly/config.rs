//! What an anomaly is, and which configurations make sense.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::time::{PaneSize, millis};

/// Which side of the usual is unusual.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Greater than usual.
    Up,
    /// Less than usual.
    Down,
    /// Either.
    #[default]
    Both,
}

/// When a group's pane means count as unlike its own past.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct AnomalyConfig {
    /// After this time a pane weighs half of what it weighed.
    pub half_life: Duration,
    /// How long a group is only learned, from its first pane.
    pub warm_up: Duration,
    /// How many deviations from the mean are an anomaly.
    pub score: f64,
    /// Differences less than this are none, in the unit of the samples.
    pub min_deviation: f64,
    /// Which side.
    pub direction: Direction,
    /// How long it must last before an episode opens.
    pub for_: Duration,
    /// Length of the panes whose means are judged.
    pub pane: PaneSize,
}

/// Why an [`AnomalyConfig`] makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AnomalyError {
    /// The past would weigh nothing.
    #[error(
        "half-life `{half_life:?}` of an anomaly is less than its pane `{pane:?}`: choose a longer one"
    )]
    HalfLifeUnderPane {
        /// As configured.
        half_life: Duration,
        /// Length of a pane.
        pane: Duration,
    },
    /// One pane would open an episode that has not lasted.
    #[error(
        "`for` `{for_:?}` of an anomaly is not a positive number of panes of `{pane:?}`: choose a multiple"
    )]
    ForCutsPanes {
        /// As configured.
        for_: Duration,
        /// Length of a pane.
        pane: Duration,
    },
    /// Everything, or nothing, would be an anomaly.
    #[error("score `{score}` of an anomaly is not a positive number: choose one, such as 6")]
    Score {
        /// As configured.
        score: f64,
    },
    /// A bound no difference can be compared with.
    #[error("least deviation `{min_deviation}` of an anomaly is not a number of at least 0")]
    MinDeviation {
        /// As configured.
        min_deviation: f64,
    },
}

impl AnomalyConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// [`AnomalyError`] with the field at fault.
    pub fn validate(&self) -> Result<(), AnomalyError> {
        let pane = self.pane.duration();
        if self.half_life < pane {
            return Err(AnomalyError::HalfLifeUnderPane { half_life: self.half_life, pane });
        }
        if self.pane.count(self.for_).is_none_or(|panes| panes == 0) {
            return Err(AnomalyError::ForCutsPanes { for_: self.for_, pane });
        }
        if !(self.score.is_finite() && self.score > 0.0) {
            return Err(AnomalyError::Score { score: self.score });
        }
        if !(self.min_deviation.is_finite() && self.min_deviation >= 0.0) {
            return Err(AnomalyError::MinDeviation { min_deviation: self.min_deviation });
        }
        Ok(())
    }

    /// `span` in panes, rounded up.
    pub(super) fn panes(&self, span: Duration) -> u64 {
        millis(span).div_ceil(self.pane.as_millis())
    }

    /// A group without panes for longer than this has no data: an open episode ends.
    pub(super) fn gap(&self) -> u64 {
        self.panes(self.for_).max(6)
    }

    /// Panes that are not usual for longer than this make a new usual level.
    pub(super) fn relearn(&self) -> u64 {
        self.panes(self.half_life).max(self.panes(self.for_))
    }

    /// A group without panes for longer than this is forgotten: what it knew weighs a sixteenth.
    pub(super) fn memory(&self) -> u64 {
        self.panes(self.half_life).saturating_mul(4).max(self.gap())
    }
}
