//! `where = { cpu = "cpu-total", level = ["ERROR", "FATAL"] }`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Labels that must hold: each must have the given value, or one of the given values. All must hold.
///
/// ```
/// use tidewatch::config::file::Filters;
/// let filters: Filters = toml::from_str(r#"cpu = "cpu-total"
/// level = ["ERROR", "FATAL"]"#).unwrap();
/// assert_eq!(filters.0["level"].0, ["ERROR", "FATAL"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Filters(pub BTreeMap<String, OneOrMore>);

impl Filters {
    /// The filters as selectors take them: name and accepted values.
    pub fn to_pairs(&self) -> Vec<(String, Vec<String>)> {
        self.0.iter().map(|(name, values)| (name.clone(), values.0.clone())).collect()
    }
}

/// A text, or a list of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneOrMore(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}
