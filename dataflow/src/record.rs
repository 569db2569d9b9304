//! What flows in: raw records of a partition, borrowed, and what a codec makes of them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dead_letter::Malformed;
use crate::series::{FieldId, SeriesId, StableHash};
use crate::time::EventTime;

/// One partition of one topic. The topic is its index among the pipeline's topics sorted by name,
/// so the order of partitions is the same on every worker and in every run.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// Index of the topic in the pipeline's sorted list of topics.
    pub topic: u32,
    /// Partition number, as the broker counts.
    pub partition: i32,
}

/// When the broker says the record was made, and by whose clock.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RecordTime {
    /// The producer's clock: proves nothing.
    Created(EventTime),
    /// The broker's clock, at append.
    Appended(EventTime),
    /// The broker did not say.
    Unknown,
}

/// A header of a record.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a [u8],
}

/// One record, borrowed from the client's buffers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Position in its partition.
    pub offset: i64,
    /// Kafka's own timestamp.
    pub time: RecordTime,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone of a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Those of its headers that the reader was asked for, which by default is none.
    pub headers: &'a [Header<'a>],
}

impl Record<'_> {
    /// When the broker appended it, where the topic's setting makes the broker say so.
    pub fn appended(&self) -> Option<EventTime> {
        match self.time {
            RecordTime::Appended(time) => Some(time),
            RecordTime::Created(_) | RecordTime::Unknown => None,
        }
    }
}

/// A hash of a record's key and value, the same on every machine and in every version: with its offset it
/// tells whether a log is still the one that was read. A missing part and an empty one differ. Offset,
/// timestamp and headers do not count. Costs about a nanosecond for each byte, so it is for one record of a batch.
///
/// ```
/// use tidewatch_dataflow::record::{Record, RecordTime, record_hash};
/// let record = Record { offset: 7, time: RecordTime::Unknown, key: None, value: Some(b"85%"), headers: &[] };
/// assert_eq!(record_hash(&record), record_hash(&Record { offset: 8, ..record }));
/// assert_ne!(record_hash(&record), record_hash(&Record { value: Some(b"86%"), ..record }));
/// assert_ne!(record_hash(&record), record_hash(&Record { key: Some(b""), ..record }));
/// ```
pub fn record_hash(record: &Record<'_>) -> u64 {
    let mut hash = StableHash::default();
    for part in [record.key, record.value] {
        hash.write(&[u8::from(part.is_some())]);
        hash.write(part.unwrap_or_default());
    }
    hash.finish()
}

/// Consecutive records of one partition, in offset order.
#[derive(Copy, Clone, Debug)]
pub struct RecordBatch<'a> {
    /// Where they come from.
    pub partition: PartitionId,
    /// The records; offsets rise, with gaps where the log has them.
    pub records: &'a [Record<'a>],
}

/// One measurement of one series at one instant: a few numbers with one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The series it belongs to.
    pub series: SeriesId,
    /// When it was measured.
    pub event_time: EventTime,
    /// When it is applied: see [`crate::admission`]. Codecs leave it at the event time.
    pub admission_time: EventTime,
    /// Offset of the record it came in.
    pub offset: i64,
    /// Its numbers: a range of [`Decoded::values`].
    pub values: Range<u32>,
    /// How many numbers it had beside these, of fields that [nobody asks for](crate::series::SeriesTable::only_fields).
    pub unread: u32,
}

/// How serious a log line says it is. The order is the order of seriousness.
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Finest detail.
    Trace,
    /// For developers.
    Debug,
    /// Normal operation; also what a line without a level counts as.
    #[default]
    Info,
    /// Unexpected, recovered.
    Warn,
    /// Something failed.
    Error,
    /// The process cannot go on.
    Fatal,
}

impl Level {
    /// The level's name in capitals, as rules and dashboards write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Fatal => "FATAL",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A log line, ready for a store. Its identity is (generation, partition, offset, index).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Partition it was read from.
    pub partition: PartitionId,
    /// Offset of its record.
    pub offset: i64,
    /// Which line of the record, from 0.
    pub index: u32,
    /// Which topic of its name it was read from; see [`Generation`](crate::ingest::Generation). Codecs leave it
    /// at 0.
    pub generation: u32,
    /// When it was written, by its own account.
    pub event_time: EventTime,
    /// How serious.
    pub level: Level,
    /// The machine, `unknown` when the line does not say.
    pub host: Box<str>,
    /// The service, `unknown` when the line does not say.
    pub service: Box<str>,
    /// The text.
    pub message: Box<str>,
    /// Further top-level fields of a JSON line, as the text of one JSON object; empty when none.
    pub extra: Box<str>,
}

