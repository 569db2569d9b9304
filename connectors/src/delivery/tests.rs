//! The driver against writers that fail in every way; time is tokio's, paused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::batch::{Batch, Fate};
use super::*;

pub(super) type Answer = Result<Receipt, ConnectorError>;

/// What a [`Store`] has seen.
#[derive(Default)]
pub(super) struct Seen {
    /// When each attempt came, and what it brought.
    pub(super) attempts: Vec<(Instant, Vec<u32>)>,
    /// What is in, in the order it came in.
    pub(super) stored: Vec<u32>,
    /// What was dead-lettered.
    pub(super) rejected: Vec<u32>,
}

/// A writer that answers as `answer` says, given the number of the attempt and its batch.
pub(super) struct Store<F> {
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) answer: F,
}

impl<F: FnMut(usize, &[u32]) -> Answer + Send + 'static> SinkWriter for Store<F> {
    type Item = u32;

    async fn write(&mut self, batch: &[u32]) -> Answer {
        tokio::task::yield_now().await;
        let attempt = self.seen.lock().unwrap().attempts.len();
        let answer = (self.answer)(attempt, batch);
        let mut seen = self.seen.lock().unwrap();
        seen.attempts.push((Instant::now(), batch.to_vec()));
        if let Ok(receipt) = &answer {
            let out: BTreeSet<usize> = receipt
                .rejected
                .iter()
                .map(|fault| fault.index)
                .chain(receipt.retry.iter().copied())
                .collect();
            let kept = batch.iter().enumerate().filter(|(index, _)| !out.contains(index));
            seen.stored.extend(kept.map(|(_, item)| *item));
        }
        answer
    }
}

fn spawn(
    config: DeliveryConfig,
    answer: impl FnMut(usize, &[u32]) -> Answer + Send + 'static,
) -> (SinkHandle<u32>, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let store = Store { seen: Arc::clone(&seen), answer };
    let dead = Arc::clone(&seen);
    let sink = Delivery::spawn(&Handle::current(), "store", store, config, move |item, _| {
        dead.lock().unwrap().rejected.push(*item);
    });
    (sink, seen)
}

pub(super) fn all(batch: &[u32]) -> Answer {
    Ok(Receipt { accepted: batch.len(), ..Receipt::default() })
}

pub(super) fn transient(retry_after: Option<Duration>) -> ConnectorError {
    let source = "connection refused".into();
    ConnectorError::Transient { endpoint: "store".into(), retry_after, source }
}

fn refused() -> ConnectorError {
    ConnectorError::Refused { endpoint: "store".into(), reason: "wrong token".into() }
}

fn permanent() -> ConnectorError {
    ConnectorError::Permanent { endpoint: "store".into(), reason: "bad line".into() }
}

pub(super) fn fault(index: usize) -> RejectedItem {
    RejectedItem { index, reason: Reason::Rejected, detail: "mapping".into() }
}

/// Small and without linger, so that each test says what it is about.
pub(super) fn small() -> DeliveryConfig {
    DeliveryConfig {
        queue_items: 100,
        batch_items: 10,
        linger: Duration::ZERO,
        ..DeliveryConfig::default()
    }
}

pub(super) async fn until(sink: &SinkHandle<u32>, what: impl Fn(&DeliverySnapshot) -> bool) {
    let started = Instant::now();
    while !what(&sink.stats().snapshot()) {
        assert!(started.elapsed() < Duration::from_secs(3_600), "{:?}", sink.stats().snapshot());
        sleep(Duration::from_millis(1)).await;
    }
}

pub(super) fn counts(snapshot: &DeliverySnapshot) -> [u64; 5] {
    let DeliverySnapshot { offered, delivered, queued, shed, rejected, .. } = snapshot;
    [*offered, *delivered, *queued, *shed, *rejected]
}

