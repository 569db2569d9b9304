//! Waiting with a deadline, and names that are nobody else's.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{Error, Result};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Polls `probe` until it gives a value, or `limit` has passed.
///
/// A test never sleeps for a time that it hopes is long enough; it waits for
/// the fact that it needs.
///
/// ```
/// # use std::time::Duration;
/// let mut calls = 0;
/// let third = tidewatch_testkit::wait_for(Duration::from_secs(5), || {
///     calls += 1;
///     (calls == 3).then_some("there")
/// });
/// assert_eq!(third, Some("there"));
/// ```
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        // The clock is read first, so that the last look comes after the deadline.
        let last = Instant::now() >= deadline;
        if let Some(found) = probe() {
            return Some(found);
        }
        if last {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// A name that starts with `prefix` and that no other test uses: lower case if
/// the prefix is, so that it is good for topics, buckets and indexes.
///
/// ```
/// let first = tidewatch_testkit::unique("cpu");
/// assert!(first.starts_with("cpu-") && first != tidewatch_testkit::unique("cpu"));
/// ```
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Starts a server anew, with other ports, when somebody else took its port
/// between our looking and its binding.
pub(crate) fn retry_on_taken_port<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    const ATTEMPTS: u32 = 3;
    let mut attempt = 1;
    loop {
        match start() {
            Err(Error::NotReady { log, .. })
                if attempt < ATTEMPTS && log.to_lowercase().contains("already in use") =>
            {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_after_the_limit() {
        let started = Instant::now();
        assert_eq!(wait_for(Duration::from_millis(60), || None::<()>), None);
        assert!(started.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn a_taken_port_is_tried_again_a_few_times_only() {
        let clash = || Error::NotReady {
            server: "x",
            waited: Duration::ZERO,
            reason: String::new(),
            log: "Address already in use".into(),
        };
        let mut calls = 0;
        let outcome = retry_on_taken_port(|| {
            calls += 1;
            if calls == 2 { Ok(calls) } else { Err(clash()) }
        });
        assert_eq!(outcome.unwrap(), 2);
        let mut calls = 0;
        assert!(
            retry_on_taken_port(|| {
                calls += 1;
                Err::<(), _>(clash())
            })
            .is_err()
        );
        assert_eq!(calls, 3);
    }
}
