//! A time as people say it: how long ago, or when.

use std::str::FromStr;

use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::time::EventTime;

/// How long ago, or when.
///
/// ```
/// use tidewatch::commands::query::Since;
/// use tidewatch_dataflow::time::EventTime;
/// let now = EventTime::from_millis(10_000);
/// assert_eq!("4s".parse::<Since>().unwrap().before(now), EventTime::from_millis(6_000));
/// let at: Since = "1970-01-01T00:00:05Z".parse().unwrap();
/// assert_eq!(at.before(now), EventTime::from_millis(5_000));
/// assert!("yesterday".parse::<Since>().is_err());
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long before the present.
    Ago(HumanDuration),
    /// At this instant.
    At(EventTime),
}

impl Since {
    /// The instant that is meant, `now` being the present.
    pub fn before(self, now: EventTime) -> EventTime {
        match self {
            Since::Ago(ago) => now.saturating_sub(ago.get()),
            Since::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = text.parse() {
            return Ok(Since::Ago(ago));
        }
        let millis = crate::commands::instant(text);
        millis.map(|millis| Since::At(EventTime::from_millis(millis))).ok_or_else(|| {
            "write how long ago, such as 30m or 7d, or a time with its offset such as 2026-03-01T00:00:00Z"
                .to_owned()
        })
    }
}
