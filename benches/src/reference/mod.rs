//! The exact answers to the benchmark's four queries, found in a slow and obvious way, and what other
//! answers lack.
//!
//! Nothing here is shared with the engine that is measured: every accepted record is folded into cells of
//! ten seconds, and every window is put together from its cells once all records are there.
//!
//! ```text
//! generator ─┐                ┌─ lateness ─┐
//!            ├─► observations ┤            ├─► cells, samples ──► Reference ──► q1.csv .. q4.csv
//! files ─────┘                └─ is it as  ┘                          ▲
//!                                labelled?              compare() ────┴── answers of an engine
//! ```
//!
//! # Which records count
//! The watermark of a partition is the newest event time read from it less [`BOUND_MS`]. A record behind it is
//! refused. The reference fails, rather than give answers, when that is not what the label of a record says,
//! or when a refused record belongs to a window that might still be open.
//!
//! # Precision
//! A mean is a sum of at most 300 x 3 numbers of one sign, divided once: its relative error is below 1e-12, a
//! thousandth of what [`compare()`] allows.
//!
//! # Bounds
//! For each row of an answer about 100 bytes, for each CPU sample 16: 350 MB for ten million messages.
//!
//! ```
//! use tidewatch::generate::{Options, Workload};
//! use tidewatch_benches::reference::{Query, Reference, compare};
//!
//! let workload = Workload::new(Options { hosts: 50, ..Options::new(1, 3_000) })?;
//! let reference = Reference::of_workload(&workload)?;
//! let folder = tempfile::tempdir()?;
//! reference.write(folder.path())?;
//! let verdict = compare(folder.path(), &reference, &Query::ALL, false)?;
//! assert_eq!(verdict.to_string(), "ok");
//!
//! std::fs::remove_file(folder.path().join("q2.csv"))?;
//! let verdict = compare(folder.path(), &reference, &Query::ALL, false)?;
//! // Twenty seconds of 50 hosts.
//! assert_eq!(verdict.to_string(), "wrong(q2: 100 missing)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compare;
mod fold;
mod input;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tidewatch::generate::{OptionsError, Topic};

pub use compare::{Faults, Verdict, compare, compare_totals};
pub use rows::{Count, MeanMax, Statistics};

/// How far the watermark of a partition stays behind its newest record.
pub const BOUND_MS: u64 = 5_000;
/// The cells of the reference, the windows of Q1, and the slide of all others.
pub const CELL_MS: u64 = 10_000;
/// The windows of Q2.
pub const MEAN_WINDOW_MS: u64 = 300_000;
/// The windows of Q4.
pub const ERROR_WINDOW_MS: u64 = 60_000;
/// Q3 is about hosts above this many percent.
pub const ABOVE: f64 = 90.0;
/// Q3 is about hosts whose samples are above for longer than this.
pub const SUSTAINED_MS: u64 = 300_000;

/// One of the benchmark's questions.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// Count, mean, least and greatest of cpu, mem and disk of every host in every ten seconds.
    Q1,
    /// Mean and greatest cpu of every host over five minutes, every ten seconds.
    Q2,
    /// Hosts whose cpu is above 90 % for more than 300 seconds.
    Q3,
    /// ERROR lines of every service over a minute, every ten seconds, where there are more than a threshold.
    Q4,
}

impl Query {
    /// All four.
    pub const ALL: [Query; 4] = [Query::Q1, Query::Q2, Query::Q3, Query::Q4];

    /// `q1` to `q4`, as command lines and files name them.
    pub fn as_str(self) -> &'static str {
        match self {
            Query::Q1 => "q1",
            Query::Q2 => "q2",
            Query::Q3 => "q3",
            Query::Q4 => "q4",
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Query {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Query::ALL.into_iter().find(|query| query.as_str() == text);
        found.ok_or_else(|| "there is no such query: name q1, q2, q3 or q4".to_owned())
    }
}

/// The name of a host or service.
pub type Name = Arc<str>;

/// The exact answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// Event time of the first second.
    pub start_ms: u64,
    /// When the last second is over. Windows that end later have no answer here, and are not compared.
    pub end_ms: u64,
    /// By the window's end, measurement and host.
    pub q1: BTreeMap<(u64, &'static str, Name), Statistics>,
    /// By the window's end and host.
    pub q2: BTreeMap<(u64, Name), MeanMax>,
    /// Spans above 90 % of more than 300 s by host: event times of the first and the last sample.
    pub q3: BTreeMap<Name, Vec<(u64, u64)>>,
    /// By the window's end and service.
    pub q4: BTreeMap<(u64, Name), Count>,
    /// How many records of each measurement were read, those included that were refused, without end marks.
    pub metrics: BTreeMap<&'static str, u64>,
    /// How many records were refused because they were late.
    pub refused: u64,
}

/// Why there is no reference.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// There is no such workload.
    #[error("there is no such workload")]
    Options(#[from] OptionsError),
    /// A file cannot be read or written.
    #[error("could not {what} `{}`", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of a file is not what the generator writes.
    #[error("line {line} of `{}` {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A record's lateness is not as labelled, or a late one might still have found its window open.
    #[error(
        "record {record} of partition {partition} of {} is {behind_ms} ms behind the newest, which is {reason}",
        topic.name()
    )]
    Lateness {
        /// The topic of the record.
        topic: Topic,
        /// Its partition.
        partition: u32,
        /// Its number in the partition, from 0.
        record: u64,
        /// How far it is behind the newest event time.
        behind_ms: u64,
        /// What is wrong with that.
        reason: &'static str,
    },
}

impl ReferenceError {
    fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| ReferenceError::File { what, path, source }
    }
}
