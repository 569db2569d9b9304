//! `tidewatch query` asks the store of a pipeline at work on a real Kafka: metrics, log lines and incidents.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidewatch_testkit::kafka::{Broker, Message};
use tidewatch_testkit::{Program, unique, wait_for};

const WITHIN: Duration = Duration::from_secs(90);
/// How long the hosts are observed.
const SECONDS: u64 = 120;

fn query(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.arg("query").args(args).current_dir(folder).output().unwrap()
}

fn json(folder: &Path, args: &[&str]) -> Vec<Value> {
    let args = [args, &["--json", "--limit", "10000"]].concat();
    let output = query(folder, &args);
    match serde_json::from_slice(&output.stdout) {
        Ok(Value::Array(found)) => found,
        _ => Vec::new(),
    }
}

fn told(folder: &Path, args: &[&str]) -> String {
    let output = query(folder, args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Host `b` is busy all the time, and logs an error every ten seconds.
fn fill(broker: &Broker, cpu: &str, logs: &str, start: u64) {
    let (mut metrics, mut lines) = (Vec::new(), Vec::new());
    for second in 0..SECONDS {
        let millis = start + second * 1_000;
        for (host, busy) in [("a", 10.0), ("b", 95.0)] {
            let text = format!(
                r#"{{"fields":{{"usage_active":{busy}}},"name":"cpu","tags":{{"cpu":"cpu-total","host":"{host}"}},"timestamp":{millis}}}"#
            );
            metrics.push(Message { key: Some(host.into()), value: text, ..Message::default() });
        }
        if second % 10 == 0 {
            let text = format!(
                r#"{{"@timestamp":{millis},"level":"error","host":"b","service":"shop","message":"payment {second} timed out"}}"#
            );
            lines.push(Message { key: Some("b".into()), value: text, ..Message::default() });
        }
    }
    broker.produce(cpu, &metrics).unwrap();
    broker.produce(logs, &lines).unwrap();
}

#[test]
fn the_store_is_asked_while_the_pipeline_writes_to_it() {
    let Some(broker) = Broker::shared() else { return };
    let (cpu, logs) = (unique("cpu"), unique("logs"));
    broker.create_topic(&cpu, 1).unwrap();
    broker.create_topic(&logs, 1).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let start = (now - 600_000) / 60_000 * 60_000;
    fill(broker, &cpu, &logs, start);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = format!(
        r#"
[kafka]
brokers = ["{}"]
[[sources]]
topic = "{cpu}"
format = "telegraf_json"
[[sources]]
topic = "{logs}"
format = "json_log"
[time]
start = "earliest"
idle_timeout = "1s"
[[statistics]]
name = "cpu"
measurement = "cpu"
field = "usage_active"
where = {{ cpu = "cpu-total" }}
group_by = ["host"]
windows = [{{ size = "10s" }}]
[[rules]]
name = "busy"
kind = "sustained"
measurement = "cpu"
field = "usage_active"
where = {{ cpu = "cpu-total" }}
group_by = ["host"]
above = 90.0
for = "1m"
gap_tolerance = "1h"
[sinks.sqlite]
path = "store.db"
[http]
listen = "127.0.0.1:{}"
"#,
        broker.bootstrap(),
        tidewatch_testkit::free_ports(1),
    );
    std::fs::write(folder.join("tidewatch.toml"), file).unwrap();
    let early = query(folder, &["metrics"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&early.stderr).contains("has the pipeline run yet"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    let program = Program(command.arg("run").current_dir(folder).spawn().unwrap());
    let complete = wait_for(WITHIN, || {
        let all = json(folder, &["metrics", "cpu", "--host", "a"]).len() == 12
            && json(folder, &["metrics", "cpu", "--host", "b"]).len() == 12
            && json(folder, &["logs"]).len() == 12
            && json(folder, &["alerts"]).len() == 1;
        all.then_some(())
    });
    assert!(complete.is_some(), "{}{}", told(folder, &["metrics"]), told(folder, &["logs"]));

    let points = json(folder, &["metrics", "--host", "b", "--label", "window=10s"]);
    let times: Vec<u64> = points.iter().map(|p| p["time"].as_u64().unwrap()).collect();
    assert_eq!(times, (1..=12).map(|n| start + n * 10_000).collect::<Vec<_>>());
    assert!(points.iter().all(|p| p["fields"]["mean"] == 95.0 && p["labels"]["host"] == "b"));
    let table = told(folder, &["metrics", "cpu", "--host", "b", "--limit", "3"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("count=10 max=95 mean=95 min=95"), "{table}");

    assert_eq!(json(folder, &["logs", "--search", "level:fatal timed"]).len(), 0);
    assert_eq!(json(folder, &["logs", "--search", "level:error timed out shop"]).len(), 12);
    let one = told(folder, &["logs", "--search", "payment 50"]);
    assert!(one.contains("ERROR  b     shop     payment 50 timed out"), "{one}");
    assert_eq!(told(folder, &["logs", "--host", "a"]), "nothing was found\n");
    let middle = (start + 60_000) / 1_000;
    let since = format!("{}", jiff::Timestamp::from_second(middle as i64).unwrap());
    assert_eq!(json(folder, &["logs", "--since", &since]).len(), 6);
    assert_eq!(json(folder, &["logs", "--until", &since]).len(), 6);

    let alerts = json(folder, &["alerts", "--open", "--search", "busy"]);
    assert_eq!(alerts[0]["group"]["host"], "b");
    let table = told(folder, &["alerts", "--database", "store.db"]);
    assert!(table.contains("busy  host=b  open "), "{table}");
    drop(program);
    assert_eq!(json(folder, &["alerts"]).len(), 1, "also when it is not at work");
    let wrong = query(folder, &["alerts", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
}
