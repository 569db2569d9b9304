//! Checks that many sections share.

use std::time::Duration;

use tidewatch_dataflow::config::HumanDuration;

use crate::config::pane::is_whole_seconds;
use crate::config::report::Scope;

/// The longest name of a statistic, rule or receiver: a fourth of what a metric label or a Kafka header
/// may well hold.
const NAME_MAX: usize = 64;

/// A name that is used in stores, metrics and messages alike: letters, digits, `_`, `-` and `.`.
pub(super) fn name(scope: &mut Scope<'_, '_, '_>, key: &str, value: &str) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if value.is_empty() {
        scope.error(&[key], "the name is empty", "give it a name of its own");
    } else if let Some(wrong) = value.chars().find(|c| !allowed(*c)) {
        scope.error(
            &[key],
            format!("`{}` cannot stand in a name", wrong.escape_default()),
            "use letters, digits, `_`, `-` and `.`",
        );
    } else if value.len() > NAME_MAX {
        scope.error(
            &[key],
            format!("the name has {} characters", value.len()),
            format!("use at most {NAME_MAX}"),
        );
    } else if value.starts_with(['_', '.', '-']) {
        scope.error(
            &[key],
            format!("`{value}` does not begin with a letter or digit"),
            "stores keep names that begin otherwise for themselves: put a letter first",
        );
    }
}

/// Text that may be anything but empty and control characters: measurements, fields, labels.
pub(super) fn word(scope: &mut Scope<'_, '_, '_>, key: &str, what: &str, value: &str) {
    if value.is_empty() {
        scope.error(
            &[key],
            format!("the {what} is empty"),
            format!("write the name of the {what}"),
        );
    } else if value.chars().any(char::is_control) {
        scope.error(
            &[key],
            format!("the {what} holds a control character"),
            "remove it: a line break in the file, perhaps",
        );
    }
}

/// A duration that must be a whole number of seconds, since panes are. Gives it if it is.
pub(super) fn whole_seconds(
    scope: &mut Scope<'_, '_, '_>,
    key: &str,
    value: HumanDuration,
) -> Option<Duration> {
    let span = value.get();
    if span.is_zero() {
        scope.error(&[key], format!("`{key}` is zero"), "write at least \"1s\"");
        return None;
    }
    if !is_whole_seconds(span) {
        scope.error(
            &[key],
            format!("`{key}` is {value}, no whole number of seconds"),
            "panes of event time are whole seconds: round it, to \"1s\" or more",
        );
        return None;
    }
    Some(span)
}

/// A duration that must not be zero. Tells whether it is not.
pub(super) fn positive(
    scope: &mut Scope<'_, '_, '_>,
    key: &str,
    value: HumanDuration,
    why: &str,
) -> bool {
    if value.get().is_zero() {
        scope.error(&[key], format!("`{key}` is zero"), why);
    }
    !value.get().is_zero()
}

/// Says what a component found wrong that was not said before: its message is the fault and, behind a
/// colon, the remedy.
pub(super) fn found_wrong(scope: &mut Scope<'_, '_, '_>, key: &str, message: &str) {
    let (wrong, remedy) = message.split_once(": ").unwrap_or((message, "correct this table"));
    scope.error(&[key], wrong, remedy);
}

/// A number that is neither infinite nor undefined (TOML knows `inf` and `nan`).
pub(super) fn finite(scope: &mut Scope<'_, '_, '_>, key: &str, value: f64) -> bool {
    if !value.is_finite() {
        scope.error(
            &[key],
            format!("`{key}` is {value}, which nothing can be compared with"),
            "write a number such as 90.0",
        );
    }
    value.is_finite()
}

/// Elements that stand in a list twice.
pub(super) fn duplicates<T: PartialEq>(list: &[T]) -> impl Iterator<Item = (usize, &T)> {
    list.iter()
        .enumerate()
        .filter(|(at, item)| list.iter().take(*at).any(|earlier| earlier == *item))
}
