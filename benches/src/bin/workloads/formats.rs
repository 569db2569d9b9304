//! What a message costs by how it is written: Telegraf's JSON, the same metrics in line protocol, log lines in JSON.
//!
//! Metrics are asked for Q1 of the benchmark and logs for Q4, over a [synthetic](super::synthetic) fleet, in turns
//! in one process. Measured is after the first two minutes, when every series is known.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use tidewatch::pipeline::PipelineCounters;
use tidewatch_dataflow::config::HumanDuration;

use super::engine::{Counted, Engine, Plan};
use super::feeds;
use super::fleet::{SERVICES, START, Wire};
use super::process::{CpuClock, load};
use super::quantile::Samples;
use super::synthetic::{Rhythm, SyntheticSources, TOPIC};

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
    let counters = Arc::new(PipelineCounters::default());
    let counted = Arc::new(Counted::default());
    let (feeds, groups) = match wire {
        Wire::Log => (feeds::errors()?, SERVICES),
        Wire::Json | Wire::Line => (feeds::statistics(&[(10, 10)])?, rhythm.series()),
    };
    let plan = Plan {
        topic: TOPIC,
        feeds,
        workers: NonZeroUsize::MIN,
        max_lead: Duration::from_secs(120),
        checkpoints: None,
    };
    let sources = SyntheticSources::start(rhythm, Arc::clone(&counters))?;
    let engine = Engine::start(plan, counters, Box::new(sources), counted.clone())?;
    let from = START + 120_000;
    let to = from + args.span.get().as_millis() as u64;
    let seen = |engine: &Engine| {
        let bytes = engine.counters.ingest.bytes.load(Ordering::Relaxed);
        (engine.records(), bytes, counted.points.load(Ordering::Relaxed))
    };
    engine.watch(|engine| engine.applied().as_millis() >= from)?;
    let (clock, before) = (CpuClock::now()?, seen(&engine));
    engine.watch(|engine| engine.applied().as_millis() >= to)?;
    let (cpu, after) = (clock.until(&CpuClock::now()?), seen(&engine));
    engine.check_clean()?;
    engine.stop()?;
    let (messages, bytes, fired) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    // The looks come a little late, so the edges are not exact; a service may have no error for a minute.
    let expected = groups * (to - from) / 10_000;
    anyhow::ensure!(
        fired.abs_diff(expected) <= expected / 10 + groups * 2,
        "{fired} windows fired, about {expected} were due"
    );
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
