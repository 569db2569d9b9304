//! Reading times: numbers by their magnitude, texts as RFC 3339 and its common relatives.
//!
//! # Numbers
//!
//! The unit is told by the magnitude of the number `n`:
//!
//! | `n` | unit | covers |
//! | --- | --- | --- |
//! | below 10^11 | seconds | to the year 5138 |
//! | below 10^14 | milliseconds | March 1973 to the year 5138 |
//! | below 10^17 | microseconds | March 1973 to the year 5138 |
//! | from there on | nanoseconds | March 1973 to 2554 |
//!
//! Micro- and nanoseconds are cut to milliseconds. A number with a fraction is rounded to the nearest
//! millisecond. Negative numbers are refused.
//!
//! # Texts
//!
//! ```text
//! time     = date ("T" | "t" | " ") clock [zone]
//! date     = YYYY ("-" | "/") MM ("-" | "/") DD          both separators alike
//! clock    = hh ":" mm ":" ss [("." | ",") digit+]       cut to milliseconds; second 60 counts as 59
//! zone     = "Z" | "z" | ("+" | "-") hh [":"] mm         without one: UTC, or the source's `utc_offset`
//! ```
//!
//! A text of digits only is read as a number.

use jiff::civil::DateTime;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::time::EventTime;

/// The last millisecond of the year 9999.
const LAST_MILLIS: u64 = 253_402_300_799_999;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

fn out_of_range(what: impl std::fmt::Display) -> Malformed {
    Malformed::new(
        Reason::TimeOutOfRange,
        format!("the time {what} lies before 1970 or after the year 9999"),
    )
}

/// How far the clocks of a source, which do not say so, are from UTC: less than a day.
///
/// ```
/// use tidewatch_connectors::codec::time::UtcOffset;
/// assert_eq!(UtcOffset::parse("+02:00").map(UtcOffset::seconds), Some(7_200));
/// assert_eq!(UtcOffset::parse("-0330").map(UtcOffset::seconds), Some(-12_600));
/// assert_eq!(UtcOffset::parse("Z"), Some(UtcOffset::default()));
/// assert_eq!(UtcOffset::parse("Europe/Lisbon"), None);
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct UtcOffset(i64);

impl UtcOffset {
    /// The offset that `text` spells as `Z`, `+hh:mm` or `-hhmm`.
    pub fn parse(text: &str) -> Option<Self> {
        let (seconds, length) = zone(text.as_bytes())?;
        (length == text.len()).then_some(UtcOffset(seconds))
    }

    /// An offset that a time says itself.
    pub(super) fn from_seconds(seconds: i32) -> Self {
        UtcOffset(i64::from(seconds))
    }

    /// Seconds east of Greenwich.
    pub fn seconds(self) -> i64 {
        self.0
    }
}

/// The time that a civil clock `offset` from UTC shows as `civil`.
pub(super) fn from_civil(civil: DateTime, offset: UtcOffset) -> Result<EventTime, Malformed> {
    let since = civil.duration_since(EPOCH);
    let millis = since.as_secs() * 1_000 + i64::from(since.subsec_millis()) - offset.0 * 1_000;
    let millis = u64::try_from(millis).map_err(|_| out_of_range(civil))?;
    checked(EventTime::from_millis(millis))
}

/// The time of a clock that shows no year: the year is the one that brings it nearest to `near`, so it is right
/// for whatever was on its way for less than half a year. `None` when no such date is near.
pub(super) fn without_year(
    mut civil_in: impl FnMut(i16) -> Option<DateTime>,
    offset: UtcOffset,
    near: EventTime,
) -> Option<EventTime> {
    let seconds = i64::try_from(near.as_millis() / 1_000).ok()? + offset.0;
    let near_civil = EPOCH.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()?;
    let years = [near_civil.year(), near_civil.year() - 1, near_civil.year() + 1];
    let times = years.into_iter().filter_map(|year| from_civil(civil_in(year)?, offset).ok());
    times.min_by_key(|time| time.as_millis().abs_diff(near.as_millis()))
}

/// `time`, unless it lies after the year 9999.
pub(super) fn checked(time: EventTime) -> Result<EventTime, Malformed> {
    if time.as_millis() > LAST_MILLIS { Err(out_of_range(time.as_millis())) } else { Ok(time) }
}

/// The time of a whole number, its unit told by its magnitude.
pub(super) fn from_integer(number: u64) -> EventTime {
    EventTime::from_millis(match number {
        0..100_000_000_000 => number * 1_000,
        100_000_000_000..100_000_000_000_000 => number,
        100_000_000_000_000..100_000_000_000_000_000 => number / 1_000,
        _ => number / 1_000_000,
    })
}

/// The time of a number with a fraction, or of one too large for an integer.
pub(super) fn from_float(number: f64) -> Result<EventTime, Malformed> {
    let millis = if number < 1e11 {
        number * 1e3
    } else if number < 1e14 {
        number
    } else if number < 1e17 {
        number / 1e3
    } else {
        number / 1e6
    }
    .round();
    // `LAST_MILLIS` is below 2^53, so this comparison is exact.
    if (0.0..=LAST_MILLIS as f64).contains(&millis) {
        Ok(EventTime::from_millis(millis as u64))
    } else {
        Err(out_of_range(number))
    }
}