#[tokio::test(start_paused = true)]
async fn items_go_out_in_order_and_in_batches() {
    let (sink, seen) = spawn(small(), |_, batch| all(batch));
    sink.offer((0..25).collect());
    sink.offer((25..37).collect());
    let closed = sink.close(Duration::from_secs(1)).await;
    assert_eq!(counts(&closed.snapshot), [37, 37, 0, 0, 0]);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.stored, (0..37).collect::<Vec<_>>());
    assert!(seen.attempts.iter().all(|(_, batch)| batch.len() <= 10));
    assert_eq!(seen.attempts.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_batch_lingers_until_it_is_full() {
    let linger = Duration::from_millis(500);
    let (sink, seen) = spawn(DeliveryConfig { linger, ..small() }, |_, batch| all(batch));
    let started = Instant::now();
    sink.offer(vec![1]);
    sleep(Duration::from_millis(300)).await;
    sink.offer(vec![2]);
    until(&sink, |s| s.delivered == 2).await;
    assert_eq!(seen.lock().unwrap().attempts, [(started + linger, vec![1, 2])]);
    let started = Instant::now();
    sink.offer((0..10).collect());
    until(&sink, |s| s.delivered == 12).await;
    assert!(started.elapsed() < Duration::from_millis(10), "a full batch waits for nothing");
    sink.offer(vec![3]);
    let closed = sink.close(Duration::from_secs(1)).await;
    assert_eq!(closed.snapshot.delivered, 13);
    assert!(started.elapsed() < Duration::from_millis(20), "closing waits for nothing either");
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_repeated_until_it_gets_through() {
    let (sink, seen) = spawn(
        small(),
        |attempt, batch| {
            if attempt < 12 { Err(transient(None)) } else { all(batch) }
        },
    );
    sink.offer(vec![1, 2]);
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    let snapshot = sink.stats().snapshot();
    assert_eq!(snapshot.last_error.as_deref(), Some("could not reach `store`: connection refused"));
    assert_eq!(counts(&snapshot), [2, 0, 2, 0, 0]);
    sink.offer(vec![3]);
    until(&sink, |s| s.queued == 0).await;
    let snapshot = sink.stats().snapshot();
    assert_eq!((snapshot.state, snapshot.last_error), (DeliveryState::Up, None));
    let seen = seen.lock().unwrap();
    assert_eq!((seen.attempts.len(), &seen.stored), (13, &vec![1, 2, 3]));
    for (failure, pair) in seen.attempts.windows(2).enumerate() {
        let ceiling = Duration::from_millis(100 << failure).min(Duration::from_secs(30));
        assert!(pair[1].0 - pair[0].0 <= ceiling + Duration::from_millis(1), "delay {failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_up_to_its_cap() {
    let wishes = [Duration::from_secs(17), Duration::from_secs(100_000)];
    let (sink, seen) = spawn(small(), move |attempt, batch| match wishes.get(attempt) {
        Some(wish) => Err(transient(Some(*wish))),
        None => all(batch),
    });
    sink.offer(vec![1]);
    until(&sink, |s| s.delivered == 1).await;
    let seen = seen.lock().unwrap();
    let waited = |n: usize| seen.attempts[n + 1].0 - seen.attempts[n].0;
    assert!((wishes[0]..wishes[0] + Duration::from_millis(102)).contains(&waited(0)));
    let cap = Duration::from_secs(300);
    assert!((cap..cap + Duration::from_millis(202)).contains(&waited(1)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_holds_everything_and_says_so() {
    let (sink, seen) =
        spawn(small(), |attempt, batch| if attempt < 5 { Err(refused()) } else { all(batch) });
    sink.offer((0..30).collect());
    until(&sink, |s| s.state == DeliveryState::Refused).await;
    assert_eq!(
        sink.stats().snapshot().last_error.as_deref(),
        Some("`store` refuses us: wrong token")
    );
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(sink.stats().state(), DeliveryState::Up);
    assert_eq!(seen.lock().unwrap().stored, (0..30).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn one_bad_item_is_found_and_the_rest_gets_through() {
    for bad in [0, 1, 499, 500, 998, 999] {
        let config = DeliveryConfig { queue_items: 10_000, batch_items: 1_000, ..small() };
        let (sink, seen) =
            spawn(
                config,
                move |_, batch| {
                    if batch.contains(&bad) { Err(permanent()) } else { all(batch) }
                },
            );
        let started = Instant::now();
        sink.offer((0..1_500).collect());
        let closed = sink.close(Duration::from_secs(60)).await;
        assert_eq!(counts(&closed.snapshot), [1_500, 1_499, 0, 0, 1], "bad item {bad}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.rejected, [bad]);
        assert!(seen.stored.is_sorted(), "nothing overtakes");
        assert!(seen.attempts.len() <= 22, "{} attempts", seen.attempts.len());
        assert!(started.elapsed() < Duration::from_millis(1), "the search does not wait");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_the_middle_of_a_search_loses_nothing() {
    let (sink, seen) = spawn(small(), |attempt, batch| {
        if attempt % 3 == 1 {
            Err(transient(None))
        } else if batch.contains(&7) {
            Err(permanent())
        } else {
            all(batch)
        }
    });
    sink.offer((0..20).collect());
    let closed = sink.close(Duration::from_secs(600)).await;
    assert_eq!(counts(&closed.snapshot), [20, 19, 0, 0, 1]);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.stored, (0..20).filter(|item| *item != 7).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_read_item_by_item() {
    let (sink, seen) = spawn(small(), |attempt, batch| match attempt {
        0 => Ok(Receipt { accepted: 2, rejected: vec![fault(1)], retry: vec![0, 3] }),
        _ => all(batch),
    });
    sink.offer(vec![10, 11, 12, 13, 14]);
    until(&sink, |s| s.retried == 2).await;
    assert_eq!(counts(&sink.stats().snapshot()), [5, 2, 2, 0, 1]);
    until(&sink, |s| s.queued == 0).await;
    let seen = seen.lock().unwrap();
    assert_eq!((&seen.rejected, &seen.stored), (&vec![11], &vec![12, 14, 10, 13]));
    assert_eq!(seen.attempts[1].1, [10, 13], "only what was singled out is sent again");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_does_not_add_up_still_leaves_sums_that_do() {
    let (sink, _seen) = spawn(small(), |attempt, batch| match attempt {
        0 => Ok(Receipt { accepted: 9, rejected: vec![fault(0), fault(0)], retry: vec![0, 1, 99] }),
        _ => all(batch),
    });
    sink.offer(vec![10, 11, 12]);
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(counts(&sink.stats().snapshot()), [3, 2, 0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn stall_takes_everything_and_says_when_it_is_full() {
    let (sink, _seen) = spawn(small(), |_, _| Err(transient(None)));
    sink.offer((0..99).collect());
    assert!(!sink.is_full());
    sink.offer((0..50).collect());
    assert!(sink.is_full());
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    assert!(sink.is_full(), "what is under way counts");
    assert!(sink.stats().snapshot().full);
    assert_eq!(counts(&sink.stats().snapshot()), [149, 0, 149, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn shed_drops_the_newest_and_counts_it() {
    let config = DeliveryConfig { on_full: OnFull::Shed, ..small() };
    let (sink, seen) =
        spawn(config, |attempt, batch| if attempt < 8 { Err(transient(None)) } else { all(batch) });
    sink.offer((0..90).collect());
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    sink.offer((90..120).collect());
    sink.offer(vec![120]);
    assert_eq!(counts(&sink.stats().snapshot()), [121, 0, 100, 21, 0]);
    until(&sink, |s| s.queued == 0).await;
    sink.offer(vec![121]);
    until(&sink, |s| s.queued == 0).await;
    let expected: Vec<u32> = (0..100).chain([121]).collect();
    assert_eq!(seen.lock().unwrap().stored, expected);
    assert_eq!(counts(&sink.stats().snapshot()), [122, 101, 0, 21, 0]);
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_at_its_deadline_and_returns_what_is_left_in_order() {
    let (sink, _seen) =
        spawn(
            small(),
            |attempt, batch| {
                if attempt == 0 { all(batch) } else { Err(transient(None)) }
            },
        );
    sink.offer((0..35).collect());
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    let started = Instant::now();
    let closed = sink.close(Duration::from_secs(5)).await;
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(closed.left, (10..35).collect::<Vec<_>>());
    assert_eq!(counts(&closed.snapshot), [35, 10, 25, 0, 0]);
    sink.offer(vec![1]);
    assert_eq!(counts(&sink.stats().snapshot()), [36, 10, 25, 1, 0]);
    assert!(sink.close(Duration::from_secs(5)).await.left.is_empty(), "closed already");
}

#[tokio::test(start_paused = true)]
async fn closing_cuts_off_an_attempt_that_hangs() {
    struct Hangs;
    impl SinkWriter for Hangs {
        type Item = u32;
        async fn write(&mut self, _: &[u32]) -> Answer {
            std::future::pending().await
        }
    }
    let sink = Delivery::spawn(&Handle::current(), "hangs", Hangs, small(), |_, _| {});
    sink.offer((0..15).collect());
    let started = Instant::now();
    let closed = sink.close(Duration::from_secs(2)).await;
    assert_eq!((closed.left.len(), started.elapsed().as_secs()), (15, 2));
}

#[tokio::test(start_paused = true)]
async fn closing_lets_a_writer_that_heeds_it_end_the_item_under_way() {
    #[derive(Default)]
    struct Slow {
        time_is_up: Arc<AtomicBool>,
        within: Duration,
    }
    impl SinkWriter for Slow {
        type Item = u32;
        async fn write(&mut self, batch: &[u32]) -> Answer {
            let mut receipt = Receipt::default();
            for index in 0..batch.len() {
                if self.time_is_up.load(Ordering::Relaxed) {
                    receipt.retry.push(index);
                    continue;
                }
                tokio::time::sleep(Duration::from_secs(3)).await;
                receipt.accepted += 1;
            }
            Ok(receipt)
        }
        fn heed(&mut self, time_is_up: Arc<AtomicBool>) -> Duration {
            self.time_is_up = time_is_up;
            self.within
        }
    }
    // Time is up after five seconds, within the second item; that one is over a second later, if it may.
    for (within, delivered, seconds) in [(2, 2, 6), (0, 0, 5)] {
        let slow = Slow { within: Duration::from_secs(within), ..Slow::default() };
        let sink = Delivery::spawn(&Handle::current(), "slow", slow, small(), |_, _| {});
        sink.offer((0..10).collect());
        until(&sink, |s| s.queued == 10).await;
        tokio::task::yield_now().await;
        let started = Instant::now();
        let closed = sink.close(Duration::from_secs(5)).await;
        assert_eq!(started.elapsed().as_secs(), seconds);
        assert_eq!(closed.left, (delivered..10).collect::<Vec<_>>());
        assert_eq!(closed.snapshot.delivered, u64::from(delivered));
    }
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_a_sink_that_waits_for_its_next_attempt() {
    let wish = Duration::from_secs(200);
    let (sink, _seen) =
        spawn(
            small(),
            move |attempt, batch| {
                if attempt == 0 { Err(transient(Some(wish))) } else { all(batch) }
            },
        );
    sink.offer(vec![1]);
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    let started = Instant::now();
    let closed = sink.close(Duration::from_secs(60)).await;
    assert_eq!((closed.left.len(), closed.snapshot.delivered), (0, 1));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_ends_the_task() {
    let (sink, seen) = spawn(small(), |_, _| Err(transient(None)));
    sink.offer(vec![1]);
    let stats = sink.stats();
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    drop(sink);
    sleep(Duration::from_secs(60)).await;
    let attempts = seen.lock().unwrap().attempts.len();
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(seen.lock().unwrap().attempts.len(), attempts);
    assert_eq!(stats.snapshot().queued, 1, "what is left stays counted");
}

#[tokio::test(start_paused = true)]
async fn a_dead_sink_does_not_touch_a_live_one() {
    let (dead, _) = spawn(small(), |_, _| Err(transient(None)));
    let (live, seen) = spawn(small(), |_, batch| all(batch));
    for item in 0..1_000 {
        dead.offer(vec![item]);
        live.offer(vec![item]);
        if item % 10 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    until(&live, |s| s.queued == 0).await;
    assert_eq!(seen.lock().unwrap().stored, (0..1_000).collect::<Vec<_>>());
    assert_eq!((dead.stats().queued(), dead.is_full(), live.is_full()), (1_000, true, false));
}

#[test]
fn a_batch_keeps_its_order_through_any_search() {
    let mut batch = Batch::new();
    batch.extend(0..8);
    batch.halve();
    batch.halve();
    assert_eq!((batch.part(), batch.room(100)), (&[0, 1][..], 0));
    assert_eq!(batch.settle(&[Fate::Again, Fate::Rejected]), 1);
    assert_eq!(batch.part(), [0]);
    assert_eq!(batch.settle(&[Fate::Delivered]), 0);
    assert_eq!(batch.part(), [2, 3]);
    batch.settle(&[Fate::Delivered; 2]);
    assert_eq!(batch.part(), [4, 5, 6, 7]);
    batch.settle(&[Fate::Delivered; 4]);
    assert_eq!((batch.len(), batch.room(100)), (0, 100));
}

/// What the other side does in one attempt.
#[derive(Clone, Debug)]
enum Deed {
    Transient,
    Refused,
    /// Takes or judges each item; singles out those whose bit is set for another attempt.
    Judge(u16),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        1 => Just(Deed::Transient),
        1 => Just(Deed::Refused),
        4 => any::<u16>().prop_map(Deed::Judge),
    ]
}

proptest! {
    /// Whatever the other side does: each good item comes in exactly once, each bad one is dead-lettered
    /// exactly once, and the sums add up to what is really there.
    #[test]
    fn oracle_every_item_ends_in_exactly_one_place(
        bad in proptest::collection::btree_set(0_u32..200, 0..20),
        whole in any::<bool>(),
        deeds in proptest::collection::vec(deed(), 0..60),
        offers in proptest::collection::vec((1_u32..40, 0_u64..300), 1..12),
        batch_items in 1_usize..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let total: u32 = offers.iter().map(|(items, _)| items).sum();
            let culprits = bad.clone();
            let config = DeliveryConfig { queue_items: 10_000, batch_items, ..small() };
            let (sink, seen) = spawn(config, move |attempt, batch| {
                assert!((1..=batch_items).contains(&batch.len()));
                let again = match deeds.get(attempt) {
                    Some(Deed::Transient) => return Err(transient(None)),
                    Some(Deed::Refused) => return Err(refused()),
                    Some(Deed::Judge(again)) => *again,
                    None => 0,
                };
                let is_bad = |item: &u32| culprits.contains(item);
                if whole {
                    return if batch.iter().any(is_bad) { Err(permanent()) } else { all(batch) };
                }
                let mut receipt = Receipt::default();
                for (index, item) in batch.iter().enumerate() {
                    if again >> (index % 16) & 1 == 1 {
                        receipt.retry.push(index);
                    } else if is_bad(item) {
                        receipt.rejected.push(fault(index));
                    } else {
                        receipt.accepted += 1;
                    }
                }
                Ok(receipt)
            });
            let mut next = 0;
            for (items, pause) in &offers {
                sink.offer((next..next + items).collect());
                next += items;
                sleep(Duration::from_millis(*pause)).await;
                let seen = seen.lock().unwrap();
                let snapshot = sink.stats().snapshot();
                let gone = (seen.stored.len() + seen.rejected.len()) as u64;
                assert_eq!(snapshot.queued, u64::from(next) - gone);
            }
            let closed = sink.close(Duration::from_secs(3_600)).await;
            let seen = seen.lock().unwrap();
            let (dead, good): (Vec<u32>, Vec<u32>) = (0..total).partition(|i| bad.contains(i));
            let mut stored = seen.stored.clone();
            assert!(!whole || stored.is_sorted(), "nothing overtakes");
            stored.sort_unstable();
            let mut rejected = seen.rejected.clone();
            rejected.sort_unstable();
            assert_eq!((stored, rejected), (good.clone(), dead.clone()));
            let expected =
                [u64::from(total), good.len() as u64, 0, 0, dead.len() as u64];
            assert_eq!((counts(&closed.snapshot), closed.left.len()), (expected, 0));
        });
    }
}
