//! Notifier and outbox together: random transitions, channels and stores that fail, runs that die anywhere
//! and go on from a kept checkpoint with a clock that is hours off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidewatch_connectors::outbox::{Outbox, OutboxState, Outboxed};
use tidewatch_dataflow::alert::{EndReason, Reading, Severity};
use tidewatch_dataflow::checkpoint::{
    Fence, ObjectInfo, PieceWriter, Restored, RunInfo, StateStore, StoreError,
};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
use tidewatch_dataflow::testing::MemoryStore;
use tokio::sync::Notify;

use crate::notify::*;

const KEEP: usize = 2;
const STALE_AFTER: Duration = Duration::from_secs(900);
const PANE: u64 = 10_000;
const CHANNELS: [&str; 3] = ["pagerduty/oncall", "slack/oncall", "slack/platform"];

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// True in `percent` of all cases.
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

type Id = (IncidentId, u32);

/// What the other side of one channel has seen, and the rules it must never see broken.
#[derive(Default)]
struct Seen {
    /// Attempts in order, and whether the other side took them.
    attempts: Vec<(Id, bool)>,
    /// What was delivered, or rejected for good, with a durable record.
    settled: BTreeSet<Id>,
    rejected: BTreeSet<Id>,
}

impl Seen {
    fn attempt(&mut self, id: Id, is_taken: bool) {
        assert!(!self.settled.contains(&id), "{id:?} is told again although it has a receipt");
        let is_late = |(other, _): &(Id, bool)| other.0 == id.0 && other.1 > id.1;
        assert!(!self.attempts.iter().any(is_late), "{id:?} is told after a later step");
        self.attempts.push((id, is_taken));
    }

    fn was_attempted(&self, id: Id) -> bool {
        self.attempts.iter().any(|(other, _)| *other == id)
    }

    /// When it was first taken.
    fn taken(&self, id: Id) -> Option<usize> {
        self.attempts.iter().position(|(other, is_taken)| *other == id && *is_taken)
    }
}

/// The outside of one channel, which outlives all runs.
struct Outside {
    seen: Mutex<Seen>,
    /// What happens to the next attempts; then all is well.
    deeds: Mutex<VecDeque<Deed>>,
    /// The process dies while it waits for an answer.
    died: Notify,
}

#[derive(Copy, Clone)]
enum Deed {
    Fail,
    LoseAnswer,
    Die { is_taken: bool },
}

struct Fake(Arc<Outside>);

fn transient() -> ConnectorError {
    ConnectorError::Transient { endpoint: "x".into(), retry_after: None, source: "down".into() }
}

/// The channel will never take this one.
fn is_bad(transition: &Transition) -> bool {
    transition.incident.0.is_multiple_of(11) && transition.is_opening()
}

impl SinkWriter for Fake {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        let [Notification { transition, .. }] = batch else { panic!("{} items", batch.len()) };
        let id = (transition.incident, transition.sequence);
        let deed = self.0.deeds.lock().unwrap().pop_front();
        let is_bad = is_bad(transition);
        let is_taken = !matches!(deed, Some(Deed::Fail | Deed::Die { is_taken: false })) && !is_bad;
        self.0.seen.lock().unwrap().attempt(id, is_taken);
        match deed {
            Some(Deed::Fail | Deed::LoseAnswer) => Err(transient()),
            Some(Deed::Die { .. }) => {
                self.0.died.notify_one();
                std::future::pending().await
            }
            None if is_bad => {
                Err(ConnectorError::Permanent { endpoint: "x".into(), reason: "bad".into() })
            }
            None => Ok(Receipt { accepted: 1, ..Receipt::default() }),
        }
    }
}

/// A store that fails, and sometimes has succeeded all the same.
#[derive(Clone, Default)]
struct Moody {
    memory: MemoryStore,
    troubles: Arc<Mutex<VecDeque<bool>>>,
}

impl StateStore for Moody {
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let is_ours = name.starts_with("outbox/");
        let trouble = is_ours.then(|| self.troubles.lock().unwrap().pop_front()).flatten();
        if trouble != Some(false) {
            self.memory.create(name, content)?;
        }
        let failed = || StoreError::Failed {
            action: "create",
            name: name.to_owned(),
            source: "timeout".into(),
        };
        trouble.map_or(Ok(()), |_| Err(failed()))
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

type Queues = BTreeMap<&'static str, VecDeque<Notification>>;

/// A complete checkpoint: everything before `log[next]`.
#[derive(Clone)]
struct Saved {
    next: usize,
    at: EventTime,
    notifier: NotifierState,
    outbox: OutboxState,
    queues: Queues,
}

/// What a process has in memory.
struct Run {
    notifier: Notifier,
    outbox: Arc<Outbox>,
    writers: BTreeMap<&'static str, Outboxed<Fake>>,
    queues: Queues,
    next: usize,
    receivers: &'static [&'static str],
    /// How far the clock is ahead of event time.
    lag: Duration,
}

