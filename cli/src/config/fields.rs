//! Asking a type for the keys it is read from.

use serde::de::value::Error as Stop;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};

/// The keys of the struct `T`; none when it is not one.
///
/// A derived `Deserialize` names its fields to the deserializer, and this deserializer listens to
/// nothing else.
pub(super) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // The value is always the refusal below; the fields are what was asked for.
    let _refused = T::deserialize(Listener(&mut fields));
    fields
}

struct Listener<'f>(&'f mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Stop> {
        Err(Stop::custom("only the fields were wanted"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_struct_names_its_keys_as_the_file_does() {
        #[derive(serde::Deserialize)]
        struct Sample {
            _plain: u8,
            #[serde(rename = "where")]
            _renamed: u8,
        }
        assert_eq!(super::fields_of::<Sample>(), ["_plain", "where"]);
        assert!(super::fields_of::<String>().is_empty());
    }
}
