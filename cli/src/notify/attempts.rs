//! What is known of openings that earlier runs have told.

use tidewatch_connectors::outbox::Outbox;
use tidewatch_dataflow::alert::{IncidentId, Transition};
use tidewatch_dataflow::time::EventTime;

/// Knows to whom openings may have been told, by this run or by an earlier one.
pub trait Attempts: Send + Sync {
    /// Names of the receivers to whom telling the opening of `incident` was attempted; each once.
    fn receivers(&self, incident: IncidentId) -> Vec<String>;

    /// Openings that earlier runs may have told and that the checkpoint which this one goes on from does not know
    /// of, each with the time from which on it may be decided again.
    fn openings(&self) -> Vec<(EventTime, Transition)> {
        Vec::new()
    }
}

/// Nothing was ever told: without a state store there are no earlier runs.
#[derive(Copy, Clone, Debug, Default)]
pub struct NoAttempts;

impl Attempts for NoAttempts {
    fn receivers(&self, _: IncidentId) -> Vec<String> {
        Vec::new()
    }
}

/// Channels are called `KIND/RECEIVER`.
impl Attempts for Outbox {
    fn receivers(&self, incident: IncidentId) -> Vec<String> {
        let channels = self.attempted(incident);
        let names = channels.iter().filter_map(|channel| channel.split_once('/'));
        let mut names: Vec<String> = names.map(|(_, receiver)| receiver.to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn openings(&self) -> Vec<(EventTime, Transition)> {
        Outbox::openings(self)
    }
}
