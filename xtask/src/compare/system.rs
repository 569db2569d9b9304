//! What is measured: tidewatch, the raw client below it, and peers.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use super::{
    options::CompareArguments,
    peer::{self, Peer},
    site::Task,
};

/// Something to measure.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum System {
    /// This project, with a name for the variant and its arguments.
    Tidewatch(&'static str, &'static [&'static str]),
    /// librdkafka taking the records from the broker, and nothing else.
    Floor,
    /// Another engine.
    Peer(Peer),
}

/// tidewatch as it is compared: one worker.
const ALONE: System = System::Tidewatch("tidewatch", &["--workers", "1"]);
/// tidewatch on two cores, in two ways.
const SCALED: [System; 2] = [
    System::Tidewatch("tidewatch-w2", &["--workers", "2"]),
    System::Tidewatch("tidewatch-n2", &["--processes", "2"]),
];

/// The systems that were asked for, in the order in which they run.
pub(super) fn chosen(arguments: &CompareArguments, project: &Path) -> Result<Vec<System>> {
    if arguments.messages < 3 * arguments.small_messages() {
        bail!(
            "`--messages {}` is too little beside the {} of the small topics, whose cost counts as start-up: ask for {} or more",
            arguments.messages,
            arguments.small_messages(),
            3 * arguments.small_messages()
        );
    }
    let peers = peer::find(&project.join("benches/peers"), &arguments.peers)?;
    let mut systems = vec![ALONE];
    if arguments.scaling {
        systems.extend(SCALED);
    }
    systems.push(System::Floor);
    systems.extend(peers.into_iter().map(System::Peer));
    Ok(systems)
}

impl System {
    /// What its line begins with.
    pub(super) fn name(&self) -> &str {
        match self {
            System::Tidewatch(name, _) => name,
            System::Floor => "librdkafka",
            System::Peer(peer) => &peer.id,
        }
    }

    /// Its version, if it has one of its own.
    pub(super) fn version(&self) -> Option<&str> {
        match self {
            System::Tidewatch(..) => Some(env!("CARGO_PKG_VERSION")),
            System::Floor => None,
            System::Peer(peer) => Some(&peer.manifest.version),
        }
    }

    /// What a reader of its figures should know.
    pub(super) fn notes(&self) -> &str {
        match self {
            System::Tidewatch("tidewatch", _) => {
                "one worker, checkpoints every 10 s as in production, CSV files"
            }
            System::Tidewatch(..) => "the same, on two cores",
            System::Floor => "takes the records from the broker in batches and looks at none",
            System::Peer(peer) => &peer.manifest.notes,
        }
    }

    /// Those of `asked` that it can answer.
    pub(super) fn queries(&self, asked: &[String]) -> Vec<String> {
        let can = |query: &&String| match self {
            System::Tidewatch(..) | System::Floor => true,
            System::Peer(peer) => peer.manifest.queries.contains(query),
        };
        asked.iter().filter(can).cloned().collect()
    }

    /// The command that does `task`.
    pub(super) fn command(&self, task: &Task<'_>) -> Command {
        let mut command = match self {
            System::Tidewatch(_, arguments) => {
                let mut command = Command::new(task.programs.join("fleet"));
                command.args(*arguments);
                command
            }
            System::Floor => {
                let mut command = Command::new(task.programs.join("fleet"));
                command.arg("--floor");
                command
            }
            System::Peer(peer) => Command::new(peer.folder.join("run.sh")),
        };
        let Task { data, .. } = task;
        command.env("BOOTSTRAP", task.bootstrap);
        command.env("METRICS_TOPIC", &data.metrics_topic).env("LOGS_TOPIC", &data.logs_topic);
        command.env("METRICS_RECORDS", data.metrics.to_string());
        command.env("LOGS_RECORDS", data.logs.to_string());
        command.env("ERROR_THRESHOLD", data.error_threshold.to_string());
        command.env("QUERIES", task.queries.join(","));
        command.env("OUT", task.out).env("PEERS_CACHE", task.cache);
        command.env("PARALLELISM", task.parallelism.to_string());
        command
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: CompareArguments,
    }

    fn names(line: &[&str]) -> Result<Vec<String>> {
        let line = ["compare", "--peers", "none"].iter().chain(line);
        let systems = chosen(&Line::parse_from(line).arguments, Path::new("nowhere"))?;
        Ok(systems.iter().map(|system| system.name().to_owned()).collect())
    }

    #[test]
    fn tidewatch_comes_first_and_the_floor_is_always_there() {
        assert_eq!(names(&[]).unwrap(), ["tidewatch", "librdkafka"]);
        let scaled = ["tidewatch", "tidewatch-w2", "tidewatch-n2", "librdkafka"];
        assert_eq!(names(&["--scaling"]).unwrap(), scaled);
    }

    #[test]
    fn too_little_to_measure_is_refused() {
        let error = names(&["--messages", "200k"]).unwrap_err().to_string();
        assert!(error.contains("ask for 306000 or more"), "{error}");
        assert!(names(&["--messages", "306000"]).is_ok());
    }
}
