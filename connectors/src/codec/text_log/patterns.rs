//! Where time and level stand in lines that are not written as most are.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use regex::bytes::{Regex, RegexBuilder};
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::Level;
use tidewatch_dataflow::time::EventTime;

use super::super::time::{self, UtcOffset};
use super::super::{Input, excerpt, level};

/// Only the first 4 KiB of a first line are looked at: who writes a time writes it near the front.
const LOOKED_AT: usize = 4_096;
/// The most memory of one compiled expression: 1 MiB holds hundreds of alternatives.
const REGEX_MAX: usize = 1 << 20;

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression, or too large a one.
    #[error("`{pattern}` is no regular expression that can be used: {why}")]
    Regex {
        /// The text of the pattern.
        pattern: String,
        /// What the compiler of expressions says.
        why: String,
    },
    /// It is no format of times, or one that does not say enough.
    #[error("`{format}` is no format of a time: {why}")]
    TimeFormat {
        /// The text of the format.
        format: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A regular expression. Matching takes time in proportion to the line, whatever the expression.
///
/// ```
/// use tidewatch_connectors::codec::text_log::Pattern;
/// assert!(Pattern::new(r"^(\w+):").is_ok());
/// assert!(Pattern::new("(").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`PatternError::Regex`] when it is no expression, or one that takes more than 1 MiB.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let built = RegexBuilder::new(text).size_limit(REGEX_MAX).dfa_size_limit(REGEX_MAX).build();
        built.map(Pattern).map_err(|error| PatternError::Regex {
            pattern: text.to_owned(),
            // The compiler draws the place over several lines; the last one says what is wrong.
            why: {
                let told = error.to_string();
                let last = told.lines().last().unwrap_or_default().trim();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            },
        })
    }

    /// Where the first group, or else the whole match, stands in `line`.
    fn find(&self, line: &[u8]) -> Option<std::ops::Range<usize>> {
        let captures = self.0.captures(line)?;
        captures.get(1).or_else(|| captures.get(0)).map(|found| found.range())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// How times are written, in the words of `strptime`: `%d/%b/%Y:%H:%M:%S %z`.
///
/// ```
/// use tidewatch_connectors::codec::text_log::TimeFormat;
/// assert!(TimeFormat::new("%b %d %H:%M:%S").is_ok());
/// assert!(TimeFormat::new("%s").is_ok());
/// assert!(TimeFormat::new("%H:%M").is_err(), "no day");
/// assert!(TimeFormat::new("%Q%!").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFormat(Box<str>);

impl TimeFormat {
    /// Checks that `format` can be read and says month, day, hour and minute, or the seconds since the epoch.
    ///
    /// # Errors
    /// [`PatternError::TimeFormat`] when it cannot, or does not.
    pub fn new(format: &str) -> Result<Self, PatternError> {
        let wrong = |why: String| PatternError::TimeFormat { format: format.to_owned(), why };
        // What is written by it can be read by it, and names a day.
        let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let text = BrokenDownTime::from(&sample)
            .to_string(format)
            .map_err(|error| wrong(error.to_string()))?;
        let read =
            BrokenDownTime::parse(format, &text).map_err(|error| wrong(error.to_string()))?;
        let day = read.month().is_some() && read.day().is_some() || read.day_of_year().is_some();
        let clock = read.hour().is_some() && read.minute().is_some();
        if read.timestamp().is_none() && !(day && clock) {
            return Err(wrong("it needs month, day, hour and minute, or `%s`".to_owned()));
        }
        Ok(TimeFormat(format.into()))
    }

    /// The time at the front of `text` and how many bytes it has; `None` when there is none.
    fn leading(
        &self,
        text: &[u8],
        offset: UtcOffset,
        input: &Input<'_>,
    ) -> Option<(Result<EventTime, Malformed>, usize)> {
        let (mut read, length) = BrokenDownTime::parse_prefix(&*self.0, text).ok()?;
        Some((self.instant(&mut read, offset, input), length))
    }

    fn instant(
        &self,
        read: &mut BrokenDownTime,
        offset: UtcOffset,
        input: &Input<'_>,
    ) -> Result<EventTime, Malformed> {
        let no_date =
            || Malformed::new(Reason::Unparseable, format!("no such date, by `{:.64}`", self.0));
        let range = || {
            Malformed::new(
                Reason::TimeOutOfRange,
                "the time lies before 1970 or after the year 9999",
            )
        };
        if let Some(timestamp) = read.timestamp() {
            let millis = u64::try_from(timestamp.as_millisecond()).map_err(|_| range())?;
            return time::checked(EventTime::from_millis(millis));
        }
        if read.hour().is_some() && read.second().is_none() {
            read.set_second(Some(0)).map_err(|_| no_date())?;
        }
        if read.second() == Some(60) {
            read.set_second(Some(59)).map_err(|_| no_date())?;
        }
        let offset = match read.offset() {
            Some(own) => UtcOffset::from_seconds(own.seconds()),
            None => offset,
        };
        if read.year().is_none() && read.iso_week_year().is_none() {
            let in_year = |year| {
                read.set_year(Some(year)).ok()?;
                read.to_datetime().ok()
            };
            let near = input.record_time()?;
            return time::without_year(in_year, offset, near).ok_or_else(no_date);
        }
        let civil = read.to_datetime().map_err(|_| no_date())?;
        time::from_civil(civil, offset)
    }
}

/// Where time and level stand; empty: where most programs write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextPatterns {
    /// Finds the time.
    pub time: Option<Pattern>,
    /// How the time is written.
    pub time_format: Option<TimeFormat>,
    /// Finds the level.
    pub level: Option<Pattern>,
}

