//! What restoring a detector at another number of workers needs to know of the state of one group.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

/// The state of one group, as a detector writes it down between two panes.
pub(crate) trait GroupState: Serialize + DeserializeOwned {
    /// Whether this can be the state of a group when everything before pane `cut` is applied, and nothing
    /// else. A detector that goes on from sound state never fails.
    fn is_sound(&self, size: PaneSize, cut: Pane) -> bool;

    /// The start of the episode that is open, if one is.
    fn open_since(&self, size: PaneSize) -> Option<EventTime>;

    /// Has the detector look at the group's silence with pane `cut`: under another configuration it may
    /// have lasted long enough, or not.
    fn look_at(&mut self, cut: Pane);
}
