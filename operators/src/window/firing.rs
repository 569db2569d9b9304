//! What windows say: one firing per group and window, and one more per correction.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::time::Window;

/// Whether a firing is the first answer for its window or a correction of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// The window ended.
    OnTime,
    /// Samples came after the window had ended: this value replaces the former one.
    Late,
}

/// One result of one window for one group. In a machine the group is a [`GroupId`], in the streams of
/// library users it is their key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Firing<P, G = GroupId> {
    /// Whose samples.
    pub group: G,
    /// Over which time.
    pub window: Window,
    /// First answer or correction.
    pub timing: Timing,
    /// The join of all samples known now.
    pub value: P,
    /// What a correction replaces; `None` on time, and where the window had ended without any sample.
    pub former: Option<P>,
}

impl<P, G> Firing<P, G> {
    /// The same firing under another name of its group.
    pub fn with_group<H>(self, group: H) -> Firing<P, H> {
        let Firing { group: _, window, timing, value, former } = self;
        Firing { group, window, timing, value, former }
    }
}
