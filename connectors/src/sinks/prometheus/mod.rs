//! Metric points and alerts to Prometheus, and to whatever else takes its remote write (VictoriaMetrics, Mimir,
//! Thanos).
//!
//! Each batch is one POST of remote write 1.0: protobuf in a snappy block. A field of a point becomes a sample of the
//! series `<measurement>_<field>` with the point's labels; what such names cannot hold becomes `_`.
//!
//! # Identity
//! A sample is its series and its time. Prometheus keeps the first value that it was sent for one and takes them in the
//! order of time: without `out_of_order_time_window` in its configuration it refuses what is older than the newest
//! sample of its series, so what is sent again after a crash, and corrections, are rejected and counted.
//!
//! # Errors
//! | answer | meaning here |
//! | --- | --- |
//! | 200, 204 | all samples are in |
//! | 400 | one sample is out of order, too old or malformed: the batch is taken apart to find it |
//! | 413 | the batch is too large: it is halved |
//! | 401, 403, 404 | refused: everything is held until a person acts |
//! | 408, 429, 5xx, none | sent again, not before `Retry-After` |
//! | any other | refused: whoever answers takes no remote write |

mod config;
mod series;
#[cfg(test)]
mod tests;
mod writer;

pub use config::PrometheusConfig;
pub use writer::PrometheusWriter;
