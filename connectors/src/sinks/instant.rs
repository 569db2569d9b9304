//! Event time as people and stores write it, in UTC.

use jiff::Timestamp;
use jiff::civil::Date;
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

/// The first instant of a day as [`day`] writes it; `None` when `text` is anything else.
pub(super) fn start_of_day(text: &str) -> Option<EventTime> {
    let mut parts = text.splitn(3, '.');
    let (year, month, date) = (parts.next()?, parts.next()?, parts.next()?);
    let date = Date::new(year.parse().ok()?, month.parse().ok()?, date.parse().ok()?).ok()?;
    let start = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    let start = EventTime::from_millis(u64::try_from(start).ok()?);
    // Numbers are read in other forms too, `+5` and `5`.
    (day(start).as_deref() == Some(text)).then_some(start)
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
    fn a_day_reads_back_as_its_first_instant() {
        let midnight = EventTime::from_millis(1_795_392_000_000);
        assert_eq!(start_of_day("2026.11.23"), Some(midnight));
        assert_eq!(start_of_day("1970.01.01"), Some(EventTime::MIN));
        for wrong in ["2026.11.23 ", "2026.11.31", "2026.11", "2026.11.2", "1969.12.31", ""] {
            assert_eq!(start_of_day(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_no_calendar_holds_is_said_so() {
        assert_eq!(rfc3339(EventTime::MAX), None);
        assert_eq!(day(EventTime::MAX), None);
        assert!(readable(EventTime::MAX).ends_with(" ms after the epoch"));
    }
}
