//! Files of real messages from a folder beside the project, where there is one. Not part of a clone, so
//! a machine without the folder passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod codec_util;

use std::path::Path;

use codec_util::{KAFKA_TIME, decode};
use tidewatch_connectors::codec::Format;
use tidewatch_dataflow::record::Level;

/// The text of a sample.
fn sample(name: &str) -> Option<String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let bytes = std::fs::read(beside.join("shared/data").join(name)).ok()?;
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
