//! Telegraf, rsyslog and collectd with the shipped configurations, and what became of their data.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidewatch_testkit::kafka::Broker;

use crate::prometheus::named;
use crate::world::{Program, World, deploy, replaced, shipped};

/// The names that the producers give to this machine.
const TELEGRAF_HOST: &str = "telegraf-host";
/// The errors that are written to the followed file.
const ERRORS: usize = 40;
/// The topics of collectd, which no source reads.
const COLLECTD: [(&str, &str); 3] = [
    ("collectd-cpu-usage", "cpu"),
    ("collectd-memory-usage", "memory"),
    ("collectd-disk-usage", "df"),
];

/// The running ones.
pub struct Producers(Vec<Program>);

impl Producers {
    /// Starts all three.
    pub fn start(telegraf: &Path, agents: &Path, broker: &Broker, folder: &Path) -> Self {
        for (topic, _) in COLLECTD {
            broker.create_topic(topic, 1).unwrap();
        }
        let brokers = broker.bootstrap();
        let mut command = Command::new(telegraf.join("telegraf"));
        command.arg("--config").arg(deploy().join("telegraf/telegraf.conf"));
        command.env("KAFKA_BROKERS", &brokers).env("TELEGRAF_HOSTNAME", TELEGRAF_HOST);
        let telegraf = Program::start("telegraf", &mut command, folder);

        let logs = folder.join("app");
        fs::create_dir(&logs).unwrap();
        write_log(&logs.join("billing.log"));
        let own = folder.join("rsyslog");
        fs::create_dir(&own).unwrap();
        let include = deploy().join("rsyslog/60-tidewatch.conf");
        let config = format!(
            "global(workDirectory=\"{}\")\ninclude(file=\"{}\")\n",
            own.display(),
            include.display()
        );
        fs::write(own.join("rsyslog.conf"), config).unwrap();
        let mut command = Command::new(named(agents, "rsyslogd"));
        command.arg("-n").arg("-i").arg(own.join("pid")).arg("-f").arg(own.join("rsyslog.conf"));
        command.env("KAFKA_BROKERS", &brokers).env("APP_LOGS", logs.join("*.log"));
        let rsyslog = Program::start("rsyslog", &mut command, folder);

        let own = folder.join("collectd");
        fs::create_dir(&own).unwrap();
        let config = replaced(
            &shipped("collectd/tidewatch.conf"),
            &[
                ("kafka-1:9092", brokers.as_str()),
                ("cpu-usage", "collectd-cpu-usage"),
                ("memory-usage", "collectd-memory-usage"),
                ("disk-usage", "collectd-disk-usage"),
            ],
        );
        let config = format!(
            "BaseDir \"{0}\"\nPIDFile \"{0}/pid\"\nHostname \"collectd-host\"\nFQDNLookup false\n{config}",
            own.display()
        );
        fs::write(own.join("collectd.conf"), config).unwrap();
        let mut command = Command::new(named(agents, "collectd"));
        command.arg("-f").arg("-C").arg(own.join("collectd.conf"));
        let collectd = Program::start("collectd", &mut command, folder);
        Producers(vec![telegraf, rsyslog, collectd])
    }

    /// The end of what each wrote.
    pub fn tail(&self) -> String {
        self.0.iter().map(Program::tail).collect::<Vec<_>>().join("\n")
    }
}

/// A burst of errors, the first with a stack trace, and lines of other levels.
fn write_log(path: &Path) {
    let mut file = File::create(path).unwrap();
    writeln!(file, "2026-01-01 00:00:00,000 INFO [main] billing begins").unwrap();
    writeln!(file, "2026-01-01 00:00:00,500 ERROR [main] no connection: \"refused\"").unwrap();
    writeln!(file, "java.net.ConnectException: refused\n\tat billing.Main.run(Main.java:7)")
        .unwrap();
    for i in 1..ERRORS {
        writeln!(file, "2026-01-01 00:00:01,{i:03} ERROR [main] invoice {i} is lost").unwrap();
    }
    writeln!(file, "2026-01-01 00:00:02,000 WARN [main] giving up").unwrap();
}

/// What has not arrived yet.
pub fn missing(world: &World) -> Vec<String> {
    let mut missing = Vec::new();
    for measurement in ["cpu", "memory"] {
        if windows_of_telegraf(world, measurement) < 2 {
            missing.push(format!("two windows of Telegraf's {measurement}"));
        }
    }
    if lines_of_rsyslog(world).len() < ERRORS + 2 {
        missing.push("all lines of rsyslog".to_owned());
    }
    for (topic, _) in COLLECTD {
        if world.broker.read_all(topic).unwrap().is_empty() {
            missing.push(format!("collectd's {topic}"));
        }
    }
    missing
}

fn windows_of_telegraf(world: &World, measurement: &str) -> usize {
    let flux = format!(
        r#"from(bucket: "tidewatch") |> range(start: -15m)
           |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "count")
           |> filter(fn: (r) => r.window == "10s" and r.host == "{TELEGRAF_HOST}" and r._value >= 3.0)"#
    );
    let csv = world.influx.query_csv(&flux).unwrap();
    csv.lines().filter(|line| line.contains(TELEGRAF_HOST)).count()
}

fn lines_of_rsyslog(world: &World) -> Vec<Value> {
    let documents = world.elastic.documents("tidewatch-logs-*").unwrap_or_default();
    documents.into_iter().filter(|d| d["_source"]["service"]["name"] == "billing").collect()
}

/// What became of it, to the letter.
pub fn check(world: &World, faults: &mut Vec<String>) {
    let lines = lines_of_rsyslog(world);
    let of = |level: &str| lines.iter().filter(|d| d["_source"]["log"]["level"] == level).count();
    let counted = (of("INFO"), of("WARN"), of("ERROR"));
    if counted != (1, 1, ERRORS) {
        faults.push(format!("rsyslog: INFO, WARN, ERROR are {counted:?}"));
    }
    let traces =
        |d: &&Value| d["_source"]["message"].as_str().unwrap().contains("ConnectException");
    match lines.iter().find(traces) {
        Some(line) => {
            let text = line["_source"]["message"].as_str().unwrap();
            if !text.contains("no connection: \"refused\"") || !text.contains("Main.java:7") {
                faults.push(format!("rsyslog: a stack trace is not one record: {text}"));
            }
        }
        None => faults.push("rsyslog: the stack trace is missing".to_owned()),
    }
    for (topic, plugin) in COLLECTD {
        for record in world.broker.read_all(topic).unwrap() {
            let value: Value = serde_json::from_str(&record.value).unwrap_or_default();
            if value[0]["plugin"] != plugin || value[0]["host"] != "collectd-host" {
                faults.push(format!("collectd: {topic} has {}", record.value));
            }
        }
    }
    // Nothing of all this is unreadable.
    let letters = world.broker.read_all("tidewatch-dead-letters").unwrap();
    for letter in letters.iter().take(3) {
        faults.push(format!("a dead letter: {}", letter.value));
    }
}
