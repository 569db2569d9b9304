//! What is under `deploy/`, without any server: files parse, and every file, port, topic, variable and name that one of
//! them speaks of is there. What can be executed is executed by the service test `service_deploy`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cluster;
mod compose;
mod grafana;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize as _;
use serde_json::Value;

/// Every file that is shipped. A new one needs a test, and then its line here.
const FILES: [&str; 39] = [
    "Dockerfile",
    "collectd/tidewatch.conf",
    "collectd/tidewatch.toml",
    "compose.yaml",
    "compose/create-topics.sh",
    "compose/hosts",
    "compose/tidewatch.toml",
    "filebeat/filebeat.yml",
    "grafana/dashboards/alerts.json",
    "grafana/dashboards/fleet.json",
    "grafana/dashboards/host.json",
    "grafana/dashboards/logs.json",
    "grafana/dashboards/self.json",
    "grafana/provisioning/dashboards/tidewatch.yaml",
    "grafana/provisioning/datasources/tidewatch.yaml",
    "healthcheck.sh",
    "kibana/tidewatch.ndjson",
    "kubernetes/disruption.yaml",
    "kubernetes/hosts",
    "kubernetes/kustomization.yaml",
    "kubernetes/networkpolicy.yaml",
    "kubernetes/secret.yaml",
    "kubernetes/service.yaml",
    "kubernetes/servicemonitor.yaml",
    "kubernetes/statefulset.yaml",
    "kubernetes/tidewatch.toml",
    "kubernetes/topics.yaml",
    "logstash/pipeline/tidewatch.conf",
    "prometheus/prometheus.yml",
    "prometheus/rules.yaml",
    "prometheus/rules_test.yaml",
    "rsyslog/60-tidewatch.conf",
    "rsyslog/61-tidewatch-syslog.conf",
    "rsyslog/tidewatch.toml",
    "systemd/tidewatch.service",
    "systemd/tidewatch@.service",
    "telegraf/telegraf.conf",
    "tidewatch.toml",
    "vector/vector.yaml",
];

/// Pieces of pipeline files, to be put behind the rest.
const PIECES: [&str; 2] = ["collectd/tidewatch.toml", "rsyslog/tidewatch.toml"];

/// The folder that is shipped.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy")
}

fn read(path: &str) -> String {
    let path = folder().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let parsed = documents.map(|document| {
        let mut value = serde_yaml_ng::Value::deserialize(document)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        value.apply_merge().unwrap();
        serde_json::to_value(value).unwrap()
    });
    parsed.collect()
}

