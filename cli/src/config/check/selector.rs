//! Which samples a statistic or rule selects, and whether it can get any.

use tidewatch_dataflow::record::{LOG_FIELD, LOG_MEASUREMENT, Level};
use tidewatch_operators::feed::Selector;

use super::common::{duplicates, word};
use super::source::Produced;
use crate::config::file::Filters;
use crate::config::report::Scope;
use crate::config::words::{did_you_mean, list, nearest};

/// The labels of the measurement that log lines are counted under.
const LOG_LABELS: [&str; 3] = ["host", "level", "service"];

/// The levels a log line can have, as its label writes them.
const LEVELS: [Level; 6] =
    [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

/// Measurements of which agents write several series for each host, told apart by this label, and the
/// value that stands for the whole where there is one.
const SPLIT_SERIES: [(&str, &str, Option<&str>); 4] = [
    ("cpu", "cpu", Some("cpu-total")),
    ("disk", "path", None),
    ("diskio", "name", None),
    ("net", "interface", None),
];

/// What a statistic or rule says about its samples.
pub(super) struct Selection<'s> {
    pub(super) measurement: &'s str,
    pub(super) field: &'s str,
    pub(super) filters: &'s Filters,
    pub(super) group_by: &'s [String],
}

/// Checks a selection, and resolves it.
pub(super) fn selector(
    scope: &mut Scope<'_, '_, '_>,
    selection: &Selection<'_>,
    produced: &Produced,
) -> Selector {
    let Selection { measurement, field, filters, group_by } = *selection;
    word(scope, "measurement", "measurement", measurement);
    word(scope, "field", "field", field);
    for (index, label) in group_by.iter().enumerate() {
        word(scope, &format!("group_by[{index}]"), "label", label);
    }
    for (index, label) in duplicates(group_by) {
        let key = format!("group_by[{index}]");
        scope.error(&[&key], format!("`{label}` is listed twice"), "remove one of the two");
    }
    for (label, values) in &filters.0 {
        let key = format!("where.\"{label}\"");
        word(scope, &key, "label", label);
        if values.0.is_empty() {
            scope.error(
                &[&key],
                format!("no value is accepted for `{label}`, so nothing is ever selected"),
                "list at least one value, or remove the label",
            );
        }
    }
    if measurement == LOG_MEASUREMENT {
        log_selection(scope, selection);
    } else {
        split_series(scope, selection);
    }
    can_be_had(scope, selection, produced);
    Selector {
        measurement: measurement.into(),
        field: field.into(),
        filters: filters.to_pairs(),
        group_by: group_by.to_vec(),
    }
}

/// Log lines are counted under fixed labels with fixed levels: everything else selects nothing.
fn log_selection(scope: &mut Scope<'_, '_, '_>, selection: &Selection<'_>) {
    if selection.field != LOG_FIELD {
        scope.error(
            &["field"],
            format!("`{LOG_MEASUREMENT}` has no field `{}`", selection.field),
            format!("its one field is `{LOG_FIELD}`, 1 for each log line"),
        );
    }
    let in_group = selection.group_by.iter().enumerate();
    let in_group = in_group.map(|(index, label)| (format!("group_by[{index}]"), label));
    let in_filters = selection.filters.0.keys().map(|label| (format!("where.\"{label}\""), label));
    for (key, label) in in_group.chain(in_filters) {
        if !LOG_LABELS.contains(&label.as_str()) {
            scope.error(
                &[&key],
                format!("`{LOG_MEASUREMENT}` has no label `{label}`"),
                format!("its labels are {}", list(&LOG_LABELS)),
            );
        }
    }
    let levels = LEVELS.map(Level::as_str);
    let wanted = selection.filters.0.get("level").map(|values| values.0.as_slice());
    for level in wanted.unwrap_or_default() {
        if !levels.contains(&level.as_str()) {
            let upper = level.to_uppercase();
            let help = match levels.iter().find(|known| upper.starts_with(**known)) {
                Some(known) => format!("did you mean `{known}`?"),
                None => did_you_mean(level, &levels).unwrap_or_default(),
            };
            scope.error(&["where.level"], format!("no log line has the level `{level}`"), help);
        }
    }
}

/// A group that mixes, say, all cores of a host with their sum gives plausible and wrong numbers.
fn split_series(scope: &mut Scope<'_, '_, '_>, selection: &Selection<'_>) {
    let known = SPLIT_SERIES.iter().find(|(measurement, ..)| *measurement == selection.measurement);
    let Some((measurement, label, total)) = known else { return };
    // Other producers write one number for each host; only Telegraf's field names are known to be split.
    let of_telegraf = match *measurement {
        "cpu" => selection.field.starts_with("usage_") || selection.field.starts_with("time_"),
        _ => selection.field != "value",
    };
    let named =
        selection.group_by.iter().any(|by| by == label) || selection.filters.0.contains_key(*label);
    if !of_telegraf || named || selection.group_by.is_empty() {
        return;
    }
    let help = match total {
        Some(total) => format!(
            "select one with `where = {{ {label} = \"{total}\" }}`, or add \"{label}\" to `group_by`"
        ),
        None => format!(
            "add \"{label}\" to `group_by`, or select one with `where = {{ {label} = ... }}`"
        ),
    };
    scope.warning(
        &["group_by"],
        format!("Telegraf writes one series for each `{label}`, and this mixes them"),
        help,
    );
}

/// Whether any source can bring such samples.
fn can_be_had(scope: &mut Scope<'_, '_, '_>, selection: &Selection<'_>, produced: &Produced) {
    let measurement = selection.measurement;
    if measurement == LOG_MEASUREMENT {
        if !produced.logs {
            scope.warning(
                &["measurement"],
                "no source brings log lines",
                "add a source with format `json_log`, `text_log` or `auto`",
            );
        }
        return;
    }
    if produced.anything {
        return;
    }
    let of_values = produced.values.iter().find(|value| value.measurement == measurement);
    let Some(value) = of_values else {
        let known: Vec<&str> = produced.values.iter().map(|v| v.measurement.as_str()).collect();
        let help = match nearest(measurement, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "the sources bring log lines only".to_owned(),
            None => format!("the sources bring {}", list(&known)),
        };
        scope.warning(&["measurement"], format!("no source brings `{measurement}`"), help);
        return;
    };
    if value.field != selection.field {
        scope.warning(
            &["field"],
            format!("`{measurement}` comes without a field `{}`", selection.field),
            format!("the source of `{measurement}` calls its number `{}`", value.field),
        );
    }
}
