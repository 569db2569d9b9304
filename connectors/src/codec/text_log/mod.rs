//! Log lines as plain text, with a level and a time somewhere near the front.
//!
//! # Grammar
//!
//! ```text
//! line   = ["<" PRI ">" ["1 "]] ["["] [time] rest
//! time   = see the module `time`
//! ```
//!
//! or what the source's [`TextPatterns`] say. A record is one line, whatever line breaks it has inside: a stack
//! trace stays with its message, and patterns are looked for in its first line only.
//!
//! # What it means
//!
//! - **Time**: that at the front, else Kafka's timestamp. A time without a zone is taken `utc_offset` from UTC,
//!   which is 0 unless the source says otherwise.
//! - **Level**: the first [word for one](super::level) among the first 16 words within the first 160
//!   bytes that stands as loggers write it: in capitals (`ERROR`), in brackets or bars (`[error]`,
//!   `<warn>`, `|info|`), before a colon (`warning:`), or after `level=`, `lvl=` or `severity=`. So
//!   `check error count` in the running text is not mistaken for one. Without such a word the level is
//!   that of syslog's priority (`<34>`), and INFO without either.
//! - **Host**: the record's key, `unknown` without one. **Service**: the topic.
//! - **Text**: the whole line as it is, without white space at its end. Bytes that are not UTF-8 become
//!   U+FFFD: a log line in another encoding is worth more than none.
//!
//! With patterns:
//!
//! - `time_pattern` is a regular expression; its first group, or all that it matches, is the time. `time_format`
//!   says how that is written, as `strptime` does; without one it is a time as above. A `time_format` alone is
//!   looked for at the front of the line, after a `[` if there is one. A line without a match has Kafka's timestamp:
//!   it has no time of its own. One whose match is no time is refused. A format without a year
//!   takes the year that brings the time nearest to Kafka's timestamp, as [syslog](super::syslog) does.
//! - `level_pattern` is a regular expression; its first group, or all that it matches, is a word, a number or the
//!   first letter of a level. Anything else, and a line without a match, is INFO.
//!
//! Each line also is a point of the measurement `log`, as with [`super::json_log`].
//!
//! # What is refused
//!
//! A line with a time before 1970 (`time_out_of_range`), one without any time at all (`missing_field`), one
//! whose `time_pattern` matches what its `time_format` does not (`unparseable`), a key that is not UTF-8
//! (`unparseable`).

mod patterns;

pub use patterns::{Pattern, PatternError, TextPatterns, TimeFormat};

use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::{Decoded, Level, LogLine};
use tidewatch_dataflow::series::SeriesTable;

use super::line::{LineWriter, UNKNOWN};
use super::time::UtcOffset;
use super::{Decode, Input, SourceFormat, level, time};

/// How far into a line the level is looked for.
const LEVEL_BYTES: usize = 160;
/// How many words of a line may come before the level.
const LEVEL_WORDS: usize = 16;

/// The codec; see the module.
pub(super) struct TextLog {
    lines: LineWriter,
    service: Box<str>,
    utc_offset: UtcOffset,
    patterns: TextPatterns,
}

impl TextLog {
    pub(super) fn new(source: &SourceFormat) -> Self {
        TextLog {
            lines: LineWriter::new(source),
            service: source.topic.clone(),
            utc_offset: source.utc_offset,
            patterns: source.patterns.clone(),
        }
    }
}

impl Decode for TextLog {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let bytes = input.value.trim_ascii_end();
        let (priority, body) = priority(bytes);
        let body = body.strip_prefix(b"[").unwrap_or(body);
        let (event_time, rest) = match self.patterns.time(body, &input, self.utc_offset)? {
            Some(found) => found,
            None => match time::leading_at(body, self.utc_offset) {
                Some((time, length)) => (time?, body.get(length..).unwrap_or_default()),
                None => (input.record_time()?, body),
            },
        };
        let level = match self.patterns.level(bytes) {
            Some(level) => level,
            None => word(rest).or(priority).unwrap_or_default(),
        };
        let line = LogLine {
            partition: input.partition,
            offset: input.record.offset,
            index: 0,
            generation: 0,
            event_time,
            level,
            host: input.key_text()?.unwrap_or(UNKNOWN).into(),
            service: self.service.clone(),
            message: String::from_utf8_lossy(bytes).into(),
            extra: Box::default(),
        };
        self.lines.push(line, series, out)
    }
}

/// The level of syslog's priority at the front of `line`, and what follows.
fn priority(line: &[u8]) -> (Option<Level>, &[u8]) {
    let found = || {
        let inside = line.strip_prefix(b"<")?;
        let end = inside.iter().take(4).position(|byte| *byte == b'>')?;
        let number: u64 = std::str::from_utf8(inside.get(..end)?).ok()?.parse().ok()?;
        let level = (number <= 191).then(|| level::from_number(number % 8)).flatten()?;
        let rest = inside.get(end + 1..)?;
        // RFC 5424 has its version before the time.
        Some((Some(level), rest.strip_prefix(b"1 ").unwrap_or(rest)))
    };
    found().unwrap_or((None, line))
}

/// The first word for a level that stands as loggers write it.
pub(super) fn word(line: &[u8]) -> Option<Level> {
    let head = line.get(..LEVEL_BYTES).unwrap_or(line);
    let mut at = 0;
    for _ in 0..LEVEL_WORDS {
        let start = at + head.get(at..)?.iter().position(u8::is_ascii_alphabetic)?;
        let length = head.get(start..)?.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        at = start + length;
        let found = head.get(start..at).and_then(|word| std::str::from_utf8(word).ok());
        if let Some(found) = found
            && let Some(level) = level::from_word(found)
            && stands_out(found, head.get(..start).unwrap_or_default(), line.get(at))
        {
            return Some(level);
        }
    }
    None
}

/// Whether a word stands as loggers write levels and not as in running text.
fn stands_out(word: &str, before: &[u8], next: Option<&u8>) -> bool {
    // Part of a longer name (`ERROR_COUNT`, `2error`, `error-prone`) is no level.
    let joins =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    let last = before.last();
    if last.is_some_and(joins) || next.is_some_and(|byte| joins(byte) && *byte != b'.') {
        return false;
    }
    let capitals = word.bytes().all(|byte| byte.is_ascii_uppercase());
    let opens = matches!(last, Some(b'[' | b'<' | b'(' | b'|' | b'{'));
    let closes = matches!(next, Some(b']' | b'>' | b')' | b'|' | b'}'));
    let named =
        before.strip_suffix(b"=").or_else(|| before.strip_suffix(b"=\"")).is_some_and(|b| {
            let tail = b.rsplit(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
            [b"level".as_slice(), b"lvl", b"severity"]
                .iter()
                .any(|name| tail.eq_ignore_ascii_case(name))
        });
    capitals || (opens && closes) || named || next == Some(&b':')
}
