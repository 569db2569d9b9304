//! The project's build system: one command runs every check and every test.
//!
//! - `cargo xtask test` does all set-up and runs everything, see [`mod@test`];
//! - `cargo xtask chaos` kills the program on real servers, see [`chaos`];
//! - `cargo xtask compare` measures the program beside other engines, see [`compare`];
//! - `cargo xtask pictures` draws what the dashboards show, see [`pictures`];
//! - `cargo xtask tidy` checks the house rules, see [`tidy`];
//! - `cargo xtask services` fetches the real servers, see [`services`].

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what a command-line program does"
)]

mod chaos;
mod compare;
mod pictures;
mod services;
mod shell;
mod test;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, checks and tests tidewatch.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Does all set-up, then runs all checks and all tests.
    Test(test::TestArguments),
    /// Kills the program again and again on real servers, and checks what it leaves behind.
    Chaos(chaos::ChaosArguments),
    // Described where its arguments are, at length.
    Compare(compare::CompareArguments),
    /// Runs a program and writes down what it and all its descendants cost.
    #[command(hide = true)]
    Meter(compare::meter::MeterArguments),
    /// Executes the queries of all dashboards on real stores, and draws the answers into docs/pictures.
    Pictures,
    /// Checks the house rules.
    Tidy,
    /// Fetches, lists and locates the real servers for the service tests.
    #[command(subcommand)]
    Services(services::ServicesCommand),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command, &project_folder()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the task succeeded; an error if it could not be done.
fn run(task: Task, project: &Path) -> Result<bool> {
    match task {
        Task::Test(arguments) => test::run(&arguments, project),
        Task::Chaos(arguments) => chaos::run(&arguments, project),
        Task::Compare(arguments) => compare::run(&arguments, project),
        Task::Meter(arguments) => compare::meter::run(&arguments),
        Task::Pictures => pictures::run(project),
        Task::Tidy => tidy::run(project).map(|()| true),
        Task::Services(command) => services::run(command, project).map(|()| true),
    }
}

/// The workspace's top folder: the one above this crate's.
fn project_folder() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
