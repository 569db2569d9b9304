//! What a record carries beside its value, made part of what its value says: key and headers as labels, and
//! Kafka's timestamp as the time.
//!
//! It works on what a codec has made, so it is the same for every format:
//!
//! - A point gets the label of the key and of each header that the source names. A label that the value itself
//!   has stays as it is.
//! - A log line gets them too: `host` and `service` where it says `unknown`, all others among its further fields,
//!   unless it has one of that name.
//! - With [`TimeFrom::Record`] all points and lines are at Kafka's timestamp.
//!
//! A record without the key or header, or with an empty one, is without the label. One whose text is not UTF-8
//! is refused (`unparseable`), as is one without timestamp where that is to be the time (`missing_field`). Of a
//! repeated header the last one counts.
//!
//! # Cost
//!
//! None where the source names nothing. Otherwise each point is looked up in a second table of series, the codec's
//! own, so that series without the labels are not counted among those of the pipeline.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, LOG_MEASUREMENT, LogLine};
use tidewatch_dataflow::series::SeriesTable;

use super::fields::FieldCache;
use super::json::push_string;
use super::line::{LogLabels, UNKNOWN};
use super::{Decode, Input, POINTS_MAX, SourceFormat, check_labels, table_full};

/// Which parts of a record become labels.
///
/// ```
/// use tidewatch_connectors::codec::RecordLabels;
/// let labels = RecordLabels {
///     key: Some("host".into()),
///     headers: vec![("x-region".into(), "region".into())],
/// };
/// assert!(!labels.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordLabels {
    /// The label that the key becomes.
    pub key: Option<Box<str>>,
    /// Names of headers, and the labels that they become.
    pub headers: Vec<(Box<str>, Box<str>)>,
}

impl RecordLabels {
    /// Whether nothing becomes a label.
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.headers.is_empty()
    }
}

/// Whose time counts.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFrom {
    /// That in the value; Kafka's timestamp where there is none.
    #[default]
    Value,
    /// Kafka's timestamp, whatever the value says.
    Record,
}

/// So many series of the codec's own are kept at most before they are forgotten and learned again: with about 160
/// bytes each 40 MiB for each source of a worker.
const OWN_MAX: usize = 1 << 18;

/// Makes what a record carries part of what a codec has made of it.
pub(super) struct Carried {
    labels: RecordLabels,
    time_from: TimeFrom,
    log_labels: LogLabels,
    /// The series as the value alone has them, those of log lines with all their labels.
    own: SeriesTable,
    names: FieldCache,
}

/// Names and values of labels.
type Pairs<'a> = SmallVec<[(&'a str, &'a str); 4]>;

impl Carried {
    /// `None` where nothing but the value counts.
    pub(super) fn new(source: &SourceFormat) -> Option<Self> {
        if source.record_labels.is_empty() && source.time_from == TimeFrom::Value {
            return None;
        }
        Some(Carried {
            labels: source.record_labels.clone(),
            time_from: source.time_from,
            log_labels: source.log_labels,
            own: SeriesTable::new(OWN_MAX),
            names: FieldCache::default(),
        })
    }

    /// Decodes one record with `codec`, and adds what the record carries.
    pub(super) fn record(
        &mut self,
        codec: &mut impl Decode,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let (points, values, lines) = (out.points.len(), out.values.len(), out.logs.len());
        if self.labels.is_empty() {
            codec.record(input, series, out)?;
        } else {
            // One record has POINTS_MAX series at the most.
            if self.own.len() + POINTS_MAX > OWN_MAX {
                self.own = SeriesTable::new(OWN_MAX);
            }
            codec.record(input, &mut self.own, out)?;
            let Carried { labels, log_labels, own, names, .. } = self;
            let carried = pairs(labels, &input)?;
            for point in out.points.get_mut(points..).unwrap_or_default() {
                let Some(known) = own.series(point.series) else { continue };
                let is_line = &*known.measurement == LOG_MEASUREMENT;
                let of_value =
                    || known.labels.iter().filter(|(_, value)| !(is_line && *value == UNKNOWN));
                let has = |name: &str| of_value().any(|(known, _)| known == name);
                let missing = carried.iter().filter(|(name, _)| !has(name));
                // What is unknown comes first: of a repeated name the last one counts.
                let mut all: SmallVec<[(&str, &str); 16]> = known.labels.iter().collect();
                all.extend(missing.copied());
                check_labels(&known.measurement, &all)?;
                if is_line {
                    all.retain(|(name, _)| log_labels.has(name));
                }
                point.series = series.intern(&known.measurement, &mut all).map_err(table_full)?;
            }
            for (field, _) in out.values.get_mut(values..).unwrap_or_default() {
                let name = own.field(*field).unwrap_or_default();
                *field = names.id(name, series).map_err(table_full)?;
            }
            for line in out.logs.get_mut(lines..).unwrap_or_default() {
                extend(line, &carried);
            }
        }
        if self.time_from == TimeFrom::Record {
            let time = input.record_time()?;
            for point in out.points.get_mut(points..).unwrap_or_default() {
                (point.event_time, point.admission_time) = (time, time);
            }
            for line in out.logs.get_mut(lines..).unwrap_or_default() {
                line.event_time = time;
            }
        }
        Ok(())
    }
}

/// The labels that the record carries.
fn pairs<'a>(labels: &'a RecordLabels, input: &Input<'a>) -> Result<Pairs<'a>, Malformed> {
    let mut pairs = Pairs::new();
    if let Some(label) = &labels.key
        && let Some(key) = input.key_text()?
    {
        pairs.push((label, key));
    }
    for (name, label) in &labels.headers {
        let found = input.record.headers.iter().rev().find(|header| *header.name == **name);
        let Some(header) = found.filter(|header| !header.value.is_empty()) else { continue };
        let text = std::str::from_utf8(header.value).map_err(|error| {
            Malformed::new(
                Reason::Unparseable,
                format!("the header `{name}` is not UTF-8 at byte {}", error.valid_up_to()),
            )
        })?;
        pairs.push((label, text));
    }
    Ok(pairs)
}

/// Adds `carried` to a line.
fn extend(line: &mut LogLine, carried: &[(&str, &str)]) {
    // Nobody reads the values; `extra` is an object or empty.
    let known: BTreeMap<Cow<'_, str>, IgnoredAny> =
        serde_json::from_str(&line.extra).unwrap_or_default();
    let mut extra = line.extra.strip_suffix('}').unwrap_or_default().to_owned();
    for (name, value) in carried {
        match *name {
            "host" if &*line.host == UNKNOWN => line.host = (*value).into(),
            "service" if &*line.service == UNKNOWN => line.service = (*value).into(),
            "host" | "service" | "level" => {}
            name if known.contains_key(name) => {}
            name => {
                extra.push(if extra.is_empty() { '{' } else { ',' });
                push_string(&mut extra, name);
                extra.push(':');
                push_string(&mut extra, value);
            }
        }
    }
    if !extra.is_empty() {
        extra.push('}');
        line.extra = extra.into();
    }
}
