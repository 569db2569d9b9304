//! Stores and channels: where metrics, logs and notifications go.
//!
//! | module | takes | identity of an item | repeated is |
//! | --- | --- | --- | --- |
//! | [`influxdb`] | metric points | measurement, tags, time | overwritten with the same |
//! | [`prometheus`] | metric points | series, time | ignored, or refused where it keeps no time window |
//! | [`elasticsearch`] | log lines | `generation-topic-partition-offset-index` | refused as existing, a success |
//! | [`sqlite`] | metric points, log lines, transitions | the same as above, and the transition's id | overwritten, or ignored |
//! | [`pagerduty`] | notifications | `dedup_key` and action | ignored |
//! | [`slack`] | notifications | incident id and step, in the text | a second message |
//! | [`email`] | notifications | `Message-ID` | a second mail with the same id |
//! | [`console`] | notifications | incident id and step | a second line |
//!
//! Each implements [`SinkWriter`](tidewatch_dataflow::sink::SinkWriter) and stands behind a
//! [`Delivery`](crate::delivery::Delivery), which queues, batches and retries for it: writers send once
//! and classify the answer. What a message to people says is composed in one place, [`message`].

mod alert_points;
mod channel;
pub mod console;
pub mod elasticsearch;
pub mod email;
pub mod influxdb;
mod instant;
pub mod message;
pub mod pagerduty;
pub mod prometheus;
mod receiver;
#[cfg(test)]
mod sample;
pub mod slack;
pub mod sqlite;
mod store;

pub use alert_points::{ALERTS_MEASUREMENT, AlertPoints};
pub use receiver::ReceiverConfig;

use tidewatch_dataflow::config::SecretError;

/// Why a sink could not be opened. Opening reaches no server: only the configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A secret could not be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A field of the configuration makes no sense.
    #[error("`{field}` is not usable: {reason}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// Why, and what to write instead.
        reason: String,
    },
    /// The client could not be built.
    #[error("could not build an HTTP client: {reason}")]
    Client {
        /// What the client library said.
        reason: String,
    },
}
