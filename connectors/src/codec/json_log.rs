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
//! Each line also is a point of the measurement `log` with the labels `level`, `service` and `host` and
//! the one field `lines` = 1.
//!
//! # What is refused
//!
//! What is no JSON object (`unparseable`), a line that has neither time nor level nor text
//! (`missing_field`), a line with times none of which can be read (`unparseable`) or out of range
//! (`time_out_of_range`), and whatever passes the bounds of [the codecs](super).

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use serde_json::value::RawValue;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, Level, LogLine};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

use super::fields::FieldCache;
use super::json::{Members, Object, Skip, malformed};
use super::line::push_line;
use super::{Decode, Input, POINTS_MAX, level, time};

/// What a line that does not name its host or service is counted under.
pub(super) const UNKNOWN: &str = "unknown";

/// The codec; see the module.
#[derive(Default)]
pub(super) struct JsonLog {
    names: FieldCache,
}

impl Decode for JsonLog {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let text = input.text()?;
        let mut json = serde_json::Deserializer::from_str(text);
        for index in 0_u32.. {
            if index as usize >= POINTS_MAX {
                return Err(Malformed::new(
                    Reason::TooLarge,
                    format!("more than {POINTS_MAX} log lines"),
                ));
            }
            let members = Object.deserialize(&mut json).map_err(|e| malformed(text, &e))?;
            let line = Fields::new(members)?.line(&input, index)?;
            push_line(line, &mut self.names, series, out)?;
            if json.end().is_ok() {
                break;
            }
        }
        Ok(())
    }
}

/// One member, wherever it stands: `outer` is the object it is inside of, if any.
struct Field<'a> {
    outer: Option<&'static str>,
    name: Cow<'a, str>,
    value: &'a RawValue,
    /// Has become part of the line and is not to be repeated in `extra`.
    used: bool,
}

/// The members of a line, those of `host`, `service` and `log` unfolded.
struct Fields<'a>(Vec<Field<'a>>);

/// Objects whose members are looked at.
const UNFOLDED: [&str; 3] = ["host", "service", "log"];

impl<'a> Fields<'a> {
    fn new(members: Members<'a>) -> Result<Self, Malformed> {
        let mut fields = Vec::with_capacity(members.len() + 4);
        for (name, value) in members {
            let unfolded = UNFOLDED.into_iter().find(|unfolded| *unfolded == name);
            match unfolded.filter(|_| value.get().starts_with('{')) {
                Some(outer) => {
                    let inside = object(value)?.into_iter();
                    fields.extend(inside.map(|(name, value)| Field {
                        outer: Some(outer),
                        name,
                        value,
                        used: false,
                    }));
                }
                None => fields.push(Field { outer: None, name, value, used: false }),
            }
        }
        Ok(Fields(fields))
    }

