//! Health, organisation and bucket, through the `influxdb2` crate.

use std::future::Future;
use std::time::Duration;

use influxdb2::api::buckets::ListBucketsRequest;
use influxdb2::api::organization::ListOrganizationRequest;
use influxdb2::models::PostBucketRequest;
use influxdb2::models::health::Status;
use influxdb2::models::retention_rule::{RetentionRule, Type};
use influxdb2::{Client, ClientBuilder, RequestError};
use reqwest::Url;
use tidewatch_dataflow::sink::ConnectorError;
use tokio::time::timeout;

use crate::delivery::chain;
use crate::http::{Endpoint, REQUEST_TIMEOUT, may_pass};
use crate::sinks::OpenError;

/// What [`ensure`](super::InfluxWriter::ensure_bucket) found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum BucketState {
    /// It was there; its retention was left as it is.
    Existed,
    /// It was made.
    Created,
}

/// The server's administration, with the rights of the sink's token.
#[derive(Clone)]
pub(super) struct Admin {
    client: Client,
    endpoint: Endpoint,
    bucket: String,
}

impl Admin {
    /// `url` has been checked: the crate panics on one that is none.
    pub(super) fn new(
        url: &Url,
        org: &str,
        bucket: &str,
        token: &str,
        endpoint: Endpoint,
    ) -> Result<Self, OpenError> {
        let client = ClientBuilder::new(url.as_str(), org, token)
            .build()
            .map_err(|error| OpenError::Client { reason: chain(&error) })?;
        Ok(Admin { client, endpoint, bucket: bucket.to_owned() })
    }

    /// Whether the server says that it is well.
    pub(super) async fn health(&self) -> Result<(), ConnectorError> {
        let health = self.ask(self.client.health()).await?;
        match health.status {
            Status::Pass => Ok(()),
            Status::Fail => {
                let reason = health.message.unwrap_or_else(|| "it says that it is unwell".into());
                Err(self.endpoint.transient(&reason, None))
            }
        }
    }

    /// Makes the bucket unless it is there.
    pub(super) async fn ensure(
        &self,
        retention: Option<Duration>,
    ) -> Result<BucketState, ConnectorError> {
        let org = self.client.org.clone();
        let wanted = ListBucketsRequest {
            name: Some(self.bucket.clone()),
            org: Some(org.clone()),
            ..Default::default()
        };
        match self.ask(self.client.list_buckets(Some(wanted))).await {
            Ok(found) if found.buckets.iter().any(|bucket| bucket.name == self.bucket) => {
                return Ok(BucketState::Existed);
            }
            // A server may answer 404 to a name that it does not have.
            Ok(_) | Err(Failure { status: Some(404), .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
        let wanted = ListOrganizationRequest { org: Some(org.clone()), ..Default::default() };
        let found = self.ask(self.client.list_organizations(wanted)).await?;
        let id = found.orgs.into_iter().find(|found| found.name == org).and_then(|org| org.id);
        let Some(id) = id else {
            let reason = format!("404: organization `{org}` not found");
            return Err(self.endpoint.refused(&reason, "create it, or correct `org`"));
        };
        let mut request = PostBucketRequest::new(id, self.bucket.clone());
        if let Some(retention) = retention {
            let seconds = i32::try_from(retention.as_secs()).unwrap_or(i32::MAX);
            request.retention_rules = vec![RetentionRule::new(Type::Expire, seconds)];
        }
        match self.ask(self.client.create_bucket(Some(request))).await {
            Ok(()) => Ok(BucketState::Created),
            // Another process was quicker.
            Err(Failure { status: Some(422), error })
                if text_of(&error).contains("already exists") =>
            {
                Ok(BucketState::Existed)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Waits for an answer of the crate's client, which has no time-out of its own.
    async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, Failure> {
        let transient =
            |reason: &str| Failure { status: None, error: self.endpoint.transient(reason, None) };
        let answer = timeout(REQUEST_TIMEOUT, request).await;
        answer.map_err(|_| transient("no answer in time"))?.map_err(|error| match error {
            RequestError::Http { status, text } => {
                let status = status.as_u16();
                let reason = format!("{status}: {text}");
                let error = match status {
                    status if may_pass(status) => self.endpoint.transient(&reason, None),
                    401 | 403 => self.endpoint.refused(&reason, TOKEN_REMEDY),
                    _ => self.endpoint.refused(&reason, "check `url`, `org` and `bucket`"),
                };
                Failure { status: Some(status), error }
            }
            error => transient(&chain(&error)),
        })
    }
}

/// What to do about 401 and 403.
pub(super) const TOKEN_REMEDY: &str =
    "check `token`: it has to be a token of this server with the right to write to the bucket";

/// A failure with the status that made it one.
struct Failure {
    status: Option<u16>,
    error: ConnectorError,
}

impl From<Failure> for ConnectorError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

fn text_of(error: &ConnectorError) -> String {
    chain(error)
}
