//! What is found out of some records ahead of their turn: their times, and where their identities probably begin.
//!
//! Both are at the end of a record, so the fields need not be read for it. An identity begins with the last brace
//! but one; where a label has a brace this is wrong, which is seen when the fields have been read.

use smallvec::SmallVec;
use tidewatch_dataflow::record::Record;

use super::super::super::AHEAD;
use super::identity::{Identities, LINE};
use super::learn::end_of_time;
use super::number::trailing;

/// Fewer bytes of identities than this stay in a processor's second cache, and looking ahead would cost more than it
/// saves. Tests look ahead from the first one on.
const FAR: usize = if cfg!(any(test, fuzzing)) { 1 } else { 1 << 20 };

/// What stands between tags and time.
const BEFORE_TIME: &[u8] = b"},\"timestamp\":";

/// So many lines of a record are brought, from its end on: most records have five.
const LINES_MAX: usize = 8;

/// Brings `records` out of the cache of the core that received them. A processor waits for many lines of memory
/// together where nothing is made of one before the next is asked for.
fn bring(records: &[Record<'_>]) {
    let mut sum = 0;
    for value in records.iter().filter_map(|record| record.value) {
        for line in value.rchunks(LINE).take(LINES_MAX) {
            sum ^= line.first().copied().unwrap_or_default();
        }
    }
    // Otherwise nothing would be read, since nobody wants to know it.
    std::hint::black_box(sum);
}

/// The end of one record.
#[derive(Copy, Clone)]
pub(super) struct Tail {
    /// The number of the time.
    pub(super) time: u64,
    /// Where this number begins, and the identity ends.
    pub(super) time_at: usize,
}

impl Tail {
    /// The tail of `value`, if it ends with a number and a brace.
    #[inline]
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        let (time, time_at) = trailing(value, end_of_time(value)?)?;
        Some(Tail { time, time_at })
    }

    /// Where the identity probably begins.
    #[inline]
    fn identity_at(self, value: &[u8]) -> Option<usize> {
        let tags = value.get(..self.time_at)?.strip_suffix(BEFORE_TIME)?;
        memchr::memrchr(b'}', tags)
    }
}

/// What is known of the record at an offset.
struct Known {
    offset: i64,
    length: usize,
    tail: Tail,
    identity_at: usize,
    hash: u64,
}

/// The records whose turn comes, in order of their offsets.
#[derive(Default)]
pub(super) struct Ahead {
    known: SmallVec<[Known; AHEAD]>,
    next: usize,
}

impl Ahead {
    /// Looks at `records`, [`AHEAD`] at most, in place of those before, if that helps.
    pub(super) fn look(&mut self, records: &[Record<'_>], identities: &Identities) {
        let of = |record: &Record<'_>| {
            let value = record.value?;
            let tail = Tail::of(value)?;
            let identity_at = tail.identity_at(value)?;
            let hash = identities.hash(value.get(identity_at..tail.time_at)?);
            let (offset, length) = (record.offset, value.len());
            Some(Known { offset, length, tail, identity_at, hash })
        };
        self.known.clear();
        self.next = 0;
        if identities.bytes() < FAR {
            return;
        }
        bring(records);
        self.known.extend(records.iter().filter_map(of));
        identities.touch(self.known.iter().map(|known| known.hash));
    }

    /// The tail of the record `value` at `offset`, and the hash of what follows some byte of it, if it was looked at.
    #[inline]
    pub(super) fn of(&mut self, value: &[u8], offset: i64) -> Option<(Tail, usize, u64)> {
        loop {
            let known = self.known.get(self.next)?;
            if known.offset > offset {
                return None;
            }
            self.next += 1;
            if known.offset == offset && known.length == value.len() {
                return Some((known.tail, known.identity_at, known.hash));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflow::record::RecordTime;
    use tidewatch_dataflow::series::SeriesId;

    use super::*;

    #[test]
    fn tails_are_known_in_order_of_offsets() {
        let value = |tag: &str, time: u64| {
            format!(
                r#"{{"fields":{{"a":1}},"name":"m","tags":{{"host":"{tag}"}},"timestamp":{time}}}"#
            )
        };
        let values = [value("x", 17), "{}".to_owned(), value("y}", 18), value("z", 19)];
        let records: Vec<_> = (10..)
            .zip(&values)
            .map(|(offset, value)| Record {
                offset,
                time: RecordTime::Unknown,
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            })
            .collect();
        let (mut ahead, mut identities) = (Ahead::default(), Identities::default());
        ahead.look(&records, &identities);
        assert!(ahead.of(values[0].as_bytes(), 10).is_none(), "nothing is far away");
        identities.insert(b"some", SeriesId(1));
        ahead.look(&records, &identities);
        let mut times = Vec::new();
        for (offset, value) in (10..).zip(&values) {
            let known = ahead.of(value.as_bytes(), offset);
            times.push(known.map(|(tail, at, hash)| {
                let identity = &value.as_bytes()[at..tail.time_at];
                assert_eq!(hash, identities.hash(identity));
                (tail.time, identity.starts_with(b"},\"name\":\"m\""))
            }));
        }
        assert_eq!(times, [Some((17, true)), None, Some((18, false)), Some((19, true))]);
        ahead.look(&records, &identities);
        assert!(ahead.of(values[0].as_bytes(), 11).is_none(), "another offset");
        assert!(ahead.of(values[0].as_bytes(), 12).is_none(), "another length");
        assert!(ahead.of(values[3].as_bytes(), 13).is_some());
    }
}
