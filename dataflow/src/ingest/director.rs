//! The director on worker 0: the one place where the wall clock decides anything.
//!
//! Decisions that change what is computed are journaled first and told once they are durable. Cuts are announced
//! before the worker's own capability passes them: it is held back until every worker has heard of the cut, and
//! since no frontier passes the least capability, no operator is beyond it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::IngestConfig;
use super::board::Board;
use super::control::Control;
use super::journal::{Decision, Journal};
use crate::checkpoint::{CheckpointError, Cut, Keeper, ObjectRef};
use crate::record::PartitionId;
use crate::time::{EventTime, Pace, PaneSize};

/// How often the director advances time while nothing arrives.
const ADVANCE_EVERY: Duration = Duration::from_millis(500);

/// When to take checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointPace {
    /// How often, by the wall clock.
    pub every: Duration,
    /// Cuts come at multiples of this: the least common multiple of all panes.
    pub grid: PaneSize,
}

/// Takes cuts, one after another.
struct Cuts {
    pace: Pace,
    grid: PaneSize,
    keeper: std::sync::Arc<Keeper>,
    sequence: u64,
    in_flight: Option<InFlight>,
}

struct InFlight {
    cut: Cut,
    heard: usize,
    parts: BTreeMap<u32, ObjectRef>,
}

/// What the director has to say.
#[derive(Default)]
pub(super) struct Orders {
    /// To every worker.
    pub(super) messages: Vec<Control>,
    /// This worker's capability must not pass this.
    pub(super) hold: Option<EventTime>,
}

pub(super) struct Director {
    config: IngestConfig,
    journal: Box<dyn Journal>,
    /// What to tell once the next batches of decisions are durable.
    undone: VecDeque<Control>,
    last_advance: EventTime,
    /// How far time was advanced with the clock, durable or not.
    advanced: EventTime,
    /// The spell of each partition that a floor has been decided for.
    answered: BTreeMap<PartitionId, u32>,
    cuts: Option<Cuts>,
    peers: usize,
    processes: usize,
}

impl Director {
    pub(super) fn new(
        config: IngestConfig,
        journal: Box<dyn Journal>,
        (peers, processes): (usize, usize),
        keeper: Option<(std::sync::Arc<Keeper>, CheckpointPace)>,
    ) -> Self {
        let cuts = keeper.map(|(keeper, CheckpointPace { every, grid })| {
            // The first one comes as soon as time has begun: a run that does not live long gets on all the same.
            let pace = Pace::new(every);
            Cuts { pace, grid, keeper, sequence: 0, in_flight: None }
        });
        Director {
            config,
            journal,
            undone: VecDeque::new(),
            last_advance: EventTime::MIN,
            advanced: EventTime::MIN,
            answered: BTreeMap::new(),
            cuts,
            peers,
            processes,
        }
    }

    fn record(&mut self, decisions: Vec<Decision>, then: Control) {
        self.journal.append(decisions);
        self.undone.push_back(then);
    }

    /// Looks at the board, and decides.
    pub(super) fn decide(&mut self, board: &Board, capability: EventTime) -> Orders {
        let mut orders = Orders::default();
        let lifts = board.to_lift().into_iter();
        orders
            .messages
            .extend(lifts.map(|(partition, generation)| Control::Lift { partition, generation }));
        let mut waits = false;
        for report in board.returning() {
            waits = true;
            if self.answered.insert(report.partition, report.generation) == Some(report.generation)
            {
                continue;
            }
            // Neither before what its worker may have sent, nor before what time was advanced to.
            let floor = report.watermark.unwrap_or_default().max(self.advanced);
            let (partition, generation) = (report.partition, report.generation);
            let from = report.next;
            let then = Control::Return { partition, generation, from, floor };
            self.record(vec![Decision::Floor { partition, from, floor }], then);
        }
        let idle = orders.messages.is_empty() && !waits && self.undone.is_empty();
        if idle && board.all_lifted() {
            self.advance(board);
        }
        for _ in 0..self.journal.take_durable() {
            orders.messages.extend(self.undone.pop_front());
        }
        if let Some(cuts) = &mut self.cuts {
            cuts.go_on(capability, self.journal.mark(), self.processes, &mut orders);
            orders.hold = cuts.hold(self.peers);
        }
        orders
    }

