//! State machines over panes, and the one shell that makes a timely operator of them.
//!
//! Everything whose admission pane is `P` is applied when the frontier passes the end of `P`, one
//! admission pane after another, even when the frontier jumps many. Inside a pane the entries are
//! sorted, so neither arrival order nor worker count can show in the result.
//!
//! ```text
//!   messages ──► inbox (by admission pane) ──frontier passes P──► machine.apply(P) ──► output at end of P
//! ```
//!
//! The shell holds one capability, at the start of the first pane that is not applied yet: never more
//! than one pane behind its input.

mod agree;
mod inbox;
mod ordered;
mod shell;

pub use agree::agree;
pub use inbox::{Entry, GroupId, Inbox};
pub use ordered::in_order;
pub use shell::{StopFlag, apply_panes, apply_panes_checkpointed};

use crate::time::{Pane, PaneSize};

/// A state machine that is driven pane by pane. It knows nothing of timely, reads no clock, does no I/O.
pub trait PaneMachine: 'static {
    /// What comes in: usually a partial aggregate of one group, one event pane and one partition.
    type Partial: 'static;
    /// What goes out; carries its own times.
    type Output: 'static;

    /// The size of the panes it counts in.
    fn pane_size(&self) -> PaneSize;

    /// Applies admission pane `pane`: takes in `entries`, sorted by (group, event pane, order), and puts
    /// whatever this pane completes into `out`. `pane` rises from call to call, by any step.
    fn apply(
        &mut self,
        pane: Pane,
        entries: &mut Vec<Entry<Self::Partial>>,
        out: &mut Vec<Self::Output>,
    );

    /// The next pane that must be applied even if nothing is admitted in it (a window ends, a timer
    /// runs out), or `None`. Always after the pane applied last.
    fn next_due(&self) -> Option<Pane>;
}
