//! The outbox against a channel and a store that fail on cue, and runs that die anywhere.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tidewatch_dataflow::alert::{Notification, Transition};
use tidewatch_dataflow::checkpoint::{
    Fence, ObjectInfo, PieceWriter, Restored, RunInfo, StateStore, StoreError, encode,
};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};
use tidewatch_dataflow::testing::MemoryStore;
use tidewatch_dataflow::time::EventTime;

use super::event::{open, seal};
use super::*;

const KEEP: usize = 2;

/// Notifications of incidents.
mod sample {
    use tidewatch_dataflow::alert::{
        EndReason, IncidentId, Notification, Reading, Severity, Transition, TransitionKind,
    };
    use tidewatch_dataflow::series::Labels;
    use tidewatch_dataflow::time::EventTime;

    /// 2026-11-22 19:40:00 UTC.
    const DECIDED_AT: u64 = 1_795_376_400_000;

    pub(super) fn opening() -> Notification {
        opening_of(0xab, "web-1")
    }

    pub(super) fn opening_of(incident: u64, host: &str) -> Notification {
        let transition = Transition {
            decided_at: EventTime::from_millis(DECIDED_AT),
            incident: IncidentId(incident),
            sequence: 0,
            kind: TransitionKind::Opened,
            rule: "cpu_sustained".into(),
            group: Labels::from_pairs([("host", host)]),
            severity: Severity::Critical,
            started_at: EventTime::from_millis(DECIDED_AT - 300_000),
            at: EventTime::from_millis(DECIDED_AT - 5_000),
            value: Reading(97.25),
            summary: "usage_active above 90 for 5m".into(),
        };
        Notification { transition, inventory: Labels::default() }
    }

    /// The end of the incident of [`opening`].
    pub(super) fn end() -> Notification {
        let mut end = opening();
        end.transition.sequence = 1;
        end.transition.kind = TransitionKind::Ended(EndReason::Recovered);
        end.transition.decided_at = EventTime::from_millis(DECIDED_AT + 730_000);
        end
    }
}

/// What the channel does with the next notification.
#[derive(Clone, Debug)]
enum Deed {
    Take,
    /// Takes it, but the answer is lost.
    LoseAnswer,
    Fail,
    PutOff,
    Reject,
    RejectByReceipt,
}

/// A channel that follows a script and then takes everything.
#[derive(Clone, Default)]
struct Script {
    deeds: Arc<Mutex<VecDeque<Deed>>>,
    attempted: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn of(deeds: &[Deed]) -> Self {
        let deeds = Arc::new(Mutex::new(deeds.iter().cloned().collect()));
        Script { deeds, attempted: Arc::default() }
    }

    fn attempted(&self) -> Vec<String> {
        self.attempted.lock().unwrap().clone()
    }
}

fn transient() -> ConnectorError {
    ConnectorError::Transient { endpoint: "x".into(), retry_after: None, source: "down".into() }
}

impl SinkWriter for Script {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        assert_eq!(batch.len(), 1);
        let deed = self.deeds.lock().unwrap().pop_front().unwrap_or(Deed::Take);
        if !matches!(deed, Deed::Fail | Deed::PutOff) {
            self.attempted.lock().unwrap().push(batch[0].transition.id());
        }
        match deed {
            Deed::Take => Ok(Receipt { accepted: 1, ..Receipt::default() }),
            Deed::LoseAnswer | Deed::Fail => Err(transient()),
            Deed::PutOff => Ok(Receipt { retry: vec![0], ..Receipt::default() }),
            Deed::Reject => {
                Err(ConnectorError::Permanent { endpoint: "x".into(), reason: "too long".into() })
            }
            Deed::RejectByReceipt => {
                let (reason, detail) = (Reason::Rejected, "too long".to_owned());
                let rejected = vec![RejectedItem { index: 0, reason, detail }];
                Ok(Receipt { rejected, ..Receipt::default() })
            }
        }
    }
}

fn claim(store: &Arc<dyn StateStore>) -> Fence {
    let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 1 };
    Fence::claim(Arc::clone(store), &info).unwrap()
}

