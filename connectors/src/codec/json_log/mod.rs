//! Log lines as JSON objects, as Filebeat, Logstash, rsyslog, Fluent Bit and structured loggers write them.
//!
//! # Grammar
//!
//! A record is one JSON object, or several one after another, each one line. The members are looked up
//! by name, the first that is there counts:
//!
//! | what | members, in this order | when there is none |
//! | --- | --- | --- |
//! | time | `@timestamp`, `timestamp`, `time`, `ts`, `date`, `timeMillis`; the first that [reads as a time](super::time) | Kafka's timestamp |
//! | level | `level`, `log.level`, `level` inside `log`, `severity`, `levelname`; a [word or number](super::level) | INFO |
//! | host | `host`, `name` inside `host`, `host.name`, `hostname` | `unknown` |
//! | service | `service`, `name` inside `service`, `service.name` | `unknown` |
//! | text | `message`, `msg`, `log` | empty |
//!
//! A null is as good as absent. Numbers and `true`/`false` count as their text. A `message` that is an
//! object or array is taken as its JSON.
//!
//! All other members, in their order and with their values as written, are the line's `extra`: the text
//! of one JSON object on one line. What is left of `host`, `service` and `log` where these are objects
//! goes there under dotted names (`log.logger`), and a level of an unknown word stays there too. Of a
//! repeated name the last value counts.
//!
//! Each line also is a point of the measurement `log` with the labels `level`, `service` and `host`, as far as
//! the source [asks for them](super::LogLabels), and the one field `lines` = 1.
//!
//! # The Elastic Common Schema
//!
//! Format `ecs_json` is the same for what Filebeat, Logstash, Vector and ECS loggers write, where a line may come
//! as it was in its file. What the table above does not find is looked for further, nested or under dotted names:
//!
//! | what | further members | when there is none |
//! | --- | --- | --- |
//! | level | the [first word for one](super::text_log) in the text | INFO |
//! | host | `host.hostname`, `agent.hostname`, `agent.name`, `beat.hostname` | the record's key, else `unknown` |
//! | service | `service.type`, `event.module`, `event.dataset` | the topic |
//! | text | `event.original`, `error.message` | empty |
//!
//! What is left of `agent`, `beat`, `event` and `error` goes into `extra` under dotted names, as above. `auto`
//! takes a line as such that has one of `ecs`, `ecs.version`, `agent`, `agent.type`, `beat`, `@metadata` and
//! `@version`.
//!
//! # What is refused
//!
//! What is no JSON object (`unparseable`), a line that has neither time nor level nor text
//! (`missing_field`), a line with times none of which can be read (`unparseable`) or out of range
//! (`time_out_of_range`), a number in `extra` that is too large for a float (`not_a_number`), and whatever
//! passes the bounds of [the codecs](super).

mod flat;
mod line;
#[cfg(test)]
mod tests;

use serde::de::DeserializeSeed;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;

use super::json::{Members, Object, malformed};
use super::line::LineWriter;
use super::{Decode, Input, POINTS_MAX, SourceFormat};
use line::{Fields, looks_like_ecs};

/// The codec; see the module.
pub(super) struct JsonLog {
    lines: LineWriter,
    names_of: Names,
    /// Whether flat objects are read in one pass; not so in the codec that it must agree with.
    flat: bool,
    /// The service of ECS lines that do not name theirs.
    topic: Box<str>,
}

/// Where the parts of a line are looked for.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// In the first table of the module.
    Plain,
    /// In the second one as well.
    Ecs,
    /// As the line looks.
    ByLook,
}

impl JsonLog {
    /// The codec that looks for `names`; `flat` whether it reads flat objects in one pass.
    pub(super) fn new(source: &SourceFormat, names: Names, flat: bool) -> Self {
        JsonLog {
            lines: LineWriter::new(source),
            names_of: names,
            flat,
            topic: source.topic.clone(),
        }
    }
}

impl Decode for JsonLog {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let text = input.text()?;
        if self.flat
            && let Some(members) = flat::members(text)
        {
            return self.line(members, &input, 0, series, out);
        }
        let mut json = serde_json::Deserializer::from_str(text);
        for index in 0_u32.. {
            if index as usize >= POINTS_MAX {
                return Err(Malformed::new(
                    Reason::TooLarge,
                    format!("more than {POINTS_MAX} log lines"),
                ));
            }
            let members = Object.deserialize(&mut json).map_err(|e| malformed(text, &e))?;
            self.line(members, &input, index, series, out)?;
            if json.end().is_ok() {
                break;
            }
        }
        Ok(())
    }
}

impl JsonLog {
    fn line(
        &mut self,
        members: Members<'_>,
        input: &Input<'_>,
        index: u32,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let ecs = match self.names_of {
            Names::Plain => None,
            Names::ByLook if !looks_like_ecs(&members) => None,
            Names::Ecs | Names::ByLook => Some(&*self.topic),
        };
        let line = Fields::new(members, ecs)?.line(input, index)?;
        self.lines.push(line, series, out)
    }
}
