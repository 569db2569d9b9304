//! The PagerDuty sink, behind the driver, against a server that checks the contract of Events API v2.

use std::time::Duration;

use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::series::Labels;
use tidewatch_testkit::http::{IncidentState, PagerDutyFake, Reply};
use tokio::runtime::Handle;

use super::*;
use crate::delivery::{Delivery, DeliverySnapshot, DeliveryState, SinkHandle};
use crate::sinks::sample;

fn sink(pagerduty: &PagerDutyFake, key: &str) -> SinkHandle<Notification> {
    let key = Secret::Given(key.into());
    let config = PagerDutyConfig { url: pagerduty.url(), ..PagerDutyConfig::new(key) };
    let delivery = sample::hurried(config.delivery());
    Delivery::spawn(&Handle::current(), "pagerduty", config.open().unwrap(), delivery, |_, _| {})
}

async fn close(sink: &SinkHandle<Notification>) -> DeliverySnapshot {
    sink.close(Duration::from_secs(10)).await.snapshot
}

#[tokio::test]
async fn an_incident_is_triggered_and_resolved_by_its_identity() {
    let pagerduty = PagerDutyFake::start().unwrap();
    let sink = sink(&pagerduty, PagerDutyFake::ROUTING_KEY);
    sink.offer(vec![sample::opening(), sample::opening_of(7, "db-1"), sample::end()]);
    assert_eq!(close(&sink).await.delivered, 3);
    let incidents = pagerduty.incidents();
    assert_eq!(incidents["tw-00000000000000ab"], IncidentState::Resolved);
    assert_eq!(incidents["tw-0000000000000007"], IncidentState::Triggered);
    let payload = pagerduty.events()[0]["payload"].clone();
    assert_eq!(
        payload["summary"],
        "[CRITICAL] cpu_sustained on host=web-1: usage_active above 90 for 5m"
    );
    assert_eq!(
        (&payload["source"], &payload["severity"]),
        (&"host=web-1".into(), &"critical".into())
    );
    assert_eq!(payload["timestamp"], "2026-11-22T19:40:00.000Z");
    assert_eq!(payload["custom_details"]["Owner"], "web-team");
}

#[tokio::test]
async fn a_lost_answer_opens_nothing_twice() {
    let pagerduty = PagerDutyFake::start().unwrap();
    for reply in [Reply::hang_up(), Reply::status(500)] {
        pagerduty.fake().enqueue_after_effect(reply);
    }
    pagerduty.fake().enqueue(Reply::status(429).header("retry-after", "0"));
    let sink = sink(&pagerduty, PagerDutyFake::ROUTING_KEY);
    sink.offer(vec![sample::opening(), sample::end()]);
    assert_eq!(close(&sink).await.delivered, 2);
    assert_eq!(pagerduty.opened(), 1);
    let actions: Vec<Value> =
        pagerduty.events().iter().map(|event| event["event_action"].clone()).collect();
    assert_eq!(
        actions,
        ["trigger", "trigger", "trigger", "resolve"],
        "never a trigger after its end"
    );
}

#[tokio::test]
async fn a_wrong_key_holds_everything_and_is_never_named() {
    let pagerduty = PagerDutyFake::start().unwrap();
    let sink = sink(&pagerduty, "too-short-to-be-a-key");
    let echo = r#"{"errors":["'routing_key' too-short-to-be-a-key is not valid"]}"#;
    pagerduty.fake().enqueue(Reply::status(400).body(echo));
    sink.offer(vec![sample::opening()]);
    for attempts in [1, 2] {
        let snapshot = sample::until(&sink, |s| s.retried >= attempts).await;
        let error = snapshot.last_error.unwrap_or_default();
        assert_eq!(snapshot.state, DeliveryState::Refused, "{error}");
        assert!(error.contains("`routing_key`") && !error.contains("too-short"), "{error}");
    }
    let closed = sink.close(Duration::from_millis(10)).await;
    assert_eq!((closed.left.len(), closed.snapshot.queued), (1, 1));
}

#[tokio::test]
async fn an_event_at_fault_is_dead_lettered() {
    let pagerduty = PagerDutyFake::start().unwrap();
    pagerduty.fake().enqueue(Reply::status(400).body("Event object is invalid"));
    let sink = sink(&pagerduty, PagerDutyFake::ROUTING_KEY);
    sink.offer(vec![sample::opening(), sample::opening_of(2, "db-1")]);
    let snapshot = close(&sink).await;
    assert_eq!((snapshot.delivered, snapshot.rejected), (1, 1));
}

#[tokio::test]
async fn nothing_grows_beyond_what_is_allowed() {
    let pagerduty = PagerDutyFake::start().unwrap();
    let sink = sink(&pagerduty, PagerDutyFake::ROUTING_KEY);
    let mut notification = sample::opening();
    notification.transition.group = Labels::from_pairs([("host", "x".repeat(100_000))]);
    notification.transition.rule = "r".repeat(5_000).into();
    notification.transition.summary = "é".repeat(5_000).into();
    let mut everything = sample::opening_of(2, "");
    everything.transition.group = Labels::default();
    sink.offer(vec![notification, everything]);
    assert_eq!(close(&sink).await.delivered, 2);
    assert_eq!(pagerduty.events()[1]["payload"]["source"], "tidewatch");
}

#[test]
fn the_configuration_has_the_documented_fields_and_no_others() {
    let read = |text: &str| serde_json::from_str::<PagerDutyConfig>(text);
    let config = read(r#"{"routing_key":{"env":"X"}}"#).unwrap();
    assert_eq!(config.url, "https://events.pagerduty.com/v2/enqueue");
    config.validate().unwrap();
    assert!(read(r#"{"routing_key":{"env":"X"},"severity":"x"}"#).is_err());
}
