//! How windows lie over panes, checked once: size, slide and lateness as whole numbers of panes.

use std::time::Duration;

use tidewatch_dataflow::time::{Pane, PaneSize, Window, millis};

/// The most panes that a window and its allowed lateness may span: a day of panes of one second.
///
/// State is at most two partial aggregates per group and pane (the panes, and the nodes of the merge
/// tree over them): with [`crate::aggregate::Moments`], 48 bytes each, 8 MB per group at this bound.
pub const WINDOW_PANES_MAX: u64 = 86_400;

/// How long windows are, how often one begins, and how long they can still be corrected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// Length of every window.
    pub size: Duration,
    /// A window begins at every multiple of this since the epoch; equal to `size` for tumbling windows.
    pub slide: Duration,
    /// A fired window accepts corrections until the admission pane begins this far past its end.
    pub allowed_lateness: Duration,
}

/// Why a [`WindowConfig`] does not fit its panes. Lengths are those asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// A window without length.
    #[error("window size `{size:?}` is less than a millisecond: give the window a length")]
    ZeroSize {
        /// As configured.
        size: Duration,
    },
    /// A slide without length.
    #[error(
        "window slide `{slide:?}` is less than a millisecond: leave it out for tumbling windows, or give it a length"
    )]
    ZeroSlide {
        /// As configured.
        slide: Duration,
    },
    /// Samples between two windows would belong to none.
    #[error(
        "window slide `{slide:?}` is longer than its size `{size:?}`, so samples between two windows would be lost: choose a slide of at most the size"
    )]
    SlideOverSize {
        /// As configured.
        slide: Duration,
        /// As configured.
        size: Duration,
    },
    /// The size does not end where a pane ends.
    #[error(
        "window size `{size:?}` is not a whole number of panes of `{pane:?}`: choose a multiple of the pane"
    )]
    SizeCutsPanes {
        /// As configured.
        size: Duration,
        /// Length of a pane.
        pane: Duration,
    },
    /// The slide does not end where a pane ends.
    #[error(
        "window slide `{slide:?}` is not a whole number of panes of `{pane:?}`: choose a multiple of the pane"
    )]
    SlideCutsPanes {
        /// As configured.
        slide: Duration,
        /// Length of a pane.
        pane: Duration,
    },
    /// More panes than state is allowed for.
    #[error(
        "a window of `{size:?}` with allowed lateness `{allowed_lateness:?}` spans {panes} panes of `{pane:?}`, more than {max}: choose a longer slide, or a shorter size or lateness",
        max = WINDOW_PANES_MAX
    )]
    TooManyPanes {
        /// As configured.
        size: Duration,
        /// As configured.
        allowed_lateness: Duration,
        /// Length of a pane.
        pane: Duration,
        /// How many panes would be kept.
        panes: u64,
    },
}

impl WindowConfig {
    /// Windows that follow one another without overlap, and cannot be corrected once fired.
    pub fn tumbling(size: Duration) -> Self {
        WindowConfig { size, slide: size, allowed_lateness: Duration::ZERO }
    }

    /// The longest pane that size and slide are whole numbers of.
    ///
    /// # Errors
    /// [`WindowError::ZeroSize`] and [`WindowError::ZeroSlide`].
    pub fn pane(&self) -> Result<PaneSize, WindowError> {
        let size = PaneSize::new(self.size).ok_or(WindowError::ZeroSize { size: self.size })?;
        let slide =
            PaneSize::new(self.slide).ok_or(WindowError::ZeroSlide { slide: self.slide })?;
        Ok(size.gcd(slide))
    }

