//! Checks of rules of kind `anomaly`.

use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::time::PaneSize;
use tidewatch_operators::detect::anomaly::{AnomalyConfig, Direction};
use tidewatch_operators::feed::Detector;

use super::{Judged, multiple};
use crate::config::check::common::{finite, found_wrong, whole_seconds};
use crate::config::check::selector::{Selection, selector};
use crate::config::check::source::Produced;
use crate::config::file::AnomalySection;
use crate::config::report::Scope;

/// Checks the rule, and resolves it.
pub(super) fn check(
    scope: &mut Scope<'_, '_, '_>,
    section: &AnomalySection,
    group_by: &[String],
    produced: &Produced,
) -> Option<Judged> {
    let AnomalySection { measurement, field, filters, .. } = section;
    let selection = Selection { measurement, field, filters, group_by };
    let selector = selector(scope, &selection, produced);
    let pane = whole_seconds(scope, "pane", section.pane);
    let held = whole_seconds(scope, "for", section.dwell);
    let numbers = numbers(scope, section);
    let (pane, held) = (pane?, held?);
    let whole = multiple(scope, ("for", held), ("pane", pane));
    let half_life = section.half_life.get();
    if half_life < pane {
        scope.error(
            &["half_life", "pane"],
            format!("a half-life of {} is over within one pane", section.half_life),
            "make it many panes long, \"10m\" say",
        );
        return None;
    }
    if held >= half_life {
        scope.warning(
            &["for", "half_life"],
            "what lasts for a half-life counts as the new usual level, so this may never open",
            "make `for` a small part of `half_life`",
        );
    }
    if section.warm_up.get() < half_life {
        scope.warning(
            &["warm_up", "half_life"],
            "groups are judged before they are known: `warm_up` is less than `half_life`",
            format!("write `warm_up = \"{}\"` or more", section.half_life),
        );
    }
    if !whole || !numbers {
        return None;
    }
    let size = PaneSize::new(pane)?;
    let config = AnomalyConfig {
        half_life,
        warm_up: section.warm_up.get(),
        score: section.score,
        min_deviation: section.min_deviation,
        direction: section.direction,
        for_: held,
        pane: size,
    };
    if let Err(error) = config.validate() {
        found_wrong(scope, "kind", &error.to_string());
        return None;
    }
    let word = match section.direction {
        Direction::Up => "above its usual level",
        Direction::Down => "below its usual level",
        Direction::Both => "off its usual level",
    };
    let (least, span) = (section.min_deviation, HumanDuration::from(held));
    let score = section.score;
    Some(Judged {
        selector,
        pane: size,
        detector: Detector::Anomaly(config),
        summary: format!("{field} {word} by {least} and {score} deviations for {span}"),
    })
}

/// Checks score and least deviation.
fn numbers(scope: &mut Scope<'_, '_, '_>, section: &AnomalySection) -> bool {
    let mut usable = finite(scope, "score", section.score);
    usable &= finite(scope, "min_deviation", section.min_deviation);
    if section.score <= 0.0 {
        scope.error(&["score"], "every value would be an anomaly", "write 4.0 to 8.0");
        usable = false;
    }
    if section.min_deviation < 0.0 {
        scope.error(
            &["min_deviation"],
            "a difference is never less than nothing",
            "write the least difference that matters, in the unit of the field",
        );
        usable = false;
    }
    usable
}
