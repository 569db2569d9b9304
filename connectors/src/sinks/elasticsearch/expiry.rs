//! Deletes daily indexes once their day is past the retention.
//!
//! ```text
//!  …-2026.11.13  …-2026.11.14  …-2026.11.15  ············  …-2026.11.22
//!  └──────── over for 7 days or more ─────┘  └─ kept ──────────────┘   now, within the newest day
//! ```
//! An index goes by the day in its name, which is the event time of what is in it, and by nothing else: not by
//! when it was made, as the policies of the servers count. Only names of exactly the form `<prefix>-YYYY.MM.DD`
//! are touched, one by one, never a pattern.
//!
//! The present is the clock's, but no later than the end of the newest index's day. So a clock that runs years
//! ahead deletes nothing, and where nothing comes in any more the last days are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use elasticsearch::indices::{IndicesDeleteParts, IndicesGetAliasParts};
use elasticsearch::params::ExpandWildcards;
use serde::de::IgnoredAny;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::time::{Clock, EventTime};
use tokio::time::Instant;
use tracing::{info, warn};

use super::ElasticsearchWriter;
use crate::sinks::instant::start_of_day;

/// How often is looked for indexes to delete: a day is over once a day.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// How soon is looked again when there were more than a sweep deletes.
const SWEEP_AGAIN: Duration = Duration::from_secs(60);
/// At most so many indexes are deleted in a sweep: a month of days. Each is a change of the cluster's state.
const DELETED_MAX: usize = 31;

const DAY: Duration = Duration::from_secs(86_400);

/// When indexes are deleted, and how many were.
#[derive(Debug)]
pub(super) struct Expiry {
    retention: Duration,
    clock: Clock,
    next: Instant,
    deleted: Arc<AtomicU64>,
}

/// The names to delete, the oldest first, at most [`DELETED_MAX`], and whether there are more.
fn expired(
    prefix: &str,
    names: impl IntoIterator<Item = String>,
    retention: Duration,
    now: EventTime,
) -> (Vec<String>, bool) {
    let day_of = |name: &str| start_of_day(name.strip_prefix(prefix)?.strip_prefix('-')?);
    let days = names.into_iter().filter_map(|name| Some((day_of(&name)?, name)));
    let days: BTreeMap<EventTime, String> = days.collect();
    let newest = days.keys().next_back().map_or(now, |day| *day + DAY);
    let present = now.min(newest);
    let is_over = |day: &EventTime| *day + DAY + retention <= present;
    let mut over: Vec<String> =
        days.into_iter().filter(|(day, _)| is_over(day)).map(|(_, name)| name).collect();
    let has_more = over.len() > DELETED_MAX;
    over.truncate(DELETED_MAX);
    (over, has_more)
}

impl ElasticsearchWriter {
    /// Deletes indexes of this writer whose day has been over for `retention`, and counts them in `deleted`:
    /// looked for after the first write and then every hour. Zero keeps everything. For one process of a
    /// cluster only.
    #[must_use]
    pub fn expiring(mut self, retention: Duration, clock: Clock, deleted: Arc<AtomicU64>) -> Self {
        let next = Instant::now();
        self.expiry = (!retention.is_zero()).then_some(Expiry { retention, clock, next, deleted });
        self
    }

    /// Deletes what is due, if it is time; how long until it is time again.
    pub(super) async fn expire(&mut self) -> Option<Duration> {
        let expiry = self.expiry.take_if(|_| self.has_template)?;
        let now = Instant::now();
        let wait = expiry.next.saturating_duration_since(now);
        if !wait.is_zero() {
            self.expiry = Some(expiry);
            return Some(wait);
        }
        let wait = match self.sweep(&expiry).await {
            Ok(true) => SWEEP_AGAIN,
            Ok(false) => SWEEP_EVERY,
            Err(failure) => {
                let index = &self.naming.index;
                warn!(
                    index,
                    %failure,
                    "could not delete indexes past their retention, trying again in an hour"
                );
                SWEEP_EVERY
            }
        };
        self.expiry = Some(Expiry { next: Instant::now() + wait, ..expiry });
        Some(wait)
    }