fn run(store: &Arc<dyn StateStore>, restored: OutboxState) -> Arc<Outbox> {
    Outbox::open(Arc::clone(store), claim(store), restored, EventTime::MIN, KEEP).unwrap()
}

fn memory() -> (MemoryStore, Arc<dyn StateStore>) {
    let memory = MemoryStore::default();
    (memory.clone(), Arc::new(memory))
}

fn objects(store: &Arc<dyn StateStore>) -> Vec<String> {
    store.list("outbox/").unwrap().into_iter().map(|object| object.name).collect()
}

fn pair() -> [Notification; 2] {
    [sample::opening(), sample::end()]
}

fn at(millis: u64) -> EventTime {
    EventTime::from_millis(millis)
}

#[tokio::test]
async fn what_has_a_receipt_is_not_told_by_the_next_run() {
    let (_, store) = memory();
    let (first, second) = (Script::default(), Script::default());
    let outbox = run(&store, OutboxState::default());
    let mut channel = Outboxed::new(&outbox, "slack/oncall", first.clone());
    let receipt = channel.write(&pair()).await.unwrap();
    assert_eq!((receipt.accepted, first.attempted().len()), (2, 2));
    assert_eq!(objects(&store).len(), 4);
    assert_eq!(objects(&store)[0], "outbox/00000001-0000000001");

    let outbox = run(&store, OutboxState::default());
    assert!(outbox.was_attempted(sample::opening().transition.incident));
    let mut channel = Outboxed::new(&outbox, "slack/oncall", second.clone());
    assert_eq!(channel.write(&pair()).await.unwrap().accepted, 2);
    assert_eq!(second.attempted(), [""; 0]);
    assert_eq!(outbox.stats().suppressed, 2);
    let mut other = Outboxed::new(&outbox, "email/oncall", second.clone());
    assert_eq!(other.write(&pair()).await.unwrap().accepted, 2);
    assert_eq!(second.attempted().len(), 2, "another channel has its own receipts");
}

#[tokio::test]
async fn an_intent_without_a_receipt_is_told_again() {
    let (_, store) = memory();
    let outbox = run(&store, OutboxState::default());
    let script = Script::of(&[Deed::LoseAnswer, Deed::LoseAnswer]);
    let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
    let opening = [sample::opening()];
    assert!(channel.write(&opening).await.is_err());
    assert!(channel.write(&opening).await.is_err());
    assert_eq!(objects(&store).len(), 1, "one intent for each run");

    let state = outbox.snapshot();
    let pieces = {
        let mut versions = Default::default();
        let mut writer = PieceWriter::new(&mut versions);
        writer.put("outbox", &state);
        writer.finish()
    };
    let restored: OutboxState =
        Restored::from_pieces("outbox", vec![pieces]).shares[0].get("outbox").unwrap().unwrap();
    assert_eq!(encode(&restored), encode(&state));
    let outbox = run(&store, restored);
    let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
    assert_eq!(channel.write(&opening).await.unwrap().accepted, 1);
    let stats = outbox.stats();
    assert_eq!((stats.repeated, stats.intents, stats.receipts), (1, 1, 1));
    let last = objects(&store)[1].clone();
    let events = open(&last, &store.read(&last).unwrap()).unwrap();
    assert_eq!(events[0].what, What::Intent { attempt: 2 });
    assert_eq!(script.attempted(), ["tw-00000000000000ab-0"; 3]);
}

#[tokio::test]
async fn nothing_overtakes_what_is_put_off() {
    let (_, store) = memory();
    let outbox = run(&store, OutboxState::default());
    let script = Script::of(&[Deed::Take, Deed::PutOff, Deed::Fail]);
    let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
    let [opening, end] = pair();
    let batch = [sample::opening_of(1, "web-2"), opening, end];
    let receipt = channel.write(&batch).await.unwrap();
    assert_eq!((receipt.accepted, receipt.retry), (1, vec![1, 2]));
    assert!(channel.write(&batch[1..]).await.is_err());
    assert_eq!(channel.write(&batch[1..]).await.unwrap().accepted, 2);
    assert_eq!(script.attempted()[1..], ["tw-00000000000000ab-0", "tw-00000000000000ab-1"]);
    assert_eq!(outbox.stats().superseded, 0);
}

