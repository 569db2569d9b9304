//! Telegraf's JSON: messages as Telegraf wrote them, edge cases, and a slow reference decoder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod codec_util;

use codec_util::{KAFKA_TIME, Outcome, Seen, decode, decode_bytes, decode_records, point, refusal};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use tidewatch_connectors::codec::{Format, SourceFormat};
use tidewatch_dataflow::dead_letter::Reason;

const CPU: &str = r#"{"fields":{"usage_active":100,"usage_guest":0,"usage_guest_nice":0,"usage_idle":0,"usage_iowait":0,"usage_irq":0,"usage_nice":0,"usage_softirq":0.24937655860350866,"usage_steal":0.498753117206973,"usage_system":9.226932668329312,"usage_user":90.0249376558609},"name":"cpu","tags":{"cpu":"cpu-total","dc":"probe","host":"probe-host-1"},"timestamp":1795375196000}"#;
const DISK: &str = r#"{"fields":{"free":82439806976,"inodes_free":16264179,"inodes_total":16777216,"inodes_used":513037,"inodes_used_percent":3.057938814163208,"total":270553174016,"used":15353487360,"used_percent":15.699938798715795},"name":"disk","tags":{"dc":"probe","device":"vda","fstype":"ext4","host":"probe-host-1","mode":"rw","path":"/"},"timestamp":1795375194000}"#;
const UPTIME: &str = r#"{"fields":{"uptime_format":" 0:11"},"name":"system","tags":{"dc":"probe","host":"probe-host-1"},"timestamp":1795375194000}"#;

fn telegraf(value: &str) -> Seen {
    point(Format::TelegrafJson, value)
}

fn refused(value: &str) -> (Reason, String) {
    refusal(Format::TelegrafJson, value)
}