    /// Deletes what is past the retention; whether there is more.
    async fn sweep(&self, expiry: &Expiry) -> Result<bool, ConnectorError> {
        let prefix = &self.naming.index;
        let pattern = format!("{prefix}-*");
        // The answer names indexes, never aliases or data streams.
        let asked = self
            .client
            .indices()
            .get_alias(IndicesGetAliasParts::Index(&[&pattern]))
            .expand_wildcards(&[ExpandWildcards::Open, ExpandWildcards::Closed])
            .allow_no_indices(true)
            .send()
            .await;
        let answer = self.answer(asked).await?;
        let found: BTreeMap<String, IgnoredAny> = match answer.status {
            200 => serde_json::from_str(&answer.body).map_err(|error| {
                self.endpoint.transient(&format!("the answer lists no indexes: {error}"), None)
            })?,
            404 => BTreeMap::new(),
            403 => return Err(self.endpoint.refused(&answer.text(), RIGHTS_REMEDY)),
            _ => return Err(self.failure(&answer)),
        };
        let now = expiry.clock.now();
        let (names, has_more) = expired(prefix, found.into_keys(), expiry.retention, now);
        for name in names {
            let sent =
                self.client.indices().delete(IndicesDeleteParts::Index(&[&name])).send().await;
            let answer = self.answer(sent).await?;
            match answer.status {
                200 => {
                    expiry.deleted.fetch_add(1, Ordering::Relaxed);
                    info!(index = name, "index deleted: its day is past the retention");
                }
                // Somebody else was quicker.
                404 => {}
                403 => return Err(self.endpoint.refused(&answer.text(), RIGHTS_REMEDY)),
                _ => return Err(self.failure(&answer)),
            }
        }
        Ok(has_more)
    }
}

/// What to do about 403.
const RIGHTS_REMEDY: &str = "give the user the rights `view_index_metadata` and `delete_index`, \
                             or write `retention = \"0s\"` and leave deleting to somebody else";

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    fn go(names: &[&str], now: &str) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned());
        let now = start_of_day(now).unwrap() + Duration::from_secs(3_600);
        expired("logs", names, WEEK, now).0
    }

    #[test]
    fn a_day_goes_once_it_has_been_over_for_the_retention() {
        let days: Vec<String> = (10..=22).map(|day| format!("logs-2026.11.{day}")).collect();
        let days: Vec<&str> = days.iter().map(String::as_str).collect();
        assert_eq!(go(&days, "2026.11.22"), days[..5], "the 14th was over on the 15th");
        assert_eq!(go(&days, "2026.11.17"), Vec::<String>::new());
        assert_eq!(go(&days[..8], "2026.11.18"), days[..1]);
    }

    #[test]
    fn only_names_of_exactly_the_form_are_touched() {
        let others = [
            "logs-2020.1.01",
            "logs-2020.01.01-backup",
            "logs-2020.13.01",
            "logs-2020.02.30",
            "logs-app-2020.01.01",
            "logs-0020.01.01x",
            "logs2020.01.01",
            "logs-2020-01-01",
            "logs-+020.01.01",
            ".ds-logs-2020.01.01",
            "logs-",
            "logs",
            "logs-2026.11.22",
        ];
        assert_eq!(go(&others, "2026.11.22"), Vec::<String>::new());
    }

    #[test]
    fn a_clock_that_is_ahead_or_nothing_new_deletes_nothing() {
        let days = ["logs-2026.11.16", "logs-2026.11.21", "logs-2026.11.22"];
        assert_eq!(go(&days, "2099.01.01"), Vec::<String>::new());
        assert_eq!(go(&days[..1], "2099.01.01"), Vec::<String>::new());
        assert_eq!(go(&["logs-2026.11.14", days[2]], "2099.01.01"), ["logs-2026.11.14"]);
    }

    #[test]
    fn a_sweep_is_bounded() {
        let names = (1..=28)
            .flat_map(|day| [format!("logs-2020.01.{day:02}"), format!("logs-2020.02.{day:02}")]);
        let now = start_of_day("2026.11.22").unwrap();
        let all = names.chain(["logs-2026.11.22".to_owned()]);
        let (gone, has_more) = expired("logs", all, WEEK, now);
        assert_eq!((gone.len(), has_more), (DELETED_MAX, true));
        assert_eq!(gone[28], "logs-2020.02.01", "the oldest first");
    }
}
