//! Speaks SMTP: one connection for the mails of a batch, one transaction for each mail.

use std::fmt;
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tidewatch_dataflow::alert::Notification;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
use tokio::time::timeout;
use tracing::warn;

use super::Encryption;
use super::letter::compose;
use crate::delivery::chain;
use crate::http::Endpoint;
use crate::sinks::channel::{Channel, tell_all};

/// One mail, connection included, takes no longer than this: relays look at a mail before they answer.
const MAIL_TIMEOUT: Duration = Duration::from_secs(60);
/// Nobody waits longer for a farewell.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The relay and how to speak to it.
pub(super) struct Relay {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
    pub(super) tls: Option<TlsParameters>,
    pub(super) credentials: Option<Credentials>,
    pub(super) endpoint: Endpoint,
}

/// Sends notifications to the recipients of one receiver.
pub struct EmailWriter {
    relay: Relay,
    from: Mailbox,
    to: Vec<Mailbox>,
    connection: Option<AsyncSmtpConnection>,
    progress: Progress,
}

/// Who of the recipients has the mail that is being sent, across attempts.
#[derive(Debug, Default)]
struct Progress {
    /// The transition's identity.
    mail: String,
    /// Who has it.
    told: Vec<Address>,
    /// Who was refused for good, with the relay's words.
    refused: Vec<(Address, String)>,
}

impl fmt::Debug for EmailWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.relay.endpoint.name;
        f.debug_struct("EmailWriter").field("relay", endpoint).finish_non_exhaustive()
    }
}

impl Relay {
    /// Connects, encrypts and authenticates. Whatever is refused here concerns every mail.
    async fn connect(&self) -> Result<AsyncSmtpConnection, ConnectorError> {
        let hello = ClientId::default();
        let failed = |error: Error| {
            self.classify(&error, "check `relay`, `port`, `tls`, `username` and `password`")
        };
        let wrapped = match self.encryption {
            Encryption::Tls => self.tls.clone(),
            Encryption::StartTls | Encryption::None => None,
        };
        let address = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(MAIL_TIMEOUT), &hello, wrapped, None)
                .await
                .map_err(failed)?;
        if let (Encryption::StartTls, Some(tls)) = (self.encryption, &self.tls) {
            connection.starttls(tls.clone(), &hello).await.map_err(failed)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(failed)?;
        }
        Ok(connection)
    }

    /// An error that concerns every mail: refused by a 5xx or by what the relay cannot do, else it may pass.
    fn classify(&self, error: &Error, remedy: &str) -> ConnectorError {
        match error.is_permanent() || error.is_client() {
            true => self.endpoint.refused(&chain(error), remedy),
            false => self.endpoint.transient(&chain(error), None),
        }
    }
}

/// Whether a permanent answer says that we have to encrypt or authenticate first.
fn is_about_access(error: &Error) -> bool {
    error.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535 | 538))
}

impl EmailWriter {
    pub(super) fn new(relay: Relay, from: Mailbox, to: Vec<Mailbox>) -> Self {
        EmailWriter { relay, from, to, connection: None, progress: Progress::default() }
    }

    /// Sends one mail to everybody who neither has it nor was refused, in one transaction.
    async fn send(&mut self, notification: &Notification) -> Result<(), ConnectorError> {
        let endpoint = &self.relay.endpoint;
        let mail = compose(notification, &self.from, &self.to)
            .map_err(|error| endpoint.permanent(&chain(&error)))?;
        let progress = &mut self.progress;
        let id = notification.transition.id();
        if progress.mail != id {
            *progress = Progress { mail: id, ..Progress::default() };
        }
        // Taken out, and put back only in good order: after an error the next mail connects anew.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.relay.connect().await?,
        };
        let sender = self.from.email.clone();
        connection.command(Mail::new(Some(sender), Vec::new())).await.map_err(|error| {
            self.relay.classify(&error, "check `from` and what `username` may send")
        })?;
        let mut accepted = Vec::new();
        let mut put_off = None;
        for Mailbox { email, .. } in &self.to {
            let is_settled = progress.told.contains(email)
                || progress.refused.iter().any(|(refused, _)| refused == email);
            if is_settled {
                continue;
            }
            match connection.command(Rcpt::new(email.clone(), Vec::new())).await {
                Ok(_) => accepted.push(email.clone()),
                Err(error) if is_about_access(&error) => {
                    return Err(self
                        .relay
                        .classify(&error, "check `tls`, `username` and `password`"));
                }
                Err(error) if error.is_permanent() => {
                    progress.refused.push((email.clone(), chain(&error)));
                }
                Err(error) if error.is_transient() => {
                    put_off =
                        Some(endpoint.transient(&format!("{email}: {}", chain(&error)), None));
                }
                Err(error) => return Err(endpoint.transient(&chain(&error), None)),
            }
        }
        if !accepted.is_empty() {
            let sent = match connection.command(Data).await {
                Ok(_) => connection.message(&mail.formatted()).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(_) => {
                    progress.told.append(&mut accepted);
                    self.connection = Some(connection);
                }
                Err(error) if is_about_access(&error) => {
                    return Err(self.relay.classify(&error, "check `username` and `password`"));
                }
                Err(error) if error.is_permanent() => {
                    let reason = chain(&error);
                    let refused = accepted.into_iter().map(|email| (email, reason.clone()));
                    progress.refused.extend(refused);
                }
                Err(error) => return Err(endpoint.transient(&chain(&error), None)),
            }
        }
        put_off.map_or(Ok(()), Err)
    }

    /// Ends a mail that everybody has or was refused: it is sent if anybody has it.
    fn conclude(&mut self) -> Result<(), ConnectorError> {
        let Progress { mail, told, refused } = std::mem::take(&mut self.progress);
        let reasons: Vec<String> =
            refused.iter().map(|(email, reason)| format!("{email}: {reason}")).collect();
        let reason = self.relay.endpoint.redaction.apply(&reasons.join("; "));
        if told.is_empty() {
            return Err(self.relay.endpoint.permanent(&reason));
        }
        if !refused.is_empty() {
            warn!(
                relay = self.relay.endpoint.name,
                mail, reason, "recipients refused, others have the mail"
            );
        }
        Ok(())
    }
}

impl Channel for EmailWriter {
    async fn tell(&mut self, notification: &Notification) -> Result<(), ConnectorError> {
        let sent = timeout(MAIL_TIMEOUT, self.send(notification)).await;
        match sent {
            Ok(Ok(())) => self.conclude(),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(self.relay.endpoint.transient("no answer in time", None)),
        }
    }
}

impl SinkWriter for EmailWriter {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        let receipt = tell_all(self, batch).await;
        if let Some(mut connection) = self.connection.take() {
            // The mails are in; whether the farewell is heard changes nothing.
            let _farewell = timeout(QUIT_TIMEOUT, connection.quit()).await;
        }
        receipt
    }
}
