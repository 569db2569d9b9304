//! Mails, and the writer behind the driver against a scripted relay. The real one is in the service tests.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewatch_dataflow::alert::Notification;
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tokio::runtime::Handle;

use super::letter::compose;
use super::*;
use crate::delivery::{Delivery, DeliverySnapshot, DeliveryState, SinkHandle, default_spill};
use crate::sinks::sample;

/// What a scripted relay was told: envelope recipients and text of each accepted mail.
#[derive(Default)]
struct Inbox {
    mails: Vec<(Vec<String>, String)>,
    connections: usize,
    /// Answers to give instead of the usual, to the next command that begins so.
    script: VecDeque<(&'static str, &'static str)>,
}

/// A relay without encryption that offers `AUTH PLAIN` and takes everything that is not scripted.
struct ScriptedRelay {
    port: u16,
    inbox: Arc<Mutex<Inbox>>,
}

impl ScriptedRelay {
    fn start(script: &[(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let inbox = Inbox { script: script.iter().copied().collect(), ..Inbox::default() };
        let inbox = Arc::new(Mutex::new(inbox));
        let shared = Arc::clone(&inbox);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inbox = Arc::clone(&shared);
                std::thread::spawn(move || drop(serve(stream, &inbox)));
            }
        });
        ScriptedRelay { port, inbox }
    }

    fn mails(&self) -> Vec<(Vec<String>, String)> {
        self.inbox.lock().unwrap().mails.clone()
    }
}

fn serve(mut stream: TcpStream, inbox: &Mutex<Inbox>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let scripted = |command: &str| {
        let mut inbox = inbox.lock().unwrap();
        let at = inbox.script.iter().position(|(start, _)| command.starts_with(start))?;
        inbox.script.remove(at).map(|(_, answer)| answer)
    };
    inbox.lock().unwrap().connections += 1;
    let mut recipients = Vec::new();
    stream.write_all(format!("{}\r\n", scripted("CONNECT").unwrap_or("220 hello")).as_bytes())?;
    while let Some(command) = lines.next().transpose()? {
        let mut answer = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-relay\r\n250 AUTH PLAIN LOGIN",
            "AUTH" => "235 welcome",
            "MAIL" | "RCPT" => "250 yes",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "500 what",
        };
        let instead = scripted(&command);
        match (instead, command.as_str()) {
            (Some("hang up"), _) => return Ok(()),
            (Some(instead), _) => answer = instead,
            (None, "DATA") => {
                stream.write_all(b"354 go on\r\n")?;
                let mut text = String::new();
                for line in lines.by_ref() {
                    match line?.as_str() {
                        "." => break,
                        line => text.push_str(&format!("{line}\n")),
                    }
                }
                answer = scripted("TEXT").unwrap_or("250 sent");
                if answer.starts_with('2') || answer == "hang up after effect" {
                    inbox.lock().unwrap().mails.push((std::mem::take(&mut recipients), text));
                }
                if answer.starts_with("hang up") {
                    return Ok(());
                }
            }
            (None, _) => {}
        }
        if let (Some(to), '2') = (command.strip_prefix("RCPT TO:<"), answer.chars().next().unwrap())
        {
            recipients.push(to.split('>').next().unwrap_or_default().to_owned());
        }
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
        if command == "QUIT" {
            break;
        }
    }
    Ok(())
}

fn config(port: u16) -> EmailConfig {
    EmailConfig {
        relay: "127.0.0.1".into(),
        port: Some(port),
        tls: Encryption::None,
        ca: None,
        username: Some("tw".into()),
        password: Some(Secret::Given("s3cret".into())),
        from: "Tidewatch <tidewatch@example.org>".into(),
        to: vec!["a@example.org".into(), "B <b@example.org>".into()],
        spill: default_spill(),
    }
}

fn sink(relay: &ScriptedRelay) -> SinkHandle<Notification> {
    let config = config(relay.port);
    let delivery = sample::hurried(config.delivery());
    Delivery::spawn(&Handle::current(), "email", config.open().unwrap(), delivery, |_, _| {})
}

async fn deliver(relay: &ScriptedRelay, notifications: Vec<Notification>) -> DeliverySnapshot {
    let sink = sink(relay);
    sink.offer(notifications);
    sample::until(&sink, |s| s.queued == 0).await;
    sink.close(Duration::from_secs(10)).await.snapshot
}

