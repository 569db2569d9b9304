//! What is written down about notifications, and the objects it is written into.
//!
//! ```text
//!  outbox/RUN-SEQUENCE:  "tidewatch" │ 'O' │ schema: 2 bytes │ crc32 of the payload: 4 bytes │ payload: postcard
//! ```
//! The frame is that of all objects of the checkpoint layer.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{IncidentId, Transition, TransitionKind};
use tidewatch_dataflow::checkpoint::{StoreError, encode};
use tidewatch_dataflow::time::EventTime;

/// The schema that this version writes and reads.
const SCHEMA: u16 = 2;
const MAGIC: &[u8; 10] = b"tidewatchO";
const HEADER: usize = MAGIC.len() + 2 + 4;

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
        "could not read `{name}` of the outbox: it has schema {found} and this version reads {SCHEMA}; start the \
         version that wrote it, or begin with a new `store`"
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
    /// With the intent of an opening, the opening itself: should the run die before a checkpoint knows of it,
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
    let payload = encode(events);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&SCHEMA.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// The events in object `name`.
pub(super) fn open(name: &str, bytes: &[u8]) -> Result<Vec<Event>, OutboxError> {
    let damaged = |reason: String| OutboxError::Damaged { name: name.to_owned(), reason };
    let foreign = || damaged("it is not an object of an outbox".to_owned());
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or_else(foreign)?;
    let (magic, rest) = header.split_at(MAGIC.len());
    let [s0, s1, c0, c1, c2, c3] = rest else { return Err(foreign()) };
    if magic != MAGIC {
        return Err(foreign());
    }
    let found = u16::from_le_bytes([*s0, *s1]);
    if found != SCHEMA {
        return Err(OutboxError::Schema { name: name.to_owned(), found });
    }
    if crc32fast::hash(payload) != u32::from_le_bytes([*c0, *c1, *c2, *c3]) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    match postcard::take_from_bytes(payload) {
        Ok((events, [])) => Ok(events),
        Ok((_, rest)) => Err(damaged(format!("it has {} bytes too many", rest.len()))),
        Err(error) => Err(damaged(error.to_string())),
    }
}