fn field(seen: &Seen, name: &str) -> Option<f64> {
    seen.fields.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

#[test]
fn messages_as_telegraf_writes_them() {
    // To Kafka, the value ends with a line break.
    let cpu = telegraf(&format!("{CPU}\n"));
    assert_eq!((&*cpu.measurement, cpu.millis), ("cpu", 1_795_375_196_000));
    assert_eq!(cpu.labels, "cpu=cpu-total,dc=probe,host=probe-host-1");
    assert_eq!(cpu.fields.len(), 11);
    // Integers and floats alike, to the last bit.
    assert_eq!(field(&cpu, "usage_active"), Some(100.0));
    assert_eq!(field(&cpu, "usage_softirq"), Some(0.24937655860350866));
    assert_eq!(field(&cpu, "usage_user"), Some(90.0249376558609));
    let disk = telegraf(DISK);
    assert_eq!(field(&disk, "total"), Some(270_553_174_016.0));
    assert_eq!(field(&disk, "used_percent"), Some(15.699938798715795));
    // Only a text: no point, and nothing wrong.
    assert_eq!(decode(Format::TelegrafJson, UPTIME), Outcome::default());
}

#[test]
fn a_batch_and_objects_in_a_row_are_several_metrics() {
    let expected: Vec<Seen> = [CPU, DISK].map(telegraf).into();
    for text in [
        format!(r#"{{"metrics":[{CPU},{UPTIME},{DISK}]}}"#),
        format!("{CPU}\n{UPTIME}\n{DISK}\n"),
        format!("{CPU}{DISK}"),
        format!(r#"{{"metrics":[{CPU}]}} {{"metrics":[]}} {{"metrics":[{DISK}]}}"#),
    ] {
        assert_eq!(decode(Format::TelegrafJson, &text).points, expected, "{text}");
    }
    assert_eq!(decode(Format::TelegrafJson, r#"{"metrics":[]}"#), Outcome::default());
}

#[test]
fn a_record_is_decoded_whole_or_not_at_all() {
    let records = [
        Some(CPU.to_owned()),
        Some(format!(r#"{{"metrics":[{CPU},{DISK},{{"name":"x"}}]}}"#)),
        Some(format!("{CPU} {DISK} oops")),
        Some(DISK.to_owned()),
        None,
        Some(String::new()),
        Some(" \n".to_owned()),
    ];
    let values: Vec<_> =
        records.iter().map(|r| (None, r.as_ref().map(|text| text.as_bytes()))).collect();
    let outcome = decode_records(&SourceFormat::new("t", Format::TelegrafJson), &values);
    assert_eq!(outcome.points, [telegraf(CPU), telegraf(DISK)]);
    let why: Vec<_> =
        outcome.rejected.iter().map(|(offset, reason, _)| (*offset, *reason)).collect();
    assert_eq!(
        why,
        [
            (1, Reason::MissingField),
            (2, Reason::Unparseable),
            (4, Reason::Empty),
            (5, Reason::Empty),
            (6, Reason::Empty)
        ]
    );
}

#[test]
fn members_come_in_any_order_and_what_is_unknown_is_skipped() {
    let seen = telegraf(
        r#" { "timestamp" : 1795375196 , "more":{"deep":[[{"a":null}]]}, "tags":{"host":"h"},
             "name":"m" , "fields" : { "a" : -1.5e-3 , "b": true, "c": false } } "#,
    );
    assert_eq!(
        (&*seen.measurement, &*seen.labels, seen.millis),
        ("m", "host=h", 1_795_375_196_000)
    );
    let expected = [("a", -1.5e-3), ("b", 1.0), ("c", 0.0)];
    assert_eq!(seen.fields, expected.map(|(n, v)| (n.to_owned(), v)));
}

#[test]
fn the_unit_of_a_timestamp_is_told_by_its_magnitude() {
    for (timestamp, millis) in [
        ("1795375196", 1_795_375_196_000),
        ("1795375196123", 1_795_375_196_123),
        ("1795375196123999", 1_795_375_196_123),
        ("1795375196123999999", 1_795_375_196_123),
        ("1795376576.083", 1_795_376_576_083),
        ("1.795375196123e12", 1_795_375_196_123),
        ("0", 0),
        ("99999999999", 99_999_999_999_000),
        ("100000000000", 100_000_000_000),
        ("99999999999999", 99_999_999_999_999),
        ("100000000000000", 100_000_000_000),
        ("99999999999999999", 99_999_999_999_999),
        ("100000000000000000", 100_000_000_000),
        ("18446744073709551615", 18_446_744_073_709),
        (r#""2026-11-22T19:19:56.123456Z""#, 1_795_375_196_123),
        (r#""1795375196123""#, 1_795_375_196_123),
        ("null", KAFKA_TIME),
    ] {
        let text = format!(r#"{{"fields":{{"v":1}},"name":"m","timestamp":{timestamp}}}"#);
        assert_eq!(telegraf(&text).millis, millis, "{timestamp}");
    }
    assert_eq!(telegraf(r#"{"fields":{"v":1},"name":"m"}"#).millis, KAFKA_TIME);
    for (timestamp, reason) in [
        ("-1", Reason::TimeOutOfRange),
        ("-0.5e3", Reason::TimeOutOfRange),
        ("1e30", Reason::TimeOutOfRange),
        (r#""1969-12-31T23:59:59Z""#, Reason::TimeOutOfRange),
        (r#""99999999999999999999""#, Reason::TimeOutOfRange),
        (r#""soon""#, Reason::Unparseable),
        (r#""2026-02-30T00:00:00Z""#, Reason::Unparseable),
        ("[1]", Reason::Unparseable),
        ("true", Reason::Unparseable),
    ] {
        let text = format!(r#"{{"fields":{{"v":1}},"name":"m","timestamp":{timestamp}}}"#);
        assert_eq!(refused(&text).0, reason, "{timestamp}");
    }
}

#[test]
fn tags_are_labels_whatever_they_are_called() {
    let seen = telegraf(
        r#"{"fields":{"reads":5},"name":"diskio","tags":{"name":"vda","host":"a","empty":"","none":null,"n":7,"f":1.5,"yes":true,"host":"b","q":"sl\/ash \"q\" \u00fc"}}"#,
    );
    assert_eq!(seen.labels, "f=1.5,host=b,n=7,name=vda,q=sl/ash \"q\" ü,yes=true");
    for tags in ["null", "{}"] {
        let text = format!(r#"{{"fields":{{"v":1}},"name":"m","tags":{tags}}}"#);
        assert_eq!(telegraf(&text).labels, "");
    }
    let (reason, detail) = refused(r#"{"fields":{"v":1},"name":"m","tags":["a"]}"#);
    assert_eq!(reason, Reason::Unparseable);
    assert!(detail.contains("the tags"), "{detail}");
    assert_eq!(refused(r#"{"fields":{"v":1},"name":"m","tags":{"a":{}}}"#).0, Reason::Unparseable);
}

#[test]
fn of_repeated_names_the_last_counts() {
    let seen = telegraf(
        r#"{"fields":{"a":0},"name":"x","fields":{"a":1,"b":2,"a":3,"b":"text","c":4},"name":"m"}"#,
    );
    assert_eq!(seen.measurement, "m");
    let expected = [("a", 3.0), ("b", 2.0), ("c", 4.0)];
    assert_eq!(seen.fields, expected.map(|(n, v)| (n.to_owned(), v)));
    // The same name in the next metric is not a repetition.
    let two = decode(
        Format::TelegrafJson,
        r#"{"fields":{"a":1},"name":"m"}{"fields":{"a":2},"name":"m"}"#,
    );
    assert_eq!(two.points.len(), 2);
}

#[test]
fn what_is_no_metric_is_refused_with_reason_and_place() {
    for (text, reason, part) in [
        ("{", Reason::Unparseable, "byte 1"),
        ("nonsense", Reason::Unparseable, "byte 1"),
        ("[]", Reason::Unparseable, "a metric"),
        (r#"{"fields":{"a":NaN},"name":"m"}"#, Reason::Unparseable, "byte 15, near"),
        (r#"{"fields":{"a":1e400},"name":"m"}"#, Reason::NotANumber, "number out of range"),
        (r#"{"fields":{"a":01},"name":"m"}"#, Reason::Unparseable, "byte 1"),
        (r#"{"name":"m"}"#, Reason::MissingField, "`fields`"),
        (r#"{"fields":{"a":1}}"#, Reason::MissingField, "`name`"),
        (r#"{"fields":{"a":1},"name":""}"#, Reason::MissingField, "`name`"),
        (r#"{"fields":{"a":1},"name":7}"#, Reason::Unparseable, "a string"),
        (r#"{"fields":[1],"name":"m"}"#, Reason::Unparseable, "the fields"),
        (r#"{"metrics":{},"name":"m"}"#, Reason::Unparseable, "an array"),
        (r#"{"fields":{"a":1},"metrics":[],"name":"m"}"#, Reason::Unparseable, "`metrics`"),
        (r#"{"metrics":[],"fields":{"a":1},"name":"m"}"#, Reason::Unparseable, "`metrics`"),
        (r#"{"fields":{"a":1},"name":"\ud800"}"#, Reason::Unparseable, "byte"),
    ] {
        let (found, detail) = refused(text);
        assert_eq!(found, reason, "{text}: {detail}");
        assert!(detail.contains(part), "{text}: {detail}");
        assert!(detail.len() <= 300);
    }
    let bytes = decode_bytes(Format::TelegrafJson, b"{\"name\":\"\xff\"}");
    assert_eq!(bytes.rejected[0].1, Reason::Unparseable);
    assert!(bytes.rejected[0].2.contains("not UTF-8 at byte 9"), "{bytes:?}");
}

#[test]
fn bounds_are_kept() {
    let metric = |fields: &str, tags: &str| {
        format!(r#"{{"fields":{{{fields}}},"name":"m","tags":{{{tags}}}}}"#)
    };
    let many = |count: usize, one: &dyn Fn(usize) -> String| {
        (0..count).map(one).collect::<Vec<_>>().join(",")
    };
    let fields = |count| many(count, &|i| format!(r#""f{i}":{i}"#));
    let tags = |count| many(count, &|i| format!(r#""t{i}":"x""#));
    assert_eq!(telegraf(&metric(&fields(4_096), "")).fields.len(), 4_096);
    assert_eq!(refused(&metric(&fields(4_097), "")).0, Reason::TooLarge);
    telegraf(&metric(r#""a":1"#, &tags(128)));
    assert_eq!(refused(&metric(r#""a":1"#, &tags(129))).0, Reason::TooLarge);
    let long = format!(r#""t":"{}""#, "x".repeat(4_096));
    assert_eq!(refused(&metric(r#""a":1"#, &long)).0, Reason::TooLarge);

    let batch = |count| format!(r#"{{"metrics":[{}]}}"#, many(count, &|_| metric(r#""a":1"#, "")));
    assert_eq!(decode(Format::TelegrafJson, &batch(10_000)).points.len(), 10_000);
    assert_eq!(refused(&batch(10_001)).0, Reason::TooLarge);

    // The record's object is the first level.
    let nested = |levels: usize| {
        let inside = "[".repeat(levels - 1) + &"]".repeat(levels - 1);
        format!(r#"{{"x":{inside},"fields":{{"a":1}},"name":"m"}}"#)
    };
    telegraf(&nested(32));
    let (reason, detail) = refused(&nested(33));
    assert_eq!((reason, detail.contains("32 levels")), (Reason::TooLarge, true), "{detail}");
    assert_eq!(refused(&nested(100_000)).0, Reason::TooLarge);
    let in_fields = |levels: usize| {
        let inside = "[".repeat(levels - 2) + &"]".repeat(levels - 2);
        format!(r#"{{"fields":{{"a":1,"x":{inside}}},"name":"m"}}"#)
    };
    telegraf(&in_fields(32));
    assert_eq!(refused(&in_fields(33)).0, Reason::TooLarge);

    let blank = " ".repeat(1 << 20);
    assert_eq!(refused(&format!("{CPU}{blank}")).0, Reason::TooLarge);
}

/// The members of an object in their order, repetitions and all.
struct Pairs(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Of)
    }
}

/// What a valid metric means, the slow and obvious way.
fn reference(text: &str) -> Option<Seen> {
    let members: std::collections::HashMap<String, &serde_json::value::RawValue> =
        serde_json::from_str(text).unwrap();
    let fields: Pairs = serde_json::from_str(members["fields"].get()).unwrap();
    let tags: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_str(members["tags"].get()).unwrap();
    let mut numbers: Vec<(String, f64)> = Vec::new();
    for (name, value) in fields.0 {
        let number = match value {
            serde_json::Value::Bool(yes) => f64::from(u8::from(yes)),
            serde_json::Value::Number(number) => number.as_f64().unwrap(),
            _ => continue,
        };
        match numbers.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = number,
            None => numbers.push((name, number)),
        }
    }
    let labels = tags.iter().filter_map(|(name, value)| {
        value.as_str().filter(|text| !text.is_empty()).map(|text| format!("{name}={text}"))
    });
    (!numbers.is_empty()).then(|| Seen {
        measurement: serde_json::from_str(members["name"].get()).unwrap(),
        labels: labels.collect::<Vec<_>>().join(","),
        millis: members["timestamp"].get().parse::<u64>().unwrap(),
        fields: numbers,
    })
}

fn json_string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_]{1,12}",
        1 => "\\PC{1,8}",
        1 => prop::collection::vec(any::<char>(), 1..5).prop_map(String::from_iter),
    ]
    .prop_map(|text| serde_json::to_string(&text).unwrap())
}

/// The same string with some characters as escapes, as other serializers write it.
fn escaped(json: &str) -> String {
    let plain: String = serde_json::from_str(json).unwrap();
    let units = plain.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        (0.0..100.0).prop_map(|n: f64| n.to_string()),
        "[1-9][0-9]{0,30}",
        "-?0\\.[0-9]{1,25}",
        "-?[1-9]\\.[0-9]{1,20}[eE][+-]?[0-9]{1,2}",
    ]
}

fn field_value() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => number(),
        1 => json_string(),
        1 => prop::sample::select(vec!["null", "true", "false", "[1,[2]]", r#"{"a":{"b":1}}"#])
            .prop_map(str::to_owned),
    ]
}

fn metric() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            6 => json_string(),
            2 => prop::sample::select(vec!["a", "b", "usage_user"]).prop_map(|n| format!("\"{n}\"")),
            1 => json_string().prop_map(|json| escaped(&json)),
        ]
    };
    let object = |members: Vec<(String, String)>, space: &str| {
        let members: Vec<_> = members.iter().map(|(n, v)| format!("{n}{space}:{v}")).collect();
        format!("{{{}}}", members.join(&format!("{space},{space}")))
    };
    (
        prop::collection::vec((name(), field_value()), 0..12),
        prop::collection::btree_map(name(), json_string(), 0..6),
        json_string(),
        100_000_000_000_u64..100_000_000_000_000,
        prop::sample::select(vec!["", " ", "\n", "\t\r\n "]),
        Just(vec![0_usize, 1, 2, 3, 4]).prop_shuffle(),
        field_value(),
    )
        .prop_map(move |(fields, tags, measurement, time, space, order, other)| {
            let parts = [
                ("\"fields\"".to_owned(), object(fields, space)),
                ("\"tags\"".to_owned(), object(tags.into_iter().collect(), space)),
                ("\"name\"".to_owned(), measurement),
                ("\"timestamp\"".to_owned(), time.to_string()),
                ("\"other\"".to_owned(), other),
            ];
            object(order.into_iter().map(|i| parts[i].clone()).collect(), space)
        })
}

/// Sorted, since labels that differ only by a repeated escape are one.
fn bits(seen: &Seen) -> (String, String, u64, Vec<(String, u64)>) {
    let fields = seen.fields.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect();
    (seen.measurement.clone(), seen.labels.clone(), seen.millis, fields)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_the_reference_to_the_bit(metrics in prop::collection::vec(metric(), 1..4)) {
        let expected: Vec<_> =
            metrics.iter().filter_map(|text| reference(text)).map(|seen| bits(&seen)).collect();
        let batch = format!("{{\"metrics\":[{}]}}\n", metrics.join(","));
        for text in [metrics.join("\n"), batch] {
            for format in [Format::TelegrafJson, Format::Auto] {
                let outcome = decode(format, &text);
                prop_assert_eq!(&outcome.rejected, &vec![], "{}", text);
                let found: Vec<_> = outcome.points.iter().map(bits).collect();
                prop_assert_eq!(&found, &expected, "{}", text);
            }
        }
    }

    /// Truncated and altered messages are refused or read, never more.
    #[test]
    fn damage_never_panics(
        text in metric(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        for format in [Format::TelegrafJson, Format::JsonLog, Format::Auto] {
            let outcome = decode_bytes(format, &bytes);
            prop_assert!(outcome.rejected.len() <= 1);
        }
    }
}
