//! OTLP in JSON as `serde_json` reads it. Names in camelCase, as the standard has them, or in snake_case, as some
//! write them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::any::Any;

/// A request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    #[serde(borrow, alias = "resource_metrics")]
    pub(super) resource_metrics: Option<Vec<ResourceMetrics<'a>>>,
    #[serde(borrow, alias = "resource_logs")]
    pub(super) resource_logs: Option<Vec<ResourceLogs<'a>>>,
    #[serde(alias = "resource_spans")]
    pub(super) resource_spans: Option<de::IgnoredAny>,
}

/// Metrics of one resource.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceMetrics<'a> {
    #[serde(borrow, default)]
    pub(super) resource: Resource<'a>,
    #[serde(borrow, default, alias = "scope_metrics")]
    pub(super) scope_metrics: Vec<ScopeMetrics<'a>>,
}

/// Logs of one resource.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceLogs<'a> {
    #[serde(borrow, default)]
    pub(super) resource: Resource<'a>,
    #[serde(borrow, default, alias = "scope_logs")]
    pub(super) scope_logs: Vec<ScopeLogs<'a>>,
}

/// Who speaks.
#[derive(Default, Deserialize)]
pub(super) struct Resource<'a> {
    #[serde(borrow, default)]
    pub(super) attributes: Vec<KeyValue<'a>>,
}

/// Metrics of one library.
#[derive(Deserialize)]
pub(super) struct ScopeMetrics<'a> {
    #[serde(borrow, default)]
    pub(super) metrics: Vec<Metric<'a>>,
}

/// Logs of one library.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScopeLogs<'a> {
    #[serde(borrow, default, alias = "log_records")]
    pub(super) log_records: Vec<Log<'a>>,
}

/// One metric; it has one kind of data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metric<'a> {
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) gauge: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) sum: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) histogram: Option<Data<'a>>,
    #[serde(borrow, alias = "exponential_histogram")]
    pub(super) exponential_histogram: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) summary: Option<Data<'a>>,
}

/// The points of a metric.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data<'a> {
    #[serde(borrow, default, alias = "data_points")]
    pub(super) data_points: Vec<Point<'a>>,
}

/// A point of any kind: what a kind does not have is absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Point<'a> {
    #[serde(borrow, default)]
    pub(super) attributes: Vec<KeyValue<'a>>,
    #[serde(default, alias = "time_unix_nano")]
    pub(super) time_unix_nano: Number,
    #[serde(default)]
    pub(super) flags: Number,
    #[serde(alias = "as_double")]
    pub(super) as_double: Option<Number>,
    #[serde(alias = "as_int")]
    pub(super) as_int: Option<Number>,
    pub(super) count: Option<Number>,
    pub(super) sum: Option<Number>,
    pub(super) min: Option<Number>,
    pub(super) max: Option<Number>,
    #[serde(default, alias = "quantile_values")]
    pub(super) quantile_values: Vec<AtQuantile>,
}

/// One quantile of a summary.
#[derive(Deserialize)]
pub(super) struct AtQuantile {
    #[serde(default)]
    pub(super) quantile: Number,
    #[serde(default)]
    pub(super) value: Number,
}

/// One log record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log<'a> {
    #[serde(default, alias = "time_unix_nano")]
    pub(super) time_unix_nano: Number,
    #[serde(default, alias = "observed_time_unix_nano")]
    pub(super) observed_time_unix_nano: Number,
    #[serde(default, alias = "severity_number")]
    pub(super) severity_number: Number,
    #[serde(borrow, default, alias = "severity_text")]
    pub(super) severity_text: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) body: Any<'a>,
    #[serde(borrow, default)]
    pub(super) attributes: Vec<KeyValue<'a>>,
    #[serde(borrow, default, alias = "trace_id")]
    pub(super) trace_id: Cow<'a, str>,
    #[serde(borrow, default, alias = "span_id")]
    pub(super) span_id: Cow<'a, str>,
    #[serde(borrow, default, alias = "event_name")]
    pub(super) event_name: Cow<'a, str>,
}

/// An attribute.
#[derive(Deserialize)]
pub(super) struct KeyValue<'a> {
    #[serde(borrow, default)]
    pub(super) key: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) value: Any<'a>,
}

/// A number, which may be written as a text.
#[derive(Copy, Clone)]
pub(super) enum Number {
    Whole(u64),
    Negative(i64),
    Float(f64),
}

impl Default for Number {
    fn default() -> Self {
        Number::Whole(0)
    }
}

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Whole(number) => number as f64,
            Number::Negative(number) => number as f64,
            Number::Float(number) => number,
        }
    }

    /// As a count or a time, of which none is negative: such a one is 0, which is none.
    pub(super) fn as_u64(self) -> u64 {
        match self {
            Number::Whole(number) => number,
            Number::Negative(_) => 0,
            // Saturates; a number that is none becomes 0.
            Number::Float(number) => number as u64,
        }
    }

    fn as_i64(self) -> i64 {
        match self {
            Number::Whole(number) => i64::try_from(number).unwrap_or(i64::MAX),
            Number::Negative(number) => number,
            Number::Float(number) => number as i64,
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a text that is one")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number::Whole(number))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Negative(number))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Float(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                // `NaN` and `Infinity` are spelled so in JSON.
                let whole = text.parse().map(Number::Whole);
                let negative = || text.parse().map(Number::Negative);
                let float = |_| text.parse().map(Number::Float);
                whole.or_else(|_| negative()).or_else(float).map_err(|_| {
                    E::invalid_value(de::Unexpected::Str(text.get(..32).unwrap_or("a text")), &self)
                })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Any<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Any<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, an object with `stringValue` or the like")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Any<'de>, E> {
                Ok(Any::Empty)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any<'de>, A::Error> {
                let mut value = Any::Empty;
                while let Some(kind) = map.next_key::<Kind>()? {
                    value = match kind {
                        Kind::Text => Any::Text(map.next_value::<Text<'de>>()?.0),
                        Kind::Bool => Any::Bool(map.next_value()?),
                        Kind::Int => Any::Int(map.next_value::<Number>()?.as_i64()),
                        Kind::Double => Any::Double(map.next_value::<Number>()?.as_f64()),
                        Kind::List => Any::List(map.next_value::<Values<'de>>()?.values),
                        Kind::Map => {
                            let members = map.next_value::<Members<'de>>()?.values;
                            Any::Map(members.into_iter().map(|m| (m.key, m.value)).collect())
                        }
                        Kind::Other => {
                            map.next_value::<de::IgnoredAny>()?;
                            continue;
                        }
                    };
                }
                Ok(value)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The kinds of values.
#[derive(Deserialize)]
enum Kind {
    /// Bytes are a text in JSON.
    #[serde(
        rename = "stringValue",
        alias = "string_value",
        alias = "bytesValue",
        alias = "bytes_value"
    )]
    Text,
    #[serde(rename = "boolValue", alias = "bool_value")]
    Bool,
    #[serde(rename = "intValue", alias = "int_value")]
    Int,
    #[serde(rename = "doubleValue", alias = "double_value")]
    Double,
    #[serde(rename = "arrayValue", alias = "array_value")]
    List,
    #[serde(rename = "kvlistValue", alias = "kvlist_value")]
    Map,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow, default)]
    values: Vec<Any<'a>>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    values: Vec<KeyValue<'a>>,
}
