//! Codecs: from the bytes of a record to points and log lines.
//!
//! | [`Format`] | a record is | documented in |
//! | --- | --- | --- |
//! | `telegraf_json` | Telegraf's JSON, one metric or a batch | [`telegraf`] |
//! | `influx_line` | InfluxDB's line protocol | [`influx_line`] |
//! | `collectd_json` | collectd's JSON | [`collectd_json`] |
//! | `otlp` | OpenTelemetry's metrics or logs, protobuf or JSON | [`otlp`] |
//! | `prometheus_remote_write` | Prometheus' remote write | [`prometheus`] |
//! | `value` | one number or percentage, keyed by host | [`value`] |
//! | `json_log` | a log line as a JSON object | [`json_log`] |
//! | `ecs_json` | the same, with the names of the Elastic Common Schema | [`json_log`] |
//! | `syslog` | syslog, RFC 3164 and 5424 | [`syslog`] |
//! | `logfmt` | a log line as `key=value` pairs | [`logfmt`] |
//! | `text_log` | a log line as plain text | [`text_log`] |
//! | `auto` | any of those that can be told apart, decided record by record | [`auto`] |
//!
//! A record is decoded whole or not at all. What cannot be decoded is rejected with a reason for
//! machines and a detail for people, which names the byte where reading stopped. Key, headers and timestamp of a
//! record become labels and time where the source says so: see [`carried`].
//!
//! # Bounds
//!
//! Every decoder refuses a record with [`Reason::TooLarge`](tidewatch_dataflow::dead_letter::Reason)
//! beyond these bounds, so that one record costs at most some milliseconds and a few megabytes:
//!
//! | what | bound | why |
//! | --- | --- | --- |
//! | bytes of a value | [`VALUE_MAX`] | Kafka's own default for a message |
//! | depth of JSON | [`DEPTH_MAX`] | what people write is under ten deep |
//! | fields of one object | [`FIELDS_MAX`] | a metric has tens |
//! | points or lines of one record | [`POINTS_MAX`] | Telegraf's default batch is 1,000 |
//! | labels of a series | [`LABELS_MAX`] | a metric has about ten |
//! | bytes of a measurement and its labels | [`LABEL_BYTES_MAX`] | a million series are then at most 4 GiB |
//!
//! # Time
//!
//! Times are read as [`time`] says: numbers by their magnitude, texts as RFC 3339 or close to it. An
//! instant before 1970 or after the year 9999 is refused.

pub mod auto;
pub mod carried;
pub mod collectd_json;
mod fields;
pub mod influx_line;
mod json;
pub mod json_log;
pub mod level;
mod line;
pub mod logfmt;
pub mod otlp;
mod point;
pub mod prometheus;
mod protobuf;
pub mod syslog;
pub mod telegraf;
pub mod text_log;
pub mod time;
pub mod value;

use serde::Deserialize;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_dataflow::time::EventTime;

pub use carried::{RecordLabels, TimeFrom};
pub use line::LogLabels;

use carried::Carried;
use influx_line::{InfluxLine, Precision};
use json_log::{JsonLog, Names};
use telegraf::TelegrafJson;
use text_log::TextPatterns;
use time::UtcOffset;

/// The longest value that is decoded: 1 MiB.
pub const VALUE_MAX: usize = 1 << 20;
/// The deepest nesting of JSON, counting the record's own object as one.
pub const DEPTH_MAX: u8 = 32;
/// The most fields of one metric, and the most members of one log line.
pub const FIELDS_MAX: usize = 4_096;
/// The most points, and the most log lines, of one record.
pub const POINTS_MAX: usize = 10_000;
/// The most labels of one series.
pub const LABELS_MAX: usize = 128;
/// The most bytes of a measurement's name and its labels together.
pub const LABEL_BYTES_MAX: usize = 4_096;

/// What the records of a topic look like.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Decided for each record by how it begins.
    #[default]
    Auto,
    /// Telegraf's JSON, one metric or a batch.
    TelegrafJson,
    /// InfluxDB's line protocol.
    InfluxLine,
    /// collectd's JSON.
    CollectdJson,
    /// OpenTelemetry's metrics or logs, protobuf or JSON.
    Otlp,
    /// Prometheus' remote write.
    PrometheusRemoteWrite,
    /// One number or percentage, keyed by host.
    Value,
    /// A log line as a JSON object.
    JsonLog,
    /// A log line as a JSON object with the names of the Elastic Common Schema.
    EcsJson,
    /// Syslog, RFC 3164 or 5424.
    Syslog,
    /// A log line as `key=value` pairs.
    Logfmt,
    /// A log line as plain text.
    TextLog,
}

