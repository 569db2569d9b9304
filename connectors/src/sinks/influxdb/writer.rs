//! Sends batches of points and reads the answers.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, Url};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::bucket::Admin;
use super::corrections::Corrections;
use super::line_protocol::encode;
use super::place::{Credentials, Database, Place, Remedies, bucket_url, database_url};
use super::{BucketState, Influx1Config, InfluxConfig};
use crate::http::{Answer, Endpoint, Redaction, client, parse_url};
use crate::sinks::OpenError;

/// Writes points to one bucket or database.
pub struct InfluxWriter {
    client: Client,
    /// Where to write, with bucket or database, and precision.
    write: Url,
    credentials: Credentials,
    endpoint: Endpoint,
    place: Place,
    /// The bucket to make before the first write, with its retention.
    pending_bucket: Option<Option<Duration>>,
    corrections: Corrections,
}

impl fmt::Debug for InfluxWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InfluxWriter").field("write", &self.write.as_str()).finish_non_exhaustive()
    }
}

impl InfluxWriter {
    pub(super) fn new(config: &InfluxConfig, token: String) -> Result<Self, OpenError> {
        let base = parse_url("url", &config.url)?;
        let write = bucket_url(&base, config);
        let endpoint = endpoint(&write, [token.clone()]);
        let credentials = Credentials::token(&token)?;
        let admin = Admin::new(&base, &config.org, &config.bucket, &token, endpoint.clone())?;
        let writer = InfluxWriter {
            client: client(&base)?,
            write,
            credentials,
            endpoint,
            place: Place::Bucket(admin),
            pending_bucket: None,
            corrections: Corrections::default(),
        };
        Ok(match config.retention {
            Some(retention) => writer.ensuring_bucket(Some(retention.get())),
            None => writer,
        })
    }

    pub(super) fn of_database(
        config: &Influx1Config,
        password: Option<String>,
    ) -> Result<Self, OpenError> {
        let base = parse_url("url", &config.url)?;
        let write = database_url(&base, config);
        let endpoint = endpoint(&write, password.clone());
        let credentials = match (&config.username, password) {
            (Some(user), Some(password)) => Credentials::Basic(user.clone(), password),
            _ => Credentials::None,
        };
        Ok(InfluxWriter {
            client: client(&base)?,
            write,
            credentials,
            endpoint,
            place: Place::Database(Database::new(&base, config)),
            pending_bucket: config.retention.map(|retention| Some(retention.get())),
            corrections: Corrections::default(),
        })
    }

    /// Makes the bucket before the first write unless it is there, with `retention` (`None` and zero keep
    /// everything). A token that may not look or make is no obstacle: writing goes on without.
    pub fn ensuring_bucket(mut self, retention: Option<Duration>) -> Self {
        self.pending_bucket = Some(retention);
        self
    }

    /// Whether the server answers and says that it is well. Of InfluxDB 2 only; others are well until a write fails.
    ///
    /// # Errors
    /// [`ConnectorError`] when it does not.
    pub async fn health(&self) -> Result<(), ConnectorError> {
        match &self.place {
            Place::Bucket(admin) => admin.health().await,
            Place::Database(_) => Ok(()),
        }
    }

    /// Makes the bucket or database unless it is there, with `retention`; `None` and zero keep everything. A server
    /// of version 1 does not tell whether it was there.
    ///
    /// # Errors
    /// [`ConnectorError::Refused`] when the user may not, the organisation does not exist, or what is there has
    /// another retention (version 1).
    pub async fn ensure_bucket(
        &self,
        retention: Option<Duration>,
    ) -> Result<BucketState, ConnectorError> {
        let who = (&self.client, &self.credentials, &self.endpoint);
        self.place.ensure(who, retention).await
    }

    async fn make_pending_bucket(&mut self) -> Result<(), ConnectorError> {
        let Some(retention) = self.pending_bucket else { return Ok(()) };
        match self.ensure_bucket(retention).await {
            Err(failure @ ConnectorError::Transient { .. }) => return Err(failure),
            Err(failure) => {
                warn!(%failure, "could not make sure of the bucket or database, writing all the same")
            }
            Ok(BucketState::Created) => info!(endpoint = self.endpoint.name, "bucket created"),
            Ok(BucketState::Existed) => {}
        }
        self.pending_bucket = None;
        Ok(())
    }

    async fn post(&self, lines: &str) -> Result<Answer, ConnectorError> {
        let request = self
            .client
            .post(self.write.clone())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(CONTENT_ENCODING, "gzip")
            .body(gzip(lines).map_err(|error| self.endpoint.transient(&error.to_string(), None))?);
        self.endpoint.send(self.credentials.sign(request)).await
    }
}

/// Who is spoken to: the address without what follows the path.
fn endpoint(write: &Url, secrets: impl IntoIterator<Item = String>) -> Endpoint {
    let mut name = write.clone();
    name.set_query(None);
    Endpoint { name: name.to_string(), redaction: Redaction::of(secrets) }
}

/// The fastest level: a tenth of the size already, since neighbouring lines are much alike.
fn gzip(lines: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    encoder.write_all(lines.as_bytes())?;
    encoder.finish()
}

