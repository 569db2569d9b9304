//! Cuts, one after another: announced, heard of, put together, complete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use super::director::Orders;
use crate::checkpoint::{Cut, Keeper, ObjectRef};
use crate::time::{EventTime, Pace, PaneSize};

/// When to take checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointPace {
    /// How often, by the wall clock.
    pub every: Duration,
    /// Cuts come at multiples of this: the least common multiple of all panes.
    pub grid: PaneSize,
}

/// Takes cuts, one after another.
pub(super) struct Cuts {
    pace: Pace,
    grid: PaneSize,
    keeper: Arc<Keeper>,
    sequence: u64,
    in_flight: Option<InFlight>,
    /// The last complete one, until it is taken note of.
    committed: Option<EventTime>,
    /// Set once the run is to stop.
    last: Option<LastCut>,
}

/// The cut of a stop.
#[derive(Debug)]
struct LastCut {
    /// Time comes no further while the stop waits, as far as the clock can tell.
    by: EventTime,
    /// Whether no further cut is to be announced: it has been, or there is to be none.
    is_announced: bool,
}

struct InFlight {
    cut: Cut,
    heard: usize,
    parts: BTreeMap<u32, ObjectRef>,
}

impl Cuts {
    pub(super) fn new(every: Duration, grid: PaneSize, keeper: Arc<Keeper>) -> Self {
        // The first one comes as soon as time has begun: a run that does not live long gets on all the same.
        let pace = Pace::new(every);
        Cuts { pace, grid, keeper, sequence: 0, in_flight: None, committed: None, last: None }
    }

    /// The last complete one, once.
    pub(super) fn take_committed(&mut self) -> Option<EventTime> {
        self.committed.take()
    }

    /// A worker has heard of a cut.
    pub(super) fn heard(&mut self, sequence: u64) {
        if let Some(in_flight) = self.at(sequence) {
            in_flight.heard += 1;
        }
    }

    /// A process has made its part of a cut durable.
    pub(super) fn part(&mut self, sequence: u64, process: u32, part: &ObjectRef) {
        if let Some(in_flight) = self.at(sequence) {
            in_flight.parts.insert(process, part.clone());
        }
    }

    fn at(&mut self, sequence: u64) -> Option<&mut InFlight> {
        self.in_flight.as_mut().filter(|in_flight| in_flight.cut.sequence == sequence)
    }

    /// The run is to stop: at most one more cut is announced, if `takes_cut` and it lies no later than `by`, how far
    /// time can come meanwhile.
    pub(super) fn end(&mut self, by: EventTime, takes_cut: bool) {
        self.last = Some(LastCut { by, is_announced: !takes_cut });
    }

    /// Whether a cut is worth waiting for: `capability` has come to it, or `moves` and will in time.
    pub(super) fn is_awaited(&self, capability: EventTime, moves: bool) -> bool {
        let is_near = |cut: Cut| capability >= cut.at || moves && self.is_in_time(cut.at);
        self.keeper.failure().is_none()
            && self.in_flight.as_ref().is_some_and(|in_flight| is_near(in_flight.cut))
    }

    /// Goes on with the cut in flight, or announces the next when it is due.
    pub(super) fn go_on(
        &mut self,
        capability: EventTime,
        moves: bool,
        journal: u64,
        processes: usize,
        orders: &mut Orders,
    ) {
        if let Some(committed) = self.keeper.take_committed() {
            self.in_flight = None;
            self.committed = Some(committed.at);
            orders.messages.push(Control::Committed { cut: committed });
        }
        if let Some(in_flight) = &mut self.in_flight {
            if in_flight.parts.len() == processes {
                let parts = std::mem::take(&mut in_flight.parts).into_values().collect();
                self.keeper.commit(in_flight.cut, parts);
            }
            // A stop needs no other than the one that lies ahead.
            if let Some(last) = &mut self.last
                && capability < in_flight.cut.at
            {
                last.is_announced = true;
            }
            return;
        }
        let at = self.grid.end(self.grid.pane(capability));
        if capability > EventTime::MIN && self.keeper.failure().is_none() && self.is_due(at, moves)
        {
            self.sequence += 1;
            let cut = Cut { sequence: self.sequence, at };
            self.in_flight = Some(InFlight { cut, heard: 0, parts: BTreeMap::new() });
            orders.messages.push(Control::Cut { cut, journal });
        }
    }

