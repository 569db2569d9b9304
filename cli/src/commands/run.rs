//! `tidewatch run`: the pipeline of a file.
//!
//! The command is a supervisor, which starts itself again as member: one process alone, all processes of a
//! local cluster, or with `--process` the one of this machine.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tidewatch_dataflow::config::HumanDuration;
use tokio::runtime;

use super::{ConfigArgs, LogFormat};
use crate::cluster::{self, BEAT_EVERY, BackoffConfig, Hostfile, Limits, Members, Membership};
use crate::config;
use crate::service::{Service, ServiceOptions};

/// Reads the topics of a pipeline file, computes its statistics and rules, writes to its sinks and tells
/// its receivers, until it is stopped (Ctrl-C, SIGTERM).
///
/// What fails is started again, all processes together, with growing pauses. All processes of a cluster
/// take the same file and the same -w and -n.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  tidewatch run -c tidewatch.toml             one process, one worker
  tidewatch run -c tidewatch.toml -w 4        one process, four workers
  tidewatch run -c tidewatch.toml -w 2 -n 2   two local processes
  tidewatch run -c tidewatch.toml -w 4 -n 3 -p 0 --hostfile hosts
                                              member 0 of three machines

The host file has one line host:port for each process, in order. Workers talk
over these ports without encryption or authentication: keep them on a private
network.

This process supervises those that do the work and starts them again when one
dies or hangs: at once the first time, then after 0.5 s, 1 s and so on, up to
30 s.

Exit codes: 0 stopped as asked, 1 could not be started or did not stop in order,
2 wrong usage or invalid configuration, 3 the state was refused, 4 a newer run
has taken over, 130 asked twice to stop")]
pub struct RunArgs {
    /// Which pipeline file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Worker threads in each process; as many as there are cores to spare.
    #[arg(short, long, value_name = "N", default_value_t = 1, help_heading = "Parallelism")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Processes in all. Without --process, all of them run here.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, help_heading = "Parallelism")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub processes: u16,
    /// Which process of the cluster this is, from 0.
    #[arg(short, long, value_name = "I", requires = "hostfile", help_heading = "Cluster")]
    pub process: Option<u16>,
    /// The addresses of all processes: one host:port a line.
    #[arg(long, value_name = "FILE", requires = "process", help_heading = "Cluster")]
    pub hostfile: Option<PathBuf>,
    /// A process whose workers give no sign of life for this long is killed, and the run started again.
    /// At least 3s; 0s never does so.
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = "Supervision")]
    #[arg(value_parser = hang_timeout)]
    pub hang_timeout: HumanDuration,
}

/// Less than three beats would take a late one for a hang.
const HANG_TIMEOUT_MIN: Duration = BEAT_EVERY.saturating_mul(3);

fn hang_timeout(text: &str) -> Result<HumanDuration, String> {
    let timeout: HumanDuration = text.parse()?;
    if timeout.get() > Duration::ZERO && timeout.get() < HANG_TIMEOUT_MIN {
        let least = HumanDuration::from(HANG_TIMEOUT_MIN);
        return Err(format!("a sign of life comes once a second: give {least} or more, or 0s"));
    }
    Ok(timeout)
}

/// Runs the pipeline. Returns when it was stopped, or has ended for good.
///
/// # Errors
/// An invalid file, wrong arguments, or members that cannot be started.
pub fn run(args: RunArgs, log_format: LogFormat) -> anyhow::Result<ExitCode> {
    cluster::abort_on_panic();
    let ended = if cluster::is_member() {
        member(&args).map(|()| cluster::exit::STOPPED)
    } else {
        supervisor(&args, log_format)
    };
    let code = ended.unwrap_or_else(|error| {
        let _told = super::failure(&error);
        cluster::exit::code(&error)
    });
    Ok(ExitCode::from(code))
}

/// Starts members and watches over them. What can be found wrong without them is told once, here.
fn supervisor(args: &RunArgs, log_format: LogFormat) -> anyhow::Result<u8> {
    super::tell_warnings(&config::load(&args.config.config)?.warnings);
    membership(args)?;
    let members = members(args, log_format)?;
    let hang = Some(args.hang_timeout.get()).filter(|timeout| !timeout.is_zero());
    let defaults = Limits::default();
    // A member of a real cluster waits for the other machines before it is up, however long.
    let start = defaults.start.filter(|_| hang.is_some() && args.process.is_none());
    let limits = Limits { hang, start, ..defaults };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the supervisor's runtime")?;
    runtime.block_on(async {
        let mut stops = cluster::stop_requests()?;
        cluster::supervise(&members, &limits, BackoffConfig::default(), &mut stops).await
    })
}

/// Threads for HTTP, SMTP and stores: they wait most of the time.
const RUNTIME_THREADS: usize = 2;

/// Does the work, until it is stopped.
fn member(args: &RunArgs) -> anyhow::Result<()> {
    cluster::die_with_parent()?;
    let config = config::load(&args.config.config)?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("could not start the runtime for stores and channels")?;
    let stop = Arc::default();
    let options = ServiceOptions {
        membership: membership(args)?,
        stop: Arc::clone(&stop),
        serve: true,
        observer: None,
    };
    let service = Service::start(&config, options, runtime.handle())?;
    // Not before: while it waits for brokers and other processes there is nothing that a stop could put in
    // order, and a signal ends it at once.
    cluster::set_on_signal(runtime.handle(), stop)?;
    service.leave_when_fenced();
    let _heartbeat = cluster::beat(&service.pulse)?;
    service.wait()
}

/// Which part of a cluster a member with these arguments is.
fn membership(args: &RunArgs) -> anyhow::Result<Membership> {
    let workers = NonZeroUsize::new(args.workers.into()).unwrap_or(NonZeroUsize::MIN);
    match (args.process, &args.hostfile) {
        (Some(process), Some(file)) => {
            let hosts = Hostfile::read(file, args.processes.into())?.0;
            Ok(Membership { workers, hosts, process: process.into() })
        }
        _ => Ok(Membership::alone(workers)),
    }
}

/// How the members of this machine are started: this program, with these arguments.
fn members(args: &RunArgs, log_format: LogFormat) -> anyhow::Result<Members> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let mut shared: Vec<OsString> = vec!["run".into(), "--config".into()];
    shared.push(args.config.config.clone().into());
    shared.extend(["--workers".into(), args.workers.to_string().into()]);
    shared.extend(["--processes".into(), args.processes.to_string().into()]);
    shared.extend(["--log-format".into(), log_format.as_str().into()]);
    let here = args.process.zip(args.hostfile.clone());
    if let Some((process, hosts)) = &here {
        shared.extend(["--process".into(), process.to_string().into()]);
        shared.extend(["--hostfile".into(), hosts.into()]);
    }
    let (count, first) = match here {
        Some((process, _)) => (1, process.into()),
        None => (args.processes.into(), 0),
    };
    Ok(Members { program: program.into(), args: shared, count, first })
}
