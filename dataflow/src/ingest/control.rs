//! The control plane: a small dataflow on which every worker hears every report, and worker 0 directs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Operator, Probe};
use timely::dataflow::{InputHandleVec, ProbeHandle};
use timely::scheduling::Activator;
use timely::worker::Worker;

use super::IngestConfig;
use super::board::Board;
use super::counters::IngestCounters;
use super::cuts::CheckpointPace;
use super::director::{Director, Heard, Known, Orders};
use super::journal::{Decision, Facts, Journal};
pub use super::message::Control;
use crate::checkpoint::{CheckpointError, Cut, Keeper, Recovery};
use crate::operator::StopFlag;
use crate::record::PartitionId;
use crate::time::{EventTime, Pace};

/// What a source operator shares with the control plane of its worker.
#[derive(Clone)]
pub struct Shared {
    /// What is known of all partitions.
    pub(super) board: Rc<RefCell<Board>>,
    /// Messages to send with the next pump.
    pub(super) outgoing: Rc<RefCell<Vec<Control>>>,
    /// Decisions that the source has not seen yet.
    pub(super) incoming: Rc<RefCell<Vec<Control>>>,
    /// To wake the source when the board changes.
    pub(super) wake: Rc<RefCell<Option<Activator>>>,
    /// Decisions about the worker's own partitions.
    pub(super) facts: Rc<RefCell<Facts>>,
    /// The source's capability must not pass this.
    pub(super) hold: Rc<Cell<Option<EventTime>>>,
    /// Where the source's capability stands.
    pub(super) capability: Rc<Cell<EventTime>>,
    /// The last batch of decisions told before the announced cut.
    pub(super) journal_mark: Rc<Cell<u64>>,
    /// Checkpoints of the worker.
    pub(super) recovery: Recovery,
    /// Topics that were made anew.
    recreated: Rc<RefCell<BTreeSet<u32>>>,
    /// Whether the run is to end, so that they are read.
    renewing: Rc<Cell<bool>>,
    /// Checkpoints that became complete, for the worker's driver.
    committed: Rc<Cell<Option<Cut>>>,
    heard: Heard,
}

/// What the director on worker 0 decides with; other workers ignore it.
pub struct Direction {
    /// Where decisions become durable.
    pub journal: Box<dyn Journal>,
    /// How many processes there are.
    pub processes: usize,
    /// Checkpoints and their pace, if any are to be taken.
    pub checkpoints: Option<(Arc<Keeper>, CheckpointPace)>,
    /// Counts decisions.
    pub counters: Arc<IngestCounters>,
    /// What the run begins with, to be journaled before anything else; the facts have it already.
    pub first: Vec<Decision>,
}

/// One worker's end of the control plane. [`ControlPlane::pump`] is called after every step of the worker.
pub struct ControlPlane {
    input: Option<InputHandleVec<u64, Control>>,
    probe: ProbeHandle<u64>,
    shared: Shared,
    stop: StopFlag,
    director: Option<Director>,
    pace: Pace,
    /// Runs from when a stop is wanted.
    stopping: Option<Pace>,
    /// Whether nothing is to be waited for.
    is_ending: bool,
}

/// How often a source is woken that nothing else wakes: it looks at its timers, and whether a full sink has
/// room again.
const WAKE_EVERY: Duration = Duration::from_millis(20);
/// How long a stop waits for a checkpoint: the one in progress, or one more. With panes of ten seconds, in operation,
/// time comes to the next cut in that time.
const STOP_WAITS: Duration = Duration::from_secs(10);

