//! Checks of `[[rules]]`.

mod anomaly;
mod burst;
mod sustained;

use std::time::Duration;

use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::time::{PaneSize, millis};
use tidewatch_operators::feed::{Detector, RuleSpec, Selector};

use super::common::{duplicates, name};
use super::source::Produced;
use crate::config::file::RuleCommon;
use crate::config::read::KindSection;
use crate::config::report::Scope;
use crate::config::resolved::Rule;
use crate::config::words::did_you_mean;

/// What is particular to the kind of a rule, resolved.
struct Judged {
    selector: Selector,
    pane: PaneSize,
    detector: Detector,
    /// `usage_active above 90 for 5m`
    summary: String,
}

/// Checks a rule, and resolves it. `receivers` are the names there are, those that could not be read
/// included.
pub(super) fn rule(
    scope: &mut Scope<'_, '_, '_>,
    common: &RuleCommon,
    section: &KindSection,
    receivers: &[&str],
    produced: &Produced,
) -> Option<Rule> {
    name(scope, "name", &common.name);
    told(scope, &common.receivers, receivers);
    let judged = match section {
        KindSection::Sustained(section) => {
            sustained::check(scope, section, &common.group_by, produced)
        }
        KindSection::ErrorBurst(section) => {
            burst::check(scope, section, &common.group_by, produced)
        }
        KindSection::Anomaly(section) => anomaly::check(scope, section, &common.group_by, produced),
    }?;
    Some(Rule {
        selector: judged.selector,
        pane: judged.pane,
        spec: RuleSpec {
            name: common.name.as_str().into(),
            severity: common.severity,
            summary: judged.summary.into(),
            detector: judged.detector,
        },
        receivers: common.receivers.clone(),
    })
}

/// Checks who is told.
fn told(scope: &mut Scope<'_, '_, '_>, named: &[String], receivers: &[&str]) {
    for (index, receiver) in named.iter().enumerate() {
        if !receivers.contains(&receiver.as_str()) {
            let help = did_you_mean(receiver, receivers)
                .unwrap_or_else(|| format!("add a table [receivers.{receiver}]"));
            scope.error(
                &[&format!("receivers[{index}]")],
                format!("there is no receiver `{receiver}`"),
                help,
            );
        }
    }
    for (index, receiver) in duplicates(named) {
        scope.error(
            &[&format!("receivers[{index}]")],
            format!("receiver `{receiver}` is listed twice"),
            "remove one of the two",
        );
    }
    if named.is_empty() {
        scope.warning(
            &["receivers", "name"],
            "nobody is told of this rule's incidents: they show on the page only",
            "name a receiver: receivers = [\"oncall\"]",
        );
    }
}

/// Whether the first duration is a whole number of the second; each comes with its key.
fn multiple(
    scope: &mut Scope<'_, '_, '_>,
    (key, span): (&str, Duration),
    (unit_key, unit): (&str, Duration),
) -> bool {
    let whole = millis(span).is_multiple_of(millis(unit).max(1));
    if !whole {
        let (span, unit) = (HumanDuration::from(span), HumanDuration::from(unit));
        scope.error(
            &[key, unit_key],
            format!("`{key}` is {span}, no whole multiple of `{unit_key}`, {unit}"),
            format!("make it a multiple of {unit}, or change `{unit_key}`"),
        );
    }
    whole
}
