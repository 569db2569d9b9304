//! A stateful operator of your own that survives: killed at any moment, it goes on from the newest checkpoint, at
//! another number of workers, and says in the end what it would have said undisturbed.
//!
//! Visits of a web site become sessions: a visitor's session ends after half a minute without a visit. The first
//! run has one worker and dies; the second has two. What the first had said after its last checkpoint is said
//! again, word for word, so that whoever keeps sessions by visitor and start notices nothing.
//!
//! ```text
//! cargo run -p tidewatch-examples --example recoverable_operator
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tidewatch_dataflow::checkpoint::{
    Checkpointed, LocalCheckpoints, PieceWriter, Restored, Shard, StateError,
};
use tidewatch_dataflow::operator::{
    Entry, GroupId, PaneMachine, StopFlag, apply_panes_checkpointed,
};
use tidewatch_dataflow::series::{StableHash, worker_of};
use tidewatch_dataflow::testing::MemoryStore;
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};
use tidewatch_examples::finish;
use timely::dataflow::InputHandleVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Capture, Probe, capture::Extract};

/// A session is over this long after its last visit.
const SILENCE: Duration = Duration::from_secs(30);
/// The log is this long, in minutes.
const MINUTES: u64 = 10;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Visit {
    time: EventTime,
    visitor: String,
}

/// What the operator makes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Session {
    visitor: String,
    first: EventTime,
    last: EventTime,
    visits: u32,
}

// 1. The operator: a state machine over panes, which knows nothing of timely, threads or stores.

/// The sessions that are open, by visitor. Bound: visitors of the last half minute.
struct Sessions {
    pane: PaneSize,
    open: BTreeMap<String, Session>,
}

impl PaneMachine for Sessions {
    type Partial = Visit;
    type Output = Session;

    fn pane_size(&self) -> PaneSize {
        self.pane
    }

    fn apply(&mut self, pane: Pane, visits: &mut Vec<Entry<Visit>>, over: &mut Vec<Session>) {
        for Entry { partial: Visit { time, visitor }, .. } in visits.drain(..) {
            let new = Session { visitor: visitor.clone(), first: time, last: time, visits: 0 };
            let session = self.open.entry(visitor).or_insert_with(|| new.clone());
            if session.last + SILENCE < time {
                over.push(std::mem::replace(session, new));
            }
            session.last = time;
            session.visits += 1;
        }
        let end = self.pane.end(pane);
        let ended = self.open.extract_if(.., |_, session| session.last + SILENCE < end);
        over.extend(ended.map(|(_, session)| session));
    }

    fn next_due(&self) -> Option<Pane> {
        self.open.values().map(|session| self.pane.pane(session.last + SILENCE)).min()
    }
}

// 2. Its state: what it puts into a checkpoint, and what it takes of one. A visitor belongs to the same bucket in
//    every run, and so to some worker, whatever their number.

fn hash(visitor: &str) -> u64 {
    let mut hash = StableHash::default();
    hash.write(visitor.as_bytes());
    hash.finish()
}

impl Checkpointed for Sessions {
    fn snapshot(&mut self, pieces: &mut PieceWriter<'_>) {
        pieces.put("open", &self.open);
    }

    fn restore(&mut self, state: &Restored, own: Shard, _at: EventTime) -> Result<(), StateError> {
        for share in &state.shares {
            let open: BTreeMap<String, Session> = share.get("open")?.unwrap_or_default();
            self.open.extend(open.into_iter().filter(|(visitor, _)| own.owns(hash(visitor))));
        }
        Ok(())
    }
}

// 3. The run: a dataflow, and a loop that reads minute by minute and takes a checkpoint at the end of each.

