//! The Slack sink, behind the driver, against a server that checks the webhook's contract.

use std::time::Duration;

use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::series::Labels;
use tidewatch_testkit::http::{Reply, SlackFake};
use tokio::runtime::Handle;

use super::*;
use crate::delivery::{Delivery, DeliverySnapshot, DeliveryState, SinkHandle};
use crate::sinks::sample;

fn sink(slack: &SlackFake) -> SinkHandle<Notification> {
    sink_to(&slack.url())
}

fn sink_to(url: &str) -> SinkHandle<Notification> {
    let config = SlackConfig::new(Secret::Given(url.to_owned()));
    let delivery = sample::hurried(config.delivery());
    Delivery::spawn(&Handle::current(), "slack", config.open().unwrap(), delivery, |_, _| {})
}

async fn close(sink: &SinkHandle<Notification>) -> DeliverySnapshot {
    sink.close(Duration::from_secs(10)).await.snapshot
}

#[tokio::test]
async fn a_message_has_title_colour_and_facts() {
    let slack = SlackFake::start().unwrap();
    let sink = sink(&slack);
    sink.offer(vec![sample::opening(), sample::end()]);
    assert_eq!(close(&sink).await.delivered, 2);
    let messages = slack.messages();
    assert_eq!(
        messages[0]["text"],
        "[CRITICAL] cpu_sustained on host=web-1: usage_active above 90 for 5m · tw-00000000000000ab"
    );
    let attachment = &messages[0]["attachments"][0];
    assert_eq!(attachment["color"], "#d0021b");
    let details = attachment["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(details.contains("*Owner:* web-team\n*Tier:* 1\n"), "{details}");
    assert_eq!(messages[1]["attachments"][0]["color"], "#2eb886");
    let title = messages[1]["text"].as_str().unwrap();
    assert!(
        title.starts_with("[RESOLVED] ") && title.ends_with("· tw-00000000000000ab"),
        "{title}"
    );
}

#[tokio::test]
async fn control_characters_of_slack_are_escaped_and_nothing_grows_too_long() {
    let slack = SlackFake::start().unwrap();
    let sink = sink(&slack);
    let mut notification = sample::opening();
    let owners = (0..50).map(|n| (format!("owner{n}"), "&".repeat(600)));
    notification.inventory = Labels::from_pairs(owners);
    notification.transition.group = Labels::from_pairs([("host", "<!channel> & <@U1>")]);
    sink.offer(vec![notification]);
    assert_eq!(close(&sink).await.delivered, 1);
    let message = slack.messages()[0].to_string();
    assert!(message.contains("&lt;!channel&gt; &amp; &lt;@U1&gt;"), "{message}");
    assert!(!message.contains("<!channel"), "{message}");
    let messages = slack.messages();
    let details = messages[0]["attachments"][0]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(details.chars().count() <= 3_000);
}

#[tokio::test]
async fn it_retries_in_order_until_each_is_posted() {
    let slack = SlackFake::start().unwrap();
    slack.fake().enqueue(Reply::status(429).header("retry-after", "1"));
    slack.fake().enqueue(Reply::status(500).body("rollup_error"));
    slack.fake().enqueue(Reply::hang_up());
    let sink = sink(&slack);
    let started = std::time::Instant::now();
    sink.offer((0..5).map(|n| sample::opening_of(n, "web-1")).collect());
    sample::until(&sink, |s| s.queued == 0).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(close(&sink).await.delivered, 5);
    let messages = slack.messages();
    let ids = messages.iter().map(|m| m["text"].as_str().unwrap().rsplit(' ').next().unwrap());
    let expected: Vec<String> = (0..5).map(|n| format!("tw-{n:016x}")).collect();
    assert_eq!(ids.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_message_at_fault_is_dead_lettered_and_the_next_is_posted() {
    let slack = SlackFake::start().unwrap();
    slack.fake().enqueue(Reply::status(400).body("invalid_blocks"));
    let sink = sink(&slack);
    sink.offer(vec![sample::opening(), sample::end()]);
    let snapshot = close(&sink).await;
    assert_eq!((snapshot.delivered, snapshot.rejected), (1, 1));
}

#[tokio::test]
async fn a_revoked_webhook_holds_everything_and_is_never_named() {
    let path = "services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";
    for status in [403, 404, 410, 302] {
        let broken =
            Reply::status(status).body(format!("no_service at /{path} (XXXXXXXXXXXXXXXXXXXXXXXX)"));
        let server = sample::Breakable::start(broken, |_| Reply::status(200).body("ok"));
        let sink = sink_to(&server.fake.url(&format!("/{path}")));
        sink.offer(vec![sample::opening()]);
        let snapshot = sample::until(&sink, |s| s.retried > 1).await;
        let error = snapshot.last_error.unwrap_or_default();
        assert_eq!(snapshot.state, DeliveryState::Refused, "{error}");
        assert!(error.contains("no_service at /*** (***)") && !error.contains("XXXX"), "{error}");
        server.mend();
        assert_eq!(close(&sink).await.delivered, 1);
    }
}

#[tokio::test]
async fn an_unreachable_webhook_is_never_named_either() {
    let url = SlackFake::start().unwrap().url();
    let mut writer = SlackConfig::new(Secret::Given(url.clone())).open().unwrap();
    let error = writer.write(&[sample::opening()]).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Transient { .. }));
    let text = format!("{error} {error:?} {writer:?}");
    assert!(!text.contains("/services/") && !text.contains("XXXXXX"), "{text}");
}

#[test]
fn a_secret_that_is_no_address_is_not_shown() {
    let config = SlackConfig::new(Secret::Given("hooks/T0/B0/secret".into()));
    let error = config.open().unwrap_err().to_string();
    assert!(error.starts_with("`webhook` is not usable") && !error.contains("secret"), "{error}");
    assert!(
        serde_json::from_str::<SlackConfig>(r#"{"webhook":{"env":"X"},"channel":"y"}"#).is_err()
    );
}
