//! What a pane's samples say about a condition, small enough to ship.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tidewatch_dataflow::time::{EventTime, Pane, millis};

use super::{Class, Condition, SustainedConfig};

/// All samples of one group, pane and partition that were taken at one instant.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Instant {
    /// The value furthest towards holding.
    pub(super) value: f64,
    /// Milliseconds since the start of the pane.
    pub(super) offset: u32,
    pub(super) class: Class,
}

impl Instant {
    /// Takes in another sample of the same instant. Does not depend on the order of samples.
    fn absorb(&mut self, other: Instant, condition: Condition) {
        if self.class != other.class {
            self.class = Class::Between;
        }
        self.value = condition.worse(self.value, other.value);
    }
}

/// The samples of one group, pane and partition, as far as a sustained condition needs them: one entry of
/// 16 bytes per distinct instant, the first without allocation.
///
/// Instants are not thinned out, not even in a run of one class. Which sample comes first after `for`
/// depends on where the run began, and which samples surround a failing one on what other partitions
/// hold; the sender knows neither.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConditionPartial {
    /// In order, each offset once.
    instants: SmallVec<[Instant; 1]>,
}

impl ConditionPartial {
    /// The partial of `samples`, in any order, all of which lie in `pane`; `None` when there are none.
    /// Samples that are not finite are left out.
    pub fn of(
        config: &SustainedConfig,
        pane: Pane,
        samples: impl IntoIterator<Item = (EventTime, f64)>,
    ) -> Option<Self> {
        let start = config.pane.start(pane);
        let mut instants: SmallVec<[Instant; 1]> = samples
            .into_iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(time, value)| {
                let offset = u32::try_from(millis(time.since(start))).unwrap_or(u32::MAX);
                Instant { value, offset, class: config.class(value) }
            })
            .collect();
        merge_instants(&mut instants, config.condition);
        (!instants.is_empty()).then_some(ConditionPartial { instants })
    }

    pub(super) fn instants(&self) -> &[Instant] {
        &self.instants
    }

    /// How many instants there are.
    pub(crate) fn len(&self) -> usize {
        self.instants.len()
    }

    /// The value of each instant, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        self.instants.iter().map(|instant| instant.value)
    }

    /// Each instant in order: milliseconds since the start of the pane, class as a number, value.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u32, u8, f64)> {
        self.instants.iter().map(|i| (i.offset, i.class as u8, i.value))
    }

    /// What [`ConditionPartial::parts`] told; `None` when it is not of that kind.
    pub(crate) fn from_parts(parts: impl IntoIterator<Item = (u32, u8, f64)>) -> Option<Self> {
        let instant = |(offset, class, value)| {
            let class = match class {
                0 => Class::Holding,
                1 => Class::Between,
                2 => Class::Clear,
                _ => return None,
            };
            Some(Instant { value, offset, class })
        };
        let instants: SmallVec<[Instant; 1]> =
            parts.into_iter().map(instant).collect::<Option<_>>()?;
        let in_order = instants.is_sorted_by(|a, b| a.offset < b.offset);
        (in_order && !instants.is_empty()).then_some(ConditionPartial { instants })
    }
}

/// Sorts instants and makes one of those with the same offset.
pub(super) fn merge_instants<const N: usize>(
    instants: &mut SmallVec<[Instant; N]>,
    condition: Condition,
) where
    [Instant; N]: smallvec::Array<Item = Instant>,
{
    if !instants.is_sorted_by(|a, b| a.offset < b.offset) {
        instants.sort_by_key(|instant| instant.offset);
        instants.dedup_by(|next, kept| {
            let same = next.offset == kept.offset;
            if same {
                kept.absorb(*next, condition);
            }
            same
        });
    }
}