#[tokio::test]
async fn no_opening_is_told_after_its_end_was_attempted() {
    let (_, store) = memory();
    let outbox = run(&store, OutboxState::default());
    let script = Script::of(&[Deed::Fail]);
    let mut channel = Outboxed::new(&outbox, "pagerduty/oncall", script.clone());
    let [opening, end] = pair();
    assert!(channel.write(std::slice::from_ref(&end)).await.is_err());
    for _ in 0..2 {
        assert_eq!(channel.write(std::slice::from_ref(&opening)).await.unwrap().accepted, 1);
    }
    assert_eq!(script.attempted(), [""; 0]);
    let outbox = run(&store, OutboxState::default());
    let mut channel = Outboxed::new(&outbox, "pagerduty/oncall", script.clone());
    assert_eq!(channel.write(&[opening, end]).await.unwrap().accepted, 2);
    assert_eq!(script.attempted(), ["tw-00000000000000ab-1"]);
}

#[tokio::test]
async fn nothing_is_begun_when_time_is_up() {
    let (_, store) = memory();
    let (outbox, script) = (run(&store, OutboxState::default()), Script::default());
    let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
    let time_is_up = Arc::new(AtomicBool::new(false));
    assert!(channel.heed(Arc::clone(&time_is_up)) > Duration::ZERO);
    time_is_up.store(true, Ordering::Relaxed);
    let told = channel.write(&pair()).await.unwrap();
    assert_eq!((told.accepted, told.retry), (0, vec![0, 1]));
    assert!(script.attempted().is_empty(), "and no intent either: {:?}", objects(&store));
    time_is_up.store(false, Ordering::Relaxed);
    assert_eq!(channel.write(&pair()).await.unwrap().accepted, 2);
}

#[tokio::test]
async fn what_is_rejected_is_rejected_for_good() {
    for deed in [Deed::Reject, Deed::RejectByReceipt] {
        let (_, store) = memory();
        let outbox = run(&store, OutboxState::default());
        let script = Script::of(&[deed]);
        let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
        let receipt = channel.write(&pair()).await.unwrap();
        assert_eq!((receipt.accepted, receipt.rejected.len()), (1, 1));
        assert_eq!((receipt.rejected[0].index, &*receipt.rejected[0].detail), (0, "too long"));
        assert_eq!(outbox.stats().given_up, 1);

        let outbox = run(&store, OutboxState::default());
        let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
        let receipt = channel.write(&pair()).await.unwrap();
        assert_eq!((receipt.accepted, receipt.rejected.len()), (1, 1));
        assert_eq!(script.attempted().len(), 2, "nothing was tried again");
    }
}

#[tokio::test]
async fn a_fenced_run_tells_nothing() {
    let (_, store) = memory();
    let old = run(&store, OutboxState::default());
    let script = Script::of(&[Deed::Fail]);
    let mut channel = Outboxed::new(&old, "slack/oncall", script.clone());
    let opening = [sample::opening()];
    assert!(matches!(channel.write(&opening).await, Err(ConnectorError::Transient { .. })));
    let _new = run(&store, OutboxState::default());
    for batch in [&opening[..], &[sample::end()]] {
        let failure = channel.write(batch).await.unwrap_err();
        assert!(matches!(failure, ConnectorError::Refused { .. }), "{failure}");
        assert!(failure.to_string().contains("run 2 has taken over"), "{failure}");
    }
    assert!(old.is_fenced());
    assert_eq!(script.attempted(), [""; 0]);
    assert_eq!(objects(&store).len(), 1);
}

