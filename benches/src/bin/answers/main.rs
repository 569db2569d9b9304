//! `answers`: the exact answers to the benchmark's queries, and whether those of an engine are right.
//!
//! ```text
//! answers reference --labels labels.json --out exact
//! answers check     --labels labels.json --answers out --queries q1,q4
//! ```
//!
//! The workload is made again from its options, which stand in the labels that `tidewatch generate` writes, or
//! are given (`--messages 10M --seed 1`). With `--records DIR` it is read from the files of `tidewatch generate
//! --out DIR` instead, message by message.
//!
//! The last line of standard output is the summary: `ok`, or what is wrong; examples of that, and progress,
//! are on standard error. Exit codes: 0 right, 1 wrong, 2 could not be checked.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a command-line program")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tidewatch::generate::{Labels, Options, START_DEFAULT, Workload, parse_count};
use tidewatch_benches::reference::{Query, Reference, Verdict, compare, compare_totals};

/// Exact answers to the benchmark's queries, and whether others are right.
#[derive(Debug, Parser)]
#[command(name = "answers", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the exact answers as q1.csv to q4.csv
    Reference {
        #[command(flatten)]
        data: DataArgs,
        /// The folder for them; made if need be.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Compare the answers of an engine with the exact ones
    Check {
        #[command(flatten)]
        data: DataArgs,
        /// The folder with q1*.csv to q4*.csv.
        #[arg(long, value_name = "DIR")]
        answers: PathBuf,
        /// Which queries were asked.
        #[arg(long, value_name = "QUERIES", value_delimiter = ',', default_value = "q1,q2,q3,q4")]
        queries: Vec<Query>,
        /// The engine corrects itself: the last row of a key in a file counts.
        #[arg(long)]
        corrects: bool,
        /// The engine knows no event time: compare only how many samples Q1 has counted, of any window.
        #[arg(long)]
        arrival_time: bool,
    },
}

/// Which workload the answers are about: exactly one of the first three.
#[derive(Debug, Args)]
struct DataArgs {
    /// That of these labels, made again.
    #[arg(long, value_name = "FILE", group = "data", required = true)]
    labels: Option<PathBuf>,
    /// That in this folder, as it was written there.
    #[arg(long, value_name = "DIR", group = "data", required = true)]
    records: Option<PathBuf>,
    /// That of so many metric messages, such as 10M.
    #[arg(long, value_name = "N", value_parser = parse_count, group = "data", required = true)]
    messages: Option<u64>,
    /// Its seed.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "messages")]
    seed: u64,
    /// Its hosts.
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "messages")]
    hosts: u32,
    /// Its seconds between two samples of a host.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, requires = "messages")]
    interval: u32,
    /// Event time of its first second, in milliseconds since 1970.
    #[arg(long, value_name = "MS", default_value_t = START_DEFAULT, requires = "messages")]
    start: u64,
}

impl DataArgs {
    /// Finds the exact answers.
    fn reference(&self) -> anyhow::Result<Reference> {
        let DataArgs { labels, records, messages, seed, hosts, interval, start } = self;
        if let Some(folder) = records {
            return Ok(Reference::of_folder(folder)?);
        }
        let options = match labels {
            Some(file) => {
                let wrong = || format!("could not read the labels `{}`", file.display());
                let text = fs::read(file).with_context(wrong)?;
                serde_json::from_slice::<Labels>(&text).with_context(wrong)?.options
            }
            None => Options {
                seed: *seed,
                messages: messages.unwrap_or_default(),
                hosts: *hosts,
                interval: *interval,
                start: *start,
            },
        };
        let workload = Workload::new(options).context("there is no such workload")?;
        Ok(Reference::of_workload(&workload)?)
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let verdict = match command {
        Command::Reference { data, out } => {
            let reference = data.reference()?;
            fs::create_dir_all(out)
                .with_context(|| format!("could not make the folder `{}`", out.display()))?;
            reference.write(out)?;
            let Reference { q1, q2, q3, q4, refused, .. } = &reference;
            let rows = [q1.len(), q2.len(), q3.values().map(Vec::len).sum(), q4.len()];
            let [q1, q2, q3, q4] = rows;
            eprintln!("rows: q1 {q1}, q2 {q2}, q3 {q3}, q4 {q4}; {refused} late records refused");
            Verdict::default()
        }
        Command::Check { data, answers, arrival_time: true, .. } => {
            compare_totals(answers, &data.reference()?)?
        }
        Command::Check { data, answers, queries, corrects, .. } => {
            compare(answers, &data.reference()?, queries, *corrects)?
        }
    };
    for (query, faults) in &verdict.faults {
        for example in &faults.examples {
            eprintln!("{query}: {example}");
        }
    }
    println!("{verdict}");
    Ok(ExitCode::from(u8::from(!verdict.is_ok())))
}

fn main() -> ExitCode {
    run(&Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_fit_together() {
        Cli::command().debug_assert();
        let parse = |args: &str| Cli::try_parse_from(args.split(' '));
        assert!(
            parse("answers check --labels l.json --answers d --queries q1,q4 --corrects").is_ok()
        );
        assert!(
            parse("answers check --labels l.json --answers d --queries q1 --arrival-time").is_ok()
        );
        assert!(parse("answers reference --messages 10M --seed 3 --out d").is_ok());
        assert!(parse("answers reference --out d").is_err(), "about what?");
        assert!(parse("answers reference --labels l --messages 1M --out d").is_err());
        assert!(parse("answers check --labels l --answers d --queries q5").is_err());
    }

    #[test]
    fn labels_and_options_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let workload = Workload::new(Options { hosts: 60, ..Options::new(3, 3_600) }).unwrap();
        tidewatch::generate::output::files::write(&workload, path, 1, |_| {}).unwrap();
        let out = path.join("exact");
        let of = |data: &str, more: &str| {
            let line = format!("answers {more} {data}");
            run(&Cli::try_parse_from(line.split(' ')).unwrap().command).unwrap()
        };
        let options = "--messages 3600 --hosts 60 --seed 3";
        let labels = format!("--labels {}", path.join("labels.json").display());
        let records = format!("--records {}", path.display());
        assert_eq!(of(&labels, &format!("reference --out {}", out.display())), ExitCode::SUCCESS);
        for data in [options, &labels, &records] {
            let check = format!("check --answers {}", out.display());
            assert_eq!(of(data, &check), ExitCode::SUCCESS, "{data}");
            assert_eq!(of(data, &format!("{check} --arrival-time")), ExitCode::SUCCESS, "{data}");
        }
        fs::write(out.join("q4.csv"), "1700000010000,cart,4000\n").unwrap();
        let check = format!("check --answers {}", out.display());
        assert_eq!(of(&labels, &check), ExitCode::from(1));
        assert_eq!(of(&labels, &format!("{check} --queries q1,q2,q3")), ExitCode::SUCCESS);
    }
}
