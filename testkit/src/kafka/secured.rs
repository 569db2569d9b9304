//! A broker that asks who is there: each way to encrypt and to prove who one is, on a port of its own.

use std::path::PathBuf;

use super::Broker;
use super::node::{Node, Settings};
use crate::{
    Error, Result, ports::free_ports, run_folder::RunFolder, smtp::make_certificate,
    wait::retry_on_taken_port,
};

/// A way to speak to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Not encrypted, with user and password.
    SaslPlaintext,
    /// Encrypted, anybody.
    Ssl,
    /// Encrypted, with user and password.
    SaslSsl,
}

/// A running broker with listeners that encrypt, authenticate, or both, besides the plain one; ended when
/// dropped.
///
/// The listeners with authentication take `PLAIN`, `SCRAM-SHA-256` and `SCRAM-SHA-512`. Certificates are
/// made at each start, for `localhost` and `127.0.0.1`.
#[derive(Debug)]
pub struct SecuredBroker {
    broker: Broker,
    ports: [u16; 3],
    /// Holds an authority that has signed nothing the broker has.
    stranger: RunFolder,
}

impl SecuredBroker {
    /// The user that is let in, by each mechanism.
    pub const USER: &'static str = "tidewatch";
    /// The user's password.
    pub const PASSWORD: &'static str = "correct-horse";

    /// Starts it.
    ///
    /// # Errors
    /// If Kafka is not in the cache, Java or openssl is missing, or it does not answer.
    pub fn start() -> Result<Self> {
        let stranger = RunFolder::new("kafka-stranger")?;
        make_certificate(&stranger)?;
        let (broker, ports) = retry_on_taken_port(start_once)?;
        Ok(Self { broker, ports, stranger })
    }

    /// The broker, by its plain listener.
    #[must_use]
    pub fn plain(&self) -> &Broker {
        &self.broker
    }

    /// Where clients connect first, as `host:port`.
    #[must_use]
    pub fn bootstrap(&self, listener: Listener) -> String {
        let [sasl, ssl, both] = self.ports;
        let port = match listener {
            Listener::SaslPlaintext => sasl,
            Listener::Ssl => ssl,
            Listener::SaslSsl => both,
        };
        format!("127.0.0.1:{port}")
    }

    /// The file with the certificate, in PEM, of the authority that signed the broker's.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.broker.node.folder().join("authority.pem")
    }

    /// The file with the certificate, in PEM, of an authority that has nothing to do with the broker.
    #[must_use]
    pub fn stranger(&self) -> PathBuf {
        self.stranger.path().join("authority.pem")
    }
}

fn start_once() -> Result<(Broker, [u16; 3])> {
    let folder = RunFolder::new("kafka")?;
    make_certificate(&folder)?;
    let read = |name: &str| {
        let path = folder.path().join(name);
        std::fs::read_to_string(&path).map_err(Error::io(format!("read `{}`", path.display())))
    };
    let store = folder.write("store.pem", format!("{}{}", read("key.pem")?, read("cert.pem")?))?;

    let port = free_ports(5);
    let ports = [port + 2, port + 3, port + 4];
    let mut settings = Settings::new(1, port, &[port + 1]);
    let names = ["SASLPLAIN", "TLS", "SASLTLS"];
    for ((name, protocol), port) in
        names.into_iter().zip(["SASL_PLAINTEXT", "SSL", "SASL_SSL"]).zip(ports)
    {
        settings.listen(name, protocol, port);
        let prefix = format!("listener.name.{}", name.to_lowercase());
        if protocol != "SASL_PLAINTEXT" {
            settings.set(&format!("{prefix}.ssl.keystore.type"), "PEM");
            let store = store.display().to_string();
            settings.set(&format!("{prefix}.ssl.keystore.location"), &store);
        }
        if protocol == "SSL" {
            continue;
        }
        let mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512";
        settings.set(&format!("{prefix}.sasl.enabled.mechanisms"), mechanisms);
        let (user, password) = (SecuredBroker::USER, SecuredBroker::PASSWORD);
        settings.set(
            &format!("{prefix}.plain.sasl.jaas.config"),
            &format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_{user}=\"{password}\";"
            ),
        );
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            settings.set(
                &format!("{prefix}.{mechanism}.sasl.jaas.config"),
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            );
        }
    }
    let mut node = Node::make_in(folder, &settings)?;
    let credentials = |mechanism: &str| {
        let (user, password) = (SecuredBroker::USER, SecuredBroker::PASSWORD);
        format!("{mechanism}=[name={user},password={password}]")
    };
    let (first, second) = (credentials("SCRAM-SHA-256"), credentials("SCRAM-SHA-512"));
    node.format(&["--add-scram", &first, "--add-scram", &second])?.end()?;
    node.start()?;
    node.wait_ready(1)?;
    Ok((Broker { node }, ports))
}
