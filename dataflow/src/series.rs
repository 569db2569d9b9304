//! Series: named streams of numbers, told apart by their labels, and the table that interns them.

use std::fmt;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Sorted pairs of label name and value; a name appears once.
///
/// ```
/// use tidewatch_dataflow::series::Labels;
/// let labels = Labels::from_pairs([("host", "web-1"), ("dc", "eu")]);
/// assert_eq!(labels.get("host"), Some("web-1"));
/// assert_eq!(labels.to_string(), "dc=eu,host=web-1");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Labels of `pairs` in any order; of a repeated name the last pair wins.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut sorted = std::collections::BTreeMap::new();
        for (name, value) in pairs {
            sorted.insert(Box::from(name.as_ref()), Box::from(value.as_ref()));
        }
        Labels(sorted.into_iter().collect())
    }

    /// The value of label `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| n.as_ref().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value.as_ref())
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
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
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// FNV-1a over length-prefixed parts, with a final mix (splitmix64): stable across builds, which
/// sharding and incident identities need and `std`'s hashers do not promise.
#[derive(Clone, Debug)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        StableHash(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    /// Adds one part; `("ab", "c")` and `("a", "bc")` differ.
    pub fn write(&mut self, part: &[u8]) {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The hash of everything written so far.
    pub fn finish(&self) -> u64 {
        let mut z = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// State is divided into this many buckets by key, so that it can be restored at any worker count.
pub const BUCKETS: u64 = 256;

/// The worker, of `peers`, that owns the key with this stable hash.
pub fn worker_of(stable_hash: u64, peers: usize) -> usize {
    let bucket = usize::try_from(stable_hash % BUCKETS).unwrap_or(0);
    bucket % peers.max(1)
}

/// The dense number of a series, given out by one worker's [`SeriesTable`]; means nothing elsewhere.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub u32);

/// The dense number of a field name (`usage_active`), given out by one worker's [`SeriesTable`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldId(pub u32);

/// What identifies a series: the measurement (`cpu`) and its labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Series {
    /// The measurement's name.
    pub measurement: Box<str>,
    /// Its labels, tags in Telegraf's words.
    pub labels: Labels,
}

/// No more series or field names are interned: the table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the series table is full at {max} entries: raise `series_max` or drop labels that never repeat"
)]
pub struct TableFull {
    /// The bound that was met.
    pub max: usize,
}

/// Interns series and field names on one worker: equal names and labels, equal number.
///
/// Bounded by `series_max` series and [`SeriesTable::FIELDS_MAX`] field names, so that hostile labels
/// cost dead letters and not memory. Identity is decided by bytes, never by a hash alone.
///
/// ```
/// use tidewatch_dataflow::series::SeriesTable;
/// let mut table = SeriesTable::new(1_000);
/// let a = table.intern("cpu", &mut [("host", "a"), ("dc", "eu")]).unwrap();
/// let b = table.intern("cpu", &mut [("dc", "eu"), ("host", "a")]).unwrap();
/// assert_eq!(a, b, "the order of labels does not matter");
/// assert_eq!(table.series(a).unwrap().labels.get("dc"), Some("eu"));
/// ```
#[derive(Debug)]
pub struct SeriesTable {
    series: Vec<Series>,
    by_key: FxHashMap<Box<[u8]>, SeriesId>,
    fields: Vec<Box<str>>,
    by_field: FxHashMap<Box<str>, FieldId>,
    series_max: usize,
    /// Reused between calls: the canonical bytes of the series asked for.
    key: Vec<u8>,
}

impl SeriesTable {
    /// More field names than this are refused: a message type has tens, a fleet hundreds.
    pub const FIELDS_MAX: usize = 65_536;

    /// An empty table of at most `series_max` series.
    pub fn new(series_max: usize) -> Self {
        SeriesTable {
            series: Vec::new(),
            by_key: FxHashMap::default(),
            fields: Vec::new(),
            by_field: FxHashMap::default(),
            series_max: series_max.min(u32::MAX as usize),
            key: Vec::new(),
        }
    }

    /// The number of the series `measurement` with `labels`, which are sorted in place.
    ///
    /// # Errors
    /// [`TableFull`] when the series is new and the table holds `series_max` already.
    pub fn intern(
        &mut self,
        measurement: &str,
        labels: &mut [(&str, &str)],
    ) -> Result<SeriesId, TableFull> {
        labels.sort_unstable();
        self.key.clear();
        for part in std::iter::once(measurement).chain(labels.iter().flat_map(|(n, v)| [*n, *v])) {
            self.key.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.key.extend_from_slice(part.as_bytes());
        }
        if let Some(id) = self.by_key.get(self.key.as_slice()) {
            return Ok(*id);
        }
        if self.series.len() >= self.series_max {
            return Err(TableFull { max: self.series_max });
        }
        let id = SeriesId(u32::try_from(self.series.len()).unwrap_or(u32::MAX));
        self.series.push(Series {
            measurement: measurement.into(),
            labels: Labels::from_pairs(labels.iter().copied()),
        });
        self.by_key.insert(self.key.as_slice().into(), id);
        Ok(id)
    }

    /// The number of field `name`.
    ///
    /// # Errors
    /// [`TableFull`] when the name is new and [`SeriesTable::FIELDS_MAX`] are known already.
    pub fn intern_field(&mut self, name: &str) -> Result<FieldId, TableFull> {
        if let Some(id) = self.by_field.get(name) {
            return Ok(*id);
        }
        if self.fields.len() >= Self::FIELDS_MAX {
            return Err(TableFull { max: Self::FIELDS_MAX });
        }
        let id = FieldId(u32::try_from(self.fields.len()).unwrap_or(u32::MAX));
        self.fields.push(name.into());
        self.by_field.insert(name.into(), id);
        Ok(id)
    }

    /// What `id` stands for.
    pub fn series(&self, id: SeriesId) -> Option<&Series> {
        self.series.get(id.0 as usize)
    }

    /// The name of field `id`.
    pub fn field(&self, id: FieldId) -> Option<&str> {
        self.fields.get(id.0 as usize).map(AsRef::as_ref)
    }

    /// How many series are known.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_keep_parts_apart() {
        let mut table = SeriesTable::new(10);
        let a = table.intern("m", &mut [("ab", "c")]).unwrap();
        let b = table.intern("m", &mut [("a", "bc")]).unwrap();
        assert_ne!(a, b);
        assert_ne!(
            Labels::from_pairs([("ab", "c")]).stable_hash(),
            Labels::from_pairs([("a", "bc")]).stable_hash()
        );
    }

    #[test]
    fn a_full_table_still_knows_what_it_knows() {
        let mut table = SeriesTable::new(1);
        let a = table.intern("m", &mut [("h", "1")]).unwrap();
        assert_eq!(table.intern("m", &mut [("h", "2")]), Err(TableFull { max: 1 }));
        assert_eq!(table.intern("m", &mut [("h", "1")]), Ok(a));
    }

    #[test]
    fn the_stable_hash_never_changes() {
        let labels = Labels::from_pairs([("host", "web-1")]);
        assert_eq!(labels.stable_hash(), 0xb929_b328_895d_98a2);
    }
}
