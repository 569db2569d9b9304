//! The program under test: a supervisor, its members, and what they say about themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidewatch_testkit::http::client;
use tidewatch_testkit::wait_for;

use crate::world::{PORT, free_ports};

/// What is started, again and again.
pub struct Launcher {
    program: PathBuf,
    folder: PathBuf,
    /// The pipeline file, without a port.
    config: String,
    environment: Vec<(String, String)>,
    further: Vec<String>,
    /// Where the metrics of the first member are; those after it take the ports after it.
    port: u16,
}

impl Launcher {
    /// Starts the pipeline of `config` with configuration and log in `folder`. The variable
    /// `TIDEWATCH_CHAOS_PROGRAM` names another build of the program than the one of this test.
    pub fn new(
        folder: &Path,
        config: String,
        environment: Vec<(String, String)>,
        further: &[&str],
    ) -> Self {
        let built = || env!("CARGO_BIN_EXE_tidewatch").into();
        let launcher = Launcher {
            program: std::env::var_os("TIDEWATCH_CHAOS_PROGRAM").map_or_else(built, PathBuf::from),
            folder: folder.to_owned(),
            config,
            environment,
            further: further.iter().map(|word| (*word).to_owned()).collect(),
            port: free_ports(),
        };
        launcher.write();
        launcher
    }

    /// Takes other ports, so that the next start can be beside a run that goes on.
    pub fn move_ports(&mut self) {
        self.port = free_ports();
        self.write();
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("tidewatch-{}.toml", self.port))
    }

    fn write(&self) {
        fs::write(self.file(), self.config.replace(PORT, &self.port.to_string())).unwrap();
    }

    /// What `tidewatch checkpoint verify` says about the state that is left.
    ///
    /// # Errors
    /// What it says, when it finds a fault.
    pub fn verify(&self) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(["checkpoint", "verify", "-c"]).arg(self.file());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// Starts it at a size.
    pub fn start(&self, size: Size) -> Program {
        let path = self.folder.join("log");
        let log = File::options().create(true).append(true).open(&path).unwrap();
        let log_from = log.metadata().unwrap().len();
        let child = Command::new(&self.program)
            .args(["run", "-c"])
            .arg(self.file())
            .args(["-w", &size.workers.to_string(), "-n", &size.processes.to_string()])
            .args(&self.further)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Program { child, port: self.port, size, log: path, log_from }
    }
}

/// How many workers in each of how many processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub workers: u64,
    pub processes: u64,
}

/// A running supervisor; ended when dropped.
pub struct Program {
    child: Child,
    port: u16,
    pub size: Size,
    /// Its log, and how long that was before.
    log: PathBuf,
    log_from: u64,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// The members that live now, in no certain order.
    pub fn members(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// Whether each member that lives now has given a sign of life, by what its supervisor says.
    pub fn is_up(&self) -> bool {
        let mut log = File::open(&self.log).unwrap();
        log.seek(SeekFrom::Start(self.log_from)).unwrap();
        let mut text = Vec::new();
        log.read_to_end(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text);
        text.rfind("all members are up") > text.rfind("members started")
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// How the supervisor has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// How the supervisor ends, if it does within `limit`.
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_for(limit, || self.ended())
    }

    /// The metrics of all members, summed over members and workers; `None` while one does not answer.
    pub fn metrics(&self) -> Option<Metrics> {
        let mut sums = BTreeMap::new();
        for port in (self.port..).take(self.size.processes as usize) {
            let url = format!("http://127.0.0.1:{port}/metrics");
            let answer = client::get(&url, &[]).ok().filter(|answer| answer.is_success())?;
            for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
                let (name, value) = line.rsplit_once(' ')?;
                let name = if name.contains("{worker=") { name.split('{').next()? } else { name };
                *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().ok()?;
            }
        }
        Some(Metrics(sums))
    }
}

/// Numbers by name and labels, as they are exposed.
#[derive(Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// A metric without labels; 0 if there is none.
    pub fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The metric of each value of its label.
    pub fn family<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(key, value)| {
            let label = key.strip_prefix(name)?.strip_prefix('{')?;
            Some((label.split('"').nth(1)?, *value))
        })
    }

    /// The sum over all labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name) + self.family(name).map(|(_, value)| value).sum::<f64>()
    }
}

/// Whether a process is there and has not ended.
pub fn exists(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        // A zombie has ended: only its parent has not looked yet.
        !stat.rsplit_once(')').unwrap_or_default().1.trim_start().starts_with('Z')
    })
}

/// Sends a signal to a process that may have ended meanwhile.
pub fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    let pids = lists.flat_map(|list| {
        list.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    pids.filter_map(|pid| pid.parse().ok()).filter(|pid| exists(*pid)).collect()
}
