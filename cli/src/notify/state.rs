//! The part of the notifier that is in a checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{IncidentId, Transition};
use tidewatch_dataflow::time::EventTime;

/// What a notifier must remember.
///
/// About 11 bytes for each incident that was told as open and has not ended, and one transition, of about
/// 150, for each opening that is held back or that may be abandoned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifierState {
    /// Openings held back.
    pub(super) held: Vec<Transition>,
    /// Openings told by runs that were gone on from before them, and not decided again yet, with the time from
    /// which on they may be.
    pub(super) orphaned: Vec<(EventTime, Transition)>,
    /// Incidents told as open, each with an index into `lists`.
    told: Vec<(IncidentId, u32)>,
    /// Lists of receivers, each once.
    lists: Vec<Vec<String>>,
    /// How many incidents were summarised.
    pub(super) summarised: u64,
}

impl NotifierState {
    pub(super) fn new<'a>(
        held: Vec<Transition>,
        orphaned: Vec<(EventTime, Transition)>,
        told: impl IntoIterator<Item = (&'a IncidentId, &'a Arc<[String]>)>,
        summarised: u64,
    ) -> Self {
        let mut indexes: BTreeMap<Arc<[String]>, u32> = BTreeMap::new();
        let mut lists = Vec::new();
        let told = told.into_iter().map(|(incident, receivers)| {
            let index = indexes.entry(Arc::clone(receivers)).or_insert_with(|| {
                lists.push(receivers.to_vec());
                // Far fewer lists than rules, of which there are at most as many as lines in a file.
                u32::try_from(lists.len() - 1).unwrap_or(u32::MAX)
            });
            (*incident, *index)
        });
        NotifierState { told: told.collect(), held, orphaned, lists, summarised }
    }

    /// Incidents told as open, with their receivers.
    pub(super) fn told(&self) -> BTreeMap<IncidentId, Arc<[String]>> {
        let lists: Vec<Arc<[String]>> = self.lists.iter().map(|list| list.clone().into()).collect();
        let list = |index: u32| usize::try_from(index).ok().and_then(|index| lists.get(index));
        let told = self.told.iter();
        told.map(|(incident, index)| (*incident, list(*index).cloned().unwrap_or_default()))
            .collect()
    }
}
