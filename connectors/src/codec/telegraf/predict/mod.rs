//! Shape prediction: a message that looks like earlier ones is compared with them, and only its numbers
//! are read.
//!
//! Telegraf writes all messages of a series alike, but for the numbers:
//!
//! ```text
//! {"fields":{"usage_idle":98.2,"usage_user":0.9},"name":"cpu","tags":{"host":"a"},"timestamp":1795375196000}
//!             `----------'      `----------'   `---------------------------------------------'
//!                 tree              tree                         identity
//! ```
//!
//! - The [`tree`] knows which field may follow which, as bytes, and its number in the series table.
//! - An [`identity`] is the bytes from the end of the fields to the time, and stands for one series.
//! - Some records are looked at [`ahead`] of their turn, so that the identities of a large fleet, which no cache
//!   holds, are not waited for one by one.
//!
//! A number whose field [nobody asks for](SeriesTable::only_fields) is looked at as far as its grammar needs, and
//! counted.
//!
//! Whatever differs in one byte from what is known, and every [`number`] that is not surely
//! read, is left to `serde_json`, which is the definition of the meaning.
//! What it read is what is [learned](learn::lesson), if it has this form.
//!
//! # Why this is right
//!
//! Both parts are taken from records that `serde_json` accepted, cut at places where JSON has a whole
//! member, so each tree path followed by an identity is a metric that `serde_json` accepts as well:
//!
//! - No field name is repeated: a path is a beginning of the fields of one record that repeated none.
//! - A number has JSON's grammar and is correctly rounded, as with the feature `float_roundtrip`.
//! - The members are `fields`, `name`, `tags` and `timestamp`, each once, so none overrules another.
//! - Name and tags alone decide the series, and equal bytes are equal names and tags.
//! - The bytes are UTF-8: constants have been read as such, all else is ASCII.
//! - Numbers of series and fields are those of one [table](SeriesTable::identity); given another one,
//!   everything is forgotten.
//!
//! # Bounds
//!
//! The tree and the identities are bounded where they are defined, by [`tree::EDGES_MAX`] and
//! [`identity::COUNT_MAX`] and [`identity::BYTES_MAX`]. What is full is emptied and learns anew, so labels
//! that never repeat cost memory up to the bound, and each series in use one reading through `serde_json`
//! for every million of them. Learning takes time too: each predicted record pays for one that is learned from,
//! up to [`CREDIT_MAX`] in advance, and without credit only one in [`ONE_IN`] is.

mod ahead;
mod decimal;
mod identity;
mod learn;
mod number;
#[cfg(test)]
mod tests;
mod tree;
mod words;

use smallvec::SmallVec;
use tidewatch_dataflow::record::{Decoded, Point, Record};
use tidewatch_dataflow::series::{SeriesTable, TableIdentity};

use super::super::{column_end, time};
use ahead::{Ahead, Tail};
use identity::Identities;
use learn::Value;
use tree::{Kind, Place, Tree};

/// So many records in a row are learned from though none is predicted: each costs half as much again as to parse
/// it. A larger fleet takes some rounds to be known.
const CREDIT_MAX: u32 = 65_536;
/// Beyond that one in so many is learned from, which is hardly to be noticed.
const ONE_IN: u32 = 8;

/// How every record begins that can be predicted.
const BEGIN: &[u8] = b"{\"fields\":{\"";
/// What stands between a field and the next one.
const NEXT: &[u8] = b",\"";

/// What was learned from one series table.
pub(super) struct Predictor {
    table: Option<TableIdentity>,
    tree: Tree,
    identities: Identities,
    ahead: Ahead,
    /// How many records may be learned from before one is predicted.
    credit: u32,
    /// Without credit: how many were not learned from since the last that was.
    passed: u32,
}

impl Default for Predictor {
    fn default() -> Self {
        Predictor {
            table: None,
            tree: Tree::default(),
            identities: Identities::default(),
            ahead: Ahead::default(),
            credit: CREDIT_MAX,
            passed: 0,
        }
    }
}

