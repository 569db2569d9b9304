//! What this thread evaluates just now: for whoever looks at it when the thread panics.
//!
//! ```text
//!  feed machine   enter(pane) ─► operator(windows) ─► operator(rule hot) ──► leave
//!  detector, tree                   at(g) at(g) …        at(g) at(g) ✕ panic
//!                                                                    └─► panic hook: under_way()
//! ```
//! # Cost
//! One plain store of four bytes into a variable of the thread for each group, without a branch: in a loop of little
//! else, of 2.3 ns a group, it is not to be measured. Names are put together when they are asked for.
//!
//! # Limits
//! It says which group was being evaluated, not that the group is to blame: that is for whoever sees it happen
//! several times. It knows of panics only, since nothing else leaves the thread able to look: a process that is
//! killed, or runs out of memory, was under way with something and crashed for another reason.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tidewatch_dataflow::ingest::Quarantined;
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

use crate::feed::OperatorId;

/// No group: as many groups as to have this number never are.
const NONE: u32 = u32::MAX;

thread_local! {
    static GROUP: Cell<u32> = const { Cell::new(NONE) };
    static OPERATOR: Cell<usize> = const { Cell::new(0) };
    static PANE: RefCell<Option<Evaluated>> = const { RefCell::new(None) };
}

/// A pane that a feed machine applies.
struct Evaluated {
    operators: Arc<[OperatorId]>,
    groups: Arc<Vec<Labels>>,
    start: EventTime,
}

/// A group under evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// The operator and the group.
    pub what: Quarantined,
    /// Start of the admission pane that is applied.
    pub pane: EventTime,
}

/// What the calling thread evaluates; `None` outside of feed machines, and between two groups.
///
/// ```
/// assert_eq!(tidewatch_operators::evaluation::under_way(), None);
/// ```
pub fn under_way() -> Option<UnderWay> {
    let group = GROUP.try_with(Cell::get).ok().filter(|group| *group != NONE)?;
    let operator = OPERATOR.try_with(Cell::get).ok()?;
    let of = |pane: &RefCell<Option<Evaluated>>| {
        let pane = pane.try_borrow().ok()?;
        let Evaluated { operators, groups, start } = pane.as_ref()?;
        let OperatorId { name, content } = operators.get(operator)?.clone();
        let group = groups.get(group as usize)?.clone();
        Some(UnderWay { what: Quarantined { operator: name, content, group }, pane: *start })
    };
    PANE.try_with(of).ok()?
}

/// The group is evaluated next.
#[inline]
pub(crate) fn at(group: GroupId) {
    GROUP.set(group.0);
}

/// No group is evaluated until the next one.
#[inline]
pub(crate) fn between() {
    GROUP.set(NONE);
}

/// A pane is applied for as long as this lives.
pub(crate) struct Evaluation(());

impl Evaluation {
    /// The operators, by index, go over `groups`.
    pub(crate) fn enter(
        operators: &Arc<[OperatorId]>,
        groups: &Arc<Vec<Labels>>,
        start: EventTime,
    ) -> Self {
        let (operators, groups) = (Arc::clone(operators), Arc::clone(groups));
        between();
        PANE.set(Some(Evaluated { operators, groups, start }));
        Evaluation(())
    }

    /// It is the turn of the operator with this index.
    pub(crate) fn operator(&self, index: usize) {
        between();
        OPERATOR.set(index);
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        between();
        PANE.set(None);
    }
}
