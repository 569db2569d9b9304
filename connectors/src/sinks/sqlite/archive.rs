//! The store as somebody reads it who does not write: from another process, beside a pipeline at work.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row, params_from_iter};
use serde::Serialize;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

use super::error::SqliteError;
use super::query::{
    INCIDENT_COLUMNS, LINE_COLUMNS, LogQuery, ROWS_MAX, StoredIncident, StoredLine, as_object,
    stored_incident, stored_line,
};
use super::schema;
use super::writers::labels_from_json;

/// How long a question waits for a writer that has locked the file.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// What is asked for: of which time, with which labels, how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// First instant.
    pub since: EventTime,
    /// First instant after.
    pub until: EventTime,
    /// Labels that must hold, each exactly. Of log lines `host` and `service`.
    pub labels: Vec<(String, String)>,
    /// How many rows at most, the newest; 10,000 whatever is asked for.
    pub limit: usize,
}

/// A metric point as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredPoint {
    /// The end of its window, in milliseconds.
    pub time: u64,
    /// The statistic.
    pub measurement: String,
    /// Labels of the group, and `window`.
    #[serde(serialize_with = "as_object")]
    pub labels: Labels,
    /// The aggregates.
    pub fields: BTreeMap<String, f64>,
}

/// An embedded store that is only read. It is never created or changed, and may be written meanwhile.
///
/// ```
/// use tidewatch_connectors::sinks::sqlite::{LogQuery, Scope, SqliteArchive, SqliteConfig, SqliteStore};
/// use tidewatch_dataflow::time::EventTime;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("tidewatch.db");
/// assert!(SqliteArchive::open(&path).is_err(), "there is none yet");
/// let store = SqliteStore::open(&SqliteConfig::new(&path)).unwrap();
/// let archive = SqliteArchive::open(&path).unwrap();
/// let all = Scope { since: EventTime::MIN, until: EventTime::MAX, labels: vec![], limit: 10 };
/// assert!(archive.logs(&LogQuery::parse("timeout"), &all).unwrap().is_empty());
/// ```
pub struct SqliteArchive {
    path: PathBuf,
    connection: Connection,
}

impl fmt::Debug for SqliteArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteArchive").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Conditions of a question, and the values in them.
#[derive(Default)]
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition; `?` in it is `value`.
    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        let place = format!("?{}", self.values.len());
        self.text.push_str(if self.text.is_empty() { "WHERE " } else { " AND " });
        self.text.push_str(&condition.replace('?', &place));
    }

    /// Adds the labels of `scope`, where `labels` is the column with their JSON object.
    fn and_labels(&mut self, labels: &[(String, String)], column: &str) {
        for (name, value) in labels {
            // A name in quotes is one key, whatever characters it has.
            self.and(&format!("{column} ->> ?"), format!("$.\"{}\"", name.replace('"', "")));
            self.values.push(value.clone().into());
            self.text.push_str(&format!(" = ?{}", self.values.len()));
        }
    }

    fn limit(&mut self, limit: usize) -> String {
        self.values.push((limit.min(ROWS_MAX) as i64).into());
        format!("LIMIT ?{}", self.values.len())
    }
}

