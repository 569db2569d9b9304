//! InfluxDB's line protocol: one line of text for each point.
//!
//! ```text
//! measurement,tag=value,tag=value field=1.0,field=2.5 1795376400000
//! ```
//! Numbers are always floats (`1.0`, never `1i`): a field whose type flips is refused by the store, and
//! JSON producers drop the difference. Times are in milliseconds.
//!
//! # What the format cannot say
//! Commas, spaces and equal signs are escaped by a backslash, which itself has no escape. So a name or
//! value is changed before it is written:
//! - backslashes at its end, or directly before a character that is escaped, are dropped (the store's
//!   readers disagree about what `\\,` means, and one of them would take a line break for text); in the
//!   name of a measurement or field also those before a `"` (the store answers 204 and loses the point);
//! - tab, line feed, form feed and carriage return become `\t`, `\n`, `\f`, `\r`, two characters each.
//!
//! A label without a name or a value is left out (the store refuses empty ones). A point without a
//! measurement, with one that begins with `#` (the store would take the line for a comment and drop it
//! silently), without any finite field, or with a time that the store cannot hold, is not written and
//! has a [`Unwritable`] instead.

use std::fmt::Write as _;

use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::metric::MetricPoint;

/// The store counts nanoseconds in 64 bits and keeps the last few for itself: the year 2262.
const TIME_MILLIS_MAX: u64 = 9_223_372_036_854;

/// Why a point cannot be written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// The kind of fault.
    pub reason: Reason,
    /// What exactly.
    pub detail: &'static str,
}

/// Appends the line of `point` to `out`, line break included, or nothing.
///
/// ```
/// use std::sync::Arc;
/// use tidewatch_connectors::sinks::influxdb::line_protocol::encode;
/// use tidewatch_dataflow::{metric::MetricPoint, series::Labels, time::EventTime};
///
/// let point = MetricPoint {
///     measurement: "cpu".into(),
///     labels: Labels::from_pairs([("host", "web 1"), ("window", "10s")]),
///     time: EventTime::from_millis(1_795_376_400_000),
///     fields: [("mean", 97.25), ("count", 60.0)].into_iter().collect(),
///     is_correction: false,
/// };
/// let mut lines = String::new();
/// encode(&point, &mut lines).unwrap();
/// assert_eq!(lines, "cpu,host=web\\ 1,window=10s mean=97.25,count=60.0 1795376400000\n");
/// ```
///
/// # Errors
/// [`Unwritable`], see the module's documentation.
pub fn encode(point: &MetricPoint, out: &mut String) -> Result<(), Unwritable> {
    let refuse = |reason, detail| Err(Unwritable { reason, detail });
    let start = out.len();
    escape(&point.measurement, Part::Measurement, out);
    match out.get(start..).and_then(|measurement| measurement.chars().next()) {
        Some('#') => {
            out.truncate(start);
            return refuse(Reason::Rejected, "a measurement cannot begin with `#`");
        }
        None => return refuse(Reason::MissingField, "the point has no measurement"),
        Some(_) => {}
    }
    if point.time.as_millis() > TIME_MILLIS_MAX {
        out.truncate(start);
        return refuse(Reason::TimeOutOfRange, "the time lies beyond the year 2262");
    }
    for (name, value) in point.labels.iter() {
        let pair = out.len();
        out.push(',');
        let is_named = escape(name, Part::Tag, out);
        out.push('=');
        if !escape(value, Part::Tag, out) || !is_named {
            out.truncate(pair);
        }
    }
    let mut separator = ' ';
    for (name, value) in point.fields.iter() {
        let pair = out.len();
        out.push(separator);
        if !value.is_finite() || !escape(name, Part::Field, out) {
            out.truncate(pair);
            continue;
        }
        // Rust writes the shortest digits that read back to the same number, with a point or exponent.
        let _infallible = write!(out, "={value:?}");
        separator = ',';
    }
    if separator == ' ' {
        out.truncate(start);
        return refuse(Reason::NotANumber, "the point has no finite field");
    }
    let _infallible = writeln!(out, " {}", point.time.as_millis());
    Ok(())
}

/// What a text is in its line: that decides what is escaped in it.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Part {
    Measurement,
    /// Name or value of a tag.
    Tag,
    /// Name of a field.
    Field,
}

impl Part {
    fn escapes(self, c: char) -> bool {
        matches!(c, ',' | ' ') || (c == '=' && self != Part::Measurement)
    }

    /// Whether a backslash before `c` cannot be said.
    fn drops_backslash_before(self, c: char) -> bool {
        self.escapes(c) || (c == '"' && self != Part::Tag)
    }
}

/// Appends `text` as `part` of its line; whether anything was left to append.
fn escape(text: &str, part: Part, out: &mut String) -> bool {
    let start = out.len();
    // Backslashes that wait for the character behind them.
    let mut held = 0;
    for c in text.chars() {
        if c == '\\' {
            held += 1;
            continue;
        }
        if !part.drops_backslash_before(c) {
            out.extend(std::iter::repeat_n('\\', held));
        }
        held = 0;
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if part.escapes(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.len() > start
}
