//! Checks of rules of kind `sustained`.

use std::time::Duration;

use tidewatch_dataflow::config::HumanDuration;
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::feed::Detector;

use super::Judged;
use crate::config::check::common::{finite, found_wrong, positive, whole_seconds};
use crate::config::check::selector::{Selection, selector};
use crate::config::check::source::Produced;
use crate::config::file::SustainedSection;
use crate::config::pane::{SUSTAINED_PANE_MAX, longest_pane};
use crate::config::report::Scope;

/// Checks the rule, and resolves it.
pub(super) fn check(
    scope: &mut Scope<'_, '_, '_>,
    section: &SustainedSection,
    group_by: &[String],
    produced: &Produced,
) -> Option<Judged> {
    let SustainedSection { measurement, field, filters, dwell, .. } = section;
    let selection = Selection { measurement, field, filters, group_by };
    let selector = selector(scope, &selection, produced);
    if group_by.is_empty() {
        scope.warning(
            &["group_by"],
            "samples of all hosts are judged as one row: one that is fine ends what another began",
            "write `group_by = [\"host\"]` to judge each host by itself",
        );
    }
    let bounds = bounds(scope, section);
    let held = whole_seconds(scope, "for", *dwell);
    let clear_for = section.clear_for.map(|span| whole_seconds(scope, "clear_for", span));
    let gap = positive(
        scope,
        "gap_tolerance",
        section.gap_tolerance,
        "no two samples would ever belong together: write more than the interval of samples, \"1m\" say",
    );
    let (condition, clear) = bounds.filter(|_| gap)?;
    let clear_for = match clear_for {
        Some(wrong_or_not) => Some(wrong_or_not?),
        None => None,
    };
    let held = held?;
    let pane = longest_pane([Some(held), clear_for].into_iter().flatten(), SUSTAINED_PANE_MAX)?;
    let config = SustainedConfig {
        condition,
        clear,
        for_: held,
        clear_for: clear_for.unwrap_or(pane.duration()),
        gap_tolerance: section.gap_tolerance.get(),
        pane,
    };
    if section.gap_tolerance.get() < Duration::from_secs(1) {
        scope.warning(
            &["gap_tolerance"],
            format!("samples further apart than {} break the condition", section.gap_tolerance),
            "agents write every 10 s or so: write \"1m\", say",
        );
    }
    if let Err(error) = config.validate() {
        found_wrong(scope, "for", &error.to_string());
        return None;
    }
    let word = match condition {
        Condition::Above(bound) => format!("above {bound}"),
        Condition::Below(bound) => format!("below {bound}"),
    };
    Some(Judged {
        selector,
        pane,
        detector: Detector::Sustained(config),
        summary: format!("{field} {word} for {}", HumanDuration::from(held)),
    })
}

/// The condition, and the value at which it is clear.
fn bounds(scope: &mut Scope<'_, '_, '_>, section: &SustainedSection) -> Option<(Condition, f64)> {
    let SustainedSection { above, below, clear_below, clear_above, .. } = section;
    let given = [
        ("above", above),
        ("below", below),
        ("clear_below", clear_below),
        ("clear_above", clear_above),
    ];
    let mut usable = true;
    for (key, value) in given {
        usable &= value.is_none_or(|value| finite(scope, key, value));
    }
    let condition = match (above, below) {
        (Some(above), None) => Condition::Above(*above),
        (None, Some(below)) => Condition::Below(*below),
        (Some(_), Some(_)) => {
            scope.error(
                &["below", "above"],
                "`above` and `below` are both given",
                "keep one; for a range write two rules",
            );
            return None;
        }
        (None, None) => {
            scope.error(
                &["name", "above", "below"],
                "neither `above` nor `below` is given",
                "add above = 90.0, say",
            );
            return None;
        }
    };
    if !usable {
        return None;
    }
    percentage(scope, &section.field, condition);
    let (own, own_key, other_key, word) = match condition {
        Condition::Above(_) => (clear_below, "clear_below", "clear_above", "above"),
        Condition::Below(_) => (clear_above, "clear_above", "clear_below", "below"),
    };
    if scope.has(other_key) {
        scope.error(
            &[other_key],
            format!("`{other_key}` does not go with `{word}`"),
            format!("write `{own_key}`"),
        );
        return None;
    }
    let bound = condition.bound();
    let clear = own.unwrap_or(bound);
    let (wrong, side) = match condition {
        Condition::Above(_) => (clear > bound, "at most"),
        Condition::Below(_) => (clear < bound, "at least"),
    };
    if wrong {
        scope.error(
            &[own_key, word],
            format!(
                "`{own_key} = {clear}` is reached while the condition `{word} = {bound}` holds"
            ),
            format!("write {side} {bound}"),
        );
        return None;
    }
    Some((condition, clear))
}

/// Telegraf's percentages go from 0 to 100, and people think of fractions.
fn percentage(scope: &mut Scope<'_, '_, '_>, field: &str, condition: Condition) {
    let is_percentage = field.starts_with("usage_") || field.ends_with("_percent");
    if !is_percentage {
        return;
    }
    let (key, bound, never) = match condition {
        Condition::Above(bound) => ("above", bound, bound >= 100.0),
        Condition::Below(bound) => ("below", bound, bound <= 0.0),
    };
    if never {
        scope.warning(
            &[key],
            format!("`{field}` is a percentage: it is never {key} {bound}"),
            "write a value between 0 and 100",
        );
    } else if bound > 0.0 && bound < 1.0 {
        scope.warning(
            &[key],
            format!("`{field}` is a percentage: {bound} means less than one of a hundred"),
            format!("if {} % is meant, write `{key} = {}`", bound * 100.0, bound * 100.0),
        );
    }
}
