//! The program against real servers: a known set of messages through a real Kafka gives exactly the
//! expected points in InfluxDB, documents in Elasticsearch and alerts at every channel, whatever the
//! number of workers and processes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says how far it got"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewatch_testkit::elasticsearch::Elastic;
use tidewatch_testkit::http::{PagerDutyFake, SlackFake};
use tidewatch_testkit::influxdb::Influx;
use tidewatch_testkit::kafka::{Broker, Message};
use tidewatch_testkit::smtp::{MailServer, Security};
use tidewatch_testkit::{Program, free_ports, unique, wait_for};

/// How long a run may take to read, compute and write everything.
const WITHIN: Duration = Duration::from_secs(90);
const HOSTS: usize = 6;
const SECONDS: u64 = 600;

/// The messages of a run: topic suffix, host, value.
struct Input {
    /// A whole minute about a quarter of an hour ago, in milliseconds.
    start: u64,
}

impl Input {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        Input { start: (now - 900_000) / 60_000 * 60_000 }
    }

    /// The processor of a host at a second: host 1 stays above 90 for 400 s, host 2 for 299 s.
    fn cpu(host: usize, second: u64) -> f64 {
        let hot = match host {
            1 => (100..=500).contains(&second),
            2 => (100..=399).contains(&second),
            _ => false,
        };
        if hot {
            95.0 + (second % 3) as f64 * 0.1
        } else {
            20.0 + ((host as u64 * 7 + second) % 50) as f64 * 0.37
        }
    }

    fn cpu_messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        for second in 0..SECONDS {
            // A little out of order: every third second comes after the next one.
            let second = if second % 3 == 0 {
                (second + 1).min(SECONDS - 1)
            } else if second % 3 == 1 {
                second - 1
            } else {
                second
            };
            for host in 0..HOSTS {
                let (value, time) = (Self::cpu(host, second), self.start + second * 1_000);
                messages.push(Message {
                    partition: Some((host % 4) as i32),
                    key: Some(format!("host-{host}")),
                    value: format!(
                        "{{\"fields\":{{\"usage_active\":{value},\"usage_idle\":{}}},\"name\":\"cpu\",\"tags\":{{\"cpu\":\"cpu-total\",\"host\":\"host-{host}\"}},\"timestamp\":{time}}}\n",
                        100.0 - value
                    ),
                    timestamp: Some(time as i64),
                });
            }
        }
        messages
    }

    /// Bare percentages, keyed by host, and one that is none.
    fn memory_messages(&self) -> Vec<Message> {
        let mut messages: Vec<_> = (0..SECONDS / 10)
            .map(|step| Message {
                partition: Some(0),
                key: Some("server-1".to_owned()),
                value: format!("{}%", 40 + step % 7),
                timestamp: Some((self.start + step * 10_000) as i64),
            })
            .collect();
        messages.push(Message {
            partition: Some(0),
            key: Some("server-1".to_owned()),
            value: "lots".to_owned(),
            timestamp: Some((self.start + SECONDS * 1_000) as i64),
        });
        messages
    }

    /// One line a second of `web`, and 30 errors of `pay` within 15 s.
    fn log_messages(&self) -> Vec<Message> {
        let line = |service: &str, level: &str, millis: u64, text: String| Message {
            partition: None,
            key: Some(service.to_owned()),
            value: format!(
                "{{\"@timestamp\":{},\"level\":\"{level}\",\"host\":\"host-0\",\"service\":\"{service}\",\"message\":\"{text}\"}}",
                self.start + millis
            ),
            timestamp: Some((self.start + millis) as i64),
        };
        let web = (0..SECONDS).map(|s| line("web", "INFO", s * 1_000, format!("request {s}")));
        let pay = (0..30).map(|i| line("pay", "ERROR", 200_000 + i * 500, format!("refused {i}")));
        web.chain(pay).collect()
    }

    /// Count, minimum and maximum of every window of the processor, by window and host.
    fn windows(&self) -> BTreeMap<(String, String, u64), (u64, f64, f64)> {
        let mut windows = BTreeMap::new();
        for host in 0..HOSTS {
            for second in 0..SECONDS {
                let (time, value) = (self.start + second * 1_000, Self::cpu(host, second));
                for (label, size) in [("10s", 10_000), ("1m/10s", 60_000)] {
                    let mut start = time - time % 10_000;
                    while start + size > time {
                        let key = (label.to_owned(), format!("host-{host}"), start + size);
                        let (count, min, max) =
                            windows.entry(key).or_insert((0, f64::INFINITY, f64::NEG_INFINITY));
                        (*count, *min, *max) =
                            (*count + 1, f64::min(*min, value), f64::max(*max, value));
                        start -= 10_000;
                    }
                }
            }
        }
        windows
    }
}

