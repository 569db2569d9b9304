//! InfluxDB's line protocol, as Telegraf, InfluxDB's clients and many agents write it.
//!
//! # Grammar
//!
//! ```text
//! record  = [line] (NL [line])*                       NL is "\n" or "\r\n"
//! line    = comment | point
//! comment = "#" anything but NL
//! point   = name ("," key "=" tag)* SP+ field ("," field)* [SP+ time] SP*
//! field   = key "=" value
//! value   = float | integer "i" | digit+ "u" | boolean | string
//! float   = ["+" | "-"] (digit+ ["." digit*] | "." digit+) [("e" | "E") ["+" | "-"] digit+]
//! boolean = t | T | true | True | TRUE | f | F | false | False | FALSE
//! string  = '"' (any but '"' and "\", line breaks too | '\"' | "\\" | "\" any)* '"'
//! time    = ["-"] digit+
//! ```
//!
//! In a name, a comma and a space are escaped by a backslash before them; in keys and tags also an equals
//! sign. A backslash before anything else is itself. In a string `\"` and `\\` are escapes.
//!
//! # What it means
//!
//! - A line is one point of the series (`name`, tags) at `time`, or at Kafka's timestamp when it has none.
//! - **Numbers are floats**, integers included; beyond 2^53 an integer is rounded. Booleans are 1 and 0. Strings
//!   are passed over; a line that has nothing else makes no point and is no error.
//! - The unit of `time` is what the source's `precision` says. Without one it is told by the
//!   [magnitude](super::time), which is right for all units from 1973 on.
//! - Of a repeated field the last value counts, of a repeated tag the last one.
//!
//! # What is refused
//!
//! Anything else (`unparseable`, with the byte), a number beyond the range of its type (`not_a_number`), a
//! time before 1970 or after the year 9999 (`time_out_of_range`), and whatever passes the bounds of [the
//! codecs](super) (`too_large`, `series_limit`). One bad line refuses the whole record, since its lines
//! came together.
//!
//! # How it is read
//!
//! In one pass over borrowed text; only names with escapes are copied. What stands before the fields is the
//! same in every line of a series, so the series is looked up by these bytes (`heads`) first.

mod heads;
mod line;
mod scan;

use serde::Deserialize;
use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;

use super::point::PointWriter;
use super::{Decode, Input, SourceFormat};
use heads::Heads;

/// The unit of the times in line protocol.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum Precision {
    /// Told by the number's magnitude.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Nanoseconds, what InfluxDB takes when nothing is said.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
}

/// The codec; see the module.
pub(super) struct InfluxLine {
    points: PointWriter,
    /// Series by the text before the fields; `None` for the codec that it must agree with.
    heads: Option<Heads>,
    precision: Precision,
}

impl InfluxLine {
    /// The codec; `remembers` whether it finds known series by the bytes before the fields.
    pub(super) fn new(source: &SourceFormat, remembers: bool) -> Self {
        InfluxLine {
            points: PointWriter::default(),
            heads: remembers.then(Heads::default),
            precision: source.precision,
        }
    }
}

impl Decode for InfluxLine {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let text = input.text()?;
        let bytes = text.as_bytes();
        self.points.begin_record();
        if let Some(heads) = &mut self.heads {
            heads.belong_to(series);
        }
        let mut at = 0;
        loop {
            at = scan::skip(bytes, at, |byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            match bytes.get(at) {
                None => return Ok(()),
                Some(b'#') => at = scan::skip(bytes, at, |byte| byte != b'\n'),
                Some(_) => at = self.line(text, at, &input, series, out)?,
            }
        }
    }
}