fn recipients(relay: &ScriptedRelay) -> Vec<Vec<String>> {
    relay.mails().into_iter().map(|(to, _)| to).collect()
}

#[test]
fn a_mail_says_who_what_and_to_which_thread_it_belongs() {
    let from = "Tidewatch <tidewatch@example.org>".parse().unwrap();
    let to = ["a@example.org".parse().unwrap(), "B <b@example.org>".parse().unwrap()];
    let opening = compose(&sample::opening(), &from, &to).unwrap().formatted();
    let again = compose(&sample::opening(), &from, &to).unwrap().formatted();
    assert_eq!(opening, again, "the same bytes each time");
    let opening = String::from_utf8(opening).unwrap();
    for line in [
        "From: Tidewatch <tidewatch@example.org>\r\n",
        "To: a@example.org, B <b@example.org>\r\n",
        "Message-ID: <tw-00000000000000ab-0@example.org>\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Date: Sun, 22 Nov 2026 19:40:10 +0000\r\n",
        "\r\nOwner:    web-team\r\n",
    ] {
        assert!(opening.contains(line), "{line:?} in {opening}");
    }
    assert!(!opening.contains("In-Reply-To"));
    let end = String::from_utf8(compose(&sample::end(), &from, &to).unwrap().formatted()).unwrap();
    for line in [
        "Message-ID: <tw-00000000000000ab-1@example.org>\r\n",
        "In-Reply-To: <tw-00000000000000ab-0@example.org>\r\n",
        "References: <tw-00000000000000ab-0@example.org>\r\n",
    ] {
        assert!(end.contains(line), "{line:?} in {end}");
    }
}

#[test]
fn a_mail_is_ascii_and_its_header_cannot_be_broken_out_of() {
    let from = "tidewatch@example.org".parse().unwrap();
    let to = ["a@example.org".parse().unwrap()];
    let mut notification = sample::opening();
    notification.transition.group =
        Labels::from_pairs([("host", "høst\r\nBcc: evil@example.org\r\n\r\nhello 日本")]);
    notification.inventory = Labels::from_pairs([("note", "x".repeat(5_000))]);
    notification.transition.decided_at = EventTime::MAX;
    let mail = compose(&notification, &from, &to).unwrap();
    let text = String::from_utf8(mail.formatted()).unwrap();
    assert!(text.is_ascii(), "{text}");
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    assert!(text.lines().all(|line| line.len() <= 998));
    assert_eq!(mail.envelope().to().len(), 1);
}

#[tokio::test]
async fn mails_of_a_batch_share_a_connection_and_keep_their_order() {
    let relay = ScriptedRelay::start(&[]);
    let snapshot = deliver(&relay, vec![sample::opening(), sample::end()]).await;
    assert_eq!((snapshot.delivered, snapshot.retried), (2, 0));
    let mails = relay.mails();
    assert!(mails[0].1.contains("[CRITICAL]") && mails[1].1.contains("[RESOLVED]"));
    assert_eq!(recipients(&relay), vec![vec!["a@example.org", "b@example.org"]; 2]);
    assert_eq!(relay.inbox.lock().unwrap().connections, 1);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_at_every_stage() {
    let script = [
        ("CONNECT", "421 too many connections"),
        ("EHLO", "hang up"),
        ("AUTH", "454 temporary"),
        ("MAIL", "451 later"),
        ("RCPT", "hang up"),
        ("DATA", "451 later"),
        ("TEXT", "452 disk full"),
        ("TEXT", "hang up"),
    ];
    let relay = ScriptedRelay::start(&script);
    let snapshot = deliver(&relay, vec![sample::opening()]).await;
    assert_eq!((snapshot.delivered, snapshot.rejected, snapshot.retried), (1, 0, 8));
    assert_eq!(relay.mails().len(), 1);
}

#[tokio::test]
async fn a_lost_acceptance_repeats_the_same_mail() {
    let relay = ScriptedRelay::start(&[("TEXT", "hang up after effect")]);
    assert_eq!(deliver(&relay, vec![sample::opening()]).await.delivered, 1);
    let mails = relay.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1]);
}

#[tokio::test]
async fn a_mail_at_fault_is_dead_lettered_and_the_next_is_sent() {
    let relay = ScriptedRelay::start(&[("TEXT", "554 5.7.1 not wanted")]);
    let snapshot = deliver(&relay, vec![sample::opening(), sample::end()]).await;
    assert_eq!((snapshot.delivered, snapshot.rejected), (1, 1));
    assert!(relay.mails()[0].1.contains("[RESOLVED]"));
}

