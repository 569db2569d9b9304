//! `cargo xtask chaos`: kills the program again and again on real servers, and checks that nothing is lost
//! and nothing said twice.
//!
//! The work is done by the service test `service_chaos` of the program, as it is released; this passes
//! on how much of it, fetches the servers first, and shows its progress as it goes.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use tidewatch_testkit::cache::{self, Artifact};

use crate::services::{self, ServicesCommand};

/// The servers that the test starts.
const SERVERS: [Artifact; 4] =
    [cache::KAFKA, cache::INFLUXDB, cache::ELASTICSEARCH, cache::AIOSMTPD];

/// How much chaos.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChaosArguments {
    /// How many processes to kill: members, supervisors, brokers; about 4 s each.
    #[arg(long, value_name = "N", default_value_t = 25)]
    kills: u32,
    /// What data, faults and moments are drawn from. Default: another one each time, printed.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Where the program keeps its state. Default: drawn from the seed.
    #[arg(long, value_enum)]
    state: Option<StatePlace>,
    /// Seconds of event time that pass in a second. Default: 60, and 15 with more than 100 kills.
    #[arg(long, value_name = "N")]
    speed: Option<u32>,
}

/// Where state is kept.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum StatePlace {
    /// In a folder.
    Folder,
    /// In a bucket of a fake of S3.
    S3,
}

impl StatePlace {
    /// As the test is told.
    fn as_str(self) -> &'static str {
        match self {
            StatePlace::Folder => "folder",
            StatePlace::S3 => "s3",
        }
    }
}

/// Runs it; whether all was well.
pub(crate) fn run(arguments: &ChaosArguments, project: &Path) -> Result<bool> {
    let names = SERVERS.iter().map(|server| server.name.to_owned()).collect();
    services::run(ServicesCommand::Fetch { names }, project)?;
    let status = command(arguments)
        .current_dir(project)
        .status()
        .context("could not start `cargo test` for the test of chaos")?;
    Ok(status.success())
}

/// The test, with what it is to do in its environment.
fn command(arguments: &ChaosArguments) -> Command {
    let mut command = Command::new("cargo");
    command.args(["test", "--release", "--package", "tidewatch", "--test", "service_chaos"]);
    command.args(["--", "--exact", "chaos", "--nocapture"]);
    command.env("TIDEWATCH_REQUIRE_SERVICES", "1");
    command.env("TIDEWATCH_CHAOS_KILLS", arguments.kills.to_string());
    for (name, value) in [("SEED", arguments.seed), ("SPEED", arguments.speed.map(u64::from))] {
        if let Some(value) = value {
            command.env(format!("TIDEWATCH_CHAOS_{name}"), value.to_string());
        }
    }
    if let Some(state) = arguments.state {
        command.env("TIDEWATCH_CHAOS_STATE", state.as_str());
    }
    command
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ChaosArguments,
    }

    fn variable(line: &[&str], name: &str) -> Option<String> {
        let arguments = Line::parse_from(["chaos"].iter().chain(line)).arguments;
        let command = command(&arguments);
        let found = command.get_envs().find(|(key, _)| *key == OsStr::new(name));
        found.and_then(|(_, value)| value).map(|value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn the_test_is_told_what_was_asked_for() {
        let line = ["--kills", "1000", "--seed", "7", "--state", "s3"];
        assert_eq!(variable(&line, "TIDEWATCH_CHAOS_KILLS").as_deref(), Some("1000"));
        assert_eq!(variable(&line, "TIDEWATCH_CHAOS_SEED").as_deref(), Some("7"));
        assert_eq!(variable(&line, "TIDEWATCH_CHAOS_STATE").as_deref(), Some("s3"));
        assert_eq!(variable(&[], "TIDEWATCH_CHAOS_STATE"), None, "drawn from the seed");
        assert_eq!(variable(&[], "TIDEWATCH_CHAOS_KILLS").as_deref(), Some("25"));
        assert_eq!(variable(&[], "TIDEWATCH_CHAOS_SEED"), None, "drawn by the test");
    }
}