/// How to decode the records of one topic.
///
/// ```
/// use tidewatch_connectors::codec::{Format, SourceFormat};
/// let source = SourceFormat::new("cpu-usage", Format::Value);
/// assert_eq!((&*source.measurement, &*source.field, &*source.key_label), ("cpu", "value", "host"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFormat {
    /// What the records look like.
    pub format: Format,
    /// The topic's name; the service of text log lines.
    pub topic: Box<str>,
    /// The measurement of [`Format::Value`].
    pub measurement: Box<str>,
    /// The field of [`Format::Value`].
    pub field: Box<str>,
    /// The label that the record's key becomes in [`Format::Value`].
    pub key_label: Box<str>,
    /// The unit of times in [`Format::InfluxLine`].
    pub precision: Precision,
    /// How far times without a zone are from UTC, in [`Format::Syslog`], [`Format::Logfmt`] and
    /// [`Format::TextLog`].
    pub utc_offset: UtcOffset,
    /// Where time and level stand in [`Format::TextLog`].
    pub patterns: TextPatterns,
    /// Further attributes of a resource that become labels in [`Format::Otlp`].
    pub resource_labels: Vec<Box<str>>,
    /// Parts of a record beside its value that become labels.
    pub record_labels: RecordLabels,
    /// Whose time counts.
    pub time_from: TimeFrom,
    /// The labels of the series that log lines are counted under.
    pub log_labels: LogLabels,
}

impl SourceFormat {
    /// The defaults for `topic`: the measurement is the topic's name without `-usage`, the field is
    /// `value`, the key is the `host`.
    pub fn new(topic: &str, format: Format) -> Self {
        SourceFormat {
            format,
            topic: topic.into(),
            measurement: topic.strip_suffix("-usage").unwrap_or(topic).into(),
            field: "value".into(),
            key_label: "host".into(),
            precision: Precision::default(),
            utc_offset: UtcOffset::default(),
            patterns: TextPatterns::default(),
            resource_labels: Vec::new(),
            record_labels: RecordLabels::default(),
            time_from: TimeFrom::default(),
            log_labels: LogLabels::default(),
        }
    }
}

/// The codec of a source. It remembers numbers of series and field names, so it must be given the same series
/// table each time to be quick; given another, it is still right.
pub fn for_source(source: &SourceFormat) -> Box<dyn Codec> {
    codec(source, true)
}

/// The same codec without shape prediction, without memory of the heads of lines, and with the general reader for
/// each JSON log line: every record is parsed. Slower, and what [`for_source`] must agree with on every input; for tests and measurements.
pub fn reference_for_source(source: &SourceFormat) -> Box<dyn Codec> {
    codec(source, false)
}

fn codec(source: &SourceFormat, remembers: bool) -> Box<dyn Codec> {
    let telegraf = || match remembers {
        true => TelegrafJson::predicting(),
        false => TelegrafJson::default(),
    };
    match source.format {
        Format::Auto => each(source, auto::Auto::new(source, telegraf())),
        Format::TelegrafJson => each(source, telegraf()),
        Format::InfluxLine => each(source, InfluxLine::new(source, remembers)),
        Format::CollectdJson => each(source, collectd_json::CollectdJson::default()),
        Format::Otlp => each(source, otlp::Otlp::new(source)),
        Format::PrometheusRemoteWrite => each(source, prometheus::RemoteWrite::default()),
        Format::Value => each(source, value::Value::new(source)),
        Format::JsonLog => each(source, JsonLog::new(source, Names::Plain, remembers)),
        Format::EcsJson => each(source, JsonLog::new(source, Names::Ecs, remembers)),
        Format::Syslog => each(source, syslog::Syslog::new(source)),
        Format::Logfmt => each(source, logfmt::Logfmt::new(source)),
        Format::TextLog => each(source, text_log::TextLog::new(source)),
    }
}

/// The codec that decodes record after record with `decode`.
fn each(source: &SourceFormat, decode: impl Decode + 'static) -> Box<dyn Codec> {
    Box::new(Each { decode, carried: Carried::new(source) })
}

/// One record with a value of acceptable size.
#[derive(Copy, Clone)]
struct Input<'a> {
    partition: PartitionId,
    record: Record<'a>,
    value: &'a [u8],
}

