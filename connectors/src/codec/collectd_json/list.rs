//! One list of values, or an array of them, as `serde_json` meets their members.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

use super::super::json::{Skip, Text, fault, pass};
use super::super::point::{PointWriter, intern};
use super::super::{FIELDS_MAX, Input, time};

/// Reads one list or an array of them, and appends their points.
pub(super) struct Lists<'a, 'r> {
    pub(super) points: &'a mut PointWriter,
    pub(super) series: &'a mut SeriesTable,
    pub(super) out: &'a mut Decoded,
    pub(super) input: &'a Input<'r>,
}

impl<'de> DeserializeSeed<'de> for Lists<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lists<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values, an object with `values`, `dsnames` and `plugin`, or an array of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Lists { points, series, out, input } = self;
        while seq.next_element_seed(List { points, series, out, input })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Lists { points, series, out, input } = self;
        List { points, series, out, input }.visit_map(map)
    }
}

/// Reads one list.
struct List<'a, 'r> {
    points: &'a mut PointWriter,
    series: &'a mut SeriesTable,
    out: &'a mut Decoded,
    input: &'a Input<'r>,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values, an object with `values`, `dsnames` and `plugin`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut values: Option<Few<Option<f64>>> = None;
        let mut names: Option<Few<Cow<'de, str>>> = None;
        let mut at: Option<EventTime> = None;
        let [mut plugin, mut host, mut plugin_instance, mut kind, mut type_instance] =
            [const { Cow::Borrowed("") }; 5];
        while let Some(member) = map.next_key_seed(Text)? {
            match member.as_ref() {
                "values" => values = Some(map.next_value_seed(Values)?),
                "dsnames" => names = Some(map.next_value_seed(Names)?),
                "time" => at = map.next_value_seed(Seconds)?,
                "plugin" => plugin = map.next_value_seed(Text)?,
                "host" => host = map.next_value_seed(Text)?,
                "plugin_instance" => plugin_instance = map.next_value_seed(Text)?,
                "type" => kind = map.next_value_seed(Text)?,
                "type_instance" => type_instance = map.next_value_seed(Text)?,
                // One level deeper than elsewhere: the array around the lists.
                _ => map.next_value_seed(Skip(Skip::MEMBER.0 - 1))?,
            }
        }
        let missing =
            |name| fault(Reason::MissingField, format_args!("a list of values without `{name}`"));
        let values = values.ok_or_else(|| missing("values"))?;
        let names = names.ok_or_else(|| missing("dsnames"))?;
        if plugin.is_empty() {
            return Err(missing("plugin"));
        }
        if values.len() != names.len() {
            return Err(fault(
                Reason::Unparseable,
                format_args!("{} values with {} names", values.len(), names.len()),
            ));
        }
        self.points.begin(self.out);
        for (name, value) in names.iter().zip(&values) {
            // A null says the same as NaN, which JSON cannot.
            let value = value.unwrap_or(f64::NAN);
            self.points.number(name, value, self.series, self.out).map_err(pass)?;
        }
        if self.points.is_empty(self.out) {
            return Ok(());
        }
        let host = match host.as_ref() {
            "" => self.input.key_text().map_err(pass)?.unwrap_or(""),
            host => host,
        };
        let mut labels: SmallVec<[(&str, &str); 4]> = [
            ("host", host),
            ("plugin_instance", &*plugin_instance),
            ("type", &*kind),
            ("type_instance", &*type_instance),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
        let event_time = match at {
            Some(time) => time,
            None => self.input.record_time().map_err(pass)?,
        };
        let id = intern(&plugin, &mut labels, self.series).map_err(pass)?;
        self.points.end(id, event_time, self.input, self.out).map_err(pass)
    }
}

/// Most lists have one value, and few more than three.
type Few<T> = SmallVec<[T; 4]>;

/// Reads an array of numbers and nulls.
struct Values;

impl<'de> DeserializeSeed<'de> for Values {
    type Value = Few<Option<f64>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Values {
    type Value = Few<Option<f64>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers and nulls")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Few::new();
        while let Some(value) = seq.next_element()? {
            room(all.len())?;
            all.push(value);
        }
        Ok(all)
    }
}

/// Reads an array of texts.
struct Names;

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Few<Cow<'de, str>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Few<Cow<'de, str>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of texts")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Few::new();
        while let Some(name) = seq.next_element_seed(Text)? {
            room(all.len())?;
            all.push(name);
        }
        Ok(all)
    }
}

fn room<E: de::Error>(used: usize) -> Result<(), E> {
    if used < FIELDS_MAX {
        return Ok(());
    }
    Err(fault(Reason::TooLarge, format_args!("more than {FIELDS_MAX} values")))
}

/// Reads seconds since the epoch, or a number of another magnitude; `None` for null.
struct Seconds;

impl<'de> DeserializeSeed<'de> for Seconds {
    type Value = Option<EventTime>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Seconds {
    type Value = Option<EventTime>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time, seconds since the epoch")
    }
    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Self::Value, E> {
        time::from_float(seconds).map(Some).map_err(pass)
    }
    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
        Ok(Some(time::from_integer(seconds)))
    }
    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Self::Value, E> {
        // Only negative numbers arrive here.
        time::from_float(seconds as f64).map(Some).map_err(pass)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
