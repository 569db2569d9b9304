//! What the page and the API ask the store. Every answer is bounded; every function blocks, so that
//! async code calls it on a thread for blocking work.

use rusqlite::{Row, params, params_from_iter, types::Value};
use serde::{Serialize, Serializer};
use tidewatch_dataflow::record::Level;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

use super::error::SqliteError;
use super::store::SqliteStore;
use super::writers::{LEVELS, labels_from_json, labels_json, level_number};

/// No answer has more rows than this, whatever is asked for.
pub(super) const ROWS_MAX: usize = 10_000;

/// A search looks at this many words at most.
const WORDS_MAX: usize = 16;

/// Which series, of which time, how finely.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesQuery {
    /// Name of the measurement: `cpu`.
    pub measurement: String,
    /// All labels of the series, `window` among them.
    pub labels: Labels,
    /// The field: `mean`.
    pub field: String,
    /// First instant.
    pub from: EventTime,
    /// First instant after.
    pub to: EventTime,
    /// How many points at most; where there are more, neighbours are averaged.
    pub points: usize,
}

/// What log lines are looked for: all conditions hold for each line found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The full-text query; `None` for any text.
    text: Option<String>,
    /// At least as serious as this.
    level: Option<Level>,
    /// Nothing can match: there were words, and nothing to look for in them.
    nothing: bool,
}

impl LogQuery {
    /// Reads a query as people type it: words that all occur, each as a whole or as the beginning of a
    /// word, `host:` and `service:` for words of those fields, `level:` for lines at least that serious.
    ///
    /// ```
    /// use tidewatch_connectors::sinks::sqlite::LogQuery;
    /// assert_eq!(LogQuery::parse("  "), LogQuery::default());
    /// assert_ne!(LogQuery::parse("level:error timed out"), LogQuery::parse("timed out"));
    /// ```
    pub fn parse(query: &str) -> LogQuery {
        let mut parsed = LogQuery::default();
        let mut words = Vec::new();
        let mut given = 0;
        for word in query.split_whitespace().take(WORDS_MAX) {
            if let Some(level) = word.strip_prefix("level:").and_then(level_named) {
                parsed.level = Some(level);
                continue;
            }
            given += 1;
            let (column, text) = match word.split_once(':') {
                Some((column @ ("host" | "service"), text)) => (column, text),
                _ => ("", word),
            };
            // In quotes nothing is an operator; a word without letters or digits has no tokens.
            if text.chars().any(char::is_alphanumeric) {
                let colon = if column.is_empty() { "" } else { " : " };
                words.push(format!("{column}{colon}\"{}\"*", text.replace('"', "\"\"")));
            }
        }
        parsed.nothing = given > 0 && words.is_empty();
        parsed.text = (!words.is_empty()).then(|| words.join(" AND "));
        parsed
    }

    /// The same query for lines at least as serious as `level`.
    #[must_use]
    pub fn at_least(mut self, level: Level) -> LogQuery {
        self.level = Some(self.level.map_or(level, |other| other.max(level)));
        self
    }
}

impl LogQuery {
    /// Whether no line can match.
    pub(super) fn finds_nothing(&self) -> bool {
        self.nothing
    }

    /// The number of the least serious level that matches.
    pub(super) fn least_level(&self) -> usize {
        self.level.map_or(0, level_number)
    }

    /// The full-text query, unless any text matches.
    pub(super) fn words(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

/// What is selected of a line, for [`stored_line`].
pub(super) const LINE_COLUMNS: &str = "time, level, host, service, message, extra,
    (SELECT name FROM topic WHERE topic.id = log.topic), partition, \"offset\", line";

/// What is selected of an incident, for [`stored_incident`]: its opening `o`, its last end `e` where it has one.
pub(super) const INCIDENT_COLUMNS: &str =
    "o.incident, o.rule, o.labels, o.severity, o.started_at, o.at, o.value,
    o.summary, e.at, e.kind
    FROM transition o LEFT JOIN transition e ON e.incident = o.incident AND e.sequence =
        (SELECT max(sequence) FROM transition WHERE incident = o.incident AND kind <> 'opened')";

fn level_named(name: &str) -> Option<Level> {
    LEVELS.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name))
}

/// A log line as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredLine {
    /// When it was written, in milliseconds.
    pub time: u64,
    /// Its level: `ERROR`.
    pub level: &'static str,
    /// The machine.
    pub host: String,
    /// The service.
    pub service: String,
    /// The text.
    pub message: String,
    /// Further fields, as the text of a JSON object; empty when none.
    pub extra: String,
    /// Where it was read: topic, partition, offset, index.
    pub origin: String,
}

/// How many lines of each level there are in one span of time.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogCount {
    /// First instant of the span, in milliseconds.
    pub time: u64,
    /// Lines at TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub levels: [u64; 6],
}

/// An incident as its transitions tell it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredIncident {
    /// Its identity.
    pub incident: String,
    /// Its rule.
    pub rule: String,
    /// Its group.
    #[serde(serialize_with = "as_object")]
    pub group: Labels,
    /// Its severity.
    pub severity: String,
    /// When it began, in milliseconds.
    pub started_at: u64,
    /// When it had held long enough to open, in milliseconds.
    pub opened_at: u64,
    /// When it ended, in milliseconds; `None` while it is open.
    pub ended_at: Option<u64>,
    /// Why it ended: `recovered`, `no_data`, `merged`.
    pub end: Option<String>,
    /// The number that opened it.
    pub value: f64,
    /// One sentence.
    pub summary: String,
}