    /// Whether a cut at `at` is to be announced now.
    fn is_due(&mut self, at: EventTime, moves: bool) -> bool {
        let is_in_time = moves && self.is_in_time(at);
        match &mut self.last {
            None => self.pace.is_due(),
            Some(last) => is_in_time && !std::mem::replace(&mut last.is_announced, true),
        }
    }

    /// Whether time can have come to `at` before a stop no longer waits.
    fn is_in_time(&self, at: EventTime) -> bool {
        self.last.as_ref().is_some_and(|last| at <= last.by)
    }

    /// Where the capability must stay until every worker has heard of the cut.
    pub(super) fn hold(&self, peers: usize) -> Option<EventTime> {
        let in_flight = self.in_flight.as_ref()?;
        (in_flight.heard < peers).then_some(in_flight.cut.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Fence, KeeperConfig, RunInfo};
    use crate::testing::MemoryStore;
    use crate::time::Clock;

    fn at(seconds: u64) -> EventTime {
        EventTime::from_millis(seconds * 1_000)
    }

    /// Cuts every hour at multiples of 10 s.
    fn cuts() -> Cuts {
        let store = Arc::new(MemoryStore::default());
        let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 1 };
        let fence = Fence::claim(store.clone(), &info).unwrap();
        let config = KeeperConfig {
            pipeline: "p".to_owned(),
            topics: Vec::new(),
            process: 0,
            local_workers: 1,
            workers: 1,
            keep: 3,
            clock: Clock::manual(at(0)),
        };
        let grid = PaneSize::new(Duration::from_secs(10)).unwrap();
        Cuts::new(Duration::from_secs(3_600), grid, Keeper::start(store, fence, config))
    }

    /// What is told with a capability at `seconds`: the instants of cuts.
    fn told(cuts: &mut Cuts, seconds: u64, moves: bool) -> Vec<EventTime> {
        let mut orders = Orders::default();
        cuts.go_on(at(seconds), moves, 0, 1, &mut orders);
        let told = orders.messages.into_iter().filter_map(|message| match message {
            Control::Cut { cut, .. } => Some(cut.at),
            _ => None,
        });
        told.collect()
    }

    /// The cut in flight becomes complete.
    fn complete(cuts: &mut Cuts, seconds: u64) {
        let sequence = cuts.sequence;
        let part = ObjectRef::of("parts/1".to_owned(), b"");
        cuts.part(sequence, 0, &part);
        while cuts.in_flight.is_some() {
            assert_eq!(told(cuts, seconds, false), []);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_stop_takes_one_more_cut_if_time_comes_to_it() {
        let mut cuts = cuts();
        assert_eq!(told(&mut cuts, 12, true), [at(20)]);
        complete(&mut cuts, 21);
        assert_eq!(told(&mut cuts, 21, true), [], "not due for an hour");
        cuts.end(at(30), true);
        assert_eq!(told(&mut cuts, 21, false), [], "nothing moves");
        assert_eq!(told(&mut cuts, 21, true), [at(30)]);
        assert!(cuts.is_awaited(at(21), true) && !cuts.is_awaited(at(21), false));
        assert!(cuts.is_awaited(at(30), false), "it has come");
        complete(&mut cuts, 31);
        assert!(told(&mut cuts, 31, true).is_empty() && !cuts.is_awaited(at(31), true));
    }

    #[test]
    fn a_stop_waits_for_no_cut_that_is_too_far_ahead() {
        let mut cuts = cuts();
        assert_eq!(told(&mut cuts, 12, true), [at(20)]);
        cuts.end(at(19), true);
        assert!(!cuts.is_awaited(at(12), true));
        complete(&mut cuts, 21);
        assert_eq!(told(&mut cuts, 21, true), []);
    }

    #[test]
    fn the_cut_that_lies_ahead_is_the_one_of_the_stop() {
        let mut cuts = cuts();
        assert_eq!(told(&mut cuts, 12, true), [at(20)]);
        cuts.end(at(90), true);
        assert_eq!(told(&mut cuts, 13, true), []);
        assert!(cuts.is_awaited(at(13), true));
        complete(&mut cuts, 21);
        assert_eq!(told(&mut cuts, 21, true), []);
    }

    #[test]
    fn a_run_that_ends_for_another_reason_takes_none() {
        let mut cuts = cuts();
        cuts.end(at(90), false);
        assert_eq!(told(&mut cuts, 12, true), []);
    }
}
