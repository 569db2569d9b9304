//! What a message costs by how it is written: Telegraf's JSON, the same metrics in line protocol, log lines in JSON.
//!
//! Metrics are asked for Q1 of the benchmark and logs for Q4, over a [synthetic](super::synthetic) fleet, in turns
//! in one process. Measured is after the first two minutes, when every series is known.

use clap::Args;
use tidewatch_dataflow::config::HumanDuration;

use super::feeds;
use super::fleet::{SERVICES, START, Wire};
use super::process::load;
use super::quantile::Samples;
use super::stretch::{self, Stretch};
use super::synthetic::Rhythm;

/// Arguments of `formats`.
#[derive(Debug, Args)]
pub(crate) struct FormatsArgs {
    /// Hosts, each with three messages.
    #[arg(long, default_value_t = 1_000)]
    hosts: u64,
    /// How often each of them comes, in event time.
    #[arg(long, default_value = "1s")]
    every: HumanDuration,
    /// How long is measured, in event time.
    #[arg(long, default_value = "10m")]
    span: HumanDuration,
    /// How often all are run.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

const WIRES: [(&str, Wire); 3] =
    [("telegraf_json", Wire::Json), ("influx_line", Wire::Line), ("json_log", Wire::Log)];

/// CPU microseconds of a message, and its bytes, keys included.
fn measure(args: &FormatsArgs, wire: Wire) -> anyhow::Result<(f64, f64)> {
    let (hosts, every) = (args.hosts, args.every.get());
    let rhythm = Rhythm { hosts, every, partitions: 12, live: None, wire };
    let (feeds, groups) = match wire {
        Wire::Log => (feeds::errors()?, SERVICES),
        Wire::Json | Wire::Line => (feeds::statistics(&[(10, 10)])?, rhythm.series()),
    };
    let from = START + 120_000;
    let to = from + args.span.get().as_millis() as u64;
    let Stretch { cpu, messages, bytes } = stretch::measure(rhythm, feeds, groups, (from, to))?;
    Ok((cpu.per_million(messages), bytes as f64 / messages.max(1) as f64))
}

/// Measures all in turns.
pub(crate) fn run(args: &FormatsArgs) -> anyhow::Result<()> {
    println!("load={}", load());
    let mut costs = WIRES.map(|_| Samples::default());
    for round in 1..=args.rounds {
        for ((name, wire), costs) in WIRES.into_iter().zip(&mut costs) {
            let (cost, bytes) = measure(args, wire)?;
            costs.add(cost);
            println!(
                "round={round} format={name} cpu_us_per_message={cost:.3} bytes={bytes:.0} mb_per_cpu_s={:.0}",
                bytes / cost
            );
        }
    }
    for ((name, _), costs) in WIRES.into_iter().zip(&costs) {
        println!(
            "{name}: median={:.3} least={:.3} most={:.3}",
            costs.quantile(0.5),
            costs.quantile(0.0),
            costs.quantile(1.0)
        );
    }
    println!("load={}", load());
    Ok(())
}
