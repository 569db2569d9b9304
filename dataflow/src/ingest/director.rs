//! The director on worker 0: the one place where the wall clock decides anything.
//!
//! Decisions that change what is computed are journaled first and told once they are durable. Cuts are announced
//! before the worker's own capability passes them: it is held back until every worker has heard of the cut, and
//! since no frontier passes the least capability, no operator is beyond it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::IngestConfig;
use super::board::{Board, Report};
use super::control::{Control, Direction};
use super::counters::{DecisionKind, IngestCounters};
use super::cuts::{CheckpointPace, Cuts};
use super::generation::Generations;
use super::journal::{Decision, Journal};
use super::recreated::Recreated;
use crate::checkpoint::CheckpointError;
use crate::record::PartitionId;
use crate::time::{EventTime, Stopwatch};

/// How often the director advances time while nothing arrives.
const ADVANCE_EVERY: Duration = Duration::from_millis(500);

/// The largest step that time may go ahead of the journal.
const STEP_MAX: Duration = Duration::from_secs(600);

/// A stop does not wait for time to go on once nothing was read for so long.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// How much longer than it should take a checkpoint is waited for that holds what was read of a recreated topic.
const RECREATED_SLACK: Duration = Duration::from_secs(30);

/// What the director has to say.
#[derive(Default)]
pub(super) struct Orders {
    /// To every worker.
    pub(super) messages: Vec<Control>,
    /// This worker's capability must not pass this.
    pub(super) hold: Option<EventTime>,
    /// How far time may go, durable.
    pub(super) reached: EventTime,
}

/// What the director knows of earlier runs.
pub(super) struct Known {
    /// What they may have told of: a partition that returns must not come before.
    pub(super) reached: EventTime,
    /// The cut that is gone on from.
    pub(super) resumed_at: EventTime,
    /// Generations of the topics.
    pub(super) generations: Generations,
}

pub(super) struct Director {
    config: IngestConfig,
    journal: Box<dyn Journal>,
    /// What to tell, and how far time may go, once the next batches of decisions are durable.
    undone: VecDeque<(Option<Control>, EventTime)>,
    /// How far time may go, durable, and asked for.
    bound: EventTime,
    bound_asked: EventTime,
    last_advance: EventTime,
    /// How far time was advanced with the clock, durable or not.
    advanced: EventTime,
    before: Known,
    /// The spell of each partition that a floor or a lift has been decided for.
    answered: BTreeMap<PartitionId, u32>,
    /// Whether all partitions were silent when it looked last.
    all_silent: bool,
    recreated: Recreated,
    cuts: Option<Cuts>,
    peers: usize,
    processes: usize,
    counters: std::sync::Arc<IngestCounters>,
    /// Whether what the run begins with is not durable yet.
    is_beginning: bool,
    /// How many records this process had read when it read last, and how long ago that is.
    read: (u64, Stopwatch),
}

impl Director {
    pub(super) fn new(
        config: IngestConfig,
        direction: Direction,
        peers: usize,
        before: Known,
    ) -> Self {
        let Direction { journal, processes, checkpoints, counters, first } = direction;
        let reached = before.reached;
        counters.recreated.store(before.generations.count(), Ordering::Relaxed);
        let every = checkpoints.as_ref().map(|(_, pace)| pace.every);
        // Time goes on without the topic at the latest by the clock, less these two; then comes a checkpoint.
        let behind = config.out_of_orderness + config.idle_timeout;
        let patience = (behind + every.unwrap_or_default()) * 2 + RECREATED_SLACK;
        let recreated = Recreated::new(every.map(|_| before.resumed_at), patience);
        let cuts = checkpoints
            .map(|(keeper, CheckpointPace { every, grid })| Cuts::new(every, grid, keeper));
        let mut director = Director {
            config,
            journal,
            undone: VecDeque::new(),
            bound: reached,
            bound_asked: reached,
            last_advance: EventTime::MIN,
            advanced: EventTime::MIN,
            before,
            recreated,
            answered: BTreeMap::new(),
            all_silent: false,
            cuts,
            peers,
            processes,
            counters,
            is_beginning: !first.is_empty(),
            read: (0, Stopwatch::start()),
        };
        if director.is_beginning {
            director.append(first);
            director.undone.push_back((None, EventTime::MIN));
        }
        director
    }

