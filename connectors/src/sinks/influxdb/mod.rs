//! Metric points and alerts to InfluxDB 2, to InfluxDB 1, and to VictoriaMetrics, which takes the writes of 1.
//!
//! Points go out as [line protocol](line_protocol), gzipped, in one POST to `/api/v2/write` (2) or `/write` (1)
//! for each batch. Health, organisation and bucket are asked for through the `influxdb2` crate; writes go over
//! `reqwest`, since that crate neither compresses a raw write nor shows an answer's headers.
//!
//! # Identity
//! A point is its measurement, tags and time: writing it twice changes nothing, a correction with the
//! same identity overwrites. Points are sent in the order they were offered. A correction that is written soon
//! after a start or a failed attempt is written again a little later: an older request may have been on its way.
//!
//! # Errors
//! | answer | meaning here |
//! | --- | --- |
//! | 204 | all points are in |
//! | 400 | one line is wrong, and nothing (2) or the rest (1) was stored: the batch is taken apart to find it |
//! | 422 | some points were dropped (type conflict, outside the retention), the rest is in: the same |
//! | 413 | the batch is too large: it is halved |
//! | 401, 403, 404 | refused: everything is held until a person acts |
//! | 408, 429, 5xx, none | sent again, not before `Retry-After` |
//! | any other | refused: whoever answers is no InfluxDB |

mod bucket;
mod config;
mod config1;
mod corrections;
pub mod line_protocol;
mod place;
#[cfg(test)]
mod tests;
mod writer;

pub use bucket::BucketState;
pub use config::{InfluxConfig, LongTerm, Raw};
pub use config1::Influx1Config;
pub use writer::InfluxWriter;
