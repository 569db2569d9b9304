//! The servers, the program and the producers of the one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewatch_testkit::elasticsearch::Elastic;
use tidewatch_testkit::influxdb::Influx;
use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::smtp::{MailServer, Security};
use tidewatch_testkit::{Service, free_ports, require, wait_for};

use crate::producers::{self, Producers};
use crate::{history, prometheus};

/// How long everything may take to arrive.
const WITHIN: Duration = Duration::from_secs(90);

/// The folder that is shipped.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy")
}

/// A shipped file.
pub fn shipped(path: &str) -> String {
    let path = deploy().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `text` with each `from`, which has to be there, replaced.
pub fn replaced(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "`{from}` has gone from the shipped file");
        text.replace(from, to)
    })
}

/// A program that ends with its value.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it with its output in `folder`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = fs::File::create(&log).unwrap();
        let errors = output.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        Program { child: child.unwrap_or_else(|error| panic!("{name}: {error}")), log }
    }

    /// The end of what it wrote.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Asked first, so that members and helpers end with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        if wait_for(Duration::from_secs(15), || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Everything. The order is that in which it ends.
pub struct World {
    pub producers: Producers,
    pub prometheus: prometheus::Server,
    program: Program,
    pub mail: MailServer,
    pub influx: Influx,
    pub elastic: Elastic,
    _burner: history::Burner,
    pub broker: Arc<Broker>,
    pub port: u16,
    _folder: tempfile::TempDir,
    /// The beginning of the history, in milliseconds.
    pub start: u64,
}

/// Now, in milliseconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

impl World {
    /// Starts all of it and waits until everything has arrived; `None` where something is missing.
    pub fn start() -> Option<World> {
        for service in [Service::Kafka, Service::InfluxDb, Service::Elasticsearch, Service::Smtp] {
            require(service)?;
        }
        let telegraf = require(Service::Telegraf)?;
        let (agents, watcher) = (require(Service::Agents)?, require(Service::Prometheus)?);
        let elastic = thread::spawn(|| Elastic::start().unwrap());
        let influx = thread::spawn(|| Influx::start().unwrap());
        let broker = Broker::start().unwrap();
        let text = shipped("compose/tidewatch.toml") + &producers::pipeline();
        let pipeline: toml::Table = text.parse().unwrap();
        let sources = pipeline["sources"].as_array().unwrap();
        for topic in sources.iter().map(|source| source["topic"].as_str().unwrap()) {
            broker.create_topic(topic, 4).unwrap();
        }
        broker.create_topic("tidewatch-dead-letters", 1).unwrap();
        let start = (now() - history::SECONDS * 1_000) / 1_000 * 1_000;
        history::write(&broker, start);
        let broker = Arc::new(broker);
        let burner = history::Burner::start(&broker);
        let (influx, elastic) = (influx.join().unwrap(), elastic.join().unwrap());
        influx.create_bucket("tidewatch").unwrap();

        let folder = tempfile::tempdir().unwrap();
        let mail = MailServer::start(Security::Plain).unwrap();
        let port = free_ports(1);
        let with_login = format!(
            "tls = \"none\"\nusername = \"{}\"\npassword = {{ env = \"TEST_SMTP\" }}",
            MailServer::USER
        );
        let config = replaced(
            &text,
            &[
                (
                    r#"["kafka-1:9092", "kafka-2:9092", "kafka-3:9092"]"#,
                    &format!("[\"{}\"]", broker.bootstrap()),
                ),
                ("http://influxdb:8086", &influx.url()),
                ("http://elasticsearch:9200", &elastic.url()),
                ("\"0.0.0.0:9464\"", &format!("\"127.0.0.1:{port}\"")),
                ("/var/lib/tidewatch/state", &folder.path().join("state").display().to_string()),
                ("relay = \"mail\"", &format!("relay = \"{}\"", mail.host())),
                ("port = 1025", &format!("port = {}", mail.port())),
                // The test's server lets nobody in without a name.
                ("tls = \"none\"", &with_login),
                // Partitions without a producer must not hold this short run up.
                ("idle_timeout = \"30s\"", "idle_timeout = \"2s\""),
            ],
        );
        let file = folder.path().join("tidewatch.toml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        command.args(["run", "-w", "2", "-c"]).arg(&file).env("INFLUX_TOKEN", Influx::TOKEN);
        command.env("TEST_SMTP", MailServer::PASSWORD);
        let program = Program::start("tidewatch", &mut command, folder.path());
        let prometheus = prometheus::Server::start(&watcher, port, folder.path());
        let producers = Producers::start(&telegraf, &agents, &broker, folder.path());
        let mut world = World {
            producers,
            prometheus,
            program,
            mail,
            influx,
            elastic,
            _burner: burner,
            broker,
            port,
            _folder: folder,
            start,
        };
        world.settle();
        world.producers.cool();
        Some(world)
    }

    /// Waits until everything has arrived.
    fn settle(&self) {
        let mut missing = Vec::new();
        let settled = wait_for(WITHIN, || {
            missing = self.missing();
            missing.is_empty().then_some(())
        });
        let logs = [self.program.tail(), self.producers.tail()].join("\n");
        assert!(settled.is_some(), "after {WITHIN:?} not there: {missing:?}\n{logs}");
    }

    /// What has not arrived yet.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let alerts = self.alerts();
        for (rule, who, action) in [
            ("cpu_sustained", "web-2", "opened"),
            ("cpu_sustained", "db-1", "ended"),
            ("error_burst", "pay", "ended"),
            ("error_burst", "billing", "opened"),
            ("error_burst", "switchd", "opened"),
            ("collectd_cpu_sustained", "collectd-host", "opened"),
            (producers::TELEGRAF_RULE, producers::TELEGRAF_HOST, "opened"),
        ] {
            let wanted = (rule.to_owned(), who.to_owned(), action.to_owned());
            if !alerts.contains(&wanted) {
                missing.push(format!("{wanted:?} in Elasticsearch"));
            }
        }
        missing.extend(producers::missing(self));
        if self.prometheus.samples() < 12 {
            missing.push("twelve scrapes of Prometheus".to_owned());
        }
        if self.mail.received().len() < 6 {
            missing.push("mails about four openings and two ends".to_owned());
        }
        missing
    }

    /// Rule, host or service, and action of every alert in Elasticsearch.
    fn alerts(&self) -> Vec<(String, String, String)> {
        let documents = self.elastic.documents("tidewatch-alerts-*").unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let alert = |document: &serde_json::Value| {
            let source = &document["_source"];
            let who = text(&source["host"]["name"]) + &text(&source["service"]["name"]);
            (text(&source["rule"]["name"]), who, text(&source["event"]["action"]))
        };
        documents.iter().map(alert).collect()
    }
}
