//! Notifications to PagerDuty, by its Events API v2.
//!
//! An opening triggers, an end resolves, both with the incident's identity as `dedup_key`: a repeated
//! event joins the incident it belongs to, so each incident is opened and closed exactly once there.
//! Events are sent in order, one at a time: no trigger is sent once the end of its incident was.
//!
//! # Errors
//! | answer | meaning here |
//! | --- | --- |
//! | 202 | taken |
//! | 400, 413 | this event is at fault: dead letter; except when the routing key is |
//! | 408, 429, 5xx, none | sent again, not before `Retry-After` |
//! | any other | held until a person acts |
//!
//! The routing key is a secret and appears in no error and no log line.

#[cfg(test)]
mod tests;

use std::fmt;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidewatch_dataflow::alert::{Notification, Severity};
use tidewatch_dataflow::config::{ByteSize, Secret};
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};

use super::OpenError;
use super::channel::{Channel, tell_all};
use super::instant::rfc3339;
use super::message::{Message, clean};
use crate::delivery::{DeliveryConfig, default_spill};
use crate::http::{Endpoint, Redaction, client, parse_url};

/// `pagerduty` of a receiver: `{ routing_key = { env = "PAGERDUTY_KEY" } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutyConfig {
    /// Integration key of the service's Events API v2 integration.
    pub routing_key: Secret,
    /// Where to send events. Default: `https://events.pagerduty.com/v2/enqueue`.
    #[serde(default = "url")]
    pub url: String,
    /// Bytes behind the queue, in the state store of `[checkpoint]`, for messages that find it full. Default:
    /// 1 GiB.
    #[serde(default = "default_spill")]
    pub spill: ByteSize,
}

fn url() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

impl PagerDutyConfig {
    /// The service behind `routing_key` at PagerDuty itself, with default bounds.
    pub fn new(routing_key: Secret) -> Self {
        PagerDutyConfig { routing_key, url: url(), spill: default_spill() }
    }

    /// Checks what can be checked without the key and without the server.
    ///
    /// # Errors
    /// [`OpenError::Invalid`] naming the field.
    pub fn validate(&self) -> Result<(), OpenError> {
        parse_url("url", &self.url).map(drop)
    }

    /// How to queue and retry.
    pub fn delivery(&self) -> DeliveryConfig {
        DeliveryConfig { spill: self.spill.bytes(), ..DeliveryConfig::channel() }
    }

    /// Fetches the key and makes the writer. Reaches no server.
    ///
    /// # Errors
    /// [`OpenError`] when the key is not there or the address is none.
    pub fn open(&self) -> Result<PagerDutyWriter, OpenError> {
        let url = parse_url("url", &self.url)?;
        let routing_key = self.routing_key.reveal()?;
        let redaction = Redaction::of([routing_key.as_str()]);
        let endpoint = Endpoint { name: url.to_string(), redaction };
        Ok(PagerDutyWriter { client: client(&url)?, url, routing_key, endpoint })
    }
}

/// Sends events to one service.
pub struct PagerDutyWriter {
    client: Client,
    url: Url,
    routing_key: String,
    endpoint: Endpoint,
}

impl fmt::Debug for PagerDutyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagerDutyWriter").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl PagerDutyWriter {
    fn event(&self, notification: &Notification) -> Value {
        let transition = &notification.transition;
        let mut event = json!({
            "routing_key": self.routing_key,
            "dedup_key": transition.incident.to_string(),
        });
        if !transition.is_opening() {
            event["event_action"] = "resolve".into();
            return event;
        }
        let message = Message::new(notification);
        let details: Map<String, Value> =
            message.facts.into_iter().map(|(name, value)| (name, value.into())).collect();
        // What the affected thing is called, as the host list of the service shows it.
        let source = match transition.group.is_empty() {
            true => "tidewatch".to_owned(),
            false => transition.group.to_string(),
        };
        event["event_action"] = "trigger".into();
        event["client"] = "tidewatch".into();
        // The title has at most 300 characters, of 1,024 that are allowed.
        event["payload"] = json!({
            "summary": message.title,
            "source": clean(&source, 255),
            "severity": match transition.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            },
            "class": clean(&transition.rule, 255),
            "custom_details": details,
        });
        if let Some(time) = rfc3339(transition.at) {
            event["payload"]["timestamp"] = time.into();
        }
        event
    }
}

impl Channel for PagerDutyWriter {
    async fn tell(&mut self, notification: &Notification) -> Result<(), ConnectorError> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(self.event(notification).to_string());
        let answer = self.endpoint.send(request).await?;
        let text = answer.text();
        let is_about_the_key = answer.body.contains("routing_key");
        match answer.status.as_u16() {
            202 => Ok(()),
            400 if is_about_the_key => Err(self
                .endpoint
                .refused(&text, "put the key of an Events API v2 integration into `routing_key`")),
            400 | 413 => Err(self.endpoint.permanent(&text)),
            _ if answer.may_pass() => Err(self.endpoint.transient(&text, answer.retry_after)),
            _ => Err(self.endpoint.refused(&text, "check `routing_key` and `url`")),
        }
    }
}

impl SinkWriter for PagerDutyWriter {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        tell_all(self, batch).await
    }
}