    /// These windows over panes of `pane`.
    ///
    /// ```
    /// use tidewatch_operators::window::{WindowConfig, WindowError};
    /// use tidewatch_dataflow::time::PaneSize;
    /// use std::time::Duration;
    /// let config = WindowConfig::tumbling(Duration::from_secs(25));
    /// let pane = PaneSize::new(Duration::from_secs(10)).unwrap();
    /// assert!(matches!(config.plan(pane), Err(WindowError::SizeCutsPanes { .. })));
    /// assert!(config.plan(config.pane().unwrap()).is_ok());
    /// ```
    ///
    /// # Errors
    /// One [`WindowError`] for each way they do not fit.
    pub fn plan(&self, pane: PaneSize) -> Result<WindowPlan, WindowError> {
        let WindowConfig { size, slide, allowed_lateness } = *self;
        self.pane()?;
        if slide > size {
            return Err(WindowError::SlideOverSize { slide, size });
        }
        let length = pane.duration();
        let size_panes =
            pane.count(size).ok_or(WindowError::SizeCutsPanes { size, pane: length })?;
        let slide_panes =
            pane.count(slide).ok_or(WindowError::SlideCutsPanes { slide, pane: length })?;
        let late_panes = millis(allowed_lateness).div_ceil(pane.as_millis());
        let panes = size_panes.saturating_add(late_panes);
        if panes > WINDOW_PANES_MAX {
            return Err(WindowError::TooManyPanes { size, allowed_lateness, pane: length, panes });
        }
        Ok(WindowPlan { pane, size: size_panes, slide: slide_panes, late: late_panes })
    }
}

/// A checked [`WindowConfig`], in panes. Window `k` covers the panes `[k * slide, k * slide + size)`.
///
/// Everything here is arithmetic over absolute pane indexes, so a sender, which holds no windows, and
/// the machine that does come to the same verdicts.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    pane: PaneSize,
    size: u64,
    slide: u64,
    /// The allowed lateness, rounded up to panes; this loses nothing, as admission is by panes.
    late: u64,
}

impl WindowPlan {
    /// The size of a pane.
    pub fn pane_size(&self) -> PaneSize {
        self.pane
    }

    /// How many panes a window covers.
    pub fn size_panes(&self) -> u64 {
        self.size
    }

    /// How many panes lie between the beginnings of two windows.
    pub fn slide_panes(&self) -> u64 {
        self.slide
    }

    /// How many panes a window and its allowed lateness span: the most that are kept.
    pub(super) fn span_panes(&self) -> u64 {
        self.size.saturating_add(self.late)
    }

    /// How long after its end a window can be corrected, rounded up to panes.
    pub fn lateness(&self) -> Duration {
        Duration::from_millis(self.late.saturating_mul(self.pane.as_millis()))
    }

    /// Whether something measured in `event_pane` and applied in `admission_pane` comes too late even
    /// for the last window that contains it: the end of that window, plus the allowed lateness, lies at
    /// or before the start of the admission pane. On time is never too late.
    pub fn is_too_late(&self, event_pane: Pane, admission_pane: Pane) -> bool {
        self.closes(event_pane.0 / self.slide) <= admission_pane.0
    }

    /// First pane of window `k`.
    pub(super) fn first(&self, k: u64) -> u64 {
        k.saturating_mul(self.slide)
    }

    /// First pane after window `k`.
    pub(super) fn end(&self, k: u64) -> u64 {
        self.first(k).saturating_add(self.size)
    }

    /// First admission pane that can no longer correct window `k`.
    fn closes(&self, k: u64) -> u64 {
        self.end(k).saturating_add(self.late)
    }

    /// Window `k` in event time.
    pub(super) fn window(&self, k: u64) -> Window {
        Window {
            start: self.pane.start(Pane(self.first(k))),
            end: self.pane.start(Pane(self.end(k))),
        }
    }

    /// The window whose last pane is `pane`, if there is one.
    pub(super) fn ending_with(&self, pane: Pane) -> Option<u64> {
        let first = (pane.0.saturating_add(1)).checked_sub(self.size)?;
        first.is_multiple_of(self.slide).then_some(first / self.slide)
    }

    /// The first window that contains pane `index` or begins after it, in order of beginnings.
    pub(super) fn first_reaching(&self, index: u64) -> u64 {
        (index.saturating_add(1)).saturating_sub(self.size).div_ceil(self.slide)
    }

