//! A real one-node Elasticsearch without security and licences.
//!
//! It is the distribution's own integration-test build: it has indexes, bulk,
//! templates, search and data streams (made by the first bulk `create`), but
//! no scripts, no ingest processors and no `GET /`: probe `_cluster/health`.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use serde_json::Value;

use crate::{
    Error, Result, Service, cache,
    http::{Response, client},
    policy::{fail, require},
    ports::free_ports,
    process::Process,
    run_folder::RunFolder,
    wait::retry_on_taken_port,
};

/// How long a start may take: 15 CPU seconds, on cores that others use too.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How long the launcher may take to notice that its server has gone.
const LAUNCHER_LIMIT: Duration = Duration::from_secs(20);
/// The user it runs as when we are root, whom it refuses: nobody.
const NOBODY: u32 = 65534;

/// A running node; ended when dropped.
#[derive(Debug)]
pub struct Elastic {
    // Before the folder: the process has to be gone when its files are removed.
    process: Process,
    folder: RunFolder,
    home: PathBuf,
    port: u16,
}

impl Elastic {
    /// Starts a node with empty data.
    ///
    /// # Errors
    /// If it is not in the cache, Java is missing, or it does not answer.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a node with further lines of `elasticsearch.yml`, such as
    /// `("indexing_pressure.memory.limit", "64kb")`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let home = Service::Elasticsearch.installed()?;
        if geteuid().is_root() && !cache::traversable_by_all(&home) {
            let reason = "Elasticsearch runs as another user than root, who cannot enter it; \
                          set TIDEWATCH_CACHE to a folder that all users can enter";
            return Err(Error::Cache { path: home, reason: reason.into() });
        }
        retry_on_taken_port(|| {
            let folder = RunFolder::new("elasticsearch")?;
            let port = free_ports(1);
            configure(&home, &folder, port, settings)?;
            let process = launch(&home, &folder)?;
            let mut elastic = Self { process, folder, home: home.clone(), port };
            elastic.wait_ready()?;
            Ok(elastic)
        })
    }

    /// The node that all tests of this binary share, or `None` when the
    /// calling test has to be skipped.
    ///
    /// # Panics
    /// If it does not start, or is missing where it must not be.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Elastic> = OnceLock::new();
        require(Service::Elasticsearch)?;
        Some(SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| fail(&error.to_string()))))
    }

    /// Its address, such as `http://127.0.0.1:9200`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends one request; `path` starts with a slash, an empty body is no body.
    ///
    /// # Errors
    /// If the node can't be reached. A status outside 2xx is an answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<Response> {
        let url = format!("{}{path}", self.url());
        let json = [("content-type", "application/json")];
        let headers: &[_] = if body.is_empty() { &[] } else { &json };
        client::request(method, &url, headers, body.as_bytes())
    }

    /// All documents of an index or pattern (at most 10,000), each as the
    /// search returns it: `_index`, `_id`, `_source`. Makes writes visible first.
    ///
    /// # Errors
    /// If the index does not exist, or the node refuses.
    pub fn documents(&self, index: &str) -> Result<Vec<Value>> {
        let refused = |reason: String| Error::Refused {
            server: "elasticsearch",
            action: format!("search `{index}`"),
            reason,
        };
        let refresh = self.request("POST", &format!("/{index}/_refresh"), "")?;
        let path = format!("/{index}/_search?size=10000");
        let found = self.request("GET", &path, "")?;
        for answer in [&refresh, &found] {
            if !answer.is_success() {
                return Err(refused(format!("status {}: {}", answer.status, answer.body)));
            }
        }
        let body: Value = serde_json::from_str(&found.body)
            .map_err(|error| refused(format!("{error}: {}", found.body)))?;
        Ok(body["hits"]["hits"].as_array().cloned().unwrap_or_default())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // The server is a child of the process that we started; its launcher
        // follows it. Killing only the launcher would leave the server alone
        // for two seconds.
        if let Some(server) = server_pid(&self.folder) {
            let _ = kill(server, Signal::SIGKILL);
            self.process.ends_within(LAUNCHER_LIMIT);
        }
        self.process.kill();
    }

    /// Starts it again, at the same address and with its data; ends it first
    /// if it is running.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = launch(&self.home, &self.folder)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let health = format!("{}/_cluster/health?wait_for_status=yellow&timeout=1s", self.url());
        self.process.wait_ready(START_LIMIT, || match client::get(&health, &[]) {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(format!("status {}: {}", answer.status, answer.body)),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Elastic {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The process id that the server wrote about itself.
fn server_pid(folder: &RunFolder) -> Option<Pid> {
    let text = fs::read_to_string(folder.path().join("tmp/pid")).ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

fn configure(home: &Path, folder: &RunFolder, port: u16, settings: &[(&str, &str)]) -> Result<()> {
    let config = folder.folder("config")?;
    let (data, logs) = (folder.folder("data")?, folder.folder("logs")?);
    folder.folder("tmp")?;
    folder.folder("config/jvm.options.d")?;
    let source = home.join("config");
    for entry in fs::read_dir(&source).map_err(Error::io(format!("list `{}`", source.display())))? {
        let entry = entry.map_err(Error::io(format!("list `{}`", source.display())))?;
        if entry.path().is_file() {
            let copied = fs::copy(entry.path(), config.join(entry.file_name()));
            copied.map_err(Error::io(format!("copy `{}`", entry.path().display())))?;
        }
    }
    let mut yaml = format!(
        "cluster.name: test\n\
         node.name: test\n\
         discovery.type: single-node\n\
         network.host: 127.0.0.1\n\
         http.port: {port}\n\
         transport.port: 0\n\
         path.data: {}\n\
         path.logs: {}\n\
         xpack.security.enabled: false\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n",
        data.display(),
        logs.display()
    );
    for (key, value) in settings {
        yaml.push_str(&format!("{key}: {value}\n"));
    }
    folder.write("config/elasticsearch.yml", yaml)?;
    // Quick to start, on two cores and without a garbage collector's log.
    let options = config.join("jvm.options");
    let text =
        fs::read_to_string(&options).map_err(Error::io(format!("read `{}`", options.display())))?;
    let wanted = |line: &&str| !line.starts_with("-Xlog:gc") && !line.contains("UseG1GC");
    let text = text.lines().filter(wanted).collect::<Vec<_>>().join("\n");
    folder.write("config/jvm.options", text)?;
    folder.write(
        "config/jvm.options.d/fast.options",
        "-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n-Xms256m\n-Xmx256m\n",
    )?;
    if geteuid().is_root() { folder.give_to(NOBODY) } else { Ok(()) }
}

fn launch(home: &Path, folder: &RunFolder) -> Result<Process> {
    let tmp = folder.path().join("tmp");
    // Left from a server that was killed; a new one writes its own.
    let _ = fs::remove_file(tmp.join("pid"));
    let mut command = Command::new(home.join("bin/elasticsearch"));
    command.arg("-p").arg(tmp.join("pid")).current_dir(folder.path());
    command.env("ES_PATH_CONF", folder.path().join("config"));
    command.env("ES_TMPDIR", &tmp).env("HOME", &tmp);
    command.env("ES_JAVA_HOME", java_home()?).env("CLI_JAVA_OPTS", "-XX:TieredStopAtLevel=1");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Process::start("elasticsearch", command, &folder.path().join("log"))
}

/// The folder of the Java that is on the `PATH`: it has none of its own.
fn java_home() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let java = std::env::split_paths(&path).map(|folder| folder.join("java"));
    let java = java.filter_map(|java| java.canonicalize().ok()).find(|java| java.is_file());
    java.as_deref()
        .and_then(|java| java.parent()?.parent())
        .map(Path::to_path_buf)
        .ok_or(Error::Missing { server: "java" })
}
