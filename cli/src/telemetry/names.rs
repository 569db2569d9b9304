//! Every metric tidewatch exposes, once: name, kind, unit and help. The names are API.

/// What kind of number a metric is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises. Exposed with the suffix `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One metric.
#[derive(Copy, Clone, Debug)]
pub struct Metric {
    /// Its name, without the suffix that counters get.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it counts, with its labels.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

pub(super) const RECORDS: Metric = counter("tidewatch_source_records", "Records read");
pub(super) const BYTES: Metric =
    counter("tidewatch_source_bytes", "Bytes of keys and values of records read");
pub(super) const POINTS: Metric =
    counter("tidewatch_source_points", "Measurements decoded and admitted");
pub(super) const LOG_LINES: Metric =
    counter("tidewatch_source_log_lines", "Log lines decoded and admitted");
pub(super) const READ_ERRORS: Metric =
    counter("tidewatch_source_read_errors", "Attempts to read a partition that failed");
pub(super) const LAG: Metric = gauge(
    "tidewatch_source_lag_records",
    "Records between our position and the end of the log, by worker",
);
pub(super) const OPEN_POINTS: Metric =
    gauge("tidewatch_source_open_points", "Points read and not yet applied, by worker");
pub(super) const DEAD_LETTERS: Metric =
    counter("tidewatch_dead_letters", "Records and samples refused, by reason");
pub(super) const FILTERED: Metric =
    counter("tidewatch_samples_filtered", "Numbers that no statistic or rule selects");
pub(super) const SELECTED: Metric =
    counter("tidewatch_samples_selected", "Samples selected, once for each feed");
pub(super) const LATE: Metric =
    counter("tidewatch_samples_late", "Samples too late for everything that listens");
pub(super) const CORRECTIONS: Metric = counter(
    "tidewatch_samples_corrections",
    "Samples late for detectors and merged into windows as corrections",
);
pub(super) const MERGED: Metric =
    counter("tidewatch_samples_merged", "Samples folded into panes, corrections included");
pub(super) const FIRINGS: Metric =
    counter("tidewatch_window_firings", "Windows fired, corrections included");
pub(super) const TRANSITIONS: Metric =
    counter("tidewatch_alert_transitions", "Incidents opened and ended");
pub(super) const WATERMARK_DELAY: Metric =
    gauge("tidewatch_watermark_delay_seconds", "How far applied event time is behind the clock");
pub(super) const SINK_OFFERED: Metric = counter(
    "tidewatch_sink_offered",
    "Items handed to a sink: delivered + queued + shed + rejected",
);
pub(super) const SINK_DELIVERED: Metric =
    counter("tidewatch_sink_delivered", "Items the other side has taken");
pub(super) const SINK_QUEUED: Metric =
    gauge("tidewatch_sink_queued", "Items that wait or are under way");
pub(super) const SINK_SHED: Metric =
    counter("tidewatch_sink_shed", "Items dropped because the queue was full");
pub(super) const SINK_REJECTED: Metric =
    counter("tidewatch_sink_rejected", "Items the other side will never take");
pub(super) const SINK_RETRIED: Metric = counter("tidewatch_sink_retried", "Items sent again");
pub(super) const SINK_UP: Metric =
    gauge("tidewatch_sink_up", "1 when the last attempt got through, 0 while retrying or refused");

/// All metrics, for documentation and tests.
pub const METRICS: [Metric; 23] = [
    RECORDS,
    BYTES,
    POINTS,
    LOG_LINES,
    READ_ERRORS,
    LAG,
    OPEN_POINTS,
    DEAD_LETTERS,
    FILTERED,
    SELECTED,
    LATE,
    CORRECTIONS,
    MERGED,
    FIRINGS,
    TRANSITIONS,
    WATERMARK_DELAY,
    SINK_OFFERED,
    SINK_DELIVERED,
    SINK_QUEUED,
    SINK_SHED,
    SINK_REJECTED,
    SINK_RETRIED,
    SINK_UP,
];
