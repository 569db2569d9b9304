//! Any of the formats, decided for each record by how it begins.
//!
//! After white space:
//!
//! | the record | is taken as |
//! | --- | --- |
//! | begins with `{`, and the first of the members below is `fields` or `metrics` | [Telegraf's JSON](super::telegraf) |
//! | begins with `{`, and the first of them is a time, a level or a text of a [log line](super::json_log) | a JSON log line |
//! | begins with `{` and has none of them | Telegraf's JSON |
//! | is as a whole a number or a percentage | a [value](super::value) |
//! | begins with `[{` | refused: arrays of objects are written by collectd, whose format this is not |
//! | anything else | a [text log line](super::text_log) |
//!
//! Only member names of the outermost object count, and looking for them stops at the first that
//! decides, which is the very first one in what Telegraf and most loggers write. A Telegraf record that
//! lacks a needed member (Filebeat writes `fields` too) is tried as a log line before it is refused.

use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;

use super::json_log::JsonLog;
use super::telegraf::TelegrafJson;
use super::text_log::TextLog;
use super::value::{Value, number};
use super::{Decode, Input, SourceFormat};

/// The codec; see the module.
pub(super) struct Auto {
    telegraf: TelegrafJson,
    value: Value,
    json_log: JsonLog,
    text_log: TextLog,
}

impl Auto {
    pub(super) fn new(source: &SourceFormat, telegraf: TelegrafJson) -> Self {
        Auto {
            telegraf,
            value: Value::new(source),
            json_log: JsonLog::default(),
            text_log: TextLog::new(source),
        }
    }
}

impl Decode for Auto {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        // What is predicted begins with `fields`, so the table below says the same.
        if self.telegraf.predict(&input, series, out) {
            return Ok(());
        }
        let value = input.value.trim_ascii_start();
        match value.first() {
            Some(b'{') if is_log(value) => self.json_log.record(input, series, out),
            Some(b'{') => {
                let mark = (out.points.len(), out.values.len());
                match self.telegraf.parse(input, series, out) {
                    Err(why) if why.reason == Reason::MissingField => {
                        out.points.truncate(mark.0);
                        out.values.truncate(mark.1);
                        self.json_log.record(input, series, out).map_err(|_| why)
                    }
                    result => result,
                }
            }
            Some(b'[')
                if value.get(1..).is_some_and(|r| r.trim_ascii_start().starts_with(b"{")) =>
            {
                Err(Malformed::new(
                    Reason::Unparseable,
                    "an array of objects is in none of the known formats",
                ))
            }
            _ if number(value).is_some() => self.value.record(input, series, out),
            _ => self.text_log.record(input, series, out),
        }
    }
}

/// Whether the first member name that decides is one of a log line.
fn is_log(json: &[u8]) -> bool {
    let mut at = 0;
    let mut depth = 0_usize;
    while let Some(found) = next_mark(json, at) {
        at = found + 1;
        match json.get(found) {
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return false;
                }
            }
            Some(b'"') => {
                let Some(end) = string_end(json, at) else { return false };
                let name = json.get(at..end).unwrap_or_default();
                at = end + 1;
                let after = json.get(at..).unwrap_or_default().trim_ascii_start();
                if depth == 1 && after.first() == Some(&b':') {
                    match name {
                        b"fields" | b"metrics" => return false,
                        b"@timestamp" | b"message" | b"msg" | b"level" | b"log.level" | b"log"
                        | b"severity" | b"levelname" => return true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// The next byte from `at` on that opens or closes something.
fn next_mark(json: &[u8], at: usize) -> Option<usize> {
    let marked = |byte: &u8| matches!(byte, b'{' | b'}' | b'[' | b']' | b'"');
    json.get(at..)?.iter().position(marked).map(|found| at + found)
}

/// Where the string whose inside begins at `at` ends.
fn string_end(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json.get(found) == Some(&b'"') {
            return Some(found);
        }
        at = found + 2;
    }
}
