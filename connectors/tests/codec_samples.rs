//! Files of real messages from a folder beside the project, where there is one. Not part of a clone, so
//! a machine without the folder passes, and says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it leaves out"
)]

mod codec_util;

use std::path::Path;

use codec_util::{KAFKA_TIME, decode, decode_with};
use serde_json::json;
use tidewatch_connectors::codec::text_log::TimeFormat;
use tidewatch_connectors::codec::{Format, SourceFormat};
use tidewatch_dataflow::record::Level;

/// The text of a sample.
fn sample(name: &str) -> Option<String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let path = beside.join("shared/data").join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("LEFT OUT: no real messages at `{}`; only fixtures were tested", path.display());
        return None;
    };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn telegraf_files() {
    for (name, count) in [("samples/telegraf/metric.json", 1), ("samples/telegraf/batch.json", 2)] {
        let Some(text) = sample(name) else { continue };
        let outcome = decode(Format::Auto, &text);
        assert_eq!(outcome.rejected, [], "{name}");
        assert_eq!(outcome.points.len(), count, "{name}");
        assert!(outcome.points.iter().all(|p| p.millis > 1_400_000_000_000), "{name}");
    }
}

#[test]
fn json_logs() {
    for name in ["samples/beats/logstash_own_log.ndjson", "samples/fluentbit/iis_docker.ndjson"] {
        let Some(text) = sample(name) else { continue };
        let mut good = 0;
        for line in text.lines() {
            // Some lines of these files are broken by line breaks inside of texts.
            let valid = serde_json::from_str::<serde_json::Value>(line).is_ok();
            let outcome = decode(Format::JsonLog, line);
            assert_eq!(outcome.rejected.is_empty(), valid, "{name}: {line}");
            for line in outcome.logs.iter().filter(|_| valid) {
                assert_ne!(line.event_time.as_millis(), KAFKA_TIME, "{name}: {line:?}");
                good += 1;
            }
        }
        assert!(good > 2, "{name}: {good}");
    }
    let Some(text) = sample("samples/beats/filebeat_nginx_error.json") else { return };
    let documents: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for document in documents {
        let outcome = decode(Format::Auto, &document.to_string());
        assert_eq!(outcome.logs.len(), 1, "{document}");
        assert!(outcome.logs[0].level >= Level::Warn, "{document}");
        assert_eq!(Some(&*outcome.logs[0].message), document["message"].as_str());
    }
}

/// Levels and times of plain logs, counted over whole files.
#[test]
fn plain_logs() {
    for (name, with_time, level) in [
        ("Zookeeper", true, Level::Warn),
        ("Hadoop", true, Level::Error),
        ("HDFS", false, Level::Warn),
        ("Apache", false, Level::Error),
        ("BGL", false, Level::Fatal),
    ] {
        let Some(text) = sample(&format!("loghub/{name}/{name}_2k.log")) else { continue };
        let (mut lines, mut levels, mut times) = (0, 0, 0);
        for text in text.lines().filter(|line| !line.trim().is_empty()) {
            let outcome = decode(Format::Auto, text);
            assert_eq!((outcome.logs.len(), outcome.rejected.len()), (1, 0), "{text}");
            lines += 1;
            levels += usize::from(outcome.logs[0].level == level);
            times += usize::from(outcome.logs[0].event_time.as_millis() != KAFKA_TIME);
        }
        let named = text.lines().filter(|line| spells(line, level)).count();
        assert_eq!(times, if with_time { lines } else { 0 }, "{name}");
        assert!(
            levels.abs_diff(named) * 50 <= lines,
            "{name}: {levels} lines are {level}, {named} of {lines} spell it"
        );
    }
}

/// Whether a line has the level among its first words, as a person would look for it.
fn spells(line: &str, level: Level) -> bool {
    let words = line.split_whitespace().take(9);
    words.map(|word| word.trim_matches(['[', ']', ':'])).any(|word| match level {
        Level::Warn => word == "WARN",
        Level::Error => word == "ERROR" || word == "error",
        Level::Fatal => word == "FATAL",
        _ => false,
    })
}

#[test]
fn line_protocol_files() {
    for name in ["cpu", "disk", "mem", "docker"] {
        let Some(text) = sample(&format!("samples/telegraf/{name}.influx")) else { continue };
        let whole = decode(Format::InfluxLine, &text);
        assert_eq!(whole.rejected, [], "{name}");
        // Each line for itself gives what all give together; one of texts only gives nothing.
        let mut alone = Vec::new();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let seen = decode(Format::InfluxLine, line);
            assert!(seen.rejected.is_empty() && seen.points.len() <= 1, "{line}");
            alone.extend(seen.points);
        }
        assert_eq!(whole.points, alone, "{name}");
        assert!(!alone.is_empty(), "{name}");
        assert!(alone.iter().all(|point| point.measurement.starts_with(name)), "{name}");
    }
}

