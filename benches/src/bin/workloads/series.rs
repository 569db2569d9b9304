//! What a series costs: resident bytes, state in a checkpoint and CPU, from a thousand series to a million.
//!
//! Each size is a process of its own. It reads a [synthetic](super::synthetic) fleet through the real codec and
//! dataflow with query Q1, close to what is applied as a live run does, warms up, and then looks at memory and
//! CPU over further panes. From all sizes the memory of a process with 30 series is subtracted.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tidewatch::pipeline::PipelineCounters;
use tidewatch_connectors::state::DirectoryStore;
use tidewatch_dataflow::checkpoint::StateStore;
use tidewatch_dataflow::config::HumanDuration;

use super::engine::{Counted, Engine, Plan, state_bytes};
use super::feeds;
use super::fleet::{KINDS, START, Wire};
use super::process::{CpuClock, load, measure_again, peak_kib, resident_kib};
use super::quantile::Samples;
use super::synthetic::{Rhythm, SyntheticSources, TOPIC};

/// The pane of Q1, in milliseconds.
const PANE: u64 = 10_000;

/// Small fleets need many panes for many messages, and a pane takes milliseconds.
const PANES_MAX: u64 = 1_000;

/// Series of the process that all others are compared with.
const BASE: u64 = 30;

/// How much of the pipeline runs: to see where memory goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Reading, decoding, the table of series; nothing is selected.
    Decode,
    /// With the folds and the groups of the feeds, but no window.
    Fold,
    /// Q1.
    Windows,
}

/// Arguments of `series`.
#[derive(Debug, Args)]
pub(crate) struct SeriesArgs {
    /// How many series, several sizes in turn.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    series: Vec<u64>,
    /// How often each has a sample, in event time.
    #[arg(long, value_delimiter = ',', default_value = "10s,1s")]
    every: Vec<HumanDuration>,
    /// How often the comparison of 10,000 hosts every 10 s with 1,000 hosts every second is made.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Also measures memory with parts of the pipeline left out.
    #[arg(long)]
    stages: bool,
    /// Whether readers run ahead as in a catch-up instead of staying close to what is applied.
    #[arg(long)]
    catch_up: bool,
    /// Takes no checkpoints.
    #[arg(long)]
    no_checkpoints: bool,
}

/// Arguments of the process that measures one size.
#[derive(Clone, Debug, Args)]
pub(crate) struct OneArgs {
    #[arg(long)]
    hosts: u64,
    #[arg(long)]
    every_ms: u64,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[arg(long, value_enum, default_value_t = Stage::Windows)]
    stage: Stage,
    #[arg(long)]
    catch_up: bool,
    #[arg(long)]
    no_checkpoints: bool,
    /// Messages to read at least while measuring.
    #[arg(long, default_value_t = 3_000_000)]
    messages: u64,
}

impl OneArgs {
    fn arguments(&self) -> Vec<String> {
        let stage = self.stage.to_possible_value().map(|v| v.get_name().to_owned());
        let mut arguments = vec![
            "series-one".to_owned(),
            format!("--hosts={}", self.hosts),
            format!("--every-ms={}", self.every_ms),
            format!("--workers={}", self.workers),
            format!("--stage={}", stage.unwrap_or_default()),
            format!("--messages={}", self.messages),
        ];
        arguments.extend(self.catch_up.then(|| "--catch-up".to_owned()));
        arguments.extend(self.no_checkpoints.then(|| "--no-checkpoints".to_owned()));
        arguments
    }
}

