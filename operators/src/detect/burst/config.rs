//! What a burst is, and which bounds make sense.

use std::time::Duration;

use tidewatch_dataflow::time::PaneSize;

/// The most panes that a window and its baseline may span: a day of panes of one second. A group keeps
/// at most one pair of numbers, 16 bytes, for each of them that has events.
pub const BURST_PANES_MAX: u64 = 86_400;

/// More events than a bound, and than usual, inside a sliding window. A pane is one `slide`.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct BurstConfig {
    /// Over how long events are counted.
    pub window: Duration,
    /// How often.
    pub slide: Duration,
    /// A window is over the bound only with more events than this.
    pub above: u64,
    /// A window is over the bound only with more than this many times the mean count of past windows.
    pub factor: Option<f64>,
    /// How much of a group's past the mean is taken over; without `factor` it has no effect.
    pub baseline: Duration,
    /// For how long windows must not be over the bound for the burst to end.
    pub clear_for: Duration,
}

/// Why a [`BurstConfig`] makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BurstError {
    /// A slide without length.
    #[error("burst slide `{slide:?}` is less than a millisecond: give it a length")]
    ZeroSlide {
        /// As configured.
        slide: Duration,
    },
    /// The window does not consist of slides.
    #[error(
        "burst window `{window:?}` is not a whole number of slides of `{slide:?}`: choose a multiple of the slide"
    )]
    WindowCutsSlides {
        /// As configured.
        window: Duration,
        /// As configured.
        slide: Duration,
    },
    /// The baseline does not consist of slides.
    #[error(
        "burst baseline `{baseline:?}` is not a whole number of slides of `{slide:?}`: choose a multiple of the slide"
    )]
    BaselineCutsSlides {
        /// As configured.
        baseline: Duration,
        /// As configured.
        slide: Duration,
    },
    /// A factor nothing can be compared with.
    #[error("burst factor `{factor}` is not a positive number: give one, or leave it out")]
    BadFactor {
        /// As configured.
        factor: f64,
    },
    /// More panes than state is allowed for.
    #[error(
        "burst window `{window:?}` and baseline `{baseline:?}` span {panes} slides of `{slide:?}`, more than {max}: choose a longer slide or a shorter baseline",
        max = BURST_PANES_MAX
    )]
    TooManyPanes {
        /// As configured.
        window: Duration,
        /// As configured.
        baseline: Duration,
        /// As configured.
        slide: Duration,
        /// How many panes would be kept.
        panes: u64,
    },
}

/// A checked [`BurstConfig`], in panes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Plan {
    pub(super) config: BurstConfig,
    pub(super) pane: PaneSize,
    /// Panes of a window, at least one.
    pub(super) window: u64,
    /// Panes of the baseline; 0 without `factor`.
    pub(super) baseline: u64,
}

impl BurstConfig {
    /// Whether this makes sense.
    ///
    /// # Errors
    /// One [`BurstError`] for each way it does not.
    pub fn validate(&self) -> Result<(), BurstError> {
        self.plan().map(drop)
    }

    /// The size of the panes that counts are kept in: one slide.
    ///
    /// # Errors
    /// [`BurstError::ZeroSlide`].
    pub fn pane(&self) -> Result<PaneSize, BurstError> {
        PaneSize::new(self.slide).ok_or(BurstError::ZeroSlide { slide: self.slide })
    }

    pub(super) fn plan(&self) -> Result<Plan, BurstError> {
        let BurstConfig { window, slide, baseline, factor, .. } = *self;
        let pane = self.pane()?;
        let whole = |span| pane.count(span).filter(|panes| *panes > 0);
        let window_panes = whole(window).ok_or(BurstError::WindowCutsSlides { window, slide })?;
        let baseline_panes = match factor {
            None => 0,
            Some(factor) if !(factor.is_finite() && factor > 0.0) => {
                return Err(BurstError::BadFactor { factor });
            }
            Some(_) => whole(baseline).ok_or(BurstError::BaselineCutsSlides { baseline, slide })?,
        };
        let panes = window_panes.saturating_add(baseline_panes);
        if panes > BURST_PANES_MAX {
            return Err(BurstError::TooManyPanes { window, baseline, slide, panes });
        }
        Ok(Plan { config: *self, pane, window: window_panes, baseline: baseline_panes })
    }
}