/// A run is fenced between the look at `runs/` and the write: the intent is there, and is not acted on.
#[tokio::test]
async fn an_intent_that_a_newer_run_cannot_have_seen_is_not_acted_on() {
    struct Overtaken(MemoryStore);
    impl StateStore for Overtaken {
        fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
            let newer: Arc<dyn StateStore> = Arc::new(self.0.clone());
            if name.starts_with("outbox/") {
                claim(&newer);
            }
            self.0.create(name, content)
        }
        fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
            self.0.read(name)
        }
        fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
            self.0.list(prefix)
        }
        fn delete(&self, name: &str) -> Result<(), StoreError> {
            self.0.delete(name)
        }
    }
    let store: Arc<dyn StateStore> = Arc::new(Overtaken(MemoryStore::default()));
    let outbox = run(&store, OutboxState::default());
    let script = Script::default();
    let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
    let failure = channel.write(&[sample::opening()]).await.unwrap_err();
    assert!(matches!(failure, ConnectorError::Refused { .. }));
    assert_eq!((script.attempted().len(), objects(&store).len()), (0, 1));
}

/// Fails while told to, and lets creations wait.
#[derive(Default)]
struct Moody {
    memory: MemoryStore,
    /// How many creations under `outbox/` still succeed; `None`: all.
    left: Mutex<Option<usize>>,
    /// Whether a failing creation succeeds all the same.
    lies: Mutex<bool>,
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl StateStore for Moody {
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let mut is_shut = self.is_shut.lock().unwrap();
        while *is_shut && name.starts_with("outbox/") {
            is_shut = self.opened.wait(is_shut).unwrap();
        }
        drop(is_shut);
        if let (true, Some(left)) =
            (name.starts_with("outbox/"), self.left.lock().unwrap().as_mut())
        {
            if *left == 0 {
                if *self.lies.lock().unwrap() {
                    self.memory.create(name, content)?;
                }
                let (name, source) = (name.to_owned(), "full".into());
                return Err(StoreError::Failed { action: "create", name, source });
            }
            *left -= 1;
        }
        self.memory.create(name, content)
    }
    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.memory.read(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.memory.list(prefix)
    }
    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.memory.delete(name)
    }
}

#[tokio::test]
async fn a_store_that_fails_holds_and_repeats_nothing() {
    for lies in [false, true] {
        let moody = Arc::new(Moody::default());
        *moody.left.lock().unwrap() = Some(0);
        *moody.lies.lock().unwrap() = lies;
        let store: Arc<dyn StateStore> = Arc::clone(&moody) as _;
        let outbox = run(&store, OutboxState::default());
        let script = Script::default();
        let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
        let failure = channel.write(&pair()).await.unwrap_err();
        assert!(matches!(failure, ConnectorError::Transient { .. }));
        assert_eq!(script.attempted().len(), 0, "no intent, no attempt");
        *moody.left.lock().unwrap() = Some(1);
        for _ in 0..2 {
            assert!(channel.write(&pair()).await.is_err());
            assert_eq!(script.attempted().len(), 1, "told once, with no receipt yet");
        }
        *moody.left.lock().unwrap() = None;
        assert_eq!(channel.write(&pair()).await.unwrap().accepted, 2);
        assert_eq!(script.attempted().len(), 2);
        let stats = outbox.stats();
        assert_eq!((stats.suppressed, stats.repeated, stats.receipts), (0, 0, 2));

        let outbox = run(&store, OutboxState::default());
        let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
        assert_eq!(channel.write(&pair()).await.unwrap().accepted, 2);
        assert_eq!(script.attempted().len(), 2);
    }
}

#[tokio::test]
async fn what_is_asked_for_at_once_shares_an_object() {
    let moody = Arc::new(Moody::default());
    *moody.is_shut.lock().unwrap() = true;
    let store: Arc<dyn StateStore> = Arc::clone(&moody) as _;
    let outbox = run(&store, OutboxState::default());
    let (script, asked) = (Script::default(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for index in 0..20 {
        let channel = format!("slack/{index:02}");
        let mut channel = Outboxed::new(&outbox, &channel, script.clone());
        let asked = Arc::clone(&asked);
        tasks.push(tokio::spawn(async move {
            // The runtime has one thread: the first wait is for the intent, so once this is seen it was asked.
            asked.fetch_add(1, Ordering::SeqCst);
            channel.write(&pair()).await.unwrap().accepted
        }));
    }
    while asked.load(Ordering::SeqCst) < 20 {
        tokio::task::yield_now().await;
    }
    *moody.is_shut.lock().unwrap() = false;
    moody.opened.notify_all();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 2);
    }
    let stats = outbox.stats();
    assert_eq!((stats.intents, stats.receipts), (40, 40));
    let is_first = |event: &Event| event.sequence == 0 && event.what == What::Intent { attempt: 1 };
    let mut firsts = 0;
    for name in objects(&store) {
        let events = open(&name, &store.read(&name).unwrap()).unwrap();
        firsts += usize::from(events.iter().any(is_first));
    }
    assert!(firsts <= 2, "what came while the first object was written is in the second");
}