/// Labels as an object, whose names are its keys.
pub(super) fn as_object<S: Serializer>(labels: &Labels, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(labels.iter())
}

impl SqliteStore {
    /// The values of one field of one series over time, oldest first.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn series(&self, query: &SeriesQuery) -> Result<Vec<(u64, f64)>, SqliteError> {
        let (from, to) = (query.from.as_millis(), query.to.as_millis());
        let points = query.points.clamp(1, ROWS_MAX) as u64;
        let step = to.saturating_sub(from).div_ceil(points).max(1);
        self.read("read a series from", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT max(time), avg(fields ->> ?3) AS value FROM point
                 WHERE series = (SELECT id FROM series WHERE measurement = ?1 AND labels = ?2)
                   AND time >= ?4 AND time < ?5
                 GROUP BY (time - ?4) / ?6 HAVING value IS NOT NULL ORDER BY 1 LIMIT ?7",
            )?;
            let labels = labels_json(&query.labels);
            // A name in quotes is one key, whatever characters it has.
            let field = format!("$.\"{}\"", query.field.replace('"', ""));
            let rows = statement.query_map(
                params![query.measurement, labels, field, from, to, step, ROWS_MAX],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            rows.collect()
        })
    }

    /// The newest `limit` lines that match: by time where no words are given, otherwise by their order of
    /// arrival, which an index of any size gives without sorting.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn logs(&self, query: &LogQuery, limit: usize) -> Result<Vec<StoredLine>, SqliteError> {
        if query.finds_nothing() {
            return Ok(Vec::new());
        }
        let least = query.least_level();
        let limit = limit.min(ROWS_MAX);
        let columns = LINE_COLUMNS;
        let mut values: Vec<Value> = vec![(least as i64).into(), (limit as i64).into()];
        let text = match &query.text {
            None => {
                format!("SELECT {columns} FROM log WHERE level >= ?1 ORDER BY time DESC LIMIT ?2")
            }
            Some(words) => {
                values.push(words.clone().into());
                format!(
                    "SELECT {columns} FROM (SELECT rowid AS found FROM log_text WHERE log_text MATCH ?3)
                     JOIN log ON log.id = found WHERE level >= ?1 ORDER BY found DESC LIMIT ?2"
                )
            }
        };
        let mut lines: Vec<StoredLine> = self.read("search", |connection| {
            let mut statement = connection.prepare_cached(&text)?;
            statement.query_map(params_from_iter(&values), stored_line)?.collect()
        })?;
        lines.sort_by_key(|line| std::cmp::Reverse(line.time));
        Ok(lines)
    }

    /// How many lines of each level there are in each `step` of `[from, to)`; empty steps are left out.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn log_rate(
        &self,
        from: EventTime,
        to: EventTime,
        step: std::time::Duration,
    ) -> Result<Vec<LogCount>, SqliteError> {
        let step = tidewatch_dataflow::time::millis(step).max(1);
        let rows: Vec<(u64, usize, u64)> = self.read("count log lines in", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT time / ?3 * ?3, level, count(*) FROM log WHERE time >= ?1 AND time < ?2
                 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT ?4",
            )?;
            let rows = statement
                .query_map(params![from.as_millis(), to.as_millis(), step, ROWS_MAX], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
            rows.collect()
        })?;
        let mut counts: Vec<LogCount> = Vec::new();
        for (time, level, count) in rows {
            if counts.last().is_none_or(|last| last.time != time) {
                counts.push(LogCount { time, levels: [0; 6] });
            }
            let slot = counts.last_mut().and_then(|last| last.levels.get_mut(level));
            slot.into_iter().for_each(|slot| *slot = count);
        }
        Ok(counts)
    }

    /// The newest `limit` incidents, by when they were opened, newest first.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn incidents(&self, limit: usize) -> Result<Vec<StoredIncident>, SqliteError> {
        self.read("read alerts from", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {INCIDENT_COLUMNS}
                 WHERE o.kind = 'opened' ORDER BY o.decided_at DESC, o.id LIMIT ?1",
            ))?;
            let rows = statement.query_map([limit.min(ROWS_MAX)], stored_incident)?;
            rows.collect()
        })
    }
}

pub(super) fn stored_incident(row: &Row<'_>) -> rusqlite::Result<StoredIncident> {
    Ok(StoredIncident {
        incident: row.get(0)?,
        rule: row.get(1)?,
        group: labels_from_json(&row.get::<_, String>(2)?),
        severity: row.get(3)?,
        started_at: row.get(4)?,
        opened_at: row.get(5)?,
        value: row.get(6)?,
        summary: row.get(7)?,
        ended_at: row.get(8)?,
        end: row.get(9)?,
    })
}

pub(super) fn stored_line(row: &Row<'_>) -> rusqlite::Result<StoredLine> {
    let level = LEVELS.get(row.get::<_, usize>(1)?).copied().unwrap_or_default();
    let topic: String = row.get(6)?;
    let (partition, offset, line): (i32, i64, u32) = (row.get(7)?, row.get(8)?, row.get(9)?);
    Ok(StoredLine {
        time: row.get(0)?,
        level: level.as_str(),
        host: row.get(2)?,
        service: row.get(3)?,
        message: row.get(4)?,
        extra: row.get(5)?,
        origin: format!("{topic}-{partition}-{offset}-{line}"),
    })
}