impl ControlPlane {
    /// Builds the control dataflow on `worker` for `partitions`, all those of the pipeline, with the decisions
    /// known from earlier runs.
    pub fn new(
        worker: &mut Worker,
        partitions: &[PartitionId],
        config: &IngestConfig,
        stop: StopFlag,
        recovery: Recovery,
        facts: Facts,
        direction: Direction,
    ) -> Self {
        let known = Known {
            reached: facts.reached(),
            resumed_at: recovery.resumed_at(),
            generations: facts.generations().clone(),
        };
        let shared = Shared {
            board: Rc::new(RefCell::new(Board::new(partitions.iter().copied()))),
            outgoing: Rc::default(),
            incoming: Rc::default(),
            wake: Rc::default(),
            facts: Rc::new(RefCell::new(facts)),
            hold: Rc::default(),
            capability: Rc::default(),
            journal_mark: Rc::default(),
            recovery,
            recreated: Rc::default(),
            renewing: Rc::default(),
            committed: Rc::default(),
            heard: Rc::default(),
        };
        let mut input = InputHandleVec::<u64, Control>::new();
        let probe = ProbeHandle::new();
        let (hears, stops) = (shared.clone(), stop.clone());
        let directs = worker.index() == 0;
        worker.dataflow_named::<u64, _, _>("control", |scope| {
            let heard = input.to_stream(scope).broadcast();
            let done = heard
                .unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
                    Pipeline,
                    "control/board",
                    move |_, _| {
                        move |input, _output| {
                            input.for_each(|_, messages| {
                                let heard = messages.drain(..);
                                heard.for_each(|message| hears.hear(message, &stops, directs));
                            });
                        }
                    },
                );
            done.probe_with(&probe);
        });
        let director =
            directs.then(|| Director::new(config.clone(), direction, worker.peers(), known));
        ControlPlane {
            input: Some(input),
            probe,
            shared,
            stop,
            director,
            pace: Pace::new(WAKE_EVERY),
            stopping: None,
            is_ending: false,
        }
    }

    /// What the source operator of this worker needs.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Sends what waits, and on worker 0 decides.
    pub fn pump(&mut self) {
        if self.pace.is_due() {
            self.wake_source();
        }
        self.direct();
        let Some(input) = &mut self.input else { return };
        let mut outgoing = self.shared.outgoing.borrow_mut();
        if !outgoing.is_empty() {
            outgoing.drain(..).for_each(|message| input.send(message));
            let next = input.time() + 1;
            input.advance_to(next);
            input.flush();
        }
        drop(outgoing);
        if self.stop.is_stopped() {
            self.input = None;
        }
    }

    fn direct(&mut self) {
        let Some(director) = &mut self.director else { return };
        for message in self.shared.heard.borrow_mut().drain(..) {
            self.is_ending |= message == Control::EndWanted;
            if message == Control::StopWanted && self.stopping.is_none() {
                let mut patience = Pace::new(STOP_WAITS);
                patience.is_due();
                self.stopping = Some(patience);
                // A run that ends for a topic that was made anew has just waited for its checkpoint.
                director.stop(STOP_WAITS, !self.shared.renewing.get());
            }
            director.hear(&message);
        }
        let capability = self.shared.capability.get();
        let Orders { mut messages, hold, reached } =
            director.decide(&self.shared.board.borrow(), capability);
        // The director hears itself at once, so that it does not decide the same thing twice.
        for message in &messages {
            self.shared.board.borrow_mut().hear(message);
        }
        if self.shared.hold.replace(hold) != hold {
            self.shared.facts.borrow_mut().learn(Decision::Reached { to: reached });
            if let Some(activator) = self.shared.wake.borrow().as_ref() {
                activator.activate();
            }
        }
        let is_over = |patience: &mut Pace| !director.is_cutting(capability) || patience.is_due();
        if self.is_ending || self.stopping.as_mut().is_some_and(is_over) {
            messages.push(Control::Stop);
            self.director = None;
        }
        self.shared.outgoing.borrow_mut().extend(messages);
    }

    /// Schedules the source operator: time moved on, so it may be allowed to read.
    pub fn wake_source(&self) {
        if let Some(activator) = self.shared.wake.borrow().as_ref() {
            activator.activate();
        }
    }

    /// Sends a message to every worker with the next pump.
    pub fn send(&self, message: Control) {
        self.shared.outgoing.borrow_mut().push(message);
    }

    /// Asks the director to stop every worker, after one more checkpoint if that can be had within seconds.
    pub fn request_stop(&self) {
        self.send(Control::StopWanted);
    }

    /// Asks the director to stop every worker at once, since this one cannot go on.
    pub fn request_end(&self) {
        self.send(Control::EndWanted);
    }

    /// On worker 0, why nothing can be decided any more: the run is to end.
    pub fn failure(&self) -> Option<Arc<CheckpointError>> {
        self.director.as_ref()?.failure()
    }

    /// Topics that were made anew, once the run is to end so that the next one reads them.
    pub fn renewing(&self) -> Option<Vec<u32>> {
        let topics = || self.shared.recreated.borrow().iter().copied().collect();
        self.shared.renewing.get().then(topics)
    }

    /// A checkpoint that has become complete, once.
    pub fn take_committed(&self) -> Option<Cut> {
        self.shared.committed.take()
    }

    /// Whether every worker has heard that it is to stop: only then may a dataflow be dropped, else the
    /// others would take the loss of its capability for progress.
    pub fn all_stopped(&self) -> bool {
        self.input.is_none() && self.probe.done()
    }
}

impl Board {
    fn hear(&mut self, message: &Control) {
        match message {
            Control::Report(report) => self.report(*report),
            Control::Lift { partition, generation, .. } => self.lift(*partition, *generation),
            Control::Advance { to } => self.advance(*to),
            Control::Discovered { partition } => self.discovered(*partition),
            _ => {}
        }
    }
}

impl Shared {
    /// Whether nothing more of `topic` is to be read in this run.
    pub(super) fn is_recreated(&self, topic: u32) -> bool {
        let topics = self.recreated.borrow();
        !topics.is_empty() && topics.contains(&topic)
    }

    fn hear(&self, message: Control, stop: &StopFlag, directs: bool) {
        let is_news = match &message {
            Control::Discovered { partition } => !self.board.borrow().knows(*partition),
            _ => true,
        };
        self.board.borrow_mut().hear(&message);
        match message {
            Control::Stop => stop.stop(),
            Control::Lift { .. }
            | Control::Advance { .. }
            | Control::Return { .. }
            | Control::Refused { .. } => self.incoming.borrow_mut().push(message),
            Control::Discovered { .. } if is_news => {
                if directs {
                    self.heard.borrow_mut().push(message.clone());
                }
                self.incoming.borrow_mut().push(message);
            }
            Control::Cut { cut, journal } => {
                self.journal_mark.set(journal);
                self.recovery.announce(cut);
                self.outgoing.borrow_mut().push(Control::Heard { sequence: cut.sequence });
            }
            Control::Committed { cut } => self.committed.set(Some(cut)),
            Control::Recreated { topic } => {
                self.recreated.borrow_mut().insert(topic);
                if directs {
                    self.heard.borrow_mut().push(message);
                }
            }
            Control::Renew { topics } => {
                let mut facts = self.facts.borrow_mut();
                for (topic, generation) in topics {
                    facts.learn(Decision::Recreated { topic, generation });
                }
                self.renewing.set(true);
            }
            Control::Refuse { .. }
            | Control::FoundOut { .. }
            | Control::Heard { .. }
            | Control::Part { .. }
            | Control::Ended { .. }
            | Control::StopWanted
            | Control::EndWanted
                if directs =>
            {
                self.heard.borrow_mut().push(message);
            }
            _ => {}
        }
        if let Some(activator) = self.wake.borrow().as_ref() {
            activator.activate();
        }
    }
}