/// The servers of all runs.
struct Servers {
    broker: &'static Broker,
    influx: &'static Influx,
    elastic: &'static Elastic,
}

/// What one run left behind, in comparable form: floats as the stores print them.
#[derive(Debug, PartialEq)]
struct Left {
    points: BTreeMap<(String, String, u64), BTreeMap<String, String>>,
    /// Those of long windows, in a bucket of their own.
    long_points: BTreeMap<(String, String, u64), BTreeMap<String, String>>,
    /// As they were read, and those of a measurement that was not asked for.
    raw_points: BTreeMap<(String, String, u64), BTreeMap<String, String>>,
    raw_others: usize,
    memory_points: usize,
    documents: Vec<String>,
    pagerduty: Vec<String>,
    slack: usize,
    mails: Vec<String>,
    dead_letters: usize,
}

fn config(servers: &Servers, names: &Names, channels: &Channels, folder: &Path) -> String {
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, channels.mail.authority_pem().unwrap()).unwrap();
    format!(
        r#"
[kafka]
brokers = ["{brokers}"]
[[sources]]
topic = "{cpu}"
format = "telegraf_json"
[[sources]]
topic = "{memory}"
format = "value"
measurement = "memory"
field = "used"
[[sources]]
topic = "{logs}"
format = "json_log"
[time]
start = "earliest"
idle_timeout = "2s"
stale_after = "1d"
[[statistics]]
name = "cpu"
measurement = "cpu"
field = "usage_active"
where = {{ cpu = "cpu-total" }}
group_by = ["host"]
windows = [{{ size = "10s" }}, {{ size = "1m", slide = "10s" }}]
aggregates = ["count", "mean", "min", "max", "stddev"]
[[statistics]]
name = "memory"
measurement = "memory"
field = "used"
group_by = ["host"]
windows = [{{ size = "10s" }}]
aggregates = ["mean"]
[[rules]]
name = "cpu_sustained"
kind = "sustained"
measurement = "cpu"
field = "usage_active"
where = {{ cpu = "cpu-total" }}
group_by = ["host"]
above = 90.0
for = "5m"
severity = "critical"
receivers = ["oncall"]
[[rules]]
name = "error_burst"
kind = "error_burst"
group_by = ["service"]
window = "60s"
slide = "10s"
above = 20
receivers = ["oncall"]
[receivers.oncall]
console = true
slack = {{ webhook = {{ env = "TEST_SLACK" }} }}
email = {{ relay = "{mail_host}", port = {mail_port}, tls = "starttls", ca = "{ca}", username = "{mail_user}", password = {{ env = "TEST_SMTP" }}, from = "tidewatch@example.org", to = ["sre@example.org"] }}
pagerduty = {{ routing_key = {{ env = "TEST_PAGERDUTY" }}, url = "{pagerduty}" }}
[sinks.influxdb]
url = "{influx}"
org = "{org}"
bucket = "{bucket}"
token = {{ env = "TEST_INFLUX" }}
long_term = {{ bucket = "{bucket}-long", retention = "0s", least_window = "1m" }}
raw = {{ bucket = "{bucket}-raw", retention = "0s", measurements = ["cpu"] }}
[sinks.elasticsearch]
url = "{elastic}"
index = "{index}"
[dead_letters]
topic = "{letters}"
[http]
listen = "127.0.0.1:{port}"
"#,
        brokers = servers.broker.bootstrap(),
        cpu = names.cpu,
        memory = names.memory,
        logs = names.logs,
        letters = names.letters,
        mail_host = channels.mail.host(),
        mail_port = channels.mail.port(),
        mail_user = MailServer::USER,
        ca = ca.display(),
        pagerduty = channels.pagerduty.url(),
        influx = servers.influx.url(),
        org = Influx::ORG,
        bucket = names.bucket,
        elastic = servers.elastic.url(),
        index = names.index,
        // Processes of one run take this port and those after it.
        port = free_ports(2),
    )
}