impl<'a> Input<'a> {
    /// Kafka's timestamp, for records that do not say themselves when they were made.
    fn record_time(&self) -> Result<EventTime, Malformed> {
        match self.record.time {
            RecordTime::Created(time) | RecordTime::Appended(time) => time::checked(time),
            RecordTime::Unknown => Err(Malformed::new(
                Reason::MissingField,
                "no time: neither the value nor the record has one",
            )),
        }
    }

    /// The key as text, if there is one and it is not empty.
    fn key_text(&self) -> Result<Option<&'a str>, Malformed> {
        match self.record.key {
            None | Some([]) => Ok(None),
            Some(key) => std::str::from_utf8(key).map(Some).map_err(|error| {
                Malformed::new(
                    Reason::Unparseable,
                    format!("the key is not UTF-8 at byte {}", error.valid_up_to()),
                )
            }),
        }
    }

    /// The value as text.
    fn text(&self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.value).map_err(|error| {
            Malformed::new(
                Reason::Unparseable,
                format!("the value is not UTF-8 at byte {}", error.valid_up_to()),
            )
        })
    }
}

/// So many records are looked at ahead: the processor waits for about a dozen lines of memory at once.
const AHEAD: usize = 16;

/// Decodes one record; what it appends before it fails is taken back by the caller.
trait Decode {
    /// Says which records come next, at most [`AHEAD`]: what can be fetched from memory for all of them at once is
    /// not waited for one by one. Changes nothing of what is decoded.
    fn look_ahead(&mut self, records: &[Record<'_>]) {
        let _ = records;
    }

    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed>;
}

/// The codec that decodes record after record.
struct Each<D> {
    decode: D,
    carried: Option<Carried>,
}

impl<D: Decode> Codec for Each<D> {
    fn decode(&mut self, batch: &RecordBatch<'_>, series: &mut SeriesTable, out: &mut Decoded) {
        for (index, record) in batch.records.iter().enumerate() {
            if index % AHEAD == 0 {
                let next = batch.records.get(index..).unwrap_or_default();
                self.decode.look_ahead(next.get(..AHEAD).unwrap_or(next));
            }
            let mark = out.mark();
            let result = match record.value {
                None => Err(Malformed::new(Reason::Empty, "the record has no value (a tombstone)")),
                Some(value) if value.len() > VALUE_MAX => Err(Malformed::new(
                    Reason::TooLarge,
                    format!("the value has {} bytes, more than {VALUE_MAX}", value.len()),
                )),
                Some(value) if value.trim_ascii().is_empty() => {
                    Err(Malformed::new(Reason::Empty, "the value is empty"))
                }
                Some(value) => {
                    let input = Input { partition: batch.partition, record: *record, value };
                    match &mut self.carried {
                        None => self.decode.record(input, series, out),
                        Some(carried) => carried.record(&mut self.decode, input, series, out),
                    }
                }
            };
            if let Err(why) = result {
                out.reject(mark, record.offset, why);
            }
        }
    }
}

/// The end of a column as the index type of [`Point::values`](tidewatch_dataflow::record::Point).
fn column_end(len: usize) -> u32 {
    // A number takes six bytes at least (`"":0,` and its digit), so a batch of 8,192 records of 1 MiB
    // has at most 8,192 * 2^20 / 6 = 1.4 * 10^9 values, a third of what fits.
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Refuses labels that would make the series table too large.
fn check_labels(measurement: &str, labels: &[(&str, &str)]) -> Result<(), Malformed> {
    if labels.len() > LABELS_MAX {
        return Err(Malformed::new(
            Reason::TooLarge,
            format!("{} labels, more than {LABELS_MAX}", labels.len()),
        ));
    }
    let bytes = labels.iter().fold(measurement.len(), |sum, (n, v)| sum + n.len() + v.len());
    if bytes > LABEL_BYTES_MAX {
        return Err(Malformed::new(
            Reason::TooLarge,
            format!("name and labels have {bytes} bytes, more than {LABEL_BYTES_MAX}"),
        ));
    }
    Ok(())
}

/// The fault of a full series table.
fn table_full(full: tidewatch_dataflow::series::TableFull) -> Malformed {
    Malformed::new(Reason::SeriesLimit, full.to_string())
}

/// At most 32 bytes of `bytes` from `at` on, printable.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let rest = bytes.get(at..).unwrap_or_default();
    let cut = rest.get(..32).unwrap_or(rest);
    format!("`{}`", cut.escape_ascii())
}
