//! `tidewatch query`: metrics, log lines and incidents from the embedded store.

mod show;
mod since;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use tidewatch_connectors::sinks::sqlite::{LogQuery, Scope, SqliteArchive};
use tidewatch_dataflow::time::{Clock, EventTime};

use super::{ConfigArgs, EXIT_OK};
use crate::config;
pub use since::Since;

/// Asks the SQLite store of a pipeline. Changes nothing, so the pipeline may be at work.
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    /// What to ask for.
    #[command(subcommand)]
    pub what: What,
}

/// What can be asked for.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// Points of the statistics
    #[command(after_help = "\
Examples:
  tidewatch query metrics cpu --host web-1
  tidewatch query metrics cpu --label window=10s --since 10m
  tidewatch query metrics --json | jq '.[].fields.mean'

Exit codes: 0 shown, also when nothing was found; 1 the store cannot be read;
            2 wrong usage or invalid configuration")]
    Metrics(MetricsArgs),
    /// Log lines, by time, words and level
    #[command(after_help = "\
Examples:
  tidewatch query logs --search 'level:error timed out' --since 6h
  tidewatch query logs --host web-1 --since 2026-03-01T08:00:00Z --until 10m

Exit codes: 0 shown, also when nothing was found; 1 the store cannot be read;
            2 wrong usage or invalid configuration")]
    Logs(LogsArgs),
    /// Incidents that were open at some time
    #[command(after_help = "\
Examples:
  tidewatch query alerts --open
  tidewatch query alerts --search 'cpu web' --since 7d --json

Exit codes: 0 shown, also when nothing was found; 1 the store cannot be read;
            2 wrong usage or invalid configuration")]
    Alerts(AlertsArgs),
}

/// Where, of which time, and how it is shown.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// The pipeline file whose `[sinks.sqlite]` is asked.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The database file itself, without a pipeline file.
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// From when on: how long ago, or a time such as `2026-03-01T00:00:00Z`.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub since: Since,
    /// Until when, in the same form.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub until: Since,
    /// Only what concerns this host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only what carries this label; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// How many at most, the newest; up to 10000.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// Print JSON, for programs: a list of objects, times in milliseconds.
    #[arg(long)]
    pub json: bool,
}

/// Which points.
#[derive(Clone, Debug, Args)]
pub struct MetricsArgs {
    /// The statistic; all without it.
    #[arg(value_name = "STATISTIC")]
    pub measurement: Option<String>,
    /// Where and when.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Which lines.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// Words that all occur, whole or as beginnings; `host:`, `service:` and `level:` (at least) narrow.
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub search: String,
    /// Where and when.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Which incidents.
#[derive(Clone, Debug, Args)]
pub struct AlertsArgs {
    /// Words that all occur in rule, labels or summary.
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub search: String,
    /// Only those that are open now.
    #[arg(long)]
    pub open: bool,
    /// Where and when.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `NAME=VALUE`
fn label(text: &str) -> Result<(String, String), String> {
    super::name_and_value(text).ok_or_else(|| "write NAME=VALUE, such as window=10s".to_owned())
}

impl CommonArgs {
    /// The store that is meant.
    fn open(&self) -> anyhow::Result<SqliteArchive> {
        let path = match &self.database {
            Some(path) => path.clone(),
            None => {
                let config = config::load(&self.config.config)?;
                let Some(sqlite) = config.sinks.sqlite else {
                    bail!(
                        "`{}` has no [sinks.sqlite]: only the embedded store can be asked; ask other stores with their own tools",
                        self.config.config.display()
                    );
                };
                sqlite.path
            }
        };
        if !path.exists() {
            bail!(
                "there is no store `{}`: has the pipeline run yet, on this machine?",
                path.display()
            );
        }
        SqliteArchive::open(&path).context("could not ask the store")
    }

    /// Of which time and which labels, `now` being the present.
    fn scope(&self, now: EventTime) -> Scope {
        let host = self.host.iter().map(|host| ("host".to_owned(), host.clone()));
        Scope {
            since: self.since.before(now),
            until: self.until.before(now),
            labels: host.chain(self.label.iter().cloned()).collect(),
            limit: self.limit,
        }
    }
}

/// Asks, and shows the answer on standard output.
///
/// # Errors
/// An invalid file; a store that is not there or cannot be read.
pub fn run(args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let now = Clock::System.now();
    let text = match &args.what {
        What::Metrics(MetricsArgs { measurement, common }) => {
            let found = common.open()?.points(measurement.as_deref(), &common.scope(now))?;
            shown(common, &found, show::points)?
        }
        What::Logs(LogsArgs { search, common }) => {
            let found = common.open()?.logs(&LogQuery::parse(search), &common.scope(now))?;
            shown(common, &found, show::lines)?
        }
        What::Alerts(AlertsArgs { search, open, common }) => {
            let words: Vec<&str> = search.split_whitespace().collect();
            let found = common.open()?.incidents(&words, *open, &common.scope(now))?;
            shown(common, &found, show::incidents)?
        }
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough: `| head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other.context("could not write to standard output")?,
    }
    Ok(ExitCode::from(EXIT_OK))
}

fn shown<T: Serialize>(
    common: &CommonArgs,
    found: &[T],
    table: fn(&[T]) -> Result<String, std::fmt::Error>,
) -> anyhow::Result<String> {
    Ok(match common.json {
        true => serde_json::to_string_pretty(found)? + "\n",
        false if found.is_empty() => "nothing was found\n".to_owned(),
        false => table(found)?,
    })
}
