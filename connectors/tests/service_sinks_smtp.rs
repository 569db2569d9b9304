//! The mail channel against a real SMTP server: every encryption, authentication, threads, refusals.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sinks_util;

use std::path::PathBuf;
use std::time::Duration;

use sinks_util::{end, hasty, opening, until};
use tempfile::TempDir;
use tidewatch_connectors::delivery::{Delivery, DeliveryState, SinkHandle, default_spill};
use tidewatch_connectors::sinks::email::{EmailConfig, Encryption};
use tidewatch_dataflow::alert::Notification;
use tidewatch_dataflow::config::Secret;
use tidewatch_testkit::smtp::{MailServer, Security};
use tidewatch_testkit::{Service, require};
use tokio::runtime::Handle;

/// Starts a server, or reports the test as skipped.
fn start(security: Security) -> Option<MailServer> {
    require(Service::Smtp)?;
    Some(MailServer::start(security).unwrap())
}

fn config(server: &MailServer, tls: Encryption, ca: Option<PathBuf>) -> EmailConfig {
    EmailConfig {
        relay: server.host().to_owned(),
        port: Some(server.port()),
        tls,
        ca,
        username: Some(MailServer::USER.to_owned()),
        password: Some(Secret::Given(MailServer::PASSWORD.to_owned())),
        from: "Tidewatch <tidewatch@example.org>".to_owned(),
        to: vec!["sre@example.org".to_owned(), "Ops <ops@example.org>".to_owned()],
        spill: default_spill(),
    }
}

fn sink(config: &EmailConfig) -> SinkHandle<Notification> {
    let delivery = hasty(config.delivery());
    let writer = config.open().unwrap();
    Delivery::spawn(&Handle::current(), "email/oncall", writer, delivery, |_, _| {})
}

/// The certificate of the server's authority in a file, which lives as long as the folder.
fn authority(server: &MailServer) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("authority.pem");
    std::fs::write(&path, server.authority_pem().unwrap()).unwrap();
    (folder, path)
}

#[tokio::test]
async fn mails_arrive_by_each_encryption_and_make_one_thread() {
    for (security, tls) in [
        (Security::Plain, Encryption::None),
        (Security::StartTls, Encryption::StartTls),
        (Security::Tls, Encryption::Tls),
    ] {
        let Some(server) = start(security) else { return };
        let authority = (security != Security::Plain).then(|| authority(&server));
        let ca = authority.as_ref().map(|(_, path)| path.clone());
        let sink = sink(&config(&server, tls, ca));
        sink.offer(vec![opening(0xab, "wéb-1"), end(0xab, "wéb-1")]);
        assert_eq!(sink.close(Duration::from_secs(60)).await.snapshot.delivered, 2, "{tls:?}");
        let mails = server.received();
        assert_eq!(mails.len(), 2);
        let (first, last) = (&mails[0], &mails[1]);
        assert_eq!(first.encrypted, security != Security::Plain);
        assert_eq!(first.user, MailServer::USER);
        assert_eq!(first.sender, "tidewatch@example.org");
        assert_eq!(first.recipients, ["sre@example.org", "ops@example.org"]);
        let subject = "[CRITICAL] cpu_sustained on host=wéb-1: usage_active above 90 for 5m";
        assert_eq!(first.subject(), subject);
        assert!(first.text.as_ref().unwrap().contains("Owner:    web-team"));
        let id = first.header("message-id").unwrap();
        assert_eq!(id, "<tw-00000000000000ab-0@example.org>");
        assert_eq!(last.header("in-reply-to"), Some(id));
        assert_eq!(last.header("references"), Some(id));
        assert!(last.text.as_ref().unwrap().contains("Lasted:   17m"), "{:?}", last.text);
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_gets_no_mail() {
    for (security, tls) in
        [(Security::StartTls, Encryption::StartTls), (Security::Tls, Encryption::Tls)]
    {
        let Some(server) = start(security) else { return };
        let sink = sink(&config(&server, tls, None));
        sink.offer(vec![opening(1, "web-1")]);
        let snapshot = until(&sink, |s| s.retried > 1).await;
        let error = snapshot.last_error.unwrap_or_default();
        assert!(error.to_lowercase().contains("certificate"), "{error}");
        assert_eq!(sink.close(Duration::from_millis(10)).await.left.len(), 1, "held, not lost");
        assert!(server.received().is_empty());
    }
}

#[tokio::test]
async fn what_the_server_puts_off_is_sent_again_and_what_it_refuses_is_not() {
    let Some(server) = start(Security::StartTls) else { return };
    let replies = ["451 4.3.0 try again later", "452 4.2.2 full", "554 5.7.1 not wanted"];
    server.refuse_next(&replies).unwrap();
    let (_folder, ca) = authority(&server);
    let sink = sink(&config(&server, Encryption::StartTls, Some(ca)));
    sink.offer(vec![opening(1, "web-1"), opening(2, "web-2"), end(2, "web-2")]);
    let snapshot = until(&sink, |s| s.queued == 0).await;
    assert_eq!((snapshot.delivered, snapshot.rejected), (2, 1));
    let ids: Vec<String> = server
        .received()
        .iter()
        .filter_map(|m| m.header("message-id").map(str::to_owned))
        .collect();
    let expected = ["<tw-0000000000000002-0@example.org>", "<tw-0000000000000002-1@example.org>"];
    assert_eq!(ids, expected, "in order; the first incident's mail is a dead letter");
}

#[tokio::test]
async fn a_wrong_password_holds_everything_until_it_is_right() {
    let Some(server) = start(Security::Plain) else { return };
    let right = config(&server, Encryption::None, None);
    let wrong =
        EmailConfig { password: Some(Secret::Given("Tr0ub4dor&3".into())), ..right.clone() };
    let refused = sink(&wrong);
    refused.offer(vec![opening(1, "web-1")]);
    let snapshot = until(&refused, |s| s.retried > 1).await;
    let error = snapshot.last_error.unwrap_or_default();
    assert_eq!(snapshot.state, DeliveryState::Refused, "{error}");
    assert!(error.contains("535") || error.to_lowercase().contains("authentication"), "{error}");
    assert!(!error.contains("Tr0ub4dor"), "{error}");
    let left = refused.close(Duration::from_millis(10)).await.left;
    let mended = sink(&right);
    mended.offer(left);
    assert_eq!(mended.close(Duration::from_secs(60)).await.snapshot.delivered, 1);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_server_that_wants_encryption_or_a_name_holds_everything() {
    let Some(server) = start(Security::StartTls) else { return };
    let plain = config(&server, Encryption::None, None);
    let nameless = EmailConfig { username: None, password: None, ..plain.clone() };
    for config in [plain, nameless] {
        let sink = sink(&config);
        sink.offer(vec![opening(1, "web-1")]);
        let snapshot = until(&sink, |s| s.retried > 1).await;
        assert_eq!(snapshot.state, DeliveryState::Refused, "{:?}", snapshot.last_error);
        assert_eq!(sink.close(Duration::from_millis(10)).await.left.len(), 1);
    }
    assert!(server.received().is_empty());
}
