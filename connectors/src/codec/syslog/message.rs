//! One message, old or new.

use std::borrow::Cow;

use jiff::civil::DateTime;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Level, LogLine};
use tidewatch_dataflow::time::EventTime;

use super::super::line::{Extra, UNKNOWN};
use super::super::text_log::word;
use super::super::time::{self, leading_at};
use super::super::{FIELDS_MAX, Input, excerpt, level};
use super::Syslog;
use super::header::priority;

/// Longer words are no host and no tag: RFC 5424's bound of a host.
const NAME_MAX: usize = 255;

/// What a message says of itself.
#[derive(Default)]
struct Parts<'a> {
    time: Option<EventTime>,
    host: Option<&'a str>,
    service: Option<&'a str>,
    extra: Extra<'a>,
    text: &'a str,
}

fn wrong(what: &str, near: &str) -> Malformed {
    Malformed::new(Reason::Unparseable, format!("{what}, near {}", excerpt(near.as_bytes(), 0)))
}

impl Syslog {
    pub(super) fn message(
        &self,
        bytes: &[u8],
        input: &Input<'_>,
        index: u32,
    ) -> Result<LogLine, Malformed> {
        let text = String::from_utf8_lossy(bytes.trim_ascii_end());
        let priority = priority(text.as_bytes());
        let mut parts = Parts::default();
        match priority {
            Some((priority, rest)) => {
                parts.extra.text("log.syslog.facility.name", priority.facility());
                let rest = text.get(text.len() - rest.len()..).unwrap_or_default();
                match version(rest) {
                    Some(rest) => new(rest, &mut parts)?,
                    None => self.old(rest, input, &mut parts)?,
                }
            }
            None => {
                self.old(&text, input, &mut parts)?;
                if parts.time.is_none() {
                    return Err(wrong(
                        "no syslog: it begins neither with `<PRI>` nor a time",
                        &text,
                    ));
                }
            }
        }
        let level = match priority {
            Some((priority, _)) => level::from_number(priority.severity()),
            None => word(parts.text.as_bytes()),
        };
        let host = match parts.host {
            Some(host) => host,
            None => input.key_text()?.unwrap_or(UNKNOWN),
        };
        Ok(LogLine {
            partition: input.partition,
            offset: input.record.offset,
            index,
            generation: 0,
            event_time: match parts.time {
                Some(time) => time,
                None => input.record_time()?,
            },
            level: level.unwrap_or(Level::Info),
            host: host.into(),
            service: parts.service.unwrap_or(&self.service).into(),
            message: parts.text.into(),
            extra: parts.extra.finish(),
        })
    }

    /// RFC 3164, as it is spoken: whatever is not a stamp, a host and a tag belongs to the text.
    fn old<'a>(
        &self,
        text: &'a str,
        input: &Input<'_>,
        parts: &mut Parts<'a>,
    ) -> Result<(), Malformed> {
        parts.text = text.trim_ascii();
        let length = match leading_at(text.as_bytes(), self.utc_offset) {
            Some((time, length)) => {
                parts.time = Some(time?);
                length
            }
            None => match stamp(text) {
                Some((civil_in, length)) => {
                    let near = input.record_time()?;
                    let found = time::without_year(civil_in, self.utc_offset, near);
                    parts.time =
                        Some(found.ok_or_else(|| wrong("no such date in any year near", text))?);
                    length
                }
                None => return Ok(()),
            },
        };
        let Some(rest) = text.get(length..).and_then(|rest| rest.strip_prefix([' ', ':'])) else {
            parts.text = text.get(length..).unwrap_or_default().trim_ascii();
            return Ok(());
        };
        let mut rest = rest.trim_ascii_start();
        let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
        // A tag has its mark, so a word without one is a host.
        if !first.contains([':', '[', '\n']) || is_address(first) {
            parts.host = Some(first).filter(|host| !host.is_empty() && host.len() <= NAME_MAX);
            rest = after;
        }
        let after = tag(rest, parts);
        parts.text = after.trim_ascii();
        Ok(())
    }
}

