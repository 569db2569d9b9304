//! What every detector says: one step of one episode of one group.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{Reading, TransitionKind};
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::time::{EventTime, Pane};

use crate::group::Grouped;

/// One step of one episode: it opened, or it ended. In a machine the group is a [`GroupId`], in the
/// streams of library users it is their key.
///
/// An episode is known by its group and [`Episode::started_at`], which differs from that of every other
/// episode of the group. The steps of a group come in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Episode<G = GroupId> {
    /// Which group.
    pub group: G,
    /// 0 for the opening, 1 for the end.
    pub sequence: u32,
    /// What happened.
    pub kind: TransitionKind,
    /// When the episode began; the detector says what that means.
    pub started_at: EventTime,
    /// When this step is true, in event time.
    pub at: EventTime,
    /// The end of the admission pane that decided it.
    pub decided_at: EventTime,
    /// The number that decided it.
    pub value: Reading,
}

impl Grouped for Episode {
    type Named<G> = Episode<G>;

    fn group(&self) -> GroupId {
        self.group
    }

    fn named<G>(self, group: G) -> Episode<G> {
        let Episode { group: _, sequence, kind, started_at, at, decided_at, value } = self;
        Episode { group, sequence, kind, started_at, at, decided_at, value }
    }
}

/// Whether something measured in `event_pane` and applied in `admission_pane` is late for a detector.
/// Detectors do not take back what they said, so they leave late entries out; the sender asks first, and
/// counts. Late inside one pane is not late.
pub fn is_late(event_pane: Pane, admission_pane: Pane) -> bool {
    event_pane < admission_pane
}
