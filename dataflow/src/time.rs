//! Instants, panes and windows of event time, and the one place where a clock is read.
//!
//! Event time is counted in whole milliseconds since the Unix epoch. Time is cut into **panes** of
//! a fixed size, aligned to the epoch: pane `i` of size `s` is the half-open interval
//! `[i * s, (i + 1) * s)`. A **window** is a whole number of panes.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use timely::order::{PartialOrder, TotalOrder};
use timely::progress::timestamp::{PathSummary, Refines, Timestamp};

/// An instant of event time: milliseconds since the Unix epoch. Also the engine's timely timestamp.
///
/// ```
/// use tidewatch_dataflow::time::EventTime;
/// use std::time::Duration;
/// let t = EventTime::from_millis(1_500);
/// assert_eq!(t + Duration::from_secs(1), EventTime::from_millis(2_500));
/// assert_eq!(t.saturating_sub(Duration::from_secs(9)), EventTime::MIN);
/// ```
#[derive(Copy, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(u64);

impl EventTime {
    /// The epoch; nothing is earlier.
    pub const MIN: EventTime = EventTime(0);
    /// Later than every record: the year 9999 and a little.
    pub const MAX: EventTime = EventTime(u64::MAX >> 10);

    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        EventTime(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant moved back by `by`, not before [`EventTime::MIN`].
    pub fn saturating_sub(self, by: Duration) -> Self {
        EventTime(self.0.saturating_sub(millis(by)))
    }

    /// Time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: EventTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds, saturating.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl std::ops::Add<Duration> for EventTime {
    type Output = EventTime;
    fn add(self, by: Duration) -> EventTime {
        EventTime(self.0.saturating_add(millis(by)))
    }
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl PartialOrder for EventTime {
    fn less_equal(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
    fn less_than(&self, other: &Self) -> bool {
        self.0 < other.0
    }
}

impl TotalOrder for EventTime {}

impl Timestamp for EventTime {
    type Summary = EventTime;
    fn minimum() -> Self {
        EventTime::MIN
    }
}

impl PathSummary<EventTime> for EventTime {
    fn results_in(&self, src: &EventTime) -> Option<EventTime> {
        self.0.checked_add(src.0).map(EventTime)
    }
    fn followed_by(&self, other: &EventTime) -> Option<EventTime> {
        self.0.checked_add(other.0).map(EventTime)
    }
}

impl Refines<()> for EventTime {
    fn to_inner((): ()) -> EventTime {
        EventTime::MIN
    }
    fn to_outer(self) {}
    fn summarize(_: EventTime) {}
}

impl Lattice for EventTime {
    fn join(&self, other: &Self) -> Self {
        *self.max(other)
    }
    fn meet(&self, other: &Self) -> Self {
        *self.min(other)
    }
}

impl differential_dataflow::lattice::Maximum for EventTime {
    fn maximum() -> Self {
        EventTime(u64::MAX)
    }
}

/// A totally ordered timely timestamp that stands for an instant of event time.
///
/// Operator shells are generic over it, so that they fit into dataflows whose timestamp is a plain
/// `u64` of milliseconds.
pub trait EventTimestamp: Timestamp + TotalOrder + Lattice {
    /// The instant this timestamp stands for.
    fn event_time(&self) -> EventTime;
    /// The timestamp of an instant.
    fn at(time: EventTime) -> Self;
}

impl EventTimestamp for EventTime {
    fn event_time(&self) -> EventTime {
        *self
    }
    fn at(time: EventTime) -> Self {
        time
    }
}

impl EventTimestamp for u64 {
    fn event_time(&self) -> EventTime {
        EventTime(*self)
    }
    fn at(time: EventTime) -> Self {
        time.0
    }
}

/// The length of a pane, in milliseconds; never zero.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PaneSize(NonZeroU64);

impl PaneSize {
    /// A pane of `size`, or `None` when that is under a millisecond.
    pub fn new(size: Duration) -> Option<Self> {
        NonZeroU64::new(millis(size)).map(PaneSize)
    }

    /// The greatest pane that both sizes are whole numbers of.
    ///
    /// ```
    /// use tidewatch_dataflow::time::PaneSize;
    /// use std::time::Duration;
    /// let (a, b) = (Duration::from_secs(60), Duration::from_secs(25));
    /// let pane = PaneSize::new(a).unwrap().gcd(PaneSize::new(b).unwrap());
    /// assert_eq!(pane.duration(), Duration::from_secs(5));
    /// ```
    pub fn gcd(self, other: PaneSize) -> PaneSize {
        let (mut a, mut b) = (self.0, other.0.get());
        while let Some(divisor) = NonZeroU64::new(b) {
            b = a.get() % divisor.get();
            a = divisor;
        }
        PaneSize(a)
    }

    /// The tick of a pipeline with these panes: their greatest common divisor, so that a pane ends only
    /// where a tick does; ten seconds when there are none, as for a pipeline that only stores logs.
    ///
    /// ```
    /// use tidewatch_dataflow::time::PaneSize;
    /// use std::time::Duration;
    /// let panes = [20, 30].map(|s| PaneSize::new(Duration::from_secs(s)).unwrap());
    /// assert_eq!(PaneSize::tick(panes).duration(), Duration::from_secs(10));
    /// assert_eq!(PaneSize::tick([]).duration(), Duration::from_secs(10));
    /// ```
    pub fn tick(panes: impl IntoIterator<Item = PaneSize>) -> PaneSize {
        const IDLE: PaneSize = PaneSize(NonZeroU64::MIN.saturating_add(9_999));
        panes.into_iter().reduce(PaneSize::gcd).unwrap_or(IDLE)
    }

    /// The least pane that is a whole number of both sizes; saturating, for sizes that meet after ages only.
    ///
    /// ```
    /// use tidewatch_dataflow::time::PaneSize;
    /// use std::time::Duration;
    /// let panes = [4, 10].map(|s| PaneSize::new(Duration::from_secs(s)).unwrap());
    /// assert_eq!(panes[0].lcm(panes[1]).duration(), Duration::from_secs(20));
    /// ```
    pub fn lcm(self, other: PaneSize) -> PaneSize {
        let gcd = self.gcd(other).0.get();
        PaneSize(self.0.saturating_mul(NonZeroU64::new(other.0.get() / gcd).unwrap_or(other.0)))
    }

    /// Its length.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.get())
    }

    /// Its length in milliseconds.
    pub fn as_millis(self) -> u64 {
        self.0.get()
    }

    /// The pane that holds `time`.
    pub fn pane(self, time: EventTime) -> Pane {
        Pane(time.0 / self.0)
    }

    /// The first instant of `pane`.
    pub fn start(self, pane: Pane) -> EventTime {
        EventTime(pane.0.saturating_mul(self.0.get()))
    }

    /// The first instant after `pane`.
    pub fn end(self, pane: Pane) -> EventTime {
        EventTime(pane.0.saturating_add(1).saturating_mul(self.0.get()))
    }

    /// `time` moved back to the start of its pane.
    pub fn floor(self, time: EventTime) -> EventTime {
        self.start(self.pane(time))
    }

    /// How many panes `span` is, or `None` when it is not a whole number of them.
    pub fn count(self, span: Duration) -> Option<u64> {
        let span = millis(span);
        span.is_multiple_of(self.0.get()).then_some(span / self.0)
    }
}

/// The absolute index of a pane: pane 0 begins at the epoch. Means something only with its [`PaneSize`].
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Pane(pub u64);

/// A half-open interval of event time, `[start, end)`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First instant inside.
    pub start: EventTime,
    /// First instant after.
    pub end: EventTime,
}

/// Where the present comes from: the system's clock, or a hand that tests move.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The wall clock of this machine.
    #[default]
    System,
    /// A clock that stands still until it is set.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that shows `time` until [`Clock::set`] moves it.
    pub fn manual(time: EventTime) -> Self {
        Clock::Manual(Arc::new(AtomicU64::new(time.0)))
    }

