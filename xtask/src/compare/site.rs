//! Where everything runs: built programs, a broker, and topics with data.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, IsTerminal as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use tidewatch_testkit::cache;

use super::{
    clock::Progress,
    dataset::{Dataset, logs_topic, metrics_topic},
    options::CompareArguments,
};
use crate::shell::{capture, end_tree};

/// The programs of this project that are needed.
const PROGRAMS: [&str; 4] = ["tidewatch", "fleet", "broker", "answers"];

/// A job for a system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    /// Where this project's programs are.
    pub(super) programs: &'a Path,
    pub(super) bootstrap: &'a str,
    pub(super) data: &'a Dataset,
    pub(super) queries: &'a [String],
    pub(super) out: &'a Path,
    pub(super) cache: &'a Path,
    pub(super) parallelism: u32,
}

/// A broker in a process of its own, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(super) bootstrap: String,
}

impl Broker {
    /// Starts the program `broker`, and waits until it says where.
    pub(super) fn start(programs: &Path) -> Result<Self> {
        let mut command = Command::new(programs.join("broker"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("could not start the broker")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut bootstrap = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut bootstrap).context("the broker said nothing")?;
        }
        let bootstrap = bootstrap.trim().to_owned();
        if bootstrap.is_empty() {
            end_tree(&mut child);
            bail!("the broker did not start: its reason is above");
        }
        Ok(Broker { child, stdin, bootstrap })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The end of its input is what it waits for; it removes its data then.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// A command whose standard output joins the progress: ours is for results.
fn aside(command: &mut Command) -> Result<&mut Command> {
    let errors = io::stderr().as_fd().try_clone_to_owned();
    Ok(command.stdin(Stdio::null()).stdout(errors.context("could not share standard error")?))
}

fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let status = aside(command)?.status().with_context(|| format!("could not start {what}"))?;
    if !status.success() {
        bail!("{what} failed ({status}): its reason is above");
    }
    Ok(())
}

/// Builds the programs as they are released; gives the folder they are in.
pub(super) fn build(project: &Path) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args([
        "build",
        "--release",
        "--package",
        "tidewatch",
        "--package",
        "tidewatch-benches",
    ]);
    command.args(PROGRAMS.iter().flat_map(|name| ["--bin", name])).current_dir(project);
    if !io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    succeed(&mut command, "`cargo build`")?;
    Ok(target(project)?.join("release"))
}

/// The folder of everything that is built.
pub(super) fn target(project: &Path) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(project);
    let metadata: serde_json::Value =
        serde_json::from_str(&capture(&mut command)?).context("`cargo metadata` wrote no JSON")?;
    let target = metadata["target_directory"].as_str().context("cargo names no target folder")?;
    Ok(PathBuf::from(target))
}

/// Fetches the broker's program unless it is there.
pub(super) fn fetch_kafka() -> Result<()> {
    if cache::KAFKA.find()?.is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().context("could not find this program's own file")?;
    succeed(Command::new(program).args(["services", "fetch", "kafka"]), "fetching Kafka")
}

/// Creates topics whose names end with `suffix` and fills them with `messages` metric messages and their logs.
pub(super) fn load(
    arguments: &CompareArguments,
    (programs, bootstrap): (&Path, &str),
    (suffix, messages): (&str, u64),
    folder: &Path,
    progress: &Progress,
) -> Result<Dataset> {
    progress.say(&format!("loading {messages} metric messages and their logs{suffix}"));
    fs::create_dir_all(folder).with_context(|| format!("could not make `{}`", folder.display()))?;
    let labels = folder.join(format!("labels{suffix}.json"));
    let mut command = Command::new(programs.join("tidewatch"));
    command.arg("generate").args(["--messages", &messages.to_string()]);
    command.args(["--seed", &arguments.seed.to_string()]);
    command.args(["--hosts", &arguments.hosts.to_string()]);
    command.args(["--interval", &arguments.interval.to_string()]);
    command.args(["--brokers", bootstrap, "--compression", &arguments.compression]);
    command.args(["--metrics-topic", &metrics_topic(suffix), "--logs-topic", &logs_topic(suffix)]);
    command.arg("--labels").arg(&labels);
    succeed(&mut command, "`tidewatch generate`")?;
    Dataset::read(suffix, &labels)
}
