//! The embedded store: metrics, searchable log lines and the history of alerts in one SQLite file, for
//! when there is no InfluxDB and no Elasticsearch.
//!
//! ```text
//!  SqliteMetrics ─┐                                  ┌─► series of a chart
//!  SqliteLogs ────┼─► one writing connection ► file ─┼─► log search, log rate
//!  SqliteTransitions ┘   (a transaction per batch)   └─► history of alerts      (a reading connection)
//! ```
//!
//! # What it holds
//!
//! | table | a row is | identity | written twice |
//! | --- | --- | --- | --- |
//! | `series`, `point` | a [`MetricPoint`] | measurement, labels, time | the later one replaces the earlier |
//! | `topic`, `log`, `log_text` | a [`LogLine`] | topic's name, partition, offset, index | ignored |
//! | `transition` | a [`Transition`] | [`Transition::id`] | ignored |
//!
//! `metric` is a view of points with their series' names, for people with an SQLite shell; numbers are
//! kept as JSON, `fields ->> 'mean'`. `log_text` is a full-text index (FTS5) over message, host and service.
//!
//! # Delivery guarantee
//!
//! A batch that was accepted is on disk (write-ahead log, synchronous at every commit): at least once,
//! and by the identities above in effect once.
//!
//! # Bounds
//!
//! What is older than `retention` by the wall clock is deleted, at most a minute late. The file never
//! grows beyond `max_size`: from 80 % on the oldest of everything goes first, until 70 % are left. The
//! write-ahead log beside it takes 4 MiB and the largest batch. Freed pages are used again; the file does
//! not shrink.
//!
//! # Errors
//!
//! A locked database or a failed write is transient. A file that is damaged, read-only, of another
//! program or of another schema version needs a person. A batch larger than the whole store is refused.
//!
//! [`MetricPoint`]: tidewatch_dataflow::metric::MetricPoint
//! [`LogLine`]: tidewatch_dataflow::record::LogLine
//! [`Transition`]: tidewatch_dataflow::alert::Transition
//! [`Transition::id`]: tidewatch_dataflow::alert::Transition::id

mod archive;
mod bounds;
mod config;
mod error;
mod query;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod writers;

pub use archive::{Scope, SqliteArchive, StoredPoint};
pub use config::SqliteConfig;
pub use error::SqliteError;
pub use query::{LogCount, LogQuery, SeriesQuery, StoredIncident, StoredLine};
pub use store::SqliteStore;
pub use writers::{SqliteLogs, SqliteMetrics, SqliteTransitions};
