//! What a run of the program needs around it: servers, channels, names, and its configuration.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidewatch_testkit::elasticsearch::Elastic;
use tidewatch_testkit::http::{PagerDutyFake, SlackFake};
use tidewatch_testkit::influxdb::Influx;
use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::smtp::{MailServer, Security};
use tidewatch_testkit::{Service, require, unique, wait_for};

use crate::fleet::{OUT_OF_ORDERNESS, Topic};
use crate::random::Random;
use crate::state::State;

/// The real servers, shared by both runs.
pub struct Servers {
    /// Locked while it is being restarted.
    pub broker: Mutex<Broker>,
    /// Where it is, whether it is there or not.
    pub bootstrap: String,
    pub influx: Influx,
    pub elastic: Elastic,
}

impl Servers {
    /// Starts all of them at once; `None` when one is missing and the test has been reported as skipped.
    pub fn start() -> Option<Self> {
        for service in [Service::Kafka, Service::InfluxDb, Service::Elasticsearch, Service::Smtp] {
            require(service)?;
        }
        Some(std::thread::scope(|scope| {
            let elastic = scope.spawn(|| Elastic::start().unwrap());
            let influx = scope.spawn(|| Influx::start().unwrap());
            let broker = scope.spawn(|| Broker::start().unwrap());
            let broker = broker.join().unwrap();
            for topic in Topic::ALL {
                broker.create_topic(topic.name(), topic.partitions()).unwrap();
            }
            let (influx, elastic) = (influx.join().unwrap(), elastic.join().unwrap());
            let bootstrap = broker.bootstrap();
            Servers { broker: Mutex::new(broker), bootstrap, influx, elastic }
        }))
    }
}

/// The channels of one run.
pub struct Channels {
    pub slack: SlackFake,
    pub pagerduty: PagerDutyFake,
    pub mail: MailServer,
}

impl Channels {
    pub fn start() -> Self {
        Channels {
            slack: SlackFake::start().unwrap(),
            pagerduty: PagerDutyFake::start().unwrap(),
            mail: MailServer::start(Security::StartTls).unwrap(),
        }
    }

    /// How many messages each has taken: Slack, PagerDuty, mail.
    pub fn counts(&self) -> [usize; 3] {
        [self.slack.messages().len(), self.pagerduty.events().len(), self.mail.received().len()]
    }
}

/// Where one run writes to.
pub struct Names {
    pub bucket: String,
    pub index: String,
    pub alerts: String,
    pub letters: String,
}

impl Names {
    /// Names that nobody else uses; bucket and topic are created.
    pub fn create(servers: &Servers, run: &str) -> Self {
        let names = Names {
            bucket: unique(&format!("{run}-metrics")),
            index: unique(&format!("{run}-logs")),
            alerts: unique(&format!("{run}-alerts")),
            letters: unique(&format!("{run}-letters")),
        };
        servers.influx.create_bucket(&names.bucket).unwrap();
        servers.broker.lock().unwrap().create_topic(&names.letters, 1).unwrap();
        names
    }
}

/// Stands in a configuration for the port of the metrics.
pub const PORT: &str = "PORT";

/// What differs between runs in their configuration.
pub struct Setting<'a> {
    pub influx: &'a str,
    pub elastic: &'a str,
    /// How much each store's queue holds, and what stands behind it.
    pub influx_queue: &'a str,
    pub elastic_queue: &'a str,
    /// Where it keeps its state, and how often.
    pub state: &'a State,
    pub interval: &'a str,
    /// How long a partition may be silent before time goes on without it.
    pub idle_timeout: &'a str,
}

