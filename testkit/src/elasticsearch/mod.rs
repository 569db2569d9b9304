//! A real one-node Elasticsearch or OpenSearch without security and licences.
//!
//! Elasticsearch is the distribution's own integration-test build: it has
//! indexes, bulk, templates, search and data streams (made by the first bulk
//! `create`), but no scripts, no ingest processors and no `GET /`: probe
//! `_cluster/health`. OpenSearch is its server in the one process of a runner
//! for tests. Neither has policies that delete indexes (ILM, ISM).

mod archive;
mod runner;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;

use crate::{
    Error, Result, Service,
    http::{Response, client},
    policy::{fail, require},
    process::Process,
    run_folder::RunFolder,
    wait::retry_on_taken_port,
};

/// How long a start may take: 15 CPU seconds, on cores that others use too.
const START_LIMIT: Duration = Duration::from_secs(300);

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Elasticsearch 8.
    Elasticsearch,
    /// OpenSearch 2.
    OpenSearch,
}

impl Dialect {
    const fn service(self) -> Service {
        match self {
            Self::Elasticsearch => Service::Elasticsearch,
            Self::OpenSearch => Service::OpenSearch,
        }
    }
}

/// A running node; ended when dropped.
#[derive(Debug)]
pub struct Elastic {
    // Before the folder: the process has to be gone when its files are removed.
    process: Process,
    folder: RunFolder,
    home: PathBuf,
    port: u16,
    dialect: Dialect,
}

impl Elastic {
    /// Starts an Elasticsearch with empty data.
    ///
    /// # Errors
    /// If it is not in the cache, Java is missing, or it does not answer.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts an Elasticsearch with further lines of its configuration, such as
    /// `("indexing_pressure.memory.limit", "64kb")`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_as(Dialect::Elasticsearch, settings)
    }

    /// Starts a node of either dialect with further lines of its configuration.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_as(dialect: Dialect, settings: &[(&str, &str)]) -> Result<Self> {
        let home = dialect.service().installed()?;
        retry_on_taken_port(|| {
            let folder = RunFolder::new(dialect.service().artifact().name)?;
            let port = match dialect {
                Dialect::Elasticsearch => archive::configure(&home, &folder, settings)?,
                Dialect::OpenSearch => runner::configure(&folder, settings)?,
            };
            let process = launch(dialect, &home, &folder, port)?;
            let mut elastic = Self { process, folder, home: home.clone(), port, dialect };
            elastic.wait_ready()?;
            Ok(elastic)
        })
    }

    /// The Elasticsearch that all tests of this binary share, or `None` when
    /// the calling test has to be skipped.
    ///
    /// # Panics
    /// If it does not start, or is missing where it must not be.
    pub fn shared() -> Option<&'static Self> {
        Self::shared_as(Dialect::Elasticsearch)
    }

    /// The node of a dialect that all tests of this binary share, or `None`
    /// when the calling test has to be skipped.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn shared_as(dialect: Dialect) -> Option<&'static Self> {
        static SHARED: [OnceLock<Elastic>; 2] = [OnceLock::new(), OnceLock::new()];
        let [elasticsearch, opensearch] = &SHARED;
        require(dialect.service())?;
        let shared = match dialect {
            Dialect::Elasticsearch => elasticsearch,
            Dialect::OpenSearch => opensearch,
        };
        let start = || Self::start_as(dialect, &[]);
        Some(shared.get_or_init(|| start().unwrap_or_else(|error| fail(&error.to_string()))))
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
            server: self.dialect.service().artifact().name,
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
        if self.dialect == Dialect::Elasticsearch {
            archive::kill_server(&self.folder, &mut self.process);
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
        self.process = launch(self.dialect, &self.home, &self.folder, self.port)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let health = format!("{}/_cluster/health?wait_for_status=yellow&timeout=1s", self.url());
        // Somebody else's node may have the port that ours did not get.
        let own = format!("\"cluster_name\":\"{}\"", cluster_name(&self.folder));
        self.process.wait_ready(START_LIMIT, || match client::get(&health, &[]) {
            Ok(answer) if answer.is_success() && answer.body.contains(&own) => Ok(()),
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

fn launch(dialect: Dialect, home: &Path, folder: &RunFolder, port: u16) -> Result<Process> {
    match dialect {
        Dialect::Elasticsearch => archive::launch(home, folder),
        Dialect::OpenSearch => runner::launch(home, folder, port),
    }
}

/// A name that no other node of this machine has: that of its folder.
fn cluster_name(folder: &RunFolder) -> String {
    let name = folder.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The folder of the Java that is on the `PATH`: the servers have none of their own.
fn java_home() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let java = std::env::split_paths(&path).map(|folder| folder.join("java"));
    let java = java.filter_map(|java| java.canonicalize().ok()).find(|java| java.is_file());
    java.as_deref()
        .and_then(|java| java.parent()?.parent())
        .map(Path::to_path_buf)
        .ok_or(Error::Missing { server: "java" })
}
