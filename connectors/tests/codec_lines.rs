//! Syslog, logfmt, text logs with patterns of their own, and lines of the Elastic Common Schema.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod codec_util;

use std::collections::BTreeSet;

use codec_util::{KAFKA_TIME, decode, decode_bytes, decode_with, line, refusal};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidewatch_connectors::codec::text_log::{Pattern, TextPatterns, TimeFormat};
use tidewatch_connectors::codec::time::UtcOffset;
use tidewatch_connectors::codec::{Format, LogLabels, RecordLabels, SourceFormat, for_source};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::{
    Decoded, Header, Level, LogLine, PartitionId, Record, RecordBatch, RecordTime,
};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

fn extra(line: &LogLine) -> Value {
    if line.extra.is_empty() { Value::Null } else { serde_json::from_str(&line.extra).unwrap() }
}

fn parts(line: &LogLine) -> (u64, Level, &str, &str, &str) {
    (line.event_time.as_millis(), line.level, &line.host, &line.service, &line.message)
}

/// The one line that the codec of `source` makes of `text`.
fn one(source: &SourceFormat, text: &str) -> LogLine {
    let mut seen = decode_with(source, text.as_bytes());
    assert_eq!((seen.logs.len(), seen.rejected.len()), (1, 0), "{text}: {seen:?}");
    seen.logs.remove(0)
}

#[test]
fn syslog_of_rfc_5424() {
    let text = r#"<165>1 2026-11-22T19:19:56.123456Z web-9 api 77 ID47 [id@1 a="1" b="q\"\]\\ \x"][empty] done"#;
    let seen = line(Format::Syslog, text);
    assert_eq!(parts(&seen), (1_795_375_196_123, Level::Info, "web-9", "api", "done"));
    assert_eq!(
        extra(&seen),
        json!({"log.syslog.facility.name":"local4","process.pid":"77","log.syslog.msgid":"ID47",
            "log.syslog.structured_data":{"id@1":{"a":"1","b":"q\"]\\ \\x"},"empty":{}}})
    );
    // What is not known is taken from the record.
    let bare = line(Format::Syslog, "<1>1 - - - - - -");
    assert_eq!(parts(&bare), (KAFKA_TIME, Level::Fatal, "web-1", "cpu-usage", ""));
    let marked = line(Format::Syslog, "<12>1 - - - - - - \u{feff}höst ok\n\tat a.B(C.java)\n");
    assert_eq!((&*marked.message, marked.level), ("höst ok\n\tat a.B(C.java)", Level::Warn));
    for (text, said) in [
        ("<34>1 2026-11-22T19:19:56Z h a", "header ends before the app"),
        ("<34>1 2026-11-22T19:19:56Z h a - - text", "neither structured data"),
        ("<34>1 - h a - - [id a=\"x", "without its end"),
        ("<34>1 - h a - - [id a=x]", "without its end"),
        ("<34>1 - h a - - [ a=\"x\"] t", "without an id"),
        ("<34>1 - h a - - [id]t", "directly after"),
        ("<34>1 - h a - - [id a=\"x\"", "does not end"),
        ("no header at all", "neither with `<PRI>` nor a time"),
        ("<192>text", "neither with"),
        ("99 <34>1 - - - - - - x", "the count"),
        ("0 <34>x", "the count"),
    ] {
        let (reason, detail) = refusal(Format::Syslog, text);
        assert_eq!(reason, Reason::Unparseable, "{text}");
        assert!(detail.contains(said), "{text}: {detail}");
    }
    assert_eq!(
        refusal(Format::Syslog, "<34>1 1969-01-01T00:00:00Z h a - - -").0,
        Reason::TimeOutOfRange
    );
    let many = format!("<34>1 - - - - - [i{}]", " a=\"\"".repeat(5_000));
    assert_eq!(refusal(Format::Syslog, &many).0, Reason::TooLarge);
}

