//! What the pipelines of the workloads compute.

use std::time::Duration;

use anyhow::Context as _;
use tidewatch_dataflow::alert::Severity;
use tidewatch_dataflow::time::PaneSize;
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::feed::{Aggregate, Detector, FeedSpec, RuleSpec, Selector, StatisticSpec};
use tidewatch_operators::window::WindowConfig;

/// Measurements and the field of each that is looked at.
const FIELDS: [(&str, &str); 3] =
    [("cpu", "usage_active"), ("mem", "used_percent"), ("disk", "used_percent")];

/// The rule that opens and ends incidents all the time, for the measurement of latency.
pub(crate) const BUSY: &str = "busy";

/// The pane of `seconds` seconds.
pub(crate) fn pane(seconds: u64) -> anyhow::Result<PaneSize> {
    PaneSize::new(Duration::from_secs(seconds)).context("a pane has no length")
}

/// A window of `size` seconds that slides by `slide`.
fn window((size, slide): (u64, u64)) -> WindowConfig {
    WindowConfig {
        size: Duration::from_secs(size),
        slide: Duration::from_secs(slide),
        allowed_lateness: Duration::ZERO,
    }
}

fn feed(measurement: &str, field: &str, windows: &[(u64, u64)]) -> anyhow::Result<FeedSpec> {
    let selector = Selector {
        measurement: measurement.into(),
        field: field.into(),
        filters: Vec::new(),
        group_by: vec!["host".to_owned()],
    };
    let statistic = StatisticSpec {
        name: measurement.into(),
        windows: windows.iter().copied().map(window).collect(),
        aggregates: vec![Aggregate::Count, Aggregate::Mean, Aggregate::Min, Aggregate::Max],
    };
    let statistics = if windows.is_empty() { Vec::new() } else { vec![statistic] };
    Ok(FeedSpec { selector, pane: pane(10)?, statistics, rules: Vec::new() })
}

/// Count, mean, minimum and maximum of cpu, mem and disk over these windows, for each host; with the window
/// `(10, 10)` it is query Q1 of the benchmark.
pub(crate) fn statistics(windows: &[(u64, u64)]) -> anyhow::Result<Vec<FeedSpec>> {
    FIELDS.iter().map(|(measurement, field)| feed(measurement, field, windows)).collect()
}

/// Errors of each service over a minute, every ten seconds: query Q4 of the benchmark.
pub(crate) fn errors() -> anyhow::Result<Vec<FeedSpec>> {
    let mut feed = feed("log", "lines", &[(60, 10)])?;
    feed.selector.filters = vec![("level".to_owned(), vec!["ERROR".to_owned()])];
    feed.selector.group_by = vec!["service".to_owned()];
    feed.statistics.iter_mut().for_each(|s| s.aggregates = vec![Aggregate::Count]);
    Ok(vec![feed])
}

/// Three feeds that select nothing: what is left is reading, decoding and knowing the series.
pub(crate) fn nothing() -> anyhow::Result<Vec<FeedSpec>> {
    FIELDS.iter().map(|(_, field)| feed("none", field, &[])).collect()
}

/// cpu above 90 for `for_` seconds, over panes of `pane_seconds`.
fn sustained(name: &str, for_: u64, pane_seconds: u64) -> anyhow::Result<RuleSpec> {
    let config = SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 90.0,
        for_: Duration::from_secs(for_),
        clear_for: Duration::from_secs(pane_seconds),
        gap_tolerance: Duration::from_secs(60),
        pane: pane(pane_seconds)?,
    };
    Ok(RuleSpec {
        name: name.into(),
        severity: Severity::Critical,
        summary: format!("usage_active above 90 for {for_} s").into(),
        detector: Detector::Sustained(config),
    })
}

/// Q1, Q2 and Q3 of the benchmark, and the rule [`BUSY`] over panes of `pane_seconds`.
pub(crate) fn alerting(pane_seconds: u64) -> anyhow::Result<Vec<FeedSpec>> {
    let mut feeds = statistics(&[(10, 10)])?;
    let busy = sustained(BUSY, pane_seconds, pane_seconds)?;
    if let Some(cpu) = feeds.first_mut() {
        cpu.statistics.iter_mut().for_each(|s| s.windows.push(window((300, 10))));
        cpu.rules.push(sustained("cpu_sustained", 300, 10)?);
        if pane_seconds == 10 {
            cpu.rules.push(busy);
            return Ok(feeds);
        }
    }
    let (measurement, field) = FIELDS[0];
    let alone = FeedSpec { pane: pane(pane_seconds)?, ..feed(measurement, field, &[])? };
    feeds.push(FeedSpec { rules: vec![busy], ..alone });
    Ok(feeds)
}
