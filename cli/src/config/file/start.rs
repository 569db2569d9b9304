//! `start = "latest"`, `"earliest"` or a time.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tidewatch_dataflow::time::EventTime;

/// Where reading begins when there is no checkpoint.
///
/// ```
/// use tidewatch::config::file::Start;
/// let start: Start = "2026-03-01T00:00:00Z".parse().unwrap();
/// assert!(matches!(start, Start::At(_)));
/// assert_eq!("latest".parse(), Ok(Start::Latest));
/// assert!("now".parse::<Start>().is_err());
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the end of the log, less the longest window or condition, so that the first ones are whole.
    #[default]
    Latest,
    /// At the oldest record that is kept.
    Earliest,
    /// At the first record of each partition with this time or a later one.
    At(EventTime),
}

impl std::str::FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => return Ok(Start::Latest),
            "earliest" => return Ok(Start::Earliest),
            _ => {}
        }
        let millis = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        let millis = millis.and_then(|millis| u64::try_from(millis).ok());
        millis.map(|millis| Start::At(EventTime::from_millis(millis))).ok_or_else(|| {
            format!(
                "`{text}` is no place to start: write \"latest\", \"earliest\" or a time with its offset such as \"2026-03-01T00:00:00Z\""
            )
        })
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Start;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"latest\", \"earliest\" or a time such as \"2026-03-01T00:00:00Z\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Start, E> {
                text.parse().map_err(E::custom)
            }
            /// TOML has times of its own, without quotes; they arrive as a map.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Start, A::Error> {
                let time = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
                time.to_string().parse().map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}
