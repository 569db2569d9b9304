//! `tidewatch checkpoint`: what is in the state store of a pipeline, and is it whole?

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use tidewatch_dataflow::checkpoint::StateStore;
use tidewatch_dataflow::time::{Clock, EventTime};

use super::{ConfigArgs, EXIT_FAILED, EXIT_OK};
use crate::config::{self, CheckpointConfig};

pub mod audit;
pub mod facts;
mod show;

use audit::Survey;
use facts::{Detail, Fault, Line};

/// Shows the checkpoints of a pipeline and verifies them. Changes nothing, so the pipeline may be at work.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  tidewatch checkpoint list -c tidewatch.toml     which are there?
  tidewatch checkpoint inspect -c tidewatch.toml  the newest: offsets, operators
  tidewatch checkpoint verify -c tidewatch.toml   read all, check all checksums

Exit codes: 0 all is well; 1 verify found damage; or the store or the checkpoint
            is not there, or cannot be read;
            2 wrong usage or invalid configuration")]
pub struct CheckpointArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with checkpoints.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// List the checkpoints, newest first, and say which are damaged
    ///
    /// Reads what each checkpoint is made of, and sees whether all of it is there. Checksums of the state
    /// itself are for `verify`.
    #[command(after_help = "\
Examples:
  tidewatch checkpoint list
  tidewatch checkpoint list -c /etc/tidewatch.toml --json | jq '.[0].event_time'

Exit codes: 0 listed; 1 there is no store, or it cannot be read;
            2 wrong usage or invalid configuration")]
    List(ListArgs),
    /// Show one checkpoint: its offsets, operators and undelivered items
    #[command(after_help = "\
Examples:
  tidewatch checkpoint inspect          the newest
  tidewatch checkpoint inspect 3-12     the twelfth of run 3
  tidewatch checkpoint inspect --json | jq '.partitions[].offset'

Exit codes: 0 shown; 1 there is no such checkpoint, or the store cannot be read;
            2 wrong usage or invalid configuration")]
    Inspect(InspectArgs),
    /// Read every object of the store and check every checksum
    ///
    /// Those of every checkpoint, the journal, the outbox and the claims of runs.
    #[command(after_help = "\
Examples:
  tidewatch checkpoint verify
  tidewatch checkpoint verify -c /etc/tidewatch.toml || page-somebody

Exit codes: 0 all is whole; 1 something is damaged, there is no checkpoint, or
            the store cannot be read; 2 wrong usage or invalid configuration")]
    Verify(ListArgs),
}

/// Where the checkpoints are.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Which pipeline file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Which checkpoint.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Where it is.
    #[command(flatten)]
    pub list: ListArgs,
    /// Its name in the list, or RUN-NUMBER, or NUMBER; the newest without it.
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: Option<String>,
}

/// Does what `args` say, and tells it on standard output.
///
/// # Errors
/// An invalid file; a store that is not there or cannot be read; no such checkpoint.
pub fn run(args: &CheckpointArgs) -> anyhow::Result<ExitCode> {
    let list = match &args.action {
        Action::List(list) | Action::Verify(list) => list,
        Action::Inspect(inspect) => &inspect.list,
    };
    let config = config::load(&list.config.config)?.checkpoint;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("could not start a runtime")?;
    let store = config.store.open_existing(runtime.handle());
    let store =
        store.with_context(|| format!("could not open the state store `{}`", config.store))?;
    let view = View { store, config, now: Clock::System.now() };
    let (text, code) = view.answer(&args.action)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::from(code))
}

/// A state store, looked at.
pub struct View {
    /// The store.
    pub store: Arc<dyn StateStore>,
    /// What the pipeline file says of it.
    pub config: CheckpointConfig,
    /// The present.
    pub now: EventTime,
}

impl View {
    /// What `action` prints, and its exit code.
    ///
    /// # Errors
    /// A store that cannot be read; no such checkpoint.
    pub fn answer(&self, action: &Action) -> anyhow::Result<(String, u8)> {
        let store = self.store.as_ref();
        let mut survey = Survey::of(store)?;
        let mut out = String::new();
        let mut code = EXIT_OK;
        match action {
            Action::List(args) => {
                let lines = self.lines(&survey);
                match args.json {
                    true => out = self::json(&lines)?,
                    false if lines.is_empty() => self.nothing(&mut out),
                    false => {
                        show::list(&mut out, &lines)?;
                        self.whose(&mut out, &survey);
                    }
                }
            }
            Action::Inspect(args) => {
                let found = survey.find(args.checkpoint.as_deref());
                let detail = found.and_then(|index| Detail::of(store, &survey, index, self.now));
                let Some(detail) = detail else { return self.no_such(args, &survey) };
                match args.list.json {
                    true => out = self::json(&detail)?,
                    false => {
                        show::inspect(&mut out, &detail)?;
                        self.whose(&mut out, &survey);
                    }
                }
            }
            Action::Verify(args) => {
                let effort = survey.verify(store)?;
                let lines = self.lines(&survey);
                let is_damaged = |line: &Line| !line.damages.is_empty();
                if lines.is_empty() || lines.iter().any(is_damaged) || !survey.beside.is_empty() {
                    code = EXIT_FAILED;
                }
                match args.json {
                    true => {
                        let (objects, bytes) = (effort.objects, effort.bytes);
                        out = self::json(
                            &json!({"checkpoints": lines, "beside": Fault::of(&survey.beside), "objects_read": objects, "bytes_read": bytes}),
                        )?;
                    }
                    false if lines.is_empty() && survey.beside.is_empty() => self.nothing(&mut out),
                    false => show::verified(&mut out, &lines, &survey.beside, effort)?,
                }
            }
        }
        Ok((out, code))
    }

    fn lines(&self, survey: &Survey) -> Vec<Line> {
        survey.checkpoints.iter().map(|checkpoint| Line::of(checkpoint, self.now)).collect()
    }

    fn nothing(&self, out: &mut String) {
        let every = tidewatch_dataflow::config::HumanDuration::from(self.config.interval);
        out.push_str(&format!(
            "no checkpoint in `{}` yet: `tidewatch run` writes one every {every}\n",
            self.config.store
        ));
    }

    /// Tells when the state is another pipeline's.
    fn whose(&self, out: &mut String, survey: &Survey) {
        let newest = survey.checkpoints.iter().find_map(|checkpoint| checkpoint.manifest.as_ref());
        if let Some(newest) = newest.filter(|newest| newest.pipeline != self.config.pipeline) {
            out.push_str(&format!(
                "\nThe state belongs to pipeline `{}`, and the file says `pipeline = \"{}\"`: `tidewatch run` \
                 would refuse it.\n",
                newest.pipeline, self.config.pipeline
            ));
        }
    }

    fn no_such<T>(&self, args: &InspectArgs, survey: &Survey) -> anyhow::Result<T> {
        let store = &self.config.store;
        match (&args.checkpoint, survey.checkpoints.first()) {
            (_, None) => bail!(
                "there is no checkpoint in `{store}` yet: start the pipeline with `tidewatch run`"
            ),
            (None, _) => {
                bail!("the newest checkpoint in `{store}` was dropped just now: try again")
            }
            (Some(wanted), Some(newest)) => bail!(
                "there is no checkpoint `{wanted}` in `{store}`: `tidewatch checkpoint list` shows those there \
                 are, and the newest is `{}`",
                newest.title()
            ),
        }
    }
}

fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("could not write JSON")?;
    text.push('\n');
    Ok(text)
}
