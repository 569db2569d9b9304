//! `tidewatch generate`: the reference workload of the benchmark, to files or to Kafka.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use clap::{ArgGroup, Args, ValueEnum};
use tidewatch_dataflow::time::Stopwatch;

use super::{EXIT_INVALID, EXIT_OK};
use crate::generate::output::{files, kafka};
use crate::generate::{
    HOSTS_MAX, HOSTS_MIN, INTERVAL_MAX, Options, OptionsError, START_DEFAULT, Topic, Workload,
    parse_count,
};

/// Writes the workload "fleet" of the benchmark: hosts that send cpu, mem and disk as Telegraf JSON, services that
/// log, records out of order and late, hosts and services in trouble, and labels that say which. The same
/// options give the same bytes. docs/benchmark.md describes every number.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["out", "brokers"]))]
#[command(after_help = "\
Examples:
  tidewatch generate --messages 10M --out fleet
      12 files of metrics, 12 of logs, and labels.json, in the folder `fleet`
  tidewatch generate --messages 10M --brokers 127.0.0.1:9092 --labels labels.json
      the same into the new topics fleet-metrics and fleet-logs
  tidewatch generate --messages 3M --hosts 10000 --interval 10 --out sparse
      ten thousand hosts that sample every ten seconds

Exit codes: 0 all is written, 1 it could not be written, 2 wrong usage")]
pub struct GenerateArgs {
    /// What is made.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Write files into this folder: one a partition, a line `key<TAB>message` a record, and labels.json.
    #[arg(long, value_name = "DIR", help_heading = "Target (one of --out and --brokers)")]
    pub out: Option<PathBuf>,
    /// Write to new topics of the Kafka cluster with these brokers, as host:port, separated by commas.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    #[arg(help_heading = "Target (one of --out and --brokers)")]
    pub brokers: Vec<String>,
    /// How the batches of records are compressed.
    #[arg(long, value_enum, default_value_t = Compression::None, help_heading = "Kafka")]
    pub compression: Compression,
    /// The topic of metrics. It must not exist.
    #[arg(long, value_name = "NAME", default_value = Topic::Metrics.name(), help_heading = "Kafka")]
    pub metrics_topic: String,
    /// The topic of logs. It must not exist.
    #[arg(long, value_name = "NAME", default_value = Topic::Logs.name(), help_heading = "Kafka")]
    pub logs_topic: String,
    /// Write the labels to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "out", help_heading = "Kafka")]
    pub labels: Option<PathBuf>,
}

/// Which workload. Other programs that need the same workload take the same arguments.
#[derive(Clone, Debug, Args)]
pub struct WorkloadArgs {
    /// Metric messages, such as 250000, 500k or 10M: rounded down to whole rounds of the fleet. A tenth
    /// as many log lines come on top.
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Workload")]
    pub messages: u64,
    /// The same seed gives the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Workload")]
    pub seed: u64,
    /// Hosts in the fleet.
    #[arg(long, value_name = "N", default_value_t = 1_000, help_heading = "Workload")]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(HOSTS_MIN)..=i64::from(HOSTS_MAX)))]
    pub hosts: u32,
    /// Seconds of event time between two samples of a host.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, help_heading = "Workload")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(INTERVAL_MAX)))]
    pub interval: u32,
    /// Event time of the first second, as 2023-11-14T22:13:20Z or in milliseconds since 1970.
    #[arg(long, value_name = "TIME", default_value_t = START_DEFAULT, value_parser = parse_time)]
    #[arg(help_heading = "Workload")]
    pub start: u64,
}

impl WorkloadArgs {
    /// The workload that is asked for.
    ///
    /// # Errors
    /// [`OptionsError`] when the arguments do not fit together.
    pub fn workload(&self) -> Result<Workload, OptionsError> {
        let WorkloadArgs { messages, seed, hosts, interval, start } = *self;
        Workload::new(Options { seed, messages, hosts, interval, start })
    }
}

/// How Kafka compresses batches.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
    /// Deflate with gzip's frame.
    Gzip,
    /// Snappy.
    Snappy,
}

impl Compression {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
        }
    }
}

/// Milliseconds since 1970, or an instant of RFC 3339.
pub(super) fn parse_time(text: &str) -> Result<u64, String> {
    text.parse().ok().or_else(|| super::instant(text)).ok_or_else(|| {
        "not a time since 1970: write 2023-11-14T22:13:20Z, or milliseconds".to_owned()
    })
}

/// Writes the workload, tells on standard error how far it is, and on standard output what was written.
///
/// # Errors
/// What kept it from being written.
#[allow(clippy::print_stderr, reason = "progress of a command-line program")]
pub fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let workload = match args.workload.workload() {
        Ok(workload) => workload,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(EXIT_INVALID));
        }
    };
    let total = Topic::ALL.into_iter().map(|topic| workload.count(topic)).sum();
    let clock = Stopwatch::start();
    let is_terminal = std::io::stderr().is_terminal();
    let mut calls = 0_u32;
    // Once a second on a terminal, once in ten elsewhere.
    let progress = |written| {
        calls += 1;
        if is_terminal || calls.is_multiple_of(10) {
            eprintln!("{}", progress_line(written, total, clock.elapsed().as_secs_f64()));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (labels, place) = match &args.out {
        Some(folder) => {
            let labels = files::write(&workload, folder, threads, progress)
                .context("could not write the workload")?;
            (labels, format!("`{}`", folder.display()))
        }
        None => {
            let target = kafka::Target {
                brokers: args.brokers.clone(),
                compression: args.compression.as_str(),
                metrics_topic: args.metrics_topic.clone(),
                logs_topic: args.logs_topic.clone(),
            };
            let labels = kafka::write(&workload, &target, threads, progress)
                .context("could not write the workload")?;
            if let Some(file) = &args.labels {
                files::write_labels(&labels, file)?;
            }
            (labels, format!("`{}` and `{}`", args.metrics_topic, args.logs_topic))
        }
    };
    let elapsed = clock.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout().lock(),
        "{} metrics ({} late) and {} log lines ({} late), {} s of event time, {} incidents, {} bursts\n\
         {:.1} MB to {place} in {elapsed:.1} s: {:.0} thousand records/s",
        labels.records.metrics,
        labels.late.metrics,
        labels.records.logs,
        labels.late.logs,
        labels.seconds,
        labels.incidents.len(),
        labels.bursts.len(),
        (labels.bytes.metrics + labels.bytes.logs) as f64 / 1e6,
        (labels.records.metrics + labels.records.logs) as f64 / elapsed.max(1e-3) / 1e3,
    )?;
    Ok(ExitCode::from(EXIT_OK))
}

/// `3.2 of 11.0 million records, 29 %, 1600 thousand a second`
fn progress_line(written: u64, total: u64, seconds: f64) -> String {
    let millions = |count: u64| count as f64 / 1e6;
    format!(
        "{:.1} of {:.1} million records, {} %, {:.0} thousand a second",
        millions(written),
        millions(total),
        100 * written / total.max(1),
        written as f64 / seconds.max(1e-3) / 1e3,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(parse_time("1700000000000"), Ok(START_DEFAULT));
        assert_eq!(parse_time("2023-11-14T22:13:20Z"), Ok(START_DEFAULT));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("1969-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn progress_says_how_far_it_is() {
        let line = "2.5 of 10.0 million records, 25 %, 1250 thousand a second";
        assert_eq!(progress_line(2_500_000, 10_000_000, 2.0), line);
    }
}
