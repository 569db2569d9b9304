//! A real single-node VictoriaMetrics.

use std::{process::Command, time::Duration};

use serde_json::Value;

use crate::{
    Error, Result, Service, http::client, ports::free_ports, process::Process,
    run_folder::RunFolder, wait::retry_on_taken_port,
};

/// How long a start may take: half a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server; ended when dropped.
#[derive(Debug)]
pub struct Victoria {
    // Before the folder: the process has to be gone when its files are removed.
    process: Process,
    _folder: RunFolder,
    port: u16,
}

impl Victoria {
    /// Starts a server with empty data, which keeps everything.
    ///
    /// # Errors
    /// If it is not in the cache, or does not answer.
    pub fn start() -> Result<Self> {
        let program = Service::VictoriaMetrics.installed()?.join("victoria-metrics");
        retry_on_taken_port(|| {
            let folder = RunFolder::new("victoriametrics")?;
            let port = free_ports(1);
            let mut command = Command::new(&program);
            command.arg(format!("-storageDataPath={}", folder.path().join("data").display()));
            command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
            command.args(["-retentionPeriod=100y", "-memory.allowedBytes=128MB"]);
            command.current_dir(folder.path());
            let log = folder.path().join("log");
            let process = Process::start("victoriametrics", command, &log)?;
            let mut victoria = Self { process, _folder: folder, port };
            victoria.wait_ready()?;
            Ok(victoria)
        })
    }

    /// Its address, such as `http://127.0.0.1:8428`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All that it has of the metric `name`, one value for each series: `metric`, `values`, `timestamps`.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    pub fn export(&self, name: &str) -> Result<Vec<Value>> {
        let refused = |reason: String| Error::Refused {
            server: "victoriametrics",
            action: format!("export `{name}`"),
            reason,
        };
        // What was just written is not to be searched before that.
        client::get(&format!("{}/internal/force_flush", self.url()), &[])?;
        let url = format!("{}/api/v1/export?match%5B%5D={name}&start=0", self.url());
        let answer = client::get(&url, &[])?;
        let lines = answer.body.lines().map(serde_json::from_str);
        let found: std::result::Result<Vec<Value>, _> = lines.collect();
        match (answer.is_success(), found) {
            (true, Ok(found)) => Ok(found),
            _ => Err(refused(format!("status {}: {}", answer.status, answer.body))),
        }
    }

    fn wait_ready(&mut self) -> Result<()> {
        let health = format!("{}/health", self.url());
        self.process.wait_answering(START_LIMIT, &health)
    }
}
