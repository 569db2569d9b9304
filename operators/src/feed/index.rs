//! Finding the number of labels. The labels stand in the vector that numbers them and nowhere else, so a group
//! costs about eight bytes here.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use tidewatch_dataflow::series::Labels;

/// Indexes of a vector of labels, by the labels that stand there.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelsIndex(HashTable<u32>);

impl LabelsIndex {
    /// The index of all of `known`, in which no labels are repeated.
    pub(super) fn of(known: &[Labels]) -> Self {
        let mut index = LabelsIndex(HashTable::with_capacity(known.len()));
        (0..).zip(known).for_each(|(number, labels)| index.insert(labels, number, known));
        index
    }

    /// Where `labels` stand in `known`.
    pub(super) fn find(&self, labels: &Labels, known: &[Labels]) -> Option<u32> {
        let is_it = |number: &u32| known.get(*number as usize) == Some(labels);
        self.0.find(FxBuildHasher.hash_one(labels), is_it).copied()
    }

    /// The number of `labels`, which are appended to `known` when they are new; and whether they are.
    pub(super) fn find_or_push(&mut self, labels: Labels, known: &mut Vec<Labels>) -> (u32, bool) {
        if let Some(number) = self.find(&labels, known) {
            return (number, false);
        }
        let number = u32::try_from(known.len()).unwrap_or(u32::MAX);
        known.push(labels.clone());
        self.insert(&labels, number, known);
        (number, true)
    }

    fn insert(&mut self, labels: &Labels, number: u32, known: &[Labels]) {
        let hash_of = |number: &u32| {
            let labels = known.get(*number as usize);
            labels.map_or(0, |labels| FxBuildHasher.hash_one(labels))
        };
        self.0.insert_unique(FxBuildHasher.hash_one(labels), number, hash_of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_set_has_its_number() {
        let labels = |number: u32| Labels::from_pairs([("host", number.to_string())]);
        let (mut index, mut known) = (LabelsIndex::default(), Vec::new());
        for number in 0..1_000 {
            assert_eq!(index.find_or_push(labels(number), &mut known), (number, true));
        }
        let again = LabelsIndex::of(&known);
        for number in 0..1_000 {
            assert_eq!(index.find_or_push(labels(number), &mut known), (number, false));
            assert_eq!(again.find(&labels(number), &known), Some(number));
        }
        assert_eq!(again.find(&labels(1_000), &known), None);
    }
}