/// Runs until the log ends, or dies in the middle of minute `dies_in`. Returns the sessions that were put out.
fn run(store: &MemoryStore, workers: usize, dies_in: Option<u64>) -> Result<Vec<Session>> {
    let pane = PaneSize::new(Duration::from_secs(10)).context("a pane has a length")?;
    let checkpoints = LocalCheckpoints::open(Arc::new(store.clone()), "sessions", workers)?;
    let put_out = timely::execute(timely::Config::process(workers), move |worker| -> Result<_> {
        let (index, peers) = (worker.index(), worker.peers());
        let mut checkpoints = checkpoints.worker(index);
        let resumed_at = checkpoints.recovery().resumed_at();
        if index == 0 {
            println!("workers: {peers}, from second {} on", resumed_at.as_millis() / 1_000);
        }
        let sessions = checkpoints.recovery().participant("sessions");
        let mut machine = Sessions { pane, open: BTreeMap::new() };
        machine.restore(&sessions.restored(), sessions.shard(), resumed_at)?;

        let (stop, mut input) = (StopFlag::default(), InputHandleVec::<EventTime, Visit>::new());
        let (probe, captured) = worker.dataflow(|scope| {
            let visits = input.to_stream(scope);
            let to_owner =
                Exchange::new(move |visit: &Visit| worker_of(hash(&visit.visitor), peers) as u64);
            let (probe, sessions) = apply_panes_checkpointed(
                visits,
                to_owner,
                "sessions",
                stop.clone(),
                machine,
                sessions,
                move |_, visit, inbox, _| {
                    // In one group the order of visits decides; visitors that tie do not meet.
                    let (at, order) = (pane.pane(visit.time), visit.time.as_millis());
                    let group = GroupId(0);
                    inbox.admit(at, Entry { group, event_pane: at, order, partial: visit });
                },
            )
            .probe();
            (probe, sessions.capture())
        });

        // What comes before the cut is in the state: reading goes on from there.
        for minute in resumed_at.as_millis() / 60_000..MINUTES {
            let end = EventTime::from_millis((minute + 1) * 60_000);
            let mut visits = visits(minute).skip(index).step_by(peers);
            if dies_in == Some(minute) {
                visits.by_ref().take(20).for_each(|visit| input.send(visit));
                input.advance_to(EventTime::from_millis(end.as_millis() - 30_000));
                while probe.less_than(input.time()) {
                    worker.step();
                }
                // A process that is killed says nothing more.
                stop.stop();
                worker.installed_dataflows().into_iter().for_each(|d| worker.drop_dataflow(d));
                return Ok(captured);
            }
            let cut = checkpoints.announce(end);
            visits.for_each(|visit| input.send(visit));
            input.advance_to(end);
            cut.complete(worker, &probe)?;
        }
        Ok(captured)
    });
    let put_out = finish(put_out)?.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(put_out.into_iter().flat_map(Extract::extract).flat_map(|(_, sessions)| sessions).collect())
}

/// The log of one minute: thirty visitors, who come and go.
fn visits(minute: u64) -> impl Iterator<Item = Visit> {
    (minute * 60..(minute + 1) * 60).flat_map(|second| {
        let is_here = move |visitor: &u64| {
            (second / 20 + visitor * 7) % 5 < 2
                && (second + visitor).is_multiple_of(3 + visitor % 4)
        };
        let time = EventTime::from_millis(second * 1_000);
        (0..30).filter(is_here).map(move |v| Visit { time, visitor: format!("visitor {v}") })
    })
}

fn main() -> Result<()> {
    // Undisturbed.
    let undisturbed = run(&MemoryStore::default(), 1, None)?;
    let expected: BTreeSet<_> = undisturbed.iter().cloned().collect();
    assert_eq!(undisturbed.len(), expected.len());

    // Killed in minute 6, and gone on with by two workers.
    let store = MemoryStore::default();
    let before = run(&store, 1, Some(6))?;
    println!("  killed after {} sessions", before.len());
    let after = run(&store, 2, None)?;
    println!("  {} sessions to the end of the log", after.len());

    let repeated = after.iter().filter(|session| before.contains(session)).count();
    println!("{} sessions as without the kill, {repeated} of them put out twice", expected.len());
    assert!(before.len() < expected.len() && after.len() < expected.len());
    assert!(repeated > 0, "the first run had said something after its last checkpoint");
    let together: BTreeSet<_> = before.into_iter().chain(after).collect();
    assert_eq!(together, expected, "nothing is lost, and nothing is different");
    Ok(())
}