impl SinkWriter for InfluxWriter {
    type Item = MetricPoint;

    async fn write(&mut self, batch: &[MetricPoint]) -> Result<Receipt, ConnectorError> {
        self.make_pending_bucket().await?;
        // About 100 bytes to a line.
        let mut lines = String::with_capacity(batch.len() * 100);
        let mut corrections = String::new();
        let mut rejected = Vec::new();
        for (index, point) in batch.iter().enumerate() {
            let start = lines.len();
            match encode(point, &mut lines) {
                Ok(()) if point.is_correction => {
                    corrections.push_str(lines.get(start..).unwrap_or_default());
                }
                Ok(()) => {}
                Err(fault) => {
                    let detail = fault.detail.to_owned();
                    rejected.push(RejectedItem { index, reason: fault.reason, detail });
                }
            }
        }
        let written = batch.len() - rejected.len();
        if written == 0 {
            return Ok(Receipt { accepted: 0, rejected, retry: Vec::new() });
        }
        // Until it is known that the points are in, they may still be on their way.
        let answered = self.post(&lines).await;
        let remedies = self.place.remedies();
        let judged = answered
            .and_then(|answer| judge(&self.endpoint, remedies, &answer, written))
            .inspect_err(|e| {
                if !matches!(e, ConnectorError::Permanent { .. }) {
                    self.corrections.fail();
                }
            });
        let Some(fault) = judged? else {
            self.corrections.succeed(&corrections, Instant::now());
            return Ok(Receipt { accepted: written, rejected, retry: Vec::new() });
        };
        // All that was sent is at fault; what was not sent is in `rejected` already, in order.
        let mut known = rejected.iter().map(|fault: &RejectedItem| fault.index).peekable();
        let sent = (0..batch.len()).filter(|index| known.next_if_eq(index).is_none());
        let reject = |index| RejectedItem { index, ..fault.clone() };
        let sent: Vec<RejectedItem> = sent.map(reject).collect();
        rejected.extend(sent);
        Ok(Receipt { accepted: 0, rejected, retry: Vec::new() })
    }

    async fn upkeep(&mut self) -> Option<Duration> {
        let wait = self.corrections.wait(Instant::now())?;
        if wait > Duration::ZERO {
            return Some(wait);
        }
        match self.post(self.corrections.lines()).await {
            Err(failure) => {
                debug!(%failure, "could not write corrections again, waiting for the next success");
                self.corrections.fail();
            }
            Ok(answer) if answer.may_pass() => self.corrections.fail(),
            // Any other answer than 204 is about points that were taken once, and have no place any more.
            Ok(_) => self.corrections.repeated(Instant::now()),
        }
        self.corrections.wait(Instant::now())
    }
}

/// What the answer means for the `written` points: `None` when all are in, the fault when all of them
/// will never be. A fault of some of them is [`ConnectorError::Permanent`], which the driver takes apart;
/// what the store kept of them is written again with the same content.
fn judge(
    endpoint: &Endpoint,
    remedies: &Remedies,
    answer: &Answer,
    written: usize,
) -> Result<Option<RejectedItem>, ConnectorError> {
    let text = answer.text();
    let reject = |reason| {
        let detail = endpoint.redaction.apply(&answer.body);
        Ok(Some(RejectedItem { index: 0, reason, detail }))
    };
    match answer.status.as_u16() {
        204 => Ok(None),
        400 if written == 1 => reject(Reason::Rejected),
        413 if written == 1 => reject(Reason::TooLarge),
        422 => match dropped(&answer.body) {
            Some(0) => {
                warn!(endpoint = endpoint.name, answer = text, "points changed by the store");
                Ok(None)
            }
            Some(count) if count >= written => reject(Reason::Rejected),
            _ if written == 1 => reject(Reason::Rejected),
            _ => Err(endpoint.permanent(&text)),
        },
        400 | 413 => Err(endpoint.permanent(&text)),
        401 | 403 => Err(endpoint.refused(&text, remedies.credentials)),
        404 => Err(endpoint.refused(&text, remedies.missing)),
        _ if answer.may_pass() => Err(endpoint.transient(&text, answer.retry_after)),
        // Nothing but 204 says that the points are in: a 200 may be a proxy's log-in page.
        _ => Err(endpoint.refused(&text, remedies.foreign)),
    }
}

/// How many points a partial write has left out: `dropped=3`, or `dropped 3 points`.
fn dropped(body: &str) -> Option<usize> {
    let (_, tail) = body.split_once("dropped")?;
    let tail = tail.strip_prefix(['=', ' '])?;
    let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
    tail.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::dropped;

    #[test]
    fn the_store_says_how_many_it_dropped() {
        for (body, count) in [
            (
                "partial write: field type conflict: … already exists as type float dropped=2",
                Some(2),
            ),
            (
                "partial write: dropped 13 points outside retention policy of duration 1h0m0s",
                Some(13),
            ),
            (
                "input field \"time\" on measurement \"m\" … has been stripped from point. dropped=0",
                Some(0),
            ),
            ("dropped=", None),
            ("partial write", None),
        ] {
            assert_eq!(dropped(body), count, "{body}");
        }
    }
}
