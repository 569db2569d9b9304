//! What is written down about notifications, and the objects it is written into: `outbox/RUN-SEQUENCE`, in the
//! [frame](tidewatch_dataflow::checkpoint::frame) of all objects of the checkpoint layer.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{IncidentId, Transition, TransitionKind};
use tidewatch_dataflow::checkpoint::StoreError;
use tidewatch_dataflow::checkpoint::frame::{FrameError, Kind, frame, unframe};
use tidewatch_dataflow::time::EventTime;

/// The folder of the objects.
pub(super) const FOLDER: &str = "outbox/";

/// Why the outbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is damaged.
    #[error(
        "could not read `{name}` of the outbox: {reason}; restore it from a copy, or delete it to go on without \
         it: notifications it speaks of may then be told twice"
    )]
    Damaged {
        /// Name of the object.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another version of tidewatch wrote an object.
    #[error(
        "could not read `{name}` of the outbox: it has schema {found} and this version reads {reads}; start the \
         version that wrote it, or begin with a new `store`",
        reads = Kind::Outbox.schema()
    )]
    Schema {
        /// Name of the object.
        name: String,
        /// Its schema.
        found: u16,
    },
    /// The thread that writes could not be started.
    #[error(
        "could not start the thread of the outbox: {0}; raise the limit of threads of this process"
    )]
    Thread(std::io::Error),
}

/// Which object of the outbox: they are ordered by run, then by number.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The run that wrote it.
    pub run: u64,
    /// Its number in the run, from 1.
    pub sequence: u64,
}

impl Position {
    /// The position in the name of an object; `None` for a foreign object.
    pub(super) fn parse(name: &str) -> Option<Position> {
        let (run, sequence) = name.strip_prefix(FOLDER)?.split_once('-')?;
        let position = Position { run: run.parse().ok()?, sequence: sequence.parse().ok()? };
        (position.to_string() == name).then_some(position)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FOLDER}{:08}-{:010}", self.run, self.sequence)
    }
}

/// What is known of a notification on a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// From now on it may have been told: durable before the first attempt of each run.
    Intent {
        /// How many runs have begun to tell it, this one included: above 1 it may be told twice.
        attempt: u32,
    },
    /// It was told: durable after the channel has taken it.
    Receipt,
    /// The channel will never take it.
    GaveUp,
    /// It was not told, since a later step of its incident had been attempted.
    Superseded,
}

/// One fact about one notification on one channel.
///
/// Incident and sequence make up the transition's id, from which channels derive their own identities:
/// `dedup_key`, `Message-ID`. So a repeated attempt carries the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The channel: `slack/oncall`.
    pub channel: Arc<str>,
    /// The incident.
    pub incident: IncidentId,
    /// Which of its transitions.
    pub sequence: u32,
    /// When that was decided, in event time.
    pub decided_at: EventTime,
    /// Whether it ends the incident.
    pub ends: bool,
    /// What is known.
    pub what: What,
    /// With the intent of an opening that the run itself has decided, the opening: should the run die before a checkpoint knows of it,
    /// and the rule be changed or gone by the next, this is all that is left to end the incident with.
    pub opening: Option<Arc<Transition>>,
}

impl Event {
    /// What is known of `transition` on `channel`.
    pub fn new(channel: &Arc<str>, transition: &Transition, what: What) -> Self {
        let is_kept = transition.is_opening() && matches!(what, What::Intent { .. });
        Event {
            channel: Arc::clone(channel),
            incident: transition.incident,
            sequence: transition.sequence,
            decided_at: transition.decided_at,
            ends: matches!(transition.kind, TransitionKind::Ended(_)),
            what,
            opening: is_kept.then(|| Arc::new(transition.clone())),
        }
    }

    /// Whether it speaks of `transition`.
    pub(super) fn is_about(&self, transition: &Transition) -> bool {
        (self.incident, self.sequence) == (transition.incident, transition.sequence)
    }
}

/// The content of an object.
pub(super) fn seal(events: &[Event]) -> Vec<u8> {
    frame(Kind::Outbox, &events)
}

/// The events in object `name`.
pub(super) fn open(name: &str, bytes: &[u8]) -> Result<Vec<Event>, OutboxError> {
    unframe(Kind::Outbox, bytes).map_err(|error| {
        let name = name.to_owned();
        match error {
            FrameError::Schema { found, .. } => OutboxError::Schema { name, found },
            other => OutboxError::Damaged { name, reason: other.to_string() },
        }
    })
}
