//! Points as series of samples, in the messages of remote write 1.0.

use std::collections::BTreeMap;

use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::sink::RejectedItem;

/// A request.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
}

/// A series with some of its samples, oldest first.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeries {
    /// Sorted by name; no name twice.
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
}

/// A label; the series' name is that of the label `__name__`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// A number and its time in milliseconds.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// The request for `batch`, and the points of it that cannot be written.
pub(super) fn request(batch: &[MetricPoint]) -> (WriteRequest, Vec<RejectedItem>) {
    let mut series: BTreeMap<Vec<Label>, BTreeMap<i64, f64>> = BTreeMap::new();
    let mut rejected = Vec::new();
    for (index, point) in batch.iter().enumerate() {
        let reject = |reason, detail: &str| RejectedItem { index, reason, detail: detail.into() };
        if point.measurement.is_empty() {
            rejected.push(reject(Reason::MissingField, "the point has no measurement"));
            continue;
        }
        let Ok(time) = i64::try_from(point.time.as_millis()) else {
            rejected.push(reject(Reason::TimeOutOfRange, "the time lies beyond any calendar"));
            continue;
        };
        let finite = point.fields.iter().filter(|(_, value)| value.is_finite());
        let mut written = 0;
        for (field, value) in finite {
            let labels = labels(point, &format!("{}_{field}", point.measurement));
            // Of two values for one time the later one holds.
            series.entry(labels).or_default().insert(time, value);
            written += 1;
        }
        if written == 0 {
            rejected.push(reject(Reason::NotANumber, "the point has no finite field"));
        }
    }
    let timeseries = series.into_iter().map(|(labels, samples)| TimeSeries {
        labels,
        samples: samples
            .into_iter()
            .map(|(timestamp, value)| Sample { value, timestamp })
            .collect(),
    });
    (WriteRequest { timeseries: timeseries.collect() }, rejected)
}

/// The labels of the series called `name`, sorted.
fn labels(point: &MetricPoint, name: &str) -> Vec<Label> {
    let metric = ("__name__".to_owned(), sayable(name, true));
    // An empty value is the same as no label.
    let others = point.labels.iter().filter(|(_, value)| !value.is_empty());
    let others = others.map(|(name, value)| (sayable(name, false), value.to_owned()));
    // Two names may have become one: the first holds, and the series keeps its own name.
    let mut by_name = BTreeMap::from([metric]);
    for (name, value) in others {
        by_name.entry(name).or_insert(value);
    }
    by_name.into_iter().map(|(name, value)| Label { name, value }).collect()
}

/// `name` with `_` for each character that a name cannot hold; colons stand in names of metrics only, and two
/// underscores begin no label but Prometheus' own.
fn sayable(name: &str, is_metric: bool) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (is_metric && c == ':');
    let mut said: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if said.starts_with(|c: char| c.is_ascii_digit()) || said.is_empty() {
        said.insert(0, '_');
    }
    match said.starts_with("__") && !is_metric {
        true => format!("_{}", said.trim_start_matches('_')),
        false => said,
    }
}