/// Measures one size in this process and prints `name=value` pairs.
pub(crate) fn one(args: &OneArgs) -> anyhow::Result<()> {
    let every = Duration::from_millis(args.every_ms);
    // What is handed out: the open pane, the bound of 5 s, and a margin.
    let live = (!args.catch_up).then_some(Duration::from_secs(18));
    let wire = Wire::Json;
    let rhythm =
        Rhythm { hosts: args.hosts, every, partitions: args.hosts.clamp(1, 12), live, wire };
    let folder = tempfile::tempdir().context("could not make a folder for checkpoints")?;
    let store: Arc<dyn StateStore> = Arc::new(DirectoryStore::open(folder.path())?);
    let counters = Arc::new(PipelineCounters::default());
    let counted = Arc::new(Counted::default());
    let plan = Plan {
        topic: TOPIC,
        feeds: match args.stage {
            Stage::Decode => feeds::nothing()?,
            Stage::Fold => feeds::statistics(&[])?,
            Stage::Windows => feeds::statistics(&[(10, 10)])?,
        },
        workers: NonZeroUsize::new(args.workers).context("no workers")?,
        max_lead: Duration::from_secs(120),
        checkpoints: (!args.no_checkpoints).then(|| (Arc::clone(&store), Duration::from_secs(2))),
    };
    let sources = SyntheticSources::start(rhythm, Arc::clone(&counters))?;
    let engine = Engine::start(plan, counters, Box::new(sources), counted.clone())?;

    // 1. The first round meets every series for the first time.
    let (begin, series) = (CpuClock::now()?, rhythm.series());
    engine.watch(|engine| engine.records() >= series)?;
    let (first, met) = (begin.until(&CpuClock::now()?), engine.records());
    // 2. Warm-up: memory has grown to what it needs once several panes have been applied.
    let in_pane = series * PANE / args.every_ms.max(1);
    let panes = args.messages.div_ceil(in_pane).clamp(4, PANES_MAX);
    let pane = |engine: &Engine| engine.applied().as_millis().saturating_sub(START) / PANE;
    engine.watch(|engine| pane(engine) >= 4)?;
    // 3. What is measured.
    let (before, read, from) = (CpuClock::now()?, engine.records(), pane(&engine));
    let mut resident = Samples::default();
    engine.watch(|engine| {
        resident.add(resident_kib() as f64);
        pane(engine) >= from + panes
    })?;
    let (cpu, messages) = (before.until(&CpuClock::now()?), engine.records() - read);
    engine.check_clean()?;
    // 4. The answers: one window for each series and pane.
    let applied = pane(&engine);
    if args.stage == Stage::Windows {
        engine.watch(|_| counted.points.load(Ordering::Relaxed) >= applied * series)?;
    }
    let (wall, peak) = (engine.age().as_secs_f64(), peak_kib());
    engine.stop()?;
    let fired = counted.points.load(Ordering::Relaxed);
    let whole = fired >= applied * series && fired.is_multiple_of(series);
    anyhow::ensure!(args.stage != Stage::Windows || whole, "{fired} windows of {series} series");
    let (state, cuts) = if args.no_checkpoints { (0, 0) } else { state_bytes(&*store)? };
    println!(
        "series={series} rss_kib={} most_kib={} peak_kib={peak} cpu_us={:.4} first_us={:.4} state_bytes={state} checkpoints={cuts} messages={messages} wall_s={wall:.1}",
        resident.quantile(0.5),
        resident.quantile(1.0),
        cpu.per_million(messages),
        first.per_million(met),
    );
    Ok(())
}

/// A figure of a run.
fn of(run: &BTreeMap<String, f64>, name: &str) -> f64 {
    run.get(name).copied().unwrap_or(f64::NAN)
}

/// Measures all sizes.
pub(crate) fn run(args: &SeriesArgs) -> anyhow::Result<()> {
    let size = |series: u64, every: Duration| OneArgs {
        hosts: series.div_ceil(KINDS),
        every_ms: every.as_millis() as u64,
        workers: 1,
        stage: Stage::Windows,
        catch_up: args.catch_up,
        no_checkpoints: args.no_checkpoints,
        messages: 3_000_000,
    };
    println!("load={}", load());
    for every in &args.every {
        let every = every.get();
        let base = OneArgs { messages: BASE * 10, ..size(BASE, every) };
        let base = measure_again(&base.arguments())?;
        println!(
            "every={} base_mib={:.1}",
            HumanDuration::from(every),
            of(&base, "rss_kib") / 1_024.0
        );
        for series in &args.series {
            let stages: &[Stage] = match args.stages {
                true => &[Stage::Decode, Stage::Fold, Stage::Windows],
                false => &[Stage::Windows],
            };
            for stage in stages {
                let one = OneArgs { stage: *stage, ..size(*series, every) };
                let run = measure_again(&one.arguments())?;
                let count = of(&run, "series");
                let bytes = |name| (of(&run, name) - of(&base, "rss_kib")) * 1_024.0 / count;
                println!(
                    "series={count} every={} stage={stage:?} bytes_per_series={:.0} peak_bytes_per_series={:.0} rss_mib={:.0} peak_mib={:.0} state_bytes_per_series={:.0} cpu_us_per_message={:.3} first_sight_us={:.2} wall_s={:.0}",
                    HumanDuration::from(every),
                    bytes("rss_kib"),
                    bytes("peak_kib"),
                    of(&run, "rss_kib") / 1_024.0,
                    of(&run, "peak_kib") / 1_024.0,
                    of(&run, "state_bytes") / count,
                    of(&run, "cpu_us"),
                    of(&run, "first_us"),
                    of(&run, "wall_s"),
                );
            }
        }
    }
    let (mut many, mut few) = (Samples::default(), Samples::default());
    for _ in 0..args.rounds {
        // In turns, since the machine's mood changes: what counts is the ratio.
        let run = measure_again(&size(30_000, Duration::from_secs(10)).arguments())?;
        many.add(of(&run, "cpu_us"));
        let run = measure_again(&size(3_000, Duration::from_secs(1)).arguments())?;
        few.add(of(&run, "cpu_us"));
    }
    if args.rounds > 0 {
        let (many, few) = (many.quantile(0.5), few.quantile(0.5));
        println!(
            "hosts=10000 every=10s cpu_us_per_message={many:.3}; hosts=1000 every=1s cpu_us_per_message={few:.3}; ratio={:.2} difference={:.3}",
            many / few,
            many - few
        );
    }
    println!("load={}", load());
    Ok(())
}