    fn record(&mut self, decisions: Vec<Decision>, then: Control) {
        self.append(decisions);
        self.undone.push_back((Some(then), EventTime::MIN));
    }

    fn append(&mut self, decisions: Vec<Decision>) {
        for decision in &decisions {
            let kind = match decision {
                Decision::Floor { .. } => DecisionKind::Floor,
                Decision::Lifted { .. } => DecisionKind::Lifted,
                Decision::Returned { .. } => DecisionKind::Returned,
                Decision::Reached { .. } => DecisionKind::Reached,
                Decision::Refused { .. } => DecisionKind::Refused,
                // Counted over all runs, or decided by whoever outlives a crash.
                _ => continue,
            };
            self.counters.count_decisions(kind, 1);
        }
        self.journal.append(decisions);
    }

    /// Looks at the board, and decides.
    pub(super) fn decide(&mut self, board: &Board, capability: EventTime) -> Orders {
        let mut orders = Orders::default();
        let mut waits = false;
        for report in board.to_lift() {
            waits = true;
            if self.is_new(&report) {
                let (partition, generation) = (report.partition, report.generation);
                let from = report.next;
                let then = Control::Lift { partition, generation, from };
                self.record(vec![Decision::Lifted { partition, from }], then);
            }
        }
        for report in board.returning() {
            waits = true;
            if self.is_new(&report) {
                // Neither before what its worker may have sent, nor before what time was advanced to.
                let advanced = self.advanced.max(self.before.reached);
                let floor = report.watermark.unwrap_or_default().max(advanced);
                let (partition, generation) = (report.partition, report.generation);
                let from = report.next;
                let decisions = vec![
                    Decision::Floor { partition, from, floor },
                    Decision::Returned { partition, from },
                ];
                self.record(decisions, Control::Return { partition, generation, from, floor });
            }
        }
        let all_silent = board.all_lifted();
        if all_silent && !self.all_silent {
            self.counters.count_decisions(DecisionKind::AllSilent, 1);
        }
        self.all_silent = all_silent;
        if !waits && self.undone.is_empty() && all_silent {
            self.advance(board);
        }
        self.move_the_bound(board);
        self.renew(board);
        for _ in 0..self.journal.take_durable() {
            if let Some((message, bound)) = self.undone.pop_front() {
                self.is_beginning = false;
                orders.messages.extend(message);
                self.bound = bound.max(self.bound);
            }
        }
        let hold = if self.is_beginning { self.before.resumed_at } else { self.bound };
        (orders.hold, orders.reached) = (Some(hold), self.bound);
        let moves = self.moves();
        if let Some(cuts) = &mut self.cuts {
            cuts.go_on(capability, moves, self.journal.mark(), self.processes, &mut orders);
            if let Some(cut) = cuts.take_committed() {
                self.recreated.committed(cut);
            }
            let hold = cuts.hold(self.peers);
            orders.hold = orders.hold.map(|bound| hold.map_or(bound, |at| at.min(bound)));
        }
        orders
    }

    /// Whether time goes on with what is read, as far as this process can tell.
    fn moves(&mut self) -> bool {
        let records = self.counters.records.load(Ordering::Relaxed);
        if records != self.read.0 {
            self.read = (records, Stopwatch::start());
        }
        !self.all_silent && self.read.1.elapsed() < READ_WITHIN
    }

    /// The run is to stop and may wait for `within`: one more cut is announced, if `takes_cut` and time can come to
    /// it until then.
    pub(super) fn stop(&mut self, within: Duration, takes_cut: bool) {
        let newest = self.config.clock.now() + within;
        if let Some(cuts) = &mut self.cuts {
            cuts.end(newest.saturating_sub(self.config.out_of_orderness), takes_cut);
        }
    }

