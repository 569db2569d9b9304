//! Transitions of incidents as documents, in daily indexes of their own.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tidewatch_dataflow::alert::{Transition, TransitionKind};
use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
use tidewatch_dataflow::time::Clock;

use super::ElasticsearchWriter;
use super::document::{Document, in_range};
use crate::sinks::instant::{day, rfc3339};

/// Writes one document for each opening and each end of an incident, its identity that of the transition.
///
/// ```text
/// @timestamp             date       when the step became true
/// event.action           keyword    opened, ended
/// event.reason           keyword    of an end: recovered, no_data, merged, rule_changed, quarantined
/// event.start            date       when the episode began
/// rule.name              keyword
/// alert.incident         keyword    the same for opening and end: tw-0123456789abcdef
/// alert.sequence         long       0 for the opening, then counting up
/// alert.severity         keyword    info, warning, critical
/// alert.value            double     the number that decided it
/// alert.lasted_seconds   double     from the beginning of the episode until this step
/// host.name              keyword    the label `host` of the group
/// service.name           keyword    the label `service` of the group
/// labels                 flattened  all labels of the group
/// message                text       usage_active above 90 for 5m
/// ```
#[derive(Debug)]
pub struct ElasticsearchAlerts {
    writer: ElasticsearchWriter,
}

impl ElasticsearchAlerts {
    pub(super) fn new(writer: ElasticsearchWriter) -> Self {
        ElasticsearchAlerts { writer }
    }

    /// Deletes old indexes of alerts: see [`ElasticsearchWriter::expiring`].
    #[must_use]
    pub fn expiring(self, retention: Duration, clock: Clock, deleted: Arc<AtomicU64>) -> Self {
        ElasticsearchAlerts { writer: self.writer.expiring(retention, clock, deleted) }
    }
}

/// An alert's document. The order of its keys is fixed.
#[derive(Debug, Serialize)]
struct Body<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    event: Event,
    rule: Named<'a>,
    alert: Alert<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Named<'a>>,
    labels: Map<String, Value>,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct Event {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Value>,
    start: String,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct Alert<'a> {
    incident: String,
    sequence: u32,
    severity: &'a str,
    value: f64,
    lasted_seconds: f64,
}

/// The document of `transition`, in the index of the day on which the step became true.
fn document<'a>(index: &str, transition: &'a Transition) -> Result<Document<Body<'a>>, Malformed> {
    let group = &transition.group;
    let (action, reason) = match transition.kind {
        TransitionKind::Opened => ("opened", None),
        TransitionKind::Ended(reason) => ("ended", serde_json::to_value(reason).ok()),
    };
    let body = Body {
        timestamp: in_range(rfc3339(transition.at))?,
        event: Event { action, reason, start: in_range(rfc3339(transition.started_at))? },
        rule: Named { name: &transition.rule },
        alert: Alert {
            incident: transition.incident.to_string(),
            sequence: transition.sequence,
            severity: transition.severity.as_str(),
            value: transition.value.0,
            lasted_seconds: transition.lasted().as_secs_f64(),
        },
        host: group.get("host").map(|name| Named { name }),
        service: group.get("service").map(|name| Named { name }),
        labels: group.iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
        message: &transition.summary,
    };
    let day = in_range(day(transition.at))?;
    Ok(Document { index: format!("{index}-{day}"), id: transition.id(), body })
}

/// About what a transition takes in a request besides its labels and its summary.
const TRANSITION_BYTES: usize = 600;

impl SinkWriter for ElasticsearchAlerts {
    type Item = Transition;

    async fn write(&mut self, batch: &[Transition]) -> Result<Receipt, ConnectorError> {
        let naming = Arc::clone(&self.writer.naming);
        let bytes = |transition: &Transition| {
            let labels = transition.group.iter().map(|(name, value)| name.len() + value.len());
            TRANSITION_BYTES + transition.summary.len() + labels.sum::<usize>()
        };
        let document = |transition| document(&naming.index, transition);
        self.writer.create_all(batch, bytes, document).await
    }

    async fn upkeep(&mut self) -> Option<Duration> {
        self.writer.expire().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::sample;

    #[test]
    fn an_end_says_why_and_how_long() {
        let end = sample::end().transition;
        let document = document("tidewatch-alerts", &end).unwrap();
        assert_eq!(document.index, "tidewatch-alerts-2026.11.22");
        assert_eq!(document.id, "tw-00000000000000ab-1");
        let expected = serde_json::json!({
            "@timestamp": "2026-11-22T19:52:03.000Z",
            "event": {"action": "ended", "reason": "recovered", "start": "2026-11-22T19:35:00.000Z"},
            "rule": {"name": "cpu_sustained"},
            "alert": {
                "incident": "tw-00000000000000ab", "sequence": 1, "severity": "critical",
                "value": 41.0, "lasted_seconds": 1023.0,
            },
            "host": {"name": "web-1"},
            "labels": {"host": "web-1"},
            "message": "usage_active above 90 for 5m",
        });
        assert_eq!(serde_json::to_value(&document.body).unwrap(), expected);
    }

    #[test]
    fn an_opening_has_no_reason() {
        let opening = sample::opening().transition;
        let document = document("a", &opening).unwrap();
        let body = serde_json::to_value(&document.body).unwrap();
        assert_eq!(body["event"]["action"], "opened");
        assert!(body["event"].get("reason").is_none(), "{body}");
    }
}
