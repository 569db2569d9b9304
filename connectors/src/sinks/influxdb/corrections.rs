//! Corrections that an older write may still overtake, and when they are written again.
//!
//! A store keeps what it was sent last. A request of a run that was killed, or one that was given up, may still
//! be on its way: if it arrives after the correction of a point that it brings, the store is left with the
//! older value for ever. Nobody can call it back, so the correction is said again.
//!
//! ```text
//!  start, or a failed attempt      first success  + 0.1 s  + 1 s   + 10 s            + 60 s
//!  ───────────┼──────────────────────────┼───────────┼────────┼────────┼──────────────────┼───────►
//!     an older request may be on its way │         again    again    again              again
//!                                        └─ corrections written in here are held ─────────┘
//! ```
//! Points that are no corrections have one value in all runs, and are never written again.

use std::time::Duration;

use tokio::time::Instant;

/// When held corrections are written again, counted from when the store answers: servers and proxies that were
/// stalled work off what waits within seconds, and TCP tries again within a minute when the outage was no
/// longer than that. What was held in an earlier run is not: a run that is killed right after the store answered,
/// with a request of its predecessor still on the way, is what remains.
const AGAIN_AFTER: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// At most so many bytes of line protocol are held, about 20,000 corrections; with more, all are written again at
/// once and forgotten.
const HELD_MAX: usize = 2 << 20;

/// Lines of the corrections that were written and may be overtaken.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    /// When the store answered for the first time since the start or the last failure.
    answered_at: Option<Instant>,
    /// When they were last written again.
    again_at: Option<Instant>,
    /// In the order in which they were written.
    lines: String,
}

impl Corrections {
    /// An attempt failed: what it brought may arrive later.
    pub(super) fn fail(&mut self) {
        (self.answered_at, self.again_at) = (None, None);
    }

    /// An attempt got through; `lines` are the corrections in it.
    pub(super) fn succeed(&mut self, lines: &str, now: Instant) {
        let answered_at = *self.answered_at.get_or_insert(now);
        let [.., last] = AGAIN_AFTER;
        if now < answered_at + last {
            self.lines.push_str(lines);
        }
    }

    /// How long until they are to be written again: zero when it is time, `None` when there is nothing to write.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let answered_at = self.answered_at.filter(|_| !self.lines.is_empty())?;
        if self.lines.len() > HELD_MAX {
            return Some(Duration::ZERO);
        }
        self.next(answered_at).map(|at| at.saturating_duration_since(now))
    }

    /// The first time to write them again after the last time that was done.
    fn next(&self, answered_at: Instant) -> Option<Instant> {
        let done = self.again_at.unwrap_or(answered_at);
        AGAIN_AFTER.iter().map(|after| answered_at + *after).find(|at| *at > done)
    }

    /// The lines to write again.
    pub(super) fn lines(&self) -> &str {
        &self.lines
    }

    /// They were written again.
    pub(super) fn repeated(&mut self, now: Instant) {
        self.again_at = Some(now);
        let is_last = self.answered_at.and_then(|at| self.next(at)).is_none();
        if is_last || self.lines.len() > HELD_MAX {
            self.lines = String::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn they_are_said_again_several_times_after_the_store_answers() {
        let (mut corrections, start) = (Corrections::default(), Instant::now());
        assert_eq!(corrections.wait(start), None);
        corrections.succeed("", start);
        assert_eq!(corrections.wait(start), None, "nothing is held");
        corrections.succeed("a\n", start + seconds(3));
        corrections.succeed("b\n", start + seconds(4));
        assert_eq!(corrections.wait(start + seconds(4)), Some(Duration::ZERO));
        assert_eq!(corrections.lines(), "a\nb\n");
        corrections.repeated(start + seconds(4));
        assert_eq!(corrections.wait(start + seconds(4)), Some(seconds(6)));
        corrections.repeated(start + seconds(10));
        corrections.succeed("c\n", start + seconds(59));
        assert_eq!(corrections.wait(start + seconds(59)), Some(seconds(1)));
        assert_eq!(corrections.lines(), "a\nb\nc\n");
        corrections.repeated(start + seconds(60));
        corrections.succeed("d\n", start + seconds(61));
        assert_eq!((corrections.wait(start + seconds(61)), corrections.lines()), (None, ""));
    }

    #[test]
    fn a_failure_begins_anew_and_keeps_what_is_held() {
        let (mut corrections, start) = (Corrections::default(), Instant::now());
        corrections.succeed("a\n", start);
        corrections.repeated(start + seconds(1));
        corrections.fail();
        assert_eq!(corrections.wait(start + seconds(100)), None, "it waits for the store");
        corrections.succeed("b\n", start + seconds(200));
        assert_eq!(corrections.wait(start + seconds(200)), Some(Duration::from_millis(100)));
        assert_eq!(corrections.lines(), "a\nb\n");
    }

    #[test]
    fn too_many_are_said_again_at_once() {
        let (mut corrections, start) = (Corrections::default(), Instant::now());
        corrections.succeed(&"x".repeat(HELD_MAX + 1), start);
        assert_eq!(corrections.wait(start), Some(Duration::ZERO));
        corrections.repeated(start);
        assert_eq!(corrections.lines(), "");
    }
}
