//! The command line: what can be asked of `tidewatch`, and what its exit code says.
//!
//! Each command has a file with its arguments and a `run`. Arguments are turned into what the library
//! takes; the work is done there.

pub mod check;
pub mod checkpoint;
pub mod demo;
pub mod generate;
mod logging;
pub mod produce;
pub mod query;
pub mod run;
mod table;
pub mod topics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use logging::LogFormat;

use crate::config::{ConfigErrors, Problem};

/// Everything went as asked.
pub const EXIT_OK: u8 = 0;
/// It was tried and failed; of `demo`: a fault was missed, or an alert was false; of `topics`: a topic is
/// not as the file wants it; of `checkpoint verify`: one is damaged.
pub const EXIT_FAILED: u8 = 1;
/// It was not tried: wrong usage, or an invalid configuration.
pub const EXIT_INVALID: u8 = 2;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Try it:
  tidewatch demo                        fleet, broker, faults, alerts and page
  tidewatch check -c tidewatch.toml     is the file right, what would it do?
  tidewatch topics -c tidewatch.toml    create the topics that it reads
  tidewatch run -c tidewatch.toml -w 4  monitor, with four workers
  tidewatch checkpoint list             what a restart would go on from
  tidewatch produce --brokers localhost:9092 --topic cpu-usage 'server-1 85%'
                                        one sample, by hand
  tidewatch query alerts --open         what the embedded store has
  tidewatch generate --messages 1M --out fleet
                                        records to try it on, the benchmark's

Exit codes:
  0  all went as asked
  1  it was tried and failed; demo: a fault was missed, or an alert was false;
     topics: a topic is not as the file wants it; checkpoint: one is damaged
  2  wrong usage or an invalid configuration: nothing was tried

`tidewatch COMMAND --help` says more about each.";

/// Real-time infrastructure monitoring on Kafka: windows, alerts, stores and channels in one program.
#[derive(Debug, Parser)]
#[command(name = "tidewatch", version, styles = STYLES, max_term_width = 100)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub logging: LogArgs,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it at work: simulated fleet, in-process Kafka, live page
    ///
    /// Starts an in-process Kafka and a simulated fleet that writes metrics and logs to it, half an hour
    /// of the past first, then live; monitors it with the very parts that `tidewatch run` uses; shows it
    /// on a page; prints each alert; and judges the alerts, since the faults are known. Needs nothing
    /// else on the machine.
    Demo(demo::DemoArgs),
    /// Run the pipeline of a file: read, compute, store, alert
    ///
    /// Reads the topics of a pipeline file, computes its statistics and rules, writes to its sinks and
    /// tells its receivers, until it is stopped (Ctrl-C, SIGTERM) or something fails for good. All
    /// processes of a cluster take the same file and the same -w and -n.
    Run(run::RunArgs),
    /// Check a pipeline file, offline, and say what it would do
    ///
    /// Every fault is told at once, with line, column and what to do: unknown keys, wrong units, names
    /// that stand for nothing, windows that cannot be cut into panes; and what is allowed but probably
    /// not meant. Reaches no network and fetches no secret. The inventory that the file names is checked
    /// with it.
    Check(check::CheckArgs),
    /// Create the topics of a pipeline file, or verify those that exist
    ///
    /// Creates the topics that the file reads and its dead-letter topic, with their partitions, copies
    /// and retention. What exists is compared and never changed: more partitions move keys to other
    /// partitions, and a shorter retention removes records.
    Topics(topics::TopicsArgs),
    /// Show the checkpoints of a pipeline, and verify them
    ///
    /// Looks into the state store that the file names: which checkpoints are there, what is in one of
    /// them, and whether every object of every one is whole. Changes nothing, so the pipeline may be at
    /// work.
    Checkpoint(checkpoint::CheckpointArgs),
    /// Send samples, log lines and files to a topic, by hand
    ///
    /// Each argument is a record, or each line of a file or of standard input. `server-1 85%` is a sample: its
    /// key is `server-1` and its value `85%`. Everything else is sent as it stands.
    Produce(produce::ProduceArgs),
    /// Ask the embedded store: metrics, log lines, alerts
    ///
    /// Reads the SQLite store that a pipeline file names, also while the pipeline writes to it, and shows
    /// what it finds as a table, the newest last, or as JSON.
    Query(query::QueryArgs),
    /// Write the workload of the benchmark, to files or to Kafka
    ///
    /// Metrics and logs of a fleet, made from a seed: the same options give the same bytes. With labels
    /// that say what goes wrong, where and when.
    Generate(generate::GenerateArgs),
}

/// How to log; to standard error, always.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How log lines look: `text`, for people, or `json`. The variable RUST_LOG says which are written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "TIDEWATCH_LOG_FORMAT")]
    #[arg(value_name = "FORMAT", help_heading = "Logging")]
    #[arg(hide_env = true, hide_possible_values = true)]
    pub log_format: LogFormat,
}

/// `NAME=VALUE`, whose name is not empty.
fn name_and_value(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
    Some((name.to_owned(), value.to_owned()))
}

/// An instant of RFC 3339, in milliseconds since 1970.
fn instant(text: &str) -> Option<u64> {
    text.parse::<jiff::Timestamp>().ok()?.as_millisecond().try_into().ok()
}

/// Which pipeline file.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The pipeline file.
    #[arg(short, long, value_name = "FILE", default_value = "tidewatch.toml")]
    #[arg(env = "TIDEWATCH_CONFIG")]
    pub config: PathBuf,
}

/// Runs what the command line asks for, and gives the exit code of the process.
pub fn main() -> ExitCode {
    let Cli { command, logging } = Cli::parse();
    if let Command::Run(args) = &command
        && args.process.is_some_and(|process| process >= args.processes)
    {
        let message = "--process counts from 0, so it is less than --processes";
        Cli::command().error(ErrorKind::ValueValidation, message).exit();
    }
    logging::start(logging.log_format);
    let done = match command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(args, logging.log_format),
        Command::Check(args) => check::run(&args),
        Command::Topics(args) => topics::run(&args),
        Command::Checkpoint(args) => checkpoint::run(&args),
        Command::Produce(args) => produce::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Generate(args) => generate::run(&args),
    };
    done.unwrap_or_else(|error| failure(&error))
}

/// Shows what is allowed in a file but probably not meant, on standard error.
#[allow(clippy::print_stderr, reason = "warnings of a command-line program")]
fn tell_warnings(warnings: &[Problem]) {
    for warning in warnings {
        eprintln!("{warning}\n");
    }
}

/// Tells why nothing came of it, on standard error, and gives the exit code for it.
#[allow(clippy::print_stderr, reason = "the last words of a command-line program")]
fn failure(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<ConfigErrors>() {
        Some(invalid) => {
            eprintln!("{invalid}");
            ExitCode::from(EXIT_INVALID)
        }
        None => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
