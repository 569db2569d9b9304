//! Sends bulk requests through the `elasticsearch` crate.

use std::fmt;
use std::sync::Arc;
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
use super::expiry::Expiry;
use super::requests::RequestSize;
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
    pub(super) naming: Arc<Naming>,
    /// Whether the index template has been taken care of.
    pub(super) has_template: bool,
    size: RequestSize,
    /// Where this writer deletes old indexes.
    pub(super) expiry: Option<Expiry>,
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
        Ok(ElasticsearchWriter {
            purpose,
            client,
            endpoint,
            naming: Arc::new(naming),
            has_template: false,
            size: RequestSize::default(),
            expiry: None,
        })
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

/// About what one line takes in a request besides its texts: operation, identity, names of fields.
const LINE_OVERHEAD_BYTES: usize = 350;

/// How long the cluster itself waits for a shard that is missing before it answers 503 for its items. Shorter than
/// our own time-out, so that the items of other indexes in the same request are known to be in.
const SHARD_TIMEOUT: &str = "5s";

impl ElasticsearchWriter {
    /// Sends one bulk request of about `bytes` that creates all of `documents`, where they are not there yet.
    async fn create<B: Serialize>(
        &mut self,
        documents: Vec<Result<Document<B>, Malformed>>,
        bytes: usize,
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
        let request = self.client.bulk(BulkParts::None).filter_path(&FILTER).timeout(SHARD_TIMEOUT);
        let answer = self.answer(request.body(vec![operations]).send().await).await?;
        match answer.status {
            200 => self.size.grow(),
            413 | 429 => self.size.shrink(bytes),
            _ => {}
        }
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

impl ElasticsearchWriter {
    /// Creates the documents of all items of `batch`, each of about so many `bytes`, in as many requests as that
    /// takes.
    pub(super) async fn create_all<'a, T: Sync, B: Serialize + Send>(
        &mut self,
        batch: &'a [T],
        bytes: impl Fn(&T) -> usize + Send,
        document: impl Fn(&'a T) -> Result<Document<B>, Malformed> + Send,
    ) -> Result<Receipt, ConnectorError> {
        self.prepare().await?;
        let mut receipt = Receipt::default();
        let mut rest = batch;
        while !rest.is_empty() {
            let start = batch.len() - rest.len();
            let (items, bytes) = self.size.fit(rest.iter().map(&bytes));
            let (request, after) = rest.split_at(items);
            let documents = request.iter().map(&document).collect();
            match self.create(documents, bytes).await {
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

impl SinkWriter for ElasticsearchWriter {
    type Item = LogLine;

    async fn write(&mut self, batch: &[LogLine]) -> Result<Receipt, ConnectorError> {
        let naming = Arc::clone(&self.naming);
        let bytes = |line: &LogLine| line.message.len() + line.extra.len() + LINE_OVERHEAD_BYTES;
        self.create_all(batch, bytes, |line| naming.document(line)).await
    }

    async fn upkeep(&mut self) -> Option<Duration> {
        self.expire().await
    }
}