    /// Whether nothing has been decided about this spell of the partition yet; from now on something is.
    fn is_new(&mut self, report: &Report) -> bool {
        self.answered.insert(report.partition, report.generation) != Some(report.generation)
    }

    /// Lets time go on for another while, before it comes to where it must stop.
    ///
    /// A run that dies may have told of everything up to the bound. A partition that was lifted then and
    /// returns in the next run is admitted no earlier, so that nothing told is contradicted. The farther behind
    /// the present, the larger the steps, so that a catch-up does not wait for the journal at every tick.
    fn move_the_bound(&mut self, board: &Board) {
        let least = board.least();
        if least == EventTime::MIN {
            return;
        }
        let behind = self.config.clock.now().since(least) / 64;
        let step = (self.config.tick.duration() * 2).max(behind.min(STEP_MAX));
        if self.bound_asked < least + step / 2 {
            self.bound_asked = self.config.tick.floor(least + step);
            self.append(vec![Decision::Reached { to: self.bound_asked }]);
            self.undone.push_back((None, self.bound_asked));
        }
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
            self.counters.count_decisions(DecisionKind::Advanced, 1);
            let floors = board.next_offsets().map(|(partition, from)| Decision::Floor {
                partition,
                from,
                floor: to,
            });
            self.record(floors.collect(), Control::Advance { to });
        }
    }

    /// Ends the run for topics that were made anew, once what was read of them is kept.
    fn renew(&mut self, board: &Board) {
        let partitions = board.next_offsets().map(|(partition, _)| partition);
        let Some(topics) = self.recreated.due(partitions) else { return };
        let next = |topic| (topic, self.before.generations.of(topic).number.saturating_add(1));
        let topics: Vec<_> = topics.into_iter().map(next).collect();
        let decisions = topics.iter();
        let decisions = decisions.map(|(topic, generation)| Decision::Recreated {
            topic: *topic,
            generation: *generation,
        });
        self.record(decisions.collect(), Control::Renew { topics });
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
            Control::FoundOut { decisions } => {
                self.append(decisions.clone());
                self.undone.push_back((None, EventTime::MIN));
            }
            Control::Discovered { partition } => {
                self.counters.count_decisions(DecisionKind::Discovered, 1);
                let (partition, out_of_orderness) = (*partition, self.config.out_of_orderness);
                self.append(vec![Decision::Bound { partition, from: 0, out_of_orderness }]);
                self.undone.push_back((None, EventTime::MIN));
            }
            Control::Recreated { topic } => {
                let is_news = self.recreated.find(*topic);
                tracing::debug!(topic, is_news, "a topic was recreated: ending the run for it");
            }
            Control::Ended { partition, end } => self.recreated.ended(*partition, *end),
            Control::Heard { sequence } => {
                if let Some(cuts) = &mut self.cuts {
                    cuts.heard(*sequence);
                }
            }
            Control::Part { sequence, process, part } => {
                if let Some(cuts) = &mut self.cuts {
                    cuts.part(*sequence, *process, part);
                }
            }
            _ => {}
        }
    }

    /// Why nothing can be decided any more.
    pub(super) fn failure(&self) -> Option<std::sync::Arc<CheckpointError>> {
        self.journal.failure()
    }

    /// Whether a checkpoint is on its way that a stop waits for: this worker's capability has come to its cut, or is
    /// going to in time.
    pub(super) fn is_cutting(&mut self, capability: EventTime) -> bool {
        let moves = self.moves();
        let arrives = |cuts: &Cuts| cuts.is_awaited(capability, moves);
        self.journal.failure().is_none() && self.cuts.as_ref().is_some_and(arrives)
    }
}

/// The director's own queue of what it has heard, filled by the control plane.
pub(super) type Heard = Rc<std::cell::RefCell<Vec<Control>>>;
