//! Encryption and authentication against a real broker: what is let in, and what the others are told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod kafka_util;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kafka_util::{LIMIT, at, open, read_to_end, texts, until_error, write};
use tidewatch_connectors::kafka::dead_letters::DeadLetterWriter;
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_connectors::kafka::{
    KafkaConfig, KafkaReader, Mechanism, Protocol, Security, Start, partitions,
};
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::dead_letter::{DeadLetter, Reason};
use tidewatch_dataflow::record::Topics;
use tidewatch_dataflow::sink::{ConnectorError, SinkWriter};
use tidewatch_testkit::kafka::{Listener, SecuredBroker};
use tidewatch_testkit::{Service, require, unique};

const MECHANISMS: [Mechanism; 3] =
    [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];

fn broker() -> Option<&'static SecuredBroker> {
    static BROKER: OnceLock<SecuredBroker> = OnceLock::new();
    require(Service::Kafka)?;
    Some(BROKER.get_or_init(|| SecuredBroker::start().unwrap()))
}

fn config(listener: Listener, security: Security) -> KafkaConfig {
    let mut config = KafkaConfig::new([broker().unwrap().bootstrap(listener)]);
    config.security = security;
    config.properties.insert("reconnect.backoff.max.ms".into(), "500".into());
    config
}

fn user(protocol: Protocol, mechanism: Mechanism, password: &str) -> Security {
    Security {
        protocol,
        mechanism: Some(mechanism),
        username: Some(SecuredBroker::USER.to_owned()),
        password: Some(Secret::Given(password.to_owned())),
        ..Security::default()
    }
}

fn trusting(security: Security, authority: &Path) -> Security {
    Security { ca: Some(authority.display().to_string()), ..security }
}

#[test]
fn every_way_in_writes_and_reads() {
    let Some(broker) = broker() else { return };
    let authority = broker.authority();
    let tls = Security { protocol: Protocol::Ssl, ..Security::default() };
    let mut ways = vec![(Listener::Ssl, trusting(tls, &authority))];
    for mechanism in MECHANISMS {
        let password = SecuredBroker::PASSWORD;
        let open = user(Protocol::SaslPlaintext, mechanism, password);
        ways.push((Listener::SaslPlaintext, open));
        let hidden = user(Protocol::SaslSsl, mechanism, password);
        ways.push((Listener::SaslSsl, trusting(hidden, &authority)));
    }
    for (listener, security) in ways {
        let name = unique("secured");
        broker.plain().create_topic(&name, 1).unwrap();
        let (config, topics) = (config(listener, security), Topics::new([&name]));
        assert_eq!(partitions(&config, &topics, LIMIT).unwrap(), [at(0, 0)]);
        write(&config, &name, &["a", "b"]);
        let mut reader = open(&config, &topics, &[(at(0, 0), Start::Earliest)]);
        assert_eq!(texts(&read_to_end(&mut reader, at(0, 0))), ["a", "b"], "{config:?}");
    }
}

/// Everything that connects says within a few seconds why it is refused, in words with all of `parts`.
fn is_refused(config: &KafkaConfig, parts: &[&str]) {
    let topics = Topics::new(["t"]);
    let check = |what: &str, started: Instant, error: ConnectorError| {
        assert!(matches!(&error, ConnectorError::Refused { .. }), "{what}: {error:?}");
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{what}: no {part} in: {text}");
        }
        assert!(!format!("{error:?}").contains("battery"), "{what} tells the password: {text}");
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: {:?}", started.elapsed());
    };
    let now = Instant::now();
    check("topics", now, partitions(config, &topics, LIMIT).unwrap_err());
    let now = Instant::now();
    let latest = KafkaReader::open(config, &topics, &[(at(0, 0), Start::Latest)]);
    check("reader at the end", now, latest.err().unwrap());
    let now = Instant::now();
    let mut reader = open(config, &topics, &[(at(0, 0), Start::Earliest)]);
    check("reader", now, until_error(&mut reader, at(0, 0)));
    let health = reader.health().snapshot();
    assert!(health.problems()[0].contains(parts[0]), "{health:?}");
}

#[test]
fn a_wrong_password_is_told_with_user_and_mechanism() {
    if broker().is_none() {
        return;
    }
    for (mechanism, name) in MECHANISMS.into_iter().zip(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
    {
        let security = user(Protocol::SaslPlaintext, mechanism, "battery-staple");
        let who = format!("user `{}` with {name}", SecuredBroker::USER);
        is_refused(&config(Listener::SaslPlaintext, security), &[&who, "`password`"]);
    }
}

#[test]
fn a_certificate_of_strangers_is_refused() {
    let Some(broker) = broker() else { return };
    let tls = Security { protocol: Protocol::Ssl, ..Security::default() };
    // The wrong authority, and those that the system trusts.
    is_refused(
        &config(Listener::Ssl, trusting(tls.clone(), &broker.stranger())),
        &["certificate", "`ca`"],
    );
    is_refused(&config(Listener::Ssl, tls), &["certificate", "`ca`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_is_told_so() {
    if broker().is_none() {
        return;
    }
    let security = user(Protocol::SaslPlaintext, Mechanism::ScramSha256, "battery-staple");
    let mut config = config(Listener::SaslPlaintext, security);
    config.properties.insert("message.timeout.ms".into(), "3000".into());
    let told = |error: ConnectorError| {
        let text = error.to_string();
        assert!(matches!(error, ConnectorError::Refused { .. }), "{text}");
        assert!(text.contains("SCRAM-SHA-256") && !text.contains("battery"), "{text}");
    };
    let letter = DeadLetter {
        partition: at(0, 0),
        offset: 1,
        generation: 0,
        reason: Reason::Unparseable,
        detail: String::new().into(),
        key: None,
        value: b"?".as_slice().into(),
        event_time: None,
    };
    let mut letters = DeadLetterWriter::open(&config, &Topics::new(["t"]), "dead").unwrap();
    told(letters.write(&[letter]).await.unwrap_err());
    let flushed = tokio::task::spawn_blocking(move || {
        let producer = Producer::new(&config).unwrap();
        let message = Message { topic: "t", value: Some(b"x"), ..Message::default() };
        producer.send(&message, LIMIT).unwrap();
        producer.flush(LIMIT)
    });
    told(flushed.await.unwrap().unwrap_err());
}
