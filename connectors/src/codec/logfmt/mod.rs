//! Log lines of `key=value` pairs, as Go's loggers, Grafana's and Heroku's programs write them.
//!
//! # Grammar
//!
//! ```text
//! record = line (NL line)*                      empty lines are skipped
//! line   = SP* pair (SP+ pair)* SP*
//! pair   = key ["=" [value]]
//! key    = any character but white space, control characters, '"' and "="
//! value  = word | '"' (character | escape)* '"'
//! word   = any characters but white space and control characters, the first not '"'
//! escape = \" \\ \/ \b \f \n \r \t \uXXXX       as in JSON, which is how they are written
//! ```
//!
//! # What it means
//!
//! One log line each. What it says is looked up by name, the first that is there and not empty counts:
//!
//! | what | keys, in this order | when there is none |
//! | --- | --- | --- |
//! | time | `ts`, `time`, `timestamp`, `@timestamp`, `t`; the first that [reads as a time](super::time) | Kafka's timestamp |
//! | level | `level`, `lvl`, `severity`, `log.level`; a [word or number](super::level) | INFO |
//! | host | `host`, `hostname`, `host.name` | the record's key, else `unknown` |
//! | service | `service`, `service.name`, `app` | the topic |
//! | text | `msg`, `message` | empty |
//!
//! All other pairs are the line's `extra`, with their values as texts, so that no field changes its type in a
//! store; a key without a value is `true`. Of a repeated key the last value counts. A level of an unknown word
//! stays in `extra`.
//!
//! Each line also is a point of the measurement `log`, as with [`super::json_log`].
//!
//! # What is refused
//!
//! What is no such line (`unparseable`), a line that has neither a time nor a level nor a text
//! (`missing_field`), one with times none of which can be read (`unparseable`) or out of range
//! (`time_out_of_range`), more than 4,096 pairs of a line or 10,000 lines (`too_large`).

mod pairs;

use std::borrow::Cow;

use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, Level, LogLine};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

use super::line::{Extra, LineWriter, UNKNOWN};
use super::time::{self, UtcOffset};
use super::{Decode, Input, POINTS_MAX, SourceFormat, level};
use pairs::{Pair, pairs};

/// The codec; see the module.
pub(super) struct Logfmt {
    lines: LineWriter,
    service: Box<str>,
    utc_offset: UtcOffset,
}

impl Logfmt {
    pub(super) fn new(source: &SourceFormat) -> Self {
        Logfmt {
            lines: LineWriter::new(source),
            service: source.topic.clone(),
            utc_offset: source.utc_offset,
        }
    }

    fn line(
        &self,
        text: &str,
        all: &mut Pairs<'_>,
        input: &Input<'_>,
        index: u32,
    ) -> Result<LogLine, Malformed> {
        let event_time = all.time(self.utc_offset)?;
        let level = all.level();
        let message = all.text(&["msg", "message"]);
        if event_time.is_none() && level.is_none() && message.is_none() {
            let begin: String = text.chars().take(32).collect();
            return Err(Malformed::new(
                Reason::MissingField,
                format!(
                    "no log line: it has neither `ts` nor `level` nor `msg`, near `{}`",
                    begin.escape_debug()
                ),
            ));
        }
        let host = match all.text(&["host", "hostname", "host.name"]) {
            Some(host) => host,
            None => Cow::Borrowed(input.key_text()?.unwrap_or(UNKNOWN)),
        };
        let service = all.text(&["service", "service.name", "app"]);
        let service = service.as_deref().unwrap_or(&self.service);
        let (host, service) = (Box::from(host.as_ref()), Box::from(service));
        let mut extra = Extra::default();
        for pair in all.0.iter().filter(|pair| !pair.used) {
            match pair.bare {
                true => extra.json(pair.key, "true".to_owned()),
                false => extra.text(pair.key, &pair.value),
            }
        }
        Ok(LogLine {
            partition: input.partition,
            offset: input.record.offset,
            index,
            generation: 0,
            event_time: match event_time {
                Some(time) => time,
                None => input.record_time()?,
            },
            level: level.unwrap_or_default(),
            host,
            service,
            message: message.unwrap_or_default().as_ref().into(),
            extra: extra.finish(),
        })
    }
}

impl Decode for Logfmt {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let text = input.text()?;
        let lines = text.split('\n').filter(|line| !line.trim_ascii().is_empty());
        for (index, text) in (0_u32..).zip(lines) {
            if index as usize >= POINTS_MAX {
                return Err(Malformed::new(
                    Reason::TooLarge,
                    format!("more than {POINTS_MAX} log lines"),
                ));
            }
            let line = self.line(text, &mut Pairs(pairs(text)?), &input, index)?;
            self.lines.push(line, series, out)?;
        }
        Ok(())
    }
}

/// The pairs of a line.
struct Pairs<'a>(SmallVec<[Pair<'a>; 16]>);

impl<'a> Pairs<'a> {
    /// The last pair of this name that has a value.
    fn find(&mut self, name: &str) -> Option<&mut Pair<'a>> {
        self.0.iter_mut().rev().find(|pair| pair.key == name && !pair.value.is_empty())
    }

    /// The first of `names` that is there; all pairs of its name count as used.
    fn text(&mut self, names: &[&str]) -> Option<Cow<'a, str>> {
        let name = names.iter().find(|name| self.find(name).is_some())?;
        let found = self.find(name).map(|pair| pair.value.clone());
        self.use_all(name);
        found
    }

    fn use_all(&mut self, name: &str) {
        for pair in self.0.iter_mut().filter(|pair| pair.key == name) {
            pair.used = true;
        }
    }

    /// The level; an unknown word counts as INFO and stays where it is.
    fn level(&mut self) -> Option<Level> {
        let names = ["level", "lvl", "severity", "log.level"];
        let name = names.into_iter().find(|name| self.find(name).is_some())?;
        let level = self.find(name).and_then(|pair| match pair.value.parse() {
            Ok(number) => level::from_number(number),
            Err(_) => level::from_word(&pair.value),
        });
        if level.is_some() {
            self.use_all(name);
        }
        Some(level.unwrap_or_default())
    }

    fn time(&mut self, offset: UtcOffset) -> Result<Option<EventTime>, Malformed> {
        let mut fault = None;
        for name in ["ts", "time", "timestamp", "@timestamp", "t"] {
            let Some(pair) = self.find(name) else { continue };
            match time_of(&pair.value, offset) {
                Ok(time) => {
                    self.use_all(name);
                    return Ok(Some(time));
                }
                Err(why) => {
                    let why = Malformed::new(why.reason, format!("`{name}`: {}", why.detail));
                    fault.get_or_insert(why);
                }
            }
        }
        fault.map_or(Ok(None), Err)
    }
}

/// A number since the epoch, whole or not, or a text.
fn time_of(text: &str, offset: UtcOffset) -> Result<EventTime, Malformed> {
    if let Some((time, length)) = time::leading_at(text.as_bytes(), offset)
        && length == text.len()
    {
        return time;
    }
    let decimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+'));
    match text.parse::<f64>() {
        Ok(number) if decimal && text.contains(['.', 'e', 'E']) => time::from_float(number),
        _ => time::from_text(text),
    }
}
