//! Telegraf, rsyslog and collectd with the shipped configurations, on a machine whose processors burn, and what became of
//! their data.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::{free_ports, wait_for};

use crate::prometheus::named;
use crate::world::{Program, World, deploy, now, replaced, shipped};

/// The names that the producers give to this machine.
pub const TELEGRAF_HOST: &str = "telegraf-host";
/// The rule for its processors.
pub const TELEGRAF_RULE: &str = "telegraf_cpu_sustained";
/// The errors that are written to the followed file.
const ERRORS: usize = 40;
/// Lines of each kind that a device sends.
const SENT: usize = 30;
/// The statistics of collectd's values.
const COLLECTD: [&str; 3] = ["collectd_cpu", "collectd_memory", "collectd_disk"];

/// What the shipped configurations of producers add to a pipeline file, and the rule of `compose` for Telegraf's host. Nobody
/// waits for five minutes.
pub fn pipeline() -> String {
    let soon = ("for = \"5m\"", "for = \"5s\"");
    let collectd = replaced(&shipped("collectd/tidewatch.toml"), &[soon]);
    let compose = shipped("compose/tidewatch.toml");
    let rule = compose.split("\n\n").find(|rule| rule.contains("\"cpu_sustained\""));
    let of_telegraf = format!("where = {{ host = \"{TELEGRAF_HOST}\", ");
    let changes = [soon, ("cpu_sustained", TELEGRAF_RULE), ("where = { ", &of_telegraf)];
    let telegraf = replaced(rule.unwrap(), &changes);
    [&collectd, &telegraf, "\n\n", &shipped("rsyslog/tidewatch.toml")].concat()
}

/// All processors of this machine at work, as niced processes: whoever has something to do goes first, and idle they are not.
struct Burner(Vec<Program>);

impl Burner {
    fn start(folder: &Path) -> Self {
        let processors = thread::available_parallelism().unwrap().get();
        let burn = |processor| {
            let mut command = Command::new("nice");
            command.args(["-n", "19", "bash", "-c", "while :; do :; done"]);
            Program::start(&format!("burner-{processor}"), &mut command, folder)
        };
        Burner((0..processors).map(burn).collect())
    }
}

/// The running ones.
pub struct Producers {
    agents: Vec<Program>,
    burner: Burner,
}

impl Producers {
    /// Starts all three.
    pub fn start(telegraf: &Path, agents: &Path, broker: &Broker, folder: &Path) -> Self {
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
        let includes = ["60-tidewatch.conf", "61-tidewatch-syslog.conf"].map(|file| {
            format!("include(file=\"{}\")\n", deploy().join("rsyslog").join(file).display())
        });
        let config = format!("global(workDirectory=\"{}\")\n{}", own.display(), includes.concat());
        fs::write(own.join("rsyslog.conf"), config).unwrap();
        let mut command = Command::new(named(agents, "rsyslogd"));
        command.arg("-n").arg("-i").arg(own.join("pid")).arg("-f").arg(own.join("rsyslog.conf"));
        command.env("KAFKA_BROKERS", &brokers).env("APP_LOGS", logs.join("*.log"));
        let port = free_ports(1);
        command.env("SYSLOG_PORT", port.to_string()).env("TZ", "UTC");
        let rsyslog = Program::start("rsyslog", &mut command, folder);
        send_syslog(port);

        let own = folder.join("collectd");
        fs::create_dir(&own).unwrap();
        let config =
            replaced(&shipped("collectd/tidewatch.conf"), &[("kafka-1:9092", brokers.as_str())]);
        let config = format!(
            "BaseDir \"{0}\"\nPIDFile \"{0}/pid\"\nHostname \"collectd-host\"\nFQDNLookup false\n{config}",
            own.display()
        );
        fs::write(own.join("collectd.conf"), config).unwrap();
        let mut command = Command::new(named(agents, "collectd"));
        command.arg("-f").arg("-C").arg(own.join("collectd.conf"));
        let collectd = Program::start("collectd", &mut command, folder);
        let agents = vec![telegraf, rsyslog, collectd];
        Producers { agents, burner: Burner::start(folder) }
    }