struct Names {
    cpu: String,
    memory: String,
    logs: String,
    letters: String,
    bucket: String,
    index: String,
}

struct Channels {
    slack: SlackFake,
    pagerduty: PagerDutyFake,
    mail: MailServer,
}

fn points(
    servers: &Servers,
    names: &Names,
    measurement: &str,
) -> BTreeMap<(String, String, u64), BTreeMap<String, String>> {
    points_in(servers, &names.bucket, measurement)
}

fn points_in(
    servers: &Servers,
    bucket: &str,
    measurement: &str,
) -> BTreeMap<(String, String, u64), BTreeMap<String, String>> {
    let flux = format!(
        r#"from(bucket: "{bucket}") |> range(start: 0) |> filter(fn: (r) => r._measurement == "{measurement}")
           |> map(fn: (r) => ({{r with _ms: int(v: r._time) / 1000000}}))
           |> keep(columns: ["_ms", "_value", "_field", "host", "window"]) |> group()"#
    );
    let csv = servers.influx.query_csv(&flux).unwrap();
    let mut lines = csv.lines().map(str::trim).filter(|line| !line.is_empty());
    let header: Vec<_> = lines.next().unwrap_or_default().split(',').collect();
    let mut points: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for line in lines {
        let row: BTreeMap<_, _> = header.iter().copied().zip(line.split(',')).collect();
        // Points as they were read are of no window.
        let window = row.get("window").copied().unwrap_or_default();
        let key = (window.to_owned(), row["host"].to_owned(), row["_ms"].parse().unwrap());
        points.entry(key).or_default().insert(row["_field"].to_owned(), row["_value"].to_owned());
    }
    points
}

/// One run of the program over the topics of `names`.
fn run(servers: &Servers, mut names: Names, workers: u16, processes: u16, expected: usize) -> Left {
    names.bucket = unique("metrics");
    names.index = unique("logs");
    names.letters = unique("letters");
    servers.influx.create_bucket(&names.bucket).unwrap();
    servers.broker.create_topic(&names.letters, 1).unwrap();
    let channels = Channels {
        slack: SlackFake::start().unwrap(),
        pagerduty: PagerDutyFake::start().unwrap(),
        mail: MailServer::start(Security::StartTls).unwrap(),
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, config(servers, &names, &channels, folder.path())).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(["run", "-c"])
        .arg(&file)
        .args(["-w", &workers.to_string(), "-n", &processes.to_string()])
        .env("TEST_SLACK", channels.slack.url())
        .env("TEST_SMTP", MailServer::PASSWORD)
        .env("TEST_PAGERDUTY", PagerDutyFake::ROUTING_KEY)
        .env("TEST_INFLUX", Influx::TOKEN)
        .spawn()
        .unwrap();
    let program = Program(child);
    let index = format!("{}-*", names.index);
    let documents = || servers.elastic.documents(&index).unwrap_or_default();
    let began = Instant::now();
    let complete = wait_for(WITHIN, || {
        let all = points(servers, &names, "cpu").len() >= expected
            && points(servers, &names, "memory").len() >= 60
            && documents().len() >= 630
            && channels.pagerduty.events().len() >= 4
            && channels.slack.messages().len() >= 4
            && channels.mail.received().len() >= 4
            && !servers.broker.read_all(&names.letters).unwrap().is_empty();
        all.then_some(())
    });
    let mut state = String::new();
    write!(
        state,
        "-w {workers} -n {processes} after {:?}: {} points of {expected}, {} documents, {} events, {} messages, {} mails",
        began.elapsed(),
        points(servers, &names, "cpu").len(),
        documents().len(),
        channels.pagerduty.events().len(),
        channels.slack.messages().len(),
        channels.mail.received().len(),
    )
    .unwrap();
    eprintln!("{state}");
    complete.unwrap_or_else(|| panic!("not complete in time: {state}"));
    // Whatever came too much would come now.
    let status = program.terminate().unwrap();
    assert!(status.success(), "SIGTERM ends it well: {status}");
    let mut documents: Vec<_> = documents().iter().map(ToString::to_string).collect();
    documents.sort();
    let mut pagerduty: Vec<_> = channels
        .pagerduty
        .events()
        .iter()
        .map(|e| format!("{} {}", e["event_action"], e["dedup_key"]))
        .collect();
    pagerduty.sort();
    let mut mails: Vec<_> =
        channels.mail.received().iter().map(|m| m.subject().to_owned()).collect();
    mails.sort();
    Left {
        points: points(servers, &names, "cpu"),
        long_points: points_in(servers, &format!("{}-long", names.bucket), "cpu"),
        raw_points: points_in(servers, &format!("{}-raw", names.bucket), "cpu"),
        raw_others: points_in(servers, &format!("{}-raw", names.bucket), "memory").len(),
        memory_points: points(servers, &names, "memory").len(),
        documents: documents.into_iter().map(|d| d.replace(&names.index, "INDEX")).collect(),
        pagerduty,
        slack: channels.slack.messages().len(),
        mails,
        dead_letters: servers.broker.read_all(&names.letters).unwrap().len(),
    }
}