/// The measurement that log lines are counted under: labels `level`, `service`, `host`, one field
/// [`LOG_FIELD`] with the value 1 for each line.
pub const LOG_MEASUREMENT: &str = "log";
/// The one field of [`LOG_MEASUREMENT`].
pub const LOG_FIELD: &str = "lines";

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// Its offset.
    pub offset: i64,
    /// Why.
    pub why: Malformed,
}

/// What a codec made of a batch: columns, reused from batch to batch.
///
/// A record contributes all its points and lines or, if any part of it is malformed, none and one
/// entry of `rejected`. Points stand in offset order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Measurements.
    pub points: Vec<Point>,
    /// The numbers of all points, one after another.
    pub values: Vec<(FieldId, f64)>,
    /// Log lines; each also has a point under [`LOG_MEASUREMENT`].
    pub logs: Vec<LogLine>,
    /// Records that could not be decoded.
    pub rejected: Vec<Rejected>,
    /// Numbers that said that there is none (NaN, infinity, a stale marker, a null in a list of numbers), of
    /// records that were decoded otherwise.
    pub no_numbers: u64,
}

/// The most that is set aside before it is known to be needed: a mebibyte of numbers, 16 for each of 4,096 records.
const ROOM_MAX: usize = 65_536;

/// How full a [`Decoded`] was, to take back what a malformed record began, and to make room for as much again.
#[derive(Copy, Clone, Debug, Default)]
pub struct Mark {
    points: usize,
    values: usize,
    logs: usize,
    no_numbers: u64,
}

impl Decoded {
    /// Empty columns with room for what `records` records will probably give, where the `before` records before them filled
    /// columns up to `mark`: columns that grow as they are filled are copied again and again.
    ///
    /// ```
    /// use tidewatch_dataflow::record::Decoded;
    /// use tidewatch_dataflow::series::FieldId;
    ///
    /// let two = Decoded { values: vec![(FieldId(0), 1.0); 20], ..Decoded::default() };
    /// let four = Decoded::with_room(4, 2, two.mark());
    /// assert!(four.values.capacity() >= 40 && four.logs.capacity() == 0);
    /// ```
    pub fn with_room(records: usize, before: usize, mark: Mark) -> Self {
        // A sixteenth more, since no batch is like the one before.
        let room = |of: usize| {
            let share = of.saturating_mul(records).div_ceil(before.max(1));
            (share + share / 16).min(ROOM_MAX)
        };
        Decoded {
            points: Vec::with_capacity(room(mark.points)),
            values: Vec::with_capacity(room(mark.values)),
            logs: Vec::with_capacity(room(mark.logs)),
            ..Decoded::default()
        }
    }

    /// Empties all columns and keeps their memory.
    pub fn clear(&mut self) {
        self.points.clear();
        self.values.clear();
        self.logs.clear();
        self.rejected.clear();
        self.no_numbers = 0;
    }

    /// Remembers the present fill, before a record is decoded.
    pub fn mark(&self) -> Mark {
        Mark {
            points: self.points.len(),
            values: self.values.len(),
            logs: self.logs.len(),
            no_numbers: self.no_numbers,
        }
    }

    /// Takes back everything since `mark`.
    pub fn undo(&mut self, mark: Mark) {
        self.points.truncate(mark.points);
        self.values.truncate(mark.values);
        self.logs.truncate(mark.logs);
        self.no_numbers = mark.no_numbers;
    }

    /// Takes back everything since `mark` and notes the record at `offset` as rejected.
    pub fn reject(&mut self, mark: Mark, offset: i64, why: Malformed) {
        self.undo(mark);
        self.rejected.push(Rejected { offset, why });
    }

    /// The numbers of `point`.
    pub fn values_of(&self, point: &Point) -> &[(FieldId, f64)] {
        self.values.get(point.values.start as usize..point.values.end as usize).unwrap_or(&[])
    }
}

/// Names of the pipeline's topics, sorted; [`PartitionId::topic`] is an index into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics(Arc<[Box<str>]>);

impl Topics {
    /// The sorted, deduplicated list of `names`.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let sorted: std::collections::BTreeSet<Box<str>> =
            names.into_iter().map(|n| Box::from(n.as_ref())).collect();
        Topics(sorted.into_iter().collect())
    }

    /// The name of topic `index`, or `?` when there is none.
    pub fn name(&self, index: u32) -> &str {
        self.0.get(index as usize).map_or("?", AsRef::as_ref)
    }

    /// The index of topic `name`.
    pub fn index(&self, name: &str) -> Option<u32> {
        let at = self.0.binary_search_by(|t| t.as_ref().cmp(name)).ok()?;
        u32::try_from(at).ok()
    }

    /// All names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}
