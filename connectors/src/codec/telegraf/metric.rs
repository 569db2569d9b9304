//! One metric, or a batch of them, as `serde_json` meets their members.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::{Decoded, Point};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

use super::super::json::{Skip, Text, fault, pass};
use super::super::{FIELDS_MAX, Input, POINTS_MAX, check_labels, column_end, table_full};
use super::TelegrafJson;
use super::values::{Number, Tags, TagsSeed, Time};

/// Reads one metric, or a batch of them, and appends their points.
pub(super) struct Metric<'a, 'r> {
    pub(super) codec: &'a mut TelegrafJson,
    pub(super) series: &'a mut SeriesTable,
    pub(super) out: &'a mut Decoded,
    pub(super) input: &'a Input<'r>,
    /// Where the points of this record begin.
    pub(super) first_point: usize,
    pub(super) in_batch: bool,
}

impl<'de> DeserializeSeed<'de> for Metric<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metric<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a metric, an object with `name` and `fields`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.out.values.len();
        let mut name: Option<Cow<'de, str>> = None;
        let mut tags = Tags::new();
        let mut time: Option<EventTime> = None;
        let (mut has_fields, mut has_metrics) = (false, false);
        while let Some(member) = map.next_key_seed(MemberSeed)? {
            match member {
                Member::Fields => {
                    if has_metrics {
                        return Err(fault(Reason::Unparseable, "both `metrics` and `fields`"));
                    }
                    // Repeated: the last one counts.
                    self.out.values.truncate(start);
                    has_fields = true;
                    map.next_value_seed(Fields {
                        codec: self.codec,
                        series: self.series,
                        out: self.out,
                    })?;
                }
                Member::Name => name = Some(map.next_value_seed(Text)?),
                Member::Tags => tags = map.next_value_seed(TagsSeed)?,
                Member::Timestamp => time = map.next_value_seed(Time)?,
                Member::Metrics if !self.in_batch => {
                    if has_fields || has_metrics {
                        return Err(fault(Reason::Unparseable, "`metrics` beside other metrics"));
                    }
                    has_metrics = true;
                    map.next_value_seed(Batch {
                        codec: self.codec,
                        series: self.series,
                        out: self.out,
                        input: self.input,
                        first_point: self.first_point,
                    })?;
                }
                Member::Metrics | Member::Other => map.next_value_seed(Skip::MEMBER)?,
            }
        }
        if has_metrics {
            return Ok(());
        }
        let name = name.filter(|name| !name.is_empty());
        let Some(name) = name.filter(|_| has_fields) else {
            let missing = if has_fields { "name" } else { "fields" };
            return Err(fault(Reason::MissingField, format_args!("a metric without `{missing}`")));
        };
        if self.out.values.len() == start {
            return Ok(());
        }
        if self.out.points.len() - self.first_point >= POINTS_MAX {
            return Err(fault(Reason::TooLarge, format_args!("more than {POINTS_MAX} metrics")));
        }
        let event_time = match time {
            Some(time) => time,
            None => self.input.record_time().map_err(pass)?,
        };
        let mut labels: SmallVec<[(&str, &str); 16]> =
            tags.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        check_labels(&name, &labels).map_err(pass)?;
        let series =
            self.series.intern(&name, &mut labels).map_err(|full| pass(table_full(full)))?;
        self.out.points.push(Point {
            series,
            event_time,
            admission_time: event_time,
            unread: 0,
            offset: self.input.record.offset,
            values: column_end(start)..column_end(self.out.values.len()),
        });
        Ok(())
    }
}

/// The members of a metric that mean something.
enum Member {
    Fields,
    Name,
    Tags,
    Timestamp,
    Metrics,
    Other,
}

struct MemberSeed;

impl<'de> DeserializeSeed<'de> for MemberSeed {
    type Value = Member;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberSeed {
    type Value = Member;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: de::Error>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "fields" => Member::Fields,
            "name" => Member::Name,
            "tags" => Member::Tags,
            "timestamp" => Member::Timestamp,
            "metrics" => Member::Metrics,
            _ => Member::Other,
        })
    }
}

/// Reads the array of a batch.
struct Batch<'a, 'r> {
    codec: &'a mut TelegrafJson,
    series: &'a mut SeriesTable,
    out: &'a mut Decoded,
    input: &'a Input<'r>,
    first_point: usize,
}

impl<'de> DeserializeSeed<'de> for Batch<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of metrics")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let metric = Metric {
                codec: self.codec,
                series: self.series,
                out: self.out,
                input: self.input,
                first_point: self.first_point,
                in_batch: true,
            };
            if seq.next_element_seed(metric)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Reads the fields of one metric and appends its numbers.
struct Fields<'a> {
    codec: &'a mut TelegrafJson,
    series: &'a mut SeriesTable,
    out: &'a mut Decoded,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields, an object of numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.codec.metric = match self.codec.metric.checked_add(1) {
            Some(next) => next,
            None => {
                // After four billion metrics the numbers begin anew: forget the old ones.
                self.codec.seen.clear();
                1
            }
        };
        let mut count = 0_usize;
        while let Some(name) = map.next_key_seed(Text)? {
            count += 1;
            if count > FIELDS_MAX {
                return Err(fault(Reason::TooLarge, format_args!("more than {FIELDS_MAX} fields")));
            }
            let Some(number) = map.next_value_seed(Number)? else { continue };
            let id =
                self.codec.names.id(&name, self.series).map_err(|full| pass(table_full(full)))?;
            let index = id.0 as usize;
            if index >= self.codec.seen.len() {
                self.codec.seen.resize(index + 1, (0, 0));
            }
            let Some(seen) = self.codec.seen.get_mut(index) else { continue };
            let repeated = (seen.0 == self.codec.metric)
                .then(|| self.out.values.get_mut(seen.1 as usize))
                .flatten();
            match repeated {
                Some(value) => value.1 = number,
                None => {
                    *seen = (self.codec.metric, column_end(self.out.values.len()));
                    self.out.values.push((id, number));
                }
            }
        }
        Ok(())
    }
}