fn toml_of(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts of a list.
fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// The names of variables `${NAME}` and `${NAME:…}` in a text, without those that have a default.
fn variables(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let named =
        code.flat_map(|line| line.split("${").skip(1).filter_map(|rest| rest.split_once('}')));
    let bare = named
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    bare.map(str::to_owned).collect()
}

/// The names of environment variables that a pipeline file takes secrets from.
fn secrets(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let named =
        lines.flat_map(|line| line.split("env = \"").skip(1).filter_map(|r| r.split_once('"')));
    named.map(|(name, _)| name.to_owned()).collect()
}

/// Whether the program understands these arguments: the help that is asked for at their end comes.
fn understands(arguments: &[String]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    let output = command.args(arguments).arg("--help").output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, root, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_file_is_known_to_a_test() {
    let mut found = BTreeSet::new();
    walk(&folder(), &folder(), &mut found);
    let known: BTreeSet<String> = FILES.iter().map(|&file| file.to_owned()).collect();
    assert_eq!(found, known, "each file under deploy/ has a line in FILES, and a test");
}

#[test]
fn every_yaml_file_parses() {
    for file in FILES.iter().filter(|file| file.ends_with(".yaml") || file.ends_with(".yml")) {
        assert!(!yaml(file).is_empty(), "{file} is empty");
    }
}

#[test]
fn pipeline_files_pass_check_and_compute_the_same() {
    let is_whole = |file: &&&str| file.ends_with(".toml") && !PIECES.contains(*file);
    let mut files: Vec<PathBuf> = FILES.iter().filter(is_whole).map(|f| folder().join(f)).collect();
    // With its pieces, each file is one as well.
    let pieces = PIECES.map(read).concat();
    let longer = tempfile::tempdir().unwrap();
    for whole in ["tidewatch.toml", "compose/tidewatch.toml"] {
        let file = longer.path().join(whole.replace('/', "-"));
        fs::write(&file, read(whole) + &pieces).unwrap();
        files.push(file);
    }
    for file in files {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        let output = command.args(["check", "-c"]).arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: {told}", file.display());
    }
    let (compose, kubernetes) =
        (toml_of("compose/tidewatch.toml"), toml_of("kubernetes/tidewatch.toml"));
    for part in ["sources", "time", "statistics", "rules", "dead_letters"] {
        assert_eq!(compose[part], kubernetes[part], "[{part}]");
    }
}

#[test]
fn the_dashboards_statistics_are_in_every_pipeline_file() {
    for file in ["tidewatch.toml", "compose/tidewatch.toml", "kubernetes/tidewatch.toml"] {
        let pipeline = toml_of(file);
        let statistics = pipeline["statistics"].as_array().unwrap();
        for name in ["cpu", "memory", "disk", "log_rate"] {
            let has_window = |statistic: &&toml::Value| {
                let windows = statistic["windows"].as_array().unwrap();
                statistic["name"].as_str() == Some(name)
                    && windows.iter().any(|w| w["size"].as_str() == Some("10s"))
            };
            assert!(statistics.iter().any(|s| has_window(&s)), "{file}: `{name}` over 10 s");
        }
    }
}

#[test]
fn producers_write_to_the_topics_that_are_read() {
    let pipeline: toml::Table =
        (read("compose/tidewatch.toml") + &PIECES.map(read).concat()).parse().unwrap();
    let sources = pipeline["sources"].as_array().unwrap();
    let read_topics: BTreeSet<&str> =
        sources.iter().map(|s| s["topic"].as_str().unwrap()).collect();
    let metrics: &[&str] = &["cpu-usage", "memory-usage", "disk-usage"];
    let logs: &[&str] = &["server-logs"];
    for (file, topics) in [
        ("telegraf/telegraf.conf", metrics),
        ("collectd/tidewatch.conf", metrics),
        ("logstash/pipeline/tidewatch.conf", logs),
        ("filebeat/filebeat.yml", logs),
        ("vector/vector.yaml", logs),
        ("rsyslog/60-tidewatch.conf", logs),
        ("rsyslog/61-tidewatch-syslog.conf", &["syslog"]),
    ] {
        let text = read(file);
        for topic in topics {
            assert!(read_topics.contains(topic) && text.contains(topic), "{file}: `{topic}`");
        }
        // Each says at its top how its brokers are given.
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.contains("KAFKA_BROKERS") || head.contains("brokers"), "{file}: {head}");
    }
}

#[test]
fn logstash_filebeat_and_vector_hang_together() {
    // None of the three can be run here: their own structure is all that can be checked.
    let logstash = read("logstash/pipeline/tidewatch.conf");
    let code: String = logstash.lines().filter(|l| !l.trim_start().starts_with('#')).collect();
    for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
        // The pattern of grok escapes the brackets that it looks for.
        let code = code.replace("\\[", "").replace("\\]", "");
        assert_eq!(code.matches(open).count(), code.matches(close).count(), "{open}{close}");
    }
    for section in ["input {", "filter {", "output {"] {
        assert!(logstash.contains(section), "{section}");
    }
    let filebeat = &yaml("filebeat/filebeat.yml")[0];
    assert_eq!(filebeat["output.kafka"]["topic"], "server-logs");
    assert_eq!(filebeat["filebeat.inputs"][0]["type"], "filestream");
    assert!(filebeat["filebeat.inputs"][0]["id"].is_string(), "a filestream needs an id");
    let vector = &yaml("vector/vector.yaml")[0];
    let (sources, transforms) = (&vector["sources"], &vector["transforms"]);
    for part in [transforms, &vector["sinks"]] {
        for (name, part) in part.as_object().unwrap() {
            for input in texts(&part["inputs"]) {
                let known = !sources[&input].is_null() || !transforms[&input].is_null();
                assert!(known, "vector: `{name}` reads `{input}`");
            }
        }
    }
}

#[test]
fn scripts_parse() {
    for (shell, file) in [("sh", "compose/create-topics.sh"), ("bash", "healthcheck.sh")] {
        let output = Command::new(shell).arg("-n").arg(folder().join(file)).output().unwrap();
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