#[tokio::test]
async fn a_refused_recipient_does_not_keep_the_others_from_the_mail() {
    let relay = ScriptedRelay::start(&[("RCPT TO:<a@", "550 no such user")]);
    let snapshot = deliver(&relay, vec![sample::opening()]).await;
    assert_eq!((snapshot.delivered, snapshot.rejected, snapshot.retried), (1, 0, 0));
    assert_eq!(recipients(&relay), [["b@example.org"]]);
    let nobody = [("RCPT TO:<a@", "550 no such user"), ("RCPT TO:<b@", "553 no such user")];
    let relay = ScriptedRelay::start(&nobody);
    let snapshot = deliver(&relay, vec![sample::opening(), sample::end()]).await;
    assert_eq!((snapshot.delivered, snapshot.rejected), (1, 1));
}

#[tokio::test]
async fn a_recipient_that_was_put_off_is_tried_again_alone() {
    let script = [("RCPT TO:<b@", "450 greylisted"), ("RCPT TO:<b@", "450 greylisted")];
    let relay = ScriptedRelay::start(&script);
    assert_eq!(deliver(&relay, vec![sample::opening(), sample::end()]).await.delivered, 2);
    let (first, second) = (vec!["a@example.org"], vec!["b@example.org"]);
    let both = vec!["a@example.org", "b@example.org"];
    assert_eq!(recipients(&relay), [first, second, both]);
}

#[tokio::test]
async fn a_relay_that_refuses_us_holds_everything_and_tells_no_secret() {
    for (stage, answer) in [
        ("CONNECT", "554 no service for s3cret"),
        ("AUTH", "535 s3cret is not the password"),
        ("MAIL", "550 sender s3cret not allowed"),
        ("RCPT", "530 authenticate first, s3cret"),
    ] {
        let relay = ScriptedRelay::start(&[(stage, answer); 1_000]);
        let sink = sink(&relay);
        sink.offer(vec![sample::opening()]);
        let snapshot = sample::until(&sink, |s| s.retried > 1).await;
        let text = snapshot.last_error.unwrap_or_default();
        assert_eq!(snapshot.state, DeliveryState::Refused, "{stage}: {text}");
        assert!(text.contains("***") && text.contains("check `"), "{stage}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
        relay.inbox.lock().unwrap().script.clear();
        assert_eq!(sink.close(Duration::from_secs(10)).await.snapshot.delivered, 1);
    }
}

#[tokio::test]
async fn a_relay_without_encryption_is_not_told_anything() {
    let relay = ScriptedRelay::start(&[]);
    let config = EmailConfig { tls: Encryption::StartTls, ..config(relay.port) };
    let mut writer = config.open().unwrap();
    let batch = [sample::opening()];
    let failure =
        tidewatch_dataflow::sink::SinkWriter::write(&mut writer, &batch).await.unwrap_err();
    let text = crate::delivery::chain(&failure);
    assert!(text.contains("refuses us") && text.contains("STARTTLS"), "{text}");
    assert!(!format!("{writer:?}").contains("s3cret"));
}

#[test]
fn the_configuration_has_the_documented_fields_and_no_others() {
    let read = |text: &str| serde_json::from_str::<EmailConfig>(text);
    let text = r#"{"relay":"smtp.example.org","port":587,"tls":"starttls","username":"tw",
        "password":{"env":"P"},"from":"t@example.org","to":["sre@example.org"]}"#;
    read(text).unwrap().validate().unwrap();
    assert!(read(&text.replace("\"port\"", "\"prot\"")).is_err());
    for (from, to, field) in [
        ("\"t@example.org\"", "\"nonsense\"", "from"),
        ("[\"sre@example.org\"]", "[]", "to"),
        ("[\"sre@example.org\"]", "[\"ü@example.org\"]", "to"),
        ("\"smtp.example.org\"", "\"\"", "relay"),
        ("\"username\":\"tw\",", "", "password"),
        ("\"tls\":\"starttls\"", "\"tls\":\"none\",\"ca\":\"x\"", "ca"),
        ("\"port\":587", "\"ca\":\"/nowhere/ca.pem\"", "ca"),
    ] {
        let config = read(&text.replace(from, to)).unwrap();
        let config =
            EmailConfig { password: config.password.map(|_| Secret::Given("x".into())), ..config };
        let error = config.open().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}` is not usable")), "{error}");
    }
}
