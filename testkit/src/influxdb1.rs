//! A real InfluxDB 1, with authentication and an administrator.

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    Error, Result, Service,
    http::{Response, client},
    ports::free_ports,
    process::Process,
    run_folder::RunFolder,
    wait::retry_on_taken_port,
};

/// How long a start may take: a fifth of a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server; ended when dropped. Its data survive [`kill`](Self::kill) and
/// [`restart`](Self::restart).
#[derive(Debug)]
pub struct Influx1 {
    // Before the folder: the process has to be gone when its files are removed.
    process: Process,
    folder: RunFolder,
    program: PathBuf,
    port: u16,
}

impl Influx1 {
    /// A user that may do everything.
    pub const USER: &'static str = "tidewatch";
    /// That user's password.
    pub const PASSWORD: &'static str = "tidewatch-password";

    /// Starts a server with empty data and makes the user.
    ///
    /// # Errors
    /// If it is not in the cache, or does not answer.
    pub fn start() -> Result<Self> {
        let program = Service::InfluxDb1.program("influxd")?;
        retry_on_taken_port(|| {
            let folder = RunFolder::new("influxdb1")?;
            let port = free_ports(2);
            configure(&folder, port)?;
            let process = launch(&program, &folder)?;
            let mut influx = Self { process, folder, program: program.clone(), port };
            influx.wait_ready()?;
            influx.query(&format!(
                "CREATE USER {} WITH PASSWORD '{}' WITH ALL PRIVILEGES",
                Self::USER,
                Self::PASSWORD
            ))?;
            Ok(influx)
        })
    }

    /// Its address, such as `http://127.0.0.1:8086`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs a statement, and gives the first of its results.
    ///
    /// # Errors
    /// If the server refuses; its words are in the error.
    pub fn query(&self, statement: &str) -> Result<Value> {
        let refused = |reason: String| Error::Refused {
            server: "influxdb1",
            action: format!("run `{statement}`"),
            reason,
        };
        let form = format!("q={}&epoch=ms", client::encoded(statement));
        let answer = self.post(&format!("/query?u={}&p={}", Self::USER, Self::PASSWORD), &form)?;
        let body: Value = serde_json::from_str(&answer.body)
            .map_err(|error| refused(format!("{error}: {}", answer.body)))?;
        let result = &body["results"][0];
        match answer.is_success() && result["error"].is_null() {
            true => Ok(result.clone()),
            false => Err(refused(answer.body)),
        }
    }

    fn post(&self, path: &str, form: &str) -> Result<Response> {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        client::request("POST", &format!("{}{path}", self.url()), &headers, form.as_bytes())
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
        self.process = launch(&self.program, &self.folder)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let ping = format!("{}/ping", self.url());
        self.process.wait_answering(START_LIMIT, &ping)
    }
}

fn configure(folder: &RunFolder, port: u16) -> Result<()> {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "reporting-disabled = true\n\
         bind-address = \"127.0.0.1:{}\"\n\
         [meta]\ndir = {:?}\n\
         [data]\ndir = {:?}\nwal-dir = {:?}\n\
         [monitor]\nstore-enabled = false\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nauth-enabled = true\nmax-body-size = 1000000\n",
        port + 1,
        at("meta"),
        at("data"),
        at("wal"),
    );
    folder.write("influxdb.conf", text).map(drop)
}

fn launch(program: &PathBuf, folder: &RunFolder) -> Result<Process> {
    let mut command = Command::new(program);
    command.arg("-config").arg(folder.path().join("influxdb.conf"));
    command.env("HOME", folder.path()).current_dir(folder.path());
    Process::start("influxdb1", command, &folder.path().join("log"))
}
