//! The partial aggregates of one pane, packed: structure of arrays, equal neighbours as runs.
//!
//! A group with one sample in the pane costs eight bytes, one with more 32, where group numbers and counts
//! are regular; at worst eight bytes more.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::time::Pane;

use crate::aggregate::Moments;

/// One pane of all groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PackedColumn {
    pub(super) pane: Pane,
    /// Runs of consecutive groups: how many numbers are left out before, and how many follow.
    groups: Vec<(u32, u32)>,
    /// Runs of equal counts: the count, whether the sum says it all, and how many rows.
    counts: Vec<(u64, bool, u32)>,
    /// For each row its sum; then, unless that says it all, squared deviations, least, greatest.
    numbers: Vec<f64>,
}

/// Whether all other numbers follow from the sum, to the bit: as a rule, one sample.
fn is_single(moments: &Moments) -> bool {
    let sum = moments.sum.to_bits();
    moments.m2.to_bits() == 0 && moments.min.to_bits() == sum && moments.max.to_bits() == sum
}

impl PackedColumn {
    /// Packs rows that are sorted by group.
    pub(super) fn pack(pane: Pane, rows: &[(GroupId, Moments)]) -> Self {
        let mut packed = PackedColumn { pane, ..PackedColumn::default() };
        packed.numbers.reserve(rows.len());
        let mut next = 0;
        for (group, moments) in rows {
            match packed.groups.last_mut() {
                Some((_, length)) if group.0 == next => *length += 1,
                _ => packed.groups.push((group.0 - next, 1)),
            }
            next = group.0.saturating_add(1);
            let single = is_single(moments);
            match packed.counts.last_mut() {
                Some((count, same, rows)) if (*count, *same) == (moments.count, single) => {
                    *rows += 1;
                }
                _ => packed.counts.push((moments.count, single, 1)),
            }
            packed.numbers.push(moments.sum);
            if !single {
                packed.numbers.extend([moments.m2, moments.min, moments.max]);
            }
        }
        packed
    }

    /// The rows, or what is wrong with them.
    pub(super) fn unpack(&self) -> Result<Vec<(GroupId, Moments)>, &'static str> {
        if !self.numbers.iter().all(|number| number.is_finite()) {
            return Err("a number is not finite");
        }
        let mut rows = Vec::with_capacity(self.numbers.len().min(1 << 20));
        let mut numbers = self.numbers.iter().copied();
        let mut runs = self.groups.iter();
        // The present run: its next group, and how many are left of it.
        let (mut group, mut left) = (Some(0u32), 0u32);
        for (count, single, length) in &self.counts {
            // Every row takes a number, so damaged lengths end with the numbers.
            for _ in 0..*length {
                while left == 0 {
                    let (gap, length) = runs.next().ok_or("more rows than groups")?;
                    group = group.and_then(|group| group.checked_add(*gap));
                    left = *length;
                }
                let id = group.ok_or("a group's number is too great")?;
                let mut number = || numbers.next().ok_or("more rows than numbers");
                let sum = number()?;
                let (m2, min, max) =
                    if *single { (0.0, sum, sum) } else { (number()?, number()?, number()?) };
                if m2 < 0.0 {
                    return Err("a spread is negative");
                }
                rows.push((GroupId(id), Moments { count: *count, sum, m2, min, max }));
                group = id.checked_add(1);
                left -= 1;
            }
        }
        if left > 0 || runs.next().is_some() || numbers.next().is_some() {
            return Err("groups or numbers without rows");
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Aggregate as _;
    use proptest::prelude::*;
    use tidewatch_dataflow::checkpoint::encode;

    proptest! {
        #[test]
        fn unpacks_to_the_same_bits(
            rows in prop::collection::btree_map(0..60u32, prop::collection::vec(-1e9..1e9f64, 0..4), 0..40),
        ) {
            let rows: Vec<_> =
                rows.into_iter().map(|(group, samples)| (GroupId(group), Moments::of(samples))).collect();
            let packed = PackedColumn::pack(Pane(7), &rows);
            prop_assert_eq!(packed.unpack().unwrap(), rows);
        }
    }

    #[test]
    fn negative_zero_survives() {
        let rows = vec![(GroupId(0), Moments::of([-0.0])), (GroupId(5), Moments::of([0.0]))];
        let unpacked = PackedColumn::pack(Pane(1), &rows).unpack().unwrap();
        assert!(unpacked[0].1.min.is_sign_negative() && unpacked[0].1.sum.is_sign_positive());
        assert_eq!(unpacked[1].0, GroupId(5));
    }

    #[test]
    fn one_sample_costs_eight_bytes() {
        let rows: Vec<_> =
            (0..1_000).map(|i| (GroupId(i), Moments::of([f64::from(i) / 7.0]))).collect();
        let bytes = encode(&PackedColumn::pack(Pane(1_000_000), &rows)).len();
        assert!(bytes < 8_030, "{bytes}");
    }

    #[test]
    fn damage_is_told() {
        let good = PackedColumn::pack(Pane(1), &[(GroupId(1), Moments::of([1.0]))]);
        let long = PackedColumn { counts: vec![(1, true, u32::MAX)], ..good.clone() };
        assert!(long.unpack().is_err());
        let far = PackedColumn { groups: vec![(u32::MAX, 2)], ..good.clone() };
        assert!(far.unpack().is_err());
        let nan = PackedColumn { numbers: vec![f64::NAN], ..good };
        assert!(nan.unpack().is_err());
    }
}
