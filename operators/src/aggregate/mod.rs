//! Partial aggregates: what is kept of the samples of one group and one pane, and how two of them join.
//!
//! A window's value is made by joining the partial aggregates of its panes, so an aggregate is a
//! [`Monoid`]: joining is associative in meaning. It need not be associative to the last bit (sums of
//! floats are not); [`crate::window`] always joins in the same shape, so the bits come out the same
//! whoever computes them.

mod moments;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

pub use moments::Moments;
pub(crate) use moments::finite;

/// A partial aggregate that can take in another one.
pub trait Monoid: Clone + 'static {
    /// Takes in `later`, whose samples belong to later panes, or to a later partition of the same pane.
    fn merge(&mut self, later: &Self);
}

/// Something measured: it can cross workers, and any two of it can be put in order.
///
/// The order makes results independent of the order of arrival, so it must be total; for floats it is
/// [`f64::total_cmp`].
pub trait Value: timely::ExchangeData + Clone {
    /// The place of `self` relative to `other`; equal only where no aggregate can tell them apart.
    fn order(&self, other: &Self) -> Ordering;
}

impl Value for f64 {
    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }
}

macro_rules! value_by_ord {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            fn order(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}
value_by_ord!((), bool, u8, u16, u32, u64, i8, i16, i32, i64, String);

/// A [`Monoid`] that can be made of values.
pub trait Aggregate<V>: Monoid {
    /// The aggregate of `values`, which stand in canonical order (by time, then by [`Value::order`]).
    fn of(values: impl IntoIterator<Item = V>) -> Self;
}

/// How many there are.
///
/// ```
/// use tidewatch_operators::aggregate::{Aggregate, Count, Monoid};
/// let mut count = Count::of(["a", "b"]);
/// count.merge(&Count::of(["c"]));
/// assert_eq!(count, Count(3));
/// ```
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Count(pub u64);

impl Monoid for Count {
    fn merge(&mut self, later: &Self) {
        self.0 = self.0.saturating_add(later.0);
    }
}

impl<V> Aggregate<V> for Count {
    fn of(values: impl IntoIterator<Item = V>) -> Self {
        Count(values.into_iter().fold(0, |count, _| count + 1))
    }
}
