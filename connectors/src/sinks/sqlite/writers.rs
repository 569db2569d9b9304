//! The three sinks on one store.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Transaction, params};
use tidewatch_dataflow::alert::{EndReason, Transition, TransitionKind};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{Level, LogLine, Topics};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};

use super::store::SqliteStore;

/// Writes metric points; a point with the same measurement, labels and time is replaced.
#[derive(Clone, Debug)]
pub struct SqliteMetrics {
    store: SqliteStore,
}

/// Writes log lines; a line that is there is left alone.
#[derive(Clone, Debug)]
pub struct SqliteLogs {
    store: SqliteStore,
    topics: Topics,
}

/// Writes transitions; one that is there is left alone.
#[derive(Clone, Debug)]
pub struct SqliteTransitions {
    store: SqliteStore,
}

impl SqliteMetrics {
    /// Metrics of `store`.
    pub fn new(store: SqliteStore) -> Self {
        SqliteMetrics { store }
    }
}

impl SqliteLogs {
    /// Log lines of `store`. A line is known by its topic's name, `name@generation` once that was made anew:
    /// `topics` gives the names to numbers, which change when topics are added to a pipeline.
    pub fn new(store: SqliteStore, topics: Topics) -> Self {
        SqliteLogs { store, topics }
    }
}

impl SqliteTransitions {
    /// Transitions of `store`.
    pub fn new(store: SqliteStore) -> Self {
        SqliteTransitions { store }
    }
}

/// Labels as a JSON object, names sorted: the same labels are the same text.
pub(super) fn labels_json(labels: &Labels) -> String {
    let map: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    serde_json::Value::Object(map).to_string()
}

/// Labels from the text that [`labels_json`] wrote; none when the text is something else.
pub(super) fn labels_from_json(text: &str) -> Labels {
    let map: HashMap<String, String> = serde_json::from_str(text).unwrap_or_default();
    Labels::from_pairs(map)
}

impl SinkWriter for SqliteMetrics {
    type Item = MetricPoint;

    async fn write(&mut self, batch: &[MetricPoint]) -> Result<Receipt, ConnectorError> {
        let mut rejected = Vec::new();
        let mut rows = Vec::with_capacity(batch.len());
        for (index, point) in batch.iter().enumerate() {
            match point.fields.iter().find(|(_, value)| !value.is_finite()) {
                None => rows.push(point.clone()),
                Some((name, value)) => rejected.push(RejectedItem {
                    index,
                    reason: Reason::NotANumber,
                    detail: format!("field `{name}` is {value}"),
                }),
            }
        }
        let accepted = rows.len();
        self.store.write(move |transaction| write_points(transaction, &rows)).await?;
        Ok(Receipt { accepted, rejected, retry: Vec::new() })
    }
}

fn write_points(transaction: &Transaction<'_>, points: &[MetricPoint]) -> rusqlite::Result<()> {
    let mut series: HashMap<(&Arc<str>, &Labels), i64> = HashMap::new();
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO point (series, time, fields) VALUES (?1, ?2, ?3)",
    )?;
    for point in points {
        let key = (&point.measurement, &point.labels);
        let id = match series.get(&key) {
            Some(id) => *id,
            None => {
                let id = series_id(transaction, &point.measurement, &labels_json(&point.labels))?;
                series.insert(key, id);
                id
            }
        };
        let fields: serde_json::Map<String, serde_json::Value> =
            point.fields.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let fields = serde_json::Value::Object(fields).to_string();
        insert.execute(params![id, point.time.as_millis(), fields])?;
    }
    Ok(())
}

fn series_id(
    transaction: &Transaction<'_>,
    measurement: &str,
    labels: &str,
) -> rusqlite::Result<i64> {
    let known = transaction
        .prepare_cached("SELECT id FROM series WHERE measurement = ?1 AND labels = ?2")?
        .query_row([measurement, labels], |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => transaction
            .prepare_cached(
                "INSERT INTO series (measurement, labels) VALUES (?1, ?2) RETURNING id",
            )?
            .query_row([measurement, labels], |row| row.get(0)),
    }
}

impl SinkWriter for SqliteLogs {
    type Item = LogLine;

    async fn write(&mut self, batch: &[LogLine]) -> Result<Receipt, ConnectorError> {
        let (rows, topics) = (batch.to_vec(), self.topics.clone());
        self.store.write(move |transaction| write_lines(transaction, &rows, &topics)).await?;
        Ok(Receipt { accepted: batch.len(), ..Receipt::default() })
    }
}

fn write_lines(
    transaction: &Transaction<'_>,
    lines: &[LogLine],
    topics: &Topics,
) -> rusqlite::Result<()> {
    let mut ids: HashMap<(u32, u32), i64> = HashMap::new();
    let mut insert = transaction.prepare_cached(
        "INSERT OR IGNORE INTO log
            (topic, partition, \"offset\", line, time, level, host, service, message, extra)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for line in lines {
        let topic = match ids.get(&(line.partition.topic, line.generation)) {
            Some(id) => *id,
            None => {
                let name = topics.name(line.partition.topic);
                let id = match line.generation {
                    0 => topic_id(transaction, name)?,
                    // No topic can have such a name in Kafka.
                    generation => topic_id(transaction, &format!("{name}@{generation}"))?,
                };
                ids.insert((line.partition.topic, line.generation), id);
                id
            }
        };
        insert.execute(params![
            topic,
            line.partition.partition,
            line.offset,
            line.index,
            line.event_time.as_millis(),
            level_number(line.level),
            &*line.host,
            &*line.service,
            &*line.message,
            &*line.extra,
        ])?;
    }
    Ok(())
}

fn topic_id(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO topic (name) VALUES (?1)")?
        .execute([name])?;
    transaction
        .prepare_cached("SELECT id FROM topic WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
}

/// All levels, the least serious first; a level is stored as its index.
pub(super) const LEVELS: [Level; 6] =
    [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

/// The index of `level` in [`LEVELS`].
pub(super) fn level_number(level: Level) -> usize {
    LEVELS.iter().position(|other| *other == level).unwrap_or_default()
}

impl SinkWriter for SqliteTransitions {
    type Item = Transition;

    async fn write(&mut self, batch: &[Transition]) -> Result<Receipt, ConnectorError> {
        let rows = batch.to_vec();
        self.store.write(move |transaction| write_transitions(transaction, &rows)).await?;
        Ok(Receipt { accepted: batch.len(), ..Receipt::default() })
    }
}

fn write_transitions(transaction: &Transaction<'_>, rows: &[Transition]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR IGNORE INTO transition
            (id, incident, sequence, kind, rule, labels, severity, started_at, at, decided_at, value,
             summary)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for row in rows {
        insert.execute(params![
            row.id(),
            row.incident.to_string(),
            row.sequence,
            kind_text(row.kind),
            &*row.rule,
            labels_json(&row.group),
            row.severity.as_str(),
            row.started_at.as_millis(),
            row.at.as_millis(),
            row.decided_at.as_millis(),
            row.value.0,
            &*row.summary,
        ])?;
    }
    Ok(())
}

/// The kind as the store writes it: `opened`, or the reason of an end.
fn kind_text(kind: TransitionKind) -> &'static str {
    match kind {
        TransitionKind::Opened => "opened",
        TransitionKind::Ended(EndReason::Recovered) => "recovered",
        TransitionKind::Ended(EndReason::NoData) => "no_data",
        TransitionKind::Ended(EndReason::Merged) => "merged",
        TransitionKind::Ended(EndReason::RuleChanged) => "rule_changed",
        TransitionKind::Ended(EndReason::Quarantined) => "quarantined",
    }
}
