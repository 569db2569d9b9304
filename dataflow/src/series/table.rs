//! The table that gives series and field names their numbers.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use serde::{Deserialize, Serialize};

use super::labels::{Labels, LabelsBuilder, last_of_each};

/// The dense number of a series, given out by one worker's [`SeriesTable`]; means nothing elsewhere.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub u32);

/// The dense number of a field name (`usage_active`), given out by one worker's [`SeriesTable`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldId(pub u32);

/// What identifies a series: the measurement (`cpu`) and its labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// The measurement's name; series of one measurement share it.
    pub measurement: Arc<str>,
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

/// Tells series tables apart, and with them what the numbers mean that they gave out. Means nothing in
/// another process.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TableIdentity(u64);

/// Interns series and field names on one worker: equal names and labels, equal number.
///
/// Bounded by `series_max` series and [`SeriesTable::FIELDS_MAX`] field names, so that hostile labels
/// cost dead letters and not memory. Identity is decided by bytes, never by a hash alone. A series costs the
/// text of its labels, a few bytes more for each of them, and about 60 bytes.
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
    identity: TableIdentity,
    series: Vec<Series>,
    /// Numbers of series; what they stand for is looked up in `series`.
    by_key: HashTable<SeriesId>,
    measurements: FxHashSet<Arc<str>>,
    fields: Vec<Box<str>>,
    /// Names of fields that anybody asks for; `None` where that is not known.
    wanted: Option<FxHashSet<Box<str>>>,
    by_field: FxHashMap<Box<str>, FieldId>,
    series_max: usize,
    /// Reused between calls: the text of the labels asked for.
    key: LabelsBuilder,
}

impl SeriesTable {
    /// More field names than this are refused: a message type has tens, a fleet hundreds.
    pub const FIELDS_MAX: usize = 65_536;

    /// An empty table of at most `series_max` series.
    pub fn new(series_max: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        SeriesTable {
            identity: TableIdentity(NEXT.fetch_add(1, Ordering::Relaxed)),
            series: Vec::new(),
            by_key: HashTable::new(),
            measurements: FxHashSet::default(),
            fields: Vec::new(),
            wanted: None,
            by_field: FxHashMap::default(),
            series_max: series_max.min(u32::MAX as usize),
            key: LabelsBuilder::default(),
        }
    }

    /// Says that nobody asks for other fields than `names`: a codec may leave their numbers unread, and count them in
    /// [`Point::unread`](crate::record::Point::unread). Without it, all are read.
    ///
    /// ```
    /// use tidewatch_dataflow::series::SeriesTable;
    /// let mut table = SeriesTable::new(1_000).only_fields(["usage_active"]);
    /// let [active, idle] = ["usage_active", "usage_idle"].map(|name| table.intern_field(name).unwrap());
    /// assert!(table.is_wanted(active) && !table.is_wanted(idle));
    /// ```
    #[must_use]
    pub fn only_fields<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.wanted = Some(names.into_iter().map(|name| name.as_ref().into()).collect());
        self
    }

    /// Whether numbers of field `id` are to be read. Looks the name up: for what is asked once, not for every number.
    pub fn is_wanted(&self, id: FieldId) -> bool {
        let Some(wanted) = &self.wanted else { return true };
        self.field(id).is_some_and(|name| wanted.contains(name))
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
        self.key.clear();
        // Of a repeated name the last value wins, as everywhere.
        labels.sort_by_key(|(name, _)| *name);
        for (name, value) in last_of_each(labels) {
            self.key.push(name, value);
        }
        let hash_of = |measurement: &str, text: &str| {
            let mut hasher = FxHasher::default();
            (measurement, text).hash(&mut hasher);
            hasher.finish()
        };
        let SeriesTable { series, by_key, key, .. } = self;
        let hash = hash_of(measurement, key.text());
        let is_it = |id: &SeriesId| {
            series.get(id.0 as usize).is_some_and(|known| {
                &*known.measurement == measurement && known.labels.text() == key.text()
            })
        };
        if let Some(id) = by_key.find(hash, is_it) {
            return Ok(*id);
        }
        if series.len() >= self.series_max {
            return Err(TableFull { max: self.series_max });
        }
        let id = SeriesId(u32::try_from(series.len()).unwrap_or(u32::MAX));
        let measurement = match self.measurements.get(measurement) {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<str> = measurement.into();
                self.measurements.insert(Arc::clone(&new));
                new
            }
        };
        series.push(Series { measurement, labels: key.labels() });
        let rehash = |id: &SeriesId| {
            let known = series.get(id.0 as usize);
            known.map_or(0, |known| hash_of(&known.measurement, known.labels.text()))
        };
        by_key.insert_unique(hash, id, rehash);
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

    /// Which table this is: whoever remembers numbers asks whether they are this table's. No other table of
    /// this process ever has the same.
    pub fn identity(&self) -> TableIdentity {
        self.identity
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
    use crate::series::Labels;

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
    fn of_a_repeated_name_the_last_value_wins() {
        let mut table = SeriesTable::new(10);
        let a = table.intern("m", &mut [("h", "2"), ("a", "0"), ("h", "1")]).unwrap();
        assert_eq!(table.series(a).unwrap().labels.to_string(), "a=0,h=1");
        assert_eq!(table.intern("m", &mut [("h", "1"), ("a", "0")]), Ok(a));
    }
}
