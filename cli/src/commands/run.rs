//! `tidewatch run`: the pipeline of a file.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{ConfigArgs, LogFormat};
use crate::cluster::{self, Hostfile, Members, Membership};
use crate::config;
use crate::service::{Service, ServiceOptions};

/// Reads the topics of a pipeline file, computes its statistics and rules, writes to its sinks and tells
/// its receivers, until it is stopped (Ctrl-C, SIGTERM) or something fails for good.
///
/// All processes of a cluster take the same file and the same -w and -n.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  tidewatch run -c tidewatch.toml             one process, one worker
  tidewatch run -c tidewatch.toml -w 4        one process, four workers
  tidewatch run -c tidewatch.toml -w 2 -n 2   two local processes, supervised
  tidewatch run -c tidewatch.toml -w 4 -n 3 -p 0 --hostfile hosts
                                              member 0 of three machines

The host file has one line host:port for each process, in order. Workers talk
over these ports without encryption or authentication: keep them on a private
network.

Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage or invalid configuration")]
pub struct RunArgs {
    /// Which pipeline file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Worker threads in each process; as many as there are cores to spare.
    #[arg(short, long, value_name = "N", default_value_t = 1, help_heading = "Parallelism")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Processes in all. Without --process, this one starts and supervises the others here.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, help_heading = "Parallelism")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub processes: u16,
    /// Which process of the cluster this is, from 0.
    #[arg(short, long, value_name = "I", requires = "hostfile", help_heading = "Cluster")]
    pub process: Option<u16>,
    /// The addresses of all processes: one host:port a line.
    #[arg(long, value_name = "FILE", requires = "process", help_heading = "Cluster")]
    pub hostfile: Option<PathBuf>,
}

/// Runs the pipeline. Returns when it was stopped.
///
/// # Errors
/// An invalid file, wrong arguments, or whatever ended the pipeline.
pub fn run(args: RunArgs, log_format: LogFormat) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config.config)?;
    if args.process.is_none() {
        // Once for all members.
        super::tell_warnings(&config.warnings);
    }
    cluster::abort_on_panic();
    cluster::die_with_parent()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("could not start the runtime for stores and channels")?;
    let stop = cluster::stop_on_signal(runtime.handle())?;
    let Some(membership) = membership(&args)? else {
        return cluster::supervise(&members(&args, log_format)?, &stop);
    };
    let options = ServiceOptions { membership, stop, serve: true, observer: None };
    Service::start(&config, options, runtime.handle())?.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Threads for HTTP, SMTP and stores: they wait most of the time.
const RUNTIME_THREADS: usize = 2;

/// Which part of a cluster this process is; `None` when it is to supervise one.
fn membership(args: &RunArgs) -> anyhow::Result<Option<Membership>> {
    let workers = NonZeroUsize::new(args.workers.into()).unwrap_or(NonZeroUsize::MIN);
    let processes = usize::from(args.processes);
    match (args.process, &args.hostfile) {
        (Some(process), Some(file)) => {
            anyhow::ensure!(
                process < args.processes,
                "process {process} is not one of {processes}: `-p` counts from 0"
            );
            let hosts = Hostfile::read(file, processes)?.0;
            Ok(Some(Membership { workers, hosts, process: process.into() }))
        }
        _ if processes > 1 => Ok(None),
        _ => Ok(Some(Membership::alone(workers))),
    }
}

/// How the members of a local cluster are started: this program, with these arguments.
fn members(args: &RunArgs, log_format: LogFormat) -> anyhow::Result<Members> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let mut shared: Vec<OsString> = vec!["run".into(), "--config".into()];
    shared.push(args.config.config.clone().into());
    shared.extend(["--workers".into(), args.workers.to_string().into()]);
    shared.extend(["--processes".into(), args.processes.to_string().into()]);
    shared.extend(["--log-format".into(), log_format.as_str().into()]);
    Ok(Members { program: program.into(), args: shared, count: args.processes.into() })
}
