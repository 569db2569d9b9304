//! Where points are written: a bucket of InfluxDB 2 or a database of InfluxDB 1, and what differs between them.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use tidewatch_dataflow::sink::ConnectorError;

use super::bucket::{Admin, BucketState, TOKEN_REMEDY};
use super::{Influx1Config, InfluxConfig};
use crate::http::Endpoint;
use crate::sinks::OpenError;

/// How requests say who sends them.
pub(super) enum Credentials {
    /// Not at all.
    None,
    /// A header of InfluxDB 2.
    Token(HeaderValue),
    /// User and password.
    Basic(String, String),
}

impl Credentials {
    pub(super) fn token(token: &str) -> Result<Self, OpenError> {
        let invalid = |_| OpenError::Invalid {
            field: "token",
            reason: "it has characters that no token has: look for a line break".into(),
        };
        let mut header = HeaderValue::from_str(&format!("Token {token}")).map_err(invalid)?;
        header.set_sensitive(true);
        Ok(Credentials::Token(header))
    }

    pub(super) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Credentials::None => request,
            Credentials::Token(header) => request.header(AUTHORIZATION, header.clone()),
            Credentials::Basic(user, password) => request.basic_auth(user, Some(password)),
        }
    }
}

/// Where points are written.
pub(super) enum Place {
    /// A bucket of InfluxDB 2.
    Bucket(Admin),
    /// A database of InfluxDB 1.
    Database(Database),
}

/// A database of InfluxDB 1, made by a statement.
pub(super) struct Database {
    query: Url,
    name: String,
    policy: Option<String>,
}

/// `base` with `path` behind its own.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Where the points of `config` go, `base` being its address.
pub(super) fn bucket_url(base: &Url, config: &InfluxConfig) -> Url {
    let mut url = below(base, "/api/v2/write");
    url.query_pairs_mut()
        .append_pair("org", &config.org)
        .append_pair("bucket", &config.bucket)
        .append_pair("precision", "ms");
    url
}

/// Where the points of `config` go, `base` being its address.
pub(super) fn database_url(base: &Url, config: &Influx1Config) -> Url {
    let mut url = below(base, "/write");
    url.query_pairs_mut().append_pair("db", &config.database).append_pair("precision", "ms");
    if let Some(policy) = &config.retention_policy {
        url.query_pairs_mut().append_pair("rp", policy);
    }
    url
}

/// A name as InfluxQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The answer to a statement: 200, with the error inside.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    error: Option<String>,
}

impl Database {
    pub(super) fn new(base: &Url, config: &Influx1Config) -> Self {
        let (name, policy) = (config.database.clone(), config.retention_policy.clone());
        Database { query: below(base, "/query"), name, policy }
    }

    /// The statement that makes the database unless it is there, with a default policy that keeps points for
    /// `retention`.
    fn statement(&self, retention: Option<Duration>) -> String {
        let duration = retention.filter(|retention| !retention.is_zero());
        let duration = duration.map_or("INF".to_owned(), |kept| format!("{}s", kept.as_secs()));
        let policy = self.policy.as_deref().unwrap_or("autogen");
        let (name, policy) = (quoted(&self.name), quoted(policy));
        format!("CREATE DATABASE {name} WITH DURATION {duration} REPLICATION 1 NAME {policy}")
    }

    async fn ensure(
        &self,
        (client, credentials, endpoint): (&Client, &Credentials, &Endpoint),
        retention: Option<Duration>,
    ) -> Result<(), ConnectorError> {
        let statement = [("q", self.statement(retention))];
        let request = credentials.sign(client.post(self.query.clone()).query(&statement));
        let answer = endpoint.send(request).await?;
        let text = answer.text();
        match answer.status.as_u16() {
            200 => {}
            _ if answer.may_pass() => return Err(endpoint.transient(&text, answer.retry_after)),
            _ => return Err(endpoint.refused(&text, DATABASE.credentials)),
        }
        let answer: Answer = serde_json::from_str(&answer.body).unwrap_or_default();
        match answer.results.into_iter().find_map(|outcome| outcome.error) {
            Some(error) => {
                let remedy = "change the retention policy by hand, or leave `retention` out";
                Err(endpoint.refused(&error, remedy))
            }
            None => Ok(()),
        }
    }
}

impl Place {
    /// Makes it unless it is there; whether it was made as far as the server tells.
    pub(super) async fn ensure(
        &self,
        (client, credentials, endpoint): (&Client, &Credentials, &Endpoint),
        retention: Option<Duration>,
    ) -> Result<BucketState, ConnectorError> {
        match self {
            Place::Bucket(admin) => admin.ensure(retention.filter(|kept| !kept.is_zero())).await,
            Place::Database(database) => {
                database.ensure((client, credentials, endpoint), retention).await?;
                Ok(BucketState::Existed)
            }
        }
    }

    /// What to say when the server refuses.
    pub(super) fn remedies(&self) -> &'static Remedies {
        match self {
            Place::Bucket(_) => &BUCKET,
            Place::Database(_) => &DATABASE,
        }
    }
}

/// What a person can do about refusals.
pub(super) struct Remedies {
    /// 401 and 403.
    pub(super) credentials: &'static str,
    /// 404.
    pub(super) missing: &'static str,
    /// An answer that no such server gives.
    pub(super) foreign: &'static str,
}

const BUCKET: Remedies = Remedies {
    credentials: TOKEN_REMEDY,
    missing: "create the bucket, or correct `org` and `bucket`",
    foreign: "this is no answer of InfluxDB 2: correct `url`",
};

const DATABASE: Remedies = Remedies {
    credentials: "check `username` and `password`, and that the user may write to the database",
    missing: "create the database or give `retention`, or correct `database` and `retention_policy`",
    foreign: "this is no answer of InfluxDB 1: correct `url`",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_the_policy_is_the_default_one() {
        let base = Url::parse("http://db:8086/base/").unwrap();
        let config =
            r#"{"url": "http://db:8086", "database": "my \"db\"", "retention_policy": "week"}"#;
        let config: Influx1Config = serde_json::from_str(config).unwrap();
        let database = Database::new(&base, &config);
        assert_eq!(
            database.statement(Some(Duration::from_secs(604_800))),
            r#"CREATE DATABASE "my \"db\"" WITH DURATION 604800s REPLICATION 1 NAME "week""#
        );
        assert!(database.statement(None).contains(" DURATION INF "));
        assert_eq!(database.query.as_str(), "http://db:8086/base/query");
        let url = database_url(&base, &config);
        assert_eq!(url.as_str(), "http://db:8086/base/write?db=my+%22db%22&precision=ms&rp=week");
    }
}
