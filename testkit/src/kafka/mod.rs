//! A real one-node Apache Kafka (KRaft: broker and controller in one process).
//!
//! Topics are never created by using them (`auto.create.topics.enable=false`),
//! so that a misspelt one is an error.

mod client;

use std::{
    path::{Path, PathBuf},
    process::{Command, id},
    sync::OnceLock,
    time::Duration,
};

pub use client::{Message, Record};

use crate::{
    Result, Service,
    policy::{fail, require},
    process::Process,
    run_folder::RunFolder,
    wait::{free_port, retry_on_taken_port},
};

/// How long a start may take: a second or two on an idle machine, but the
/// tests of a build share their two cores with compilers.
const START_LIMIT: Duration = Duration::from_secs(180);

/// A running broker; ended when dropped.
#[derive(Debug)]
pub struct Broker {
    // Before the folder: the process has to be gone when its files are removed.
    process: Process,
    folder: RunFolder,
    libs: PathBuf,
    port: u16,
}

impl Broker {
    /// Starts a broker with empty data.
    ///
    /// # Errors
    /// If it is not in the cache, Java is missing, or it does not answer.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a broker with further lines of `server.properties`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let libs = Service::Kafka.installed()?.join("libs");
        retry_on_taken_port(|| Self::start_once(&libs, settings))
    }

    /// The broker that all tests of this binary share, or `None` when the
    /// calling test has to be skipped.
    ///
    /// # Panics
    /// If it does not start, or is missing where it must not be.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        require(Service::Kafka)?;
        Some(SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| fail(&error.to_string()))))
    }

    fn start_once(libs: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = RunFolder::new("kafka")?;
        let (port, controller) = (free_port()?, free_port()?);
        let mut properties = properties(port, controller, &folder.folder("data")?);
        for (key, value) in settings {
            properties.push_str(&format!("{key}={value}\n"));
        }
        folder.write("server.properties", properties)?;

        let format = ["kafka.tools.StorageTool", "format", "-t", &cluster_id(port), "-c"];
        let mut formatting = launch(libs, &folder, &format)?;
        if !formatting.ends_within(START_LIMIT) {
            formatting.kill();
        }
        let process = launch(libs, &folder, &["kafka.Kafka"])?;
        let mut broker = Self { process, folder, libs: libs.to_owned(), port };
        broker.wait_ready()?;
        Ok(broker)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let bootstrap = self.bootstrap();
        self.process.wait_ready(START_LIMIT, || client::answers(&bootstrap))
    }

    /// Where clients connect first, as `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a crash or a loss of power to the process would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Shuts it down in order, as an upgrade would.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again, at the same address and with its data; ends it first
    /// if it is running.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = launch(&self.libs, &self.folder, &["kafka.Kafka"])?;
        self.wait_ready()
    }
}

/// A Java program of the broker's, on its configuration.
fn launch(libs: &Path, folder: &RunFolder, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new("java");
    // Small, and quick to start rather than quick in the long run.
    command.args(["-Xms128m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.arg("-cp").arg(libs.join("*")).args(arguments);
    command.arg(folder.path().join("server.properties")).current_dir(folder.path());
    Process::start("kafka", command, &folder.path().join("log"))
}

/// A node that was killed may register again only once its old session has
/// ended, hence the short one.
fn properties(port: u16, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.num.partitions=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.session.timeout.ms=4000\n\
         broker.heartbeat.interval.ms=500\n",
        data.display()
    )
}

/// 16 bytes in URL-safe base64 without padding: here only digits, which is
/// base64 as well. The last character may only be one that leaves no bits over.
fn cluster_id(port: u16) -> String {
    format!("{:010}{port:05}{:06}A", id(), 0)
}