#[test]
fn syslog_of_rfc_3164() {
    // Kafka's time of these records is the 14th of November 2023, 22:13:20.
    for (text, millis, level, host, service, message) in [
        (
            "<34>Nov 14 22:13:20 web-9 su[12]: 'su root' failed",
            KAFKA_TIME,
            Level::Fatal,
            "web-9",
            "su",
            "'su root' failed",
        ),
        ("<13>Nov  1 00:00:00 h app: Test", 1_698_796_800_000, Level::Info, "h", "app", "Test"),
        ("<11>Nov 14 22:13:20.5 h app: x", KAFKA_TIME + 500, Level::Error, "h", "app", "x"),
        ("<15>Nov 14 22:13:20 app[1]: local", KAFKA_TIME, Level::Debug, "web-1", "app", "local"),
        ("<13>Nov 14 22:13:20 ::1 app: six", KAFKA_TIME, Level::Info, "::1", "app", "six"),
        (
            "<13>Nov 14 22:13:20 h some words",
            KAFKA_TIME,
            Level::Info,
            "h",
            "cpu-usage",
            "some words",
        ),
        (
            "<12>2023-11-14T23:13:20+01:00 h sshd(pam)[1]: in",
            KAFKA_TIME,
            Level::Warn,
            "h",
            "sshd(pam)",
            "in",
        ),
        (
            "Nov 14 22:13:20 h kernel: ERROR: disk",
            KAFKA_TIME,
            Level::Error,
            "h",
            "kernel",
            "ERROR: disk",
        ),
        ("<13>just words", KAFKA_TIME, Level::Info, "web-1", "cpu-usage", "just words"),
        ("<13>Nov 31 22:13:20 text", 0, Level::Info, "", "", ""),
    ] {
        if millis == 0 {
            assert_eq!(refusal(Format::Syslog, text).0, Reason::Unparseable, "{text}");
            continue;
        }
        let seen = line(Format::Syslog, text);
        assert_eq!(parts(&seen), (millis, level, host, service, message), "{text}");
    }
    // The year is that which is nearest to Kafka's: this one is ahead, these are behind.
    for (stamp, millis) in [
        ("May 10 00:00:00", 1_715_299_200_000),
        ("May 20 00:00:00", 1_684_540_800_000),
        ("Dec 31 23:59:59", 1_704_067_199_000),
        ("Jan  1 00:00:00", 1_704_067_200_000),
        ("Feb 29 00:00:00", 1_709_164_800_000),
    ] {
        let seen = line(Format::Syslog, &format!("<13>{stamp} h a: x"));
        assert_eq!(seen.event_time.as_millis(), millis, "{stamp}");
    }
    let mut source = SourceFormat::new("t", Format::Syslog);
    source.utc_offset = UtcOffset::parse("-03:00").unwrap();
    let millis = |text: &str| one(&source, text).event_time.as_millis();
    assert_eq!(millis("<13>Nov 14 19:13:20 h a: x"), KAFKA_TIME);
    assert_eq!(millis("<13>2023-11-14 19:13:20 h a: x"), KAFKA_TIME);
    assert_eq!(millis("<13>2023-11-14T22:13:20Z h a: x"), KAFKA_TIME);
}

#[test]
fn syslog_in_frames() {
    let messages = |text: &str| {
        let seen = decode(Format::Syslog, text);
        assert!(seen.rejected.is_empty(), "{text}: {seen:?}");
        let lines = seen.logs.iter().map(|l| (l.index, l.message.to_string()));
        lines.collect::<Vec<_>>()
    };
    let two = [(0, "a\nb".to_owned()), (1, "c".to_owned())];
    assert_eq!(messages("<13>h: a\nb\n<13>h: c\n").len(), 2);
    assert_eq!(messages("<13>1 - - - - - - a\nb\n<13>1 - - - - - - c\n"), two);
    assert_eq!(messages("21 <13>1 - - - - - - a\nb 19 <13>1 - - - - - - c"), two);
    assert_eq!(refusal(Format::Syslog, "<13>h: a\nb\n<13>1 - - ").0, Reason::Unparseable);
}

