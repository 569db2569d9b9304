//! Event time as people and stores write it, in UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidewatch_dataflow::time::EventTime;

/// The instant as a civil time, or `None` beyond the year 9999.
fn timestamp(time: EventTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(time.as_millis()).ok()?).ok()
}

/// `2026-11-22T19:40:00.123Z`, always with three decimals; `None` beyond the year 9999.
pub(super) fn rfc3339(time: EventTime) -> Option<String> {
    Some(format!("{:.3}", timestamp(time)?))
}

/// `2026.11.22`, the day of an index; `None` beyond the year 9999.
pub(super) fn day(time: EventTime) -> Option<String> {
    let date = timestamp(time)?.to_zoned(TimeZone::UTC).date();
    Some(format!("{:04}.{:02}.{:02}", date.year(), date.month(), date.day()))
}

/// `2026-11-22 19:40:00 UTC`, for people.
pub(super) fn readable(time: EventTime) -> String {
    match timestamp(time) {
        Some(time) => {
            let civil = time.to_zoned(TimeZone::UTC).datetime();
            format!("{} {:.0} UTC", civil.date(), civil.time())
        }
        None => format!("{} ms after the epoch", time.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form() {
        let time = EventTime::from_millis(1_795_376_400_120);
        assert_eq!(rfc3339(time).as_deref(), Some("2026-11-22T19:40:00.120Z"));
        assert_eq!(day(time).as_deref(), Some("2026.11.22"));
        assert_eq!(readable(time), "2026-11-22 19:40:00 UTC");
        assert_eq!(rfc3339(EventTime::MIN).as_deref(), Some("1970-01-01T00:00:00.000Z"));
    }

    #[test]
    fn days_change_at_midnight_in_utc() {
        let midnight = 1_795_392_000_000;
        assert_eq!(day(EventTime::from_millis(midnight - 1)).as_deref(), Some("2026.11.22"));
        assert_eq!(day(EventTime::from_millis(midnight)).as_deref(), Some("2026.11.23"));
    }

    #[test]
    fn what_no_calendar_holds_is_said_so() {
        assert_eq!(rfc3339(EventTime::MAX), None);
        assert_eq!(day(EventTime::MAX), None);
        assert!(readable(EventTime::MAX).ends_with(" ms after the epoch"));
    }
}
