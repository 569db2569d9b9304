//! The tables, their version, and the check that a file is ours.

use std::path::Path;

use rusqlite::Connection;

use super::error::SqliteError;

/// The schema version that this code reads and writes, in `PRAGMA user_version`.
pub(super) const VERSION: i64 = 1;

/// Marks the file as ours, in `PRAGMA application_id`: the letters "tide".
const APPLICATION: i64 = 0x7469_6465;

const TABLES: &str = "
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    measurement TEXT NOT NULL,
    labels TEXT NOT NULL,
    UNIQUE (measurement, labels)
);
CREATE TABLE point (
    series INTEGER NOT NULL REFERENCES series (id),
    time INTEGER NOT NULL,
    fields TEXT NOT NULL,
    PRIMARY KEY (series, time)
) WITHOUT ROWID;
CREATE VIEW metric AS
    SELECT measurement, labels, time, fields FROM point JOIN series ON series.id = point.series;

CREATE TABLE topic (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL REFERENCES topic (id),
    partition INTEGER NOT NULL,
    \"offset\" INTEGER NOT NULL,
    line INTEGER NOT NULL,
    time INTEGER NOT NULL,
    level INTEGER NOT NULL,
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    message TEXT NOT NULL,
    extra TEXT NOT NULL,
    UNIQUE (topic, partition, \"offset\", line)
);
CREATE INDEX log_time ON log (time, level);
CREATE VIRTUAL TABLE log_text USING fts5 (
    message, host, service, content = 'log', content_rowid = 'id'
);
CREATE TRIGGER log_added AFTER INSERT ON log BEGIN
    INSERT INTO log_text (rowid, message, host, service)
    VALUES (new.id, new.message, new.host, new.service);
END;
CREATE TRIGGER log_removed AFTER DELETE ON log BEGIN
    INSERT INTO log_text (log_text, rowid, message, host, service)
    VALUES ('delete', old.id, old.message, old.host, old.service);
END;

CREATE TABLE transition (
    id TEXT PRIMARY KEY,
    incident TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    rule TEXT NOT NULL,
    labels TEXT NOT NULL,
    severity TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    value REAL NOT NULL,
    summary TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX transition_incident ON transition (incident, sequence);
CREATE INDEX transition_time ON transition (decided_at);
";

/// Makes the tables in an empty file, or checks that the file has them.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), SqliteError> {
    let failed = |source| SqliteError::Database { what: "open", path: path.to_owned(), source };
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(failed)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get(0));
    let version: i64 = pragma("user_version").map_err(failed)?;
    let application: i64 = pragma("application_id").map_err(failed)?;
    let objects: i64 = transaction
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    if objects == 0 && version == 0 && application == 0 {
        transaction.execute_batch(TABLES).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
        transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    } else {
        ours(application, version, path)?;
    }
    transaction.commit().map_err(failed)
}

/// Checks that the file has the tables, without changing it.
pub(super) fn verify(connection: &Connection, path: &Path) -> Result<(), SqliteError> {
    let failed = |source| SqliteError::Database { what: "open", path: path.to_owned(), source };
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    let application: i64 = pragma("application_id").map_err(failed)?;
    let version: i64 = pragma("user_version").map_err(failed)?;
    ours(application, version, path)
}

fn ours(application: i64, version: i64, path: &Path) -> Result<(), SqliteError> {
    if application != APPLICATION {
        return Err(SqliteError::Foreign { path: path.to_owned() });
    }
    if version != VERSION {
        return Err(SqliteError::Schema { path: path.to_owned(), found: version });
    }
    Ok(())
}