    /// The present.
    pub fn now(&self) -> EventTime {
        match self {
            Clock::System => EventTime(
                SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default(),
            ),
            Clock::Manual(time) => EventTime(time.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock; does nothing to the system's.
    pub fn set(&self, to: EventTime) {
        if let Clock::Manual(time) = self {
            time.store(to.0, Ordering::Relaxed);
        }
    }
}

/// Says when something that is to happen every so often is due, by the monotonic clock.
#[derive(Clone, Debug)]
pub struct Pace {
    every: Duration,
    last: Option<Instant>,
}

impl Pace {
    /// Due at once, and then `every` so often.
    pub fn new(every: Duration) -> Self {
        Pace { every, last: None }
    }

    /// Whether it is due; if so, the next time is `every` from now.
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now.duration_since(last) >= self.every);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// Measures how long something takes, by the monotonic clock.
#[derive(Copy, Clone, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// How long ago it began.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_tile_time() {
        let size = PaneSize::new(Duration::from_secs(10)).unwrap();
        for ms in [0, 1, 9_999, 10_000, 10_001, 1_700_000_000_123] {
            let t = EventTime::from_millis(ms);
            let pane = size.pane(t);
            assert!(size.start(pane) <= t && t < size.end(pane));
            assert_eq!(size.end(pane), size.start(Pane(pane.0 + 1)));
        }
    }

    #[test]
    fn a_pane_under_a_millisecond_is_refused() {
        assert_eq!(PaneSize::new(Duration::from_micros(999)), None);
    }
}
