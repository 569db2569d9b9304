//! `cargo xtask compare`: tidewatch and its peers on the benchmark, in turn, on one broker.
//!
//! ```text
//!  build, broker ─► topics: full and small ─► each system on both, metered from outside ─► a line each
//!                          │                              │                                  record
//!                       labels ──────────► answers ◄── OUT/*.csv
//! ```
//!
//! The module files in reading order: [`options`] what was asked for, [`site`] programs, broker and topics,
//! [`peer`] and [`system`] what is run, [`warm`] the memory before it, [`meter`] what a run cost, [`exchange`]
//! what crossed between its processes, [`verdict`] whether its answers are right,
//! [`outcome`] what comes of both, [`machine`], [`record`] and [`plot`] what is kept.

mod clock;
mod dataset;
mod exchange;
mod machine;
pub(crate) mod meter;
mod options;
mod outcome;
mod peer;
mod plot;
mod record;
mod run;
mod site;
mod system;
mod usage;
mod verdict;
mod warm;

use std::path::Path;

use anyhow::Result;

pub(crate) use options::CompareArguments;

use clock::Progress;
use outcome::{Outcome, Status};
use record::Record;
use run::Bench;
use system::System;

/// Runs it; whether all answers were right that must be.
pub(crate) fn run(arguments: &CompareArguments, project: &Path) -> Result<bool> {
    let progress = Progress::start();
    let machine = machine::describe(project)?;
    let systems = system::chosen(arguments, project)?;
    let bench = Bench::prepare(arguments, project, &progress)?;
    let prepared = systems.iter().map(|system| bench.set_up(system)).collect::<Vec<_>>();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for round in 1..=arguments.rounds {
        for (index, (system, set_up)) in systems.iter().zip(&prepared).enumerate() {
            if round == 1 {
                outcomes.push(Outcome::new(system, set_up.as_ref().err()));
            }
            if let Some(outcome) = outcomes.get_mut(index)
                && outcome.can_go_on()
            {
                outcome.add(bench.measure(system, round));
            }
            if round == arguments.rounds
                && let Some(outcome) = outcomes.get(index)
            {
                println!("{}", outcome.line(&arguments.queries));
            }
        }
    }
    if arguments.record {
        let record = Record { arguments, machine: &machine, bench: &bench, outcomes: &outcomes };
        let folder = record.write(project)?;
        progress.say(&format!("recorded in {}", folder.display()));
    }
    Ok(outcomes.iter().all(|outcome| is_tolerable(outcome, arguments)))
}

/// Whether an outcome leaves the whole a success: tidewatch has to be right, peers only when asked.
fn is_tolerable(outcome: &Outcome, arguments: &CompareArguments) -> bool {
    match outcome.status() {
        Status::Right => true,
        Status::Wrong | Status::Failed => outcome.is_peer && arguments.tolerate_peers,
    }
}

/// Whether a system is a peer, for those who decide what to tolerate.
fn is_peer(system: &System) -> bool {
    matches!(system, System::Peer(_))
}
