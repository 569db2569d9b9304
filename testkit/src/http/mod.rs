//! HTTP for tests: a server with scripted answers, contract checkers built on
//! it, and a small client.
//!
//! HTTP/1.1 without TLS on 127.0.0.1, blocking, one thread per connection: it
//! works the same inside and outside of an async runtime, and it can do what
//! no well-behaved server does (hang up, stay silent, cut an answer short).

pub mod client;
mod fake;
mod pagerduty;
mod s3;
mod slack;
mod wire;

pub use fake::{Fake, Reply};
pub use pagerduty::{IncidentState, PagerDutyFake};
pub use s3::S3Fake;
pub use slack::SlackFake;
pub use wire::{Recorded, Response};
