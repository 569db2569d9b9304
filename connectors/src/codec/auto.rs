//! Any of the formats that can be told apart, decided for each record by how it begins.
//!
//! After white space:
//!
//! | the record | is taken as |
//! | --- | --- |
//! | begins with `{`, and the first of the members below is `fields` or `metrics` | [Telegraf's JSON](super::telegraf) |
//! | begins with `{`, and the first of them is `resourceMetrics` or `resourceLogs` (or in snake_case) | [OTLP](super::otlp) in JSON |
//! | begins with `{`, and the first of them is a time, a level or a text of a [log line](super::json_log) | a JSON log line, one of ECS if it looks so |
//! | begins with `{` and has none of them | Telegraf's JSON |
//! | begins with `[{"` | [collectd's JSON](super::collectd_json) |
//! | is as a whole a number or a percentage | a [value](super::value) |
//! | begins with `<`, a number to 191 and `>` | [syslog](super::syslog); what that refuses is a text log line |
//! | ends with a space and a whole number of 10 to 19 digits, and has a `=` before it | [line protocol](super::influx_line), if it is that as a whole; otherwise a text log line |
//! | has a control character within its first 64 bytes that is none of text | refused: it is binary, and which of the binary formats cannot be told |
//! | anything else | a [text log line](super::text_log) |
//!
//! Only member names of the outermost object count, and looking for them stops at the first that
//! decides, which is the very first one in what Telegraf and most loggers write. A Telegraf record that
//! lacks a needed member (Filebeat writes `fields` too) is tried as a log line before it is refused.
//!
//! Not told apart, so they have to be named as the source's `format`: **OTLP in Protocol Buffers and Prometheus'
//! remote write**, which are binary; **logfmt**, since `level=error` stands in many a plain line (its level is found
//! all the same); syslog without a priority; and line protocol without times, since `retries left=3` is that, too.

use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, Record};
use tidewatch_dataflow::series::SeriesTable;

use super::collectd_json::CollectdJson;
use super::influx_line::InfluxLine;
use super::json::string_end;
use super::json_log::{JsonLog, Names};
use super::otlp::Otlp;
use super::syslog::{Syslog, has_priority};
use super::telegraf::TelegrafJson;
use super::text_log::TextLog;
use super::value::{Value, number};
use super::{Decode, Input, SourceFormat};

/// How far into a record binary bytes are looked for: a header of Protocol Buffers is shorter.
const LOOKED_AT: usize = 64;

/// The codec; see the module.
pub(super) struct Auto {
    telegraf: TelegrafJson,
    influx_line: InfluxLine,
    collectd_json: CollectdJson,
    otlp: Otlp,
    value: Value,
    json_log: JsonLog,
    syslog: Syslog,
    text_log: TextLog,
}

impl Auto {
    pub(super) fn new(source: &SourceFormat, telegraf: TelegrafJson) -> Self {
        Auto {
            // All take their short ways, or none.
            influx_line: InfluxLine::new(source, telegraf.predicts()),
            json_log: JsonLog::new(source, Names::ByLook, telegraf.predicts()),
            telegraf,
            collectd_json: CollectdJson::default(),
            otlp: Otlp::new(source),
            value: Value::new(source),
            syslog: Syslog::new(source),
            text_log: TextLog::new(source),
        }
    }
}

impl Decode for Auto {
    fn look_ahead(&mut self, records: &[Record<'_>]) {
        self.telegraf.look_ahead(records);
    }

    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        // What is predicted begins with `fields`, so the table above says the same.
        if self.telegraf.predict(&input, series, out) {
            return Ok(());
        }
        let value = input.value.trim_ascii_start();
        match value.first() {
            Some(b'{') => match look(value) {
                Look::Log => self.json_log.record(input, series, out),
                // Behind white space, OTLP's own codec would take it for Protocol Buffers.
                Look::Otlp => self.otlp.record(Input { value, ..input }, series, out),
                Look::Metric => {
                    let mark = out.mark();
                    match self.telegraf.parse(input, series, out) {
                        Err(why) if why.reason == Reason::MissingField => {
                            out.undo(mark);
                            self.json_log.record(input, series, out).map_err(|_| why)
                        }
                        result => result,
                    }
                }
            },
            Some(b'[') if is_array_of_objects(value) => {
                self.collectd_json.record(input, series, out)
            }
            _ if number(value).is_some() => self.value.record(input, series, out),
            Some(b'<') if has_priority(value) => {
                let mark = out.mark();
                self.syslog.record(input, series, out).or_else(|_| {
                    out.undo(mark);
                    self.text_log.record(input, series, out)
                })
            }
            _ if ends_with_time(value) => {
                let mark = out.mark();
                match self.influx_line.record(input, series, out) {
                    Err(why) if why.reason == Reason::Unparseable => {
                        out.undo(mark);
                        self.text_log.record(input, series, out)
                    }
                    result => result,
                }
            }
            _ if is_binary(value) => Err(Malformed::new(
                Reason::Unparseable,
                "it is binary: write `format = \"otlp\"` or `format = \"prometheus_remote_write\"` if it is one of these",
            )),
            _ => self.text_log.record(input, series, out),
        }
    }
}

/// Whether a record begins as an array of objects with members does.
fn is_array_of_objects(value: &[u8]) -> bool {
    let object = value.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    let member = object.and_then(|object| object.strip_prefix(b"{")).map(<[u8]>::trim_ascii_start);
    member.is_some_and(|member| member.starts_with(b"\""))
}

/// Whether the last word of a record is a time as line protocol has it, and something before it assigns.
fn ends_with_time(value: &[u8]) -> bool {
    let value = value.trim_ascii_end();
    let digits = value.iter().rev().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let Some(before) = value.len().checked_sub(digits).and_then(|end| value.get(..end)) else {
        return false;
    };
    (10..=19).contains(&digits) && before.ends_with(b" ") && memchr::memchr(b'=', before).is_some()
}

/// Whether the front of a record has bytes that no text has.
fn is_binary(value: &[u8]) -> bool {
    let front = value.get(..LOOKED_AT).unwrap_or(value);
    let of_text = |byte: &u8| matches!(byte, 0x07..=0x0d | 0x1b | 0x20..);
    !front.iter().all(of_text)
}

/// What an object looks like.
enum Look {
    Metric,
    Otlp,
    Log,
}

/// What the first member name that decides says.
fn look(json: &[u8]) -> Look {
    let mut at = 0;
    let mut depth = 0_usize;
    while let Some(found) = next_mark(json, at) {
        at = found + 1;
        match json.get(found) {
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Look::Metric;
                }
            }
            Some(b'"') => {
                let Some(end) = string_end(json, at) else { return Look::Metric };
                let name = json.get(at..end).unwrap_or_default();
                at = end + 1;
                let after = json.get(at..).unwrap_or_default().trim_ascii_start();
                if depth == 1 && after.first() == Some(&b':') {
                    match name {
                        b"fields" | b"metrics" => return Look::Metric,
                        b"resourceMetrics" | b"resource_metrics" | b"resourceLogs"
                        | b"resource_logs" => return Look::Otlp,
                        b"@timestamp" | b"message" | b"msg" | b"level" | b"log.level" | b"log"
                        | b"severity" | b"levelname" => return Look::Log,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Look::Metric
}

/// The next byte from `at` on that opens or closes something.
fn next_mark(json: &[u8], at: usize) -> Option<usize> {
    let marked = |byte: &u8| matches!(byte, b'{' | b'}' | b'[' | b']' | b'"');
    json.get(at..)?.iter().position(marked).map(|found| at + found)
}
