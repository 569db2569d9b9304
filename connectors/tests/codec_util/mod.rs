//! What the codec tests share: decoding one value, and what came out in words.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use tidewatch_connectors::codec::{Format, SourceFormat, for_source};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::{Decoded, LogLine, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_dataflow::time::EventTime;

/// Key and value of a record.
pub type KeyAndValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Kafka's timestamp of every record here.
pub const KAFKA_TIME: u64 = 1_700_000_000_000;

/// A point in words, so that equal is equal whatever the numbers of series and fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub measurement: String,
    pub labels: String,
    pub millis: u64,
    pub fields: Vec<(String, f64)>,
}

/// Everything a codec made of some records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub points: Vec<Seen>,
    pub logs: Vec<LogLine>,
    pub rejected: Vec<(i64, Reason, String)>,
    pub no_numbers: u64,
}

/// What the codec of `source` makes of records with these keys and values.
pub fn decode_records(source: &SourceFormat, records: &[KeyAndValue<'_>]) -> Outcome {
    decode_by(&mut *for_source(source), records)
}

/// What `codec` makes of records without keys.
pub fn outcome_of(codec: &mut dyn Codec, values: &[&[u8]]) -> Outcome {
    let records: Vec<KeyAndValue<'_>> = values.iter().map(|value| (None, Some(*value))).collect();
    decode_by(codec, &records)
}

/// What the codec of `source` makes of one value with the key `web-1`.
pub fn decode_with(source: &SourceFormat, value: &[u8]) -> Outcome {
    decode_records(source, &[(Some(b"web-1"), Some(value))])
}

fn decode_by(codec: &mut dyn Codec, records: &[KeyAndValue<'_>]) -> Outcome {
    let mut series = SeriesTable::new(10_000);
    let mut out = Decoded::default();
    let records: Vec<Record<'_>> = (0..)
        .zip(records)
        .map(|(offset, (key, value))| Record {
            offset,
            time: RecordTime::Created(EventTime::from_millis(KAFKA_TIME)),
            key: *key,
            value: *value,
            headers: &[],
        })
        .collect();
    let partition = PartitionId { topic: 0, partition: 5 };
    codec.decode(&RecordBatch { partition, records: &records }, &mut series, &mut out);
    outcome(&series, &out)
}

pub fn outcome(series: &SeriesTable, out: &Decoded) -> Outcome {
    for point in &out.points {
        assert_eq!(point.admission_time, point.event_time);
        assert!(!out.values_of(point).is_empty(), "a point without a number");
    }
    assert!(out.points.is_sorted_by_key(|point| point.offset));
    let spoken: usize = out.points.iter().map(|point| out.values_of(point).len()).sum();
    assert_eq!(spoken, out.values.len(), "values that belong to no point");
    Outcome {
        points: out
            .points
            .iter()
            .map(|point| {
                let of = series.series(point.series).unwrap();
                let fields = out.values_of(point).iter();
                Seen {
                    measurement: of.measurement.to_string(),
                    labels: of.labels.to_string(),
                    millis: point.event_time.as_millis(),
                    fields: fields
                        .map(|(id, value)| (series.field(*id).unwrap().to_owned(), *value))
                        .collect(),
                }
            })
            .collect(),
        logs: out.logs.clone(),
        no_numbers: out.no_numbers,
        rejected: out
            .rejected
            .iter()
            .map(|r| (r.offset, r.why.reason, r.why.detail.to_string()))
            .collect(),
    }
}

/// What the codec of `format` makes of one value with the key `web-1`.
pub fn decode(format: Format, value: &str) -> Outcome {
    decode_bytes(format, value.as_bytes())
}

pub fn decode_bytes(format: Format, value: &[u8]) -> Outcome {
    decode_records(&SourceFormat::new("cpu-usage", format), &[(Some(b"web-1"), Some(value))])
}

/// The one point of `value`.
pub fn point(format: Format, value: &str) -> Seen {
    let mut outcome = decode(format, value);
    assert_eq!((outcome.points.len(), &outcome.rejected), (1, &Vec::new()), "{value}: {outcome:?}");
    outcome.points.remove(0)
}

/// The one log line of `value`.
pub fn line(format: Format, value: &str) -> LogLine {
    let mut outcome = decode(format, value);
    assert_eq!((outcome.logs.len(), &outcome.rejected), (1, &Vec::new()), "{value}: {outcome:?}");
    outcome.logs.remove(0)
}

/// Why `value` is refused.
pub fn refusal(format: Format, value: &str) -> (Reason, String) {
    let mut outcome = decode(format, value);
    assert!(outcome.points.is_empty() && outcome.logs.is_empty(), "{value}: {outcome:?}");
    assert_eq!(outcome.rejected.len(), 1, "{value}: {outcome:?}");
    let (_, reason, detail) = outcome.rejected.remove(0);
    (reason, detail)
}
