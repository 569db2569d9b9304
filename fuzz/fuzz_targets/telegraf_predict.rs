//! Shape prediction: a codec that learns and one that does not, given the same records.
//!
//! The input is records with a zero byte between them. Each is given as it is, and as a number, as a text and as
//! a time inside of a message that both codecs know.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;
use tidewatch_fuzz::codec::{Format, SourceFormat, for_source, reference_for_source};

/// A message around its field `a`, a text `t` and its time.
fn message(number: &[u8], text: &[u8], time: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 7] = [
        br#"{"fields":{"a":"#,
        number,
        br#","b":true,"t":""#,
        text,
        br#"","z":0},"name":"m","tags":{"host":"h"},"timestamp":"#,
        time,
        b"}\n",
    ];
    parts.concat()
}

fuzz_target!(|input: &[u8]| {
    let mut values = vec![message(b"1.5", b"", b"1795375196000")];
    for part in input.split(|byte| *byte == 0).take(12) {
        values.push(part.to_vec());
        values.push(message(part, b"x", b"1795375196000"));
        values.push(message(b"-1", part, b"1795375196000000000"));
        values.push(message(b"12.345678901234567", b"x", part));
    }
    // The second time each has been seen; and everything is there twice, in two batches.
    let records: Vec<Record<'_>> = (0..)
        .zip(values.iter().chain(&values))
        .map(|(offset, value)| Record {
            offset,
            time: RecordTime::Created(EventTime::from_millis(1_700_000_000_000)),
            key: None,
            value: Some(value),
            headers: &[],
        })
        .collect();
    for format in [Format::TelegrafJson, Format::Auto] {
        let source = SourceFormat::new("t", format);
        let [found, expected] =
            [for_source(&source), reference_for_source(&source)].map(|mut codec| {
                let (mut series, mut out) = (SeriesTable::new(40), Decoded::default());
                for records in records.chunks(23) {
                    let partition = PartitionId { topic: 0, partition: 0 };
                    codec.decode(&RecordBatch { partition, records }, &mut series, &mut out);
                }
                out
            });
        let bits = |out: &Decoded| -> Vec<(u32, u64)> {
            out.values.iter().map(|(field, number)| (field.0, number.to_bits())).collect()
        };
        assert_eq!(bits(&found), bits(&expected));
        assert_eq!(found.points, expected.points);
        assert_eq!(found.rejected, expected.rejected);
        assert_eq!(found.logs, expected.logs);
    }
});
