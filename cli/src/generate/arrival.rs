//! The order in which the records of a partition arrive: by event time plus delay.
//!
//! ```text
//! event second   s     s+1   s+2   s+3
//! arrivals of s  |-----------------|            delays below 2 s on a time within the second
//! late ones of s                    ...   |----------------------|  10 to 20 minutes later
//! ```
//!
//! Second after second of arrival: all records of the event second are placed, those that arrive now are
//! sorted and handed out. Kept are the records of three seconds, and 20 minutes of the late ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The longest delay of a record that is not late, exclusive, in milliseconds.
pub const DISORDER_MS: u64 = 2_000;
/// The shortest delay of a late record, in milliseconds.
pub const LATE_MIN_MS: u64 = 600_000;
/// The longest delay of a late record, exclusive, in milliseconds.
pub const LATE_MAX_MS: u64 = 1_200_000;
/// One record in so many is meant to be late.
const LATE_ONE_IN: u64 = 1_000;
/// Of a short run, in which only few records can be late, not more than one in so many of those.
const LATE_ONE_IN_MIN: u64 = 100;

/// A record on its way: when it arrives, in milliseconds from second 0, and which one it is.
pub(super) type Pending = (u64, u64);

/// Records of one partition, by event second.
pub(super) trait Stream {
    /// Places the records whose event time lies in `second`.
    fn of_second(&mut self, second: u64, place: &mut impl FnMut(Pending));
}

/// Hands the records of `stream`, `seconds` long, to `visit` in the order of their arrival; ties by number.
pub(super) fn in_order<S: Stream, E>(
    stream: &mut S,
    seconds: u64,
    mut visit: impl FnMut(Pending) -> Result<(), E>,
) -> Result<(), E> {
    // Two lists: what arrives in this second and the next two, and what is late.
    let mut ring: [Vec<Pending>; 3] = Default::default();
    let mut late = BinaryHeap::new();
    for second in 0..seconds + 2 {
        if second < seconds {
            stream.of_second(second, &mut |pending| {
                let arrives = pending.0 / 1_000;
                match ring.get_mut((arrives % 3) as usize) {
                    Some(due) if arrives < second + 3 => due.push(pending),
                    _ => late.push(Reverse(pending)),
                }
            });
        }
        let Some(due) = ring.get_mut((second % 3) as usize) else { continue };
        while let Some(Reverse(pending)) = late.peek()
            && pending.0 / 1_000 == second
        {
            due.push(*pending);
            late.pop();
        }
        due.sort_unstable();
        for pending in due.drain(..) {
            visit(pending)?;
        }
    }
    Ok(())
}

/// Who is late: one in how many of the records that can be, so that one in a thousand of all is.
///
/// A record of second `s` that is `d` seconds late must arrive within the run, so `s < seconds - d`; the
/// sum over all `d` says how many can be. `None` when none can.
pub(super) fn late_one_in(seconds: u64) -> Option<u64> {
    let delays = LATE_MIN_MS / 1_000..LATE_MAX_MS / 1_000;
    let count = delays.end - delays.start;
    let able: u64 = delays.map(|delay| seconds.saturating_sub(delay)).sum();
    (able > 0).then(|| (LATE_ONE_IN * able / (count * seconds)).max(LATE_ONE_IN_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_runs_approach_one_in_a_thousand_of_those_that_can() {
        assert_eq!(late_one_in(600), None);
        assert_eq!(late_one_in(601), Some(100), "not more than one in a hundred");
        assert_eq!(late_one_in(3_333), Some(730));
        assert_eq!(late_one_in(86_400), Some(989));
    }
}
