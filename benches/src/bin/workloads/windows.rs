//! What a long window costs: one hour sliding by ten seconds against ten seconds tumbling, in one process.
//!
//! Both compute count, mean, minimum and maximum of cpu, mem and disk for each host of a
//! [synthetic](super::synthetic) fleet, and both fire once for each series every ten seconds. Measured is after
//! the first hour, when every window is full.

use clap::Args;
use tidewatch_dataflow::config::HumanDuration;

use super::feeds;
use super::fleet::{START, Wire};
use super::process::load;
use super::quantile::Samples;
use super::stretch::{self, Stretch};
use super::synthetic::Rhythm;

/// Arguments of `windows`.
#[derive(Debug, Args)]
pub(crate) struct WindowsArgs {
    /// Hosts, each with three series.
    #[arg(long, default_value_t = 1_000)]
    hosts: u64,
    /// How often each series has a sample, in event time.
    #[arg(long, default_value = "1s")]
    every: HumanDuration,
    /// How long is measured, in event time.
    #[arg(long, default_value = "20m")]
    span: HumanDuration,
    /// How often both are run.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// What the stretch cost in which every window is full.
fn measure(args: &WindowsArgs, window: (u64, u64)) -> anyhow::Result<Stretch> {
    let (hosts, every) = (args.hosts, args.every.get());
    let rhythm = Rhythm { hosts, every, partitions: 12, live: None, wire: Wire::Json };
    // The hour before is for filling the long window; the short one has the same, to be fair.
    let from = START + 3_700_000;
    let to = from + args.span.get().as_millis() as u64;
    stretch::measure(rhythm, feeds::statistics(&[window])?, rhythm.series(), (from, to))
}

/// Measures both in turns.
pub(crate) fn run(args: &WindowsArgs) -> anyhow::Result<()> {
    println!("load={}", load());
    let (mut short, mut long, mut ratios) =
        (Samples::default(), Samples::default(), Samples::default());
    for round in 1..=args.rounds {
        let mut costs = [0.0; 2];
        for (cost, (name, window)) in
            costs.iter_mut().zip([("10s", (10, 10)), ("1h/10s", (3_600, 10))])
        {
            let Stretch { cpu, messages, .. } = measure(args, window)?;
            *cost = cpu.per_million(messages);
            println!(
                "round={round} window={name} cpu_us_per_message={cost:.3} messages={messages} {}",
                cpu.groups_per_million(messages)
            );
        }
        short.add(costs[0]);
        long.add(costs[1]);
        ratios.add(costs[1] / costs[0]);
    }
    println!(
        "10s={:.3} 1h/10s={:.3} ratio={:.2} ratios={:.2}..{:.2}",
        short.quantile(0.5),
        long.quantile(0.5),
        long.quantile(0.5) / short.quantile(0.5),
        ratios.quantile(0.0),
        ratios.quantile(1.0)
    );
    println!("load={}", load());
    Ok(())
}
