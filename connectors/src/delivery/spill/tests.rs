//! Spills against sinks and state stores that fail, and runs that die; time is tokio's, paused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflow::checkpoint::{ObjectInfo, StateStore, StoreError};
use tidewatch_dataflow::sink::Receipt;
use tidewatch_dataflow::testing::MemoryStore;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::ledger::Ledger;
use super::segment::{Codec, SegmentWriter};
use super::{SegmentRef, SinkState, Spill, SpillError};
use crate::delivery::tests::{Answer, Seen, Store, all, counts, fault, small, transient, until};
use crate::delivery::{
    Delivery, DeliveryConfig, DeliverySnapshot, DeliveryState, OnFull, SinkHandle,
};

/// A state store that can be out of order.
#[derive(Clone, Default)]
struct Disk {
    objects: MemoryStore,
    down: Arc<AtomicBool>,
    created: Arc<AtomicU32>,
    read: Arc<AtomicU32>,
}

impl Disk {
    fn check(&self, action: &'static str, name: &str) -> Result<(), StoreError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(super::failed(action, name, "no space left on device")),
            false => Ok(()),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        self.objects.list("spill/").unwrap().into_iter().map(|object| object.name).collect()
    }
}

impl StateStore for Disk {
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.check("create", name)?;
        self.created.fetch_add(1, Ordering::SeqCst);
        self.objects.create(name, content)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.check("read", name)?;
        self.read.fetch_add(1, Ordering::SeqCst);
        self.objects.read(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.objects.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.check("delete", name)?;
        self.objects.delete(name)
    }
}

const MANY: u64 = 1 << 30;

/// A sink of run `run`, and what it sees; `up` says whether the other side is.
fn sink_of(
    disk: &Disk,
    run: u32,
    config: DeliveryConfig,
    max_bytes: u64,
    answer: impl FnMut(usize, &[u32]) -> Answer + Send + 'static,
) -> (SinkHandle<u32>, Arc<StdMutex<Seen>>) {
    let seen = Arc::new(StdMutex::new(Seen::default()));
    let store = Store { seen: Arc::clone(&seen), answer };
    let prefix = format!("spill/{run:08}-p0-store");
    let spill = Spill { store: Arc::new(disk.clone()), prefix, max_bytes };
    let dead = Arc::clone(&seen);
    let rejected = move |item: &u32, _: &_| dead.lock().unwrap().rejected.push(*item);
    let sink =
        Delivery::spawn_with(&Handle::current(), "store", store, config, Some(spill), rejected);
    (sink, seen)
}

/// A sink whose other side is up while `up` is set.
fn switched(
    disk: &Disk,
    run: u32,
    max_bytes: u64,
    up: &Arc<AtomicBool>,
) -> (SinkHandle<u32>, Arc<StdMutex<Seen>>) {
    let up = Arc::clone(up);
    sink_of(disk, run, small(), max_bytes, move |_, batch| match up.load(Ordering::SeqCst) {
        true => all(batch),
        false => Err(transient(None)),
    })
}

fn switch(up: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(up))
}

async fn cut(sink: &SinkHandle<u32>) -> SinkState {
    sink.make_durable(sink.mark()).await.unwrap()
}

/// Lets background work come to rest.
async fn rest() {
    sleep(Duration::from_secs(120)).await;
}

fn memory(sink: &SinkHandle<u32>) -> usize {
    sink.shared().queue.lock().memory()
}

fn is_consistent(sink: &SinkHandle<u32>) -> bool {
    let shared = sink.shared();
    let waiting = shared.queue.lock();
    let DeliverySnapshot { queued, spilled, .. } = shared.stats.snapshot();
    queued == waiting.memory() as u64 + waiting.absent() && spilled == waiting.absent()
}

