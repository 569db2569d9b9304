//! Log lines and alerts to Elasticsearch 8 or OpenSearch 2, through the `elasticsearch` crate.
//!
//! Each batch is one bulk request of `create` operations. Before the first one an index template is put
//! that maps the fields of the Elastic Common Schema:
//!
//! ```text
//! @timestamp     date                       the line's own time
//! log.level      keyword                    TRACE, DEBUG, INFO, WARN, ERROR, FATAL
//! host.name      keyword
//! service.name   keyword
//! message        text
//! fields         flattened                  further top-level fields of a JSON line
//! ```
//!
//! Alerts go to daily indexes of their own: see [`ElasticsearchAlerts`].
//!
//! # Identity
//! `_id` is `generation-topic-partition-offset-index`, and the index is chosen by the line's own day in
//! UTC, so the same line always has the same identity in the same index: sent twice, the second time is
//! answered with 409, which is a success.
//!
//! # Retention
//! One process deletes the indexes of days that have been over for the retention, and nothing else.
//!
//! # Errors
//! Items are matched by position, since a failed item may have lost its `_id`.
//!
//! | answer | for an item | for the whole request |
//! | --- | --- | --- |
//! | 201, 409 | it is in | |
//! | 429, 5xx, none | sent again | sent again, not before `Retry-After`; after 429 in smaller requests |
//! | 400 | dead letter (a mapping it does not fit), unless it is about the cluster's limits | taken apart |
//! | 413 | dead letter | halved |
//! | 401, 403, 404 | held until a person acts | held until a person acts |
//!
//! `GET /` is never asked: some servers do not have it.

mod alerts;
mod answer;
mod config;
mod document;
mod expiry;
mod requests;
mod template;
#[cfg(test)]
mod tests;
mod writer;

pub use alerts::ElasticsearchAlerts;
pub use config::ElasticsearchConfig;
pub use writer::ElasticsearchWriter;
