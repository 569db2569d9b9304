//! What all HTTP sinks share: one way to build a client, to send, to read an answer, and to keep secrets
//! out of every error.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::time::{Clock, EventTime};

use crate::delivery::chain;
use crate::sinks::OpenError;

/// A connection that is not there after this long counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An attempt that has no whole answer after this long counts as failed. The slowest answer that is not a
/// failure is a store's own time-out, 10 s for InfluxDB's writes.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// No more than this is read of an answer that is only for people.
const BODY_BYTES_MAX: usize = 64 << 10;
/// No more than this of an answer goes into an error.
const DETAIL_CHARS_MAX: usize = 500;

/// The address of a sink, from the configuration.
///
/// # Errors
/// When `text` is no http or https URL, or carries credentials, a query or a fragment.
pub(crate) fn parse_url(field: &'static str, text: &str) -> Result<Url, OpenError> {
    let invalid = |reason: &str| OpenError::Invalid { field, reason: reason.to_owned() };
    let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("write an address that begins with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "leave credentials out of the address and give them in their own fields",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("leave out what follows the path"));
    }
    Ok(url)
}

/// Whether `url` is on this machine, where a proxy has no business.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A client for `url`: with time-outs, without redirects (a redirected POST becomes a GET whose 200 means
/// nothing), through the proxy of the environment unless `url` is on this machine.
///
/// # Errors
/// When no TLS can be set up.
pub(crate) fn client(url: &Url) -> Result<Client, OpenError> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| OpenError::Client { reason: chain(&error) })
}

/// Words that must not appear in any error.
#[derive(Clone, Default)]
pub(crate) struct Redaction(Vec<String>);

impl Redaction {
    /// Blots out each of `secrets`; empty ones are left alone.
    pub(crate) fn of<S: Into<String>>(secrets: impl IntoIterator<Item = S>) -> Self {
        Redaction(secrets.into_iter().map(Into::into).filter(|s: &String| !s.is_empty()).collect())
    }

    /// `text` without secrets, at most [`DETAIL_CHARS_MAX`] characters, in one line.
    pub(crate) fn apply(&self, text: &str) -> String {
        let clean = self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
        let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(DETAIL_CHARS_MAX) {
            Some((cut, _)) => format!("{}…", line.get(..cut).unwrap_or_default()),
            None => line,
        }
    }
}

/// Who is spoken to: the name that errors call it by, and what they must not say.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) redaction: Redaction,
}

impl Endpoint {
    /// A failure that may pass.
    pub(crate) fn transient(&self, reason: &str, retry_after: Option<Duration>) -> ConnectorError {
        let source = self.redaction.apply(reason).into();
        ConnectorError::Transient { endpoint: self.name.clone(), retry_after, source }
    }

    /// A failure that a person must end; `remedy` says how.
    pub(crate) fn refused(&self, reason: &str, remedy: &str) -> ConnectorError {
        let reason = format!("{}: {remedy}", self.redaction.apply(reason));
        ConnectorError::Refused { endpoint: self.name.clone(), reason }
    }

    /// A request that will never succeed.
    pub(crate) fn permanent(&self, reason: &str) -> ConnectorError {
        let reason = self.redaction.apply(reason);
        ConnectorError::Permanent { endpoint: self.name.clone(), reason }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// [`ConnectorError::Transient`] when there is no answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answer, ConnectorError> {
        // Without the address, which may be a secret itself.
        let failed = |error: reqwest::Error| self.transient(&chain(&error.without_url()), None);
        let mut response = request.send().await.map_err(failed)?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_BYTES_MAX {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status, retry_after, body })
    }
}

/// An answer for people to read, if it is a failure.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: String,
}

impl Answer {
    /// Status and body, for an error.
    pub(crate) fn text(&self) -> String {
        format!("{}: {}", self.status.as_u16(), self.body)
    }

    /// Whether the same request may succeed later: 408, 429 and all of 5xx.
    pub(crate) fn may_pass(&self) -> bool {
        may_pass(self.status.as_u16())
    }
}

/// Whether a request answered with `status` may succeed later: 408, 429 and all of 5xx.
pub(crate) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// How long the other side asks us to wait: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    read_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Clock::System.now())
}

fn read_retry_after(text: &str, now: EventTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let at = EventTime::from_millis(u64::try_from(at.as_millisecond()).ok()?);
    Some(at.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = EventTime::from_millis(784_111_777_000);
        let read = |text| read_retry_after(text, now).map(|after| after.as_secs());
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0), "past already");
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(parse_url("url", "https://es.example:9200/base").unwrap().port(), Some(9200));
        for wrong in [
            "es:9200",
            "ftp://es",
            "http://u:p@es",
            "http://u@es",
            "http://es/?token=x",
            "http://",
            "",
        ] {
            let error = parse_url("url", wrong).unwrap_err().to_string();
            assert!(error.starts_with("`url` is not usable: "), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_reached_without_a_proxy() {
        for (text, local) in [
            ("http://127.0.0.1:9", true),
            ("http://[::1]:9", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), local, "{text}");
        }
    }

    #[test]
    fn secrets_and_lengths_are_cut() {
        let redaction = Redaction::of(["hunter2", ""]);
        assert_eq!(redaction.apply("hunter2 is\r\nnot hunter2!"), "*** is not ***!");
        assert_eq!(redaction.apply(&"é".repeat(600)).chars().count(), DETAIL_CHARS_MAX + 1);
    }
}
