//! Slack's incoming webhook, as far as its documentation says what it checks.
//!
//! | request | answer |
//! | --- | --- |
//! | POST of a JSON object with a non-empty `text`, or 1 to 50 `blocks` each with a `type` | 200 `ok` |
//! | anything else in the body, or another content type | 400 `invalid_payload` |
//! | a JSON object with neither `text` nor `blocks` | 400 `no_text` |
//! | another path than the webhook's | 404 `no_service` |
//! | another method | 405 |
//!
//! Stricter than Slack in one place: it truncates a `text` above 40,000
//! characters, here that is an invalid payload.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Fake, Recorded, Reply};
use crate::Result;

/// The webhook's secret path.
const PATH: &str = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";
/// The longest text that is not cut.
const TEXT_CHARS_MAX: usize = 40_000;
/// The most blocks of a message.
const BLOCKS_MAX: usize = 50;

/// A Slack workspace with one incoming webhook.
///
/// ```
/// # use tidewatch_testkit::http::{SlackFake, client};
/// let slack = SlackFake::start().unwrap();
/// let json = [("content-type", "application/json")];
/// let answer = client::post(&slack.url(), &json, br#"{"text":"disk full"}"#).unwrap();
/// assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
/// assert_eq!(slack.messages()[0]["text"], "disk full");
/// ```
#[derive(Debug)]
pub struct SlackFake {
    fake: Fake,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl SlackFake {
    /// Starts it.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start() -> Result<Self> {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let accepted = Arc::clone(&messages);
        let fake = Fake::start_with(move |request| match check(request) {
            Ok(message) => {
                accepted.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                Reply::status(200).header("content-type", "text/html").body("ok")
            }
            Err((status, reason)) => Reply::status(status).body(reason),
        })?;
        Ok(Self { fake, messages })
    }

    /// The webhook's address.
    #[must_use]
    pub fn url(&self) -> String {
        self.fake.url(PATH)
    }

    /// The server below: scripted answers, and all requests, refused ones too.
    #[must_use]
    pub const fn fake(&self) -> &Fake {
        &self.fake
    }

    /// The messages that appeared in the channel, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The message, or the status and word that refuse it.
fn check(request: &Recorded) -> std::result::Result<Value, (u16, &'static str)> {
    const INVALID: (u16, &str) = (400, "invalid_payload");
    if request.path() != PATH {
        return Err((404, "no_service"));
    }
    if request.method != "POST" {
        return Err((405, "method_not_allowed"));
    }
    let content_type = request.header("content-type").unwrap_or_default();
    let message = request.json().map_err(|_| INVALID)?;
    if !content_type.starts_with("application/json") || !message.is_object() {
        return Err(INVALID);
    }
    let text = message.get("text");
    let blocks = message.get("blocks");
    if text.is_none() && blocks.is_none() {
        return Err((400, "no_text"));
    }
    let text_fits = |text: &Value| {
        text.as_str().is_some_and(|text| (1..=TEXT_CHARS_MAX).contains(&text.chars().count()))
    };
    let blocks_fit = |blocks: &Value| {
        blocks.as_array().is_some_and(|blocks| {
            (1..=BLOCKS_MAX).contains(&blocks.len())
                && blocks.iter().all(|block| block["type"].is_string())
        })
    };
    let valid = text.is_none_or(text_fits) && blocks.is_none_or(blocks_fit);
    if valid { Ok(message) } else { Err(INVALID) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client;

    const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=utf-8")];

    #[test]
    fn refuses_what_the_contract_refuses() {
        let slack = SlackFake::start().unwrap();
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(TEXT_CHARS_MAX + 1));
        for (body, word) in [
            ("", "invalid_payload"),
            ("[]", "invalid_payload"),
            (r#"{"text":5}"#, "invalid_payload"),
            (r#"{"text":""}"#, "invalid_payload"),
            (r#"{"text":"a","blocks":{}}"#, "invalid_payload"),
            (r#"{"blocks":[{"text":"x"}]}"#, "invalid_payload"),
            (r#"{"username":"x"}"#, "no_text"),
            (&long, "invalid_payload"),
        ] {
            let answer = client::post(&slack.url(), &JSON, body.as_bytes()).unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (400, word), "{body:.60}");
        }
        let plain = client::post(&slack.url(), &[], br#"{"text":"a"}"#).unwrap();
        assert_eq!(plain.status, 400);
        let elsewhere = client::post(&slack.fake().url("/other"), &JSON, b"{}").unwrap();
        assert_eq!((elsewhere.status, elsewhere.body.as_str()), (404, "no_service"));
        assert_eq!(client::get(&slack.url(), &JSON).unwrap().status, 405);
        assert!(slack.messages().is_empty());
    }

    #[test]
    fn accepts_text_or_blocks() {
        let slack = SlackFake::start().unwrap();
        for body in [
            r#"{"text":"a"}"#,
            r#"{"blocks":[{"type":"section"}]}"#,
            r#"{"text":"a","blocks":[{"type":"divider"}]}"#,
        ] {
            assert_eq!(client::post(&slack.url(), &JSON, body.as_bytes()).unwrap().status, 200);
        }
        assert_eq!(slack.messages().len(), 3);
    }

    #[test]
    fn scripted_failures_do_not_reach_the_channel() {
        let slack = SlackFake::start().unwrap();
        slack.fake().enqueue(Reply::status(429).header("retry-after", "1").body("rate_limited"));
        let body = br#"{"text":"a"}"#;
        let answer = client::post(&slack.url(), &JSON, body).unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        assert!(slack.messages().is_empty());
        slack.fake().enqueue_after_effect(Reply::hang_up());
        assert!(client::post(&slack.url(), &JSON, body).is_err());
        assert_eq!(slack.messages().len(), 1, "it was posted, only the answer was lost");
    }
}
