//! The words of line protocol: where they end, and what they spell.

use std::borrow::Cow;

use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::time::EventTime;

use super::super::time;
use super::Precision;

/// The first place from `at` on where a byte is not one of those to `skip`.
#[inline]
pub(super) fn skip(bytes: &[u8], at: usize, skip: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !skip(*byte)).unwrap_or(rest.len())
}

/// Where a word that begins at `start` ends: at the first byte that `stops` without a backslash before it, or at
/// a line's end; and whether it has a backslash inside.
#[inline]
pub(super) fn word(bytes: &[u8], start: usize, stops: impl Fn(u8) -> bool) -> (usize, bool) {
    let mut escaped = false;
    let mut before = 0;
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        if (stops(*byte) && before != b'\\') || *byte == b'\n' {
            return (at, escaped);
        }
        escaped |= *byte == b'\\';
        before = *byte;
    }
    (bytes.len(), escaped)
}

/// `text` without the backslashes that stand before one of `special`.
pub(super) fn unescape<'a>(text: &'a str, escaped: bool, special: &str) -> Cow<'a, str> {
    if !escaped {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match rest.peek() {
            Some(next) if c == '\\' && special.contains(*next) => {
                plain.push(*next);
                rest.next();
            }
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Where the string whose inside begins at `at` ends, its last quote included.
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The number that a field's value spells.
pub(super) fn number(text: &str) -> Result<f64, Malformed> {
    let wrong = |reason, what: &str| {
        let cut: String = text.chars().take(32).collect();
        Malformed::new(reason, format!("`{}` is {what}", cut.escape_debug()))
    };
    let no_value = || {
        wrong(
            Reason::Unparseable,
            "no value of a field: not a number, a boolean or a text in quotes",
        )
    };
    let beyond = || wrong(Reason::NotANumber, "beyond the range of its type");
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(0.0),
        _ => {}
    }
    match text.as_bytes().last() {
        Some(b'i') => {
            let integer = text.get(..text.len() - 1).unwrap_or_default();
            if !digits(integer.strip_prefix(['-', '+']).unwrap_or(integer)) {
                return Err(no_value());
            }
            integer.parse::<i64>().map(|number| number as f64).map_err(|_| beyond())
        }
        Some(b'u') => {
            let integer = text.get(..text.len() - 1).unwrap_or_default();
            if !digits(integer) {
                return Err(no_value());
            }
            integer.parse::<u64>().map(|number| number as f64).map_err(|_| beyond())
        }
        _ => {
            // The standard library also reads `inf` and `nan`, which line protocol does not know.
            let spelled = |b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
            if !text.bytes().all(spelled) {
                return Err(no_value());
            }
            let number: f64 = text.parse().map_err(|_| no_value())?;
            if number.is_finite() { Ok(number) } else { Err(beyond()) }
        }
    }
}

/// The time that `text` spells in units of `precision`.
pub(super) fn instant(text: &str, precision: Precision) -> Result<EventTime, Malformed> {
    let out_of_range = || {
        Malformed::new(
            Reason::TimeOutOfRange,
            format!("the time {text:.24} lies before 1970 or after the year 9999"),
        )
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let cut: String = text.chars().take(32).collect();
        return Err(Malformed::new(
            Reason::Unparseable,
            format!("`{}` is no time: it has to be a whole number", cut.escape_debug()),
        ));
    }
    // `-0` is the epoch, all other negative numbers lie before it.
    let number: u64 = digits.parse().map_err(|_| out_of_range())?;
    if text.len() != digits.len() && number > 0 {
        return Err(out_of_range());
    }
    let millis = match precision {
        Precision::Auto => return Ok(time::from_integer(number)),
        Precision::Nanoseconds => number / 1_000_000,
        Precision::Microseconds => number / 1_000,
        Precision::Milliseconds => number,
        Precision::Seconds => number.checked_mul(1_000).ok_or_else(out_of_range)?,
    };
    time::checked(EventTime::from_millis(millis))
}
