//! Checks of rules of kind `error_burst`.

use std::time::Duration;

use tidewatch_dataflow::record::{LOG_MEASUREMENT, Level};
use tidewatch_operators::detect::burst::{BURST_PANES_MAX, BurstConfig, BurstError};
use tidewatch_operators::feed::Detector;

use super::{Judged, multiple};
use crate::config::check::common::{finite, found_wrong, positive, whole_seconds};
use crate::config::check::selector::{Selection, selector};
use crate::config::check::source::Produced;
use crate::config::file::{ErrorBurstSection, Filters, OneOrMore};
use crate::config::report::Scope;

/// Checks the rule, and resolves it.
pub(super) fn check(
    scope: &mut Scope<'_, '_, '_>,
    section: &ErrorBurstSection,
    group_by: &[String],
    produced: &Produced,
) -> Option<Judged> {
    let filters = section.filters.clone().unwrap_or_else(|| default_filters(&section.measurement));
    let selection = Selection {
        measurement: &section.measurement,
        field: &section.field,
        filters: &filters,
        group_by,
    };
    let selector = selector(scope, &selection, produced);
    let window = whole_seconds(scope, "window", section.window);
    let slide = whole_seconds(scope, "slide", section.slide);
    let clear_for = section.clear_for.unwrap_or(section.window);
    positive(scope, "clear_for", clear_for, "write \"60s\", say, or leave it out for one window");
    let baseline = past(scope, section);
    let (window, slide, baseline) = (window?, slide?, baseline?);
    let spans = [("window", window), ("baseline", baseline), ("clear_for", clear_for.get())];
    let spans = spans.into_iter().filter(|(key, _)| *key == "window" || scope.has(key));
    let spans: Vec<_> = spans.collect();
    let cut = spans.into_iter().filter(|span| !multiple(scope, *span, ("slide", slide))).count();
    if cut > 0 {
        return None;
    }
    let config = BurstConfig {
        window,
        slide,
        above: section.above,
        factor: section.factor,
        baseline,
        clear_for: clear_for.get(),
    };
    match config.validate() {
        Ok(()) => {}
        Err(BurstError::TooManyPanes { panes, .. }) => {
            scope.error(
                &["baseline", "window"],
                format!("window and baseline are {panes} slides, more than {BURST_PANES_MAX}"),
                "make `slide` longer or `baseline` shorter",
            );
            return None;
        }
        Err(error) => {
            found_wrong(scope, "window", &error.to_string());
            return None;
        }
    }
    Some(Judged {
        selector,
        pane: config.pane().ok()?,
        detector: Detector::Burst(config),
        summary: summary(section, &filters),
    })
}

/// Errors and worse of log lines, everything of other measurements.
fn default_filters(measurement: &str) -> Filters {
    let mut filters = Filters::default();
    if measurement == LOG_MEASUREMENT {
        let levels = [Level::Error, Level::Fatal].map(|level| level.as_str().to_owned());
        filters.0.insert("level".to_owned(), OneOrMore(levels.to_vec()));
    }
    filters
}

/// Checks the comparison with the past, and gives how much of it counts. Without `factor` none does, and
/// the window stands in.
fn past(scope: &mut Scope<'_, '_, '_>, section: &ErrorBurstSection) -> Option<Duration> {
    match (section.factor, section.baseline) {
        (None, None) => whole_seconds(scope, "window", section.window),
        (None, Some(_)) => {
            scope.warning(
                &["baseline", "factor"],
                "`baseline` has no effect without `factor`",
                "add factor = 5.0, say, or remove `baseline`",
            );
            whole_seconds(scope, "window", section.window)
        }
        (Some(_), None) => {
            scope.error(
                &["factor", "baseline"],
                "`factor` compares with the past, and `baseline` does not say how much of it",
                "add baseline = \"10m\", say",
            );
            None
        }
        (Some(factor), Some(baseline)) => {
            if finite(scope, "factor", factor) && factor <= 0.0 {
                scope.error(
                    &["factor"],
                    format!("{factor} times the usual number is no bound"),
                    "write a factor above 1, such as 5.0",
                );
            } else if factor < 1.0 {
                scope.warning(
                    &["factor"],
                    format!("{factor} times the usual number is less than usual"),
                    "write a factor above 1, such as 5.0",
                );
            }
            if baseline < section.window {
                scope.warning(
                    &["baseline", "window"],
                    "the past that is compared with is shorter than the window",
                    "make `baseline` several windows long",
                );
            }
            whole_seconds(scope, "baseline", baseline).filter(|_| factor > 0.0)
        }
    }
}

/// `more than 20 log lines of level ERROR or FATAL within 1m, and 5 times as many as usual`
fn summary(section: &ErrorBurstSection, filters: &Filters) -> String {
    let filters: Vec<String> = filters
        .0
        .iter()
        .map(|(label, values)| format!("{label} {}", values.0.join(" or ")))
        .collect();
    let of = match (section.measurement == LOG_MEASUREMENT, filters.as_slice()) {
        (true, []) => "log lines".to_owned(),
        (true, filters) => format!("log lines of {}", filters.join(" and ")),
        (false, []) => format!("samples of {}", section.field),
        (false, filters) => format!("samples of {} of {}", section.field, filters.join(" and ")),
    };
    let usual = match section.factor {
        Some(factor) => format!(", and {factor} times as many as usual"),
        None => String::new(),
    };
    format!("more than {} {of} within {}{usual}", section.above, section.window)
}
