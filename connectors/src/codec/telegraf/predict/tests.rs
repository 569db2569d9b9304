//! Prediction against parsing: the same records to a codec that learns and to one that does not.

use proptest::prelude::*;
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec as _;
use tidewatch_dataflow::time::EventTime;

use super::super::TelegrafJson;
use super::tree::{EDGES_MAX, NAME_MAX, SIBLINGS_MAX};
use super::*;
use crate::codec::{Decode, Each, Format, Input, SourceFormat, for_source, reference_for_source};

const CPU: &str = r#"{"fields":{"usage_active":12.345678901234567,"usage_idle":87.65432109876543,"usage_iowait":0},"name":"cpu","tags":{"cpu":"cpu-total","host":"web-1"},"timestamp":1795375196000}"#;
const PARTITION: PartitionId = PartitionId { topic: 0, partition: 0 };

fn record(offset: i64, value: &[u8]) -> Record<'_> {
    let time = RecordTime::Created(EventTime::from_millis(1_700_000_000_000));
    Record { offset, time, key: None, value: Some(value), headers: &[] }
}

/// A codec that learns, the one it must agree with, and a series table of each.
struct Pair {
    codec: TelegrafJson,
    series: SeriesTable,
    reference: TelegrafJson,
    reference_series: SeriesTable,
    predicted: usize,
}

impl Pair {
    fn new(series_max: usize) -> Self {
        Pair {
            codec: TelegrafJson::predicting(),
            series: SeriesTable::new(series_max),
            reference: TelegrafJson::default(),
            reference_series: SeriesTable::new(series_max),
            predicted: 0,
        }
    }

    /// Gives `value` to both, checks that they agree, and says whether it was predicted.
    fn agree(&mut self, value: &[u8]) -> bool {
        let input = Input { partition: PARTITION, record: record(7, value), value };
        let (mut out, mut expected) = (Decoded::default(), Decoded::default());
        // Something that was there before.
        for decoded in [&mut out, &mut expected] {
            decoded.values.push((tidewatch_dataflow::series::FieldId(0), 0.5));
        }
        let predicted = self.codec.predict(&input, &self.series, &mut out);
        let found = match predicted {
            true => Ok(()),
            false => {
                assert_eq!(out, expected, "a miss leaves nothing behind");
                self.codec.parse(input, &mut self.series, &mut out)
            }
        };
        let wanted = self.reference.record(input, &mut self.reference_series, &mut expected);
        let text = value.escape_ascii();
        assert_eq!(found, wanted, "{text}");
        assert_eq!(bits(&out), bits(&expected), "{text}");
        assert_eq!(self.series.len(), self.reference_series.len());
        for point in &out.points {
            let names = |table: &SeriesTable| {
                let fields =
                    out.values_of(point).iter().map(|(id, _)| table.field(*id).map(str::to_owned));
                (table.series(point.series).cloned(), fields.collect::<Vec<_>>())
            };
            assert_eq!(names(&self.series), names(&self.reference_series), "{text}");
        }
        self.predicted += usize::from(predicted);
        predicted
    }

    /// The same for a value that is given twice, since the first time teaches.
    fn learns(&mut self, value: &str) -> bool {
        self.agree(value.as_bytes());
        self.agree(value.as_bytes())
    }
}

/// Everything that came out, numbers as bits.
fn bits(out: &Decoded) -> (Vec<Point>, Vec<(u32, u64)>) {
    let values = out.values.iter().map(|(id, number)| (id.0, number.to_bits())).collect();
    (out.points.clone(), values)
}

/// A message whose field `a` has this number, and whose time is `time`.
fn message(number: &str, time: &str) -> String {
    format!(
        r#"{{"fields":{{"a":{number},"b":1}},"name":"m","tags":{{"host":"h"}},"timestamp":{time}}}"#
    )
}

