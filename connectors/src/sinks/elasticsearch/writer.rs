//! Sends bulk requests through the `elasticsearch` crate.

use std::fmt;
use std::time::Duration;

use elasticsearch::auth::Credentials;
use elasticsearch::http::response::Response;
use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use elasticsearch::{BulkOperation, BulkOperations, BulkParts, Elasticsearch};
use serde::Serialize;
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};

use super::ElasticsearchConfig;
use super::answer::{Bulk, FILTER};
use super::document::{Document, Naming};
use super::template::Purpose;
use crate::delivery::chain;
use crate::http::{
    Endpoint, REQUEST_TIMEOUT, Redaction, is_loopback, may_pass, parse_url, retry_after,
};
use crate::sinks::OpenError;

/// Writes log lines to the daily indexes.
pub struct ElasticsearchWriter {
    pub(super) purpose: Purpose,
    pub(super) client: Elasticsearch,
    pub(super) endpoint: Endpoint,
    pub(super) naming: Naming,
    /// Whether the index template has been taken care of.
    has_template: bool,
}

impl fmt::Debug for ElasticsearchWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElasticsearchWriter").field("naming", &self.naming).finish_non_exhaustive()
    }
}

impl ElasticsearchWriter {
    pub(super) fn new(
        config: &ElasticsearchConfig,
        purpose: Purpose,
        naming: Naming,
    ) -> Result<Self, OpenError> {
        let url = parse_url("url", &config.url)?;
        let password = config.password.as_ref().map(Secret::reveal).transpose()?;
        let api_key = config.api_key.as_ref().map(Secret::reveal).transpose()?;
        let redaction = Redaction::of(password.iter().chain(&api_key).cloned());
        let endpoint = Endpoint { name: url.to_string(), redaction };
        let pool = SingleNodeConnectionPool::new(url.clone());
        let mut transport = TransportBuilder::new(pool).timeout(REQUEST_TIMEOUT);
        if is_loopback(&url) {
            transport = transport.disable_proxy();
        }
        match (&config.username, password, api_key) {
            (Some(user), Some(password), _) => {
                transport = transport.auth(Credentials::Basic(user.clone(), password));
            }
            (_, _, Some(key)) if key.bytes().all(|b| b.is_ascii_graphic()) => {
                transport = transport.auth(Credentials::EncodedApiKey(key));
            }
            (_, _, Some(_)) => {
                let reason = "it has characters that no key has: look for a line break".into();
                return Err(OpenError::Invalid { field: "api_key", reason });
            }
            _ => {}
        }
        let transport =
            transport.build().map_err(|error| OpenError::Client { reason: chain(&error) })?;
        let client = Elasticsearch::new(transport);
        Ok(ElasticsearchWriter { purpose, client, endpoint, naming, has_template: false })
    }

    /// Takes care of the index template before the first documents.
    pub(super) async fn prepare(&mut self) -> Result<(), ConnectorError> {
        if !self.has_template {
            self.ensure_template().await?;
            self.has_template = true;
        }
        Ok(())
    }

    /// Status and body of an answer.
    pub(super) async fn answer(
        &self,
        sent: Result<Response, elasticsearch::Error>,
    ) -> Result<Whole, ConnectorError> {
        let failed = |error: elasticsearch::Error| self.endpoint.transient(&chain(&error), None);
        let response = sent.map_err(failed)?;
        let (status, retry_after) =
            (response.status_code().as_u16(), retry_after(response.headers()));
        let body = response.text().await.map_err(failed)?;
        Ok(Whole { status, retry_after, body })
    }

    /// What an answer means that is about a whole request and not a success.
    pub(super) fn failure(&self, answer: &Whole) -> ConnectorError {
        let text = answer.text();
        match answer.status {
            status if may_pass(status) => self.endpoint.transient(&text, answer.retry_after),
            400 | 413 => self.endpoint.permanent(&text),
            401 => self.endpoint.refused(&text, "check `username` and `password`, or `api_key`"),
            403 => {
                self.endpoint.refused(&text, "give the user the right to write, or lift the block")
            }
            _ => self.endpoint.refused(&text, "this is no answer of Elasticsearch: correct `url`"),
        }
    }
}

/// An answer as a whole.
pub(super) struct Whole {
    pub(super) status: u16,
    retry_after: Option<Duration>,
    pub(super) body: String,
}

impl Whole {
    pub(super) fn text(&self) -> String {
        format!("{}: {}", self.status, self.body)
    }
}

/// A bulk request holds about this many bytes at most, whatever the lines' lengths: well under the 100 MB
/// that a cluster takes, and under the tenth of a small heap that it lends to all requests together (one
/// that is larger than that is answered with 429 for ever).
const BULK_BYTES_MAX: usize = 8 << 20;

