//! PagerDuty's Events API v2, as far as its documentation says what it checks.
//!
//! `POST /v2/enqueue` of a JSON object:
//!
//! - `routing_key`: 32 characters;
//! - `event_action`: `trigger`, `acknowledge` or `resolve`;
//! - `dedup_key`: up to 255 characters; needed for the latter two, made up for
//!   a trigger without one;
//! - for a trigger, `payload`: `summary` (1 to 1024 characters), `source`,
//!   `severity` (`critical`, `error`, `warning`, `info`); if given, `timestamp`
//!   in ISO 8601 and `custom_details` as an object;
//! - the whole event at most 512 KiB.
//!
//! 202 with the key when it is valid, else 400 with the list of errors. Other
//! answers (429, 5xx) can be scripted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use super::{Fake, Recorded, Reply};
use crate::Result;

/// The greatest event.
const EVENT_BYTES_MAX: usize = 512 * 1024;
/// The longest summary of a payload.
const SUMMARY_CHARS_MAX: usize = 1024;
/// The longest key of an incident.
const DEDUP_KEY_CHARS_MAX: usize = 255;
/// The length of an integration's key.
const ROUTING_KEY_CHARS: usize = 32;

/// What has become of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentState {
    /// Nobody has it yet.
    Triggered,
    /// Somebody works on it.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// A PagerDuty account with one Events API v2 integration.
///
/// ```
/// # use tidewatch_testkit::http::{IncidentState, PagerDutyFake, client};
/// let pagerduty = PagerDutyFake::start().unwrap();
/// let event = serde_json::json!({
///     "routing_key": PagerDutyFake::ROUTING_KEY,
///     "event_action": "trigger",
///     "dedup_key": "cpu/web-1",
///     "payload": {"summary": "CPU above 90 %", "source": "web-1", "severity": "critical"},
/// });
/// let answer = client::post(&pagerduty.url(), &[], event.to_string().as_bytes()).unwrap();
/// assert_eq!(answer.status, 202);
/// assert_eq!(pagerduty.incidents()["cpu/web-1"], IncidentState::Triggered);
/// ```
#[derive(Debug)]
pub struct PagerDutyFake {
    fake: Fake,
    account: Arc<Mutex<Account>>,
}

#[derive(Debug, Default)]
struct Account {
    events: Vec<Value>,
    incidents: BTreeMap<String, IncidentState>,
    /// How many incidents were opened, repeated triggers of one not counted.
    opened: usize,
}

impl PagerDutyFake {
    /// A key that the account accepts; any other of 32 characters does as well.
    pub const ROUTING_KEY: &'static str = "0123456789abcdef0123456789abcdef";

