//! Metric points: numbers on their way to a store of time series.

mod fields;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use fields::{FieldNames, Fields};

use crate::series::Labels;
use crate::time::EventTime;

/// One point for a time-series store. Its identity is (measurement, labels, time): writing it twice is
/// harmless, and a correction overwrites what it corrects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    /// Name of the measurement, that of the statistic: `cpu`.
    pub measurement: Arc<str>,
    /// Labels of the group, with `window` naming the window (`10s`, or `5m/10s` when it slides).
    pub labels: Labels,
    /// The end of the window.
    pub time: EventTime,
    /// Field names and finite values; always written as floats.
    pub fields: Fields,
    /// Whether it replaces a point of the same identity that was fired before. Not written to stores: it tells
    /// a sink that the order of the two matters.
    pub is_correction: bool,
}

/// Every window of every group makes one, and it is moved several times on its way: measurement and labels take 16
/// bytes each, the time 8, the names of fields 8, their numbers 48, the rest 8.
const _: () = assert!(size_of::<MetricPoint>() <= 104);