/// The pipeline file of a run, with [`PORT`] to be filled in.
pub fn config(
    servers: &Servers,
    names: &Names,
    channels: &Channels,
    setting: &Setting<'_>,
    folder: &Path,
) -> String {
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, channels.mail.authority_pem().unwrap()).unwrap();
    format!(
        r#"
[kafka]
brokers = ["{brokers}"]
[[sources]]
topic = "cpu-usage"
format = "telegraf_json"
[[sources]]
topic = "memory-usage"
format = "value"
measurement = "memory"
field = "used"
[[sources]]
topic = "server-logs"
format = "json_log"
[time]
start = "earliest"
out_of_orderness = "{OUT_OF_ORDERNESS}s"
allowed_lateness = "30s"
idle_timeout = "{idle_timeout}"
stale_after = "365d"    # event times lie hours in the past
[checkpoint]
{state}
interval = "{interval}"
[[statistics]]
name = "cpu"
measurement = "cpu"
field = "usage_active"
where = {{ cpu = "cpu-total" }}
group_by = ["host"]
windows = [{{ size = "10s" }}, {{ size = "1m", slide = "30s" }}]
aggregates = ["count", "mean", "min", "max", "stddev"]
[[statistics]]
name = "memory"
measurement = "memory"
field = "used"
group_by = ["host"]
windows = [{{ size = "30s" }}]
aggregates = ["mean", "count"]
[[rules]]
name = "cpu_sustained"
kind = "sustained"
measurement = "cpu"
field = "usage_active"
where = {{ cpu = "cpu-total" }}
group_by = ["host"]
above = 90.0
for = "1m"
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
[[rules]]
name = "memory_anomaly"
kind = "anomaly"
measurement = "memory"
field = "used"
group_by = ["host"]
min_deviation = 10.0
for = "20s"
receivers = ["oncall"]
[receivers.oncall]
slack = {{ webhook = {{ env = "TEST_SLACK" }} }}
email = {{ relay = "{mail_host}", port = {mail_port}, tls = "starttls", ca = "{ca}", username = "{mail_user}", password = {{ env = "TEST_SMTP" }}, from = "tidewatch@example.org", to = ["sre@example.org"] }}
pagerduty = {{ routing_key = {{ env = "TEST_PAGERDUTY" }}, url = "{pagerduty}" }}
[sinks.influxdb]
url = "{influx}"
org = "{org}"
bucket = "{bucket}"
token = {{ env = "TEST_INFLUX" }}
{influx_queue}
[sinks.elasticsearch]
url = "{elastic}"
index = "{index}"
alerts = "{alerts}"
{elastic_queue}
[dead_letters]
topic = "{letters}"
[http]
listen = "127.0.0.1:{PORT}"
"#,
        brokers = servers.bootstrap,
        mail_host = channels.mail.host(),
        mail_port = channels.mail.port(),
        mail_user = MailServer::USER,
        ca = ca.display(),
        pagerduty = channels.pagerduty.url(),
        influx = setting.influx,
        org = Influx::ORG,
        bucket = names.bucket,
        influx_queue = setting.influx_queue,
        elastic_queue = setting.elastic_queue,
        state = setting.state.setting(),
        interval = setting.interval,
        idle_timeout = setting.idle_timeout,
        elastic = setting.elastic,
        index = names.index,
        alerts = names.alerts,
        letters = names.letters,
    )
}

/// The secrets that the configuration names.
pub fn secrets(channels: &Channels) -> Vec<(String, String)> {
    let secrets = [
        ("TEST_SLACK", channels.slack.url()),
        ("TEST_SMTP", MailServer::PASSWORD.to_owned()),
        ("TEST_PAGERDUTY", PagerDutyFake::ROUTING_KEY.to_owned()),
        ("TEST_INFLUX", Influx::TOKEN.to_owned()),
    ];
    secrets.map(|(name, secret)| (name.to_owned(), secret)).into()
}

/// A port such that it and the next one are free now, and stay so: the kernel gives neither to anybody who
/// asks for any port, as every client does.
pub fn free_ports() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap();
    let least = 1_100;
    assert!(first > least + 100, "no ports are left between {least} and the kernel's own");
    let mut random = Random::new(u64::from(std::process::id()) ^ NEXT.fetch_add(1, Relaxed) << 32);
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port)).ok();
    wait_for(Duration::from_secs(10), || {
        let port = least + random.below(u64::from(first - least - 1)) as u16;
        (bind(port).is_some() && bind(port + 1).is_some()).then_some(port)
    })
    .unwrap()
}

/// Makes the ports of a process differ.
static NEXT: AtomicU64 = AtomicU64::new(0);
