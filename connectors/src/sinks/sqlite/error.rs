//! What can go wrong with the embedded store, and what the delivery driver makes of it.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use tidewatch_dataflow::sink::ConnectorError;

use super::schema::VERSION;

/// Why the embedded store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// The database could not do what it was asked to.
    #[error("could not {what} the store `{path}`")]
    Database {
        /// What was attempted, as a verb.
        what: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was made by another version of tidewatch.
    #[error(
        "could not open the store `{path}`: it has schema version {found} and this version reads {VERSION}; use the version that wrote it, or move the file away to begin a new one"
    )]
    Schema {
        /// The database file.
        path: PathBuf,
        /// The version it has.
        found: i64,
    },
    /// The file is a database of another program.
    #[error(
        "could not open the store `{path}`: it is an SQLite database of another program; choose another `path`"
    )]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The bounds make no sense.
    #[error(
        "could not open the store `{path}`: `max_size` is {given} bytes, it must be at least {least}"
    )]
    TooSmall {
        /// The database file.
        path: PathBuf,
        /// The bound in the configuration.
        given: u64,
        /// The least bound.
        least: u64,
    },
    /// A single batch is larger than the store may be.
    #[error("a batch does not fit into the store `{path}`; raise `max_size`")]
    BatchTooLarge {
        /// The database file.
        path: PathBuf,
    },
    /// A thread panicked while it held the connection, or the runtime is ending.
    #[error("could not use the store `{path}`: the thread that works on it is gone")]
    Gone {
        /// The database file.
        path: PathBuf,
    },
}

impl SqliteError {
    /// What SQLite's code says about the cause, where SQLite was asked at all.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            SqliteError::Database { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }

    /// The path of the store.
    fn path(&self) -> &PathBuf {
        match self {
            SqliteError::Database { path, .. }
            | SqliteError::Schema { path, .. }
            | SqliteError::Foreign { path }
            | SqliteError::TooSmall { path, .. }
            | SqliteError::BatchTooLarge { path }
            | SqliteError::Gone { path } => path,
        }
    }
}

impl From<SqliteError> for ConnectorError {
    fn from(error: SqliteError) -> ConnectorError {
        let endpoint = format!("sqlite {}", error.path().display());
        match error.code() {
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen,
            ) => {
                let reason = format!(
                    "{}; check the file and its folder, or move the file away to begin a new one",
                    crate::delivery::chain(&error)
                );
                ConnectorError::Refused { endpoint, reason }
            }
            None if !matches!(error, SqliteError::Gone { .. } | SqliteError::Database { .. }) => {
                ConnectorError::Permanent { endpoint, reason: error.to_string() }
            }
            _ => ConnectorError::Transient { endpoint, retry_after: None, source: Box::new(error) },
        }
    }
}
