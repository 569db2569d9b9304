//! The state machine of one partition, without a client: what it hands out, where it goes, when it stops.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use tidewatch_dataflow::record::{Record, RecordTime, record_hash};

use super::super::batch_queue::StartAt;
use super::fault::PartitionFault;
use super::options::{OnRetention, SeenRecord};
use super::progress::{Progress, RETRY, Todo};

fn record(offset: i64, value: &'static str) -> Record<'static> {
    let (time, value) = (RecordTime::Unknown, Some(value.as_bytes()));
    Record { offset, time, key: None, value, headers: &[] }
}

fn seen(offset: i64, value: &'static str) -> SeenRecord {
    SeenRecord { offset, hash: record_hash(&record(offset, value)) }
}

/// A partition that is to go on at `offset`.
fn at(offset: i64, seen: Option<SeenRecord>) -> Progress {
    Progress::new(StartAt::Offset(offset), seen)
}

/// Asked for bounds now, and answered.
fn judged(progress: &mut Progress, bounds: (i64, i64), policy: OnRetention, now: Instant) -> u64 {
    assert_eq!(progress.todo(now), Todo::Ask);
    assert_eq!(progress.todo(now), Todo::Nothing, "asked once");
    progress.judged(bounds, policy, now)
}

#[test]
fn the_record_before_is_compared_and_never_handed_out() {
    let mut progress = at(8, Some(seen(5, "a")));
    assert_eq!(progress.place(), StartAt::Offset(5));
    assert_eq!(progress.last_seen(), Some(seen(5, "a")));
    assert!(!progress.record(&record(5, "a"), Instant::now()), "it was handed out");
    assert_eq!(progress.last_seen(), Some(seen(5, "a")));
    // What lies between the two was not wanted either.
    assert!(!progress.record(&record(7, "b"), Instant::now()));
    assert!(progress.record(&record(8, "c"), Instant::now()));
    assert_eq!((progress.next, progress.stopped), (Some(9), None));

    for first in [0, 3] {
        let mut progress = at(8, Some(seen(5, "a")));
        assert!(!progress.record(&record(5, "x"), Instant::now()));
        let now = Instant::now();
        for _ in 0..2 {
            assert!(!progress.record(&record(8, "c"), Instant::now()), "read on in another log");
            progress.end(9, Instant::now());
            assert!(!progress.at_end);
            if progress.stopped.is_none() {
                // What the log is decides what is done.
                assert_eq!(judged(&mut progress, (first, 9), OnRetention::Error, now), 0);
            }
        }
        assert_eq!(progress.stopped, Some(PartitionFault::Different { offset: 5, first }));
        assert_eq!(progress.stopped.unwrap().is_recreated(), first == 0);
        assert_eq!(progress.todo(now + 9 * RETRY), Todo::Nothing);
    }
}

#[test]
fn a_record_that_is_gone_is_not_compared() {
    let mut progress = at(8, Some(seen(5, "a")));
    assert!(!progress.record(&record(6, "x"), Instant::now()));
    assert_eq!(progress.last_seen(), None);
    assert!(progress.record(&record(8, "c"), Instant::now()));
    let mut progress = at(8, Some(seen(5, "a")));
    progress.end(8, Instant::now());
    assert!(progress.at_end && progress.stopped.is_none());
    // Not before the start: nothing to compare.
    assert_eq!(at(8, Some(seen(8, "a"))).place(), StartAt::Offset(8));
    // Retention took it, and nothing that was still to be read.
    let mut progress = at(8, Some(seen(5, "a")));
    let now = Instant::now();
    progress.out_of_range(5, now);
    assert_eq!(judged(&mut progress, (8, 20), OnRetention::Error, now), 0);
    assert_eq!(progress.todo(now), Todo::Restart(StartAt::Offset(8)));
    assert!(progress.record(&record(8, "c"), Instant::now()) && !progress.is_recovering());
}

#[test]
fn retention_past_the_place_stops_or_skips() {
    let now = Instant::now();
    let mut progress = at(8, None);
    progress.out_of_range(8, now);
    assert_eq!(judged(&mut progress, (11, 20), OnRetention::Error, now), 0);
    assert_eq!(progress.stopped, Some(PartitionFault::Expired { wanted: 8, first: 11 }));
    assert_eq!(progress.todo(now + 9 * RETRY), Todo::Nothing);

    let mut progress = at(8, Some(seen(7, "a")));
    progress.out_of_range(7, now);
    assert_eq!(judged(&mut progress, (11, 20), OnRetention::Earliest, now), 3);
    assert_eq!(progress.todo(now), Todo::Restart(StartAt::Offset(11)));
    assert_eq!((progress.next, progress.lost), (Some(11), 3));
    // It went on meanwhile.
    progress.out_of_range(11, now);
    assert_eq!(judged(&mut progress, (15, 20), OnRetention::Earliest, now), 4);
    assert_eq!(progress.lost, 7);
    assert_eq!(progress.todo(now), Todo::Restart(StartAt::Offset(15)));
    assert!(progress.record(&record(15, "b"), Instant::now()));
}

#[test]
fn removed_and_aborted_records_passed_already_are_not_lost() {
    let now = Instant::now();
    let mut progress = at(8, None);
    assert!(progress.record(&record(8, "a"), Instant::now()));
    // The client stood at 12: what lay between was compacted or aborted.
    progress.out_of_range(12, now);
    assert_eq!(judged(&mut progress, (13, 20), OnRetention::Earliest, now), 1);
}

#[test]
fn what_was_to_be_read_from_its_beginning_loses_nothing() {
    let now = Instant::now();
    let mut progress = Progress::new(StartAt::Beginning, None);
    progress.out_of_range(0, now);
    assert_eq!(progress.todo(now), Todo::Restart(StartAt::Beginning));
    assert!(progress.record(&record(4, "a"), Instant::now()));
    assert_eq!((progress.lost, progress.next), (0, Some(5)));
}

#[test]
fn a_log_that_is_too_short_is_looked_at_three_times() {
    let mut now = Instant::now();
    let mut progress = at(8, Some(seen(5, "a")));
    // Told in either way: the place is out of range, or the log ends at once.
    progress.end(6, now);
    for attempt in 0..2 {
        assert!(!progress.at_end && progress.stopped.is_none());
        judged(&mut progress, (0, 6), OnRetention::Earliest, now);
        assert_eq!(progress.todo(now), Todo::Nothing, "attempt {attempt}");
        now += RETRY;
        assert_eq!(progress.todo(now), Todo::Restart(StartAt::Offset(5)));
        progress.out_of_range(5, now);
    }
    judged(&mut progress, (0, 6), OnRetention::Earliest, now);
    assert_eq!(progress.stopped, Some(PartitionFault::Shorter { wanted: 8, first: 0, end: 6 }));
}

#[test]
fn a_place_that_is_back_is_gone_on_from_with_a_look_at_the_record_before() {
    let mut now = Instant::now();
    let mut progress = at(8, None);
    progress.record(&record(8, "a"), Instant::now());
    progress.last = Some(seen(8, "a"));
    progress.out_of_range(9, now);
    judged(&mut progress, (0, 9), OnRetention::Error, now);
    assert_eq!(progress.todo(now), Todo::Restart(StartAt::Offset(8)));
    // Again, and then not at once.
    progress.out_of_range(8, now);
    judged(&mut progress, (0, 9), OnRetention::Error, now);
    assert_eq!(progress.todo(now), Todo::Nothing);
    now += RETRY;
    assert_eq!(progress.todo(now), Todo::Restart(StartAt::Offset(8)));
    assert!(
        !progress.record(&record(8, "a"), Instant::now())
            && progress.record(&record(9, "b"), Instant::now())
    );
    assert_eq!((progress.next, progress.stopped), (Some(10), None));
}

#[test]
fn a_partition_that_was_denied_is_compared_when_it_is_back() {
    let mut progress = at(8, None);
    assert_eq!(progress.vanished(), None, "nothing was read that could be compared");
    progress.record(&record(8, "a"), Instant::now());
    progress.last = Some(seen(8, "a"));
    assert_eq!(progress.vanished(), Some(StartAt::Offset(8)));
    assert!(!progress.record(&record(8, "z"), Instant::now()));
    judged(&mut progress, (0, 12), OnRetention::Error, Instant::now());
    assert!(progress.stopped.is_some_and(|fault| fault.is_recreated()));
}

#[test]
fn an_unanswered_question_is_asked_again() {
    let now = Instant::now();
    let mut progress = at(8, None);
    progress.out_of_range(8, now);
    assert_eq!(progress.todo(now), Todo::Ask);
    progress.unanswered(now);
    assert_eq!(progress.todo(now + RETRY - Duration::from_millis(1)), Todo::Nothing);
    assert_eq!(progress.todo(now + RETRY), Todo::Ask);
}