#[tokio::test]
async fn what_every_kept_checkpoint_covers_is_forgotten() {
    let (_, store) = memory();
    let outbox = run(&store, OutboxState::default());
    let script = Script::default();
    let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
    let mut gone = Outboxed::new(&outbox, "slack/gone", script.clone());
    let stay = sample::opening_of(7, "web-7");
    channel.write(&[sample::opening(), sample::end(), stay.clone()]).await.unwrap();
    gone.write(std::slice::from_ref(&stay)).await.unwrap();
    let decided = sample::end().transition.decided_at.as_millis();

    let early = outbox.snapshot();
    outbox.committed(at(decided));
    let _ = outbox.snapshot();
    outbox.committed(at(decided + 1));
    assert_eq!(outbox.stats().incidents, 3, "a restore from the older one decides the end again");
    let version = outbox.version();
    outbox.committed(at(decided + 2));
    assert_eq!(outbox.stats().incidents, 2, "over, and in both kept checkpoints");
    assert_ne!(outbox.version(), version);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !objects(&store).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", objects(&store));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(outbox.stats().pruned, 8);

    // A later run goes on from the state alone; the channel that is gone is forgotten there.
    let state = outbox.snapshot();
    assert_eq!((early.incidents(), state.incidents()), (3, 2));
    let outbox = run(&store, state);
    let mut channel = Outboxed::new(&outbox, "slack/oncall", script.clone());
    let told = script.attempted().len();
    channel.write(std::slice::from_ref(&stay)).await.unwrap();
    assert_eq!(script.attempted().len(), told, "still open, so still known");
    for cut in 3..5 {
        let _ = outbox.snapshot();
        outbox.committed(at(decided + cut));
    }
    let channels = outbox.attempted(stay.transition.incident);
    assert_eq!(channels.iter().map(|name| &**name).collect::<Vec<_>>(), ["slack/oncall"]);
}

