//! What every fuzz target checks: the promises of a codec, for any bytes.
//!
//! The codecs are compiled in from their sources. Their crate would bring librdkafka, whose build does not
//! get along with a sanitizer, and minutes of compiling.

/// The codecs of `tidewatch-connectors`.
#[allow(dead_code, reason = "the targets use a part of it")]
#[path = "../../connectors/src/codec/mod.rs"]
pub mod codec;

use codec::{Format, SourceFormat, for_source, reference_for_source};
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

/// The last millisecond of the year 9999.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// Decodes `value` as the codec of `format` and checks the result.
pub fn check(format: Format, value: &[u8]) -> (Decoded, SeriesTable) {
    check_source(&SourceFormat::new("cpu-usage", format), value)
}

/// Decodes `value` three times as the codec of `format` and as the one that has no short ways: the same.
pub fn check_memory(format: Format, value: &[u8]) {
    let source = SourceFormat::new("cpu-usage", format);
    let records = [0, 1, 2].map(|offset| record(offset, value));
    let batch =
        RecordBatch { partition: PartitionId { topic: 0, partition: 0 }, records: &records };
    let [one, other] = [for_source(&source), reference_for_source(&source)].map(|mut codec| {
        let (mut series, mut out) = (SeriesTable::new(20_000), Decoded::default());
        codec.decode(&batch, &mut series, &mut out);
        out
    });
    assert_eq!(one, other);
}

/// Decodes `value` as the codec of `source` and checks the result.
pub fn check_source(source: &SourceFormat, value: &[u8]) -> (Decoded, SeriesTable) {
    let records = [record(0, value), record(1, value)];
    let batch =
        RecordBatch { partition: PartitionId { topic: 0, partition: 0 }, records: &records };
    let mut codec = for_source(source);
    let mut series = SeriesTable::new(20_000);
    let mut out = Decoded::default();
    codec.decode(&batch, &mut series, &mut out);

    // Twice the same record: twice the same outcome.
    assert!(out.points.len() % 2 == 0 && out.logs.len() % 2 == 0);
    let (first, second) = out.points.split_at(out.points.len() / 2);
    for (a, b) in first.iter().zip(second) {
        assert_eq!((a.offset, b.offset), (0, 1));
        assert_eq!((a.series, a.event_time), (b.series, b.event_time));
        let bits = |point| out.values_of(point).iter().map(|(id, v)| (*id, v.to_bits()));
        assert!(bits(a).eq(bits(b)));
    }
    // Whole or not at all.
    match out.rejected.as_slice() {
        [] => {}
        [a, b] => {
            assert!(out.points.is_empty() && out.values.is_empty() && out.logs.is_empty());
            assert_eq!((a.offset, b.offset), (0, 1));
            assert_eq!(a.why, b.why);
            assert!(a.why.detail.len() <= 300);
        }
        _ => panic!("one of two equal records was refused"),
    }
    for point in &out.points {
        assert!(point.event_time.as_millis() <= LAST_MILLIS);
        assert!(!out.values_of(point).is_empty());
        assert!(out.values_of(point).iter().all(|(_, value)| value.is_finite()));
    }
    for line in &out.logs {
        assert!(!line.host.is_empty() && !line.service.is_empty());
        if !line.extra.is_empty() {
            assert!(!line.extra.contains(['\n', '\r']));
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&line.extra).expect("`extra` is a JSON object");
            assert!(!object.is_empty());
        }
    }
    (out, series)
}

fn record(offset: i64, value: &[u8]) -> Record<'_> {
    Record {
        offset,
        time: RecordTime::Created(EventTime::from_millis(1_700_000_000_000)),
        key: Some(b"web-1"),
        value: Some(value),
        headers: &[],
    }
}
