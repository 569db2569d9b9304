//! What a record carries beside its value: key and headers as labels, Kafka's timestamp as the time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod codec_util;

use std::collections::BTreeMap;

use codec_util::{KAFKA_TIME, Outcome, outcome};
use proptest::prelude::*;
use serde_json::json;
use tidewatch_connectors::codec::{
    Format, RecordLabels, SourceFormat, TimeFrom, for_source, reference_for_source,
};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::{Decoded, Header, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_dataflow::time::EventTime;

const METRIC: &[u8] =
    br#"{"fields":{"used":1.5,"free":2},"name":"mem","tags":{"dc":"eu"},"timestamp":1700000001}"#;

/// A source whose key is the `host`, and whose header `x-region` is the `region`.
fn source(format: Format) -> SourceFormat {
    let record_labels = RecordLabels {
        key: Some("host".into()),
        headers: vec![("x-region".into(), "region".into())],
    };
    SourceFormat { record_labels, ..SourceFormat::new("cpu-usage", format) }
}

fn record<'a>(key: &'a str, headers: &'a [Header<'a>], value: &'a [u8]) -> Record<'a> {
    Record {
        offset: 0,
        time: RecordTime::Created(EventTime::from_millis(KAFKA_TIME)),
        key: Some(key.as_bytes()),
        value: Some(value),
        headers,
    }
}