/// An address of the Internet, version 6: the one kind of host that has colons.
fn is_address(word: &str) -> bool {
    word.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Takes the tag off the front of `text`, if there is one.
fn tag<'a>(text: &'a str, parts: &mut Parts<'a>) -> &'a str {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | '(' | ')');
    let end = text.find(|c| !allowed(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if name.is_empty() || name.len() > NAME_MAX {
        return text;
    }
    let process = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'));
    match process.filter(|(id, _)| id.len() <= NAME_MAX && !id.contains([' ', '\n'])) {
        Some((id, after)) => {
            parts.service = Some(name);
            if !id.is_empty() {
                parts.extra.text("process.pid", id);
            }
            after.strip_prefix(':').unwrap_or(after)
        }
        None => match rest.strip_prefix(':') {
            Some(after) => {
                parts.service = Some(name);
                after
            }
            None => text,
        },
    }
}

/// The stamp without a year at the front of `text`: the date and clock in a given year, and its length.
fn stamp(text: &str) -> Option<(impl Fn(i16) -> Option<DateTime> + use<>, usize)> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = text.get(..3)?;
    let month = (1_i8..).zip(MONTHS).find(|(_, known)| known.eq_ignore_ascii_case(name))?.0;
    let rest = text.get(3..)?.strip_prefix(' ')?;
    let padded = rest.strip_prefix(' ').unwrap_or(rest);
    let (day, clock) = padded.split_once(' ')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.parse::<i8>().ok().filter(|_| digits(text));
    let day = number(day).filter(|_| day.len() <= 2)?;
    let two = |at: usize| clock.get(at..at + 2).and_then(number);
    let colons = clock.get(2..3) == Some(":") && clock.get(5..6) == Some(":");
    let (hour, minute, second) = (two(0)?, two(3)?, two(6).filter(|_| colons)?);
    let second = if second == 60 { 59 } else { second };
    let fraction = clock.get(8..).and_then(|rest| rest.strip_prefix('.')).unwrap_or("");
    let places = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let millis = fraction.bytes().take(places).chain(std::iter::repeat(b'0')).take(3);
    let nanos = millis.fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0')) * 1_000_000;
    let length = text.len() - clock.len() + 8 + if places > 0 { places + 1 } else { 0 };
    Some((move |year| DateTime::new(year, month, day, hour, minute, second, nanos).ok(), length))
}

/// What follows the version of RFC 5424, if there is one.
fn version(text: &str) -> Option<&str> {
    let (version, rest) = text.split_once(' ')?;
    let valid = (1..=3).contains(&version.len())
        && version.bytes().all(|byte| byte.is_ascii_digit())
        && !version.starts_with('0');
    // `<4>11 -`: a number before a time or a `-`. Before anything else it is text.
    (valid && (rest.starts_with("- ") || time::leading(rest.as_bytes()).is_some())).then_some(rest)
}

/// RFC 5424 from its time on.
fn new<'a>(text: &'a str, parts: &mut Parts<'a>) -> Result<(), Malformed> {
    let mut rest = text;
    let mut next = |what: &str| {
        let (word, after) = rest
            .split_once(' ')
            .ok_or_else(|| wrong(&format!("the header ends before the {what}"), text))?;
        if word.is_empty() || word.len() > NAME_MAX {
            return Err(wrong(&format!("the {what} is empty or too long"), rest));
        }
        rest = after;
        Ok(Some(word).filter(|word| *word != "-"))
    };
    parts.time = next("time")?.map(time::from_text).transpose()?;
    parts.host = next("host")?;
    parts.service = next("app")?;
    let process = next("process")?;
    let kind = next("message id")?;
    for (name, value) in [("process.pid", process), ("log.syslog.msgid", kind)] {
        if let Some(value) = value {
            parts.extra.text(name, value);
        }
    }
    let after = match rest.strip_prefix('-') {
        Some(after) => after,
        None => structured(rest, parts)?,
    };
    let body = match after.strip_prefix(' ') {
        Some(body) => body,
        None if after.is_empty() => "",
        None => return Err(wrong("something directly after the structured data", after)),
    };
    parts.text = body.strip_prefix('\u{feff}').unwrap_or(body).trim_ascii();
    Ok(())
}

/// Reads structured data; returns what follows.
fn structured<'a>(text: &'a str, parts: &mut Parts<'a>) -> Result<&'a str, Malformed> {
    let end_missing = || wrong("structured data without its end", text);
    let mut rest = text;
    let mut all = Extra::default();
    let mut count = 0;
    if !rest.starts_with('[') {
        return Err(wrong("neither structured data nor `-`", rest));
    }
    while let Some(inside) = rest.strip_prefix('[') {
        let end = inside.find([' ', ']']).ok_or_else(end_missing)?;
        let (id, mut inner) = inside.split_at_checked(end).ok_or_else(end_missing)?;
        if id.is_empty() || id.contains(['=', '"']) {
            return Err(wrong("an element of structured data without an id", rest));
        }
        let mut element = Extra::default();
        while let Some(parameter) = inner.strip_prefix(' ') {
            let parameter = parameter.trim_start_matches(' ');
            if parameter.starts_with(']') {
                inner = parameter;
                break;
            }
            let (name, value) = parameter.split_once("=\"").ok_or_else(end_missing)?;
            if name.is_empty() || name.contains([' ', ']', '"', '=']) {
                return Err(wrong("a parameter without a name", parameter));
            }
            let (value, after) = quoted(value).ok_or_else(end_missing)?;
            element.text(name, &value);
            inner = after;
            count += 1;
            if count > FIELDS_MAX {
                return Err(Malformed::new(
                    Reason::TooLarge,
                    format!("more than {FIELDS_MAX} parameters"),
                ));
            }
        }
        rest =
            inner.strip_prefix(']').ok_or_else(|| wrong("a parameter that does not end", inner))?;
        let element = element.finish();
        all.json(id, if element.is_empty() { "{}".to_owned() } else { element.into() });
    }
    parts.extra.json("log.syslog.structured_data", all.finish().into());
    Ok(rest)
}

/// The text up to the next quote that is not escaped, and what follows the quote.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut at = 0;
    let mut escaped = false;
    loop {
        at += text.get(at..)?.find(['"', '\\'])?;
        if text.as_bytes().get(at) == Some(&b'"') {
            break;
        }
        escaped = true;
        // Behind the character that is escaped, whatever its length.
        at += 1 + text.get(at + 1..)?.chars().next()?.len_utf8();
    }
    let (value, rest) = (text.get(..at)?, text.get(at + 1..)?);
    if !escaped {
        return Some((Cow::Borrowed(value), rest));
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next @ ('"' | '\\' | ']')) if c == '\\' => {
                plain.push(*next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Some((Cow::Owned(plain), rest))
}
