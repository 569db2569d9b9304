//! What the outbox knows: for each channel and incident, what became of each of its transitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tidewatch_dataflow::alert::{IncidentId, Transition, TransitionKind};
use tidewatch_dataflow::time::EventTime;

use super::event::{Event, Position, What};

/// At most so many incidents are remembered, counted once for each channel: 100,000 of about 120 bytes in
/// memory and 21 to 31 in a checkpoint are 12 MB and 3 MB. There are that many only when so many are open,
/// or when ends were shed. Forgetting the oldest settled ones beyond it repeats no notification, since they
/// were decided before every kept checkpoint.
pub(super) const INCIDENTS_MAX: usize = 100_000;

/// What became of a notification.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Fate {
    /// It may have been told.
    Intended,
    /// It was told.
    Told,
    /// The channel will never take it.
    GivenUp,
    /// It came too late.
    Superseded,
}

/// What is known of one transition on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    sequence: u32,
    decided_at: EventTime,
    attempts: u32,
    fate: Fate,
    ends: bool,
    /// Whether this run has written an intent.
    #[serde(skip)]
    is_begun: bool,
    /// Whether this run is done with it.
    #[serde(skip)]
    is_passed: bool,
}

/// The steps of one incident on one channel, by sequence: two for nearly all.
type Steps = SmallVec<[Step; 2]>;

/// The part of an outbox that is in a checkpoint: what the objects up to a position say, as far as it is
/// still needed.
///
/// 21 bytes for each open incident and channel, and 10 more until an ended one is forgotten; about 150 for each
/// opening that was decided since the oldest kept checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxState {
    covered: Position,
    /// The run that put it.
    run: u64,
    channels: Vec<(String, Vec<(IncidentId, Steps)>)>,
    /// Each with the last run that may have told it.
    openings: Vec<(u64, Arc<Transition>)>,
}

impl OutboxState {
    /// The last object whose events are in here.
    pub fn covered(&self) -> Position {
        self.covered
    }

    /// How many incidents are remembered, counted once for each channel.
    pub fn incidents(&self) -> usize {
        self.channels.iter().map(|(_, incidents)| incidents.len()).sum()
    }

    /// How many openings are remembered, with all that their ends need.
    pub fn openings(&self) -> usize {
        self.openings.len()
    }
}

#[derive(Debug)]
struct Entry {
    steps: Steps,
    /// The change that touched it last.
    touched: u64,
}

#[derive(Debug, Default)]
struct Channel {
    /// Whether it is in the configuration of this run.
    is_configured: bool,
    /// Of what this run has decided, what was decided before this has been offered to the channel.
    progress: EventTime,
    incidents: BTreeMap<IncidentId, Entry>,
}

/// A complete checkpoint that is kept.
#[derive(Copy, Clone, Debug)]
struct Mark {
    at: EventTime,
    version: u64,
    covered: Position,
}

/// What is to be done about a notification that was offered to a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Write an intent, then tell it; `attempt` runs have begun to, with this one.
    Begin { attempt: u32 },
    /// This run has written an intent: tell it.
    Again,
    /// It was told.
    Told,
    /// The channel has rejected it.
    GivenUp,
    /// A later step was attempted. `is_known`: that is written down already.
    Superseded { is_known: bool },
}

/// Everything that an outbox knows.
#[derive(Debug)]
pub(super) struct Knowledge {
    covered: Position,
    /// Counts changes.
    version: u64,
    channels: BTreeMap<Arc<str>, Channel>,
    /// Openings that may have been told and that some kept checkpoint does not know of, with the last run that
    /// decided and may have told them.
    openings: BTreeMap<IncidentId, (u64, Arc<Transition>)>,
    run: u64,
    /// Where this run began: it decides everything after this.
    resumed_at: EventTime,
    /// The run that took the checkpoint. One that was killed may come to its end after its successor has begun from
    /// an earlier one: then its checkpoint is the newest, and knows nothing of that successor.
    resumed_run: u64,
    keep: usize,
    /// Complete checkpoints of this run, oldest first; at most `keep`.
    marks: VecDeque<Mark>,
    /// What the last snapshot held: version and position.
    held: (u64, Position),
}

impl Knowledge {
    pub(super) fn new(run: u64, restored: OutboxState, resumed_at: EventTime, keep: usize) -> Self {
        let channel = |(name, incidents): (String, Vec<(IncidentId, Steps)>)| {
            let entry = |(incident, steps)| (incident, Entry { steps, touched: 0 });
            let incidents = incidents.into_iter().map(entry).collect();
            (name.into(), Channel { incidents, ..Channel::default() })
        };
        Knowledge {
            covered: restored.covered,
            version: 0,
            channels: restored.channels.into_iter().map(channel).collect(),
            openings: restored.openings.into_iter().map(|o| (o.1.incident, o)).collect(),
            run,
            resumed_at,
            resumed_run: restored.run,
            keep: keep.max(1),
            marks: VecDeque::new(),
            held: (0, restored.covered),
        }
    }