#[test]
fn logfmt_lines() {
    let text = r#"ts=2026-11-22T19:19:56.123Z level=warn msg="took \"long\"\n\u00fc" host=h service=api took=1.5ms url=/a?b=c flag empty= q="a b" took=2ms"#;
    let seen = line(Format::Logfmt, text);
    assert_eq!(parts(&seen), (1_795_375_196_123, Level::Warn, "h", "api", "took \"long\"\nü"));
    assert_eq!(extra(&seen), json!({"took":"2ms","url":"/a?b=c","flag":true,"empty":"","q":"a b"}));
    let least = line(Format::Logfmt, "msg=x");
    assert_eq!(parts(&least), (KAFKA_TIME, Level::Info, "web-1", "cpu-usage", "x"));
    for (text, millis, level) in [
        ("t=1795375196.123 lvl=eror msg=x", 1_795_375_196_123, Level::Info),
        ("time=1795375196123 severity=3 msg=x", 1_795_375_196_123, Level::Error),
        ("time=\"2026-11-22 19:19:56,123\" level=ERROR", 1_795_375_196_123, Level::Error),
        ("ts=soon time=1795375196123 msg=x", 1_795_375_196_123, Level::Info),
    ] {
        let seen = line(Format::Logfmt, text);
        assert_eq!((seen.event_time.as_millis(), seen.level), (millis, level), "{text}");
    }
    assert_eq!(extra(&line(Format::Logfmt, "lvl=eror msg=x")), json!({"lvl":"eror"}));
    let several = decode(Format::Logfmt, "msg=a\n\nmsg=b level=error\r\n");
    let lines: Vec<_> = several.logs.iter().map(|l| (l.index, &*l.message, l.level)).collect();
    assert_eq!(lines, [(0, "a", Level::Info), (1, "b", Level::Error)]);
    for (text, reason, said) in [
        ("a=b c=d", Reason::MissingField, "neither `ts` nor `level` nor `msg`"),
        ("plain words only", Reason::MissingField, "no log line"),
        ("=x msg=y", Reason::Unparseable, "without a key at byte 0"),
        ("msg=\"x", Reason::Unparseable, "quotes"),
        ("msg=\"\\q\"", Reason::Unparseable, "quotes"),
        ("msg=\"x\"y", Reason::Unparseable, "no space after"),
        ("msg=x \"y\"", Reason::Unparseable, "without a key at byte 6"),
        ("ts=soon msg=x", Reason::Unparseable, "`ts`"),
        ("msg=x ts=1969-01-01T00:00:00Z", Reason::TimeOutOfRange, "before 1970"),
    ] {
        let (found, detail) = refusal(Format::Logfmt, text);
        assert_eq!(found, reason, "{text}: {detail}");
        assert!(detail.contains(said), "{text}: {detail}");
        assert_eq!(refusal(Format::Logfmt, &format!("msg=ok\n{text}")).0, reason, "{text}");
    }
    let many = format!("msg=x{}", " a=b".repeat(5_000));
    assert_eq!(refusal(Format::Logfmt, &many).0, Reason::TooLarge);
}

fn text_source(time: Option<&str>, format: Option<&str>, level: Option<&str>) -> SourceFormat {
    let mut source = SourceFormat::new("t", Format::TextLog);
    source.patterns = TextPatterns {
        time: time.map(|text| Pattern::new(text).unwrap()),
        time_format: format.map(|text| TimeFormat::new(text).unwrap()),
        level: level.map(|text| Pattern::new(text).unwrap()),
    };
    source
}