#[test]
fn the_same_exact_answer_for_every_number_of_workers_and_processes() {
    let (Some(broker), Some(influx), Some(elastic)) =
        (Broker::shared(), Influx::shared(), Elastic::shared())
    else {
        return;
    };
    let servers = Servers { broker, influx, elastic };
    let input = Input::new();
    let names = || Names {
        cpu: "cpu-usage".to_owned(),
        memory: "memory-usage".to_owned(),
        logs: "server-logs".to_owned(),
        letters: String::new(),
        bucket: String::new(),
        index: String::new(),
    };
    let topics = names();
    for (topic, messages) in [
        (&topics.cpu, input.cpu_messages()),
        (&topics.memory, input.memory_messages()),
        (&topics.logs, input.log_messages()),
    ] {
        broker.create_topic(topic, 4).unwrap();
        broker.produce(topic, &messages).unwrap();
    }
    let expected = input.windows();
    let first = run(&servers, names(), 1, 1, expected.len());

    // The points are those computed one by one from the messages.
    let found: Vec<_> = first.points.keys().collect();
    assert_eq!(found, expected.keys().collect::<Vec<_>>());
    for (key, (count, min, max)) in &expected {
        let point = &first.points[key];
        let number = |name: &str| point[name].parse::<f64>().unwrap();
        assert_eq!(
            (number("count"), number("min"), number("max")),
            (*count as f64, *min, *max),
            "{key:?}"
        );
    }
    let mut long = first.points.clone();
    long.retain(|(window, _, _), _| window == "1m/10s");
    assert_eq!(first.long_points, long);
    assert_eq!((first.raw_points.len(), first.raw_others), (HOSTS * SECONDS as usize, 0));
    for ((_, host, time), fields) in &first.raw_points {
        let number = |name: &str| fields[name].parse::<f64>().unwrap();
        let host = host.trim_start_matches("host-").parse().unwrap();
        let value = Input::cpu(host, (time - input.start) / 1_000);
        assert_eq!((number("usage_active"), number("usage_idle")), (value, 100.0 - value));
    }
    assert_eq!(first.memory_points, 60);
    assert_eq!(first.documents.len(), 630);
    assert_eq!(first.dead_letters, 1, "`lots` is no number");
    // Host 1 and service pay: one opening and one end each, at every channel.
    assert_eq!(first.slack, 4);
    assert_eq!(first.mails.len(), 4);
    let actions = |action: &str| first.pagerduty.iter().filter(|e| e.contains(action)).count();
    assert_eq!((actions("trigger"), actions("resolve")), (2, 2), "{:?}", first.pagerduty);

    for (workers, processes) in [(2, 1), (1, 2), (2, 2)] {
        let other = run(&servers, names(), workers, processes, expected.len());
        assert_eq!(other, first, "-w {workers} -n {processes}");
    }
}