/// What survives.
struct World {
    dice: Dice,
    runtime: tokio::runtime::Runtime,
    store: Moody,
    log: Vec<Transition>,
    outside: BTreeMap<&'static str, Arc<Outside>>,
    saved: Vec<Saved>,
    ever_held: BTreeSet<IncidentId>,
}

/// Through the format of pieces and back.
fn copy<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let mut versions = BTreeMap::new();
    let mut writer = PieceWriter::new(&mut versions);
    writer.put("it", value);
    let restored = Restored::from_pieces("test", vec![writer.finish()]);
    restored.shares[0].get("it").unwrap().unwrap()
}

fn opening(host: u64, opened: u64) -> Transition {
    let group = Labels::from_pairs([("host", &*format!("web-{host}"))]);
    let opened = EventTime::from_millis(opened);
    Transition {
        decided_at: opened,
        incident: IncidentId::new("cpu", &group, opened),
        sequence: 0,
        kind: TransitionKind::Opened,
        rule: "cpu".into(),
        group,
        severity: Severity::Critical,
        started_at: opened,
        at: opened,
        value: Reading(95.0),
        summary: "usage_active above 90".into(),
    }
}

fn log(dice: &mut Dice) -> Vec<Transition> {
    let mut log = Vec::new();
    for host in 0..4 + dice.below(30) {
        let opened = (1 + dice.below(360)) * PANE;
        let opening = opening(host, opened);
        if dice.chance(85) {
            let decided_at = EventTime::from_millis(opened + dice.below(30) * PANE);
            let kind = TransitionKind::Ended(EndReason::Recovered);
            log.push(Transition { sequence: 1, kind, decided_at, ..opening.clone() });
        }
        log.push(opening);
    }
    log.sort_by_key(|t| (t.decided_at, t.incident, t.sequence));
    log
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let outside = |name| {
            let (seen, deeds, died) = (Mutex::default(), Mutex::default(), Notify::new());
            (name, Arc::new(Outside { seen, deeds, died }))
        };
        World {
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            store: Moody::default(),
            log: log(&mut dice),
            outside: CHANNELS.map(outside).into(),
            saved: Vec::new(),
            ever_held: BTreeSet::new(),
            dice,
        }
    }

    /// Begins a run from the newest checkpoint, or from an older one whose successors are deleted.
    fn start(&mut self) -> Run {
        if self.saved.len() > 1 && self.dice.chance(15) {
            self.saved.pop();
        }
        let saved = self.saved.last().cloned();
        let store: Arc<dyn StateStore> = Arc::new(self.store.clone());
        let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 1 };
        let fence = Fence::claim(Arc::clone(&store), &info).unwrap();
        let restored = saved.as_ref().map(|saved| copy(&saved.outbox)).unwrap_or_default();
        let resumed_at = saved.as_ref().map_or(EventTime::MIN, |saved| saved.at);
        let outbox = Outbox::open(store, fence, restored, resumed_at, KEEP).unwrap();
        // The configuration may have changed.
        let receivers: &[&str] = match self.dice.below(4) {
            0 => &["platform"],
            1 => &["platform", "oncall"],
            _ => &["oncall"],
        };
        let names = receivers.iter().map(|name| name.to_string()).collect();
        let notifier = Notifier::new([("cpu".into(), names)], Inventory::default(), STALE_AFTER)
            .with_attempts(Arc::clone(&outbox) as _);
        let writer = |(name, outside): (&&'static str, &Arc<Outside>)| {
            (*name, Outboxed::new(&outbox, name, Fake(Arc::clone(outside))))
        };
        let lag = match self.dice.chance(50) {
            true => Duration::ZERO,
            false => Duration::from_secs(self.dice.below(3 * 3_600)),
        };
        let mut run = Run {
            notifier,
            writers: self.outside.iter().map(writer).collect(),
            outbox,
            queues: CHANNELS.map(|name| (name, VecDeque::new())).into(),
            next: saved.as_ref().map_or(0, |saved| saved.next),
            receivers,
            lag,
        };
        if let Some(saved) = saved {
            run.queues = saved.queues;
            for decision in run.notifier.restore(copy(&saved.notifier)) {
                run.tell(decision);
            }
        }
        run
    }

    /// Some of the channels, and the store, will fail at times.
    fn trouble(&mut self) {
        for outside in self.outside.values() {
            for _ in 0..self.dice.below(3) {
                let deed = match self.dice.below(5) {
                    0 => Deed::LoseAnswer,
                    1 => Deed::Die { is_taken: self.dice.chance(50) },
                    _ => Deed::Fail,
                };
                outside.deeds.lock().unwrap().push_back(deed);
            }
        }
        if self.dice.chance(30) {
            let lies = self.dice.chance(50);
            self.store.troubles.lock().unwrap().push_back(lies);
        }
    }

    /// One attempt on channel `name`; false when the process died.
    fn deliver(&mut self, run: &mut Run, name: &'static str) -> bool {
        let (Some(queue), Some(writer)) = (run.queues.get_mut(name), run.writers.get_mut(name))
        else {
            return true;
        };
        let len = queue.len().min(1 + usize::try_from(self.dice.below(3)).unwrap());
        let batch: Vec<Notification> = queue.iter().take(len).cloned().collect();
        if batch.is_empty() {
            return true;
        }
        let outside = &self.outside[name];
        let written = self.runtime.block_on(async {
            tokio::select! {
                biased;
                written = writer.write(&batch) => Some(written),
                () = outside.died.notified() => None,
            }
        });
        let receipt = match written {
            None => return false,
            Some(Err(ConnectorError::Transient { .. })) => return true,
            Some(Err(failure)) => panic!("{failure}"),
            Some(Ok(receipt)) => receipt,
        };
        assert_eq!(receipt.accepted + receipt.rejected.len() + receipt.retry.len(), len);
        let mut seen = outside.seen.lock().unwrap();
        for (index, notification) in batch.into_iter().enumerate() {
            if receipt.retry.contains(&index) {
                continue;
            }
            let id = (notification.transition.incident, notification.transition.sequence);
            seen.settled.insert(id);
            if receipt.rejected.iter().any(|fault| fault.index == index) {
                assert!(is_bad(&notification.transition));
                seen.rejected.insert(id);
            }
            queue.pop_front();
        }
        true
    }

    /// The next transition reaches the notifier.
    fn advance(&mut self, run: &mut Run) {
        let Some(transition) = self.log.get(run.next) else { return };
        run.next += 1;
        let incident = transition.incident;
        let now = transition.decided_at + run.lag;
        let decision = run.notifier.decide(transition.clone(), now);
        if decision == Decision::Held {
            self.ever_held.insert(incident);
        }
        run.tell(decision);
    }

    /// A checkpoint between two instants of the log; false when the process died in it.
    fn checkpoint(&mut self, run: &mut Run) -> bool {
        let (Some(before), Some(after)) =
            (run.next.checked_sub(1).and_then(|at| self.log.get(at)), self.log.get(run.next))
        else {
            return true;
        };
        if before.decided_at == after.decided_at {
            return true;
        }
        // What was decided at the cut itself may be on either side of it.
        let at = if self.dice.chance(50) { before.decided_at } else { after.decided_at };
        let early = self.dice.chance(50).then(|| run.outbox.snapshot());
        for _ in 0..self.dice.below(3) {
            if !self.deliver_any(run) {
                return false;
            }
        }
        let (next, notifier, queues) = (run.next, run.notifier.snapshot(), run.queues.clone());
        // The dataflow does not wait for the rest.
        for _ in 0..self.dice.below(6) {
            if self.dice.chance(30) {
                self.advance(run);
            } else if !self.deliver_any(run) {
                return false;
            }
        }
        let outbox = early.unwrap_or_else(|| run.outbox.snapshot());
        if self.dice.chance(20) {
            // It dies, or gives the cut up, before the manifest is written.
            return self.dice.chance(50);
        }
        self.saved.push(Saved { next, at, notifier, outbox, queues });
        if self.saved.len() > KEEP {
            self.saved.remove(0);
        }
        run.outbox.committed(at);
        true
    }

    fn deliver_any(&mut self, run: &mut Run) -> bool {
        let index = usize::try_from(self.dice.below(CHANNELS.len() as u64)).unwrap();
        self.deliver(run, CHANNELS[index])
    }

    /// One thing happens; false when the process died.
    fn step(&mut self, run: &mut Run) -> bool {
        match self.dice.below(100) {
            0..35 => self.advance(run),
            35..80 => return self.deliver_any(run),
            80..90 => return self.checkpoint(run),
            90..93 => self.trouble(),
            93..96 => self.release(run),
            _ => return false,
        }
        true
    }

    fn release(&mut self, run: &mut Run) {
        let applied = run.next.checked_sub(1).and_then(|at| self.log.get(at));
        let applied = applied.map_or(EventTime::MIN, |t| t.decided_at);
        for decision in run.notifier.release(applied, applied + run.lag) {
            run.tell(decision);
        }
    }

    /// The old process of a new run wakes up once more.
    fn haunt(&mut self, mut old: Run) {
        for name in CHANNELS {
            let (Some(writer), Some(queue)) = (old.writers.get_mut(name), old.queues.get(name))
            else {
                continue;
            };
            let Some(notification) = queue.front() else { continue };
            let attempts = self.outside[name].seen.lock().unwrap().attempts.len();
            let written = self.runtime.block_on(writer.write(std::slice::from_ref(notification)));
            // A receipt of its own it may still believe; tell it may not.
            assert!(
                matches!(&written, Err(ConnectorError::Refused { .. }))
                    || written.is_ok_and(|receipt| receipt.retry.is_empty())
            );
            assert_eq!(attempts, self.outside[name].seen.lock().unwrap().attempts.len());
        }
    }

    /// Everything works from now on: all of the log is told.
    fn finish(&mut self, mut run: Run) {
        for outside in self.outside.values() {
            outside.deeds.lock().unwrap().clear();
        }
        self.store.troubles.lock().unwrap().clear();
        let last = self.log.last().map_or(0, |t| t.decided_at.as_millis()) + PANE;
        self.log.push(opening(u64::MAX, last));
        while run.next + 1 < self.log.len() {
            self.advance(&mut run);
        }
        run.lag = Duration::ZERO;
        self.advance(&mut run);
        self.release(&mut run);
        for name in CHANNELS {
            while !run.queues[name].is_empty() {
                assert!(self.deliver(&mut run, name));
            }
        }
        for later in 1..=KEEP as u64 {
            let _ = run.outbox.snapshot();
            run.outbox.committed(EventTime::from_millis(last + later));
        }
        let ended: BTreeSet<_> =
            self.log.iter().filter(|t| !t.is_opening()).map(|t| t.incident).collect();
        for transition in self.log.iter().filter(|t| t.is_opening()) {
            let incident = transition.incident;
            let has_ended = ended.contains(&incident);
            self.judge(incident, has_ended);
            // The last opening has gone through every channel of these receivers.
            let known = Attempts::receivers(&*run.outbox, incident);
            let is_known = known.iter().any(|name| run.receivers.contains(&name.as_str()));
            assert!(!(has_ended && is_known), "{incident:?} is over and still known");
        }
    }

    /// What became of one incident in the end.
    fn judge(&self, incident: IncidentId, has_ended: bool) {
        let (opening, end) = ((incident, 0), (incident, 1));
        let mut is_told = false;
        for (name, outside) in &self.outside {
            let seen = outside.seen.lock().unwrap();
            let was_attempted = seen.was_attempted(opening);
            is_told |= was_attempted;
            if was_attempted {
                let is_settled = seen.taken(opening).is_some() || seen.rejected.contains(&opening);
                assert!(is_settled, "{incident:?} was given up on {name}");
                if has_ended {
                    let closed = seen.taken(end);
                    assert!(closed.is_some(), "{incident:?} was not closed on {name}");
                    assert!(closed > seen.taken(opening));
                }
            }
            assert!(
                was_attempted || !seen.was_attempted(end),
                "{incident:?} was closed on {name} and never opened"
            );
            assert!(has_ended || !seen.was_attempted(end));
        }
        assert!(is_told || has_ended, "{incident:?} is open and nobody knows");
        assert!(is_told || self.ever_held.contains(&incident), "{incident:?} was lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// However often it dies: nothing is told again that has a receipt, no opening after its end, everything
    /// that was told is told at least once and closed, and history is summarised or told as a whole.
    #[test]
    fn people_are_told_once_and_in_order_whatever_dies(seed in any::<u64>(), steps in 0_usize..400) {
        let mut world = World::new(seed);
        let mut run = world.start();
        for _ in 0..steps {
            if !world.step(&mut run) {
                let new = world.start();
                let old = std::mem::replace(&mut run, new);
                if world.dice.chance(30) {
                    world.haunt(old);
                }
            }
        }
        world.finish(run);
    }
}

impl Run {
    fn tell(&mut self, decision: Decision) {
        let Decision::Tell { notification, receivers } = decision else { return };
        for (name, queue) in &mut self.queues {
            let receiver = name.split_once('/').map(|(_, receiver)| receiver);
            if receivers.iter().any(|name| Some(name.as_str()) == receiver) {
                queue.push_back(notification.clone());
            }
        }
    }
}
