//! One Kafka process: its settings, its folder, and how it is started and ended.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, id},
    time::Duration,
};

use super::client;
use crate::{Result, Service, process::Process, run_folder::RunFolder};

/// How long a start may take: a second or two on an idle machine, but the
/// tests of a build share their two cores with compilers.
const START_LIMIT: Duration = Duration::from_secs(180);

/// The lines of `server.properties`, without those that name folders.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    lines: BTreeMap<String, String>,
    port: u16,
    /// Of the first controller: what the cluster's id is made of.
    controller: u16,
}

impl Settings {
    /// Of node `id`, counted from 1, with a plain listener on `port`, in a cluster whose controllers listen
    /// on `controllers`.
    ///
    /// A node that was killed may register again only once its old session has ended, hence the short one.
    pub(super) fn new(id: usize, port: u16, controllers: &[u16]) -> Self {
        let own = controllers.get(id - 1).copied().unwrap_or_default();
        let voters = (1..).zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}"));
        let voters = voters.collect::<Vec<_>>().join(",");
        let (id, copies) = (id.to_string(), controllers.len().to_string());
        let lines = [
            ("process.roles", "broker,controller"),
            ("node.id", &id),
            ("controller.quorum.voters", &voters),
            ("listeners", &format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{own}")),
            ("advertised.listeners", &format!("PLAINTEXT://127.0.0.1:{port}")),
            ("controller.listener.names", "CONTROLLER"),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("auto.create.topics.enable", "false"),
            ("offsets.topic.replication.factor", &copies),
            ("offsets.topic.num.partitions", "1"),
            ("transaction.state.log.replication.factor", &copies),
            ("transaction.state.log.num.partitions", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
            // A broker that was killed forgets producers whose newest record is older, by the record's own time: what
            // tests write lies days in the past, and a batch sent again would then stand in the log twice.
            ("producer.id.expiration.ms", "2147483647"),
            ("broker.session.timeout.ms", "4000"),
            ("broker.heartbeat.interval.ms", "500"),
        ];
        let lines = lines.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let controller = controllers.first().copied().unwrap_or_default();
        Settings { lines: lines.into(), port, controller }
    }

    /// Adds a line, or replaces it.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.lines.insert(key.to_owned(), value.to_owned());
    }

    /// Adds a further client listener to a list that begins with the plain one.
    pub(super) fn listen(&mut self, name: &str, protocol: &str, port: u16) {
        for (key, addition) in [
            ("listeners", format!(",{name}://127.0.0.1:{port}")),
            ("advertised.listeners", format!(",{name}://127.0.0.1:{port}")),
            ("listener.security.protocol.map", format!(",{name}:{protocol}")),
        ] {
            self.lines.entry(key.to_owned()).or_default().push_str(&addition);
        }
    }

    /// 16 bytes in URL-safe base64 without padding: here only digits, which is
    /// base64 as well. The last character may only be one that leaves no bits over.
    fn cluster_id(&self) -> String {
        format!("{:010}{:05}{:06}A", id(), self.controller, 0)
    }
}

/// A node; ended when dropped.
#[derive(Debug)]
pub(super) struct Node {
    // Before the folder: the process has to be gone when its files are removed.
    process: Option<Process>,
    folder: RunFolder,
    libs: PathBuf,
    port: u16,
    cluster_id: String,
}

/// A data folder being prepared.
#[derive(Debug)]
pub(super) struct Formatting(Process);

impl Formatting {
    /// Waits for its end. What went wrong shows when the node is started.
    pub(super) fn end(mut self) -> Result<()> {
        if !self.0.ends_within(START_LIMIT) {
            self.0.kill();
        }
        Ok(())
    }
}

impl Node {
    /// A node that does not run yet.
    pub(super) fn make(settings: &Settings) -> Result<Self> {
        Self::make_in(RunFolder::new("kafka")?, settings)
    }

    /// A node in a folder that has files of its own already.
    pub(super) fn make_in(folder: RunFolder, settings: &Settings) -> Result<Self> {
        let libs = Service::Kafka.installed()?.join("libs");
        let mut lines = settings.lines.clone();
        lines.insert("log.dirs".to_owned(), folder.folder("data")?.display().to_string());
        let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        folder.write("server.properties", text)?;
        let cluster_id = settings.cluster_id();
        Ok(Self { process: None, folder, libs, port: settings.port, cluster_id })
    }

    /// Begins to prepare its data folder; `further` are arguments of the tool that does it.
    pub(super) fn format(&self, further: &[&str]) -> Result<Formatting> {
        let mut arguments = vec!["kafka.tools.StorageTool", "format", "-t", &self.cluster_id];
        arguments.extend(further);
        arguments.push("-c");
        Ok(Formatting(launch(&self.libs, &self.folder, &arguments)?))
    }

    /// Starts it; ends it first if it is running.
    pub(super) fn start(&mut self) -> Result<()> {
        self.kill();
        self.process = Some(launch(&self.libs, &self.folder, &["kafka.Kafka"])?);
        Ok(())
    }

    /// Waits until it answers and knows `brokers` brokers, itself included.
    pub(super) fn wait_ready(&mut self, brokers: usize) -> Result<()> {
        let bootstrap = self.bootstrap();
        match &mut self.process {
            Some(process) => {
                process.wait_ready(START_LIMIT, || client::answers(&bootstrap, brokers))
            }
            None => Ok(()),
        }
    }

    /// Where clients connect, as `host:port`.
    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Shuts it down in order.
    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
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