fn millis(time: EventTime) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl SqliteArchive {
    /// Opens the store at `path`, which has to be there. Blocks for a moment.
    ///
    /// # Errors
    /// [`SqliteError`] when there is no such file, or it is of another program or another schema version.
    pub fn open(path: &Path) -> Result<Self, SqliteError> {
        let failed = |source| SqliteError::Database { what: "open", path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_MAX).map_err(failed)?;
        schema::verify(&connection, path)?;
        Ok(SqliteArchive { path: path.to_owned(), connection })
    }

    /// The newest points of the statistic `measurement`, or of all, oldest first.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn points(
        &self,
        measurement: Option<&str>,
        scope: &Scope,
    ) -> Result<Vec<StoredPoint>, SqliteError> {
        let mut conditions = Conditions::default();
        conditions.and("time >= ?", millis(scope.since));
        conditions.and("time < ?", millis(scope.until));
        if let Some(measurement) = measurement {
            conditions.and("measurement = ?", measurement.to_owned());
        }
        conditions.and_labels(&scope.labels, "labels");
        let limit = conditions.limit(scope.limit);
        let query = format!(
            "SELECT time, measurement, labels, fields FROM point JOIN series ON series.id = point.series
             {} ORDER BY time DESC, measurement DESC, labels DESC {limit}",
            conditions.text
        );
        self.rows("read metrics from", &query, conditions, |row| {
            Ok(StoredPoint {
                time: row.get(0)?,
                measurement: row.get(1)?,
                labels: labels_from_json(&row.get::<_, String>(2)?),
                fields: serde_json::from_str(&row.get::<_, String>(3)?).unwrap_or_default(),
            })
        })
    }

    /// The newest lines that match, oldest first.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn logs(&self, query: &LogQuery, scope: &Scope) -> Result<Vec<StoredLine>, SqliteError> {
        if query.finds_nothing() {
            return Ok(Vec::new());
        }
        let mut conditions = Conditions::default();
        conditions.and("time >= ?", millis(scope.since));
        conditions.and("time < ?", millis(scope.until));
        conditions.and("level >= ?", query.least_level() as i64);
        for (name, value) in &scope.labels {
            match name.as_str() {
                column @ ("host" | "service") => {
                    conditions.and(&format!("log.{column} = ?"), value.clone());
                }
                // Lines have no other labels.
                _ => return Ok(Vec::new()),
            }
        }
        if let Some(words) = query.words() {
            let found = "log.id IN (SELECT rowid FROM log_text WHERE log_text MATCH ?)";
            conditions.and(found, words.to_owned());
        }
        let limit = conditions.limit(scope.limit);
        let query = format!(
            "SELECT {LINE_COLUMNS} FROM log {} ORDER BY time DESC, id DESC {limit}",
            conditions.text
        );
        self.rows("search", &query, conditions, stored_line)
    }

    /// The newest incidents that were open at some time of the scope, by when they were opened, oldest first.
    /// Each of `words` occurs in the rule, the labels or the summary.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn incidents(
        &self,
        words: &[&str],
        only_open: bool,
        scope: &Scope,
    ) -> Result<Vec<StoredIncident>, SqliteError> {
        let mut conditions = Conditions::default();
        conditions.and("o.kind = ?", "opened".to_owned());
        conditions.and("o.at < ?", millis(scope.until));
        conditions.and("(e.at IS NULL OR e.at >= ?)", millis(scope.since));
        if only_open {
            conditions.and("e.at IS NULL AND ?", 1_i64);
        }
        conditions.and_labels(&scope.labels, "o.labels");
        for word in words {
            let all = "lower(o.rule || ' ' || o.labels || ' ' || o.summary)";
            conditions.and(&format!("instr({all}, lower(?)) > 0"), (*word).to_owned());
        }
        let limit = conditions.limit(scope.limit);
        let query = format!(
            "SELECT {INCIDENT_COLUMNS} {} ORDER BY o.at DESC, o.id DESC {limit}",
            conditions.text
        );
        self.rows("read alerts from", &query, conditions, stored_incident)
    }

    /// The rows of a question that asks for the newest first, turned round.
    fn rows<T>(
        &self,
        what: &'static str,
        query: &str,
        conditions: Conditions,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, SqliteError> {
        let failed = |source| SqliteError::Database { what, path: self.path.clone(), source };
        let mut statement = self.connection.prepare(query).map_err(failed)?;
        let rows =
            statement.query_map(params_from_iter(conditions.values), read).map_err(failed)?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<T>>>().map_err(failed)?;
        rows.reverse();
        Ok(rows)
    }
}
