//! Count, sum, sum of squared deviations, minimum and maximum: mean and standard deviation of any
//! number of samples in 40 bytes.
//!
//! Sample by sample the sum of squared deviations follows E. A. Youngs and E. M. Cramer, "Some results
//! relevant to choice of sum and sum-of-product algorithms", Technometrics 13 (1971); two partial
//! results are joined by the pairwise formula of T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating
//! formulae and a pairwise algorithm for computing sample variances", Stanford STAN-CS-79-773 (1979).
//! Neither subtracts large squares from each other, so a small spread around a large mean survives.

use serde::{Deserialize, Serialize};

use super::{Aggregate, Monoid};

/// The moments of a set of finite numbers.
///
/// Every field is finite, always: samples that are not finite are left out, and sums that would
/// overflow stay at the greatest finite number.
///
/// ```
/// use tidewatch_operators::aggregate::{Aggregate, Moments, Monoid};
/// let mut moments = Moments::of([2.0, 4.0, 4.0, 4.0]);
/// moments.merge(&Moments::of([5.0, 5.0, 7.0, 9.0]));
/// assert_eq!((moments.count, moments.mean(), moments.stddev()), (8, 5.0, 2.0));
/// assert_eq!((moments.min, moments.max), (2.0, 9.0));
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// How many samples.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squared deviations from their mean; never negative.
    pub m2: f64,
    /// The least; 0 when there are none.
    pub min: f64,
    /// The greatest; 0 when there are none.
    pub max: f64,
}

/// `x`, or the finite number nearest to it.
pub(crate) fn finite(x: f64) -> f64 {
    x.clamp(f64::MIN, f64::MAX)
}

/// The lesser; of equals (0 and -0) the first, which [`f64::min`] leaves open.
fn least(first: f64, second: f64) -> f64 {
    if second < first { second } else { first }
}

/// The greater; of equals (0 and -0) the first, which [`f64::max`] leaves open.
fn greatest(first: f64, second: f64) -> f64 {
    if second > first { second } else { first }
}

impl Moments {
    /// Takes in one more sample; leaves it out when it is not finite.
    pub fn add(&mut self, sample: f64) {
        if !sample.is_finite() {
            return;
        }
        self.sum = finite(self.sum + sample);
        if self.count == 0 {
            (self.count, self.min, self.max) = (1, sample, sample);
            return;
        }
        self.count += 1;
        let n = self.count as f64;
        let spread = n * sample - self.sum;
        self.m2 = finite(self.m2 + spread * (spread / (n * (n - 1.0))));
        self.min = least(self.min, sample);
        self.max = greatest(self.max, sample);
    }

    /// The mean; 0 when there are no samples.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The variance of the samples as a whole population (divided by their count); 0 when there are none.
    pub fn variance(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.m2 / self.count as f64 }
    }

    /// The square root of [`Moments::variance`].
    pub fn stddev(&self) -> f64 {
        self.variance().sqrt()
    }
}

impl Monoid for Moments {
    fn merge(&mut self, later: &Self) {
        if later.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *later;
            return;
        }
        let (a, b) = (self.count as f64, later.count as f64);
        let delta = later.mean() - self.mean();
        self.m2 = finite(self.m2 + later.m2 + delta * (delta * (a * (b / (a + b)))));
        self.sum = finite(self.sum + later.sum);
        self.count = self.count.saturating_add(later.count);
        self.min = least(self.min, later.min);
        self.max = greatest(self.max, later.max);
    }
}

impl Aggregate<f64> for Moments {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut moments = Moments::default();
        for value in values {
            moments.add(value);
        }
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Mean and variance in two passes over all samples.
    fn two_pass(samples: &[f64]) -> (f64, f64) {
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        (mean, samples.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n)
    }

    proptest! {
        #[test]
        fn oracle_moments_agree_with_two_passes(
            samples in prop::collection::vec(-1e6..1e6f64, 1..200), cut in 0..200usize,
        ) {
            let (left, right) = samples.split_at(cut.min(samples.len()));
            let mut moments = Moments::of(left.iter().copied());
            moments.merge(&Moments::of(right.iter().copied()));
            let (mean, variance) = two_pass(&samples);
            prop_assert_eq!(moments.count, samples.len() as u64);
            prop_assert!((moments.mean() - mean).abs() <= 1e-6);
            prop_assert!((moments.variance() - variance).abs() <= 1e-9 * variance + 1e-6);
            prop_assert_eq!(moments.min, samples.iter().copied().fold(f64::INFINITY, f64::min));
            prop_assert_eq!(moments.max, samples.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }

        #[test]
        fn every_field_stays_finite(bits in prop::collection::vec(any::<u64>(), 0..50), cut in 0..50usize) {
            let samples: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            let (left, right) = samples.split_at(cut.min(samples.len()));
            let mut moments = Moments::of(left.iter().copied());
            moments.merge(&Moments::of(right.iter().copied()));
            let all = [moments.sum, moments.m2, moments.min, moments.max, moments.mean(), moments.stddev()];
            prop_assert!(all.iter().all(|x| x.is_finite()), "{moments:?}");
            prop_assert!(moments.m2 >= 0.0);
        }
    }

    #[test]
    fn a_small_spread_around_a_large_mean_survives() {
        let moments = Moments::of([1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!(moments.variance(), 22.5);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut moments = Moments::of([f64::MAX, f64::MIN]);
        moments.merge(&Moments::of([f64::MAX, f64::MAX]));
        assert!(moments.sum.is_finite() && moments.stddev().is_finite());
        assert_eq!(Moments::of([f64::NAN, f64::INFINITY]), Moments::default());
    }

    #[test]
    fn nothing_is_the_neutral_element() {
        let some = Moments::of([1.0, 2.0]);
        let mut left = Moments::default();
        left.merge(&some);
        let mut right = some;
        right.merge(&Moments::default());
        assert_eq!((left, right), (some, some));
    }
}
