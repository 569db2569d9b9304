//! One number or percentage per record, keyed by host: `server-1` → `85%`.
//!
//! # Grammar
//!
//! ```text
//! value    = [space] ["\""] [space] number [space] ["%"] [space] ["\""] [space]
//! number   = ["+" | "-"] (digit+ ["." digit*] | "." digit+) [("e" | "E") ["+" | "-"] digit+]
//! ```
//!
//! The quotes come in pairs or not at all; serializers that write JSON add them.
//!
//! # What it means
//!
//! One point of the measurement and field that the source names, with the record's key as its one label
//! (`host`, unless the source says otherwise), at Kafka's timestamp. `85`, `85%` and `85.0 %` are the same.
//!
//! # What is refused
//!
//! A record without key (`missing_field`) or without timestamp (`missing_field`), a key that is not UTF-8
//! (`unparseable`), anything that is no number (`not_a_number`), also when it is too large for a float.

use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, Point};
use tidewatch_dataflow::series::SeriesTable;

use super::fields::FieldCache;
use super::{Decode, Input, SourceFormat, check_labels, column_end, excerpt, table_full};

/// No number that means anything is longer; a float has at most 17 significant digits.
const LENGTH_MAX: usize = 64;

/// The codec; see the module.
pub(super) struct Value {
    names: FieldCache,
    measurement: Box<str>,
    field: Box<str>,
    key_label: Box<str>,
}

impl Value {
    pub(super) fn new(source: &SourceFormat) -> Self {
        Value {
            names: FieldCache::default(),
            measurement: source.measurement.clone(),
            field: source.field.clone(),
            key_label: source.key_label.clone(),
        }
    }
}

impl Decode for Value {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let Some(number) = number(input.value) else {
            return Err(Malformed::new(
                Reason::NotANumber,
                format!("{} is neither a number nor a percentage", excerpt(input.value, 0)),
            ));
        };
        if !number.is_finite() {
            return Err(Malformed::new(
                Reason::NotANumber,
                format!("{} is too large for a number", excerpt(input.value, 0)),
            ));
        }
        let Some(key) = input.key_text()? else {
            return Err(Malformed::new(
                Reason::MissingField,
                format!("no key: the key of the record is the `{}` it belongs to", self.key_label),
            ));
        };
        let event_time = input.record_time()?;
        let mut labels = [(&*self.key_label, key)];
        check_labels(&self.measurement, &labels)?;
        let id = series.intern(&self.measurement, &mut labels).map_err(table_full)?;
        let field = self.names.id(&self.field, series).map_err(table_full)?;
        let start = column_end(out.values.len());
        out.values.push((field, number));
        out.points.push(Point {
            series: id,
            event_time,
            admission_time: event_time,
            unread: 0,
            offset: input.record.offset,
            values: start..column_end(out.values.len()),
        });
        Ok(())
    }
}

/// Whether a record with this value is taken as a number or a percentage.
///
/// ```
/// use tidewatch_connectors::codec::value::is_value;
/// assert!(is_value(b"85%") && is_value(b"-1.5e3"));
/// assert!(!is_value(b"85 apples") && !is_value(b"1e999"));
/// ```
pub fn is_value(bytes: &[u8]) -> bool {
    number(bytes).is_some_and(f64::is_finite)
}

/// The number that the whole of `bytes` spells, infinite when it is too large; `None` when it is none.
pub(super) fn number(bytes: &[u8]) -> Option<f64> {
    let mut bytes = bytes.trim_ascii();
    if let Some(inside) = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
        bytes = inside.trim_ascii();
    }
    let digits = bytes.strip_suffix(b"%").map_or(bytes, <[u8]>::trim_ascii_end);
    // The standard library also reads `inf` and `nan`, which nobody should write.
    let spelled =
        digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if !spelled || digits.len() > LENGTH_MAX {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