#[test]
fn what_is_not_whole_is_refused_with_a_remedy() {
    let channel: Arc<str> = "slack/oncall".into();
    let events = [Event::new(&channel, &sample::opening().transition, What::Receipt)];
    let bytes = seal(&events);
    assert_eq!(open("x", &bytes).unwrap(), events);
    for cut in 0..bytes.len() {
        assert!(open("x", &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x20;
        assert!(open("x", &damaged).is_err(), "byte {index} changed");
    }

    let (memory, store) = memory();
    let name = Position { run: 1, sequence: 3 }.to_string();
    store.create(&name, &bytes).unwrap();
    memory.damage(&name, |bytes| bytes.truncate(20));
    let open = || {
        let none = OutboxState::default();
        Outbox::open(Arc::clone(&store), claim(&store), none, EventTime::MIN, KEEP)
    };
    let text = open().unwrap_err().to_string();
    assert!(text.contains(&name) && text.contains("delete it to go on"), "{text}");
    memory.damage(&name, |content| {
        *content = bytes.clone();
        content[10] = 9;
    });
    let text = open().unwrap_err().to_string();
    assert!(text.contains("schema 9") && text.contains("start the version"), "{text}");
    store.delete(&name).unwrap();
    store.create("outbox/readme", b"not ours").unwrap();
    assert!(open().is_ok(), "what is not ours is left alone");
}

#[test]
fn positions_are_in_the_order_of_names() {
    let positions = [(1, 1), (1, 2), (1, 10), (2, 1), (10, 1)]
        .map(|(run, sequence)| Position { run, sequence });
    assert!(positions.is_sorted());
    let names = positions.map(|position| position.to_string());
    assert!(names.is_sorted());
    for (name, position) in names.iter().zip(positions) {
        assert_eq!(Position::parse(name), Some(position));
    }
    for foreign in ["outbox/1-1", "outbox/00000001", "runs/00000001-0000000001", "outbox/x-y"] {
        assert_eq!(Position::parse(foreign), None);
    }
}

/// The bounds that `OutboxState` documents.
#[test]
fn an_open_incident_takes_21_bytes_of_a_checkpoint() {
    let mut knowledge = Knowledge::new(1, OutboxState::default(), EventTime::MIN, KEEP);
    let channel: Arc<str> = "pagerduty/oncall".into();
    let size = |knowledge: &mut Knowledge| encode(&knowledge.snapshot()).len() as f64;
    let empty = size(&mut knowledge);
    let transitions: Vec<Transition> = (0..10_000_u64)
        .map(|index| {
            let incident = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sample::opening_of(incident, "web-1").transition
        })
        .collect();
    let mut apply = |transition: &Transition, sequence: u32, what: What| {
        // Every kept checkpoint knows of the opening.
        let event = Event::new(&channel, transition, what);
        let event = Event { sequence, ends: sequence > 0, opening: None, ..event };
        knowledge.apply(Position { run: 1, sequence: 1 }, &[event], true);
    };
    for transition in &transitions {
        apply(transition, 0, What::Intent { attempt: 1 });
        apply(transition, 0, What::Receipt);
    }
    let open = (size(&mut knowledge) - empty) / transitions.len() as f64;
    assert!((20.0..=21.1).contains(&open), "{open} bytes");
    let mut apply = |transition: &Transition, sequence: u32, what: What| {
        let event = Event::new(&channel, transition, what);
        let event = Event { sequence, ends: sequence > 0, opening: None, ..event };
        knowledge.apply(Position { run: 1, sequence: 1 }, &[event], true);
    };
    for transition in &transitions {
        apply(transition, 1, What::Intent { attempt: 1 });
        apply(transition, 1, What::Receipt);
    }
    let ended = (size(&mut knowledge) - empty) / transitions.len() as f64;
    assert!((30.0..=31.1).contains(&ended), "{ended} bytes");
}

#[test]
fn there_are_never_more_incidents_than_the_bound() {
    let mut knowledge = Knowledge::new(1, OutboxState::default(), EventTime::MIN, KEEP);
    let channel: Arc<str> = "slack/oncall".into();
    knowledge.configure(&channel);
    let mut transition = sample::opening().transition;
    let mut position = Position { run: 1, sequence: 0 };
    for incident in 0..state::INCIDENTS_MAX as u64 + 10 {
        transition.incident = IncidentId(incident);
        position.sequence += 1;
        let event = |what| Event::new(&channel, &transition, what);
        let events = [event(What::Intent { attempt: 1 }), event(What::Receipt)];
        knowledge.apply(position, &events, true);
    }
    let cut = transition.decided_at + Duration::from_secs(1);
    for _ in 0..KEEP {
        assert_eq!(knowledge.incidents(), state::INCIDENTS_MAX + 10);
        let _ = knowledge.snapshot();
        knowledge.commit(cut);
    }
    assert_eq!(knowledge.incidents(), state::INCIDENTS_MAX);
    let known = [9, 10].map(|incident| !knowledge.attempted(IncidentId(incident)).is_empty());
    assert_eq!(known, [false, true], "the oldest are forgotten");
}

/// The bound that `OutboxState` documents for openings.
#[test]
fn an_opening_that_checkpoints_do_not_know_takes_150_bytes_more() {
    let mut knowledge = Knowledge::new(1, OutboxState::default(), EventTime::MIN, KEEP);
    let channel: Arc<str> = "pagerduty/oncall".into();
    let mut size = |openings: u64| {
        for incident in 0..openings {
            let opening = sample::opening_of(incident << 40, "web-1").transition;
            let intent = Event::new(&channel, &opening, What::Intent { attempt: 1 });
            knowledge.apply(Position { run: 1, sequence: 1 }, &[intent], true);
        }
        encode(&knowledge.snapshot()).len() as f64
    };
    let empty = size(0);
    let each = (size(1_000) - empty) / 1_000.0;
    assert!((60.0..=150.0).contains(&each), "{each} bytes");
}

/// What a run that died had told as open since the newest cut is known to the next with all it needs to end it.
#[tokio::test]
async fn openings_are_known_until_checkpoints_know_them() {
    let (_, store) = memory();
    let opening = sample::opening();
    let decided = opening.transition.decided_at;
    let (earlier, later) = (EventTime::from_millis(decided.as_millis() - 1), decided);
    let open = |restored: OutboxState, at: EventTime| {
        Outbox::open(Arc::clone(&store), claim(&store), restored, at, KEEP).unwrap()
    };
    let outbox = open(OutboxState::default(), earlier);
    let script = Script::default();
    let mut pager = Outboxed::new(&outbox, "pagerduty/oncall", script.clone());
    let mut slack = Outboxed::new(&outbox, "slack/oncall", Script::of(&[Deed::LoseAnswer]));
    pager.write(std::slice::from_ref(&opening)).await.unwrap();
    slack.write(std::slice::from_ref(&opening)).await.unwrap_err();
    let expected = [(decided, opening.transition.clone())];
    assert_eq!(outbox.openings(), expected);
    let early = outbox.snapshot();
    assert_eq!(open(OutboxState::default(), earlier).openings(), expected, "from the objects");
    assert_eq!(open(outbox.snapshot(), earlier).openings(), expected, "from a checkpoint");
    assert_eq!(open(outbox.snapshot(), later).openings(), [], "the cut knows of it");
    assert_eq!(
        open(OutboxState::default(), later).openings(),
        expected,
        "the cut is later, but of a run that knew nothing of it"
    );

    // The end reaches one channel: it is known there for as long as it is owed to the other.
    let outbox = open(outbox.snapshot(), earlier);
    let mut pager = Outboxed::new(&outbox, "pagerduty/oncall", script.clone());
    let mut slack = Outboxed::new(&outbox, "slack/oncall", script);
    let end = sample::end();
    pager.write(std::slice::from_ref(&end)).await.unwrap();
    let after = end.transition.decided_at + Duration::from_secs(1);
    let commit = |cuts: usize| {
        for _ in 0..cuts {
            let _ = outbox.snapshot();
            outbox.committed(after);
        }
        outbox.attempted(opening.transition.incident).len()
    };
    assert_eq!(commit(KEEP), 2);
    slack.write(std::slice::from_ref(&end)).await.unwrap();
    assert_eq!(commit(KEEP), 0);

    // Openings are forgotten once all kept checkpoints are later. In a store of its own, since the run above still
    // deletes what this old state does not cover.
    let (_, store) = memory();
    let outbox = Outbox::open(Arc::clone(&store), claim(&store), early, earlier, KEEP).unwrap();
    for _ in 0..KEEP {
        assert_eq!(outbox.snapshot().openings(), 1);
        outbox.committed(later);
    }
    assert_eq!(outbox.snapshot().openings(), 0);
}

/// One that waited at the cut is told by the next run, which dies, too: the cut knew of it, and perhaps of its end.
#[tokio::test]
async fn what_waited_at_the_cut_is_known_to_it() {
    let (_, store) = memory();
    let opening = sample::opening();
    let decided = opening.transition.decided_at;
    let open = |restored: OutboxState, at: EventTime| {
        Outbox::open(Arc::clone(&store), claim(&store), restored, at, KEEP).unwrap()
    };
    let earlier = EventTime::from_millis(decided.as_millis() - 1);
    let waiting = open(OutboxState::default(), earlier).snapshot();
    let next = open(waiting.clone(), decided);
    let mut mail = Outboxed::new(&next, "email/oncall", Script::default());
    mail.write(std::slice::from_ref(&opening)).await.unwrap();
    assert_eq!(open(waiting, decided).openings(), []);
}