    /// Starts it.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start() -> Result<Self> {
        let account = Arc::new(Mutex::new(Account::default()));
        let shared = Arc::clone(&account);
        let fake = Fake::start_with(move |request| answer(request, &mut lock(&shared)))?;
        Ok(Self { fake, account })
    }

    /// The address of the events endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        self.fake.url("/v2/enqueue")
    }

    /// The server below: scripted answers, and all requests, refused ones too.
    #[must_use]
    pub const fn fake(&self) -> &Fake {
        &self.fake
    }

    /// The accepted events, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        lock(&self.account).events.clone()
    }

    /// The incidents by `dedup_key`.
    #[must_use]
    pub fn incidents(&self) -> BTreeMap<String, IncidentState> {
        lock(&self.account).incidents.clone()
    }

    /// How many incidents were opened in all: a trigger for one that is open
    /// adds to it, a trigger for a resolved one opens another.
    #[must_use]
    pub fn opened(&self) -> usize {
        lock(&self.account).opened
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(request: &Recorded, account: &mut Account) -> Reply {
    if request.path() != "/v2/enqueue" {
        return Reply::status(404);
    }
    if request.method != "POST" {
        return Reply::status(405);
    }
    let checked = request.json().map_err(|_| vec!["the event is not valid JSON".to_owned()]);
    match checked.and_then(|event| check(&event, request.body.len()).map(|()| event)) {
        Ok(event) => {
            let key = account.apply(event);
            let body = json!({"status": "success", "message": "Event processed", "dedup_key": key});
            Reply::json(202, &body)
        }
        Err(errors) => {
            let message = "Event object is invalid";
            let body = json!({"status": "invalid event", "message": message, "errors": errors});
            Reply::json(400, &body)
        }
    }
}

impl Account {
    /// Takes a valid event; gives the key of its incident.
    fn apply(&mut self, event: Value) -> String {
        let made_up = || format!("generated-{}", self.events.len());
        let key = event["dedup_key"].as_str().map_or_else(made_up, str::to_owned);
        let known = self.incidents.get(&key).copied();
        let is_open = known.is_some_and(|state| state != IncidentState::Resolved);
        let next = match event["event_action"].as_str() {
            Some("trigger") if is_open => known,
            Some("trigger") => {
                self.opened += 1;
                Some(IncidentState::Triggered)
            }
            // For an incident that is not open both are accepted and do nothing.
            Some("acknowledge") if is_open => Some(IncidentState::Acknowledged),
            Some("resolve") if is_open => Some(IncidentState::Resolved),
            _ => known,
        };
        if let Some(next) = next {
            self.incidents.insert(key.clone(), next);
        }
        self.events.push(event);
        key
    }
}

/// All that is wrong with an event.
fn check(event: &Value, bytes: usize) -> std::result::Result<(), Vec<String>> {
    let mut errors = Vec::new();
    let mut need = |holds: bool, error: &str| {
        if !holds {
            errors.push(error.to_owned());
        }
    };
    let chars = |value: &Value| value.as_str().map(|text| text.chars().count());
    need(event.is_object(), "the event is not an object");
    need(bytes <= EVENT_BYTES_MAX, "the event is larger than 512 KiB");
    need(
        chars(&event["routing_key"]) == Some(ROUTING_KEY_CHARS),
        "'routing_key' must be a string of 32 characters",
    );
    let action = event["event_action"].as_str();
    need(
        matches!(action, Some("trigger" | "acknowledge" | "resolve")),
        "'event_action' must be trigger, acknowledge or resolve",
    );
    let key = &event["dedup_key"];
    need(
        key.is_null() || chars(key).is_some_and(|chars| (1..=DEDUP_KEY_CHARS_MAX).contains(&chars)),
        "'dedup_key' must be a string of 1 to 255 characters",
    );
    let payload = &event["payload"];
    if action == Some("trigger") {
        need(
            chars(&payload["summary"]).is_some_and(|c| (1..=SUMMARY_CHARS_MAX).contains(&c)),
            "'payload.summary' must be a string of 1 to 1024 characters",
        );
        need(
            payload["source"].as_str().is_some_and(|source| !source.is_empty()),
            "'payload.source' is missing or blank",
        );
        need(
            matches!(payload["severity"].as_str(), Some("critical" | "error" | "warning" | "info")),
            "'payload.severity' must be critical, error, warning or info",
        );
        let time = &payload["timestamp"];
        need(
            time.is_null() || time.as_str().is_some_and(is_iso_8601),
            "'payload.timestamp' is not ISO 8601",
        );
        let details = &payload["custom_details"];
        need(details.is_null() || details.is_object(), "'payload.custom_details' is not an object");
    } else {
        need(!key.is_null(), "'dedup_key' is missing");
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Whether `text` is a time such as `2026-11-22T19:40:00.123Z` or
/// `2026-11-22T19:40:00+0100`: date, time to the second, zone.
fn is_iso_8601(text: &str) -> bool {
    let shaped = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, expected)| match expected {
                b'0' => byte.is_ascii_digit(),
                _ => byte == expected,
            })
    };
    let in_range = |from: usize, to: usize, least: u32, most: u32| {
        let number = text.get(from..to).and_then(|digits| digits.parse().ok());
        number.is_some_and(|number: u32| (least..=most).contains(&number))
    };
    let Some((time, rest)) = text.split_at_checked(19) else { return false };
    let fraction_ends = rest.strip_prefix('.').map_or(Some(rest), |rest| {
        let zone = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        (zone.len() < rest.len()).then_some(zone)
    });
    let zone_is_valid = fraction_ends.is_some_and(|zone| {
        let offset = zone.strip_prefix(['+', '-']).unwrap_or_default();
        zone == "Z" || shaped(offset, "00:00") || shaped(offset, "0000")
    });
    shaped(time, "0000-00-00T00:00:00")
        && in_range(5, 7, 1, 12)
        && in_range(8, 10, 1, 31)
        && in_range(11, 13, 0, 23)
        && in_range(14, 16, 0, 59)
        && in_range(17, 19, 0, 60)
        && zone_is_valid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client;

    fn trigger(key: &str) -> Value {
        json!({
            "routing_key": PagerDutyFake::ROUTING_KEY,
            "event_action": "trigger",
            "dedup_key": key,
            "payload": {
                "summary": "CPU above 90 %", "source": "web-1", "severity": "critical",
                "timestamp": "2026-11-22T19:40:00.123Z", "custom_details": {"cpu": 97.5},
            },
        })
    }

    fn action(action: &str, key: &str) -> Value {
        let routing_key = PagerDutyFake::ROUTING_KEY;
        json!({"routing_key": routing_key, "event_action": action, "dedup_key": key})
    }

    fn send(pagerduty: &PagerDutyFake, event: &Value) -> (u16, Value) {
        let answer = client::post(&pagerduty.url(), &[], event.to_string().as_bytes()).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
    }

    #[test]
    fn an_incident_lives_and_ends() {
        let pagerduty = PagerDutyFake::start().unwrap();
        let (status, body) = send(&pagerduty, &trigger("a"));
        assert_eq!((status, &body["dedup_key"]), (202, &json!("a")));
        send(&pagerduty, &trigger("a"));
        assert_eq!(pagerduty.opened(), 1, "a repeated trigger opens nothing");
        assert_eq!(send(&pagerduty, &action("acknowledge", "a")).0, 202);
        assert_eq!(pagerduty.incidents()["a"], IncidentState::Acknowledged);
        assert_eq!(send(&pagerduty, &action("resolve", "a")).0, 202);
        assert_eq!(pagerduty.incidents()["a"], IncidentState::Resolved);
        assert_eq!(send(&pagerduty, &action("resolve", "never")).0, 202);
        assert_eq!(pagerduty.incidents().len(), 1);
        send(&pagerduty, &trigger("a"));
        assert_eq!((pagerduty.opened(), pagerduty.events().len()), (2, 6));
    }

    #[test]
    fn each_rule_is_checked() {
        let pagerduty = PagerDutyFake::start().unwrap();
        let broken: [(&str, Value); 11] = [
            ("/routing_key", json!("short")),
            ("/routing_key", json!(5)),
            ("/event_action", json!("open")),
            ("/dedup_key", json!("")),
            ("/dedup_key", json!("k".repeat(256))),
            ("/payload/summary", json!("")),
            ("/payload/summary", json!("s".repeat(1025))),
            ("/payload/source", json!("")),
            ("/payload/severity", json!("fatal")),
            ("/payload/timestamp", json!("yesterday")),
            ("/payload/custom_details", json!("text")),
        ];
        for (pointer, value) in broken {
            let mut event = trigger("a");
            *event.pointer_mut(pointer).unwrap() = value;
            let (status, body) = send(&pagerduty, &event);
            let errors = body["errors"].to_string();
            let field = pointer.trim_start_matches("/payload").trim_start_matches('/');
            assert!(status == 400 && errors.contains(field), "{pointer}: {status} {body}");
        }
        let mut keyless = action("resolve", "a");
        keyless.as_object_mut().unwrap().remove("dedup_key");
        assert_eq!(send(&pagerduty, &keyless).0, 400);
        let mut huge = trigger("a");
        huge["payload"]["custom_details"]["x"] = json!("x".repeat(EVENT_BYTES_MAX));
        assert_eq!(send(&pagerduty, &huge).0, 400);
        assert_eq!(client::post(&pagerduty.url(), &[], b"not json").unwrap().status, 400);
        assert!(pagerduty.events().is_empty());
    }

    #[test]
    fn a_trigger_without_a_key_gets_one() {
        let pagerduty = PagerDutyFake::start().unwrap();
        let mut event = trigger("a");
        event.as_object_mut().unwrap().remove("dedup_key");
        let (status, body) = send(&pagerduty, &event);
        assert!(status == 202 && body["dedup_key"].is_string(), "{body}");
    }

    #[test]
    fn failures_can_be_scripted() {
        let pagerduty = PagerDutyFake::start().unwrap();
        for status in [429, 500, 503] {
            pagerduty.fake().enqueue(Reply::status(status));
        }
        let seen: Vec<u16> = (0..4).map(|_| send(&pagerduty, &trigger("a")).0).collect();
        assert_eq!(seen, [429, 500, 503, 202]);
        assert_eq!(pagerduty.events().len(), 1);
    }

    #[test]
    fn times_need_a_date_a_time_and_a_zone() {
        for good in [
            "2026-11-22T19:40:00Z",
            "2026-11-22T19:40:00.5Z",
            "2026-11-22T19:40:00.123456+01:00",
            "2026-11-22T19:40:00-0800",
        ] {
            assert!(is_iso_8601(good), "{good}");
        }
        for bad in [
            "2026-11-22",
            "2026-11-22T19:40:00",
            "2026-11-22 19:40:00Z",
            "2026-13-22T19:40:00Z",
            "2026-11-22T24:40:00Z",
            "2026-11-22T19:40:00.Z",
            "1795375194000",
            "2026-11-22T19:40:00é",
        ] {
            assert!(!is_iso_8601(bad), "{bad}");
        }
    }
}