impl TextPatterns {
    /// The time of `line` and what follows it; `None` when nothing is said about times.
    pub(super) fn time<'a>(
        &self,
        line: &'a [u8],
        input: &Input<'_>,
        offset: UtcOffset,
    ) -> Result<Option<(EventTime, &'a [u8])>, Malformed> {
        let front = first_line(line);
        let behind = |end: usize| line.get(end..).unwrap_or_default();
        let leading = |text: &[u8]| match &self.time_format {
            Some(format) => format.leading(text, offset, input),
            None => time::leading_at(text, offset),
        };
        Ok(Some(match (&self.time, &self.time_format) {
            (None, None) => return Ok(None),
            (None, Some(_)) => match leading(front) {
                Some((time, length)) => (time?, behind(length)),
                None => (input.record_time()?, line),
            },
            (Some(pattern), _) => match pattern.find(front) {
                None => (input.record_time()?, line),
                Some(found) => {
                    let text = front.get(found.clone()).unwrap_or_default();
                    match leading(text) {
                        Some((time, length)) if length == text.len() => (time?, behind(found.end)),
                        _ => {
                            return Err(Malformed::new(
                                Reason::Unparseable,
                                format!(
                                    "{} was found by `time_pattern` and is no time",
                                    excerpt(text, 0)
                                ),
                            ));
                        }
                    }
                }
            },
        }))
    }

    /// The level of `line`; `None` when nothing is said about levels.
    pub(super) fn level(&self, line: &[u8]) -> Option<Level> {
        let pattern = self.level.as_ref()?;
        let front = first_line(line);
        let found = pattern.find(front).and_then(|at| std::str::from_utf8(front.get(at)?).ok());
        let level = found.and_then(|text| match text.parse() {
            Ok(number) => level::from_number(number),
            Err(_) => level::from_word(text).or_else(|| level::from_letter(text)),
        });
        Some(level.unwrap_or_default())
    }
}

/// The first line of `bytes`, as far as it is looked at.
fn first_line(bytes: &[u8]) -> &[u8] {
    let front = bytes.get(..LOOKED_AT).unwrap_or(bytes);
    let end = memchr::memchr2(b'\n', b'\r', front).unwrap_or(front.len());
    front.get(..end).unwrap_or_default()
}
