//! A real InfluxDB 2, set up with an organisation, a bucket and a token.

use std::{path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use serde_json::{Value, json};

use crate::{
    Error, Result, Service,
    http::{Response, client},
    policy::{fail, require},
    ports::free_ports,
    process::Process,
    run_folder::RunFolder,
    wait::retry_on_taken_port,
};

/// How long a start may take: half a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A running server; ended when dropped.
///
/// Its data survive [`kill`](Self::kill) and [`restart`](Self::restart).
#[derive(Debug)]
pub struct Influx {
    // Before the folder: the process has to be gone when its files are removed.
    process: Process,
    folder: RunFolder,
    program: PathBuf,
    port: u16,
}

impl Influx {
    /// The organisation that everything belongs to.
    pub const ORG: &'static str = "tidewatch";
    /// The bucket made at set-up, which keeps everything.
    pub const BUCKET: &'static str = "metrics";
    /// A token that may do everything.
    pub const TOKEN: &'static str = "tidewatch-test-token";

    /// Starts a server with empty data and sets it up.
    ///
    /// # Errors
    /// If it is not in the cache, or does not answer.
    pub fn start() -> Result<Self> {
        let program = Service::InfluxDb.installed()?.join("influxd");
        retry_on_taken_port(|| {
            let folder = RunFolder::new("influxdb")?;
            let port = free_ports(1);
            let process = launch(&program, &folder, port)?;
            let mut influx = Self { process, folder, program: program.clone(), port };
            influx.wait_ready()?;
            influx.set_up()?;
            Ok(influx)
        })
    }

    /// The server that all tests of this binary share, or `None` when the
    /// calling test has to be skipped.
    ///
    /// # Panics
    /// If it does not start, or is missing where it must not be.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Influx> = OnceLock::new();
        require(Service::InfluxDb)?;
        Some(SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| fail(&error.to_string()))))
    }

    /// Its address, such as `http://127.0.0.1:8086`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes another bucket, which keeps everything.
    ///
    /// # Errors
    /// If the server refuses, for instance since it exists.
    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        let action = format!("create bucket `{bucket}`");
        let organisations = self.ask("GET", "/api/v2/orgs", "", b"")?;
        let organisations = parse(&action, &expect(&action, organisations, 200)?)?;
        let body =
            json!({"orgID": organisations["orgs"][0]["id"], "name": bucket, "retentionRules": []});
        let json = "application/json";
        let answer = self.ask("POST", "/api/v2/buckets", json, body.to_string().as_bytes())?;
        expect(&action, answer, 201).map(drop)
    }

    /// Writes line protocol with times in milliseconds.
    ///
    /// # Errors
    /// If the server refuses; its words are in the error.
    pub fn write(&self, bucket: &str, lines: &str) -> Result<()> {
        let path = format!("/api/v2/write?org={}&bucket={bucket}&precision=ms", Self::ORG);
        let answer = self.ask("POST", &path, "text/plain", lines.as_bytes())?;
        expect("write", answer, 204).map(drop)
    }

    /// Runs a Flux query; the answer is CSV with a header line per table and
    /// without annotations.
    ///
    /// # Errors
    /// If the server refuses the query, or fails in the middle of its answer.
    pub fn query_csv(&self, flux: &str) -> Result<String> {
        let path = format!("/api/v2/query?org={}", Self::ORG);
        let answer = self.ask("POST", &path, "application/vnd.flux", flux.as_bytes())?;
        let csv = expect("query", answer, 200)?;
        // An error after the first row comes as a table of its own, below a 200.
        if csv.lines().any(|line| line.starts_with(",error,reference")) {
            let action = "query".to_owned();
            return Err(Error::Refused { server: "influxdb", action, reason: csv });
        }
        Ok(csv)
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
        let health = format!("{}/health", self.url());
        self.process.wait_answering(START_LIMIT, &health)
    }

    fn set_up(&self) -> Result<()> {
        let body = json!({
            "username": "tidewatch", "password": "tidewatch-password",
            "org": Self::ORG, "bucket": Self::BUCKET, "token": Self::TOKEN,
            "retentionPeriodSeconds": 0,
        });
        let json = "application/json";
        let answer = self.ask("POST", "/api/v2/setup", json, body.to_string().as_bytes())?;
        expect("set up", answer, 201).map(drop)
    }

    fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Response> {
        let token = format!("Token {}", Self::TOKEN);
        let csv_or_json = "application/csv, application/json";
        let mut headers = vec![("authorization", token.as_str()), ("accept", csv_or_json)];
        if !content_type.is_empty() {
            headers.push(("content-type", content_type));
        }
        client::request(method, &format!("{}{path}", self.url()), &headers, body)
    }
}

fn launch(program: &PathBuf, folder: &RunFolder, port: u16) -> Result<Process> {
    let at = folder.path();
    let mut command = Command::new(program);
    command.arg("--http-bind-address").arg(format!("127.0.0.1:{port}"));
    command.arg("--bolt-path").arg(at.join("influxd.bolt"));
    command.arg("--sqlite-path").arg(at.join("influxd.sqlite"));
    command.arg("--engine-path").arg(at.join("engine"));
    command.args(["--reporting-disabled", "--ui-disabled", "--log-level", "warn"]);
    command.env("HOME", at).env("INFLUXD_CONFIG_PATH", at).current_dir(at);
    Process::start("influxdb", command, &at.join("log"))
}

fn expect(action: &str, answer: Response, status: u16) -> Result<String> {
    if answer.status == status {
        return Ok(answer.body);
    }
    let reason = format!("status {}: {}", answer.status, answer.body);
    Err(Error::Refused { server: "influxdb", action: action.to_owned(), reason })
}

fn parse(action: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::Refused {
        server: "influxdb",
        action: action.to_owned(),
        reason: format!("{error}: {text}"),
    })
}