#[tokio::test(start_paused = true)]
async fn a_cut_of_a_sink_that_delivers_writes_nothing() {
    let (disk, up) = (Disk::default(), switch(true));
    let (sink, seen) = switched(&disk, 1, MANY, &up);
    sink.offer((0..45).collect());
    assert_eq!(sink.mark(), 45);
    let state = cut(&sink).await;
    assert_eq!(state, SinkState { mark: 45, settled: 45, segments: Vec::new() });
    assert_eq!((seen.lock().unwrap().stored.len(), disk.created.load(Ordering::SeqCst)), (45, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_the_linger_of_what_lies_before_it() {
    let disk = Disk::default();
    let config = DeliveryConfig { linger: Duration::from_secs(60), ..small() };
    let (sink, _seen) = sink_of(&disk, 1, config, MANY, |_, batch| all(batch));
    sink.offer(vec![1, 2, 3]);
    let started = Instant::now();
    assert_eq!(cut(&sink).await.settled, 3);
    assert!(started.elapsed() < Duration::from_millis(10));
    assert_eq!(disk.created.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn cuts_in_an_outage_write_each_item_once_and_a_restore_sends_them_in_order() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, _) = switched(&disk, 1, MANY, &up);
    sink.offer((0..20).collect());
    let first = cut(&sink).await;
    assert_eq!((first.mark, first.settled, first.unsettled()), (20, 0, 20));
    assert_eq!(cut(&sink).await.segments, first.segments, "nothing new, nothing written");
    sink.offer((20..40).collect());
    let mark = sink.mark();
    sink.offer((40..45).collect());
    let second = sink.make_durable(mark).await.unwrap();
    assert_eq!((second.mark, second.unsettled(), second.segments.len()), (40, 40, 2));
    assert_eq!(second.segments[0], first.segments[0]);
    assert_eq!(second.segments[1].first_sequence, 20);
    let snapshot = sink.stats().snapshot();
    assert_eq!((snapshot.segments, snapshot.spilled, snapshot.queued), (2, 0, 45));
    assert!(is_consistent(&sink));
    drop(sink);

    up.store(true, Ordering::SeqCst);
    let (sink, seen) = switched(&disk, 2, MANY, &up);
    sink.restore(second.segments).await.unwrap();
    sink.offer((40..45).collect());
    assert_eq!(sink.mark(), 45);
    let closed = sink.close(Duration::from_secs(5)).await;
    assert_eq!(seen.lock().unwrap().stored, (0..45).collect::<Vec<_>>());
    assert_eq!((closed.left.len(), closed.spilled, closed.snapshot.restored), (0, 0, 40));
    assert_eq!(counts(&closed.snapshot), [5, 45, 0, 0, 0]);
    assert_eq!(disk.names().len(), 2, "what a checkpoint may name is not deleted here");
}

#[tokio::test(start_paused = true)]
async fn overflow_leaves_memory_and_comes_back_in_order() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, seen) = switched(&disk, 1, MANY, &up);
    let mut most = 0;
    for item in 0..5_000 {
        sink.offer(vec![item]);
        assert!(!sink.is_full(), "at {item}");
        if item % 50 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        most = most.max(memory(&sink));
    }
    assert!(most <= 200, "{most} items in memory");
    sleep(Duration::from_millis(10)).await;
    let snapshot = sink.stats().snapshot();
    assert!(snapshot.spilled >= 5_000 - 150, "{snapshot:?}");
    assert!(snapshot.spilled_bytes > 5_000 && snapshot.segments >= 190, "{snapshot:?}");
    assert!(is_consistent(&sink));
    up.store(true, Ordering::SeqCst);
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(seen.lock().unwrap().stored, (0..5_000).collect::<Vec<_>>());
    rest().await;
    assert_eq!((disk.names().len(), sink.stats().snapshot().spilled_bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_spill_stalls_and_goes_on_when_it_empties() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, seen) = switched(&disk, 1, 2_000, &up);
    let mut next = 0;
    while !sink.is_full() {
        sink.offer(vec![next]);
        next += 1;
        sleep(Duration::from_millis(1)).await;
        assert!(next < 10_000);
    }
    assert_eq!(memory(&sink), 200, "front and tail are full");
    let snapshot = sink.stats().snapshot();
    assert!((1_900..=2_000).contains(&snapshot.spilled_bytes), "{snapshot:?}");
    assert!(sink.must_stall());
    // A cut goes beyond the bound, once: what it covers is not dropped from memory for more.
    let state = cut(&sink).await;
    assert_eq!(state.unsettled(), u64::from(next));
    let beyond = sink.stats().snapshot().spilled_bytes;
    rest().await;
    assert!(sink.is_full() && beyond > 2_000 && beyond < 4_000, "{beyond}");
    up.store(true, Ordering::SeqCst);
    until(&sink, |s| s.queued == 0).await;
    assert!(!sink.is_full());
    // What was freed can be written to again.
    up.store(false, Ordering::SeqCst);
    for _ in 0..300 {
        sink.offer(vec![next]);
        next += 1;
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!sink.is_full() && sink.stats().snapshot().spilled > 100);
    up.store(true, Ordering::SeqCst);
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(seen.lock().unwrap().stored, (0..next).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn shed_drops_only_what_the_spill_cannot_hold() {
    let (disk, up) = (Disk::default(), switch(false));
    let config = DeliveryConfig { on_full: OnFull::Shed, ..small() };
    let is_up = Arc::clone(&up);
    let (sink, seen) = sink_of(&disk, 1, config, 2_000, move |_, batch| {
        if is_up.load(Ordering::SeqCst) { all(batch) } else { Err(transient(None)) }
    });
    let mut kept = Vec::new();
    for item in 0..3_000 {
        let shed = sink.stats().snapshot().shed;
        sink.offer(vec![item]);
        if sink.stats().snapshot().shed == shed {
            kept.push(item);
        }
        assert!(memory(&sink) <= 200);
        if item % 10 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert!((800..1_000).contains(&kept.len()), "{}", kept.len());
    assert_eq!(sink.mark(), kept.len() as u64, "what is shed has no number");
    up.store(true, Ordering::SeqCst);
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(seen.lock().unwrap().stored, kept);
    let shed = 3_000 - kept.len() as u64;
    assert_eq!(counts(&sink.stats().snapshot()), [3_000, kept.len() as u64, 0, shed, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_room_for_overflow_the_queue_is_bounded_as_ever_and_cuts_work() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, _seen) = switched(&disk, 1, 0, &up);
    sink.offer((0..99).collect());
    assert!(!sink.is_full());
    sink.offer(vec![99]);
    assert!(sink.is_full());
    assert_eq!(cut(&sink).await.unsettled(), 100);
    assert_eq!((memory(&sink), sink.is_full()), (100, true));
}

#[tokio::test(start_paused = true)]
async fn a_state_tells_how_much_of_a_segment_was_delivered_since() {
    let disk = Disk::default();
    let (sink, _) = sink_of(&disk, 1, small(), MANY, |attempt, batch| match attempt {
        0 | 2.. => Err(transient(None)),
        1 => all(batch),
    });
    sink.offer((0..20).collect());
    let sent = sink.make_durable(20);
    let before = sent.await.unwrap();
    assert_eq!((before.segments.len(), before.segments[0].take), (1, 20));
    until(&sink, |s| s.delivered == 10).await;
    let after = cut(&sink).await;
    assert_eq!((after.settled, after.segments.len()), (10, 1));
    assert_eq!((after.segments[0].skip, after.segments[0].take), (10, 10));
    drop(sink);
    let (sink, seen) = sink_of(&disk, 2, small(), MANY, |attempt, batch| match attempt {
        0 => {
            assert_eq!(batch, (10..20).collect::<Vec<_>>());
            Ok(Receipt { accepted: 3, rejected: Vec::new(), retry: vec![3, 4, 5, 6, 7, 8, 9] })
        }
        _ => Err(transient(None)),
    });
    sink.restore(after.segments).await.unwrap();
    until(&sink, |s| s.delivered == 3).await;
    assert_eq!(seen.lock().unwrap().stored, [10, 11, 12]);
    let again = cut(&sink).await;
    assert_eq!((again.mark, again.settled), (10, 3), "numbers count from the restored items on");
    assert_eq!((again.segments[0].skip, again.segments[0].take), (13, 7));
    assert_eq!(disk.created.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_straddles_the_mark_is_taken_up_to_it() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, _seen) = switched(&disk, 1, MANY, &up);
    for item in 0..400 {
        sink.offer(vec![item]);
    }
    sleep(Duration::from_millis(10)).await;
    let state = sink.make_durable(210).await.unwrap();
    assert_eq!((state.mark, state.unsettled()), (210, 210));
    let last = state.segments.last().unwrap();
    assert_eq!((last.first_sequence, last.items, last.take), (200, 25, 10));
    drop(sink);
    up.store(true, Ordering::SeqCst);
    let (sink, seen) = switched(&disk, 2, MANY, &up);
    sink.restore(state.segments).await.unwrap();
    sink.offer((210..400).collect());
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(seen.lock().unwrap().stored, (0..400).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_closing_is_in_segments_or_handed_back() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, _seen) = switched(&disk, 1, MANY, &up);
    sink.offer((0..30).collect());
    let durable = cut(&sink).await;
    sink.offer((30..33).collect());
    let closed = sink.close(Duration::from_secs(1)).await;
    assert_eq!((closed.left, closed.spilled, closed.snapshot.queued), (vec![30, 31, 32], 30, 33));
    assert_eq!(sink.make_durable(30).await.unwrap(), durable);
    let error = sink.make_durable(31).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { action: "create", .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn closing_delivers_what_was_spilled_as_far_as_its_deadline_allows() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, seen) = switched(&disk, 1, MANY, &up);
    for item in 0..1_000 {
        sink.offer(vec![item]);
        tokio::task::yield_now().await;
    }
    sleep(Duration::from_millis(50)).await;
    assert!(sink.stats().snapshot().spilled > 0);
    up.store(true, Ordering::SeqCst);
    let closed = sink.close(Duration::from_secs(60)).await;
    assert_eq!((closed.left.len(), closed.spilled), (0, 0));
    assert_eq!(seen.lock().unwrap().stored, (0..1_000).collect::<Vec<_>>());
    rest().await;
    assert!(disk.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_fails_cuts_after_a_while_and_loses_nothing() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, seen) = switched(&disk, 1, MANY, &up);
    sink.offer((0..150).collect());
    disk.down.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let error = sink.make_durable(150).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { action: "create", .. }), "{error}");
    assert!((3..6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    sink.offer((150..250).collect());
    rest().await;
    assert!(sink.is_full(), "overflow cannot write either");
    disk.down.store(false, Ordering::SeqCst);
    rest().await;
    assert!(!sink.is_full() && sink.stats().snapshot().spilled > 0);
    assert_eq!(cut(&sink).await.unsettled(), 250);
    disk.down.store(true, Ordering::SeqCst);
    up.store(true, Ordering::SeqCst);
    until(&sink, |s| s.queued == s.spilled).await;
    rest().await;
    assert_eq!(sink.stats().state(), DeliveryState::Retrying);
    disk.down.store(false, Ordering::SeqCst);
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(seen.lock().unwrap().stored, (0..250).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_fails_once_is_tried_again() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, _seen) = switched(&disk, 1, MANY, &up);
    sink.offer((0..15).collect());
    disk.down.store(true, Ordering::SeqCst);
    let cutting = sink.make_durable(15);
    let repaired = Arc::clone(&disk.down);
    tokio::spawn(async move {
        sleep(Duration::from_millis(900)).await;
        repaired.store(false, Ordering::SeqCst);
    });
    assert_eq!(cutting.await.unwrap().unsettled(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_not_written_over() {
    let (disk, up) = (Disk::default(), switch(false));
    disk.objects.create("spill/00000001-p0-store/00000000", b"somebody else's").unwrap();
    let (sink, _seen) = switched(&disk, 1, MANY, &up);
    sink.offer((0..15).collect());
    let state = cut(&sink).await;
    assert_eq!(state.segments[0].name, "spill/00000001-p0-store/00000001");
    assert_eq!(disk.objects.read("spill/00000001-p0-store/00000000").unwrap(), b"somebody else's");
}

#[tokio::test(start_paused = true)]
async fn without_a_spill_a_cut_waits_until_all_is_delivered() {
    let up = switch(false);
    let is_up = Arc::clone(&up);
    let answer = move |_: usize, batch: &[u32]| match is_up.load(Ordering::SeqCst) {
        true => all(batch),
        false => Err(transient(None)),
    };
    let store = Store { seen: Arc::default(), answer };
    let sink = Delivery::spawn(&Handle::current(), "store", store, small(), |_, _| {});
    sink.offer((0..15).collect());
    let cutting = tokio::spawn(sink.make_durable(15));
    rest().await;
    assert!(!cutting.is_finished());
    up.store(true, Ordering::SeqCst);
    let state = cutting.await.unwrap().unwrap();
    assert_eq!(state, SinkState { mark: 15, settled: 15, segments: Vec::new() });
    up.store(false, Ordering::SeqCst);
    sink.offer(vec![15]);
    let cutting = tokio::spawn(sink.make_durable(16));
    assert_eq!(sink.close(Duration::from_secs(1)).await.left, [15]);
    assert!(cutting.await.unwrap().is_err());
    let segment = segment_of(&[1]).0;
    let error = sink.restore(vec![segment]).await.unwrap_err();
    assert!(matches!(error, SpillError::NoSpill { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_several_processes_left_is_taken_over_by_one() {
    let (disk, up) = (Disk::default(), switch(false));
    let mut segments = Vec::new();
    for run in [1, 2] {
        let (sink, _) = switched(&disk, run, MANY, &up);
        sink.offer((run * 100..run * 100 + 60).collect());
        segments.extend(cut(&sink).await.segments);
    }
    up.store(true, Ordering::SeqCst);
    let (sink, seen) = switched(&disk, 3, MANY, &up);
    sink.restore(segments.clone()).await.unwrap();
    sink.offer(vec![7]);
    let error = sink.restore(segments).await.unwrap_err();
    assert!(matches!(error, SpillError::Late { .. }), "{error}");
    until(&sink, |s| s.queued == 0).await;
    let expected: Vec<u32> = (100..160).chain(200..260).chain([7]).collect();
    assert_eq!(seen.lock().unwrap().stored, expected);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_missing_segment_is_named_and_nothing_is_taken_over() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, _) = switched(&disk, 1, MANY, &up);
    sink.offer((0..90).collect());
    let state = cut(&sink).await;
    assert!(state.segments.len() > 2);
    drop(sink);
    let whole = disk.objects.read(&state.segments[1].name).unwrap();
    for at in (0..whole.len()).step_by(7) {
        disk.objects.damage(&state.segments[1].name, |bytes| bytes[at] ^= 0x10);
        let (sink, _) = switched(&disk, 2, MANY, &up);
        let error = sink.restore(state.segments.clone()).await.unwrap_err();
        assert!(error.to_string().contains(&state.segments[1].name), "{error}");
        assert_eq!((sink.mark(), sink.stats().snapshot().restored), (0, 0));
        disk.objects.damage(&state.segments[1].name, |bytes| bytes[at] ^= 0x10);
    }
    for length in 0..whole.len() {
        disk.objects.damage(&state.segments[1].name, |bytes| bytes.truncate(length));
        let (sink, _) = switched(&disk, 2, MANY, &up);
        let error = sink.restore(state.segments.clone()).await.unwrap_err();
        assert!(matches!(error, SpillError::Damaged { .. }), "{error}");
        disk.objects.damage(&state.segments[1].name, |bytes| *bytes = whole.clone());
    }
    disk.objects.delete(&state.segments[2].name).unwrap();
    let (sink, _) = switched(&disk, 2, MANY, &up);
    let error = sink.restore(state.segments.clone()).await.unwrap_err();
    assert!(
        matches!(&error, SpillError::Unreadable { name, .. } if *name == state.segments[2].name)
    );
    assert!(error.to_string().contains(&state.segments[2].name), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_damaged_later_holds_the_sink_and_every_cut() {
    let (disk, up) = (Disk::default(), switch(false));
    let (sink, seen) = switched(&disk, 1, MANY, &up);
    for item in 0..300 {
        sink.offer(vec![item]);
    }
    sleep(Duration::from_millis(10)).await;
    let name = disk.names().into_iter().next().unwrap();
    disk.objects.damage(&name, |bytes| bytes[30] ^= 1);
    up.store(true, Ordering::SeqCst);
    until(&sink, |s| s.state == DeliveryState::Refused).await;
    assert!(sink.stats().snapshot().last_error.unwrap().contains(&name));
    assert_eq!(seen.lock().unwrap().stored, (0..100).collect::<Vec<_>>());
    let error = sink.make_durable(300).await.unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
    disk.objects.damage(&name, |bytes| bytes[30] ^= 1);
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(seen.lock().unwrap().stored, (0..300).collect::<Vec<_>>());
    assert_eq!(cut(&sink).await.settled, 300);
}

/// Real threads and real time: offers, cuts, overflow and deliveries at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_that_offer_cut_and_deliver_at_once_lose_nothing() {
    const ITEMS: u32 = 200_000;
    let disk = Disk::default();
    let config = DeliveryConfig {
        queue_items: 2_000,
        batch_items: 300,
        retry_delay_min: Duration::from_millis(1),
        retry_delay_max: Duration::from_millis(3),
        ..small()
    };
    let (sink, seen) = sink_of(&disk, 1, config, MANY, |attempt, batch| match attempt % 8 {
        0..5 => all(batch),
        _ => Err(transient(None)),
    });
    let offering = sink.clone();
    let offers = std::thread::spawn(move || {
        let mut next = 0;
        while next < ITEMS {
            match offering.is_full() {
                true => std::thread::yield_now(),
                false => {
                    offering.offer((next..next + 50).collect());
                    next += 50;
                }
            }
        }
    });
    let (mut cuts, mut before) = (0, SinkState::default());
    while !offers.is_finished() || cuts < 3 {
        let state = cut(&sink).await;
        assert!(state.mark >= before.mark && state.settled >= before.settled);
        assert_eq!(state.unsettled(), state.mark - state.settled);
        assert!(state.settled <= seen.lock().unwrap().stored.len() as u64);
        (cuts, before) = (cuts + 1, state);
    }
    offers.join().unwrap();
    let closed = sink.close(Duration::from_secs(60)).await;
    assert_eq!(counts(&closed.snapshot), [ITEMS.into(), ITEMS.into(), 0, 0, 0]);
    assert!(seen.lock().unwrap().stored.iter().copied().eq(0..ITEMS));
}

fn segment_of(items: &[u32]) -> (SegmentRef, Vec<u8>) {
    let mut writer = SegmentWriter::new(Codec::<u32>::postcard());
    for item in items {
        assert!(writer.push(item, MANY).unwrap());
    }
    writer.finish(0)
}

#[test]
fn a_segment_is_read_back_in_any_part() {
    let items: Vec<u32> = (0..50).map(|item| item * item * 77).collect();
    let (segment, bytes) = segment_of(&items);
    assert_eq!((segment.bytes, segment.items), (bytes.len() as u64, 50));
    let read = |range| Codec::<u32>::postcard().read(&segment, &bytes, range).unwrap();
    assert_eq!(read(0..50), items);
    assert_eq!(read(13..17), items[13..17]);
    assert!(read(50..50).is_empty());
    assert!(Codec::<u32>::postcard().read(&segment, &bytes, 0..51).is_err());
    let other = SegmentRef { first_sequence: 1, ..segment.clone() };
    assert!(Codec::<u32>::postcard().read(&other, &bytes, 0..1).is_err());
    let mut writer = SegmentWriter::new(Codec::<u32>::postcard());
    let fitting = (0..1_000).take_while(|item| writer.push(item, 100).unwrap()).count();
    assert_eq!(writer.finish(0).1.len(), 28 + fitting);
    assert_eq!(fitting, 72);
}

proptest! {
    /// The arithmetic of the ledger against sets.
    #[test]
    fn oracle_a_ledger_knows_what_is_where(
        owners in proptest::collection::vec(0_usize..6, 1..60),
        gone in proptest::collection::btree_set(0_u64..60, 0..40),
        mark in 0_u64..70,
    ) {
        // Number 0 owns what is in no segment. Settled items first get settled while in memory, so owners may
        // come in any order; a segment's items are its own, ascending.
        let mut ledger = Ledger::default();
        let (mut sorted, mut start) = (owners.clone(), 0);
        sorted.sort_unstable();
        let mut sets: Vec<Vec<u64>> = vec![Vec::new(); 6];
        for owner in &sorted {
            sets[*owner].push(start);
            start += 1;
        }
        for (owner, set) in sets.iter().enumerate().skip(1).rev().filter(|(_, set)| !set.is_empty()) {
            let items: Vec<u32> = set.iter().map(|s| *s as u32).collect();
            let mut segment = segment_of(&items).0;
            segment.name = owner.to_string();
            let run = set[0]..set[0] + set.len() as u64;
            ledger.add(segment, Vec::from([run]), false);
        }
        let unsettled: Vec<_> = (0..start.min(mark)).filter(|s| !gone.contains(s)).map(|s| s..s + 1).collect();
        let uncovered: Vec<u64> = ledger.uncovered(&unsettled).into_iter().flatten().flatten().collect();
        let expected: Vec<u64> = sets[0].iter().copied().filter(|s| *s < mark && !gone.contains(s)).collect();
        prop_assert_eq!(uncovered, expected);
        let state = ledger.state(&unsettled, mark.min(start));
        for (owner, set) in sets.iter().enumerate().skip(1) {
            let open: Vec<usize> = (0..set.len())
                .filter(|i| set[*i] < mark && !gone.contains(&set[*i])).collect();
            let found = state.segments.iter().find(|s| s.name == owner.to_string());
            let hull = found.map(|s| (s.skip as usize, (s.skip + s.take) as usize - 1));
            prop_assert_eq!(hull, open.first().copied().zip(open.last().copied()));
        }
        for (owner, set) in sets.iter().enumerate() {
            for (index, sequence) in set.iter().enumerate() {
                let found = ledger.find(*sequence).map(|(s, index, _)| (s.name.clone(), index));
                let expected = (owner > 0).then(|| (owner.to_string(), index as u64));
                prop_assert_eq!(found, expected);
            }
        }
        let bytes = ledger.bytes();
        ledger.prune(start + 1);
        prop_assert!(ledger.is_empty() && ledger.bytes() == 0 && (bytes > 0 || sets[0].len() == owners.len()));
        let named = state.segments.len();
        let written = sets.iter().skip(1).filter(|set| !set.is_empty()).count();
        prop_assert_eq!(ledger.condemned().len(), written - named, "what was named is not ours to delete");
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Offer(u32),
    Sleep(u64),
    /// Whether to wait for it.
    Cut(bool),
    Crash,
    /// The run dies, and what it left cannot be read until somebody repairs it.
    Damage(usize),
    SinkUp(bool),
    DiskUp(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1_u32..25).prop_map(Step::Offer),
        6 => (0_u64..600).prop_map(Step::Sleep),
        3 => any::<bool>().prop_map(Step::Cut),
        1 => Just(Step::Crash),
        1 => any::<usize>().prop_map(Step::Damage),
        3 => any::<bool>().prop_map(Step::SinkUp),
        1 => prop_oneof![2 => Just(true), 1 => Just(false)].prop_map(Step::DiskUp),
    ]
}

/// How the other side takes what it is sent while it is up.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Manner {
    /// Whole batches.
    Whole,
    /// Item by item: some are singled out for another attempt, some rejected for good.
    Picky(u64),
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![Just(Manner::Whole), any::<u64>().prop_map(Manner::Picky)]
}

const QUEUE_ITEMS: usize = 40;
const MAX_BYTES: u64 = 400;
/// An offer may overshoot by this.
const OFFER_MAX: usize = 25;

fn is_bad(item: u32) -> bool {
    item % 23 == 5
}

/// What is known of a cut that was made.
struct CutMade {
    state: SinkState,
    /// The next item of the log at the cut.
    next: u32,
    /// How many items the run had settled when the cut began and when it ended.
    settled: [usize; 2],
}

/// A log of items 0, 1, 2 and so on, and the runs that send it somewhere.
struct World {
    disk: Disk,
    up: Arc<AtomicBool>,
    manner: Manner,
    run: u32,
    sink: SinkHandle<u32>,
    seen: Arc<StdMutex<Seen>>,
    /// The first item this run may send.
    first: u32,
    /// The next item of the log.
    next: u32,
    cutting: Option<JoinHandle<Option<CutMade>>>,
    last: Option<CutMade>,
    /// Everything that has arrived in any run, or was rejected.
    arrived: BTreeSet<u32>,
    named: BTreeSet<String>,
}

fn start(
    disk: &Disk,
    run: u32,
    up: &Arc<AtomicBool>,
    manner: Manner,
) -> (SinkHandle<u32>, Arc<StdMutex<Seen>>) {
    let config = DeliveryConfig { queue_items: QUEUE_ITEMS, batch_items: 9, ..small() };
    let is_up = Arc::clone(up);
    sink_of(disk, run, config, MAX_BYTES, move |attempt, batch| {
        let Manner::Picky(seed) = manner else {
            return if is_up.load(Ordering::SeqCst) { all(batch) } else { Err(transient(None)) };
        };
        if !is_up.load(Ordering::SeqCst) {
            return Err(transient(None));
        }
        let mut random = fastrand::Rng::with_seed(seed ^ attempt as u64);
        let mut receipt = Receipt::default();
        for (index, item) in batch.iter().enumerate() {
            match (random.u8(..4), is_bad(*item)) {
                (0, _) => receipt.retry.push(index),
                (_, true) => receipt.rejected.push(fault(index)),
                (_, false) => receipt.accepted += 1,
            }
        }
        Ok(receipt)
    })
}

impl World {
    fn new(manner: Manner) -> Self {
        let (disk, up) = (Disk::default(), switch(true));
        let (sink, seen) = start(&disk, 1, &up, manner);
        World {
            disk,
            up,
            manner,
            run: 1,
            sink,
            seen,
            first: 0,
            next: 0,
            cutting: None,
            last: None,
            arrived: BTreeSet::new(),
            named: BTreeSet::new(),
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Offer(count) if !self.sink.is_full() => {
                self.sink.offer((self.next..self.next + count).collect());
                self.next += count;
            }
            Step::Offer(_) => {}
            Step::Sleep(millis) => sleep(Duration::from_millis(*millis)).await,
            Step::Cut(wait) => {
                self.end_cut().await;
                self.begin_cut();
                if *wait {
                    self.end_cut().await;
                }
            }
            Step::Crash => self.crash(None).await,
            Step::Damage(which) => self.crash(Some(*which)).await,
            Step::SinkUp(up) => self.up.store(*up, Ordering::SeqCst),
            Step::DiskUp(up) => self.disk.down.store(!up, Ordering::SeqCst),
        }
        self.check();
    }

    fn begin_cut(&mut self) {
        let (next, seen) = (self.next, Arc::clone(&self.seen));
        let count = |seen: &Seen| seen.stored.len() + seen.rejected.len();
        let before = count(&seen.lock().unwrap());
        let cutting = self.sink.make_durable(self.sink.mark());
        self.cutting = Some(tokio::spawn(async move {
            let state = cutting.await.ok()?;
            let settled = [before, count(&seen.lock().unwrap())];
            Some(CutMade { state, next, settled })
        }));
    }

    async fn end_cut(&mut self) {
        let Some(cutting) = self.cutting.take() else { return };
        let Some(made) = cutting.await.unwrap() else { return };
        self.named.extend(made.state.segments.iter().map(|segment| segment.name.clone()));
        self.last = Some(made);
    }

    /// The run dies; the next one begins at the last cut, if any.
    async fn crash(&mut self, damage: Option<usize>) {
        match &self.cutting {
            // Its manifest was written if the cut was made.
            Some(cutting) if cutting.is_finished() => self.end_cut().await,
            Some(cutting) => cutting.abort(),
            None => {}
        }
        self.cutting = None;
        self.note_arrived();
        self.disk.down.store(false, Ordering::SeqCst);
        let (state, next) = match &self.last {
            None => (SinkState::default(), 0),
            Some(made) => {
                let CutMade { state, next, settled } = made;
                assert!(state.settled <= state.mark && state.settled <= settled[1] as u64);
                if self.manner == Manner::Whole {
                    assert!((settled[0] as u64..=settled[1] as u64).contains(&state.settled));
                    assert_eq!(state.unsettled(), state.mark - state.settled);
                }
                (state.clone(), *next)
            }
        };
        self.run += 1;
        if let Some(segment) =
            damage.and_then(|which| state.segments.get(which % state.segments.len().max(1)))
        {
            self.disk.objects.damage(&segment.name, |bytes| bytes[24] ^= 4);
            let (sink, _) = start(&self.disk, self.run, &self.up, self.manner);
            let error = sink.restore(state.segments.clone()).await.unwrap_err();
            assert!(error.to_string().contains(&segment.name), "{error}");
            self.disk.objects.damage(&segment.name, |bytes| bytes[24] ^= 4);
            self.run += 1;
        }
        let (sink, seen) = start(&self.disk, self.run, &self.up, self.manner);
        sink.restore(state.segments.clone()).await.unwrap();
        assert_eq!(sink.mark(), state.unsettled());
        // In a Whole manner the restored items are those right before the cut.
        self.first = next - u32::try_from(state.unsettled()).unwrap().min(next);
        (self.sink, self.seen) = (sink, seen);
        let mut at = next;
        while at < self.next {
            while self.sink.is_full() {
                self.up.store(true, Ordering::SeqCst);
                sleep(Duration::from_millis(50)).await;
            }
            let until = self.next.min(at + OFFER_MAX as u32);
            self.sink.offer((at..until).collect());
            at = until;
        }
    }

    fn note_arrived(&mut self) {
        let seen = self.seen.lock().unwrap();
        self.arrived.extend(seen.stored.iter().chain(&seen.rejected));
    }

    /// What holds at any time.
    fn check(&self) {
        assert!(is_consistent(&self.sink));
        assert!(memory(&self.sink) <= 2 * QUEUE_ITEMS + OFFER_MAX);
        let snapshot = self.sink.stats().snapshot();
        // Items are at most two bytes, and a segment has 28 besides.
        let by_cuts = (2 * QUEUE_ITEMS + OFFER_MAX) as u64 * (2 + 28);
        assert!(snapshot.spilled_bytes <= MAX_BYTES + by_cuts, "{snapshot:?}");
        let seen = self.seen.lock().unwrap();
        if self.manner == Manner::Whole {
            let expected = self.first..self.first + seen.stored.len() as u32;
            assert!(
                seen.stored.iter().copied().eq(expected),
                "from {}: {:?}",
                self.first,
                seen.stored
            );
        }
        assert!(seen.stored.iter().chain(&seen.rejected).all(|item| *item < self.next));
    }

    async fn end(mut self) {
        self.up.store(true, Ordering::SeqCst);
        self.disk.down.store(false, Ordering::SeqCst);
        self.end_cut().await;
        until(&self.sink, |s| s.queued == 0).await;
        self.check();
        self.note_arrived();
        assert!(self.arrived.iter().copied().eq(0..self.next), "all have arrived: {}", self.next);
        let made = self.sink.make_durable(self.sink.mark()).await.unwrap();
        assert_eq!((made.settled, made.segments.len()), (made.mark, 0));
        let closed = self.sink.close(Duration::from_secs(1)).await;
        let DeliverySnapshot { offered, restored, delivered, rejected, .. } = closed.snapshot;
        assert_eq!((closed.left.len(), closed.spilled), (0, 0));
        assert_eq!(offered + restored, delivered + rejected);
        rest().await;
        let prefix = format!("spill/{:08}", self.run);
        let left = self.disk.names().into_iter().filter(|name| name.starts_with(&prefix));
        let unnamed: Vec<String> = left.filter(|name| !self.named.contains(name)).collect();
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever fails and whenever a run dies: each item arrives at least once and in order, none is made up,
    /// and the bounds hold.
    #[test]
    fn oracle_every_item_arrives_through_outages_and_crashes(
        steps in proptest::collection::vec(step(), 1..120),
        manner in manner(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new(manner);
            for step in &steps {
                world.step(step).await;
            }
            world.end().await;
        });
    }
}
