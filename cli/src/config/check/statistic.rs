//! Checks of `[[statistics]]`.

use std::time::Duration;

use tidewatch_connectors::sinks::ALERTS_MEASUREMENT;
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_operators::feed::StatisticSpec;
use tidewatch_operators::window::{WINDOW_PANES_MAX, WindowConfig, WindowError};

use super::common::{duplicates, found_wrong, name, whole_seconds};
use super::selector::{Selection, selector};
use super::source::Produced;
use crate::config::file::{StatisticSection, WindowSection};
use crate::config::pane::{STATISTIC_PANE_MAX, longest_pane};
use crate::config::report::Scope;
use crate::config::resolved::Statistic;

/// The label of points that names their window; see [`tidewatch_dataflow::metric::MetricPoint`].
const WINDOW_LABEL: &str = "window";

/// Checks a statistic, and resolves it. `allowed_lateness` is that of `[time]`.
pub(super) fn statistic(
    scope: &mut Scope<'_, '_, '_>,
    section: &StatisticSection,
    allowed_lateness: Duration,
    produced: &Produced,
) -> Option<Statistic> {
    name(scope, "name", &section.name);
    if section.name == ALERTS_MEASUREMENT {
        scope.error(
            &["name"],
            "`alerts` is the measurement of incidents in the stores, and would hold both",
            "give the statistic another name",
        );
    }
    let StatisticSection { measurement, field, filters, group_by, .. } = section;
    let selection = Selection { measurement, field, filters, group_by };
    let selector = selector(scope, &selection, produced);
    for (index, label) in group_by.iter().enumerate().filter(|(_, label)| *label == WINDOW_LABEL) {
        scope.error(
            &[&format!("group_by[{index}]")],
            format!("points carry a label `{label}` of their own: which window they are of"),
            "group by another label",
        );
    }
    if section.aggregates.is_empty() {
        scope.error(
            &["aggregates"],
            "nothing is computed",
            "leave `aggregates` out for count, mean, min and max, or list at least one",
        );
    }
    for (index, aggregate) in duplicates(&section.aggregates) {
        scope.error(
            &[&format!("aggregates[{index}]")],
            format!("`{}` is listed twice", aggregate.as_str()),
            "remove one of the two",
        );
    }
    let lateness = section.allowed_lateness.map_or(allowed_lateness, HumanDuration::get);
    let usable = windows(scope, &section.windows, lateness);
    let spans = usable.iter().flat_map(|(_, window)| [window.size, window.slide]);
    let pane = longest_pane(spans, STATISTIC_PANE_MAX)?;
    for (index, window) in &usable {
        if let Err(error) = window.plan(pane) {
            plan_error(scope, *index, &error);
        }
    }
    let windows: Vec<WindowConfig> = usable.into_iter().map(|(_, window)| window).collect();
    Some(Statistic {
        selector,
        pane,
        spec: StatisticSpec {
            name: section.name.as_str().into(),
            windows,
            aggregates: section.aggregates.clone(),
        },
    })
}

/// The windows that are right, with their place in the list.
fn windows(
    scope: &mut Scope<'_, '_, '_>,
    sections: &[WindowSection],
    allowed_lateness: Duration,
) -> Vec<(usize, WindowConfig)> {
    if sections.is_empty() {
        scope.error(
            &["windows"],
            "there is no window to compute over",
            r#"list at least one: windows = [{ size = "10s" }]"#,
        );
    }
    let mut windows: Vec<(usize, WindowConfig)> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let (size_key, slide_key) =
            (format!("windows[{index}].size"), format!("windows[{index}].slide"));
        let size = whole_seconds(scope, &size_key, section.size);
        let slide = match section.slide {
            Some(slide) => whole_seconds(scope, &slide_key, slide),
            None => size,
        };
        let (Some(size), Some(slide)) = (size, slide) else { continue };
        if slide > size {
            scope.error(
                &[&slide_key, &size_key],
                format!(
                    "a slide of {} leaves gaps between windows of {}",
                    HumanDuration::from(slide),
                    section.size
                ),
                "slide by at most the size: leave `slide` out for windows side by side",
            );
            continue;
        }
        let window = WindowConfig { size, slide, allowed_lateness };
        if windows.iter().any(|(_, earlier)| *earlier == window) {
            scope.error(
                &[&format!("windows[{index}]")],
                "the same window is listed twice",
                "remove one of the two",
            );
        }
        windows.push((index, window));
    }
    windows
}

/// What the windows themselves find, in words of the file.
fn plan_error(scope: &mut Scope<'_, '_, '_>, index: usize, error: &WindowError) {
    let size = format!("windows[{index}].size");
    match error {
        WindowError::TooManyPanes { panes, pane, .. } => scope.error(
            &[&size],
            format!(
                "window and allowed lateness keep {panes} panes of {} for each group, more than {WINDOW_PANES_MAX}",
                HumanDuration::from(*pane)
            ),
            "make the window or `allowed_lateness` shorter, or all windows of this statistic multiples of a longer time",
        ),
        other => found_wrong(scope, &size, &other.to_string()),
    }
}
