//! Which panes statistics and rules cut time into.
//!
//! Panes are whole seconds, so that the pipeline's tick, the greatest common divisor of all panes, never
//! falls below one second; and short, since samples wait for the end of their pane.

use std::time::Duration;

use tidewatch_dataflow::time::{PaneSize, millis};

/// The longest pane of a statistic. A window of an hour that slides by an hour could do with panes of an
/// hour, but samples would wait that long before they are folded, and so would everything behind them;
/// a minute costs 60 partials an hour for each group.
pub(super) const STATISTIC_PANE_MAX: Duration = Duration::from_secs(60);

/// The longest pane of a `sustained` rule: incidents open and end at most this long after the sample
/// that decides them, beside `out_of_orderness`.
pub(super) const SUSTAINED_PANE_MAX: Duration = Duration::from_secs(10);

/// The longest pane of at most `max` that all `spans` are whole numbers of; all are whole seconds, and
/// so is the pane. `None` without spans, or when one of them is no whole number of seconds.
///
/// Divisors are tried from the longest: at most 60 of them.
pub(super) fn longest_pane(
    spans: impl IntoIterator<Item = Duration>,
    max: Duration,
) -> Option<PaneSize> {
    let sizes: Option<Vec<PaneSize>> = spans
        .into_iter()
        .map(|span| PaneSize::new(span).filter(|_| is_whole_seconds(span)))
        .collect();
    let common = sizes?.into_iter().reduce(PaneSize::gcd)?;
    (1..=max.as_secs())
        .rev()
        .map(Duration::from_secs)
        .find(|pane| common.as_millis().is_multiple_of(millis(*pane)))
        .and_then(PaneSize::new)
}

/// Whether `span` is a whole number of seconds, and not none.
pub(super) fn is_whole_seconds(span: Duration) -> bool {
    !span.is_zero() && span.subsec_nanos() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane(seconds: &[u64], max: Duration) -> Option<u64> {
        let spans = seconds.iter().map(|s| Duration::from_secs(*s));
        longest_pane(spans, max).map(|pane| pane.duration().as_secs())
    }

    #[test]
    fn the_longest_pane_divides_all_and_stays_short() {
        for (spans, at_most_60, at_most_10) in [
            (&[10, 300][..], 10, 10),
            (&[3_600], 60, 10),
            (&[25, 10], 5, 5),
            (&[299], 23, 1),
            (&[301], 43, 7),
            (&[300, 10], 10, 10),
            (&[7], 7, 7),
            (&[86_400, 45], 45, 9),
        ] {
            assert_eq!(pane(spans, STATISTIC_PANE_MAX), Some(at_most_60), "{spans:?}");
            assert_eq!(pane(spans, SUSTAINED_PANE_MAX), Some(at_most_10), "{spans:?}");
        }
    }

    #[test]
    fn parts_of_a_second_have_no_pane() {
        assert_eq!(longest_pane([Duration::from_millis(1_500)], STATISTIC_PANE_MAX), None);
        assert_eq!(longest_pane([Duration::ZERO], STATISTIC_PANE_MAX), None);
        assert_eq!(longest_pane([], STATISTIC_PANE_MAX), None);
    }
}