    pub(super) fn covered(&self) -> Position {
        self.covered
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn incidents(&self) -> usize {
        self.channels.values().map(|channel| channel.incidents.len()).sum()
    }

    /// The channel `name` is in the configuration of this run.
    pub(super) fn configure(&mut self, name: &Arc<str>) {
        self.channels.entry(Arc::clone(name)).or_default().is_configured = true;
    }

    /// Takes over the events of the object at `position`; `is_own`: this run has written it.
    pub(super) fn apply(&mut self, position: Position, events: &[Event], is_own: bool) {
        self.covered = self.covered.max(position);
        self.version += 1;
        for event in events {
            if let Some(opening) = &event.opening {
                self.openings.insert(event.incident, (position.run, Arc::clone(opening)));
            }
            let channel = self.channels.entry(Arc::clone(&event.channel)).or_default();
            let entry = channel
                .incidents
                .entry(event.incident)
                .or_insert_with(|| Entry { steps: Steps::new(), touched: 0 });
            entry.touched = self.version;
            let found = entry.steps.binary_search_by_key(&event.sequence, |step| step.sequence);
            let index = found.unwrap_or_else(|index| {
                let step = Step {
                    sequence: event.sequence,
                    decided_at: event.decided_at,
                    attempts: 0,
                    fate: Fate::Intended,
                    ends: event.ends,
                    is_begun: false,
                    is_passed: false,
                };
                entry.steps.insert(index, step);
                index
            });
            let Some(step) = entry.steps.get_mut(index) else { continue };
            step.fate = match event.what {
                What::Intent { attempt } => {
                    step.attempts = step.attempts.max(attempt);
                    step.is_begun |= is_own;
                    continue;
                }
                What::Receipt => Fate::Told,
                What::GaveUp => Fate::GivenUp,
                What::Superseded => Fate::Superseded,
            };
            step.is_passed |= is_own;
        }
    }

    /// `transition` is offered to `channel`: what is to be done about it.
    pub(super) fn judge(&mut self, channel: &Arc<str>, transition: &Transition) -> Verdict {
        let channel = self.channels.entry(Arc::clone(channel)).or_default();
        // What was decided up to there may be an older copy, which says nothing about the order of this run.
        if transition.decided_at > self.resumed_at {
            channel.progress = channel.progress.max(transition.decided_at);
        }
        let Some(entry) = channel.incidents.get_mut(&transition.incident) else {
            return Verdict::Begin { attempt: 1 };
        };
        let is_late = |step: &Step| step.sequence > transition.sequence && step.attempts > 0;
        let is_late = entry.steps.iter().any(is_late);
        let mut steps = entry.steps.iter_mut();
        let step = steps.find(|step| step.sequence == transition.sequence);
        let is_end = matches!(transition.kind, TransitionKind::Ended(_));
        let verdict = match step.as_ref().map(|step| step.fate) {
            Some(Fate::Told) => Verdict::Told,
            Some(Fate::GivenUp) => Verdict::GivenUp,
            Some(Fate::Superseded) => Verdict::Superseded { is_known: true },
            Some(Fate::Intended) | None if is_late && !is_end => {
                return Verdict::Superseded { is_known: false };
            }
            Some(Fate::Intended) | None => {
                return match step {
                    Some(step) if step.is_begun => Verdict::Again,
                    Some(step) => Verdict::Begin { attempt: step.attempts.saturating_add(1) },
                    None => Verdict::Begin { attempt: 1 },
                };
            }
        };
        if let Some(step) = step {
            step.is_passed = true;
        }
        verdict
    }

    /// Whether `transition` was decided after the cut that this run goes on from.
    pub(super) fn decides(&self, transition: &Transition) -> bool {
        transition.decided_at > self.resumed_at
    }

    /// The channels on which the opening of `incident` was attempted.
    pub(super) fn attempted(&self, incident: IncidentId) -> Vec<Arc<str>> {
        let was_attempted = |channel: &Channel| {
            let entry = channel.incidents.get(&incident);
            entry.is_some_and(Entry::was_opened)
        };
        let channels = self.channels.iter().filter(|(_, channel)| was_attempted(channel));
        channels.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Openings that may have been told and that the cut does not know of, in the order of incidents; each with the
    /// time from which on it may be decided again.
    pub(super) fn openings(&self) -> Vec<(EventTime, Transition)> {
        let unknown = self.openings.values().filter(|(run, opening)| {
            opening.decided_at > self.resumed_at || *run > self.resumed_run
        });
        let since = |opening: &Transition| opening.decided_at.max(self.resumed_at);
        unknown.map(|(_, opening)| (since(opening), (**opening).clone())).collect()
    }

    pub(super) fn snapshot(&mut self) -> OutboxState {
        self.held = (self.version, self.covered);
        let channels = self.channels.iter().filter(|(_, channel)| !channel.incidents.is_empty());
        let channels = channels.map(|(name, channel)| {
            let incidents = channel.incidents.iter();
            (name.to_string(), incidents.map(|(id, entry)| (*id, entry.steps.clone())).collect())
        });
        let openings = self.openings.values().cloned().collect();
        OutboxState { covered: self.covered, run: self.run, channels: channels.collect(), openings }
    }

    /// The checkpoint cut at `at`, with the last snapshot in it, is complete. Forgets what no kept one needs;
    /// objects up to the position that is returned are in all of them.
    pub(super) fn commit(&mut self, at: EventTime) -> Option<Position> {
        let (version, covered) = self.held;
        self.marks.push_back(Mark { at, version, covered });
        while self.marks.len() > self.keep {
            self.marks.pop_front();
        }
        // Until then checkpoints of earlier runs are kept, too.
        let oldest = *self.marks.front().filter(|_| self.marks.len() == self.keep)?;
        let before = (self.incidents(), self.openings.len());
        // What was decided before that is in all of them.
        self.openings.retain(|_, (_, opening)| opening.decided_at > oldest.at);
        // An end is offered to all channels of a receiver: as long as it is owed on one, it is known on the others.
        let configured = self.channels.values().filter(|channel| channel.is_configured);
        let entries = configured.flat_map(|channel| &channel.incidents);
        let owed: BTreeSet<IncidentId> = entries
            .filter(|(_, entry)| !entry.has_ended())
            .map(|(incident, _)| *incident)
            .collect();
        for channel in self.channels.values_mut() {
            let Channel { is_configured, progress, incidents } = channel;
            incidents.retain(|incident, entry| match is_configured {
                true => owed.contains(incident) || !entry.is_covered(&oldest, *progress),
                false => !entry.is_covered(&oldest, EventTime::MAX),
            });
        }
        self.channels.retain(|_, channel| channel.is_configured || !channel.incidents.is_empty());
        let excess = self.incidents().saturating_sub(INCIDENTS_MAX);
        if excess > 0 {
            self.forget(excess, &oldest);
        }
        if (self.incidents(), self.openings.len()) != before {
            self.version += 1;
        }
        Some(oldest.covered)
    }

    /// Forgets the `excess` longest untouched incidents that every kept checkpoint has.
    fn forget(&mut self, excess: usize, oldest: &Mark) {
        let touched = self.channels.values().flat_map(|channel| {
            let entries = channel.incidents.values();
            let covered = entries.filter(|entry| entry.is_covered(oldest, channel.progress));
            covered.map(|entry| entry.touched)
        });
        let mut touched: Vec<u64> = touched.collect();
        touched.sort_unstable();
        let Some(bound) = touched.get(excess.min(touched.len()).saturating_sub(1)) else { return };
        for channel in self.channels.values_mut() {
            let Channel { progress, incidents, .. } = channel;
            incidents.retain(|_, e| e.touched > *bound || !e.is_covered(oldest, *progress));
        }
        tracing::warn!(excess, max = INCIDENTS_MAX, "the outbox forgets the oldest open incidents");
    }
}

impl Entry {
    /// Whether it was as it is at the oldest kept checkpoint, no restore decides its transitions again, and no
    /// copy of them is still on its way to the channel, which has got as far as `progress`.
    fn is_covered(&self, oldest: &Mark, progress: EventTime) -> bool {
        let has_passed = |step: &Step| step.is_passed || step.decided_at < progress;
        let is_before = |step: &Step| step.decided_at < oldest.at;
        self.touched <= oldest.version && self.steps.iter().all(|s| is_before(s) && has_passed(s))
    }

    /// Whether its opening may have been told.
    fn was_opened(&self) -> bool {
        self.steps.iter().any(|step| step.sequence == 0 && step.attempts > 0)
    }

    /// Whether its end came to something. What came before it then has, too, or has been left behind by a run that
    /// died: it will not be told any more.
    fn has_ended(&self) -> bool {
        self.steps.iter().any(|step| step.ends && step.fate != Fate::Intended)
    }
}
