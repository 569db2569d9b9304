//! How fast the whole pipeline is: a real Kafka, a fleet of messages, windows and rules, answers counted.
//!
//! ```text
//! cargo run --release -p tidewatch-benches --bin pipeline -- --messages 2000000
//! ```
//!
//! starts a broker (fetched by `cargo xtask services fetch`), writes the messages, then reads them from the
//! beginning with the reader alone as the floor, with one worker and with two, and with one worker that takes
//! a checkpoint every second, which then is restored. It prints one line for each: CPU seconds of this process (all its threads; the broker is another process) per million
//! messages, messages per second, and peak memory. Trust the CPU seconds: rates suffer from whatever else
//! the machine does, the broker above all.

#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

mod fleet;
mod measure;
mod runs;

use std::num::NonZeroUsize;

use anyhow::Context;
use clap::Parser;
use mimalloc::MiMalloc;
use tidewatch_testkit::kafka::Broker;

/// That of the program `tidewatch`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measures the pipeline from Kafka through the windows.
#[derive(Debug, Parser)]
struct Args {
    /// How many messages to write and read.
    #[arg(long, default_value_t = 2_000_000)]
    messages: u64,
    /// How many hosts send them: cpu, mem and disk of each, once a second of event time.
    #[arg(long, default_value_t = 1_000)]
    hosts: u64,
    /// How often runs with and without checkpoints are compared.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 12)]
    partitions: i32,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let broker =
        Broker::start().context("could not start Kafka: run `cargo xtask services fetch`")?;
    // The fleet's time is long ago: by it, the broker would delete everything within a minute.
    let kept = [("retention.ms", "-1")];
    broker.create_topic_with(fleet::TOPIC, args.partitions, &kept)?;
    let fleet = fleet::Fleet { hosts: args.hosts, messages: args.messages };
    fleet.write(&broker.bootstrap()).context("could not write the messages")?;
    let floor = runs::floor(&broker.bootstrap(), args.messages)?;
    println!("reader-alone {floor}");
    for workers in [1, 2] {
        let workers = NonZeroUsize::new(workers).context("no workers")?;
        let (outcome, _) = runs::pipeline(&broker.bootstrap(), workers, &fleet, None)?;
        println!("tidewatch -w {workers} {outcome}");
    }
    // In turns, since the machine's mood changes: what counts is the ratio.
    for round in 1..=args.rounds {
        let folder = tempfile::tempdir().context("could not make a folder for checkpoints")?;
        let one = NonZeroUsize::MIN;
        let (without, _) = runs::pipeline(&broker.bootstrap(), one, &fleet, None)?;
        let (with, kept) = runs::pipeline(&broker.bootstrap(), one, &fleet, Some(folder.path()))?;
        println!("round {round}: no checkpoints {without}");
        println!("round {round}: one a second   {with}; {kept}");
        println!("round {round}: restored in {:?}", runs::restore(folder.path())?);
    }
    Ok(())
}
