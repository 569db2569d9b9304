//! Sends requests of remote write and reads the answers.

use std::fmt;

use prost::Message as _;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};

use super::PrometheusConfig;
use super::series::request;
use crate::http::{Answer, Endpoint, Redaction, client, parse_url};
use crate::sinks::OpenError;

/// The protocol's version, which every request names.
const VERSION: &str = "0.1.0";

/// Writes points by remote write.
pub struct PrometheusWriter {
    client: Client,
    url: Url,
    credentials: Option<HeaderValue>,
    user: Option<(String, String)>,
    endpoint: Endpoint,
}

impl fmt::Debug for PrometheusWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusWriter").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl PrometheusWriter {
    pub(super) fn new(config: &PrometheusConfig) -> Result<Self, OpenError> {
        let url = parse_url("url", &config.url)?;
        let password = config.password.as_ref().map(Secret::reveal).transpose()?;
        let token = config.token.as_ref().map(Secret::reveal).transpose()?;
        let redaction = Redaction::of(password.iter().chain(&token).cloned());
        let endpoint = Endpoint { name: url.to_string(), redaction };
        let credentials = match &token {
            Some(token) => {
                let invalid = |_| OpenError::Invalid {
                    field: "token",
                    reason: "it has characters that no token has: look for a line break".into(),
                };
                let header = HeaderValue::from_str(&format!("Bearer {token}"));
                let mut header = header.map_err(invalid)?;
                header.set_sensitive(true);
                Some(header)
            }
            None => None,
        };
        let user = config.username.clone().zip(password);
        Ok(PrometheusWriter { client: client(&url)?, url, credentials, user, endpoint })
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match (&self.credentials, &self.user) {
            (Some(header), _) => request.header(AUTHORIZATION, header.clone()),
            (None, Some((user, password))) => request.basic_auth(user, Some(password)),
            (None, None) => request,
        }
    }
}

impl SinkWriter for PrometheusWriter {
    type Item = MetricPoint;

    async fn write(&mut self, batch: &[MetricPoint]) -> Result<Receipt, ConnectorError> {
        let (request, mut rejected) = request(batch);
        let written = batch.len() - rejected.len();
        if written == 0 {
            return Ok(Receipt { accepted: 0, rejected, retry: Vec::new() });
        }
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
        let body = body.map_err(|error| self.endpoint.permanent(&error.to_string()))?;
        let post = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("x-prometheus-remote-write-version", VERSION)
            .body(body);
        let answer = self.endpoint.send(self.signed(post)).await?;
        match judge(&self.endpoint, &answer, written)? {
            None => Ok(Receipt { accepted: written, rejected, retry: Vec::new() }),
            Some((reason, detail)) => {
                // The only point that was sent: the one that is in no list yet.
                let index =
                    (0..batch.len()).find(|i| rejected.iter().all(|fault| fault.index != *i));
                let index = index.unwrap_or_default();
                rejected.push(RejectedItem { index, reason, detail });
                rejected.sort_by_key(|fault| fault.index);
                Ok(Receipt { accepted: 0, rejected, retry: Vec::new() })
            }
        }
    }
}

/// What the answer means for the `written` points: `None` when all are in, the fault of the only one that will never
/// be. A fault of some of many is [`ConnectorError::Permanent`], which the driver takes apart.
fn judge(
    endpoint: &Endpoint,
    answer: &Answer,
    written: usize,
) -> Result<Option<(Reason, String)>, ConnectorError> {
    let text = answer.text();
    match answer.status.as_u16() {
        200 | 204 => Ok(None),
        status @ (400 | 413) if written == 1 => {
            let reason = if status == 413 { Reason::TooLarge } else { Reason::Rejected };
            Ok(Some((reason, endpoint.redaction.apply(&text))))
        }
        400 | 413 => Err(endpoint.permanent(&text)),
        401 | 403 => Err(endpoint.refused(&text, "check `username` and `password`, or `token`")),
        404 | 405 => Err(endpoint.refused(&text, RECEIVER_REMEDY)),
        _ if answer.may_pass() => Err(endpoint.transient(&text, answer.retry_after)),
        _ => Err(endpoint.refused(&text, "this is no answer to remote write: correct `url`")),
    }
}

/// What to do where nothing takes remote write.
const RECEIVER_REMEDY: &str = "correct the path of `url`; Prometheus itself takes remote write at `/api/v1/write`, \
                               when it is started with `--web.enable-remote-write-receiver`";
