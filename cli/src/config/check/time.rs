//! Checks of `[time]`.

use std::time::Duration;

use super::common::positive;
use crate::config::file::TimeSection;
use crate::config::report::Scope;
use crate::config::resolved::TimeConfig;

/// Checks `[time]`, and resolves it.
pub(super) fn time(scope: &mut Scope<'_, '_, '_>, section: &TimeSection) -> TimeConfig {
    positive(
        scope,
        "idle_timeout",
        section.idle_timeout,
        "a partition would count as silent between any two records: write \"30s\", say",
    );
    positive(
        scope,
        "future_tolerance",
        section.future_tolerance,
        "clocks always differ a little: write \"10m\", say",
    );
    positive(scope, "max_lead", section.max_lead, "nothing could be read: write \"2m\", say");
    let waits = section.out_of_orderness.get();
    if waits >= Duration::from_secs(3_600) {
        scope.warning(
            &["out_of_orderness"],
            format!("every window and rule waits {} for stragglers", section.out_of_orderness),
            "keep it at what is usual, seconds, and use `allowed_lateness` for what comes later",
        );
    }
    if section.stale_after.get() <= waits + section.idle_timeout.get() {
        scope.warning(
            &["stale_after"],
            "what is over by the time it is found counts as stale, and nobody is told",
            "make it longer than `out_of_orderness` and `idle_timeout` together, by minutes",
        );
    }
    TimeConfig {
        out_of_orderness: waits,
        allowed_lateness: section.allowed_lateness.get(),
        idle_timeout: section.idle_timeout.get(),
        future_tolerance: section.future_tolerance.get(),
        start: section.start,
        on_retention: section.on_retention,
        on_recreated: section.on_recreated,
        stale_after: section.stale_after.get(),
        max_lead: section.max_lead.get(),
    }
}
