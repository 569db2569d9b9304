//! A small cache of field numbers, so that the names of a message type are looked up without hashing.

use tidewatch_dataflow::series::{FieldId, SeriesTable, TableFull};

/// 256 entries: a fleet has some hundred field names, and a miss costs one look-up in the table.
const SLOTS: usize = 256;

/// Direct-mapped by length and last bytes of the name; the name itself is always compared.
#[derive(Clone, Debug)]
pub(super) struct FieldCache {
    slots: [FieldId; SLOTS],
}

impl Default for FieldCache {
    fn default() -> Self {
        FieldCache { slots: [FieldId(u32::MAX); SLOTS] }
    }
}

impl FieldCache {
    /// The number of field `name` in `series`.
    pub(super) fn id(
        &mut self,
        name: &str,
        series: &mut SeriesTable,
    ) -> Result<FieldId, TableFull> {
        let slot = &mut self.slots[slot(name.as_bytes())];
        // Also right when the table is not the one of the last call.
        if series.field(*slot) == Some(name) {
            return Ok(*slot);
        }
        *slot = series.intern_field(name)?;
        Ok(*slot)
    }
}

/// Names of one measurement share their first bytes (`usage_`), so the last ones decide.
fn slot(name: &[u8]) -> usize {
    let tail = match name.last_chunk::<8>() {
        Some(tail) => u64::from_le_bytes(*tail),
        None => name.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
    };
    let hash = (tail ^ (name.len() as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::from(hash.to_be_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_slots_are_told_apart_by_name() {
        let mut series = SeriesTable::new(1);
        let mut cache = FieldCache::default();
        let names: Vec<String> = (0..2_000).map(|i| format!("field_{i}")).collect();
        let first: Vec<_> = names.iter().map(|n| cache.id(n, &mut series).unwrap()).collect();
        let second: Vec<_> = names.iter().map(|n| cache.id(n, &mut series).unwrap()).collect();
        assert_eq!(first, second);
        assert!(names.iter().zip(&first).all(|(n, id)| series.field(*id) == Some(n)));
    }

    #[test]
    fn another_table_is_noticed() {
        let (mut a, mut b) = (SeriesTable::new(1), SeriesTable::new(1));
        b.intern_field("other").unwrap();
        let mut cache = FieldCache::default();
        let in_a = cache.id("used", &mut a).unwrap();
        let in_b = cache.id("used", &mut b).unwrap();
        assert_eq!((a.field(in_a), b.field(in_b)), (Some("used"), Some("used")));
        assert_ne!(in_a, in_b);
    }
}
