//! `cargo xtask test`: all set-up, all checks, all tests, in one command.
//!
//! The steps are the table in [`steps`]; each has a heading, a log under
//! `target/xtask/`, and a line that says how it went and how long it took. A
//! failed step prints its whole log and does not stop the others. Servers are
//! fetched in the background from the start, so that long builds of them go on
//! while the code is compiled and checked.
//!
//! The last line is `N passed, N failed`, with `, N skipped` if a step could
//! not be done here. On a build machine (`CI=true`) nothing is skipped: what
//! can't be had fails.

mod demo;
mod deny;
mod outcome;
mod services;
mod steps;
mod targets;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{services::Fetch, shell::Job};
use outcome::Outcome;
use steps::{STEPS, Step};
use targets::Targets;

/// Which steps to run.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Run only these steps (may be repeated).
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave these steps out (may be repeated).
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// Show the steps and stop.
    #[arg(long)]
    list: bool,
}

/// What steps share.
#[derive(Debug)]
pub(crate) struct Context {
    project: PathBuf,
    /// Logs and reports.
    output: PathBuf,
    targets: Targets,
    fetch: Fetch,
}

impl Context {
    /// Cargo, quiet about its progress, in the project.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&self.project);
        command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never");
        command.env("TIDEWATCH_SKIPPED_FILE", self.skipped_file());
        command
    }

    /// Where tests say that they were skipped.
    fn skipped_file(&self) -> PathBuf {
        self.output.join("skipped-services.txt")
    }
}

/// Whether a service that can't be had is a failure.
fn skipping_is_forbidden() -> bool {
    ["CI", "TIDEWATCH_REQUIRE_SERVICES"]
        .into_iter()
        .filter_map(|name| env::var(name).ok())
        .any(|value| matches!(value.as_str(), "1" | "true"))
}

/// Runs the chosen steps; whether all of them passed or were skipped.
pub(crate) fn run(arguments: &TestArguments, project: &Path) -> Result<bool> {
    if arguments.list {
        for step in STEPS {
            println!("{:14} {}", step.name, step.title);
        }
        return Ok(true);
    }
    let chosen = choose(arguments)?;
    let started = Instant::now();
    let output = project.join("target/xtask");
    fs::create_dir_all(&output)
        .with_context(|| format!("could not make `{}`", output.display()))?;
    let needed = chosen.iter().flat_map(|step| step.needs.iter().copied());
    let context = Context {
        project: project.to_owned(),
        targets: Targets::read(project)?,
        fetch: Fetch::start_artifacts(needed, project),
        output,
    };
    // Only what this run skips counts.
    let _ = fs::remove_file(context.skipped_file());

    let mut results = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        println!("== {}/{} {}: {}", index + 1, chosen.len(), step.name, step.title);
        let (outcome, taken) = run_step(step, &context);
        println!("     {} ({:.1} s)", outcome.line(), taken.as_secs_f64());
        results.push((step.name, outcome, taken));
    }
    Ok(summarise(&results, &context, started.elapsed()))
}

/// The steps that the arguments ask for, in their order.
fn choose(arguments: &TestArguments) -> Result<Vec<&'static Step>> {
    let known = |name: &&String| STEPS.iter().any(|step| step.name == **name);
    if let Some(name) = arguments.only.iter().chain(&arguments.skip).find(|name| !known(name)) {
        bail!("there is no step `{name}`; `cargo xtask test --list` shows them");
    }
    let is_in = |list: &[String], step: &Step| list.iter().any(|name| name == step.name);
    let chosen = STEPS.iter().filter(|step| {
        (arguments.only.is_empty() || is_in(&arguments.only, step)) && !is_in(&arguments.skip, step)
    });
    Ok(chosen.collect())
}

/// Runs one step; prints its log if it fails.
fn run_step(step: &Step, context: &Context) -> (Outcome, Duration) {
    let started = Instant::now();
    let log = context.output.join(format!("{}.log", step.name));
    let outcome = Job::new(step.name, log).and_then(|job| {
        (step.run)(context, &job).inspect_err(|_| println!("{}", job.text().trim_end()))
    });
    let outcome = outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    (outcome, started.elapsed())
}

/// Prints what happened; whether nothing failed.
fn summarise(results: &[(&str, Outcome, Duration)], context: &Context, all: Duration) -> bool {
    println!("== summary");
    for (name, outcome, taken) in results {
        println!("     {name:14} {:7.1} s  {}", taken.as_secs_f64(), outcome.line());
    }
    println!("     {:14} {:7.1} s", "all", all.as_secs_f64());
    for line in fs::read_to_string(context.skipped_file()).unwrap_or_default().lines() {
        println!("     {line}");
    }
    let count = |wanted: fn(&Outcome) -> bool| {
        results.iter().filter(|(_, outcome, _)| wanted(outcome)).count()
    };
    let passed = count(|outcome| matches!(outcome, Outcome::Passed(_)));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{passed} passed, {failed} failed{skipped}");
    failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str], skip: &[&str]) -> Result<Vec<&'static str>> {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let arguments = TestArguments { only: owned(only), skip: owned(skip), list: false };
        Ok(choose(&arguments)?.into_iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_chosen_in_their_order() {
        assert_eq!(names(&["tidy", "fmt"], &[]).unwrap(), ["fmt", "tidy"]);
        assert_eq!(names(&["tidy", "fmt"], &["fmt"]).unwrap(), ["tidy"]);
        assert_eq!(names(&[], &[]).unwrap().len(), STEPS.len());
        assert!(names(&["nosuch"], &[]).unwrap_err().to_string().contains("`nosuch`"));
        assert!(names(&[], &["nosuch"]).is_err());
    }

    #[test]
    fn names_of_steps_are_unique() {
        let mut names = names(&[], &[]).unwrap();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
