//! The control plane: a small dataflow on which every worker hears every report, and worker 0 directs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Operator, Probe};
use timely::dataflow::{InputHandleVec, ProbeHandle};
use timely::scheduling::Activator;
use timely::worker::Worker;

use super::IngestConfig;
use super::board::{Board, Report};
use crate::operator::StopFlag;
use crate::record::PartitionId;
use crate::time::{EventTime, Pace};

/// What workers tell each other.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// News of a partition, from its reader.
    Report(Report),
    /// The director excuses a silent partition from the minimum.
    Lift {
        /// The partition.
        partition: PartitionId,
        /// The spell of silence this decision is about.
        generation: u32,
    },
    /// The director advances time with the clock, since every partition is lifted.
    Advance {
        /// Nothing will be admitted before this.
        to: EventTime,
    },
    /// One member was told to stop: all stop.
    Stop,
}

/// What a source operator shares with the control plane of its worker.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is known of all partitions.
    pub(super) board: Rc<RefCell<Board>>,
    /// Messages to send with the next pump.
    pub(super) outgoing: Rc<RefCell<Vec<Control>>>,
    /// Lifts and advances that the source has not seen yet.
    pub(super) incoming: Rc<RefCell<Vec<Control>>>,
    /// To wake the source when the board changes.
    pub(super) wake: Rc<RefCell<Option<Activator>>>,
}

/// One worker's end of the control plane. [`ControlPlane::pump`] is called after every step of the worker.
pub struct ControlPlane {
    input: Option<InputHandleVec<u64, Control>>,
    probe: ProbeHandle<u64>,
    shared: Shared,
    stop: StopFlag,
    director: Option<Director>,
    pace: Pace,
}

/// How often a source is woken that nothing else wakes: it looks at its timers, and whether a full sink has
/// room again.
const WAKE_EVERY: Duration = Duration::from_millis(20);
/// How often the director advances time while nothing arrives.
const ADVANCE_EVERY: Duration = Duration::from_millis(500);

/// Decides lifts and advances, on worker 0 only.
struct Director {
    config: IngestConfig,
    last_advance: EventTime,
}

impl Director {
    fn decide(&mut self, board: &Board) -> Vec<Control> {
        let lifts = board.to_lift().into_iter();
        let mut decisions: Vec<_> =
            lifts.map(|(partition, generation)| Control::Lift { partition, generation }).collect();
        let now = self.config.clock.now();
        if decisions.is_empty()
            && board.all_lifted()
            && now.since(self.last_advance) >= ADVANCE_EVERY
        {
            self.last_advance = now;
            let behind = self.config.out_of_orderness + self.config.idle_timeout;
            let to = self.config.tick.floor(now.saturating_sub(behind));
            if to > board.advanced() {
                decisions.push(Control::Advance { to });
            }
        }
        decisions
    }
}

impl ControlPlane {
    /// Builds the control dataflow on `worker` for `partitions`, all those of the pipeline.
    pub fn new(
        worker: &mut Worker,
        partitions: &[PartitionId],
        config: &IngestConfig,
        stop: StopFlag,
    ) -> Self {
        let shared = Shared {
            board: Rc::new(RefCell::new(Board::new(partitions.iter().copied()))),
            outgoing: Rc::default(),
            incoming: Rc::default(),
            wake: Rc::default(),
        };
        let mut input = InputHandleVec::<u64, Control>::new();
        let probe = ProbeHandle::new();
        let (hears, stops) = (shared.clone(), stop.clone());
        worker.dataflow_named::<u64, _, _>("control", |scope| {
            let heard = input.to_stream(scope).broadcast();
            let done = heard
                .unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
                    Pipeline,
                    "control/board",
                    move |_, _| {
                        move |input, _output| {
                            input.for_each(|_, messages| {
                                messages.drain(..).for_each(|message| hears.hear(message, &stops));
                            });
                        }
                    },
                );
            done.probe_with(&probe);
        });
        let director = (worker.index() == 0)
            .then(|| Director { config: config.clone(), last_advance: EventTime::MIN });
        ControlPlane {
            input: Some(input),
            probe,
            shared,
            stop,
            director,
            pace: Pace::new(WAKE_EVERY),
        }
    }

    /// What the source operator of this worker needs.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Sends what waits, and on worker 0 decides lifts and advances.
    pub fn pump(&mut self) {
        if self.pace.is_due() {
            self.wake_source();
        }
        if let Some(director) = &mut self.director {
            let decisions = director.decide(&self.shared.board.borrow());
            // The director hears itself at once, so that it does not decide the same thing twice.
            for decision in &decisions {
                self.shared.board.borrow_mut().hear(decision);
            }
            self.shared.outgoing.borrow_mut().extend(decisions);
        }
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

    /// Schedules the source operator: time moved on, so it may be allowed to read.
    pub fn wake_source(&self) {
        if let Some(activator) = self.shared.wake.borrow().as_ref() {
            activator.activate();
        }
    }

    /// Tells every worker to stop.
    pub fn request_stop(&self) {
        self.shared.outgoing.borrow_mut().push(Control::Stop);
    }

    /// Whether every worker has heard that it is to stop: only then may a dataflow be dropped, else the
    /// others would take the loss of its capability for progress.
    pub fn all_stopped(&self) -> bool {
        self.input.is_none() && self.probe.done()
    }
}

impl Board {
    fn hear(&mut self, message: &Control) {
        match *message {
            Control::Report(report) => self.report(report),
            Control::Lift { partition, generation } => self.lift(partition, generation),
            Control::Advance { to } => self.advance(to),
            Control::Stop => {}
        }
    }
}

impl Shared {
    fn hear(&self, message: Control, stop: &StopFlag) {
        self.board.borrow_mut().hear(&message);
        match message {
            Control::Stop => stop.stop(),
            Control::Lift { .. } | Control::Advance { .. } => {
                self.incoming.borrow_mut().push(message);
            }
            Control::Report(_) => {}
        }
        if let Some(activator) = self.wake.borrow().as_ref() {
            activator.activate();
        }
    }
}