impl Predictor {
    /// Says which records come next. What is read is the same without it.
    pub(super) fn look_ahead(&mut self, records: &[Record<'_>]) {
        self.ahead.look(records, &self.identities);
    }

    /// Reads the record `value` at `offset` if it is as expected. If not, `out` is as it was.
    #[inline]
    pub(super) fn read(
        &mut self,
        value: &[u8],
        offset: i64,
        series: &SeriesTable,
        out: &mut Decoded,
    ) -> bool {
        if self.table != Some(series.identity()) {
            return false;
        }
        let start = out.values.len();
        let known = self.ahead.of(value, offset);
        match self.point(value, offset, known, start, out) {
            Some(point) => {
                out.points.push(point);
                self.credit = CREDIT_MAX.min(self.credit + 1);
                true
            }
            None => {
                out.values.truncate(start);
                false
            }
        }
    }

    /// Learns from the record `value`, of which `serde_json` made `point`, and nothing else.
    #[cold]
    pub(super) fn learn(
        &mut self,
        value: &[u8],
        point: &Point,
        series: &SeriesTable,
        out: &Decoded,
    ) {
        match self.credit.checked_sub(1) {
            Some(rest) => self.credit = rest,
            None => {
                self.passed = (self.passed + 1) % ONE_IN;
                if self.passed != 0 {
                    return;
                }
            }
        }
        if self.table != Some(series.identity()) {
            self.tree.clear();
            self.identities.clear();
            self.table = Some(series.identity());
        }
        let Some(lesson) = learn::lesson(value) else { return };
        let mut numbers = out.values_of(point).iter().map(|(field, _)| *field);
        let with_fields = lesson.fields.iter().map(|(name, value)| {
            let kind = match value {
                Value::Number => match numbers.next()? {
                    field if series.is_wanted(field) => Kind::Number(field),
                    _ => Kind::Unread,
                },
                Value::Flag => Kind::Flag(numbers.next()?),
                Value::Text => Kind::Text,
                Value::Null => Kind::Null,
            };
            Some((*name, kind))
        });
        // Fewer numbers than fields: one is repeated.
        let fields: Option<SmallVec<[_; 16]>> = with_fields.collect();
        let Some(fields) = fields.filter(|_| numbers.next().is_none()) else { return };
        self.tree.insert(&fields);
        self.identities.insert(lesson.identity, point.series);
    }

    #[inline]
    fn point(
        &self,
        value: &[u8],
        offset: i64,
        known: Option<(Tail, usize, u64)>,
        start: usize,
        out: &mut Decoded,
    ) -> Option<Point> {
        let mut text = value.strip_prefix(BEGIN)?;
        let tail = match known {
            Some((tail, ..)) => tail,
            None => Tail::of(value)?,
        };
        let (mut place, mut unread) = (Place::ROOT, 0);
        loop {
            let edge = self.tree.follow(place, text)?;
            text = text.get(edge.length()..)?;
            let length = match edge.kind() {
                Kind::Number(field) => {
                    let (number, length) = number::leading(text)?;
                    out.values.push((field, number));
                    length
                }
                Kind::Unread => {
                    unread += 1;
                    number::length(text)?
                }
                Kind::Flag(field) => {
                    let (yes, length) = number::flag(text)?;
                    out.values.push((field, f64::from(u8::from(yes))));
                    length
                }
                Kind::Text => learn::plain_text(text)?,
                Kind::Null => text.starts_with(b"null").then_some(4)?,
            };
            text = text.get(length..)?;
            match text.strip_prefix(NEXT) {
                Some(next) => (text, place) = (next, edge.after()),
                None => break,
            }
        }
        if out.values.len() == start && unread == 0 {
            return None;
        }
        let identity_at = value.len() - text.len();
        let identity = value.get(identity_at..tail.time_at)?;
        let hash = match known {
            Some((_, at, hash)) if at == identity_at => hash,
            _ => self.identities.hash(identity),
        };
        let series = self.identities.find(identity, hash)?;
        let event_time = time::from_integer(tail.time);
        Some(Point {
            series,
            event_time,
            admission_time: event_time,
            offset,
            values: column_end(start)..column_end(out.values.len()),
            unread,
        })
    }
}
