//! A real Prometheus that scrapes nothing and takes remote write.

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    Error, Result, Service, http::client, ports::free_ports, process::Process,
    run_folder::RunFolder, wait::retry_on_taken_port,
};

/// How long a start may take: a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server; ended when dropped. Its data survive [`kill`](Self::kill) and
/// [`restart`](Self::restart).
#[derive(Debug)]
pub struct Prometheus {
    // Before the folder: the process has to be gone when its files are removed.
    process: Process,
    folder: RunFolder,
    program: PathBuf,
    port: u16,
}

impl Prometheus {
    /// Starts a server with empty data; `window` is its `out_of_order_time_window`, `0s` for none.
    ///
    /// # Errors
    /// If it is not in the cache, or does not answer.
    pub fn start(window: &str) -> Result<Self> {
        let program = Service::Prometheus.program("prometheus")?;
        retry_on_taken_port(|| {
            let folder = RunFolder::new("prometheus")?;
            let config = format!("storage:\n  tsdb:\n    out_of_order_time_window: {window}\n");
            folder.write("prometheus.yml", config)?;
            let port = free_ports(1);
            let process = launch(&program, &folder, port)?;
            let mut prometheus = Self { process, folder, program: program.clone(), port };
            prometheus.wait_ready()?;
            Ok(prometheus)
        })
    }

    /// Where it takes remote write.
    #[must_use]
    pub fn write_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/write", self.port)
    }

    /// All samples of the series that `selector` matches over `range` before `end`, in seconds: `result` of
    /// an instant query for a range.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    pub fn samples(&self, selector: &str, range: &str, end: u64) -> Result<Vec<Value>> {
        let query = client::encoded(&format!("{selector}[{range}]"));
        let url = format!("http://127.0.0.1:{}/api/v1/query?query={query}&time={end}", self.port);
        let answer = client::get(&url, &[])?;
        let refused = |reason: String| Error::Refused {
            server: "prometheus",
            action: format!("query `{selector}`"),
            reason,
        };
        let body: Value = serde_json::from_str(&answer.body)
            .map_err(|error| refused(format!("{error}: {}", answer.body)))?;
        let found = body["data"]["result"].as_array().cloned();
        found.ok_or_else(|| refused(answer.body))
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, at the same address and with its data; ends it first
    /// if it is running.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = launch(&self.program, &self.folder, self.port)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let ready = format!("http://127.0.0.1:{}/-/ready", self.port);
        self.process.wait_answering(START_LIMIT, &ready)
    }
}

fn launch(program: &PathBuf, folder: &RunFolder, port: u16) -> Result<Process> {
    let at = folder.path();
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", at.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", at.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    // The tests write a fixed day, which may be long ago.
    command.arg("--storage.tsdb.retention.time=100y");
    command.arg("--web.enable-remote-write-receiver").current_dir(at);
    Process::start("prometheus", command, &at.join("log"))
}
