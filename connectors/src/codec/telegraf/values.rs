//! The values inside of a metric: numbers of fields, tags, the time.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::time::EventTime;

use super::super::json::{Skip, Text, fault, pass};
use super::super::{LABELS_MAX, time};

/// Reads a field's value: a number, or `None` for what is passed over.
pub(super) struct Number;

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Option<f64>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<f64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Number {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a field")
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<f64>, E> {
        Ok(Some(number))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<f64>, E> {
        Ok(Some(number as f64))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<f64>, E> {
        Ok(Some(number as f64))
    }
    fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Option<f64>, E> {
        Ok(Some(f64::from(u8::from(yes))))
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<Option<f64>, E> {
        Ok(None)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Option<f64>, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<f64>, A::Error> {
        // One level below the metric's own members.
        Skip(Skip::MEMBER.0 - 1).visit_seq(seq).map(|()| None)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<f64>, A::Error> {
        Skip(Skip::MEMBER.0 - 1).visit_map(map).map(|()| None)
    }
}

/// Tags in their order, each name once, none empty.
pub(super) type Tags<'de> = SmallVec<[(Cow<'de, str>, Cow<'de, str>); 16]>;

/// Reads the tags.
pub(super) struct TagsSeed;

impl<'de> DeserializeSeed<'de> for TagsSeed {
    type Value = Tags<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tags<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TagsSeed {
    type Value = Tags<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tags, an object of texts")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Tags<'de>, E> {
        Ok(Tags::new())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags<'de>, A::Error> {
        let mut tags = Tags::new();
        while let Some(name) = map.next_key_seed(Text)? {
            let value = map.next_value_seed(Tag)?;
            let full = tags.len() >= LABELS_MAX;
            match tags.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None if full => {
                    return Err(fault(
                        Reason::TooLarge,
                        format_args!("more than {LABELS_MAX} tags"),
                    ));
                }
                None => tags.push((name, value)),
            }
        }
        tags.retain(|(_, value)| !value.is_empty());
        Ok(tags)
    }
}

/// Reads a tag's value as text; empty for null.
struct Tag;

impl<'de> DeserializeSeed<'de> for Tag {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tag {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a tag, a text")
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(""))
    }
    fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(if yes { "true" } else { "false" }))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(number.to_string()))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(number.to_string()))
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(number.to_string()))
    }
}

/// Reads a time; `None` for null.
pub(super) struct Time;

impl<'de> DeserializeSeed<'de> for Time {
    type Value = Option<EventTime>;
    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Option<EventTime>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Time {
    type Value = Option<EventTime>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time, a number since the epoch or RFC 3339")
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<EventTime>, E> {
        Ok(Some(time::from_integer(number)))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<EventTime>, E> {
        // Only negative numbers arrive here.
        time::from_float(number as f64).map(Some).map_err(pass)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<EventTime>, E> {
        time::from_float(number).map(Some).map_err(pass)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<EventTime>, E> {
        time::from_text(text).map(Some).map_err(pass)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Option<EventTime>, E> {
        Ok(None)
    }
}
