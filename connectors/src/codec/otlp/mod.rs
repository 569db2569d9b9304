//! OpenTelemetry's metrics and logs (OTLP), as the collector's Kafka exporter and SDKs write them: Protocol Buffers
//! or JSON.
//!
//! # Grammar
//!
//! ```text
//! record   = request in Protocol Buffers                 unless it begins with "{"
//!          | request in JSON+                            names in camelCase or snake_case
//! request  = { resourceMetrics: [ { resource, scopeMetrics: [ { metrics: [metric*] } ] } ] }
//!          | { resourceLogs:    [ { resource, scopeLogs:    [ { logRecords: [log*] } ] } ] }
//! metric   = { name, gauge | sum | histogram | exponentialHistogram | summary: { dataPoints: [point*] } }
//! ```
//!
//! as `opentelemetry-proto` 1 has it; what is not named below is skipped. In JSON whole numbers may be texts.
//! In Protocol Buffers metrics and logs are told apart by their first field, which is a text in the one and a
//! time in the other.
//!
//! # What it means
//!
//! - **Metrics**: each data point is a point of the measurement `name`. A gauge or a sum has the field
//!   `value`; a histogram of either kind `count`, `sum`, `min` and `max`, those that it has; a summary `count`,
//!   `sum` and `quantile_0.99`. Buckets and exemplars are passed over; what is no number or is flagged as
//!   not recorded is counted ([`Decoded::no_numbers`]) and passed over. Sums stay what they are: with cumulative temporality they rise.
//! - **Labels** of a point: its attributes, and of the resource's `service.namespace`, `service.instance.id` and
//!   what the source's `resource_labels` name. `host.name` is the label `host`, `service.name` the label
//!   `service`, as in all other formats. Other attributes of the resource do not become labels: they are many,
//!   and the same for all its points. A point's own attribute goes before the resource's.
//! - **Logs**: the time is that of the event, else that of its observation; the level is the severity's number
//!   (1 to 4 TRACE, to 8 DEBUG, 12 INFO, 16 WARN, 20 ERROR, 24 FATAL), else its text; the text is the body, as
//!   JSON where it is none; host and service are those of the resource, else `unknown`. All attributes, the
//!   resource's too, are `extra`, with `trace.id`, `span.id` and `event.name`.
//! - A time of 0 is none: Kafka's timestamp counts.
//!
//! # What is refused
//!
//! What is no such message, spans and profiles (`unparseable`), a request without metrics or logs, a metric
//! without a name, an empty log record (`missing_field`), and whatever passes the bounds of
//! [the codecs](super) or has more than [`OBJECTS_MAX`] objects of JSON (`too_large`, `series_limit`).

mod any;
mod emit;
mod json;
mod proto;
mod tree;

use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;

use super::line::LineWriter;
use super::point::PointWriter;
use super::{Decode, Input, SourceFormat};
use emit::Sink;

/// The most objects of a record in JSON. An attribute has two of them in 40 bytes at least, so 1 MiB of such has
/// fewer; in memory an object takes up to 200 bytes, so all take 13 MB at the most.
pub const OBJECTS_MAX: usize = 65_536;

/// The codec; see the module.
pub(super) struct Otlp {
    points: PointWriter,
    lines: LineWriter,
    /// Attributes of a resource that become labels of its points, under their own names.
    resource_labels: Vec<Box<str>>,
}

impl Otlp {
    pub(super) fn new(source: &SourceFormat) -> Self {
        let always = ["service.namespace", "service.instance.id"].map(Box::from);
        Otlp {
            points: PointWriter::default(),
            lines: LineWriter::new(source),
            resource_labels: always.into_iter().chain(source.resource_labels.clone()).collect(),
        }
    }
}

impl Decode for Otlp {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        self.points.begin_record();
        let mut sink = Sink { codec: self, series, out, input: &input, lines: 0 };
        // A request in Protocol Buffers begins with its first field, which is a line break when read as text.
        match input.value.first() {
            Some(b'{' | b' ' | b'\t' | b'\r') => json::request(input.text()?, &mut sink),
            _ => proto::request(input.value, &mut sink),
        }
    }
}
