//! Labels: sorted pairs of name and value, in one piece of memory that all copies share.
//!
//! # Layout
//! One text: for each pair the length of its name, its name, the length of its value, its value. A length is
//! written as characters that stand for fifteen bits each, the least first, of which the highest says that
//! more follow; so the whole is UTF-8, lengths of up to 127 bytes take one byte, and reading needs no check.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use super::StableHash;

/// Sorted pairs of label name and value; a name appears once. Cloning shares the text.
///
/// ```
/// use tidewatch_dataflow::series::Labels;
/// let labels = Labels::from_pairs([("host", "web-1"), ("dc", "eu")]);
/// assert_eq!(labels.get("host"), Some("web-1"));
/// assert_eq!(labels.to_string(), "dc=eu,host=web-1");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

/// Bits of a length in one character: with the flag all are below the surrogates, which are no characters.
const DIGIT_BITS: u32 = 14;
const MORE: u32 = 1 << DIGIT_BITS;

/// The text of labels as it is put together; its memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelsBuilder(String);

impl LabelsBuilder {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a pair; names come in order, each once.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        for part in [name, value] {
            let mut rest = part.len();
            loop {
                let digit = rest as u32 & (MORE - 1);
                rest >>= DIGIT_BITS;
                let more = if rest > 0 { MORE } else { 0 };
                self.0.push(char::from_u32(digit | more).unwrap_or_default());
                if rest == 0 {
                    break;
                }
            }
            self.0.push_str(part);
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn labels(&self) -> Labels {
        Labels(self.0.as_str().into())
    }
}

/// Takes one part off the front of a text.
fn part<'a>(text: &mut &'a str) -> Option<&'a str> {
    let mut chars = text.chars();
    let (mut length, mut shift) = (0usize, 0u32);
    loop {
        let digit = u32::from(chars.next()?);
        length |= ((digit & (MORE - 1)) as usize) << shift;
        if digit & MORE == 0 {
            break;
        }
        shift += DIGIT_BITS;
    }
    let (part, rest) = chars.as_str().split_at_checked(length)?;
    *text = rest;
    Some(part)
}

/// Of pairs sorted by name, stably, the last of each name.
pub(super) fn last_of_each<'a, 'b>(
    sorted: &'b [(&'a str, &'a str)],
) -> impl Iterator<Item = (&'a str, &'a str)> + 'b {
    sorted.chunk_by(|a, b| a.0 == b.0).filter_map(|same| same.last().copied())
}

impl Labels {
    /// Labels of `pairs` in any order; of a repeated name the last pair wins.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let mut sorted: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        sorted.sort_by_key(|(name, _)| *name);
        let mut builder = LabelsBuilder::default();
        last_of_each(&sorted).for_each(|(name, value)| builder.push(name, value));
        builder.labels()
    }

    /// The value of label `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((part(&mut rest)?, part(&mut rest)?)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only the labels named in `names`, or `None` when one of them is missing.
    pub fn select(&self, names: &[String]) -> Option<Labels> {
        names
            .iter()
            .map(|n| Some((n.as_str(), self.get(n)?)))
            .collect::<Option<Vec<_>>>()
            .map(Labels::from_pairs)
    }

    /// A hash with a fixed seed: the same on every worker, process, run and machine.
    pub fn stable_hash(&self) -> u64 {
        let mut hash = StableHash::default();
        for (name, value) in self.iter() {
            hash.write(name.as_bytes());
            hash.write(value.as_bytes());
        }
        hash.finish()
    }

    /// The text that two labels have in common when they are equal, and only then.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By the first pair that differs.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// As a sequence of pairs.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pairs = serializer.serialize_seq(Some(self.iter().count()))?;
        self.iter().try_for_each(|pair| pairs.serialize_element(&pair))?;
        pairs.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
        Ok(Labels::from_pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn oracle_labels_are_a_sorted_map(
            pairs in prop::collection::vec((".{0,6}", ".{0,200}"), 0..6),
            others in prop::collection::vec((".{0,2}", ".{0,2}"), 0..3),
        ) {
            let map: BTreeMap<String, String> = pairs.iter().cloned().collect();
            let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (n, v)));
            let read: Vec<_> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&read, &map.iter().map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>());
            for (name, value) in &map {
                prop_assert_eq!(labels.get(name), Some(value.as_str()));
            }
            let bytes = postcard::to_allocvec(&labels).unwrap();
            let plain: Vec<(String, String)> = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&plain, &read);
            prop_assert_eq!(&postcard::from_bytes::<Labels>(&bytes).unwrap(), &labels);
            let other = Labels::from_pairs(others.iter().map(|(n, v)| (n, v)));
            let other_map: BTreeMap<String, String> = others.into_iter().collect();
            prop_assert_eq!(labels.cmp(&other), map.iter().cmp(other_map.iter()));
            prop_assert_eq!(labels == other, map == other_map);
        }
    }

    #[test]
    fn long_values_and_copies() {
        for length in [0, 127, 128, 16_383, 16_384, 70_000] {
            let value = "x".repeat(length);
            let labels = Labels::from_pairs([("a", value.as_str()), ("b", "1")]);
            assert_eq!((labels.get("a"), labels.get("b")), (Some(value.as_str()), Some("1")));
        }
        let labels = Labels::from_pairs([("host", "web-1")]);
        assert!(Arc::ptr_eq(&labels.0, &labels.clone().0), "a copy shares the text");
        assert_eq!(labels.text().len(), 2 + "hostweb-1".len());
    }
}
