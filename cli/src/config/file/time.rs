//! `[time]`: how event time advances.

use std::time::Duration;

use serde::Deserialize;
use tidewatch_connectors::kafka::{OnRecreated, OnRetention};
use tidewatch_dataflow::config::HumanDuration;

use super::Start;

/// How event time advances, and what counts as late, silent, false or old.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSection {
    /// How far behind the newest record of its partition a record may be and still be on time. Windows
    /// wait this long for stragglers. Default 5 s: agents flush every 10 s with a jitter of a few.
    #[serde(default = "default_out_of_orderness")]
    pub out_of_orderness: HumanDuration,
    /// How long past its end a window accepts corrections, for every statistic that does not say
    /// otherwise. Default 0 s: later records go to the dead letters, with reason `late`.
    #[serde(default = "default_allowed_lateness")]
    pub allowed_lateness: HumanDuration,
    /// A partition that is silent at its end for this long no longer holds time back. Default 30 s:
    /// three times the usual interval of agents.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: HumanDuration,
    /// Records further ahead of the broker's clock than this go to the dead letters, with reason
    /// `future`. Default 10 min: beyond any clock that is kept in time at all.
    #[serde(default = "default_future_tolerance")]
    pub future_tolerance: HumanDuration,
    /// Where to begin without a checkpoint: `"latest"`, `"earliest"` or a time (RFC 3339). Default
    /// `"latest"`: at the end, less the longest window.
    #[serde(default)]
    pub start: Start,
    /// What to do when the broker has deleted records between the checkpoint and now: `"error"` or
    /// `"earliest"`. Default `"error"`: a person should know before numbers with a hole are written.
    #[serde(default)]
    pub on_retention: OnRetention,
    /// What to do when a topic was deleted and made again: `"restart"` or `"error"`. Default `"restart"`: the
    /// run starts anew from its checkpoint and reads the new topic from its beginning.
    #[serde(default)]
    pub on_recreated: OnRecreated,
    /// Episodes that began and ended longer ago than this are summarised, nobody is told one by one.
    /// Default 15 min: catching up after an outage must not page about what is over.
    #[serde(default = "default_stale_after")]
    pub stale_after: HumanDuration,
    /// How far a partition may be read ahead of the slowest, in event time: the bound of what waits in
    /// memory. Default 2 min.
    #[serde(default = "default_max_lead")]
    pub max_lead: HumanDuration,
}

fn default_out_of_orderness() -> HumanDuration {
    Duration::from_secs(5).into()
}

fn default_allowed_lateness() -> HumanDuration {
    Duration::ZERO.into()
}

fn default_idle_timeout() -> HumanDuration {
    Duration::from_secs(30).into()
}

fn default_future_tolerance() -> HumanDuration {
    Duration::from_secs(10 * 60).into()
}

fn default_stale_after() -> HumanDuration {
    Duration::from_secs(15 * 60).into()
}

fn default_max_lead() -> HumanDuration {
    Duration::from_secs(2 * 60).into()
}