/// The time of a whole text.
pub(super) fn from_text(text: &str) -> Result<EventTime, Malformed> {
    if let Some(time) = utc(text.as_bytes()) {
        return Ok(time);
    }
    let text = text.trim_ascii();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(from_integer).map_err(|_| out_of_range(text));
    }
    match leading(text.as_bytes()) {
        Some((time, length)) if length == text.len() => time,
        _ => Err(Malformed::new(
            Reason::Unparseable,
            format!(
                "{} is no time: write RFC 3339, as in `2026-11-22T19:40:00.123Z`, or a number since the epoch",
                super::excerpt(text.as_bytes(), 0)
            ),
        )),
    }
}

/// The time of a whole text as most loggers write it: `YYYY-MM-DDThh:mm:ss`, a fraction or none, and `Z`. `None` for
/// any other text, right or wrong, and where a second has the number 60: then [`leading_at`] knows.
fn utc(text: &[u8]) -> Option<EventTime> {
    /// Days of a year that is no leap year before each month, and of all.
    const BEFORE: [u64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    // Leap days before the first of January of a year.
    let leap_days = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let two = |ten: u8, one: u8| {
        let (ten, one) = (ten.wrapping_sub(b'0'), one.wrapping_sub(b'0'));
        (ten <= 9 && one <= 9).then(|| u64::from(ten) * 10 + u64::from(one))
    };
    let (head, rest) = text.split_first_chunk::<19>()?;
    let [a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n] = *head else {
        return None;
    };
    let year = two(a, b)? * 100 + two(c, d)?;
    let (month, day) = (two(e, f)?, two(g, h)?);
    let (hour, minute, second) = (two(i, j)?, two(k, l)?, two(m, n)?);
    let millis = match rest {
        [b'Z'] => 0,
        [b'.', fraction @ .., b'Z'] if !fraction.is_empty() => {
            if !fraction.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let three = fraction.iter().chain(std::iter::repeat(&b'0')).take(3);
            three.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
        }
        _ => return None,
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let index = usize::try_from(month).ok()?;
    let before = *BEFORE.get(index.checked_sub(1)?)?;
    let length = BEFORE.get(index)? - before + u64::from(is_leap && month == 2);
    if year < 1970 || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = (year - 1970) * 365 + leap_days(year) - leap_days(1970);
    let days = days + before + u64::from(is_leap && month > 2) + day - 1;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(EventTime::from_millis(seconds * 1_000 + millis))
}

/// The time at the very front of `bytes` and how many bytes it has; `None` when there is none.
pub(super) fn leading(bytes: &[u8]) -> Option<(Result<EventTime, Malformed>, usize)> {
    leading_at(bytes, UtcOffset::default())
}

/// The same, where a time without a zone is that of a clock `offset` from UTC.
pub(super) fn leading_at(
    bytes: &[u8],
    offset: UtcOffset,
) -> Option<(Result<EventTime, Malformed>, usize)> {
    let head: &[u8; 19] = bytes.first_chunk()?;
    let separator = head[4];
    let shape = matches!(separator, b'-' | b'/')
        && head[7] == separator
        && matches!(head[10], b'T' | b't' | b' ')
        && head[13] == b':'
        && head[16] == b':';
    if !shape {
        return None;
    }
    let year = digits(&head[0..4])?;
    let [month, day] = [digits(&head[5..7])?, digits(&head[8..10])?];
    let [hour, minute, second] =
        [digits(&head[11..13])?, digits(&head[14..16])?, digits(&head[17..19])?];
    let mut at = head.len();
    let mut millis = 0;
    if let Some(b'.' | b',') = bytes.get(at) {
        let fraction = bytes.get(at + 1..).unwrap_or_default();
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count > 0 {
            let three = fraction.iter().take(count).chain(std::iter::repeat(&b'0')).take(3);
            millis = three.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            at += 1 + count;
        }
    }
    let zone = zone(bytes.get(at..).unwrap_or_default());
    let (zone_seconds, zone_length) = zone.unwrap_or((offset.seconds(), 0));
    at += zone_length;
    let narrow = |number: i64| i8::try_from(number).ok();
    let civil = DateTime::new(
        i16::try_from(year).ok()?,
        narrow(month)?,
        narrow(day)?,
        narrow(hour)?,
        narrow(minute)?,
        narrow(second.min(if second == 60 { 59 } else { second }))?,
        0,
    )
    .ok()?;
    let seconds = civil.duration_since(EPOCH).as_secs() - zone_seconds;
    let time = u64::try_from(seconds * 1_000 + millis)
        .map_err(|_| out_of_range(seconds))
        .and_then(|millis| checked(EventTime::from_millis(millis)));
    Some((time, at))
}

/// The zone at the front of `bytes`, if there is one: seconds east of Greenwich, and its length.
fn zone(bytes: &[u8]) -> Option<(i64, usize)> {
    let sign = match bytes.first()? {
        b'Z' | b'z' => return Some((0, 1)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let colon = usize::from(bytes.get(3) == Some(&b':'));
    let hours = bytes.get(1..3).and_then(digits);
    let minutes = bytes.get(3 + colon..5 + colon).and_then(digits);
    match (hours, minutes) {
        (Some(hours @ 0..24), Some(minutes @ 0..60)) => {
            Some((sign * (hours * 3_600 + minutes * 60), 5 + colon))
        }
        _ => None,
    }
}

/// The number that the decimal digits spell; `None` when one of them is none.
fn digits(bytes: &[u8]) -> Option<i64> {
    bytes
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Option<u64> {
        from_text(text).ok().map(EventTime::as_millis)
    }

    #[test]
    fn relatives_of_rfc_3339() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01 00:00:00", Some(0)),
            ("1970-01-01 01:00:00+0100", Some(0)),
            ("1969-12-31t23:00:00-01:00", Some(0)),
            ("2024-02-29 12:00:00.5", Some(1_709_208_000_500)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_799_000)),
            ("9999-12-31T23:59:59.999999999Z", Some(253_402_300_799_999)),
            ("9999-12-31T23:59:59-00:01", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("2023-02-29 12:00:00", None),
            ("2024-01-01T24:00:00Z", None),
            ("2024-01-01T00:00:00+25:00", None),
            ("2024-01/01T00:00:00Z", None),
            ("2024-01-01T00:00:00.Z", None),
            ("2024-01-01T00:00:00Zulu", None),
            ("2024-01-01", None),
            ("", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    /// What the general reader makes of a whole text.
    fn general(text: &str) -> Option<EventTime> {
        let (time, length) = leading(text.as_bytes())?;
        time.ok().filter(|_| length == text.len())
    }

    #[test]
    fn every_day_of_the_usual_kind() {
        let years = (1969..2110).chain(2396..=2401).chain([0, 1900, 9996, 9999]);
        let mut days = 0;
        for (year, month) in years.flat_map(|year| (0..=13).map(move |month| (year, month))) {
            for day in 0..=32 {
                let text = format!("{year:04}-{month:02}-{day:02}T23:59:59.999Z");
                let found = utc(text.as_bytes());
                assert_eq!(found, general(&text), "{text}");
                days += u32::from(found.is_some());
            }
        }
        assert_eq!(
            days,
            148 * 365 + 34 + 2 + 1,
            "140 years, six and two of them, and their leap days"
        );
    }

    proptest! {
        /// The usual kind is read as the general way reads it, and what is nearly so, too.
        #[test]
        fn the_usual_kind(
            text in "(19|20|99)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,12})?Z",
            wrong in prop::option::of((any::<prop::sample::Index>(), "[ -~]")),
        ) {
            let found = utc(text.as_bytes());
            if !text.contains(":60") {
                prop_assert_eq!(found, general(&text));
            }
            prop_assert!(found.is_none() || found == general(&text));
            if let Some((at, byte)) = wrong {
                let at = at.index(text.len());
                let mut text = text;
                text.replace_range(at..=at, &byte);
                let found = utc(text.as_bytes());
                prop_assert!(found.is_none() || found == general(&text), "{}", text);
            }
        }

        /// Whatever jiff writes and reads as RFC 3339 is read alike.
        #[test]
        fn agrees_with_jiff(
            seconds in 0_i64..253_402_300_800,
            nanos in 0_i32..1_000_000_000,
            precision in prop::sample::select(vec![0_u8, 1, 3, 6, 9]),
            zone in -86_000_i32..86_000,
        ) {
            let time = jiff::Timestamp::new(seconds, nanos).unwrap();
            let precision = usize::from(precision);
            let text = format!("{time:.precision$}");
            let read: jiff::Timestamp = text.parse().unwrap();
            let expected = u64::try_from(read.as_millisecond()).unwrap();
            prop_assert_eq!(millis(&text), Some(expected));
            // With an offset, in whole minutes.
            let offset = jiff::tz::Offset::from_seconds(zone / 60 * 60).unwrap();
            let text = time.display_with_offset(offset).to_string();
            prop_assert_eq!(millis(&text), u64::try_from(time.as_millisecond()).ok(), "{}", text);
            prop_assert_eq!(millis(&text.replace('T', " ").replace('.', ",")), millis(&text));
        }

        /// The time at the front does not depend on what follows, unless that continues it.
        #[test]
        fn what_follows_does_not_matter(seconds in 0_i64..253_402_300_800, rest in "[ \\]a-z].{0,20}") {
            let text = jiff::Timestamp::from_second(seconds).unwrap().to_string();
            let line = format!("{text}{rest}");
            let (time, length) = leading(line.as_bytes()).unwrap();
            prop_assert_eq!((time.unwrap().as_millis(), length), (seconds as u64 * 1_000, text.len()));
        }
    }
}