/// About what one line takes in a request besides its texts: operation, identity, names of fields.
const LINE_OVERHEAD_BYTES: usize = 350;

/// How many of `batch`, at least one, go into the next request.
fn request_len(batch: &[LogLine]) -> usize {
    let mut bytes = 0;
    let fits = batch.iter().take_while(|line| {
        bytes += line.message.len() + line.extra.len() + LINE_OVERHEAD_BYTES;
        bytes <= BULK_BYTES_MAX
    });
    fits.count().max(1).min(batch.len())
}

impl ElasticsearchWriter {
    /// Sends one bulk request that creates all of `documents`, where they are not there yet.
    pub(super) async fn create<B: Serialize>(
        &self,
        documents: Vec<Result<Document<B>, Malformed>>,
    ) -> Result<Receipt, ConnectorError> {
        let mut operations = BulkOperations::new();
        let mut sent = Vec::with_capacity(documents.len());
        let mut unwritable = Vec::new();
        for (index, document) in documents.into_iter().enumerate() {
            let pushed = match document {
                Ok(document) => {
                    let create = BulkOperation::create(document.body);
                    let pushed = operations.push(create.index(document.index).id(document.id));
                    pushed.map_err(|error| (Reason::Unparseable, error.to_string()))
                }
                Err(fault) => Err((fault.reason, fault.detail.into())),
            };
            match pushed {
                Ok(()) => sent.push(index),
                Err((reason, detail)) => unwritable.push(RejectedItem { index, reason, detail }),
            }
        }
        if sent.is_empty() {
            return Ok(Receipt { accepted: 0, rejected: unwritable, retry: Vec::new() });
        }
        let request = self.client.bulk(BulkParts::None).filter_path(&FILTER).body(vec![operations]);
        let answer = self.answer(request.send().await).await?;
        let mut receipt = match answer.status {
            200 => match serde_json::from_str::<Bulk>(&answer.body) {
                Ok(bulk) => bulk.receipt(&sent, &self.endpoint)?,
                Err(error) => {
                    let reason = format!("the answer is no bulk answer: {error}");
                    return Err(self.endpoint.transient(&reason, None));
                }
            },
            // The only line left: it is the one that is too large.
            413 if sent.len() == 1 => {
                let detail = self.endpoint.redaction.apply(&answer.text());
                let too_large = |&index| RejectedItem {
                    index,
                    reason: Reason::TooLarge,
                    detail: detail.clone(),
                };
                let rejected = sent.iter().map(too_large).collect();
                Receipt { accepted: 0, rejected, retry: Vec::new() }
            }
            _ => return Err(self.failure(&answer)),
        };
        receipt.rejected.extend(unwritable);
        Ok(receipt)
    }
}

impl SinkWriter for ElasticsearchWriter {
    type Item = LogLine;

    async fn write(&mut self, batch: &[LogLine]) -> Result<Receipt, ConnectorError> {
        self.prepare().await?;
        let mut receipt = Receipt::default();
        let mut rest = batch;
        while !rest.is_empty() {
            let start = batch.len() - rest.len();
            let (request, after) = rest.split_at(request_len(rest));
            let documents = request.iter().map(|line| self.naming.document(line)).collect();
            match self.create(documents).await {
                Ok(part) => {
                    receipt.accepted += part.accepted;
                    receipt.retry.extend(part.retry.iter().map(|index| start + index));
                    let moved =
                        |fault: RejectedItem| RejectedItem { index: start + fault.index, ..fault };
                    receipt.rejected.extend(part.rejected.into_iter().map(moved));
                }
                Err(failure) if start == 0 => return Err(failure),
                // What came before is settled; the next attempt begins here and meets the failure again.
                Err(_) => {
                    receipt.retry.extend(start..batch.len());
                    break;
                }
            }
            rest = after;
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_dataflow::record::{Level, PartitionId};
    use tidewatch_dataflow::time::EventTime;

    fn line(bytes: usize) -> LogLine {
        LogLine {
            partition: PartitionId { topic: 0, partition: 0 },
            offset: 0,
            index: 0,
            generation: 0,
            event_time: EventTime::MIN,
            level: Level::Info,
            host: "h".into(),
            service: "s".into(),
            message: "x".repeat(bytes).into(),
            extra: Box::default(),
        }
    }

    #[test]
    fn requests_are_bounded_in_bytes_and_never_empty() {
        assert_eq!(request_len(&[line(3 << 20), line(3 << 20), line(3 << 20)]), 2);
        assert_eq!(request_len(&[line(9 << 20), line(1)]), 1);
        assert_eq!(request_len(&vec![line(100); 5_000]), 5_000);
    }
}