    /// Advances time with the clock, since every partition is lifted.
    fn advance(&mut self, board: &Board) {
        let now = self.config.clock.now();
        if now.since(self.last_advance) < ADVANCE_EVERY {
            return;
        }
        self.last_advance = now;
        let behind = self.config.out_of_orderness + self.config.idle_timeout;
        let to = self.config.tick.floor(now.saturating_sub(behind));
        if to > board.advanced().max(self.advanced) {
            self.advanced = to;
            let floors = board.next_offsets().map(|(partition, from)| Decision::Floor {
                partition,
                from,
                floor: to,
            });
            self.record(floors.collect(), Control::Advance { to });
        }
    }

    /// Takes in what only the director listens to.
    pub(super) fn hear(&mut self, message: &Control) {
        match message {
            Control::Refuse { partition, offsets } => {
                let (partition, offsets) = (*partition, offsets.clone());
                let refused = offsets.iter();
                let refused =
                    refused.map(|offset| Decision::Refused { partition, offset: *offset });
                self.record(refused.collect(), Control::Refused { partition, offsets });
            }
            Control::Heard { sequence } => {
                if let Some(cuts) = self.cuts_at(*sequence) {
                    cuts.heard += 1;
                }
            }
            Control::Part { sequence, process, part } => {
                if let Some(cuts) = self.cuts_at(*sequence) {
                    cuts.parts.insert(*process, part.clone());
                }
            }
            _ => {}
        }
    }

    fn cuts_at(&mut self, sequence: u64) -> Option<&mut InFlight> {
        let in_flight = self.cuts.as_mut()?.in_flight.as_mut();
        in_flight.filter(|in_flight| in_flight.cut.sequence == sequence)
    }

    /// Why nothing can be decided any more.
    pub(super) fn failure(&self) -> Option<std::sync::Arc<CheckpointError>> {
        self.journal.failure()
    }

    /// Whether a checkpoint is on its way and will arrive soon: this worker's capability has come to its cut.
    pub(super) fn is_cutting(&self, capability: EventTime) -> bool {
        let is_reached = |in_flight: &InFlight| capability >= in_flight.cut.at;
        let arrives = |cuts: &Cuts| {
            cuts.in_flight.as_ref().is_some_and(is_reached) && cuts.keeper.failure().is_none()
        };
        self.journal.failure().is_none() && self.cuts.as_ref().is_some_and(arrives)
    }
}

impl Cuts {
    fn go_on(
        &mut self,
        capability: EventTime,
        journal: u64,
        processes: usize,
        orders: &mut Orders,
    ) {
        if let Some(committed) = self.keeper.take_committed() {
            self.in_flight = None;
            orders.messages.push(Control::Committed { cut: committed });
        }
        if let Some(in_flight) = &mut self.in_flight {
            if in_flight.parts.len() == processes {
                let parts = std::mem::take(&mut in_flight.parts).into_values().collect();
                self.keeper.commit(in_flight.cut, parts);
            }
            return;
        }
        if capability > EventTime::MIN && self.keeper.failure().is_none() && self.pace.is_due() {
            self.sequence += 1;
            let at = self.grid.end(self.grid.pane(capability));
            let cut = Cut { sequence: self.sequence, at };
            self.in_flight = Some(InFlight { cut, heard: 0, parts: BTreeMap::new() });
            orders.messages.push(Control::Cut { cut, journal });
        }
    }

    /// Where the capability must stay until every worker has heard of the cut.
    fn hold(&self, peers: usize) -> Option<EventTime> {
        let in_flight = self.in_flight.as_ref()?;
        (in_flight.heard < peers).then_some(in_flight.cut.at)
    }
}

/// The director's own queue of what it has heard, filled by the control plane.
pub(super) type Heard = Rc<std::cell::RefCell<Vec<Control>>>;
