//! OTLP in JSON: bounds first, then the tree, then its points and lines.

use std::borrow::Cow;

use serde::Deserialize as _;
use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};

use super::super::json::{check_shape, malformed};
use super::OBJECTS_MAX;
use super::any::Attributes;
use super::emit::{DataPoint, LogRecord, Sink};
use super::tree::{Data, KeyValue, Log, Point, Request};

/// Reads requests one after another.
pub(super) fn request(text: &str, sink: &mut Sink<'_, '_>) -> Result<(), Malformed> {
    check_shape(text, OBJECTS_MAX)?;
    let mut json = serde_json::Deserializer::from_str(text);
    loop {
        let request = Request::deserialize(&mut json).map_err(|error| malformed(text, &error))?;
        if request.resource_spans.is_some() {
            return Err(Malformed::new(Reason::Unparseable, "spans are not read"));
        }
        if request.resource_metrics.is_none() && request.resource_logs.is_none() {
            return Err(Malformed::new(
                Reason::MissingField,
                "a request with neither `resourceMetrics` nor `resourceLogs`",
            ));
        }
        for resource in request.resource_metrics.unwrap_or_default() {
            let attributes = attributes(resource.resource.attributes);
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let kinds = [
                    metric.gauge,
                    metric.sum,
                    metric.histogram,
                    metric.exponential_histogram,
                    metric.summary,
                ];
                let data = kinds.into_iter().flatten();
                for point in data.flat_map(|Data { data_points }| data_points) {
                    sink.point(&attributes, &metric.name, &data_point(point))?;
                }
            }
        }
        for resource in request.resource_logs.unwrap_or_default() {
            let attributes = attributes(resource.resource.attributes);
            for log in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                sink.log(&attributes, &log_record(log))?;
            }
        }
        if json.end().is_ok() {
            return Ok(());
        }
    }
}

fn attributes(members: Vec<KeyValue<'_>>) -> Attributes<'_> {
    members.into_iter().map(|member| (member.key, member.value)).collect()
}

fn data_point(point: Point<'_>) -> DataPoint<'_> {
    let mut numbers: SmallVec<[(Cow<'_, str>, f64); 4]> = SmallVec::new();
    for (name, number) in [
        ("value", point.as_double),
        ("value", point.as_int),
        ("count", point.count),
        ("sum", point.sum),
        ("min", point.min),
        ("max", point.max),
    ] {
        numbers.extend(number.map(|number| (Cow::Borrowed(name), number.as_f64())));
    }
    for at in &point.quantile_values {
        numbers.push((format!("quantile_{}", at.quantile.as_f64()).into(), at.value.as_f64()));
    }
    DataPoint {
        attributes: attributes(point.attributes),
        nanos: point.time_unix_nano.as_u64(),
        flags: point.flags.as_u64(),
        numbers,
    }
}

fn log_record(log: Log<'_>) -> LogRecord<'_> {
    // Ids of traces are the same in capitals.
    let lower = |id: Cow<'_, str>| Cow::Owned(id.to_ascii_lowercase());
    LogRecord {
        nanos: log.time_unix_nano.as_u64(),
        observed_nanos: log.observed_time_unix_nano.as_u64(),
        severity: log.severity_number.as_u64(),
        severity_text: log.severity_text,
        body: log.body,
        attributes: attributes(log.attributes),
        trace: lower(log.trace_id),
        span: lower(log.span_id),
        event: log.event_name,
    }
}
