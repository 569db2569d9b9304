//! The members of one object, and what they say.

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Level, LogLine};
use tidewatch_dataflow::time::EventTime;

use super::super::json::{Members, Object, Skip, Text, malformed, push_string};
use super::super::line::UNKNOWN;
use super::super::{Input, level, text_log, time};

/// One member, wherever it stands: `outer` is the object it is inside of, if any.
struct Field<'a> {
    outer: Option<&'static str>,
    name: Cow<'a, str>,
    /// As it is written, a text with its quotes.
    value: &'a str,
    /// Has become part of the line and is not to be repeated in `extra`.
    used: bool,
}

/// Whether a line has a member that only what writes ECS gives it.
pub(super) fn looks_like_ecs(members: &Members<'_>) -> bool {
    members.iter().any(|(name, _)| {
        let name = name.as_ref();
        matches!(name, "ecs" | "ecs.version" | "agent" | "agent.type" | "beat")
            || matches!(name, "@metadata" | "@version")
    })
}

/// The members of a line, those of `host`, `service` and `log` unfolded.
pub(super) struct Fields<'a, 't> {
    /// A field takes 64 bytes, and most lines have five to ten.
    all: SmallVec<[Field<'a>; 12]>,
    /// The service of a line of ECS that does not name its own; `None` for another line.
    ecs: Option<&'t str>,
}

/// Objects whose members are looked at, the last four only in lines of ECS.
const UNFOLDED: [&str; 7] = ["host", "service", "log", "agent", "beat", "event", "error"];

/// Places of the Elastic Common Schema, each nested and under a dotted name.
type Places = [(Option<&'static str>, &'static str)];
const ECS_HOST: &Places = &[
    (Some("host"), "hostname"),
    (None, "host.hostname"),
    (Some("agent"), "hostname"),
    (None, "agent.hostname"),
    (Some("agent"), "name"),
    (None, "agent.name"),
    (Some("beat"), "hostname"),
    (None, "beat.hostname"),
];
const ECS_SERVICE: &Places = &[
    (Some("service"), "type"),
    (None, "service.type"),
    (Some("event"), "module"),
    (None, "event.module"),
    (Some("event"), "dataset"),
    (None, "event.dataset"),
];
const ECS_MESSAGE: &Places = &[
    (Some("event"), "original"),
    (None, "event.original"),
    (Some("error"), "message"),
    (None, "error.message"),
];

impl<'a, 't> Fields<'a, 't> {
    pub(super) fn new(members: Members<'a>, ecs: Option<&'t str>) -> Result<Self, Malformed> {
        let mut fields = SmallVec::with_capacity(members.len());
        let unfolded_here = if ecs.is_some() { &UNFOLDED[..] } else { &UNFOLDED[..3] };
        for (name, value) in members {
            let unfolded = unfolded_here.iter().find(|unfolded| **unfolded == name);
            match unfolded.filter(|_| value.starts_with('{')) {
                Some(&outer) => {
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
        Ok(Fields { all: fields, ecs })
    }

    fn find(&mut self, outer: Option<&str>, name: &str) -> Option<&mut Field<'a>> {
        self.all
            .iter_mut()
            .find(|f| f.outer == outer && f.name == name && !f.used && f.value != "null")
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

    /// The same, if this is a line of ECS.
    fn ecs_text(&mut self, places: &Places) -> Result<Option<Cow<'a, str>>, Malformed> {
        if self.ecs.is_some() { self.text(places) } else { Ok(None) }
    }

    pub(super) fn line(mut self, input: &Input<'_>, index: u32) -> Result<LogLine, Malformed> {
        let time = self.time()?;
        let level = self.level()?;
        let message = self.message()?;
        if time.is_none() && level.is_none() && message.is_none() {
            return Err(Malformed::new(
                Reason::MissingField,
                "no log line: it has neither a time (`@timestamp`) nor a `level` nor a `message`",
            ));
        }
        let mut host = self.text(&[
            (None, "host"),
            (Some("host"), "name"),
            (None, "host.name"),
            (None, "hostname"),
        ])?;
        if host.is_none() {
            host = self.ecs_text(ECS_HOST)?;
        }
        let mut service =
            self.text(&[(None, "service"), (Some("service"), "name"), (None, "service.name")])?;
        if service.is_none() {
            service = self.ecs_text(ECS_SERVICE)?;
        }
        // What a line of ECS does not name, its record does.
        let (no_host, no_service) = match self.ecs {
            Some(topic) => (input.key_text()?.unwrap_or(UNKNOWN), topic),
            None => (UNKNOWN, UNKNOWN),
        };
        let named = |text: Option<Cow<'_, str>>, none: &str| {
            Box::from(text.filter(|text| !text.is_empty()).as_deref().unwrap_or(none))
        };
        let message = message.unwrap_or_default();
        let level = match level {
            None if self.ecs.is_some() => text_log::word(message.as_bytes()),
            level => level,
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
            host: named(host, no_host),
            service: named(service, no_service),
            message: Box::from(message.as_ref()),
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
        if let Some(text) = self.ecs_text(ECS_MESSAGE)? {
            return Ok(Some(text));
        }
        match self.find(None, "message") {
            Some(field) => {
                check(field.value)?;
                field.used = true;
                Ok(Some(Cow::Borrowed(field.value)))
            }
            None => Ok(None),
        }
    }

    /// What is left, as one JSON object on one line. At most as long as the record, plus eight bytes for
    /// each member that was unfolded.
    fn extra(&self) -> Result<Box<str>, Malformed> {
        let left = || self.all.iter().filter(|field| !field.used);
        // Exact for fields that were not unfolded: two quotes, a colon, and what separates.
        let room: usize = left().map(|field| field.name.len() + field.value.len() + 4).sum();
        if room == 0 {
            return Ok(Box::default());
        }
        let mut extra = String::with_capacity(room + 1);
        for field in left() {
            check(field.value)?;
            extra.push(if extra.is_empty() { '{' } else { ',' });
            match field.outer {
                Some(outer) => push_string(&mut extra, &format!("{outer}.{}", field.name)),
                None => push_string(&mut extra, &field.name),
            }
            extra.push(':');
            // Between values, JSON allows line breaks; inside of texts they are always escaped.
            match memchr::memchr2(b'\n', b'\r', field.value.as_bytes()) {
                None => extra.push_str(field.value),
                Some(_) => extra.push_str(&field.value.replace(['\n', '\r'], " ")),
            }
        }
        extra.push('}');
        Ok(extra.into())
    }
}

/// The members of the object `text`.
fn object(text: &str) -> Result<Members<'_>, Malformed> {
    let mut json = serde_json::Deserializer::from_str(text);
    Object.deserialize(&mut json).map_err(|error| malformed(text, &error))
}

/// The text of a string, number or truth value; `None` for null, arrays and objects.
pub(super) fn scalar(text: &str) -> Result<Option<Cow<'_, str>>, Malformed> {
    match text.as_bytes().first() {
        Some(b'"') => {
            // Without escapes it says what it is; whoever found its end has refused control characters.
            if let Some(inside) = text.get(1..text.len().saturating_sub(1))
                && memchr::memchr(b'\\', inside.as_bytes()).is_none()
            {
                return Ok(Some(Cow::Borrowed(inside)));
            }
            let mut json = serde_json::Deserializer::from_str(text);
            Text.deserialize(&mut json).map(Some).map_err(|error| malformed(text, &error))
        }
        Some(b'{' | b'[' | b'n') | None => Ok(None),
        Some(_) => Ok(Some(Cow::Borrowed(text))),
    }
}

fn read_time(value: &str) -> Result<EventTime, Malformed> {
    let Some(text) = scalar(value)? else {
        return Err(Malformed::new(Reason::Unparseable, "neither a text nor a number"));
    };
    if value.starts_with('"') {
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

/// Below 10^300: the greatest float has 309 digits.
const DIGITS_MAX: usize = 300;

/// Makes sure that a value passed on as written is not too deep, has no broken escapes and is no number that no float
/// can be: the reading of members has found its end, but has not looked inside.
fn check(text: &str) -> Result<(), Malformed> {
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let may_be_too_large = is_number && (text.len() > DIGITS_MAX || text.contains(['e', 'E']));
    if text.starts_with(['{', '[']) || text.contains('\\') || may_be_too_large {
        let mut json = serde_json::Deserializer::from_str(text);
        Skip::MEMBER.deserialize(&mut json).map_err(|error| malformed(text, &error))?;
    }
    Ok(())
}
