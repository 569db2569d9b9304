//! Several processes on this machine: the first is this one, which starts the others.

use std::ffi::OsString;
use std::process::{Child, Command};

use anyhow::{Context as _, ensure};
use tidewatch_testkit::free_ports;

use super::job::Job;
use super::{Args, run};

/// By this variable a process of a cluster knows who started it, and dies with it.
const PARENT: &str = "TIDEWATCH_PARENT";

/// More processes than a block of ports has: a measurement on one machine needs a few.
const PROCESSES_MAX: usize = 15;

/// Processes that are killed when they are dropped before they have ended.
struct Others(Vec<Child>);

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts the others, takes part, and waits for them.
pub(crate) fn run(args: Args, job: &Job) -> anyhow::Result<()> {
    let processes = args.processes.get();
    ensure!(processes <= PROCESSES_MAX, "at most {PROCESSES_MAX} processes can be started here");
    let first = free_ports(u16::try_from(processes).context("too many processes")?);
    let hosts: Vec<_> = (first..).take(processes).map(|p| format!("127.0.0.1:{p}")).collect();
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let mut others = Others(Vec::new());
    for process in 1..processes {
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1));
        command.args(["--process", &process.to_string(), "--hosts", &hosts.join(",")]);
        command.env(PARENT, std::process::id().to_string());
        let child = command.spawn().with_context(|| {
            let shown: Vec<OsString> = command.get_args().map(OsString::from).collect();
            format!("could not start process {process} with {shown:?}")
        })?;
        others.0.push(child);
    }
    run::run(&Args { hosts, ..args }, job)?;
    for (index, child) in others.0.iter_mut().enumerate() {
        let status = child.wait().context("could not wait for a process")?;
        ensure!(status.success(), "process {} failed ({status})", index + 1);
    }
    others.0.clear();
    Ok(())
}