#[test]
fn a_series_is_predicted_from_its_second_message_on() {
    let mut pair = Pair::new(100);
    assert!(!pair.agree(CPU.as_bytes()));
    assert!(pair.agree(CPU.as_bytes()));
    // As Telegraf sends it to Kafka, and with other numbers.
    assert!(pair.agree(format!("{CPU}\n").as_bytes()));
    assert!(pair.agree(CPU.replace("12.345678901234567", "-3").as_bytes()));
    // Another host is another series; its fields are known.
    let other = CPU.replace("web-1", "web-2");
    assert!(!pair.agree(other.as_bytes()));
    assert!(pair.agree(other.as_bytes()));
    // Only texts are left of the fields: no point, though every byte is known.
    let text = r#"{"fields":{"t":"x","u":1},"name":"m","tags":{},"timestamp":1}"#;
    assert!(pair.learns(text));
    assert!(!pair.agree(text.replace(r#","u":1"#, "").as_bytes()));
    // The first fields of a message that is known, in front of a series that is known.
    assert!(pair.agree(CPU.replace(r#","usage_iowait":0"#, "").as_bytes()));
}

#[test]
fn shapes_that_are_learned() {
    let mut pair = Pair::new(100);
    for fields in [
        r#""a":1"#,
        r#""a":1,"b":2.5"#,
        r#""b":1,"a":2.5"#,
        r#""a":"text","b":1"#,
        r#""a":"another text","b":1"#,
        r#""a":null,"b":1"#,
        r#""a":true,"b":false"#,
        r#""a":"","b":true"#,
        r#""name":1,"tags":2,"timestamp":3,"fields":4"#,
        r#""a, \u00fc: ":1,"b":1"#,
        r#""über":1"#,
    ] {
        let text = CPU.replace(&CPU[11..CPU.find('}').unwrap()], fields);
        assert_eq!(pair.learns(&text), !fields.contains('\\'), "{text}");
    }
    for members in [
        r#""name":"m","tags":{},"timestamp":1795375196"#,
        r#""name":"m","tags":{"a":"}","b":"\"},{","ü":"\u00fc"},"timestamp":1795375196000"#,
        r#""name":"\u006d\"","tags":{"n":1,"t":true,"u":null,"e":""},"timestamp":1795375196000000"#,
        r#""name":"m","tags":{"host":"a","host":"b"},"timestamp":1795375196000000000"#,
        r#""name":"m","tags":{},"timestamp":0"#,
        r#""name":"m","tags":{},"timestamp":9999999999999999999"#,
    ] {
        assert!(pair.learns(&format!(r#"{{"fields":{{"a":1}},{members}}}"#)), "{members}");
    }
}

#[test]
fn records_that_are_parsed_each_time() {
    let mut pair = Pair::new(100);
    assert!(pair.learns(CPU));
    assert!(pair.learns(&message("1", "1795375196000")));
    for text in [
        // White space, other orders, other members, none.
        CPU.replace(r#""name""#, r#" "name""#),
        format!(" {CPU}"),
        format!("{CPU} "),
        format!("{CPU}\r\n"),
        format!("{CPU}\n\n"),
        r#"{"name":"m","fields":{"a":1,"b":1},"tags":{"host":"h"},"timestamp":1795375196000}"#
            .into(),
        r#"{"fields":{"a":1},"name":"m","timestamp":1795375196000}"#.into(),
        r#"{"fields":{"a":1},"name":"m","tags":null,"timestamp":1795375196000}"#.into(),
        r#"{"fields":{"a":1},"name":"m","tags":{}}"#.into(),
        r#"{"fields":{},"name":"m","tags":{"host":"h"},"timestamp":1795375196000}"#.into(),
        r#"{"fields":{"a":1,"b":1},"name":"m","tags":{"host":"h"},"more":1,"timestamp":1}"#.into(),
        // Several objects, and what is left over behind one.
        format!("{CPU}{CPU}"),
        format!("{CPU}\n{CPU}\n"),
        format!(r#"{{"metrics":[{CPU}]}}"#),
        format!("{CPU},"),
        format!("{CPU}}}"),
        format!("{CPU}0"),
        // What is repeated: the last one counts.
        r#"{"fields":{"a":1,"a":2},"name":"m","tags":{"host":"h"},"timestamp":1795375196000}"#
            .into(),
        r#"{"fields":{"a":1,"b":1,"a":2},"name":"m","tags":{"host":"h"},"timestamp":1}"#.into(),
        r#"{"fields":{"a":1,"\u0061":2},"name":"m","tags":{"host":"h"},"timestamp":1}"#.into(),
        r#"{"fields":{"a":1},"name":"x","name":"m","tags":{},"timestamp":1795375196000}"#.into(),
        r#"{"fields":{"a":1},"fields":{"b":1},"name":"m","tags":{},"timestamp":1}"#.into(),
        r#"{"fields":{"a":1},"name":"m","tags":{},"tags":{},"timestamp":1795375196000}"#.into(),
        r#"{"fields":{"a":1},"name":"m","tags":{},"timestamp":1,"timestamp":1795375196000}"#.into(),
        r#"{"fields":{"a":1},"name":"m","tags":{},"timestamp":1795375196000,"name":"n"}"#.into(),
        // Numbers are none, or only inside of something.
        r#"{"fields":{"a":"1"},"name":"m","tags":{"host":"h"},"timestamp":1795375196000}"#.into(),
        r#"{"fields":{"a":[1],"b":1},"name":"m","tags":{"host":"h"},"timestamp":1}"#.into(),
        r#"{"fields":{"a":{"b":1}},"name":"m","tags":{"host":"h"},"timestamp":1}"#.into(),
        // Texts that must be looked at closely.
        r#"{"fields":{"a":"\u0020","b":1},"name":"m","tags":{"host":"h"},"timestamp":1}"#.into(),
        r#"{"fields":{"a":"ü","b":1},"name":"m","tags":{"host":"h"},"timestamp":1}"#.into(),
        // Names and labels that are refused.
        r#"{"fields":{"a":1},"name":"","tags":{"host":"h"},"timestamp":1795375196000}"#.into(),
        format!(
            r#"{{"fields":{{"a":1}},"name":"m","tags":{{"t":"{}"}},"timestamp":1}}"#,
            "x".repeat(4_096)
        ),
        // Not JSON, or cut off.
        "{".into(),
        r#"{"fields":{"#.into(),
        r#"{"fields":{"a":1}"#.into(),
        "}".into(),
        "\n".into(),
        CPU[..CPU.len() - 1].into(),
    ] {
        assert!(!pair.learns(&text), "{text}");
    }
    let bytes = CPU.replace("web-1", "web-?").into_bytes();
    let bytes: Vec<u8> =
        bytes.into_iter().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    assert!(!pair.agree(&bytes) && !pair.agree(&bytes));
}

#[test]
fn times_that_are_predicted_and_times_that_are_not() {
    let mut pair = Pair::new(100);
    pair.learns(&message("1", "1"));
    for (time, predicted) in [
        ("0", true),
        ("9", true),
        ("1795375196", true),
        ("99999999999", true),
        ("100000000000", true),
        ("1795375196000", true),
        ("99999999999999", true),
        ("1795375196000999", true),
        ("9999999999999999", true),
        ("17953751960009999", true),
        ("179537519600099999", true),
        ("1795375196000999999", true),
        ("9999999999999999999", true),
        ("18446744073709551615", false),
        ("18446744073709551616", false),
        ("99999999999999999999999999999999999", false),
        ("00", false),
        ("01795375196000", false),
        ("0179537519600099999", false),
        ("-1795375196000", false),
        ("-0", false),
        ("1795375196.5", false),
        ("1.795375196e9", false),
        ("1e3", false),
        ("+1795375196000", false),
        (r#""1795375196000""#, false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(pair.learns(&message("1", time)), predicted, "{time}");
    }
}

#[test]
fn numbers_that_are_predicted_and_numbers_that_are_not() {
    let mut pair = Pair::new(100);
    pair.learns(&message("1", "1"));
    for (number, predicted) in [
        ("0", true),
        ("-0", true),
        ("0.0", true),
        ("-0.0", true),
        ("-0.000000000000000001", true),
        ("7", true),
        ("-7", true),
        ("9007199254740993", true),
        ("9999999999999999", true),
        ("-9223372036854775808", true),
        ("9223372036854775809", true),
        ("18446744073709551615", true),
        ("18446744073709551616", true),
        ("123456789012345678901234567890", true),
        ("0.1", true),
        ("12.345678901234567", true),
        ("1.2345678901234567", true),
        ("1.234567890123456789", true),
        ("9.999999999999999999", true),
        ("0.12345678901234567890", true),
        ("12345678.12345678901", true),
        ("123456789.1234567890", true),
        ("0.000000000000000000000000000001", true),
        ("9007199254740992.5", true),
        ("9007199254740993.0000000000000000000000000000000001", true),
        ("1e5", true),
        ("1E+5", true),
        ("-1.5e-3", true),
        ("0e400", true),
        ("4.9e-324", true),
        ("2e-324", true),
        ("1e-400", true),
        ("1e-99999999999999999999", true),
        ("0e99999999999999999999", true),
        ("1.7976931348623157e308", true),
        ("1e400", false),
        ("-1e400", false),
        ("1e99999999999999999999", false),
        ("01", false),
        ("-01", false),
        ("00", false),
        ("00.5", false),
        ("1.", false),
        ("1.e5", false),
        (".5", false),
        ("-", false),
        ("-.5", false),
        ("+1", false),
        ("1e", false),
        ("1e+", false),
        ("1.5.5", false),
        ("1_000", false),
        ("0x10", false),
        ("1 ", false),
        (" 1", false),
        ("", false),
        ("NaN", false),
        ("Infinity", false),
        ("1/2", false),
        ("1:2", false),
        ("--1", false),
        ("1-1", false),
        ("٣", false),
    ] {
        assert_eq!(pair.learns(&message(number, "1795375196000")), predicted, "{number}");
    }
}

#[test]
fn another_series_table_is_noticed() {
    let mut codec = Each { decode: TelegrafJson::predicting(), carried: None };
    let mut tables = [SeriesTable::new(10), SeriesTable::new(10)];
    tables[1].intern("other", &mut []).unwrap();
    tables[1].intern_field("other").unwrap();
    for i in [0, 0, 1, 1, 0, 1, 0] {
        let mut out = Decoded::default();
        let records = [record(0, CPU.as_bytes())];
        let batch = RecordBatch { partition: PARTITION, records: &records };
        codec.decode(&batch, &mut tables[i], &mut out);
        let series = tables[i].series(out.points[0].series).unwrap();
        assert_eq!((&*series.measurement, series.labels.get("host")), ("cpu", Some("web-1")));
        assert_eq!(tables[i].field(out.values[0].0), Some("usage_active"));
    }
}

#[test]
fn a_full_series_table_is_as_full_as_without_prediction() {
    let mut pair = Pair::new(2);
    for i in 0..5 {
        pair.learns(&CPU.replace("web-1", &format!("web-{i}")));
    }
    assert_eq!((pair.predicted, pair.series.len()), (2, 2));
}

#[test]
fn labels_and_names_that_never_repeat_fill_no_memory() {
    let mut pair = Pair::new(3_000_000);
    assert!(pair.learns(CPU));
    let mut lost = 0;
    for i in 0..3 * SIBLINGS_MAX {
        let name = format!("name_{i}");
        assert!(pair.learns(&CPU.replace("usage_active", &name)));
        // What is really in use is lost now and then, and back at once.
        lost += usize::from(!pair.agree(CPU.as_bytes()));
        assert!(pair.agree(CPU.as_bytes()));
    }
    assert_eq!(lost, 3);
    assert!(!pair.learns(&CPU.replace("usage_active", &"x".repeat(NAME_MAX + 1))));
    // One message with as many fields as may be, then one with more than there is room for beside it.
    for first in [0, 1] {
        let fields: Vec<_> = (first..4_096 + first).map(|i| format!("\"f{i}\":{i}")).collect();
        let text = CPU.replace(&CPU[11..CPU.find('}').unwrap()], &fields.join(","));
        assert!(pair.learns(&text));
    }
    const { assert!(EDGES_MAX >= 2 * 4_096) };
}

#[test]
fn without_credit_one_in_eight_is_learned_from() {
    let mut pair = Pair::new(1_000);
    let text = |i: u32| CPU.replace("web-1", &format!("web-{i}"));
    let credit = |pair: &Pair| pair.codec.predictor.as_ref().map(|predictor| predictor.credit);
    assert!(pair.learns(CPU));
    assert_eq!(credit(&pair), Some(CREDIT_MAX), "learned from once, predicted once");
    for i in 0..10 {
        pair.agree(text(100 + i).as_bytes());
    }
    assert_eq!(credit(&pair), Some(CREDIT_MAX - 10));
    pair.codec.predictor.as_mut().unwrap().credit = 0;
    for i in 200..240 {
        pair.agree(text(i).as_bytes());
    }
    let known: Vec<_> = (200..240)
        .filter(|i| {
            // Asked without being paid.
            pair.codec.predictor.as_mut().unwrap().credit = 0;
            pair.agree(text(*i).as_bytes())
        })
        .collect();
    let learned_at_first = known.iter().filter(|i| (*i - 200) % ONE_IN == ONE_IN - 1).count();
    assert_eq!(learned_at_first, 40 / ONE_IN as usize, "{known:?}");
}

/// Messages of a few series and shapes, as Telegraf writes them.
fn telegraf() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        6 => (0.0..100.0).prop_map(|n: f64| n.to_string()),
        2 => (0_u64..1 << 40).prop_map(|n| n.to_string()),
        2 => any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        1 => any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| n.to_string()),
        2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        1 => any::<i64>().prop_map(|n| n.to_string()),
        1 => any::<u64>().prop_map(|n| n.to_string()),
        1 => prop::sample::select(vec!["true", "false", "null", "\"text\"", "\"\"", "\"\\n\"", "[1]", "{}"])
            .prop_map(str::to_owned),
    ];
    let names = prop::sample::select(vec![
        &["usage_active", "usage_idle", "usage_iowait"][..],
        &["free", "total", "used_percent"],
        &["free", "used"],
        &["a"],
        &["a", "a"],
        &["a", "b", "c", "d", "e", "f", "g", "h"],
        &["a", "b", "\\u0061", "ü"],
    ]);
    let time = prop_oneof![
        4 => (1_700_000_000_000_u64..1_800_000_000_000).prop_map(|n| n.to_string()),
        1 => "[0-9]{1,21}",
        1 => Just("1795375196".to_owned()),
    ];
    let tags = prop::sample::select(vec![
        "",
        r#""host":"a""#,
        r#""host":"b""#,
        r#""cpu":"cpu-total","host":"a""#,
        r#""host":"\u0061""#,
        r#""host":"a","n":1,"q":"}\"""#,
    ]);
    let name = prop::sample::select(vec!["cpu", "mem", "", "\\u006d"]);
    let end = prop::sample::select(vec!["}", "}\n", "}", "} ", "},", ""]);
    (names, prop::collection::vec(number, 8), name, tags, time, end).prop_map(
        |(names, numbers, name, tags, time, end)| {
            let fields: Vec<_> =
                names.iter().zip(numbers).map(|(n, number)| format!("\"{n}\":{number}")).collect();
            let fields = fields.join(",");
            format!(
                r#"{{"fields":{{{fields}}},"name":"{name}","tags":{{{tags}}},"timestamp":{time}{end}"#
            )
        },
    )
}

/// What may happen to the bytes of a message.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    Double,
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        3 => prop::sample::select(b"0123456789-+.eE,:{}[]\"\\ \nntf".to_vec()),
        1 => any::<u8>(),
    ];
    let byte = byte.boxed();
    prop_oneof![
        4 => (any::<prop::sample::Index>(), byte.clone()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        4 => (any::<prop::sample::Index>(), byte).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        4 => any::<prop::sample::Index>().prop_map(Damage::Remove),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => Just(Damage::Double),
    ]
}

fn damaged(text: &str, damages: &[Damage]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for damage in damages.iter().filter(|_| !text.is_empty()) {
        let length = bytes.len();
        match damage {
            _ if length == 0 => {}
            Damage::Set(at, byte) => bytes[at.index(length)] = *byte,
            Damage::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Damage::Remove(at) => drop(bytes.remove(at.index(length))),
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Double => bytes.extend_from_within(..),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Streams of messages, whole and damaged, in any order: learning changes nothing but the speed.
    #[test]
    fn agrees_with_the_reference_on_every_stream(
        messages in prop::collection::vec(telegraf(), 1..8),
        order in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec(damage(), 0..3)),
            1..60,
        ),
        series_max in prop::sample::select(vec![1_usize, 3, 1_000]),
    ) {
        let mut pair = Pair::new(series_max);
        for (index, damages) in order {
            pair.agree(&damaged(&messages[index.index(messages.len())], &damages));
        }
    }

    #[test]
    fn numbers_agree_to_the_bit(
        numbers in prop::collection::vec("-?[0-9]{1,22}(\\.[0-9]{0,22})?([eE][+-]?[0-9]{0,4})?", 1..20),
    ) {
        let mut pair = Pair::new(10);
        pair.learns(&message("1", "1"));
        for number in numbers {
            pair.agree(message(&number, "1795375196000").as_bytes());
        }
    }

    /// Batches, of which some records are looked at ahead; and format `auto` asks the predictor first.
    #[test]
    fn batches_agree_too(
        messages in prop::collection::vec(telegraf(), 1..6),
        order in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec(damage(), 0..2)),
            1..80,
        ),
        batch in 1_usize..40,
    ) {
        let values: Vec<_> = order.iter().map(|(i, d)| damaged(&messages[i.index(messages.len())], d)).collect();
        let records: Vec<_> = (0..).zip(&values).map(|(i, value)| record(i, value)).collect();
        for format in [Format::TelegrafJson, Format::Auto] {
            let source = SourceFormat::new("cpu-usage", format);
            let [found, expected] = [for_source(&source), reference_for_source(&source)].map(|mut codec| {
                let (mut out, mut series) = (Decoded::default(), SeriesTable::new(1_000));
                for records in records.chunks(batch) {
                    codec.decode(&RecordBatch { partition: PARTITION, records }, &mut series, &mut out);
                }
                out
            });
            prop_assert_eq!(bits(&found), bits(&expected));
            prop_assert_eq!((found.logs, found.rejected), (expected.logs, expected.rejected));
        }
    }

    #[test]
    fn the_length_of_a_number_is_that_of_its_reading(
        number in "-?[0-9]{0,22}(\\.[0-9]{0,26})?([eE][+-]?[0-9]{0,4})?",
        behind in prop::sample::select(vec![",", "}", " ", "x", ""]),
    ) {
        let text = format!("{number}{behind}\"a\":1,\"b\":2}},\"name\":\"measurement\"");
        let read = number::leading(text.as_bytes()).map(|(_, length)| length);
        prop_assert_eq!(number::length(text.as_bytes()), read);
    }

    /// What nobody asks for is counted and not read; all the rest is as it would be.
    #[test]
    fn unread_numbers_are_counted(
        messages in prop::collection::vec(telegraf(), 1..6),
        order in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec(damage(), 0..2)),
            1..60,
        ),
        wanted in prop::sample::subsequence(vec!["usage_active", "usage_idle", "free", "used", "a", "b", "ü"], 0..4),
    ) {
        let values: Vec<_> = order.iter().map(|(i, d)| damaged(&messages[i.index(messages.len())], d)).collect();
        let records: Vec<_> = (0..).zip(&values).map(|(i, value)| record(i, value)).collect();
        let source = SourceFormat::new("cpu-usage", Format::TelegrafJson);
        let batch = RecordBatch { partition: PARTITION, records: &records };
        let (mut found, mut expected) = (Decoded::default(), Decoded::default());
        let mut series = SeriesTable::new(1_000).only_fields(&wanted);
        for_source(&source).decode(&batch, &mut series, &mut found);
        let mut all = SeriesTable::new(1_000);
        reference_for_source(&source).decode(&batch, &mut all, &mut expected);
        prop_assert_eq!(&found.rejected, &expected.rejected);
        prop_assert_eq!(found.points.len(), expected.points.len());
        for (point, whole) in found.points.iter().zip(&expected.points) {
            let key = |point: &Point| (point.series, point.event_time, point.offset);
            prop_assert_eq!(key(point), key(whole));
            let [read, of] = [found.values_of(point), expected.values_of(whole)];
            prop_assert_eq!(read.len() + point.unread as usize, of.len());
            let asked_for = |decoded: &[(tidewatch_dataflow::series::FieldId, f64)]| -> Vec<_> {
                let wanted = decoded.iter().filter(|(id, _)| series.is_wanted(*id));
                wanted.map(|(id, number)| (id.0, number.to_bits())).collect()
            };
            prop_assert_eq!(asked_for(read), asked_for(of));
        }
    }
}
