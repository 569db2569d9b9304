//! The reader of flat objects and the general one, given the same records.

use proptest::prelude::*;
use serde::de::DeserializeSeed;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_dataflow::time::EventTime;

use super::super::json::Text;
use super::super::{FIELDS_MAX, Format, SourceFormat, for_source, reference_for_source};
use super::flat;
use super::line::scalar;

const GOOD: [&str; 3] = [
    r#"{"@timestamp":"2023-11-14T22:13:20.403Z","level":"INFO","service":"checkout","host":"web-8400","message":"GET /api/v1/items/56305 200 5 ms"}"#,
    "{ \"ts\": 1700000000.5, \"level\": 30, \"msg\": \"h\u{e9}llo\", \"ok\" :true,\"none\": null , \"n\": -0.25 }\n",
    r#"{"ecs.version":"1.6","log.level":"warn","@timestamp":1700000000123,"message":"","event.dataset":"shop","a":0}"#,
];

/// Both codecs of one format, with what they have seen so far.
struct Pair {
    format: Format,
    codecs: [Box<dyn Codec>; 2],
    series: [SeriesTable; 2],
}

impl Pair {
    fn all() -> Vec<Pair> {
        let pair = |format| {
            let source = SourceFormat::new("shop", format);
            Pair {
                format,
                codecs: [for_source(&source), reference_for_source(&source)],
                series: [SeriesTable::new(100_000), SeriesTable::new(100_000)],
            }
        };
        [Format::JsonLog, Format::EcsJson, Format::Auto].map(pair).into()
    }

    /// Makes sure that both make the same of `value`; returns what that is.
    fn check(&mut self, value: &[u8]) -> Decoded {
        let record = Record {
            offset: 7,
            time: RecordTime::Created(EventTime::from_millis(1_700_000_000_000)),
            key: Some(b"web-1"),
            value: Some(value),
            headers: &[],
        };
        let partition = PartitionId { topic: 0, partition: 3 };
        let batch = RecordBatch { partition, records: &[record] };
        let [mut one, mut other] = [Decoded::default(), Decoded::default()];
        let [quick, reference] = &mut self.codecs;
        let [series, reference_series] = &mut self.series;
        quick.decode(&batch, series, &mut one);
        reference.decode(&batch, reference_series, &mut other);
        assert_eq!(one, other, "{:?}: {}", self.format, value.escape_ascii());
        one
    }
}

/// Found by fuzzing: such a number was passed on, and refused only by the store. As the text of a line it does no harm.
#[test]
fn numbers_that_no_float_can_be_are_refused_wherever_they_stand() {
    let long = |digits: usize| format!("-{}", "9".repeat(digits));
    let numbers = [("3e75923", false), ("-1E400", false), ("1e308", true), ("2.5E-999", true)];
    let long = [(long(400), false), (long(308), true), (long(299), true)];
    let numbers = numbers.map(|(number, is_good)| (number.to_owned(), is_good));
    for (number, is_good) in numbers.into_iter().chain(long) {
        for value in [number.clone(), format!("[{number}]"), format!("{{\"b\":{number}}}")] {
            for pair in &mut Pair::all() {
                let made = pair.check(format!("{{\"msg\":\"x\",\"a\":{value}}}").as_bytes());
                let reasons: Vec<_> = made.rejected.iter().map(|r| r.why.reason).collect();
                let expected = if is_good { vec![] } else { vec![Reason::NotANumber] };
                assert_eq!((reasons, made.logs.len()), (expected, usize::from(is_good)), "{value}");
            }
        }
        for pair in &mut Pair::all() {
            let made = pair.check(format!("{{\"msg\":{number}}}").as_bytes());
            let texts: Vec<&str> = made.logs.iter().map(|line| &*line.message).collect();
            assert_eq!(texts, [number.as_str()]);
        }
    }
}

