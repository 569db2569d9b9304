//! Who hears of transitions: the notifier and the outbox, with a channel in memory behind them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewatch::config::Inventory;
use tidewatch::notify::{Attempts, Decision, Notifier};
use tidewatch::pipeline::{DurabilityError, Resumption};
use tidewatch_connectors::outbox::{Outbox, Outboxed};
use tidewatch_dataflow::alert::{Notification, Transition};
use tidewatch_dataflow::checkpoint::{Piece, PieceContent, PieceWriter, WorkerPieces, encode};
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::feed::RuleSpec;

use super::sink::Delivered;

/// Event times of a simulation lie where they like: nothing is history.
const STALE_AFTER: Duration = Duration::MAX;
/// How long what is to be told may take in the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a run tells of, and which edition of the rules that is.
#[derive(Clone)]
pub struct Setting {
    pub edition: u32,
    pub rules: Vec<RuleSpec>,
}

/// Where a run's messages go, until it dies.
pub struct Ear {
    pub far: Arc<Mutex<Delivered>>,
    pub run: u64,
    pub dead: Arc<AtomicBool>,
}

impl SinkWriter for Ear {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        let mut far = self.far.lock().unwrap();
        if self.dead.load(Ordering::SeqCst) {
            let endpoint = "people".to_owned();
            let source = "the process is dead".into();
            return Err(ConnectorError::Transient { endpoint, retry_after: None, source });
        }
        let heard = batch.iter().map(|n| (self.run, n.transition.clone()));
        far.heard.extend(heard);
        Ok(Receipt { accepted: batch.len(), ..Receipt::default() })
    }
}

enum Job {
    Tell(Notification),
    Then(Box<dyn FnOnce() + Send>),
}

/// The people of one run.
pub struct People {
    /// The edition of the rules, and the cut from which on it is computed.
    origin: (u32, EventTime),
    notifier: Mutex<Notifier>,
    outbox: Arc<Outbox>,
    jobs: Mutex<Sender<Job>>,
}

impl People {
    /// Goes on from the state, and notes in what `ear` shares from which cut on these rules are computed.
    pub fn open(
        setting: &Setting,
        resumption: &Resumption,
        ear: Ear,
    ) -> Result<Self, DurabilityError> {
        let state = &resumption.state;
        let share = |name: &str| state.operators.get(name).and_then(|o| o.shares.first());
        let former: Option<(u32, EventTime)> =
            share("edition").map(|s| s.get("state")).transpose()?.flatten();
        let former = former.filter(|(edition, _)| *edition == setting.edition);
        let origin = former.unwrap_or((setting.edition, state.at));
        ear.far.lock().unwrap().begun.push(origin);
        let (fence, store) = resumption.fence.clone().unwrap();
        let restored = share("outbox").map(|s| s.get("state")).transpose()?.flatten();
        let outbox =
            Outbox::open(store, fence, restored.unwrap_or_default(), state.at, resumption.keep)
                .map_err(|error| DurabilityError::Outputs(error.to_string()))?;
        let receivers = setting.rules.iter().map(|r| (r.name.clone(), vec!["oncall".to_owned()]));
        let mut notifier = Notifier::new(receivers, Inventory::default(), STALE_AFTER)
            .with_detectors(setting.rules.iter().map(|r| (&*r.name, &r.detector)))
            .with_attempts(Arc::clone(&outbox) as Arc<dyn Attempts>);
        let mut first = Vec::new();
        for share in state.operators.get("alerts").iter().flat_map(|o| &o.shares) {
            if let Some(state) = share.get("notifier")? {
                first.extend(notifier.restore(state));
            }
        }
        let dead = Arc::clone(&ear.dead);
        let writer = Outboxed::new(&outbox, "test/oncall", ear);
        let (sender, jobs) = channel();
        std::thread::spawn(move || deliver(&jobs, writer, &dead));
        let (notifier, jobs) = (Mutex::new(notifier), Mutex::new(sender));
        let people = People { origin, notifier, outbox, jobs };
        first.into_iter().for_each(|decision| people.tell(decision));
        Ok(people)
    }

    fn push(&self, job: Job) {
        // Whoever is fenced or dead listens no more.
        let _ = self.jobs.lock().unwrap().send(job);
    }

    fn tell(&self, decision: Decision) {
        if let Decision::Tell { notification, .. } = decision {
            self.push(Job::Tell(notification));
        }
    }

    /// Decides about the transitions of the log; gives the ends that are no part of it.
    pub fn hear(&self, transitions: &[Transition]) -> Vec<Transition> {
        let mut notifier = self.notifier.lock().unwrap();
        let mut ends = Vec::new();
        for transition in transitions {
            ends.extend(self.abandon(&mut notifier, transition.decided_at));
            self.tell(notifier.decide(transition.clone(), EventTime::MIN));
        }
        ends
    }

    fn abandon(&self, notifier: &mut Notifier, applied: EventTime) -> Vec<Transition> {
        let mut ends = Vec::new();
        for (end, decision) in notifier.abandon(applied) {
            ends.push(end);
            self.tell(decision);
        }
        ends
    }

    /// Everything is applied up to `applied`: waits until all of it is told; gives the ends that are no part of
    /// the log. None when that takes too long.
    pub fn settle(&self, applied: EventTime) -> Option<Vec<Transition>> {
        let ends = self.abandon(&mut self.notifier.lock().unwrap(), applied);
        let (done, told) = channel();
        let heard = move || {
            // Whoever waits no longer has given up.
            let _ = done.send(());
        };
        self.push(Job::Then(Box::new(heard)));
        told.recv_timeout(PATIENCE).is_ok().then_some(ends)
    }

    pub fn put(&self, pieces: &mut PieceWriter<'_>) {
        let notifier = self.notifier.lock().unwrap();
        pieces.put_version("notifier", notifier.version(), || notifier.snapshot());
    }

    /// Calls `done` with the pieces once all that is to be told by now is.
    pub fn make_durable(&self, done: impl FnOnce(WorkerPieces) + Send + 'static) {
        let (outbox, origin) = (Arc::clone(&self.outbox), self.origin);
        self.push(Job::Then(Box::new(move || {
            let piece =
                |content| vec![Piece { name: "state".into(), content: PieceContent::New(content) }];
            done(vec![
                ("edition".into(), piece(encode(&origin))),
                ("outbox".into(), piece(encode(&outbox.snapshot()))),
            ]);
        })));
    }

    pub fn committed(&self, at: EventTime) {
        self.outbox.committed(at);
    }
}

/// Tells one after another, for as long as it takes, until the run is dead or fenced.
fn deliver(jobs: &Receiver<Job>, mut writer: Outboxed<Ear>, dead: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    while let Ok(job) = jobs.recv() {
        let notification = match job {
            Job::Tell(notification) => notification,
            Job::Then(then) => {
                then();
                continue;
            }
        };
        loop {
            match runtime.block_on(writer.write(std::slice::from_ref(&notification))) {
                Ok(receipt) if receipt.accepted == 1 => break,
                Err(ConnectorError::Refused { .. }) => return,
                _ if dead.load(Ordering::SeqCst) => return,
                _ => std::thread::sleep(Duration::from_micros(300)),
            }
        }
    }
}