#[test]
fn text_with_patterns() {
    let seen = |source: &SourceFormat, text: &str| {
        let line = one(source, text);
        assert_eq!(&*line.message, text.trim_end());
        (line.event_time.as_millis(), line.level)
    };
    let at = 1_795_375_196_000;
    // An access log: the time in the middle, no level but the status.
    let access =
        text_source(Some(r"\[([^\]]+)\]"), Some("%d/%b/%Y:%H:%M:%S %z"), Some(r#"" (5)\d\d "#));
    let line = r#"83.149.9.216 - - [22/Nov/2026:20:19:56 +0100] "GET /a HTTP/1.1" 200 2 "-""#;
    assert_eq!(seen(&access, line), (at, Level::Info));
    assert_eq!(seen(&access, "ERROR no time at all"), (KAFKA_TIME, Level::Info));
    let bad = decode_with(&access, b"x [soon] y");
    assert_eq!(bad.rejected[0].1, Reason::Unparseable);
    assert!(bad.rejected[0].2.contains("`time_pattern`"), "{bad:?}");
    // A format alone is looked for at the front, the year is the nearest, the first line decides.
    let klog =
        text_source(Some(r"^[IWEF](\d{4} [\d:.]+)"), Some("%m%d %H:%M:%S%.f"), Some("^([IWEF])"));
    let trace = "E1114 22:13:20.250000 1 a.go:1] panic\n2026-11-22 19:19:56 I at b\n";
    assert_eq!(seen(&klog, trace), (KAFKA_TIME + 250, Level::Error));
    assert_eq!(seen(&klog, "W1231 00:00:00.0 1 a.go:1] x").1, Level::Warn);
    let short = text_source(None, Some("%b %d %H:%M"), None);
    assert_eq!(seen(&short, "Nov 14 22:13 ERROR x"), (KAFKA_TIME - 20_000, Level::Error));
    assert_eq!(seen(&short, "[Nov 14 22:13] ERROR x"), (KAFKA_TIME - 20_000, Level::Error));
    assert_eq!(seen(&short, "2026-11-22 19:19:56 ERROR x"), (KAFKA_TIME, Level::Error));
    let epoch = text_source(Some(r"at=(\d+)"), Some("%s"), None);
    assert_eq!(seen(&epoch, "a at=1795375196 WARN"), (at, Level::Warn));
    // Without a format, the pattern's match is a time as everywhere.
    let behind = text_source(Some(r"\bat (\S+ [\d:,]+)$"), None, None);
    assert_eq!(seen(&behind, "WARN at 2026-11-22 19:19:56,000").0, at);
    // A clock that is not at UTC.
    let mut clock = text_source(None, Some("%Y%m%d %H%M%S"), None);
    clock.utc_offset = UtcOffset::parse("+02:00").unwrap();
    assert_eq!(seen(&clock, "20261122 211956 x").0, at);
    let mut plain = SourceFormat::new("t", Format::TextLog);
    plain.utc_offset = UtcOffset::parse("+02:00").unwrap();
    assert_eq!(seen(&plain, "2026-11-22 21:19:56 x").0, at);
    assert_eq!(seen(&plain, "2026-11-22 19:19:56Z x").0, at);
    for format in ["%Y", "%H:%M:%S", "", "%d %H", "%!"] {
        assert!(TimeFormat::new(format).is_err(), "{format}");
    }
    let large = r"\w{1000}{1000}";
    assert!(Pattern::new(large).unwrap_err().to_string().contains(large));
}

#[test]
fn lines_of_the_elastic_common_schema() {
    let ecs = |text: &str| line(Format::EcsJson, text);
    let own = |text: &str| {
        let seen = ecs(text);
        (seen.level, seen.host.to_string(), seen.service.to_string(), seen.message.to_string())
    };
    // All that json_log knows, and in the same way.
    let full = r#"{"@timestamp":"2026-11-22T19:19:56.123Z","log.level":"WARN","host":{"name":"h"},"service.name":"s","message":"m","ecs.version":"8.11"}"#;
    assert_eq!(parts(&ecs(full)), (1_795_375_196_123, Level::Warn, "h", "s", "m"));
    // A raw line by Filebeat: the level is in the text, the service is the topic.
    let raw = r#"{"@timestamp":"2026-11-22T19:19:56.123Z","@metadata":{"beat":"filebeat"},"log":{"offset":0,"file":{"path":"/a"}},"message":"2026-11-22 19:19:55 ERROR [main] boom","agent":{"type":"filebeat","hostname":"web-2"}}"#;
    assert_eq!(
        own(raw),
        (
            Level::Error,
            "web-2".into(),
            "cpu-usage".into(),
            "2026-11-22 19:19:55 ERROR [main] boom".into()
        )
    );
    let plain = line(Format::JsonLog, raw);
    assert_eq!((plain.level, &*plain.host, &*plain.service), (Level::Info, "unknown", "unknown"));
    assert_eq!(
        extra(&ecs(raw)),
        json!({"@metadata":{"beat":"filebeat"},"log.offset":0,"log.file":{"path":"/a"},"agent.type":"filebeat"})
    );
    for (members, host, service) in [
        (
            r#""host":{"hostname":"h"},"event":{"module":"nginx","dataset":"nginx.error"}"#,
            "h",
            "nginx",
        ),
        (r#""agent.name":"h","event.dataset":"nginx.error""#, "h", "nginx.error"),
        (r#""beat":{"hostname":"h"},"service":{"type":"nginx"}"#, "h", "nginx"),
        (r#""host":"h","service":"s""#, "h", "s"),
        (r#""tags":["a"]"#, "web-1", "cpu-usage"),
    ] {
        let seen = own(&format!(r#"{{"message":"m",{members}}}"#));
        assert_eq!((&*seen.1, &*seen.2), (host, service), "{members}");
    }
    let original = own(r#"{"event":{"original":"o","kind":"event"},"error":{"message":"e"}}"#);
    assert_eq!(original.3, "o");
    assert_eq!(own(r#"{"error.message":"e","log.level":"error"}"#).3, "e");
    assert_eq!(refusal(Format::EcsJson, r#"{"event":{"kind":"event"}}"#).0, Reason::MissingField);
    // `auto` takes a line as one of ECS by its look.
    assert_eq!(line(Format::Auto, raw), ecs(raw));
    let not = r#"{"@timestamp":"2026-11-22T19:19:56.123Z","message":"ERROR x"}"#;
    assert_eq!(line(Format::Auto, not), line(Format::JsonLog, not));
}

#[test]
fn auto_tells_apart_what_can_be() {
    for (format, text) in [
        (Format::Syslog, "<34>1 2026-11-22T19:19:56.123Z h app - - - text"),
        (Format::Syslog, "<13>Nov 14 22:13:20 h app: x"),
        (Format::TextLog, "<34>1 2026-11-22T19:19:56.123Z broken"),
        (Format::TextLog, "<999>x"),
        (Format::TextLog, "level=error msg=\"x\""),
        (Format::InfluxLine, "cpu,host=a usage=1 1795375196000000000\n"),
        (
            Format::InfluxLine,
            "cpu,host=a usage=1 1795375196\ncpu,host=b usage=1,x=\"y\" 1795375196",
        ),
        (Format::TextLog, "retries left=3"),
        (Format::TextLog, "WARN retries left=3 of 1795375196"),
        (Format::TextLog, "key = value 1795375196"),
        (
            Format::CollectdJson,
            r#"[{"values":[1],"dsnames":["value"],"time":1795376576.083,"host":"h","plugin":"load"}]"#,
        ),
        (
            Format::Otlp,
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#,
        ),
        (
            Format::Otlp,
            r#"{"resource_logs":[{"scope_logs":[{"log_records":[{"body":{"string_value":"m"}}]}]}]}"#,
        ),
        (Format::Value, "85%"),
        // What was read before there were so many formats is read as ever.
        (
            Format::TelegrafJson,
            r#"{"metrics":[{"fields":{"a":1},"name":"m","tags":{"host":"h","message":"x"},"timestamp":1},{"fields":{"b":2},"name":"n","tags":{},"timestamp":1}]}"#,
        ),
        (
            Format::TelegrafJson,
            "{\"fields\":{\"a\":1},\"name\":\"m\"}\n{\"fields\":{\"a\":2},\"name\":\"m\"}\n",
        ),
        (Format::JsonLog, r#"{"level":"warn","message":"ERROR in the text","host":"h"}"#),
        (Format::TextLog, "[{main}] ERROR broken"),
        (Format::TextLog, "<b>ERROR</b>"),
    ] {
        let (auto, own) = (decode(Format::Auto, text), decode(format, text));
        assert_eq!(auto, own, "{text}");
        assert!(
            auto.rejected.is_empty() && auto.points.len() + auto.logs.len() > 0,
            "{text}: {auto:?}"
        );
    }
    let (reason, detail) = refusal(Format::Auto, "\n\u{3}\u{0}abc");
    assert_eq!(reason, Reason::Unparseable);
    assert!(detail.contains("otlp") && detail.contains("prometheus_remote_write"), "{detail}");
    // Of the format, and wrong: no text line is made of it.
    assert_eq!(refusal(Format::Auto, "m a=1e999 1795375196").0, Reason::NotANumber);
    assert_eq!(refusal(Format::Auto, r#"[{"values":[1]}]"#).0, Reason::MissingField);
}

/// 1,000 hosts with three services each, in a format; the last line is refused for its host.
fn fleet(format: Format) -> Vec<String> {
    let line = |level: &str, service: &str, host: &str| match format {
        Format::Syslog => {
            let severity = if level == "error" { 3 } else { 6 };
            format!("<{severity}>1 2026-01-01T00:00:00Z {host} {service} - - - m")
        }
        Format::Logfmt => format!("level={level} service={service} host={host} msg=m"),
        Format::Otlp => format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"host.name","value":{{"stringValue":"{host}"}}}},{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},"scopeLogs":[{{"logRecords":[{{"severityText":"{level}","body":{{"stringValue":"m"}}}}]}}]}}]}}"#
        ),
        _ => {
            format!(r#"{{"level":"{level}","service":"{service}","host":"{host}","message":"m"}}"#)
        }
    };
    let of = |i: usize| {
        let level = if i.is_multiple_of(7) { "error" } else { "info" };
        line(level, &format!("s{}", i / 1_000), &format!("web-{}", i % 1_000))
    };
    let too_long = "x".repeat(5_000);
    (0..3_000).map(of).chain([line("info", "s0", &too_long)]).collect()
}

#[test]
fn labels_that_nothing_asks_for_cost_no_series() {
    let formats = [
        Format::JsonLog,
        Format::EcsJson,
        Format::Logfmt,
        Format::Syslog,
        Format::Otlp,
        Format::Auto,
    ];
    for format in formats {
        let values = fleet(format);
        let headers = [Header { name: "x-region", value: b"eu" }];
        let records: Vec<Record<'_>> = (0..)
            .zip(&values)
            .map(|(offset, value)| Record {
                offset,
                time: RecordTime::Created(EventTime::from_millis(KAFKA_TIME)),
                key: Some(b"key"),
                value: Some(value.as_bytes()),
                headers: &headers,
            })
            .collect();
        let decode = |log_labels: LogLabels, record_labels: RecordLabels| {
            let source =
                SourceFormat { log_labels, record_labels, ..SourceFormat::new("t", format) };
            let (mut series, mut out) = (SeriesTable::new(10_000), Decoded::default());
            let partition = PartitionId { topic: 0, partition: 0 };
            for_source(&source).decode(
                &RecordBatch { partition, records: &records },
                &mut series,
                &mut out,
            );
            assert_eq!((out.logs.len(), out.rejected.len()), (3_000, 1), "{format:?}");
            // Syslog has a bound of its own for a host.
            let reason = out.rejected[0].why.reason;
            assert!(reason == Reason::TooLarge || format == Format::Syslog, "{reason:?}");
            (series, out)
        };
        let none = RecordLabels::default;
        let carried = || RecordLabels {
            key: Some("host".into()),
            headers: vec![("x-region".into(), "region".into())],
        };
        let (whole, expected) = decode(LogLabels::ALL, none());
        assert_eq!(whole.len(), 3_000, "{format:?}");
        for log_labels in [
            LogLabels { host: false, ..LogLabels::ALL },
            LogLabels { service: false, ..LogLabels::ALL },
            LogLabels { level: false, ..LogLabels::ALL },
            LogLabels { service: true, ..LogLabels::NONE },
            LogLabels::NONE,
        ] {
            let LogLabels { level, service, host } = log_labels;
            let of = |line: &LogLine| {
                let (of_level, of_service) = (line.level.as_str(), line.service.clone());
                let of_host = line.host.clone();
                (level.then_some(of_level), service.then_some(of_service), host.then_some(of_host))
            };
            let count = expected.logs.iter().map(of).collect::<BTreeSet<_>>().len();
            assert!(host || count <= 6);
            let (series, found) = decode(log_labels, none());
            assert_eq!(series.len(), count, "{format:?} {log_labels:?}");
            assert_eq!((&found.logs, &found.rejected), (&expected.logs, &expected.rejected));
            for (point, line) in found.points.iter().zip(&found.logs) {
                let of = &series.series(point.series).unwrap().labels;
                for (name, value) in [
                    ("level", line.level.as_str()),
                    ("service", &line.service),
                    ("host", &line.host),
                ] {
                    assert_eq!(of.get(name), log_labels.has(name).then_some(value));
                }
                assert_eq!((point.event_time, point.offset), (line.event_time, line.offset));
            }
            // What the record carries is added before labels are cut, and a label of its own stays.
            let (with, found) = decode(log_labels, carried());
            assert_eq!(with.len(), series.len());
            let first = &with.series(found.points[0].series).unwrap().labels;
            assert_eq!(first.get("region"), Some("eu"));
            assert_eq!(first.get("host"), log_labels.host.then_some("web-0"));
        }
    }
}

/// A text that needs no escapes in any of the formats.
const NAME: &str = "[a-zA-Z][a-zA-Z0-9_.-]{0,12}";

proptest! {
    /// What a producer that follows RFC 5424 writes is read as what it was.
    #[test]
    fn syslog_round_trip(
        (facility, severity) in (0_u8..24, 0_u8..8),
        seconds in 0_i64..250_000_000_000,
        (host, app, id) in (NAME, NAME, NAME),
        parameters in prop::collection::btree_map(NAME, "[ -~äß\n]{0,12}", 0..4),
        message in "[!-~ä][ -~ß\n]{0,30}[!-~]",
        count in any::<bool>(),
    ) {
        prop_assume!(!message.contains("\n<"));
        let time = jiff::Timestamp::from_second(seconds).unwrap();
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        let data: String = parameters.iter().map(|(name, value)| format!(" {name}=\"{}\"", escape(value))).collect();
        prop_assume!(!data.contains("\n<"));
        let mut text = format!("<{}>1 {time} {host} {app} - - [{id}{data}] {message}", facility * 8 + severity);
        if count {
            text = format!("{} {text}", text.len());
        }
        let seen = line(Format::Syslog, &text);
        prop_assert_eq!(seen.event_time.as_millis(), seconds as u64 * 1_000);
        prop_assert_eq!((&*seen.host, &*seen.service, &*seen.message), (&*host, &*app, &*message));
        let levels = [Level::Fatal, Level::Fatal, Level::Fatal, Level::Error, Level::Warn, Level::Info, Level::Info, Level::Debug];
        prop_assert_eq!(seen.level, levels[usize::from(severity)]);
        prop_assert_eq!(&extra(&seen)["log.syslog.structured_data"], &json!({ id: parameters }));
    }

    /// What is written in pairs is read as what it was.
    #[test]
    fn logfmt_round_trip(
        pairs in prop::collection::btree_map("[a-z]{4,8}x", "[ -~äß\n\t\"\\\\=]{0,12}", 0..20),
        message in "[ -~äß\n\t]{1,20}",
    ) {
        let quote = |text: &str| Value::from(text).to_string();
        let mut text = format!("level=error msg={}", quote(&message));
        for (key, value) in &pairs {
            let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'=');
            text += &if plain { format!("  {key}={value}") } else { format!(" {key}={}", quote(value)) };
        }
        let seen = line(Format::Logfmt, &text);
        prop_assert_eq!((&*seen.message, seen.level), (&*message, Level::Error));
        let left = if pairs.is_empty() { Value::Null } else { json!(pairs) };
        prop_assert_eq!(extra(&seen), left);
    }

    /// No bytes make any of them panic.
    #[test]
    fn any_bytes(value in prop::collection::vec(prop::sample::select(b"<13>1 2-:[]=\"\\aNov\n\xc3\xa4 22".to_vec()), 0..60)) {
        for format in [Format::Syslog, Format::Logfmt, Format::TextLog, Format::EcsJson, Format::Auto] {
            decode_bytes(format, &value);
        }
    }
}