/// Each byte of good lines replaced by one that means something, and such bytes put in and taken out.
#[test]
fn lines_with_one_byte_wrong() {
    const BYTES: &[u8] = b"\"\\{}[],: \t\n\x00\x1f\x7f\x80\xe9a0-+.eEn";
    let mut pairs = Pair::all();
    let mut seen = [0_usize; 2];
    for good in GOOD {
        assert!(flat::members(good).is_some(), "{good}");
        for at in 0..=good.len() {
            let (front, back) = good.as_bytes().split_at(at);
            let mut check = |value: &[u8]| {
                for pair in &mut pairs {
                    let made = pair.check(value);
                    seen[usize::from(made.rejected.is_empty())] += 1;
                }
            };
            check(front);
            let rest = back.get(1..).unwrap_or_default();
            check(&[front, rest].concat());
            for byte in BYTES {
                check(&[front, &[*byte], rest].concat());
                check(&[front, &[*byte], back].concat());
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 1_000), "{seen:?}");
}

#[test]
fn what_is_flat() {
    let names = |text: &str| -> Option<Vec<(String, String)>> {
        let members = flat::members(text)?;
        Some(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    };
    let is = |members: &[(&str, &str)]| {
        Some(members.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    };
    assert_eq!(
        names("  { \"a\" : -1.50 ,\"\":\"x\u{7f}y\", \"b\":null}  \r\n\t"),
        is(&[("a", "-1.50"), ("", "\"x\u{7f}y\""), ("b", "null")])
    );
    // Of a repeated name the last value, at the place of the first.
    assert_eq!(names(r#"{"a":1,"b":2,"a":"3"}"#), is(&[("a", "\"3\""), ("b", "2")]));
    for other in [
        "",
        "{",
        "{}",
        "[]",
        "{\"a\":1}{\"a\":1}",
        "{\"a\":1},",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":{}}",
        "{\"a\":[]}",
        "{\"a\":\"\\n\"}",
        "{\"\\u0061\":1}",
        "{\"a\":\"\t\"}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e3}",
        "{\"a\":nul}",
        "{\"a\":nullx}",
        "{\"a\":truefalse}",
        "{\n\"a\":1}",
        "{\"a\":\"",
    ] {
        assert_eq!(names(other), None, "{other}");
    }
}

#[test]
fn many_members() {
    for count in [24, 25, FIELDS_MAX - 1, FIELDS_MAX, FIELDS_MAX + 1] {
        let mut text = "{\"message\":\"m\"".to_owned();
        (1..count).for_each(|i| text += &format!(",\"n{}\":{i}", i % (count - 2)));
        text.push('}');
        assert_eq!(flat::members(&text).is_some(), count <= FIELDS_MAX);
        for pair in &mut Pair::all() {
            assert_eq!(pair.check(text.as_bytes()).logs.len(), usize::from(count <= FIELDS_MAX));
        }
    }
}

/// What stands between two quotes, and around the eight bytes that are looked at together.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z ]{0,20}",
        1 => "[a-z\u{e9}\u{65e5}\u{7f}\u{80}\u{1f600}]{0,20}",
        1 => r#"[a-c]{0,9}(\\n|\\"|\\\\|\\u00e9|\\ud83d|\\q|\\)[a-c]{0,9}"#,
        1 => "[a-c]{0,9}[\"\n\t\u{0}\u{1f}][a-c]{0,9}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    let known = [
        "@timestamp",
        "time",
        "level",
        "severity",
        "log",
        "log.level",
        "host",
        "host.name",
        "service",
        "message",
        "msg",
        "agent.name",
        "event.dataset",
        "ecs.version",
        "fields",
        "a",
        "b",
        "",
    ];
    prop_oneof![6 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => text()]
}

fn value() -> impl Strategy<Value = String> {
    let odd = [
        "0",
        "-0",
        "00",
        "01",
        "-",
        "1.",
        ".5",
        "1e999",
        "1E5",
        "1e",
        "-1.5e-7",
        "99999999999999999999999",
        "true",
        "false",
        "null",
        "nul",
        "True",
        "NaN",
        "{}",
        "[]",
        "{\"name\":\"n\"}",
        "[1,{\"a\":2}]",
        "{\"level\":\"error\",\"x\":\"\\t\"}",
        "\"ERROR\"",
        "\"warn\"",
        "\"2023-11-14T22:13:20Z\"",
        "1700000000",
        "\"1700000000123\"",
        "\"2023-13-14T22:13:20Z\"",
        "",
    ];
    prop_oneof![
        3 => text().prop_map(|text| format!("\"{text}\"")),
        2 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
    ]
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 2 => Just(" ".to_owned()), 1 => "[ \t\r\n]{1,2}"]
}

/// One object, nearly always.
fn object() -> impl Strategy<Value = String> {
    let member = (name(), value(), space(), space(), space(), space());
    let member =
        member.prop_map(|(name, value, a, b, c, d)| format!("{a}\"{name}\"{b}:{c}{value}{d}"));
    (prop::collection::vec(member, 0..8), space())
        .prop_map(|(members, space)| format!("{space}{{{}}}{space}", members.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn flat_and_odd_objects(
        objects in prop_oneof![
            6 => prop::collection::vec(object(), 1),
            1 => prop::collection::vec(object(), 2..4),
        ],
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        wrong in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut value = objects.concat().into_bytes();
        if let Some((at, byte)) = wrong {
            let at = at.index(value.len());
            value[at] = byte;
        }
        if let Some(at) = cut {
            value.truncate(at.index(value.len()));
        }
        for pair in &mut Pair::all() {
            pair.check(&value);
        }
    }

    /// A text is what `serde_json` reads in it.
    #[test]
    fn texts_say_what_they_are(text in any::<String>()) {
        for json in [serde_json::to_string(&text).unwrap(), format!("\"{}\"", text.replace(['"', '\\'], "x"))] {
            let mut reader = serde_json::Deserializer::from_str(&json);
            if let Ok(expected) = Text.deserialize(&mut reader) {
                prop_assert_eq!(scalar(&json).unwrap(), Some(expected));
            }
        }
    }
}