    /// The windows that contain `event_pane`, have ended when `admission_pane` begins, and can still be
    /// corrected then.
    pub(super) fn correctable(
        &self,
        event_pane: Pane,
        admission_pane: Pane,
    ) -> std::ops::Range<u64> {
        let admission = admission_pane.0;
        // Still correctable: k * slide + size + late > admission. Ended: k * slide + size <= admission.
        let oldest = (admission.saturating_add(1))
            .saturating_sub(self.size.saturating_add(self.late))
            .div_ceil(self.slide);
        let ended = admission.checked_sub(self.size).map_or(0, |begun| begun / self.slide + 1);
        let first = self.first_reaching(event_pane.0).max(oldest);
        first..(event_pane.0 / self.slide + 1).min(ended)
    }

    /// First pane that something admitted in `admission_pane` or later can still need.
    pub(super) fn horizon(&self, admission_pane: u64) -> u64 {
        match admission_pane.checked_sub(self.size.saturating_add(self.late)) {
            Some(closed) => self.first(closed / self.slide + 1),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn plan(size: u64, slide: u64, late: u64) -> WindowPlan {
        let pane = PaneSize::new(secs(10)).unwrap();
        WindowConfig { size: secs(size), slide: secs(slide), allowed_lateness: secs(late) }
            .plan(pane)
            .unwrap()
    }

    #[test]
    fn each_bad_combination_has_its_own_message() {
        let pane = PaneSize::new(secs(10)).unwrap();
        let told = |size, slide, late| {
            let config = WindowConfig { size, slide, allowed_lateness: late };
            config.plan(pane).unwrap_err().to_string()
        };
        let zero = Duration::ZERO;
        assert!(told(zero, secs(10), zero).starts_with("window size `0ns` is less than"));
        assert!(told(secs(10), zero, zero).starts_with("window slide `0ns` is less than"));
        assert!(told(secs(10), secs(20), zero).contains("is longer than its size `10s`"));
        assert!(told(secs(25), secs(10), zero).contains("size `25s` is not a whole number"));
        assert!(told(secs(30), secs(15), zero).contains("slide `15s` is not a whole number"));
        assert!(told(secs(10), secs(10), secs(864_000)).contains("spans 86401 panes"));
    }

    #[test]
    fn too_late_is_exact_at_the_bound() {
        let plan = plan(30, 10, 15);
        // Pane 5 is last contained in window [5, 8), which closes 15 s later: inside pane 9.
        assert!(!plan.is_too_late(Pane(5), Pane(9)));
        assert!(plan.is_too_late(Pane(5), Pane(10)));
        assert_eq!(plan.correctable(Pane(5), Pane(8)).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(plan.correctable(Pane(5), Pane(9)).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn correctable_windows_are_those_of_the_definition() {
        for (size, slide, late) in
            [(10, 10, 0), (30, 10, 0), (30, 10, 30), (50, 20, 35), (60, 60, 90)]
        {
            let plan = plan(size, slide, late);
            for (event, admission) in (0..40).flat_map(|e| (e..60).map(move |a| (e, a))) {
                let slow: Vec<u64> = (0..60)
                    .filter(|k| (plan.first(*k)..plan.end(*k)).contains(&event))
                    .filter(|k| plan.end(*k) <= admission && admission < plan.closes(*k))
                    .collect();
                let found: Vec<u64> = plan.correctable(Pane(event), Pane(admission)).collect();
                assert_eq!(found, slow, "{plan:?} {event} {admission}");
            }
        }
    }

    #[test]
    fn the_horizon_is_the_first_pane_not_too_late() {
        for (size, slide, late) in [(10, 10, 0), (30, 10, 0), (50, 20, 35), (60, 60, 10)] {
            let plan = plan(size, slide, late);
            for admission in 0..60 {
                let first = (0..100).find(|q| !plan.is_too_late(Pane(*q), Pane(admission)));
                assert_eq!(Some(plan.horizon(admission)), first, "{plan:?} at {admission}");
            }
        }
    }
}
