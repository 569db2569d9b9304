//! The configuration of the mail channel.

use std::path::{Path, PathBuf};

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, Secret};

use super::EmailWriter;
use super::writer::Relay;
use crate::delivery::{DeliveryConfig, chain, default_spill};
use crate::http::{Endpoint, Redaction};
use crate::sinks::OpenError;

/// How the connection to the relay is encrypted.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// By the command `STARTTLS`, without which nothing is sent. Port 587 by default.
    #[default]
    StartTls,
    /// From the first byte. Port 465 by default.
    Tls,
    /// Not at all, not even the password: for a relay on this machine. Port 25 by default.
    None,
}

/// `email` of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// Host name of the relay; its certificate has to be for this name.
    pub relay: String,
    /// Its port. Default: that of `tls`.
    pub port: Option<u16>,
    /// Encryption: `starttls` (default), `tls` or `none`.
    #[serde(default)]
    pub tls: Encryption,
    /// File with a root certificate (PEM) to trust besides the usual ones.
    pub ca: Option<PathBuf>,
    /// User name at the relay; with `password`. Without them, no authentication.
    pub username: Option<String>,
    /// The user's password: `{ env = "SMTP_PASSWORD" }`.
    pub password: Option<Secret>,
    /// Sender: `tidewatch@example.org`, or `Tidewatch <tidewatch@example.org>`.
    pub from: String,
    /// Recipients; at least one.
    pub to: Vec<String>,
    /// Bytes behind the queue, in the state store of `[checkpoint]`, for messages that find it full. Default:
    /// 1 GiB.
    #[serde(default = "default_spill")]
    pub spill: ByteSize,
}

impl EmailConfig {
    /// Checks what can be checked without the password, the certificate and the relay.
    ///
    /// # Errors
    /// [`OpenError::Invalid`] naming the field.
    pub fn validate(&self) -> Result<(), OpenError> {
        self.addresses()?;
        let invalid =
            |field, reason: &str| Err(OpenError::Invalid { field, reason: reason.into() });
        if self.relay.is_empty() {
            return invalid("relay", "it is empty: write the host name of the mail relay");
        }
        if self.ca.is_some() && self.tls == Encryption::None {
            return invalid("ca", "without encryption there is no certificate to check: set `tls`");
        }
        match (&self.username, &self.password) {
            (Some(_), None) => invalid("username", "`password` is missing beside it"),
            (None, Some(_)) => invalid("password", "`username` is missing beside it"),
            _ => Ok(()),
        }
    }

    /// How to queue and retry: a few mails to a connection, so that a storm of them needs few.
    pub fn delivery(&self) -> DeliveryConfig {
        let spill = self.spill.bytes();
        DeliveryConfig { batch_items: 20, spill, ..DeliveryConfig::channel() }
    }

    /// Fetches password and certificate and makes the writer. Reaches no relay.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration is wrong, or password or certificate are not there.
    pub fn open(&self) -> Result<EmailWriter, OpenError> {
        self.validate()?;
        let (from, to) = self.addresses()?;
        let password = self.password.as_ref().map(Secret::reveal).transpose()?;
        let redaction = Redaction::of(password.clone());
        let credentials = self.username.clone().zip(password).map(Credentials::from);
        let tls = match self.tls {
            Encryption::None => None,
            Encryption::StartTls | Encryption::Tls => Some(self.tls_parameters()?),
        };
        let port = self.port.unwrap_or(match self.tls {
            Encryption::StartTls => 587,
            Encryption::Tls => 465,
            Encryption::None => 25,
        });
        let endpoint = Endpoint { name: format!("smtp://{}:{port}", self.relay), redaction };
        let host = self.relay.clone();
        let relay = Relay { host, port, encryption: self.tls, tls, credentials, endpoint };
        Ok(EmailWriter::new(relay, from, to))
    }

    fn addresses(&self) -> Result<(Mailbox, Vec<Mailbox>), OpenError> {
        let from = mailbox("from", &self.from)?;
        let to: Vec<Mailbox> =
            self.to.iter().map(|text| mailbox("to", text)).collect::<Result<_, _>>()?;
        if to.is_empty() {
            let reason = "it is empty: write at least one address".to_owned();
            return Err(OpenError::Invalid { field: "to", reason });
        }
        Ok((from, to))
    }

    fn tls_parameters(&self) -> Result<TlsParameters, OpenError> {
        let mut builder = TlsParameters::builder(self.relay.clone());
        if let Some(path) = &self.ca {
            builder = builder.add_root_certificate(certificate(path)?);
        }
        builder.build().map_err(|error| OpenError::Client { reason: chain(&error) })
    }
}

fn certificate(path: &Path) -> Result<Certificate, OpenError> {
    let invalid = |reason: String| OpenError::Invalid { field: "ca", reason };
    let pem = std::fs::read(path)
        .map_err(|error| invalid(format!("could not read `{}`: {error}", path.display())))?;
    let no_pem = || format!("`{}` holds no certificate in PEM", path.display());
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(invalid(no_pem()));
    }
    Certificate::from_pem(&pem).map_err(|_| invalid(no_pem()))
}

/// An address of ASCII characters: others need an extension that few relays have.
fn mailbox(field: &'static str, text: &str) -> Result<Mailbox, OpenError> {
    let reason = match text.parse::<Mailbox>() {
        Ok(mailbox) if AsRef::<str>::as_ref(&mailbox.email).is_ascii() => return Ok(mailbox),
        Ok(_) => format!("`{text}` has characters outside of ASCII in its address"),
        Err(error) => format!("`{text}` is no mail address: {error}"),
    };
    Err(OpenError::Invalid { field, reason })
}

/// The name after the `@`: where our message ids are unique.
pub(super) fn domain(address: &Address) -> &str {
    address.domain()
}
