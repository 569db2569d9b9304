//! Notifications to a Slack channel, by an incoming webhook.
//!
//! One message for each notification: a title that also stands in push notifications, and below it, with
//! a bar in the colour of the severity, what is known. The incident's identity stands in the title, so
//! that a search for it finds all messages of the incident (an incoming webhook cannot answer in a thread,
//! since it is not told what it has posted).
//!
//! # Delivery
//! At least once: a message whose answer is lost is posted again.
//!
//! # Errors
//! | answer | meaning here |
//! | --- | --- |
//! | 2xx | posted |
//! | 400, 413 | this message is at fault: dead letter |
//! | 408, 429, 5xx, none | posted again, not before `Retry-After` |
//! | any other (403, 404, 410: webhook revoked, channel gone) | held until a person acts |
//!
//! The webhook's address is a secret: whoever has it can post. It appears in no error and no log line.

#[cfg(test)]
mod tests;

use std::fmt;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewatch_dataflow::alert::{Notification, Severity};
use tidewatch_dataflow::config::{ByteSize, Secret};
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};

use super::OpenError;
use super::channel::{Channel, tell_all};
use super::message::Message;
use crate::delivery::{DeliveryConfig, default_spill};
use crate::http::{Endpoint, Redaction, client, parse_url};

/// `slack` of a receiver: `{ webhook = { env = "SLACK_WEBHOOK" } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    /// Address of the incoming webhook; its path is what allows to post, so it is a secret.
    pub webhook: Secret,
    /// Bytes behind the queue, in the state store of `[checkpoint]`, for messages that find it full. Default:
    /// 1 GiB.
    #[serde(default = "default_spill")]
    pub spill: ByteSize,
}

impl SlackConfig {
    /// The channel behind `webhook`, with default bounds.
    pub fn new(webhook: Secret) -> Self {
        SlackConfig { webhook, spill: default_spill() }
    }

    /// How to queue and retry.
    pub fn delivery(&self) -> DeliveryConfig {
        DeliveryConfig { spill: self.spill.bytes(), ..DeliveryConfig::channel() }
    }

    /// Fetches the webhook's address and makes the writer. Reaches no server.
    ///
    /// # Errors
    /// [`OpenError`] when the secret is not there or no address.
    pub fn open(&self) -> Result<SlackWriter, OpenError> {
        let secret = self.webhook.reveal()?;
        let webhook = parse_url("webhook", &secret)?;
        // Slack and every proxy on the way may name the whole address, or its path, or its last part.
        let path = webhook.path().trim_matches('/');
        let last = path.rsplit('/').next().unwrap_or_default();
        let redaction = Redaction::of([secret.as_str(), webhook.as_str(), path, last]);
        let host = webhook.host_str().unwrap_or_default();
        let endpoint = Endpoint { name: format!("the Slack webhook at {host}"), redaction };
        Ok(SlackWriter { client: client(&webhook)?, webhook, endpoint })
    }
}

/// Posts notifications to one webhook.
pub struct SlackWriter {
    client: Client,
    webhook: Url,
    endpoint: Endpoint,
}

impl fmt::Debug for SlackWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackWriter").field("endpoint", &self.endpoint.name).finish_non_exhaustive()
    }
}

/// The body of a message.
///
/// Sizes: the title has at most 300 characters (Slack cuts a text at 40,000), the section's text is cut
/// at 2,900 (3,000 are allowed).
fn body(message: &Message) -> Value {
    let colour = match (message.is_opening, message.severity) {
        (false, _) => "#2eb886",
        (true, Severity::Critical) => "#d0021b",
        (true, Severity::Warning) => "#f5a623",
        (true, Severity::Info) => "#439fe0",
    };
    let mut details = String::new();
    for (name, value) in &message.facts {
        let line = format!("*{}:* {}\n", escape(name), escape(value));
        if details.chars().count() + line.chars().count() > 2_900 {
            break;
        }
        details.push_str(&line);
    }
    // `verbatim` keeps names that look like links or channels from becoming some.
    let section = json!({"type": "mrkdwn", "text": details, "verbatim": true});
    json!({
        "text": format!("{} · {}", escape(&message.title), message.incident),
        "attachments": [{"color": colour, "blocks": [{"type": "section", "text": section}]}],
    })
}

/// Slack's three control characters as entities; nothing else is to be escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Channel for SlackWriter {
    async fn tell(&mut self, notification: &Notification) -> Result<(), ConnectorError> {
        let body = body(&Message::new(notification)).to_string();
        let request = self
            .client
            .post(self.webhook.clone())
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body);
        let answer = self.endpoint.send(request).await?;
        let text = answer.text();
        match answer.status.as_u16() {
            200..=299 => Ok(()),
            400 | 413 => Err(self.endpoint.permanent(&text)),
            _ if answer.may_pass() => Err(self.endpoint.transient(&text, answer.retry_after)),
            _ => Err(self.endpoint.refused(&text, "make a new webhook and put it into `webhook`")),
        }
    }
}

impl SinkWriter for SlackWriter {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        tell_all(self, batch).await
    }
}
