//! Dead letters: what cannot be processed, kept with its reason and its origin.

use serde::{Deserialize, Serialize};

use crate::record::PartitionId;
use crate::time::EventTime;

/// Why a record was refused. The names are API: metrics, dead-letter headers and dashboards use them.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The value is not in any format its topic may have.
    Unparseable,
    /// The record has no value (a tombstone).
    Empty,
    /// A needed field is missing: a time, a name, a host.
    MissingField,
    /// A number is not finite or not a number.
    NotANumber,
    /// The value is larger than the codec's bound.
    TooLarge,
    /// Before the epoch, or beyond the year 9999.
    TimeOutOfRange,
    /// The event time lies beyond `future_tolerance`.
    Future,
    /// Later than its last window's end and `allowed_lateness`.
    Late,
    /// The series table is full.
    SeriesLimit,
    /// A store or channel refused it for good.
    Rejected,
    /// Reading it has ended the process twice: it is passed over unread.
    Poison,
}

impl Reason {
    /// Every reason, for metrics that are there before the first dead letter.
    pub const ALL: [Reason; 11] = [
        Reason::Unparseable,
        Reason::Empty,
        Reason::MissingField,
        Reason::NotANumber,
        Reason::TooLarge,
        Reason::TimeOutOfRange,
        Reason::Future,
        Reason::Late,
        Reason::SeriesLimit,
        Reason::Rejected,
        Reason::Poison,
    ];

    /// Its place in [`Reason::ALL`].
    pub fn index(self) -> usize {
        Reason::ALL.iter().position(|reason| *reason == self).unwrap_or(0)
    }

    /// The reason as metrics and headers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unparseable => "unparseable",
            Reason::Empty => "empty",
            Reason::MissingField => "missing_field",
            Reason::NotANumber => "not_a_number",
            Reason::TooLarge => "too_large",
            Reason::TimeOutOfRange => "time_out_of_range",
            Reason::Future => "future",
            Reason::Late => "late",
            Reason::SeriesLimit => "series_limit",
            Reason::Rejected => "rejected",
            Reason::Poison => "poison",
        }
    }
}

/// Why a codec refused a record: a reason for machines and a detail for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", reason.as_str())]
pub struct Malformed {
    /// The kind of fault.
    pub reason: Reason,
    /// What exactly, at most a few hundred bytes; never the whole value.
    pub detail: Box<str>,
}

impl Malformed {
    /// A fault with its detail, cut at 300 bytes.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if detail.len() > 300 {
            let cut = (0..=300).rev().find(|i| detail.is_char_boundary(*i)).unwrap_or(0);
            detail.truncate(cut);
        }
        Malformed { reason, detail: detail.into() }
    }
}

/// A refused record. Keyed by its origin, so that writing it twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Partition the record was read from.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: i64,
    /// Which topic of its name it was read from; see [`Generation`](crate::ingest::Generation).
    pub generation: u32,
    /// Why it was refused.
    pub reason: Reason,
    /// What exactly.
    pub detail: Box<str>,
    /// The record's key, if any.
    pub key: Option<Box<[u8]>>,
    /// The record's value; empty for a late sample, whose record was otherwise used.
    pub value: Box<[u8]>,
    /// The event time, where one was read.
    pub event_time: Option<EventTime>,
}