    fn find(&mut self, outer: Option<&str>, name: &str) -> Option<&mut Field<'a>> {
        self.0
            .iter_mut()
            .find(|f| f.outer == outer && f.name == name && !f.used && f.value.get() != "null")
    }

    /// The first of `places` that is there and can be taken as a text.
    fn text(&mut self, places: &[(Option<&str>, &str)]) -> Result<Option<Cow<'a, str>>, Malformed> {
        for (outer, name) in places {
            if let Some(field) = self.find(*outer, name)
                && let Some(text) = scalar(field.value)?
            {
                field.used = true;
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn line(mut self, input: &Input<'_>, index: u32) -> Result<LogLine, Malformed> {
        let time = self.time()?;
        let level = self.level()?;
        let message = self.message()?;
        if time.is_none() && level.is_none() && message.is_none() {
            return Err(Malformed::new(
                Reason::MissingField,
                "no log line: it has neither a time (`@timestamp`) nor a `level` nor a `message`",
            ));
        }
        let host = self.text(&[
            (None, "host"),
            (Some("host"), "name"),
            (None, "host.name"),
            (None, "hostname"),
        ])?;
        let service =
            self.text(&[(None, "service"), (Some("service"), "name"), (None, "service.name")])?;
        let named = |text: Option<Cow<'_, str>>| match text.filter(|text| !text.is_empty()) {
            Some(text) => Box::from(text.as_ref()),
            None => Box::from(UNKNOWN),
        };
        Ok(LogLine {
            partition: input.partition,
            offset: input.record.offset,
            index,
            generation: 0,
            event_time: match time {
                Some(time) => time,
                None => input.record_time()?,
            },
            level: level.unwrap_or_default(),
            host: named(host),
            service: named(service),
            message: Box::from(message.unwrap_or_default().as_ref()),
            extra: self.extra()?,
        })
    }

    fn time(&mut self) -> Result<Option<EventTime>, Malformed> {
        const NAMES: [&str; 6] = ["@timestamp", "timestamp", "time", "ts", "date", "timeMillis"];
        let mut fault = None;
        for name in NAMES {
            let Some(field) = self.find(None, name) else { continue };
            match read_time(field.value) {
                Ok(time) => {
                    field.used = true;
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

    /// The level; an unknown word counts as INFO and stays where it is.
    fn level(&mut self) -> Result<Option<Level>, Malformed> {
        let places = [
            (None, "level"),
            (None, "log.level"),
            (Some("log"), "level"),
            (None, "severity"),
            (None, "levelname"),
        ];
        for (outer, name) in places {
            let Some(field) = self.find(outer, name) else { continue };
            let Some(text) = scalar(field.value)? else { continue };
            let text = text.trim_ascii();
            let known = match text.parse() {
                Ok(number) => level::from_number(number),
                Err(_) => level::from_word(text),
            };
            field.used = known.is_some();
            return Ok(Some(known.unwrap_or_default()));
        }
        Ok(None)
    }

    fn message(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        if let Some(text) = self.text(&[(None, "message"), (None, "msg"), (None, "log")])? {
            return Ok(Some(text));
        }
        match self.find(None, "message") {
            Some(field) => {
                check(field.value)?;
                field.used = true;
                Ok(Some(Cow::Borrowed(field.value.get())))
            }
            None => Ok(None),
        }
    }

    /// What is left, as one JSON object on one line. At most as long as the record, plus eight bytes for
    /// each member that was unfolded.
    fn extra(&self) -> Result<Box<str>, Malformed> {
        let mut extra = String::new();
        for field in self.0.iter().filter(|field| !field.used) {
            check(field.value)?;
            extra.push(if extra.is_empty() { '{' } else { ',' });
            match field.outer {
                Some(outer) => push_string(&mut extra, &format!("{outer}.{}", field.name)),
                None => push_string(&mut extra, &field.name),
            }
            extra.push(':');
            // Between values, JSON allows line breaks; inside of texts they are always escaped.
            extra.extend(
                field.value.get().chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }),
            );
        }
        if !extra.is_empty() {
            extra.push('}');
        }
        Ok(extra.into())
    }
}

/// The members of the object `value`.
fn object(value: &RawValue) -> Result<Members<'_>, Malformed> {
    let text = value.get();
    let mut json = serde_json::Deserializer::from_str(text);
    Object.deserialize(&mut json).map_err(|error| malformed(text, &error))
}

/// The text of a string, number or truth value; `None` for null, arrays and objects.
fn scalar(value: &RawValue) -> Result<Option<Cow<'_, str>>, Malformed> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let mut json = serde_json::Deserializer::from_str(text);
            super::json::Text
                .deserialize(&mut json)
                .map(Some)
                .map_err(|error| malformed(text, &error))
        }
        Some(b'{' | b'[' | b'n') | None => Ok(None),
        Some(_) => Ok(Some(Cow::Borrowed(text))),
    }
}

fn read_time(value: &RawValue) -> Result<EventTime, Malformed> {
    let Some(text) = scalar(value)? else {
        return Err(Malformed::new(Reason::Unparseable, "neither a text nor a number"));
    };
    if value.get().starts_with('"') {
        return time::from_text(&text);
    }
    match text.parse::<u64>() {
        Ok(number) => Ok(time::from_integer(number)),
        Err(_) => match text.parse::<f64>() {
            Ok(number) => time::from_float(number),
            Err(_) => Err(Malformed::new(Reason::Unparseable, "neither a text nor a number")),
        },
    }
}

/// Makes sure that a value passed on as written is not too deep and has no broken escapes: the reading
/// of members has found its end, but has not looked inside.
fn check(value: &RawValue) -> Result<(), Malformed> {
    let text = value.get();
    if text.starts_with(['{', '[']) || text.contains('\\') {
        let mut json = serde_json::Deserializer::from_str(text);
        Skip::MEMBER.deserialize(&mut json).map_err(|error| malformed(text, &error))?;
    }
    Ok(())
}

/// Appends `text` as a JSON string.
fn push_string(out: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}
