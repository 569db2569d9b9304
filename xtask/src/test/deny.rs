//! Licences, bans, sources and, where their database can be reached, advisories.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result};
use tidewatch_testkit::cache::CARGO_DENY;

use super::{Context, outcome::Outcome, skipping_is_forbidden};
use crate::shell::Job;

/// How long a check may take.
const CHECK_LIMIT: Duration = Duration::from_mins(10);
/// How long the advisory database may take to come.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

/// Runs cargo-deny with the project's `deny.toml`.
pub(super) fn run(context: &Context, job: &Job) -> Result<Outcome> {
    if let Err(error) = context.fetch.wait(CARGO_DENY) {
        if skipping_is_forbidden() {
            return Err(error);
        }
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    let program = CARGO_DENY.folder()?.join("bin/cargo-deny");
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(&context.project);
        command.env("GIT_TERMINAL_PROMPT", "0");
        command
    };
    job.run(&mut deny(&["--locked", "check", "bans", "licenses", "sources"]), CHECK_LIMIT)?;
    if job.run(&mut deny(&["fetch", "db"]), FETCH_LIMIT).is_err() {
        let note = "advisories not checked, their database can't be reached";
        return Ok(Outcome::Passed(note.into()));
    }
    job.run(&mut deny(&["--locked", "check", "--disable-fetch", "advisories"]), CHECK_LIMIT)
        .context("an advisory about a dependency")?;
    Ok(Outcome::Passed("with advisories".into()))
}
