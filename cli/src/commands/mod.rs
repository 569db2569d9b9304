//! The command line: what can be asked of `tidewatch`, and what its exit code says.
//!
//! Each command has a file with its arguments and a `run`. Arguments are turned into what the library
//! takes; the work is done there.

pub mod check;
pub mod demo;
mod logging;
pub mod run;
pub mod topics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

pub use logging::LogFormat;

use crate::config::{ConfigErrors, Problem};

/// Everything went as asked.
pub const EXIT_OK: u8 = 0;
/// It was tried and failed; of `demo`: a fault was missed, or an alert was false; of `topics`: a topic is
/// not as the file wants it.
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
  tidewatch demo                        a fleet, a broker, faults, alerts and a page; needs nothing else
  tidewatch check -c tidewatch.toml     is the file right, and what would it do?
  tidewatch topics -c tidewatch.toml    create the topics it reads
  tidewatch run -c tidewatch.toml -w 4  monitor, with four workers

Exit codes:
  0  all went as asked
  1  it was tried and failed; demo: a fault was missed or an alert false; topics: a topic differs
  2  wrong usage, or an invalid configuration: nothing was tried

`tidewatch help COMMAND` says more about each.";

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
    /// Show it at work: simulated fleet, in-process Kafka, live page; needs nothing else.
    Demo(demo::DemoArgs),
    /// Run the pipeline of a file: read, compute, store, alert.
    Run(run::RunArgs),
    /// Check a pipeline file, offline, and say what it would do.
    Check(check::CheckArgs),
    /// Create the topics of a pipeline file, or verify those that exist.
    Topics(topics::TopicsArgs),
}

/// How to log; to standard error, always.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How log lines look. RUST_LOG says which are written: "info,rdkafka=debug", for instance.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "TIDEWATCH_LOG_FORMAT")]
    #[arg(hide_env = true, value_name = "FORMAT", help_heading = "Logging")]
    pub log_format: LogFormat,
}

/// Which pipeline file.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The pipeline file: sources, statistics, rules, receivers, sinks.
    #[arg(short, long, value_name = "FILE", default_value = "tidewatch.toml")]
    #[arg(env = "TIDEWATCH_CONFIG")]
    pub config: PathBuf,
}

/// Runs what the command line asks for, and gives the exit code of the process.
pub fn main() -> ExitCode {
    let Cli { command, logging } = Cli::parse();
    logging::start(logging.log_format);
    let done = match command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(&args),
        Command::Topics(args) => topics::run(&args),
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
