//! The file and its two connections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::time::{Clock, EventTime};

use super::bounds::{self, Bounds, Keep};
use super::config::SqliteConfig;
use super::error::SqliteError;
use super::schema;

/// How long one connection waits for another one, that of another process included.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// What is too old is looked for this often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The embedded store. Clones share one file and its connections.
///
/// ```
/// use tidewatch_connectors::sinks::sqlite::{LogQuery, SqliteConfig, SqliteStore};
/// let folder = tempfile::tempdir().unwrap();
/// let store = SqliteStore::open(&SqliteConfig::new(folder.path().join("tidewatch.db"))).unwrap();
/// assert!(store.logs(&LogQuery::parse("timeout host:web-1"), 10).unwrap().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    bounds: Bounds,
    retention: HumanDuration,
    clock: Clock,
    writer: Mutex<Writer>,
    reader: Mutex<Connection>,
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    /// When the last sweep for what is too old was.
    swept_at: EventTime,
}

impl SqliteStore {
    /// Opens the store, creating it when it is not there. Blocks for a moment.
    ///
    /// # Errors
    /// [`SqliteError`] when the file cannot be opened, is of another program or another schema version,
    /// or the bounds make no sense.
    pub fn open(config: &SqliteConfig) -> Result<Self, SqliteError> {
        Self::open_with_clock(config, Clock::System)
    }

    /// As [`SqliteStore::open`], with the clock that decides what is too old.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with_clock(config: &SqliteConfig, clock: Clock) -> Result<Self, SqliteError> {
        let path = config.path.clone();
        let (given, least) = (config.max_size.bytes(), SqliteConfig::MAX_SIZE_MIN);
        if given < least {
            return Err(SqliteError::TooSmall { path, given, least });
        }
        let failed = |source| SqliteError::Database { what: "open", path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(BUSY_MAX).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20).map_err(failed)?;
        schema::prepare(&mut connection, &path)?;
        let bounds = Bounds::new(&connection, given).map_err(failed)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags).map_err(failed)?;
        reader.busy_timeout(BUSY_MAX).map_err(failed)?;
        let writer = Mutex::new(Writer { connection, swept_at: EventTime::MIN });
        let (retention, reader) = (config.retention, Mutex::new(reader));
        Ok(SqliteStore {
            inner: Arc::new(Inner { path, bounds, retention, clock, writer, reader }),
        })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// How many bytes of the file are in use.
    ///
    /// # Errors
    /// [`SqliteError`] when the database does not answer.
    pub fn used_bytes(&self) -> Result<u64, SqliteError> {
        self.read("measure", bounds::used_bytes)
    }

    /// Reads on the reading connection. Blocks.
    pub(super) fn read<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteError> {
        let connection = self.inner.reader.lock().map_err(|_| self.gone())?;
        read(&connection).map_err(|source| self.failed(what, source))
    }

    /// Writes in one transaction on a thread for blocking work, then keeps the bounds.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SqliteError> {
        let store = self.clone();
        let task = tokio::task::spawn_blocking(move || store.write_now(write));
        task.await.map_err(|_| self.gone())?
    }

    fn write_now<T>(
        &self,
        write: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteError> {
        let inner = &*self.inner;
        let mut writer = inner.writer.lock().map_err(|_| self.gone())?;
        let attempt = |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = write(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let mut outcome = attempt(&mut writer.connection);
        if is_full(&outcome) {
            // Either the file has reached its bound or the disk is full: both are helped by room inside.
            let room = inner.bounds.make_room(&mut writer.connection, Keep::Third);
            room.map_err(|source| self.failed("make room in", source))?;
            outcome = attempt(&mut writer.connection);
            if is_full(&outcome) && self.fits_without_bound(&mut writer.connection, &write) {
                return Err(SqliteError::BatchTooLarge { path: inner.path.clone() });
            }
        }
        let value = outcome.map_err(|source| self.failed("write to", source))?;
        self.keep_bounds(&mut writer)
            .map_err(|source| self.failed("delete old data from", source))?;
        Ok(value)
    }

    /// Whether a write that found no room would find it in a file without a bound: if so the batch is at
    /// fault, if not the disk. Two thirds of the store are free here, more than SQLite keeps in memory,
    /// so the attempt reaches the disk; it is taken back.
    fn fits_without_bound<T>(
        &self,
        connection: &mut Connection,
        write: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> bool {
        let attempt = self.inner.bounds.lifted(connection, |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            write(&transaction)?;
            transaction.rollback()
        });
        attempt.is_ok()
    }

    fn keep_bounds(&self, writer: &mut Writer) -> rusqlite::Result<()> {
        let inner = &*self.inner;
        let now = inner.clock.now();
        if now.since(writer.swept_at) >= SWEEP_EVERY {
            let cut = now.saturating_sub(inner.retention.get());
            bounds::delete_before(&mut writer.connection, cut.as_millis())?;
            writer.swept_at = now;
        }
        if inner.bounds.is_near(&writer.connection)? {
            inner.bounds.make_room(&mut writer.connection, Keep::Most)?;
        }
        Ok(())
    }

    fn failed(&self, what: &'static str, source: rusqlite::Error) -> SqliteError {
        SqliteError::Database { what, path: self.inner.path.clone(), source }
    }

    fn gone(&self) -> SqliteError {
        SqliteError::Gone { path: self.inner.path.clone() }
    }
}

fn is_full<T>(outcome: &rusqlite::Result<T>) -> bool {
    let code = outcome.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
    code == Some(ErrorCode::DiskFull)
}
