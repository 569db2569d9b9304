//! `tidewatch demo`: everything at work on one machine, with faults whose alerts are judged.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tidewatch_dataflow::config::HumanDuration;

use crate::demo::{self, run::Demo};

/// Starts an in-process Kafka and a simulated fleet that writes metrics and logs to it, half an hour of
/// the past first, then live; monitors it with the very parts that `tidewatch run` uses; shows it on a
/// page; prints each alert; and judges the alerts, since the faults are known.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  tidewatch demo                        until Ctrl-C; open the page it names
  tidewatch demo --hosts 1000 --seed 7  a larger fleet with other faults
  tidewatch demo --for 90s --no-page --report demo.json
                                        as a test: the exit code is the verdict

Exit codes: 0 every fault was found and no alert was false, 1 otherwise,
            2 wrong usage")]
pub struct DemoArgs {
    /// Stop by itself after this time, such as 90s or 5m. Without it: when you press Ctrl-C.
    #[arg(long = "for", value_name = "TIME", help_heading = "Run")]
    pub duration: Option<HumanDuration>,
    /// Write what was read, found, missed and falsely told to this file, as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub report: Option<PathBuf>,
    /// Hosts in the fleet; more than 2,000 would not fit into the in-process Kafka.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Fleet")]
    #[arg(value_parser = clap::value_parser!(u32).range(10..=2_000))]
    pub hosts: u32,
    /// The same seed gives the same fleet, the same numbers and the same faults.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Fleet")]
    pub seed: u64,
    /// Port of the page on this machine; 0 takes any that is free.
    #[arg(long, value_name = "N", default_value_t = 9464, help_heading = "Page")]
    pub port: u16,
    /// Serve no page.
    #[arg(long, help_heading = "Page")]
    pub no_page: bool,
}

/// Runs the demo.
///
/// # Errors
/// What kept it from running. Faults that were missed are no error, they are the exit code 1.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let DemoArgs { duration, report, hosts, seed, port, no_page } = args;
    let page = (!no_page).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let hosts = usize::try_from(hosts).context("too many hosts")?;
    let duration = duration.map(HumanDuration::get);
    let code = demo::run::run(&Demo { duration, report, hosts, seed, page })?;
    Ok(ExitCode::from(code))
}
