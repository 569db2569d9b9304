//! One worker's side of checkpoints: which cut is announced, and who has still to put its pieces.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Piece, PieceWriter, Restored, Shard};
use crate::time::EventTime;

/// A consistent instant: the state that holds exactly the effect of what is admitted before `at`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// Which cut of the run, from 1.
    pub sequence: u64,
    /// A multiple of every pane of the pipeline.
    pub at: EventTime,
}

/// State to go on from, as read by one process and shared by its workers.
#[derive(Clone, Debug, Default)]
pub struct RestoredState {
    /// The cut it was taken at; the beginning of time for a first start.
    pub at: EventTime,
    /// The state of every operator, by name.
    pub operators: BTreeMap<Box<str>, Restored>,
}

/// What the operators of one worker put at one cut, by operator.
pub type WorkerPieces = Vec<(Box<str>, Vec<Piece>)>;

struct Slot {
    operator: Box<str>,
    versions: BTreeMap<Box<str>, u64>,
    /// What was put at the announced cut.
    put: Option<Vec<Piece>>,
}

struct Inner {
    shard: Shard,
    at: EventTime,
    state: RefCell<Arc<RestoredState>>,
    pending: Cell<Option<Cut>>,
    participants: RefCell<Vec<Slot>>,
}

/// The checkpoints of one worker, shared by its operators.
///
/// ```
/// use tidewatch_dataflow::checkpoint::{Cut, Recovery, Shard};
/// use tidewatch_dataflow::time::EventTime;
/// let recovery = Recovery::new(Shard::ALL, Default::default());
/// let counter = recovery.participant("counter");
/// let at = EventTime::from_millis(10_000);
/// recovery.announce(Cut { sequence: 1, at });
/// assert!(counter.due(at) && !counter.due(EventTime::from_millis(9_999)));
/// counter.put(|pieces| pieces.put("count", &7u64));
/// assert!(!counter.due(at));
/// let (cut, pieces) = recovery.take_complete().unwrap();
/// assert_eq!((cut.at, pieces.len()), (at, 1));
/// ```
#[derive(Clone)]
pub struct Recovery(Rc<Inner>);

impl Recovery {
    /// The checkpoints of the worker that owns `shard`, which goes on from `state`.
    pub fn new(shard: Shard, state: Arc<RestoredState>) -> Self {
        Recovery(Rc::new(Inner {
            shard,
            at: state.at,
            state: RefCell::new(state),
            pending: Cell::new(None),
            participants: RefCell::default(),
        }))
    }

    /// No checkpoints and no state: for dataflows that need not survive.
    pub fn none() -> Self {
        Recovery::new(Shard::ALL, Arc::default())
    }

    /// What the worker owns.
    pub fn shard(&self) -> Shard {
        self.0.shard
    }

    /// Everything admitted before this is in the restored state; the beginning of time on a first start.
    pub fn resumed_at(&self) -> EventTime {
        self.0.at
    }

    /// The restored state, while it is held.
    pub fn state(&self) -> Arc<RestoredState> {
        Arc::clone(&self.0.state.borrow())
    }

    /// Lets go of the restored state, once every operator has taken its own.
    pub fn let_go(&self) {
        self.0.state.take();
    }

    /// Adds an operator whose state is part of every cut from now on. Names are unique on a worker, and the
    /// same on all.
    pub fn participant(&self, operator: &str) -> Participant {
        let mut participants = self.0.participants.borrow_mut();
        participants.push(Slot { operator: operator.into(), versions: BTreeMap::new(), put: None });
        Participant { recovery: Rc::clone(&self.0), index: participants.len() - 1 }
    }

    /// Announces the next cut. No frontier on this worker may have passed it yet.
    pub fn announce(&self, cut: Cut) {
        self.0.pending.set(Some(cut));
    }

    /// The announced cut that is not complete yet.
    pub fn pending(&self) -> Option<Cut> {
        self.0.pending.get()
    }

    /// Once every participant has put its pieces: the cut and all pieces, once.
    pub fn take_complete(&self) -> Option<(Cut, WorkerPieces)> {
        let cut = self.0.pending.get()?;
        let mut participants = self.0.participants.borrow_mut();
        if participants.iter().any(|slot| slot.put.is_none()) {
            return None;
        }
        self.0.pending.set(None);
        let pieces = participants
            .iter_mut()
            .filter_map(|slot| Some((slot.operator.clone(), slot.put.take()?)))
            .collect();
        Some((cut, pieces))
    }
}

/// One operator's part in the checkpoints of its worker.
#[derive(Clone)]
pub struct Participant {
    recovery: Rc<Inner>,
    index: usize,
}

impl Participant {
    /// The announced cut, if this operator has not put its pieces yet.
    pub fn pending(&self) -> Option<EventTime> {
        let cut = self.recovery.pending.get()?;
        let participants = self.recovery.participants.borrow();
        participants.get(self.index).is_some_and(|slot| slot.put.is_none()).then_some(cut.at)
    }

    /// Whether a cut is announced that does not lie after `time` and this operator has not put its pieces
    /// yet: everything before the cut is applied once the frontier stands at `time`.
    pub fn due(&self, time: EventTime) -> bool {
        self.pending().is_some_and(|at| at <= time)
    }

    /// Puts the operator's pieces for the announced cut.
    pub fn put(&self, write: impl FnOnce(&mut PieceWriter<'_>)) {
        let mut participants = self.recovery.participants.borrow_mut();
        let Some(slot) = participants.get_mut(self.index) else { return };
        let mut versions = std::mem::take(&mut slot.versions);
        let mut writer = PieceWriter::new(&mut versions);
        // The closure may ask for anything of this worker's checkpoints but must not put again.
        write(&mut writer);
        slot.put = Some(writer.finish());
        slot.versions = versions;
    }

    /// The operator's state as stored; empty on a first start.
    pub fn restored(&self) -> Restored {
        let participants = self.recovery.participants.borrow();
        let name = participants.get(self.index).map(|slot| slot.operator.clone());
        let state = self.recovery.state.borrow();
        name.and_then(|name| state.operators.get(&name).cloned()).unwrap_or_default()
    }

    /// What the worker owns.
    pub fn shard(&self) -> Shard {
        self.recovery.shard
    }

    /// Everything admitted before this is in the restored state.
    pub fn resumed_at(&self) -> EventTime {
        self.recovery.at
    }
}