fn decode_by(codec: &mut dyn Codec, records: &[Record<'_>]) -> Outcome {
    let records: Vec<_> =
        (0..).zip(records).map(|(offset, record)| Record { offset, ..*record }).collect();
    let (mut series, mut out) = (SeriesTable::new(10_000), Decoded::default());
    let partition = PartitionId { topic: 0, partition: 5 };
    codec.decode(&RecordBatch { partition, records: &records }, &mut series, &mut out);
    outcome(&series, &out)
}

fn decode(source: &SourceFormat, records: &[Record<'_>]) -> Outcome {
    decode_by(&mut *for_source(source), records)
}

fn region(value: &str) -> [Header<'_>; 1] {
    [Header { name: "x-region", value: value.as_bytes() }]
}

#[test]
fn key_and_headers_are_labels_of_points() {
    let (eu, us) = (region("eu-1"), region("us-1"));
    let twice = [eu[0], us[0], Header { name: "other", value: b"x" }];
    let records = [
        record("web-1", &eu, METRIC),
        // The same bytes, of another host: what was learned of the first does not count.
        record("web-2", &eu, METRIC),
        record("web-2", &us, METRIC),
        record("", &[], METRIC),
        record("web-1", &twice, METRIC),
    ];
    let seen = decode(&source(Format::TelegrafJson), &records);
    let labels: Vec<&str> = seen.points.iter().map(|point| point.labels.as_str()).collect();
    let of = |host: &str, region: &str| format!("dc=eu,host={host},region={region}");
    let (a, b, c, d) =
        (of("web-1", "eu-1"), of("web-2", "eu-1"), of("web-2", "us-1"), of("web-1", "us-1"));
    assert_eq!(labels, [a.as_str(), &b, &c, "dc=eu", &d], "{seen:?}");
    for point in &seen.points {
        assert_eq!((point.measurement.as_str(), point.millis), ("mem", 1_700_000_001_000));
        assert_eq!(point.fields, [("used".to_owned(), 1.5), ("free".to_owned(), 2.0)]);
    }
    assert_eq!(
        decode_by(&mut *reference_for_source(&source(Format::TelegrafJson)), &records),
        seen
    );
}

#[test]
fn a_label_of_the_value_itself_stays() {
    let value = br#"{"fields":{"used":1},"name":"mem","tags":{"host":"own","region":"own"}}"#;
    let eu = region("eu-1");
    let seen = decode(&source(Format::Auto), &[record("web-1", &eu, value)]);
    assert_eq!(seen.points[0].labels, "host=own,region=own");
    // A bare value has the label of its key anyway.
    let seen = decode(&source(Format::Auto), &[record("web-1", &eu, b"85%")]);
    assert_eq!(seen.points[0].labels, "host=web-1,region=eu-1");
}

#[test]
fn log_lines_have_them_as_host_and_as_further_fields() {
    let eu = region("eu\"1");
    let values: [&[u8]; 3] = [
        br#"{"level":"error","message":"a"}"#,
        br#"{"level":"error","message":"b","host":"own","shop":7}"#,
        br#"{"level":"error","message":"c","service":"pay","region":"own"}"#,
    ];
    let records = values.map(|value| record("web-1", &eu, value));
    let seen = decode(&source(Format::JsonLog), &records);
    let lines: Vec<_> = seen
        .logs
        .iter()
        .map(|line| {
            let extra: serde_json::Value = serde_json::from_str(&line.extra).unwrap();
            (&*line.host, &*line.service, extra)
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("web-1", "unknown", json!({"region": "eu\"1"})),
            ("own", "unknown", json!({"shop": 7, "region": "eu\"1"})),
            ("web-1", "pay", json!({"region": "own"})),
        ]
    );
    let labels: Vec<&str> = seen.points.iter().map(|point| point.labels.as_str()).collect();
    let of = |host, service| format!("host={host},level=ERROR,region=eu\"1,service={service}");
    assert_eq!(labels, [of("web-1", "unknown"), of("own", "unknown"), of("web-1", "pay")]);
    let service = RecordLabels { key: Some("service".into()), headers: Vec::new() };
    let service = SourceFormat { record_labels: service, ..source(Format::JsonLog) };
    let seen = decode(&service, &[record("pay", &[], values[0])]);
    assert_eq!((&*seen.logs[0].service, &*seen.logs[0].extra), ("pay", ""));
    assert_eq!(seen.points[0].labels, "host=unknown,level=ERROR,service=pay");
}

#[test]
fn the_time_of_the_record_can_be_the_time() {
    for labels in [RecordLabels::default(), source(Format::Auto).record_labels] {
        let source = SourceFormat {
            record_labels: labels,
            time_from: TimeFrom::Record,
            ..SourceFormat::new("t", Format::Auto)
        };
        let line = br#"{"@timestamp":"2026-01-01T00:00:00Z","message":"a"}"#;
        let records = [record("web-1", &[], METRIC), record("web-1", &[], line)];
        let seen = decode(&source, &records);
        let times: Vec<u64> = seen.points.iter().map(|point| point.millis).collect();
        assert_eq!(times, [KAFKA_TIME; 2]);
        assert_eq!(seen.logs[0].event_time.as_millis(), KAFKA_TIME);
        let none = Record { time: RecordTime::Unknown, ..record("web-1", &[], METRIC) };
        let seen = decode(&source, &[none]);
        assert_eq!((seen.points.len(), seen.rejected[0].1), (0, Reason::MissingField));
    }
}

#[test]
fn what_is_no_text_is_refused() {
    let bad = [Header { name: "x-region", value: b"\xff" }];
    let unread = [Header { name: "other", value: b"\xff" }];
    let key = Record { key: Some(b"a\xff"), ..record("", &[], METRIC) };
    let records = [record("a", &bad, METRIC), record("a", &unread, METRIC), key];
    let seen = decode(&source(Format::TelegrafJson), &records);
    assert_eq!(seen.points.len(), 1);
    let said: Vec<_> = seen.rejected.iter().map(|(at, why, text)| (*at, *why, &**text)).collect();
    assert_eq!(
        said,
        [
            (0, Reason::Unparseable, "the header `x-region` is not UTF-8 at byte 0"),
            (2, Reason::Unparseable, "the key is not UTF-8 at byte 1"),
        ]
    );
    // All labels together are bounded, too.
    let long = "x".repeat(5_000);
    let seen = decode(&source(Format::TelegrafJson), &[record(&long, &[], METRIC)]);
    assert_eq!(seen.rejected[0].1, Reason::TooLarge);
}

#[test]
fn series_without_the_labels_are_not_counted() {
    let (mut series, mut out) = (SeriesTable::new(2), Decoded::default());
    let mut codec = for_source(&source(Format::TelegrafJson));
    let records = [record("a", &[], METRIC), record("b", &[], METRIC), record("c", &[], METRIC)];
    let partition = PartitionId { topic: 0, partition: 0 };
    codec.decode(&RecordBatch { partition, records: &records }, &mut series, &mut out);
    assert_eq!((series.len(), out.points.len(), out.rejected.len()), (2, 2, 1));
    assert_eq!(out.rejected[0].why.reason, Reason::SeriesLimit);
}

fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("host|region|dc", "[a-c]{1,2}", 0..3)
}

proptest! {
    /// Against the obvious: decode without, then merge the labels into the text.
    #[test]
    fn as_if_the_value_had_said_it(
        records in proptest::collection::vec((tags(), "[ab]{0,1}", "[xy]{0,1}", 0..3_u32), 1..20),
    ) {
        let value = |tags: &BTreeMap<String, String>, number: &u32| {
            json!({"fields": {"used": number}, "name": "mem", "tags": tags, "timestamp": 1_700_000_000})
                .to_string()
        };
        let without: Vec<String> =
            records.iter().map(|(tags, _, _, number)| value(tags, number)).collect();
        let headers: Vec<_> = records.iter().map(|(_, _, region_of, _)| region(region_of)).collect();
        let carried: Vec<_> = records
            .iter()
            .zip(&without)
            .zip(&headers)
            .map(|(((_, key, _, _), value), headers)| record(key, headers, value.as_bytes()))
            .collect();
        let merged: Vec<String> = records
            .iter()
            .map(|(tags, key, region, number)| {
                let mut tags = tags.clone();
                for (name, text) in [("host", key), ("region", region)] {
                    if !text.is_empty() {
                        tags.entry(name.to_owned()).or_insert_with(|| text.clone());
                    }
                }
                value(&tags, number)
            })
            .collect();
        let merged: Vec<_> = merged.iter().map(|value| record("", &[], value.as_bytes())).collect();
        let plain = SourceFormat::new("cpu-usage", Format::TelegrafJson);
        prop_assert_eq!(decode(&source(Format::TelegrafJson), &carried), decode(&plain, &merged));
    }
}
