//! The fields of a point: names that many points share, and numbers of its own.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use smallvec::SmallVec;

/// Names of fields, in the order of the numbers. Cloning shares them.
///
/// ```
/// use tidewatch_dataflow::metric::FieldNames;
///
/// let names = FieldNames::new(["mean", "max"]);
/// assert!(names.iter().eq(["mean", "max"]));
/// ```
// A slice's own length would be 8 bytes in every point.
#[derive(Clone)]
pub struct FieldNames(Arc<Vec<Box<str>>>);

impl FieldNames {
    /// These names, in this order.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        FieldNames(Arc::new(names.into_iter().map(|name| name.as_ref().into()).collect()))
    }

    /// All names, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.0.iter().map(AsRef::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for FieldNames {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for FieldNames {}

impl fmt::Debug for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Pairs of a name and a number, in an order that is kept. The names are shared, so that a point costs one count
/// of references however many fields it has; up to five numbers, as many as count, mean, min, max and stddev, lie in
/// the point itself.
///
/// Serialized it is a sequence of pairs of name and number.
///
/// ```
/// use tidewatch_dataflow::metric::{FieldNames, Fields};
///
/// let names = FieldNames::new(["mean", "max"]);
/// let points = [[97.25, 99.0], [12.5, 13.0]].map(|numbers| Fields::new(names.clone(), numbers));
/// assert_eq!(points[1].get("max"), Some(13.0));
/// assert_eq!(points[0], [("mean", 97.25), ("max", 99.0)].into_iter().collect());
/// ```
#[derive(Clone, PartialEq)]
pub struct Fields {
    names: FieldNames,
    /// As many as there are names.
    numbers: SmallVec<[f64; 5]>,
}

impl Fields {
    /// The fields called `names` with `numbers`, in order: numbers without a name and names without a number are
    /// left out.
    pub fn new(names: FieldNames, numbers: impl IntoIterator<Item = f64>) -> Self {
        let numbers: SmallVec<_> = numbers.into_iter().take(names.len()).collect();
        if numbers.len() == names.len() {
            return Fields { names, numbers };
        }
        Fields { names: FieldNames::new(names.iter().take(numbers.len())), numbers }
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> + Clone {
        self.names.iter().zip(self.numbers.iter().copied())
    }

    /// The number of the first field called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter().find(|(known, _)| *known == name).map(|(_, number)| number)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

/// Names of its own: for points that are made one by one.
impl<N: AsRef<str>> FromIterator<(N, f64)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(fields: I) -> Self {
        let (names, numbers): (Vec<N>, SmallVec<_>) = fields.into_iter().unzip();
        Fields { names: FieldNames::new(names), numbers }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Pairs)
    }
}

/// Reads a sequence of pairs.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of pairs of name and number")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Fields, A::Error> {
        // What is announced is not believed: room is made for what is there.
        let (mut names, mut numbers) = (Vec::new(), SmallVec::new());
        while let Some((name, number)) = pairs.next_element::<(Box<str>, f64)>()? {
            names.push(name);
            numbers.push(number);
        }
        Ok(Fields { names: FieldNames(Arc::new(names)), numbers })
    }
}