#[test]
fn syslog_files() {
    let file = |name: &str| sample(&format!("samples/syslog/{name}.txt"));
    for name in ["rfc5424_octet_counting", "rfc5424_newline_framed", "rfc5424_udp"] {
        let Some(text) = file(name) else { continue };
        let seen = decode(Format::Syslog, &text);
        assert_eq!((seen.logs.len(), seen.rejected.len()), (1, 0), "{name}: {seen:?}");
        // What Telegraf makes of the same message.
        let line = &seen.logs[0];
        assert_eq!(line.event_time.as_millis(), 1_456_029_177_000, "{name}");
        assert_eq!((&*line.host, &*line.service, line.level), ("web1", "someservice", Level::Info));
        assert!(line.message.starts_with("\"GET /v1/ok HTTP/1.1\" 200 145"), "{name}: {line:?}");
        let extra: serde_json::Value = serde_json::from_str(&line.extra).unwrap();
        let data = &extra["log.syslog.structured_data"];
        assert_eq!((&data["origin"], &data["meta"]["sequence"]), (&json!({}), &json!("14125553")));
        assert_eq!(extra["process.pid"], json!("2341"), "{name}");
        assert_eq!(extra["log.syslog.msgid"], json!("2"), "{name}");
    }
    if let Some(text) = file("rfc5424_two_newline_framed") {
        assert_eq!(decode(Format::Syslog, &text).logs.len(), 2);
    }
    if let Some(text) = file("rfc5424_octet_counting_utf8") {
        assert_eq!(&*decode(Format::Syslog, &text).logs[0].message, "hell\u{f8}");
    }
    if let Some(text) = file("rfc3164_udp") {
        let seen = decode(Format::Syslog, &text);
        let line = &seen.logs[0];
        // Kafka's time of the records here is in November 2023, and so the year is.
        assert_eq!(line.event_time.as_millis(), 1_701_534_663_000);
        assert_eq!((&*line.host, &*line.service, &*line.message), ("host", "app", "Test"));
    }
}

#[test]
fn otlp_files() {
    let file = |name: &str| sample(&format!("samples/otlp/{name}.json"));
    for format in [Format::Otlp, Format::Auto] {
        if let Some(text) = file("metrics") {
            let seen = decode(format, text.trim());
            assert_eq!(seen.rejected, []);
            let names: Vec<_> = seen.points.iter().map(|point| &*point.measurement).collect();
            let written = ["my.counter", "my.gauge", "my.histogram", "my.exponential.histogram"];
            assert_eq!(names, written);
            assert!(
                seen.points.iter().all(|p| p.labels.ends_with("service=my.service")),
                "{seen:?}"
            );
            assert!(seen.points.iter().all(|p| p.millis == 1_544_712_660_300), "{seen:?}");
        }
        if let Some(text) = file("fluentbit_metrics_snake_case") {
            let seen = decode(format, text.trim());
            assert_eq!(seen.points.len(), 1, "{seen:?}");
            assert_eq!(seen.points[0].fields, [("value".to_owned(), 42.0)]);
            assert_eq!(seen.points[0].labels, "service=checkout,service.instance.id=instance-1");
        }
        for name in ["logs", "fluentbit_logs", "fluentbit_logs_batch"] {
            let Some(text) = file(name) else { continue };
            let seen = decode(format, text.trim());
            let written = text.matches("\"body\"").count();
            assert_eq!((seen.logs.len(), seen.rejected.len()), (written, 0), "{name}: {seen:?}");
            assert!(seen.logs.iter().all(|line| !line.message.is_empty()), "{name}");
        }
    }
}

#[test]
fn ecs_files() {
    let Some(text) = sample("samples/beats/filebeat_nginx_error.json") else { return };
    let documents: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for document in documents {
        let seen = decode(Format::EcsJson, &document.to_string());
        assert_eq!((&*seen.logs[0].service, &*seen.logs[0].host), ("nginx", "web-1"), "{document}");
        assert!(seen.logs[0].level >= Level::Warn, "{document}");
    }
}

/// A stack trace as one record: whole, with the time of its first line.
#[test]
fn stack_traces() {
    let Some(text) = sample("samples/fluentbit/multiline_stack_traces.log") else { return };
    let mut source = SourceFormat::new("logs", Format::TextLog);
    source.patterns.time_format = Some(TimeFormat::new("%b %d %H:%M:%S").unwrap());
    let start = text.find("Dec 14").unwrap();
    let end = text.find("\nanother line").unwrap();
    let record = &text[start..end];
    let seen = decode_with(&source, record.as_bytes());
    assert_eq!(&*seen.logs[0].message, record);
    assert_eq!(seen.logs[0].event_time.as_millis(), 1_702_536_068_000);
    assert!(record.lines().count() > 3);
}
