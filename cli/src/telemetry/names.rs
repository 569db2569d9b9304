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
pub(super) const SENT_BYTES: Metric =
    counter("tidewatch_cluster_sent_bytes", "Bytes sent to the other processes of the cluster");
pub(super) const RECEIVED_BYTES: Metric = counter(
    "tidewatch_cluster_received_bytes",
    "Bytes received from the other processes of the cluster",
);
pub(super) const POINTS: Metric =
    counter("tidewatch_source_points", "Measurements decoded and admitted");
pub(super) const LOG_LINES: Metric =
    counter("tidewatch_source_log_lines", "Log lines decoded and admitted");
pub(super) const NO_NUMBERS: Metric = counter(
    "tidewatch_source_no_numbers",
    "Numbers that said that there is none (NaN, infinity, null), passed over in this run",
);
pub(super) const READ_ERRORS: Metric =
    counter("tidewatch_source_read_errors", "Attempts to read a partition that failed");
pub(super) const RECREATED: Metric = counter(
    "tidewatch_topics_recreated",
    "How often topics were found to have been made anew, over all runs, on the process of worker 0",
);
pub(super) const LAG: Metric = gauge(
    "tidewatch_source_lag_records",
    "Records between our position and the end of the log, by worker",
);
pub(super) const OPEN_POINTS: Metric =
    gauge("tidewatch_source_open_points", "Points read and not yet applied, by worker");
pub(super) const DEAD_LETTERS: Metric =
    counter("tidewatch_dead_letters", "Records and samples refused, by reason");
pub(super) const DECISIONS: Metric = counter(
    "tidewatch_decisions",
    "What was decided about time beside the log in this run, by kind, on the process of worker 0",
);
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
pub(super) const QUARANTINED_GROUPS: Metric = gauge(
    "tidewatch_quarantined_groups",
    "Groups that a rule or windows leave out since they crashed at them",
);
pub(super) const QUARANTINED_SAMPLES: Metric = counter(
    "tidewatch_quarantined_samples",
    "Samples of groups in quarantine, once for each that leaves the group out, in this run",
);
pub(super) const FIRINGS: Metric =
    counter("tidewatch_window_firings", "Windows fired, corrections included");
pub(super) const TRANSITIONS: Metric =
    counter("tidewatch_alert_transitions", "Incidents opened and ended");
pub(super) const WATERMARK_DELAY: Metric =
    gauge("tidewatch_watermark_delay_seconds", "How far applied event time is behind the clock");
pub(super) const SINK_OFFERED: Metric = counter(
    "tidewatch_sink_offered",
    "Items handed to a sink; with restored ones: delivered + queued + shed + rejected",
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
pub(super) const SINK_RESTORED: Metric = counter(
    "tidewatch_sink_restored",
    "Items taken over from an earlier run, which had not delivered them",
);
pub(super) const INDEXES_DELETED: Metric = counter(
    "tidewatch_sink_indexes_deleted",
    "Daily indexes deleted since they were past their retention, by the first process",
);
pub(super) const SINK_SPILLED: Metric =
    gauge("tidewatch_sink_spilled", "Items that wait in the state store only");
pub(super) const SINK_SPILLED_BYTES: Metric =
    gauge("tidewatch_sink_spilled_bytes", "Bytes of the objects with items that are not delivered");
pub(super) const SINK_FULL: Metric = gauge(
    "tidewatch_sink_full",
    "1 while queue and spill are full: reading waits, or items are shed",
);
pub(super) const CHECKPOINT_AGE: Metric = gauge(
    "tidewatch_checkpoint_age_seconds",
    "How long ago the newest checkpoint of this run was complete",
);
pub(super) const CHECKPOINT_COMMITS: Metric =
    counter("tidewatch_checkpoint_commits", "Checkpoints completed in this run");
pub(super) const CHECKPOINT_DURATION: Metric = gauge(
    "tidewatch_checkpoint_duration_seconds",
    "How long this process took to write its part of the newest checkpoint",
);
pub(super) const CHECKPOINT_WRITTEN: Metric = gauge(
    "tidewatch_checkpoint_written_bytes",
    "Bytes this process wrote for the newest checkpoint",
);
pub(super) const CHECKPOINT_STATE: Metric = gauge(
    "tidewatch_checkpoint_state_bytes",
    "Bytes of state of this process in the newest checkpoint, whenever written",
);
pub(super) const CHECKPOINT_RETRIES: Metric =
    counter("tidewatch_checkpoint_retries", "How often the state store failed and was asked again");
pub(super) const OUTBOX_INTENTS: Metric =
    counter("tidewatch_outbox_intents", "Notifications begun, once for each channel");
pub(super) const OUTBOX_RECEIPTS: Metric =
    counter("tidewatch_outbox_receipts", "Notifications told");
pub(super) const OUTBOX_REPEATED: Metric = counter(
    "tidewatch_outbox_repeated",
    "Notifications told again because an earlier run left no receipt",
);
pub(super) const OUTBOX_SUPPRESSED: Metric = counter(
    "tidewatch_outbox_suppressed",
    "Notifications not told because an earlier run had told them",
);
pub(super) const KAFKA_BROKERS: Metric =
    gauge("tidewatch_kafka_brokers_up", "Brokers this process is connected to, by client");
pub(super) const KAFKA_LEADERLESS: Metric =
    gauge("tidewatch_kafka_partitions_leaderless", "Partitions without a leader, by client");
pub(super) const KAFKA_STOPPED: Metric = gauge(
    "tidewatch_kafka_partitions_stopped",
    "Partitions that are read no further until a person acts, by client",
);
pub(super) const KAFKA_LOST: Metric = counter(
    "tidewatch_kafka_records_lost",
    "Records that retention removed before they were read, by client",
);

/// All metrics, for documentation and tests.
pub const METRICS: [Metric; 49] = [
    RECORDS,
    BYTES,
    SENT_BYTES,
    RECEIVED_BYTES,
    POINTS,
    LOG_LINES,
    NO_NUMBERS,
    READ_ERRORS,
    RECREATED,
    LAG,
    OPEN_POINTS,
    DEAD_LETTERS,
    DECISIONS,
    FILTERED,
    SELECTED,
    LATE,
    CORRECTIONS,
    MERGED,
    QUARANTINED_GROUPS,
    QUARANTINED_SAMPLES,
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
    SINK_RESTORED,
    INDEXES_DELETED,
    SINK_SPILLED,
    SINK_SPILLED_BYTES,
    SINK_FULL,
    CHECKPOINT_AGE,
    CHECKPOINT_COMMITS,
    CHECKPOINT_DURATION,
    CHECKPOINT_WRITTEN,
    CHECKPOINT_STATE,
    CHECKPOINT_RETRIES,
    OUTBOX_INTENTS,
    OUTBOX_RECEIPTS,
    OUTBOX_REPEATED,
    OUTBOX_SUPPRESSED,
    KAFKA_BROKERS,
    KAFKA_LEADERLESS,
    KAFKA_STOPPED,
    KAFKA_LOST,
];
