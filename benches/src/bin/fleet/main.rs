//! tidewatch in the comparison: answers the queries of the benchmark and ends.
//!
//! ```text
//!  environment ─► job ─┐                      ┌─► answers: OUT/q1.csv … q4.csv
//!  fleet.toml ─► query ┴─► run: the pipeline ─┤
//!              the logs' last records ─► end ─┴─► stops once everything before the end has been handed out
//! ```
//!
//! The pipeline is the one that `tidewatch run` runs: the same reader, codecs, dataflow, operators and
//! checkpoints, built from a pipeline file; only the sink is the benchmark's own. It reads the environment that
//! every adapter of `benches/peers/` reads:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `BOOTSTRAP` | brokers, `host:port` with commas between |
//! | `METRICS_TOPIC`, `LOGS_TOPIC` | the topics, which are complete |
//! | `QUERIES` | some of `q1,q2,q3,q4` |
//! | `OUT` | a folder for the answers |
//! | `METRICS_RECORDS`, `LOGS_RECORDS` | how many records must have been read in the end; not checked when unset |
//! | `ERROR_THRESHOLD` | counts of Q4 above this are written; 20 when unset |
//!
//! With `--floor` it does nothing but take the records from librdkafka: what no program that uses it can beat.

#![allow(clippy::print_stderr, reason = "a program that says what it did")]

mod answers;
mod end;
mod floor;
mod job;
mod processes;
mod query;
mod run;
mod source;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;
use mimalloc::MiMalloc;
use tidewatch_dataflow::config::HumanDuration;

use job::Job;

/// That of the program `tidewatch`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Answers the benchmark's queries over two Kafka topics, and ends.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Worker threads of each process.
    #[arg(short, long, value_name = "N", default_value = "1")]
    workers: NonZeroUsize,
    /// Processes in all.
    #[arg(short = 'n', long, value_name = "N", default_value = "1")]
    processes: NonZeroUsize,
    /// How often a checkpoint is written; `0s` keeps no state at all. Default: that of pipeline files.
    #[arg(long, value_name = "DURATION")]
    checkpoint_every: Option<HumanDuration>,
    /// The folder of the checkpoints. Default: `state` in `OUT`.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Reads everything with librdkafka and looks at nothing.
    #[arg(long, conflicts_with_all = ["workers", "processes", "checkpoint_every", "state"])]
    floor: bool,
    /// Which process of the cluster this is; for the processes that this program starts itself.
    #[arg(long, value_name = "I", hide = true, default_value_t = 0)]
    process: usize,
    /// The addresses of all processes, likewise.
    #[arg(long, value_name = "HOST:PORT,…", hide = true, value_delimiter = ',')]
    hosts: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    tidewatch::cluster::abort_on_panic();
    let args = Args::parse();
    let job = Job::from_environment()?;
    if args.floor {
        return floor::run(&job);
    }
    if args.processes.get() > 1 && args.hosts.is_empty() {
        return processes::run(args, &job);
    }
    tidewatch::cluster::die_with_parent()?;
    run::run(&args, &job)
}
