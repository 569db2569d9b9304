//! Slack and PagerDuty side by side, against servers that check their contracts: each behind its own
//! driver, so that one that is down keeps nothing from the other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sinks_util;

use std::time::Duration;

use sinks_util::{end, hasty, opening, until};
use tidewatch_connectors::delivery::{Delivery, DeliveryConfig, DeliveryState, OnFull, SinkHandle};
use tidewatch_connectors::sinks::console::{self, ConsoleWriter};
use tidewatch_connectors::sinks::pagerduty::PagerDutyConfig;
use tidewatch_connectors::sinks::slack::SlackConfig;
use tidewatch_dataflow::alert::Notification;
use tidewatch_dataflow::config::Secret;
use tidewatch_testkit::http::{IncidentState, PagerDutyFake, Reply, SlackFake};
use tokio::runtime::Handle;

fn slack_sink(
    url: &str,
    config: impl Fn(DeliveryConfig) -> DeliveryConfig,
) -> SinkHandle<Notification> {
    let slack = SlackConfig::new(Secret::Given(url.to_owned()));
    let delivery = config(hasty(slack.delivery()));
    let writer = slack.open().unwrap();
    Delivery::spawn(&Handle::current(), "slack/oncall", writer, delivery, |_, _| {})
}

fn pagerduty_sink(server: &PagerDutyFake) -> SinkHandle<Notification> {
    let key = Secret::Given(PagerDutyFake::ROUTING_KEY.to_owned());
    let config = PagerDutyConfig { url: server.url(), ..PagerDutyConfig::new(key) };
    let delivery = hasty(config.delivery());
    let writer = config.open().unwrap();
    Delivery::spawn(&Handle::current(), "pagerduty/oncall", writer, delivery, |_, _| {})
}

/// Incidents that open one after another, then end in the same order.
fn story(incidents: u64) -> Vec<Notification> {
    let openings = (0..incidents).map(|n| opening(n, &format!("web-{n}")));
    openings.chain((0..incidents).map(|n| end(n, &format!("web-{n}")))).collect()
}

#[tokio::test]
async fn a_dead_channel_keeps_nothing_from_a_live_one_and_catches_up_in_order() {
    let (slack, pagerduty) = (SlackFake::start().unwrap(), PagerDutyFake::start().unwrap());
    // Slack is out of reach for longer than the whole story takes.
    for _ in 0..60 {
        slack.fake().enqueue(Reply::hang_up());
    }
    let (dead, live) = (slack_sink(&slack.url(), |config| config), pagerduty_sink(&pagerduty));
    for notification in story(20) {
        dead.offer(vec![notification.clone()]);
        live.offer(vec![notification]);
    }
    until(&live, |s| s.queued == 0).await;
    assert_eq!(pagerduty.opened(), 20);
    assert!(pagerduty.incidents().values().all(|state| *state == IncidentState::Resolved));
    let snapshot = until(&dead, |s| s.queued == 0).await;
    assert_eq!((snapshot.delivered, snapshot.retried, snapshot.state), (40, 60, DeliveryState::Up));
    let texts: Vec<String> = slack.messages().iter().map(|m| m["text"].to_string()).collect();
    let expected: Vec<String> =
        story(20).iter().map(|n| n.transition.incident.to_string()).collect();
    assert_eq!(texts.len(), 40);
    assert!(texts.iter().zip(&expected).all(|(text, incident)| text.contains(incident)));
    assert!(texts[..20].iter().all(|text| text.contains("[CRITICAL]")));
    assert!(texts[20..].iter().all(|text| text.contains("[RESOLVED]")));
}

#[tokio::test]
async fn a_channel_that_stays_dead_sheds_the_newest_and_reports_what_is_left() {
    let gone = SlackFake::start().unwrap().url();
    let small = |config| DeliveryConfig { queue_items: 5, ..config };
    let sink = slack_sink(&gone, small);
    sink.offer(story(4));
    until(&sink, |s| s.state == DeliveryState::Retrying).await;
    let closed = sink.close(Duration::from_millis(50)).await;
    let snapshot = closed.snapshot;
    assert_eq!((snapshot.offered, snapshot.shed, snapshot.queued), (8, 3, 5));
    assert_eq!(closed.left, story(4)[..5]);
    assert_eq!(SlackConfig::new(Secret::Given(gone)).delivery().on_full, OnFull::Shed);
}

#[tokio::test]
async fn pagerduty_keeps_one_incident_whatever_is_repeated() {
    let pagerduty = PagerDutyFake::start().unwrap();
    let replies = [
        Reply::status(429).header("retry-after", "0"),
        Reply::status(503),
        Reply::status(502).body("<html>"),
    ];
    for reply in replies {
        pagerduty.fake().enqueue(reply);
    }
    pagerduty.fake().enqueue_after_effect(Reply::hang_up());
    pagerduty.fake().enqueue_after_effect(Reply::status(504));
    let sink = pagerduty_sink(&pagerduty);
    sink.offer(story(3));
    let snapshot = until(&sink, |s| s.queued == 0).await;
    assert_eq!((snapshot.delivered, snapshot.rejected, snapshot.retried), (6, 0, 5));
    assert_eq!(pagerduty.opened(), 3);
    // A replay of the whole story after it has ended opens and ends each once more, and no further.
    sink.offer(story(3));
    until(&sink, |s| s.queued == 0).await;
    assert_eq!(pagerduty.opened(), 6);
    assert!(pagerduty.incidents().values().all(|state| *state == IncidentState::Resolved));
}

#[tokio::test]
async fn the_console_tells_the_same_story() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = ConsoleWriter::new(file.reopen().unwrap(), false);
    let sink =
        Delivery::spawn(&Handle::current(), "console", writer, console::delivery(), |_, _| {});
    sink.offer(story(2));
    assert_eq!(sink.close(Duration::from_secs(10)).await.snapshot.delivered, 4);
    let text = std::fs::read_to_string(file.path()).unwrap();
    let words: Vec<&str> = text.lines().map(|line| line.split("  ").nth(1).unwrap()).collect();
    assert_eq!(words, ["CRITICAL", "CRITICAL", "RESOLVED", "RESOLVED"]);
}
