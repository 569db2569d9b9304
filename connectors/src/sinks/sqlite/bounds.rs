//! Keeps the store within its size and its age.
//!
//! ```text
//! 0 ............................ 70 % ...... 80 % ............ 95 % .. 100 % of max_size
//!                                  ◄─ make room ─┘              │        │
//!                    an ordinary write is stopped by SQLite here┘        │
//!                    deleting may use that much (it writes index pages) ─┘
//! ```

use rusqlite::{Connection, OptionalExtension as _, params};

/// Rows deleted in one transaction, so that the write-ahead log stays small and readers get through.
const CHUNK: usize = 5_000;

/// Old data go in tenths of the time that the store covers.
const TENTHS: u64 = 10;

/// Each round deletes at least the oldest tenth of what is there, so that 100 rounds leave less than
/// 0.9^100, a 38,000th.
const ROUNDS: usize = 100;

/// How much of a full store is kept.
#[derive(Copy, Clone, Debug)]
pub(super) enum Keep {
    /// 70 % of `max_size`.
    Most,
    /// 35 %: when not even one batch fits any more.
    Third,
}

/// The size bound in pages.
#[derive(Copy, Clone, Debug)]
pub(super) struct Bounds {
    pages: u64,
}

impl Bounds {
    /// At most `bytes`, in pages of `connection`'s size; sets the bound for ordinary writes.
    pub(super) fn new(connection: &Connection, bytes: u64) -> rusqlite::Result<Self> {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let bounds = Bounds { pages: bytes / page.max(1) };
        bounds.limit(connection, 95)?;
        Ok(bounds)
    }

    fn limit(self, connection: &Connection, percent: u64) -> rusqlite::Result<()> {
        let pages = self.pages * percent / 100;
        // The pragma answers with the bound in force: never below the present size of the file.
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    }

    /// Whether it is time to make room.
    pub(super) fn is_near(self, connection: &Connection) -> rusqlite::Result<bool> {
        Ok(used_pages(connection)? > self.pages * 80 / 100)
    }

    /// Deletes the oldest of everything until only what is to be kept is left.
    pub(super) fn make_room(self, connection: &mut Connection, keep: Keep) -> rusqlite::Result<()> {
        let percent = match keep {
            Keep::Most => 70,
            Keep::Third => 35,
        };
        self.limit(connection, 100)?;
        let made = self.make_room_within(connection, percent);
        self.limit(connection, 95)?;
        made
    }

    /// Does `work` while the file may grow without bound.
    pub(super) fn lifted<T>(
        self,
        connection: &mut Connection,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.limit(connection, 100_000)?;
        let done = work(connection);
        self.limit(connection, 95)?;
        done
    }

    fn make_room_within(self, connection: &mut Connection, percent: u64) -> rusqlite::Result<()> {
        for _ in 0..ROUNDS {
            if used_pages(connection)? <= self.pages * percent / 100 {
                break;
            }
            let Some((oldest, newest)) = span(connection)? else { break };
            let cut = oldest + (newest - oldest) / TENTHS + 1;
            tracing::info!(cut, "the store is near its `max_size`, the oldest data are deleted");
            delete_before(connection, cut)?;
        }
        Ok(())
    }
}

/// Bytes of the file that hold data.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(used_pages(connection)? * pragma(connection, "page_size")?)
}

fn used_pages(connection: &Connection) -> rusqlite::Result<u64> {
    let free = pragma(connection, "freelist_count")?;
    Ok(pragma(connection, "page_count")?.saturating_sub(free))
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// The oldest and the newest time of anything in the store.
fn span(connection: &Connection) -> rusqlite::Result<Option<(u64, u64)>> {
    let mut whole: Option<(u64, u64)> = None;
    for query in [
        "SELECT min(time), max(time) FROM log",
        "SELECT min(decided_at), max(decided_at) FROM transition",
        "SELECT min((SELECT min(time) FROM point WHERE series = series.id)),
                max((SELECT max(time) FROM point WHERE series = series.id)) FROM series",
    ] {
        let part: (Option<u64>, Option<u64>) =
            connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let (Some(oldest), Some(newest)) = part {
            let (low, high) = whole.unwrap_or((oldest, newest));
            whole = Some((low.min(oldest), high.max(newest)));
        }
    }
    Ok(whole)
}

/// Deletes everything with a time before `cut`, and series that have no points left.
pub(super) fn delete_before(connection: &mut Connection, cut: u64) -> rusqlite::Result<()> {
    let logs = "DELETE FROM log WHERE id IN
                (SELECT id FROM log WHERE time < ?1 ORDER BY time LIMIT ?2)";
    while connection.prepare_cached(logs)?.execute(params![cut, CHUNK])? == CHUNK {}
    connection.prepare_cached("DELETE FROM transition WHERE decided_at < ?1")?.execute([cut])?;
    let mut last = -1_i64;
    loop {
        // Series by series: points are stored in that order.
        let next: Option<i64> = connection
            .prepare_cached("SELECT min(id) FROM series WHERE id > ?1")?
            .query_row([last], |row| row.get(0))
            .optional()?
            .flatten();
        let Some(series) = next else { break };
        last = series;
        let transaction = connection.transaction()?;
        let old = "DELETE FROM point WHERE series = ?1 AND time < ?2";
        if transaction.prepare_cached(old)?.execute(params![series, cut])? > 0 {
            let empty = "DELETE FROM series WHERE id = ?1
                         AND NOT EXISTS (SELECT 1 FROM point WHERE series = ?1)";
            transaction.prepare_cached(empty)?.execute([series])?;
        }
        transaction.commit()?;
    }
    Ok(())
}
