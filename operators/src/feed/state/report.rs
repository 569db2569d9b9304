//! What became of the state of each consumer, for the log at start.

use std::fmt;

use serde::Deserialize;
use tidewatch_dataflow::alert::{EndReason, Transition, TransitionKind};
use tidewatch_dataflow::checkpoint::{Restored, Shard, StateError};
use tidewatch_dataflow::time::EventTime;

use super::identity::Kind;
use super::stored::{OpenRecord, Stored};

/// What to do with the state of a window or rule whose configuration has changed.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// It begins anew.
    #[default]
    Reset,
    /// It goes on where its state fits, and begins anew elsewhere. What fits is a question of each kind: for
    /// windows the same samples and pane; for sustained rules the same bounds; for bursts the same window
    /// and baseline; for anomalies the same half-life and direction.
    Carry,
}

/// Why a consumer begins anew.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// Its configuration has changed, and the policy is [`OnChange::Reset`].
    Changed,
    /// Its configuration has changed so that its state does not fit.
    Unfit,
}

/// What became of a consumer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Unchanged: it goes on.
    Kept,
    /// Changed: it goes on from the state of what it was.
    Carried,
    /// Changed: it begins anew.
    Reset(ResetReason),
    /// Not known to the state: it begins.
    New,
    /// Only known to the state, which is left.
    Dropped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Kept => "kept",
            Outcome::Carried => "carried over to the changed configuration",
            Outcome::Reset(ResetReason::Changed) => "reset: its configuration changed",
            Outcome::Reset(ResetReason::Unfit) => {
                "reset: its configuration changed and its state does not fit"
            }
            Outcome::New => "new",
            Outcome::Dropped => "dropped: it is no longer configured",
        })
    }
}

/// One consumer of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerReport {
    /// `window cpu/5m/10s` or `rule cpu_high`.
    pub consumer: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Of a window: those that begin before are computed and not put out.
    pub complete_from: Option<EventTime>,
}

impl ConsumerReport {
    pub(super) fn new(kind: Kind, name: &str, outcome: Outcome) -> Self {
        let consumer = match kind {
            Kind::Window => format!("window {name}"),
            Kind::Rule => format!("rule {name}"),
        };
        ConsumerReport { consumer, outcome, complete_from: None }
    }
}

/// What a restore did. The consumers are the same on every worker; the orphans are the worker's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Windows and rules: those of the configuration in its order, then those that were dropped.
    pub consumers: Vec<ConsumerReport>,
    /// Ends of incidents that were open and that nothing watches any more, in order, of the groups that the
    /// shard owns. They are decided at the cut. Told as often as the same state is restored, with the same
    /// identity.
    pub orphans: Vec<Transition>,
}

impl RestoreReport {
    /// What is to be said of the state of `operator`, a feed that is no longer configured: everything is
    /// dropped.
    ///
    /// # Errors
    /// [`StateError`] when the state cannot be read.
    pub fn of_dropped(
        operator: &str,
        state: &Restored,
        shard: Shard,
        at: EventTime,
    ) -> Result<Self, StateError> {
        let Some(stored) = Stored::read(operator, state, shard)? else {
            return Ok(RestoreReport::default());
        };
        let mut report = RestoreReport::default();
        for record in &stored.consumers {
            let dropped = ConsumerReport::new(record.kind, &record.name, Outcome::Dropped);
            report.consumers.push(dropped);
        }
        for open in stored.open()? {
            report.orphans.push(orphan(&stored, &open, at)?);
        }
        report.orphans.sort();
        Ok(report)
    }

    /// Whether everything goes on as if nothing had happened, or begins.
    pub(super) fn is_plain(&self) -> bool {
        let is_plain = |outcome| matches!(outcome, Outcome::Kept | Outcome::New);
        self.orphans.is_empty() && self.consumers.iter().all(|c| is_plain(c.outcome))
    }
}

/// The end of an incident that nothing watches any more.
pub(super) fn orphan(
    stored: &Stored<'_>,
    open: &OpenRecord,
    at: EventTime,
) -> Result<Transition, StateError> {
    let (rule, group) = (stored.rule_name(open.rule)?, stored.labels(open.share, open.group)?);
    let opened = open.opening.transition(rule, group);
    let kind = TransitionKind::Ended(EndReason::RuleChanged);
    Ok(Transition { decided_at: at, sequence: 1, kind, at, ..opened })
}
