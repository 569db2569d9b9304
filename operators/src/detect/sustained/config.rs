//! What a sustained condition is, and which of them make sense.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::time::PaneSize;

/// The bound that samples must be beyond.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A sample holds when it is greater than this.
    Above(f64),
    /// A sample holds when it is less than this.
    Below(f64),
}

/// What one sample says.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Beyond the condition's bound.
    Holding,
    /// Neither holding nor clear: inside the hysteresis zone.
    Between,
    /// At or on the good side of the clear bound.
    Clear,
}

/// A sustained condition. `clear` equal to the condition's bound means no hysteresis: then every sample
/// either holds or is clear.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct SustainedConfig {
    /// What must hold.
    pub condition: Condition,
    /// Samples at or below this (for [`Condition::Above`]), at or above this (for [`Condition::Below`])
    /// are clear.
    pub clear: f64,
    /// How long it must hold for an episode to open.
    pub for_: Duration,
    /// How long samples must be clear for an episode to end.
    pub clear_for: Duration,
    /// Two samples further apart than this do not belong to one run; an episode without a sample for
    /// longer than this ends.
    pub gap_tolerance: Duration,
    /// Size of the panes that decisions are made in.
    pub pane: PaneSize,
}

/// Why a [`SustainedConfig`] makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SustainedError {
    /// A bound no sample can be compared with.
    #[error("bound `{bound}` of a sustained condition is not a finite number: give a number")]
    NotFinite {
        /// As configured.
        bound: f64,
    },
    /// Samples could hold and be clear at once.
    #[error(
        "clear bound `{clear}` lies on the holding side of `{bound}`: choose `clear` at most the bound for `above`, at least the bound for `below`"
    )]
    ClearWhileHolding {
        /// The clear bound.
        clear: f64,
        /// The condition's bound.
        bound: f64,
    },
    /// Decisions are made per pane.
    #[error(
        "`for` of `{for_:?}` is shorter than a pane of `{pane:?}`: choose a longer `for` or a shorter pane"
    )]
    ForUnderPane {
        /// As configured.
        for_: Duration,
        /// Length of a pane.
        pane: Duration,
    },
    /// Decisions are made per pane.
    #[error(
        "`clear_for` of `{clear_for:?}` is shorter than a pane of `{pane:?}`: choose a longer `clear_for` or a shorter pane"
    )]
    ClearForUnderPane {
        /// As configured.
        clear_for: Duration,
        /// Length of a pane.
        pane: Duration,
    },
    /// No two samples would ever belong together.
    #[error(
        "gap tolerance `{gap_tolerance:?}` is less than a millisecond: choose more than the interval between samples"
    )]
    NoGapTolerance {
        /// As configured.
        gap_tolerance: Duration,
    },
    /// Instants inside a pane are kept in 32 bits.
    #[error("a pane of `{pane:?}` is too long for a sustained condition: choose at most 49 days")]
    PaneTooLong {
        /// Length of a pane.
        pane: Duration,
    },
}

impl Condition {
    /// The bound itself.
    pub fn bound(self) -> f64 {
        match self {
            Condition::Above(bound) | Condition::Below(bound) => bound,
        }
    }

    /// Which of two values lies further towards holding; the order decides between equal ones.
    pub(super) fn worse(self, a: f64, b: f64) -> f64 {
        let worse = match self {
            Condition::Above(_) => Ordering::Less,
            Condition::Below(_) => Ordering::Greater,
        };
        if a.total_cmp(&b) == worse { b } else { a }
    }
}

impl SustainedConfig {
    /// Whether this makes sense.
    ///
    /// # Errors
    /// One [`SustainedError`] for each way it does not.
    pub fn validate(&self) -> Result<(), SustainedError> {
        let bound = self.condition.bound();
        if let Some(bound) = [bound, self.clear].into_iter().find(|bound| !bound.is_finite()) {
            return Err(SustainedError::NotFinite { bound });
        }
        if self.class(self.clear) == Class::Holding {
            return Err(SustainedError::ClearWhileHolding { clear: self.clear, bound });
        }
        let pane = self.pane.duration();
        if self.for_ < pane {
            return Err(SustainedError::ForUnderPane { for_: self.for_, pane });
        }
        if self.clear_for < pane {
            return Err(SustainedError::ClearForUnderPane { clear_for: self.clear_for, pane });
        }
        if PaneSize::new(self.gap_tolerance).is_none() {
            let gap_tolerance = self.gap_tolerance;
            return Err(SustainedError::NoGapTolerance { gap_tolerance });
        }
        if u32::try_from(self.pane.as_millis()).is_err() {
            return Err(SustainedError::PaneTooLong { pane });
        }
        Ok(())
    }

    /// What a sample of `value` says.
    pub fn class(&self, value: f64) -> Class {
        let (holding, clear) = match self.condition {
            Condition::Above(bound) => (value > bound, value <= self.clear),
            Condition::Below(bound) => (value < bound, value >= self.clear),
        };
        match (holding, clear) {
            (true, _) => Class::Holding,
            (_, true) => Class::Clear,
            _ => Class::Between,
        }
    }
}
