//! Log lines, bare values, and telling the formats apart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod codec_util;

use codec_util::{KAFKA_TIME, Outcome, decode, decode_bytes, decode_records, line, point, refusal};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidewatch_connectors::codec::{Format, SourceFormat};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::Level;

fn json_line(value: &str) -> tidewatch_dataflow::record::LogLine {
    line(Format::JsonLog, value)
}

fn extra(value: &str) -> Value {
    let extra = json_line(value).extra;
    if extra.is_empty() { Value::Null } else { serde_json::from_str(&extra).unwrap() }
}

#[test]
fn a_line_as_rsyslog_writes_it() {
    let text = r#"{"@timestamp":"2026-11-22T19:43:32.953494+00:00", "host":"vm", "tag":"app:", "message":"2026-11-22 19:40:01,000 INFO [main] com.example.Worker - höst ok 日本", "file":"...\/app.log"}"#;
    let line = json_line(text);
    assert_eq!(line.event_time.as_millis(), 1_795_376_612_953);
    assert_eq!((line.level, &*line.host, &*line.service), (Level::Info, "vm", "unknown"));
    assert_eq!(
        &*line.message,
        "2026-11-22 19:40:01,000 INFO [main] com.example.Worker - höst ok 日本"
    );
    assert_eq!(&*line.extra, r#"{"tag":"app:","file":"...\/app.log"}"#);
    assert_eq!((line.offset, line.index, line.partition.partition), (0, 0, 5));
    // The line is counted as well.
    let seen = point(Format::JsonLog, text);
    assert_eq!((&*seen.measurement, &*seen.labels), ("log", "host=vm,level=INFO,service=unknown"));
    assert_eq!((seen.millis, seen.fields), (1_795_376_612_953, vec![("lines".to_owned(), 1.0)]));
}

#[test]
fn names_are_found_flat_and_nested() {
    for text in [
        r#"{"level":"error","host":"h","service":"s","message":"m"}"#,
        r#"{"log.level":"ERR","host.name":"h","service.name":"s","msg":"m"}"#,
        r#"{"log":{"level":"Error"},"host":{"name":"h"},"service":{"name":"s"},"message":"m"}"#,
        r#"{"severity":"severe","hostname":"h","service":"s","log":"m"}"#,
        r#"{"levelname":"ERROR","host":"h","service":"s","msg":"m","message":null}"#,
        r#"{"level":50,"host":"h","service":"s","msg":"m"}"#,
        r#"{"level":"3","host":"h","service":"s","msg":"m"}"#,
    ] {
        let line = json_line(text);
        assert_eq!(
            (line.level, &*line.host, &*line.service, &*line.message),
            (Level::Error, "h", "s", "m"),
            "{text}"
        );
        // What is left of a null is the null.
        let left = if text.contains("null") { r#"{"message":null}"# } else { "" };
        assert_eq!(&*line.extra, left, "{text}");
        assert_eq!(line.event_time.as_millis(), KAFKA_TIME);
    }
}

#[test]
fn what_is_not_used_is_kept() {
    let text = r#"{"@timestamp":"2026-11-22T19:19:56Z","time":"later","level":"peculiar","severity":"warn",
        "message":"m","msg":"other","host":{"name":"h","os":{"kernel":"6.1"},"ip":["::1"]},
        "log":{"logger":"main","level":"info"},"trace.id":"x","n":12345678901234567890123,"f":1.0,"z":null}"#;
    let line = json_line(text);
    assert_eq!((line.level, line.event_time.as_millis()), (Level::Info, 1_795_375_196_000));
    assert_eq!(
        extra(text),
        json!({"time":"later","level":"peculiar","severity":"warn","msg":"other",
            "host.os":{"kernel":"6.1"},"host.ip":["::1"],"log.logger":"main","log.level":"info",
            "trace.id":"x","n":12345678901234567890123_f64,"f":1.0,"z":null})
    );
    // Numbers stay as written, and everything is on one line.
    assert!(line.extra.contains("12345678901234567890123") && line.extra.contains("1.0"));
    assert!(!line.extra.contains('\n'));
    let lines = "{\"message\":\"m\",\"x\":{\n\"a\":\r\n1}}";
    assert_eq!(&*json_line(lines).extra, r#"{"x":{ "a":  1}}"#);
    // Of a repeated name the last counts, so the object has each name once.
    let twice = r#"{"message":"m","a":1,"b":2,"a":3,"message":"n"}"#;
    assert_eq!((&*json_line(twice).message, &*json_line(twice).extra), ("n", r#"{"a":3,"b":2}"#));
    let odd = json_line(r#"{"message":"m","a\"\n\u00fc":"\ud83d\ude00"}"#);
    assert_eq!(&*odd.extra, r#"{"a\"\nü":"\ud83d\ude00"}"#);
}

#[test]
fn the_first_readable_time_counts() {
    let at = |members: &str| {
        json_line(&format!(r#"{{"message":"m",{members}}}"#)).event_time.as_millis()
    };
    assert_eq!(at(r#""timestamp":1795375196"#), 1_795_375_196_000);
    assert_eq!(at(r#""time":1795375196123"#), 1_795_375_196_123);
    assert_eq!(at(r#""ts":1795375196.123"#), 1_795_375_196_123);
    assert_eq!(at(r#""timeMillis":1795375196123"#), 1_795_375_196_123);
    assert_eq!(at(r#""time":"2026-11-22 19:19:56,123""#), 1_795_375_196_123);
    assert_eq!(at(r#""@timestamp":"2026-11-22T21:19:56+02:00","time":1"#), 1_795_375_196_000);
    assert_eq!(at(r#""@timestamp":null,"time":"2026-11-22T19:19:56Z""#), 1_795_375_196_000);
    assert_eq!(at(r#""@timestamp":"?","time":"2026-11-22T19:19:56Z""#), 1_795_375_196_000);
    let (reason, detail) = refusal(Format::JsonLog, r#"{"message":"m","time":"12:03"}"#);
    assert_eq!(reason, Reason::Unparseable);
    assert!(detail.contains("`time`") && detail.contains("12:03"), "{detail}");
    let (reason, _) = refusal(Format::JsonLog, r#"{"message":"m","time":"1969-01-01T00:00:00Z"}"#);
    assert_eq!(reason, Reason::TimeOutOfRange);
}

#[test]
fn several_lines_in_one_record_are_numbered() {
    let text = "{\"message\":\"a\"}\n{\"message\":\"b\",\"level\":\"error\"}\n";
    let outcome = decode(Format::JsonLog, text);
    let lines: Vec<_> = outcome.logs.iter().map(|l| (l.index, &*l.message)).collect();
    assert_eq!(lines, [(0, "a"), (1, "b")]);
    assert_eq!(outcome.points.len(), 2);
    // Whole or not at all.
    assert_eq!(refusal(Format::JsonLog, &format!("{text} x")).0, Reason::Unparseable);
}

#[test]
fn what_is_no_json_line_is_refused() {
    for (text, reason) in [
        ("{}", Reason::MissingField),
        (r#"{"a":1,"host":"h"}"#, Reason::MissingField),
        ("plain text", Reason::Unparseable),
        (r#"["a"]"#, Reason::Unparseable),
        (r#"{"message":"m""#, Reason::Unparseable),
        (r#"{"message":"\ud800"}"#, Reason::Unparseable),
        (r#"{"message":"m","x":"\ud800"}"#, Reason::Unparseable),
    ] {
        let (found, detail) = refusal(Format::JsonLog, text);
        assert_eq!(found, reason, "{text}: {detail}");
    }
    let deep = |levels: usize| {
        let inside = "[".repeat(levels - 1) + &"]".repeat(levels - 1);
        format!(r#"{{"message":"m","x":{inside}}}"#)
    };
    json_line(&deep(32));
    assert_eq!(refusal(Format::JsonLog, &deep(33)).0, Reason::TooLarge);
    assert_eq!(refusal(Format::JsonLog, &deep(100_000)).0, Reason::TooLarge);
    let long = format!(r#"{{"message":"m","service":"{}"}}"#, "s".repeat(5_000));
    assert_eq!(refusal(Format::JsonLog, &long).0, Reason::TooLarge);
    // A message that is no text is taken as what it is.
    assert_eq!(&*json_line(r#"{"message":{"a":1}}"#).message, r#"{"a":1}"#);
    assert_eq!(&*json_line(r#"{"message":7}"#).message, "7");
    assert_eq!(&*json_line(r#"{"level":"info"}"#).message, "");
}

#[test]
fn plain_lines_as_programs_write_them() {
    let at = 1_795_375_196_123;
    for (text, millis, level) in [
        ("2026-11-22 19:19:56,123 ERROR [main] com.example.Worker - failed", at, Level::Error),
        ("2026-11-22T19:19:56.123Z WARN  tidewatch: slow", at, Level::Warn),
        (
            "[2026-11-22 19:19:56,123] INFO [Controller id=0] moved (kafka.controller)",
            at,
            Level::Info,
        ),
        (
            "2026-11-22 19:19:56,123 - DEBUG  [QuorumPeer[myid=1]/0:0] - Notification",
            at,
            Level::Debug,
        ),
        ("2026/11/22 19:19:56.123 [crit] 1234#0: *1 open() failed", at, Level::Fatal),
        ("2026-11-22T21:19:56.1239+02:00 level=error msg=\"no info\"", at, Level::Error),
        ("time=\"x\" lvl=warn msg=ok", KAFKA_TIME, Level::Warn),
        (
            "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: check error count; user unknown",
            KAFKA_TIME,
            Level::Info,
        ),
        ("<34>1 2026-11-22T19:19:56.123Z web-1 su - ID47 - failed", at, Level::Fatal),
        ("<30>Oct 11 22:14:15 host app: started", KAFKA_TIME, Level::Info),
        ("<999>not a priority", KAFKA_TIME, Level::Info),
        ("[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok", KAFKA_TIME, Level::Info),
        (
            "[Sun Dec 04 04:47:44 2005] [error] mod_jk child in error state 6",
            KAFKA_TIME,
            Level::Error,
        ),
        ("warning: unused variable", KAFKA_TIME, Level::Warn),
        ("no errors found, all info is ok", KAFKA_TIME, Level::Info),
        ("ERROR_COUNT=0 MAX-ERROR=1 a.ERROR/x", KAFKA_TIME, Level::Info),
        ("panic: runtime error: index out of range", KAFKA_TIME, Level::Fatal),
    ] {
        let line = line(Format::TextLog, &format!("{text}\n"));
        assert_eq!((line.event_time.as_millis(), line.level), (millis, level), "{text}");
        assert_eq!((&*line.message, &*line.host, &*line.service), (text, "web-1", "cpu-usage"));
        assert_eq!(&*line.extra, "");
    }
}

#[test]
fn a_plain_line_is_kept_whatever_its_bytes() {
    let outcome = decode_bytes(Format::TextLog, b"\x1b[31mERROR\x1b[0m caf\xe9\nat x\n");
    assert_eq!(&*outcome.logs[0].message, "\u{1b}[31mERROR\u{1b}[0m caf\u{fffd}\nat x");
    let source = SourceFormat::new("logs", Format::TextLog);
    let outcome = decode_records(&source, &[(None, Some(b"x")), (Some(b"\xff"), Some(b"x"))]);
    assert_eq!(&*outcome.logs[0].host, "unknown");
    assert_eq!(outcome.rejected[0].1, Reason::Unparseable);
    assert_eq!(refusal(Format::TextLog, "1960-01-01 00:00:00 x").0, Reason::TimeOutOfRange);
    // A date that does not exist is no time.
    let line = line(Format::TextLog, "2026-13-01 00:00:00 x");
    assert_eq!(line.event_time.as_millis(), KAFKA_TIME);
}

#[test]
fn values_are_numbers_and_percentages() {
    for (text, number) in [
        ("85%", 85.0),
        ("85", 85.0),
        (" 85.5 % \n", 85.5),
        ("\"85%\"", 85.0),
        ("\" 85 %\"", 85.0),
        ("-0.25", -0.25),
        ("+1e3", 1_000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-400", 0.0),
    ] {
        for format in [Format::Value, Format::Auto] {
            let seen = point(format, text);
            assert_eq!((&*seen.measurement, &*seen.labels), ("cpu", "host=web-1"), "{text}");
            assert_eq!(seen.millis, KAFKA_TIME);
            assert_eq!(seen.fields, [("value".to_owned(), number)], "{text}");
        }
    }
    for text in
        ["eighty", "85,5", "85%%", "%", "1e400", "inf", "NaN", "0x10", "1 2", "\"85", "--1", "1e"]
    {
        assert_eq!(refusal(Format::Value, text).0, Reason::NotANumber, "{text}");
    }
    assert_eq!(refusal(Format::Value, &"1".repeat(65)).0, Reason::NotANumber);
}

#[test]
fn a_value_needs_its_key_and_takes_its_names_from_the_source() {
    let mut source = SourceFormat::new("load", Format::Value);
    source.field = "load1".into();
    source.key_label = "server".into();
    let records: [codec_util::KeyAndValue<'_>; 4] = [
        (Some(b"a"), Some(b"1")),
        (None, Some(b"1")),
        (Some(b""), Some(b"1")),
        (Some(b"\xff"), Some(b"1")),
    ];
    let outcome = decode_records(&source, &records);
    assert_eq!(outcome.points.len(), 1);
    assert_eq!((&*outcome.points[0].measurement, &*outcome.points[0].labels), ("load", "server=a"));
    assert_eq!(outcome.points[0].fields, [("load1".to_owned(), 1.0)]);
    let why: Vec<_> = outcome.rejected.iter().map(|(_, reason, _)| *reason).collect();
    assert_eq!(why, [Reason::MissingField, Reason::MissingField, Reason::Unparseable]);
    assert!(outcome.rejected[0].2.contains("`server`"));
}

#[test]
fn formats_are_told_apart() {
    let kind = |text: &str| {
        let outcome = decode(Format::Auto, text);
        match (outcome.rejected.first(), outcome.logs.first(), outcome.points.first()) {
            (Some((_, reason, _)), ..) => format!("{reason:?}"),
            (_, Some(line), _) => format!("line {}", line.message),
            (_, _, Some(seen)) => seen.measurement.clone(),
            _ => "nothing".to_owned(),
        }
    };
    for (text, expected) in [
        (r#"{"fields":{"a":1},"name":"m","tags":{"level":"x"}}"#, "m"),
        (r#" {"name":"m","tags":{"message":"x"},"timestamp":1,"fields":{"a":1}}"#, "m"),
        (r#"{"metrics":[{"fields":{"a":1},"name":"m"}]}"#, "m"),
        (r#"{"@timestamp":"2026-11-22T19:19:56Z","message":"x"}"#, "line x"),
        (r#"{"host":"fields","message":"x","fields":{"a":1}}"#, "line x"),
        (r#"{"host":{"fields":1},"message":"x"}"#, "line x"),
        (r#"{"a\"fields\":":1,"level":"info","msg":"x"}"#, "line x"),
        (r#"{"fields":{"env":"prod"},"message":"x"}"#, "line x"),
        (r#"{"time":1795375196,"service":"s"}"#, "line "),
        (r#"{"fields":{"a":1}}"#, "MissingField"),
        (r#"{"a":1}"#, "MissingField"),
        ("{", "Unparseable"),
        ("{\"fields", "Unparseable"),
        (r#"[{"values":[65.15],"plugin":"cpu"}]"#, "MissingField"),
        ("85%", "cpu"),
        ("2026-11-22 19:19:56 ERROR x", "line 2026-11-22 19:19:56 ERROR x"),
        ("85 percent", "line 85 percent"),
        ("[notice] x", "line [notice] x"),
        ("\"quoted\"", "line \"quoted\""),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
    let outcome = decode_records(&SourceFormat::new("t", Format::Auto), &[(None, Some(b"85%"))]);
    assert_eq!(outcome.rejected[0].1, Reason::MissingField);
}

#[test]
fn a_full_series_table_is_told() {
    use tidewatch_connectors::codec::for_source;
    use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
    use tidewatch_dataflow::series::SeriesTable;
    use tidewatch_dataflow::time::EventTime;
    let records = ["a", "b", "a"].map(|key| Record {
        offset: 1,
        time: RecordTime::Appended(EventTime::from_millis(5)),
        key: Some(key.as_bytes()),
        value: Some(b"1"),
        headers: &[],
    });
    let mut out = Decoded::default();
    let partition = PartitionId { topic: 0, partition: 0 };
    for_source(&SourceFormat::new("t", Format::Auto)).decode(
        &RecordBatch { partition, records: &records },
        &mut SeriesTable::new(1),
        &mut out,
    );
    assert_eq!((out.points.len(), out.rejected.len()), (2, 1));
    assert_eq!(out.rejected[0].why.reason, Reason::SeriesLimit);
}

fn any_json(depth: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["warn", "ERROR", "7", "h"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z.]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

fn any_log() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let name = prop_oneof![
        3 => prop::sample::select(vec![
            "level", "log.level", "severity", "host", "host.name", "hostname", "service",
            "service.name", "message", "msg", "log",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ];
    prop::collection::btree_map(name, any_json(3), 0..8).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Nothing of a line is lost: what the line does not use stands in `extra`, and putting `extra` and
    /// the used members together gives the object that was read.
    #[test]
    fn a_line_and_its_extra_are_the_whole_object(mut object in any_log()) {
        object.insert("@timestamp".to_owned(), json!(1_795_375_196));
        let text = serde_json::to_string_pretty(&Value::Object(object.clone())).unwrap();
        let outcome = decode(Format::JsonLog, &text);
        prop_assert_eq!(&outcome.rejected, &vec![], "{}", text);
        let line = &outcome.logs[0];
        prop_assert_eq!(line.event_time.as_millis(), 1_795_375_196_000);
        prop_assert!(!line.extra.contains('\n'));
        let extra: serde_json::Map<String, Value> = if line.extra.is_empty() {
            serde_json::Map::new()
        } else {
            serde_json::from_str(&line.extra).unwrap()
        };
        for (name, value) in &object {
            let unfolded = ["host", "service", "log"].contains(&name.as_str()) && value.is_object();
            if unfolded {
                for (inner, value) in value.as_object().unwrap() {
                    let dotted = format!("{name}.{inner}");
                    let used = inner == "name" || inner == "level";
                    // A dotted name may also stand at the top; then either of the two is there.
                    prop_assert!(
                        used || extra.get(&dotted) == Some(value) || object.contains_key(&dotted),
                        "{} is lost: {}", dotted, text
                    );
                }
            } else if let Some(kept) = extra.get(name) {
                let doubled = name.split_once('.').is_some_and(|(outer, _)| object.contains_key(outer));
                prop_assert!(kept == value || doubled, "{}", text);
            } else {
                let spelled = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let used = [&*line.host, &*line.service, &*line.message].contains(&spelled.as_str())
                    || spelled.is_empty()
                    || serde_json::from_str(&line.message).is_ok_and(|text: Value| text == *value)
                    || name == "@timestamp"
                    || line.level != Level::Info
                    || ["level", "log.level", "severity"].contains(&name.as_str());
                prop_assert!(used, "{} is lost: {} → {:?}", name, text, line);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[\\[{\"}\\]:,a-f0-9.%\\\\ \n-]{0,60}".prop_map(String::into_bytes),
            "<?[0-9]{0,4}>?[0-9]{4}-[01][0-9]-[0-3][0-9][ T][0-9:]{8}[.,]?[0-9]{0,12}[Z+-]?[0-9:]{0,5} ?(ERROR|warn|\\[info\\])?".prop_map(String::into_bytes),
        ],
    ) {
        for format in
            [Format::Auto, Format::TelegrafJson, Format::Value, Format::JsonLog, Format::TextLog]
        {
            let source = SourceFormat::new("t", format);
            let Outcome { points, logs, rejected, .. } =
                decode_records(&source, &[(key.as_deref(), Some(&value))]);
            prop_assert!(rejected.len() <= 1);
            prop_assert!(rejected.is_empty() || (points.is_empty() && logs.is_empty()));
        }
    }
}
