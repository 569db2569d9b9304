//! How long to wait before the next attempt: capped exponential back-off with full jitter.
//!
//! After the n-th failure in a row the delay is drawn evenly from `[0, min(max, min * 2^(n-1))]`, so
//! that many clients that lost the same server do not come back at the same instant. What the server
//! asked for (`Retry-After`, cut at a cap) is waited for first, and the jitter added to it.

use std::time::Duration;

use super::DeliveryConfig;

/// The delays of one sink.
#[derive(Debug)]
pub(super) struct Backoff {
    delay_min: Duration,
    delay_max: Duration,
    retry_after_max: Duration,
    /// Failures in a row.
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(config: &DeliveryConfig, random: fastrand::Rng) -> Self {
        Backoff {
            delay_min: config.retry_delay_min,
            delay_max: config.retry_delay_max.max(config.retry_delay_min),
            retry_after_max: config.retry_after_max,
            failures: 0,
            random,
        }
    }

    /// The delay after one more failure.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let ceiling = self.delay_min.saturating_mul(factor).min(self.delay_max);
        self.failures = self.failures.saturating_add(1);
        let asked = retry_after.unwrap_or_default().min(self.retry_after_max);
        asked + ceiling.mul_f64(self.random.f64())
    }

    /// Forgets past failures: something got through.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(&DeliveryConfig::default(), fastrand::Rng::with_seed(7))
    }

    #[test]
    fn delays_stay_below_a_ceiling_that_doubles_up_to_the_cap() {
        let mut greatest = [Duration::ZERO; 40];
        for seed in 0..200 {
            let mut backoff =
                Backoff::new(&DeliveryConfig::default(), fastrand::Rng::with_seed(seed));
            for (failure, greatest) in greatest.iter_mut().enumerate() {
                let delay = backoff.next(None);
                let ceiling = Duration::from_millis(100 * (1 << failure.min(20)));
                assert!(delay <= ceiling.min(Duration::from_secs(30)), "{failure}: {delay:?}");
                *greatest = delay.max(*greatest);
            }
        }
        assert!(greatest[0] > Duration::from_millis(80), "the jitter reaches up to the ceiling");
        assert!(greatest[39] > Duration::from_secs(28));
    }

    #[test]
    fn the_other_sides_wish_is_kept_up_to_a_cap() {
        let wish = Duration::from_secs(7);
        let delay = backoff().next(Some(wish));
        assert!(delay >= wish && delay <= wish + Duration::from_millis(100), "{delay:?}");
        let delay = backoff().next(Some(Duration::from_secs(86_400)));
        assert!(delay < Duration::from_secs(301), "{delay:?}");
    }

    #[test]
    fn success_starts_anew() {
        let mut backoff = backoff();
        for _ in 0..20 {
            backoff.next(None);
        }
        backoff.reset();
        assert!(backoff.next(None) <= Duration::from_millis(100));
    }
}
