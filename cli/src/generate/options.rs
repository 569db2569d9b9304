//! What may be chosen about a workload, and within which bounds.

use serde::{Deserialize, Serialize};

/// Hosts at least: every service has one.
pub const HOSTS_MIN: u32 = 50;
/// Hosts at most: a million series of each measurement, about 150 MB in the generator.
pub const HOSTS_MAX: u32 = 1_000_000;
/// Seconds between two samples of a host at most.
pub const INTERVAL_MAX: u32 = 60;
/// Seconds of event time at most: a year.
pub const SECONDS_MAX: u64 = 366 * 86_400;
/// Event time of second 0 unless another is asked for: 2023-11-14T22:13:20Z, a whole number of 10 s.
pub const START_DEFAULT: u64 = 1_700_000_000_000;
/// Event time of second 0 at most: 9990-01-01T00:00:00Z, so that all times have four digits for the year.
pub const START_MAX: u64 = 253_086_854_400_000;

/// What a workload is made from. The same options give the same bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Everything random depends on it.
    pub seed: u64,
    /// How many metric messages, rounded down to a whole number of rounds of the fleet (end marks not counted).
    pub messages: u64,
    /// How many hosts, [`HOSTS_MIN`] to [`HOSTS_MAX`].
    pub hosts: u32,
    /// Seconds of event time between two samples of a host, 1 to [`INTERVAL_MAX`].
    pub interval: u32,
    /// Event time of second 0, in milliseconds since 1970.
    pub start: u64,
}

impl Options {
    /// A thousand hosts that sample once a second, from [`START_DEFAULT`].
    pub fn new(seed: u64, messages: u64) -> Self {
        Options { seed, messages, hosts: 1_000, interval: 1, start: START_DEFAULT }
    }

    /// The length in seconds of event time: every host sends three messages an interval.
    ///
    /// # Errors
    /// [`OptionsError`] when an option is out of its bounds, or there are too few messages for one round.
    pub fn seconds(&self) -> Result<u64, OptionsError> {
        let Options { messages, hosts, interval, start, .. } = *self;
        if !(HOSTS_MIN..=HOSTS_MAX).contains(&hosts) {
            return Err(OptionsError::Hosts(hosts));
        }
        if !(1..=INTERVAL_MAX).contains(&interval) {
            return Err(OptionsError::Interval(interval));
        }
        if start > START_MAX {
            return Err(OptionsError::Start(start));
        }
        let per_round = 3 * u64::from(hosts);
        let seconds = (messages / per_round).saturating_mul(u64::from(interval));
        match seconds {
            0 => Err(OptionsError::TooFew { messages, hosts, per_round }),
            1..=SECONDS_MAX => Ok(seconds),
            _ => Err(OptionsError::TooMany { messages, hosts, seconds }),
        }
    }
}

/// Why there is no such workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Too few or too many hosts.
    #[error("`--hosts` is {0}: choose {HOSTS_MIN} to {HOSTS_MAX}")]
    Hosts(u32),
    /// No interval, or too long a one.
    #[error("`--interval` is {0}: choose 1 to {INTERVAL_MAX} seconds")]
    Interval(u32),
    /// Begins too late.
    #[error("`--start` is {0} ms after 1970: choose a time before the year 9990")]
    Start(u64),
    /// Not one round of the fleet.
    #[error(
        "`--messages` is {messages}, and one round of {hosts} hosts is {per_round}: ask for at least that many, \
         or for fewer `--hosts`"
    )]
    TooFew {
        /// How many were asked for.
        messages: u64,
        /// Of how many hosts.
        hosts: u32,
        /// The messages of a round.
        per_round: u64,
    },
    /// More than a year.
    #[error(
        "`--messages` is {messages}, which {hosts} hosts send in {seconds} s, more than a year: ask for fewer, \
         or for more `--hosts`"
    )]
    TooMany {
        /// How many were asked for.
        messages: u64,
        /// Of how many hosts.
        hosts: u32,
        /// How long they would take.
        seconds: u64,
    },
}

/// Reads a count as people write it: `250000`, `250_000`, `250k`, `10M`, `1.5M`, `2G`.
///
/// ```
/// use tidewatch::generate::parse_count;
/// assert_eq!(parse_count("112_200"), Ok(112_200));
/// assert_eq!(parse_count("1.5M"), Ok(1_500_000));
/// assert!(parse_count("1.0001k").unwrap_err().contains("whole number"));
/// assert!(parse_count("ten").is_err());
/// ```
///
/// # Errors
/// What is wrong with it and what to write instead.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = |why: &str| {
        format!("{why}: write a whole number, or one with k, M or G, such as 500k or 10M")
    };
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1_000_u64),
        Some((at, 'm' | 'M')) => (text.get(..at), 1_000_000),
        Some((at, 'g' | 'G')) => (text.get(..at), 1_000_000_000),
        _ => (Some(text), 1),
    };
    let digits = digits.unwrap_or_default().replace('_', "");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return Err(wrong("not a number"));
    }
    let too_large = || wrong("too large");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut count = whole.checked_mul(unit).ok_or_else(too_large)?;
    let mut place = unit;
    for digit in fraction.trim_end_matches('0').bytes() {
        if place < 10 {
            return Err(wrong("not a whole number"));
        }
        place /= 10;
        count = count.checked_add(u64::from(digit - b'0') * place).ok_or_else(too_large)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_people_write_them() {
        let read: Vec<_> =
            ["0", "7", "10M", "500k", "2G", "0.25k", "1.50M"].map(parse_count).to_vec();
        let wanted = [0, 7, 10_000_000, 500_000, 2_000_000_000, 250, 1_500_000].map(Ok);
        assert_eq!(read, wanted);
        for wrong in ["", "k", "M10", "-1", "1e6", "1.5", "0.00001k", "99999999999G", "5é", "é"] {
            assert!(parse_count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_follow_from_messages_hosts_and_interval() {
        let seconds = |messages, hosts, interval| {
            Options { hosts, interval, ..Options::new(1, messages) }.seconds()
        };
        assert_eq!(seconds(10_000_000, 1_000, 1), Ok(3_333));
        assert_eq!(seconds(102_000, 1_000, 1), Ok(34));
        assert_eq!(seconds(3_000_000, 10_000, 10), Ok(1_000));
        assert!(matches!(seconds(2_999, 1_000, 1), Err(OptionsError::TooFew { .. })));
        assert!(matches!(seconds(u64::MAX, 50, 60), Err(OptionsError::TooMany { .. })));
        assert_eq!(seconds(1, 49, 1), Err(OptionsError::Hosts(49)));
        assert_eq!(seconds(1, 50, 0), Err(OptionsError::Interval(0)));
        let late = Options { start: START_MAX + 1, ..Options::new(1, 3_000) };
        assert_eq!(late.seconds(), Err(OptionsError::Start(START_MAX + 1)));
    }
}
