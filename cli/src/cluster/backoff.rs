//! How long to wait before a run is started again.

use std::time::Duration;

/// The waits between a failure and the next start.
#[derive(Clone, Debug)]
pub struct BackoffConfig {
    /// Before the second start in a row; the first is at once, and each further wait is twice as long.
    pub first: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// A run that was up for this long had nothing wrong with it: the next failure is a first one.
    pub reset_after: Duration,
}

impl Default for BackoffConfig {
    /// 0 s, 0.5 s, 1 s, 2 s and so on up to 30 s; after a minute of health anew.
    fn default() -> Self {
        BackoffConfig {
            first: Duration::from_millis(500),
            max: Duration::from_secs(30),
            reset_after: Duration::from_secs(60),
        }
    }
}

/// Capped exponential back-off with jitter.
///
/// ```
/// use std::time::Duration;
/// use tidewatch::cluster::{Backoff, BackoffConfig};
/// let mut backoff = Backoff::new(BackoffConfig::default());
/// let up_for = Duration::from_secs(5);
/// assert_eq!(backoff.after(up_for), Duration::ZERO);
/// let second = backoff.after(up_for);
/// assert!((250..=500).contains(&second.as_millis()));
/// assert_eq!(backoff.failures(), 2);
/// assert_eq!(backoff.after(Duration::from_secs(60)), Duration::ZERO);
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// Nothing has failed yet.
    pub fn new(config: BackoffConfig) -> Self {
        Backoff { config, failures: 0, random: fastrand::Rng::new() }
    }

    /// How long to wait now that a run has failed that was up for `healthy`: zero for the first failure;
    /// after that between half and the whole of the wait, drawn anew each time, so that many that fail
    /// together do not come back together.
    pub fn after(&mut self, healthy: Duration) -> Duration {
        if healthy >= self.config.reset_after {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = self.failures.checked_sub(2) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let whole = self.config.first.saturating_mul(factor).min(self.config.max);
        whole.mul_f64(0.5 + 0.5 * self.random.f64())
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_stay_within_their_upper_half() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(BackoffConfig::default());
            backoff.random = fastrand::Rng::with_seed(seed);
            assert_eq!(backoff.after(Duration::ZERO), Duration::ZERO);
            for whole in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
                let wait = backoff.after(Duration::from_secs(59)).as_millis();
                assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole} (seed {seed})");
            }
            for _ in 0..200 {
                assert!(backoff.after(Duration::ZERO) <= Duration::from_secs(30));
            }
        }
    }

    #[test]
    fn a_minute_of_health_forgets() {
        let mut backoff = Backoff::new(BackoffConfig::default());
        for _ in 0..10 {
            backoff.after(Duration::ZERO);
        }
        assert_eq!(
            (backoff.after(Duration::from_secs(60)), backoff.failures()),
            (Duration::ZERO, 1)
        );
        assert!(backoff.after(Duration::ZERO) > Duration::ZERO);
    }

    #[test]
    fn two_supervisors_do_not_wait_alike() {
        let wait = |seed| {
            let mut backoff = Backoff::new(BackoffConfig::default());
            backoff.random = fastrand::Rng::with_seed(seed);
            (0..8).map(|_| backoff.after(Duration::ZERO)).last()
        };
        assert_ne!(wait(1), wait(2));
    }
}