    /// Lets the processors cool down.
    pub fn cool(&mut self) {
        self.burner.0.clear();
    }

    /// The end of what each wrote.
    pub fn tail(&self) -> String {
        self.agents.iter().chain(&self.burner.0).map(Program::tail).collect::<Vec<_>>().join("\n")
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

/// Sends what a device would, in both forms of syslog: errors of `switchd`, and notices of `dhcpd`.
fn send_syslog(port: u16) {
    let connected =
        wait_for(Duration::from_secs(30), || TcpStream::connect(("127.0.0.1", port)).ok());
    let mut stream = connected.unwrap_or_else(|| panic!("rsyslog does not listen on {port}"));
    let second = jiff::Timestamp::from_millisecond(i64::try_from(now()).unwrap()).unwrap();
    for i in 0..SENT {
        let old = second.strftime("%b %e %H:%M:%S");
        writeln!(stream, "<27>{old} switch-7 switchd[41]: port {i} is down").unwrap();
        let new = second.strftime("%Y-%m-%dT%H:%M:%S.250Z");
        writeln!(stream, "<29>1 {new} switch-7 dhcpd 77 - [lease@1 n=\"{i}\"] given").unwrap();
    }
}

/// What has not arrived yet.
pub fn missing(world: &World) -> Vec<String> {
    let mut missing = Vec::new();
    for measurement in ["cpu", "memory"] {
        if windows_of(world, measurement, TELEGRAF_HOST, 3.0) < 2 {
            missing.push(format!("two windows of Telegraf's {measurement}"));
        }
    }
    if lines_of(world, "billing").len() < ERRORS + 2 {
        missing.push("all lines of rsyslog".to_owned());
    }
    for statistic in COLLECTD {
        if windows_of(world, statistic, "collectd-host", 3.0) < 2 {
            missing.push(format!("two windows of {statistic}"));
        }
    }
    for service in ["switchd", "dhcpd"] {
        if lines_of(world, service).len() < SENT {
            missing.push(format!("all lines of {service}"));
        }
    }
    missing
}

/// How many windows of `host` have at least so many samples.
fn windows_of(world: &World, measurement: &str, host: &str, samples: f64) -> usize {
    let flux = format!(
        r#"from(bucket: "tidewatch") |> range(start: -15m)
           |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "count")
           |> filter(fn: (r) => r.window == "10s" and r.host == "{host}" and r._value >= {samples:?})"#
    );
    let csv = world.influx.query_csv(&flux).unwrap();
    csv.lines().filter(|line| line.contains(host)).count()
}

fn lines_of(world: &World, service: &str) -> Vec<Value> {
    let documents = world.elastic.documents("tidewatch-logs-*").unwrap_or_default();
    documents.into_iter().filter(|d| d["_source"]["service"]["name"] == service).collect()
}

/// What became of it, to the letter.
pub fn check(world: &World, faults: &mut Vec<String>) {
    let lines = lines_of(world, "billing");
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
    for (service, level) in [("switchd", "ERROR"), ("dhcpd", "INFO")] {
        let lines = lines_of(world, service);
        let is_right = |line: &&Value| {
            let source = &line["_source"];
            source["log"]["level"] == level && source["host"]["name"] == "switch-7"
        };
        if lines.len() != SENT || !lines.iter().all(|line| is_right(&line)) {
            faults.push(format!(
                "rsyslog: {} lines of {service}, one is {:?}",
                lines.len(),
                lines.first()
            ));
        }
    }
    // Nothing of all this is unreadable.
    let letters = world.broker.read_all("tidewatch-dead-letters").unwrap();
    for letter in letters.iter().take(3) {
        faults.push(format!("a dead letter: {}", letter.value));
    }
}
