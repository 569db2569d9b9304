//! How soon people hear: from the broker's append of the record that closes a pane to the notification in the
//! channel's hands, under a live load.
//!
//! Writing a backlog says how fast sender and broker are here, a catch-up over it how fast the pipeline is; sharing
//! the machine they would reach `1 / (1 / sent + 1 / read)` together. The live fleet then sends half of that. Each
//! second some hosts rise above 90 % and others come back, so that a rule opens and ends incidents all the
//! time beside Q1, Q2 and Q3 of the benchmark. Checkpoints are taken as usual, and the outbox makes each intent durable
//! before it is told.
//!
//! The bound on disorder (5 s) is no part of the latency: it ends before the closing record arrives.

pub(crate) mod live;
mod path;
mod stamps;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tidewatch::pipeline::PipelineCounters;
use tidewatch_connectors::kafka::Start;
use tidewatch_connectors::state::DirectoryStore;
use tidewatch_dataflow::checkpoint::StateStore;
use tidewatch_testkit::kafka::Broker;

use super::engine::{Counted, Engine, Plan};
use super::feeds;
use super::fleet::{Draft, KINDS, START};
use super::kafka::{KafkaSources, Loader};
use super::process::{CpuClock, WATCHER, again, load};
use super::quantile::Samples;
use live::LiveArgs;
use path::{Heard, Path};
use stamps::{Stamped, Stamps};

/// Where the live fleet sends to; the broker stamps with the time of its append.
const TOPIC: &str = "latency-live";
/// Where the catch-up is read from.
const BACKLOG: &str = "latency-backlog";
/// What [`Engine`] sets.
const BOUND: Duration = Duration::from_secs(5);
/// A fleet that falls behind by more milliseconds than this has not sent at a constant rate.
const BEHIND_MAX: f64 = 1_000.0;
/// Until the first windows are whole and the code is warm.
const WARM_UP: u64 = 10;

/// Arguments of `latency`.
#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Messages a second; when absent, half of what sender, broker and pipeline reach together.
    #[arg(long)]
    rate: Option<f64>,
    /// Messages that this is tried with.
    #[arg(long, default_value_t = 1_500_000)]
    calibration: u64,
    /// Hosts, each with three series; no more than send once a second at the rate.
    #[arg(long, default_value_t = 1_000)]
    hosts: u64,
    /// Hosts that begin to alert in each pane; as many end.
    #[arg(long, default_value_t = 5)]
    alerts: u64,
    /// The rule's pane in seconds: 10 as the windows have, or 1. Watermarks move in ticks of 10 s here, for which alerts of
    /// a shorter pane wait as well.
    #[arg(long, default_value_t = 10)]
    pane: u64,
    /// How long is measured, after ten seconds of warming up.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    workers: NonZeroUsize,
    #[arg(long, default_value_t = 12)]
    partitions: u64,
    /// Takes no checkpoints and has no outbox.
    #[arg(long)]
    no_checkpoints: bool,
}

/// Messages a second that sender and broker reach, and then the pipeline.
fn calibrate(args: &LatencyArgs, brokers: &str) -> anyhow::Result<(f64, f64)> {
    let began = Instant::now();
    let mut loader = Loader::new(brokers, BACKLOG, args.partitions)?;
    for number in 0..args.calibration {
        let (host, kind) = (number / KINDS % args.hosts, number % KINDS);
        let time = START + number * 1_000 / (args.hosts * KINDS);
        loader.send(Draft { host, kind, time, salt: number, busy: false })?;
    }
    loader.finish()?;
    let sent = args.calibration as f64 / began.elapsed().as_secs_f64();
    let counters = Arc::new(PipelineCounters::default());
    let sources = Box::new(KafkaSources::open(brokers, BACKLOG, Start::Earliest)?);
    let plan = Plan { topic: BACKLOG, ..plan(args, None)? };
    let engine = Engine::start(plan, counters, sources, Arc::new(Counted::default()))?;
    engine.watch(|engine| engine.records() > 0)?;
    let begin = engine.age();
    engine.watch(|engine| engine.records() >= args.calibration)?;
    let read = args.calibration as f64 / (engine.age() - begin).as_secs_f64();
    engine.stop()?;
    Ok((sent, read))
}

fn plan(args: &LatencyArgs, store: Option<Arc<dyn StateStore>>) -> anyhow::Result<Plan> {
    Ok(Plan {
        topic: TOPIC,
        feeds: feeds::alerting(args.pane)?,
        workers: args.workers,
        max_lead: Duration::from_secs(120),
        checkpoints: store.map(|store| (store, Duration::from_secs(10))),
    })
}

/// Measures and prints.
pub(crate) fn run(args: &LatencyArgs) -> anyhow::Result<()> {
    anyhow::ensure!(matches!(args.pane, 1 | 10), "the rule's pane is 1 or 10 seconds");
    println!("load={}", load());
    let broker =
        Broker::start().context("could not start Kafka: run `cargo xtask services fetch`")?;
    let partitions = i32::try_from(args.partitions)?;
    broker.create_topic_with(BACKLOG, partitions, &[("retention.ms", "-1")])?;
    let appended = [("message.timestamp.type", "LogAppendTime")];
    broker.create_topic_with(TOPIC, partitions, &appended)?;
    let rate = match args.rate {
        Some(rate) => rate,
        None => {
            let (sent, read) = calibrate(args, &broker.bootstrap())?;
            let together = 1.0 / (1.0 / sent + 1.0 / read);
            println!("msgs_per_s: sent={sent:.0} read={read:.0} together={together:.0}");
            together / 2.0
        }
    };
    let hosts = args.hosts.min((rate / KINDS as f64) as u64).max(1);
    let live = LiveArgs {
        brokers: broker.bootstrap(),
        rate,
        hosts,
        partitions: args.partitions,
        alerts: args.alerts,
        pane: args.pane,
        seconds: args.seconds + WARM_UP + 2,
    };
    measure(args, &live)?;
    println!("load={}", load());
    Ok(())
}

fn measure(args: &LatencyArgs, live: &LiveArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir().context("could not make a folder for checkpoints")?;
    let store: Arc<dyn StateStore> = Arc::new(DirectoryStore::open(folder.path())?);
    let stamps = Stamps::new(Duration::from_secs(args.pane), BOUND);
    let path = Path::new(runtime.handle().clone(), Arc::clone(&stamps));
    let inner = KafkaSources::open(&live.brokers, TOPIC, Start::Earliest)?;
    let sources = Box::new(Stamped { inner, stamps: Arc::clone(&stamps) });
    let store = (!args.no_checkpoints).then_some(store);
    let counters = Arc::new(PipelineCounters::default());
    let engine = Engine::start(plan(args, store)?, counters, sources, path.clone())?;
    let over = Arc::new(AtomicBool::new(false));
    let (watched, gauges, is_over) =
        (Arc::clone(&stamps), engine.gauges.clone(), Arc::clone(&over));
    let watcher = std::thread::Builder::new()
        .name(WATCHER.to_owned())
        .spawn(move || watched.watch(&gauges, || is_over.load(Ordering::Relaxed)))?;
    let sender = again(&live.arguments())?.spawn().context("could not start the fleet")?;
    engine.watch(|engine| engine.records() > 0)?;
    let begin = engine.age() + Duration::from_secs(WARM_UP);
    engine.watch(|engine| engine.age() >= begin)?;
    let (from, clock, read) = (stamps::now(), CpuClock::now()?, engine.records());
    engine.watch(|engine| engine.age() >= begin + Duration::from_secs(args.seconds))?;
    let (to, cpu, read) = (stamps::now(), clock.until(&CpuClock::now()?), engine.records() - read);
    let sent = sender.wait_with_output().context("the fleet has failed")?;
    let said = String::from_utf8_lossy(&sent.stdout).trim().to_owned();
    let behind = said.split_once("behind_ms=").and_then(|(_, ms)| ms.parse::<f64>().ok());
    anyhow::ensure!(
        sent.status.success() && behind.is_some_and(|ms| ms <= BEHIND_MAX),
        "the fleet could not send {:.0} messages a second ({said}): give a lower `--rate`",
        live.rate
    );
    engine.check_clean()?;
    over.store(true, Ordering::Relaxed);
    engine.stop()?;
    anyhow::ensure!(watcher.join().is_ok(), "the watcher has failed");
    println!("fleet {said}");
    println!(
        "rate={:.0} cpu_s_per_million={:.2} cores={:.2} {}",
        read as f64 / args.seconds as f64,
        cpu.per_million(read),
        cpu.seconds / args.seconds as f64,
        cpu.groups_per_million(read)
    );
    report(args, &stamps, &path, (from, to))
}

/// The parts of the way, over all notifications whose pane closed in the measured stretch.
fn report(
    args: &LatencyArgs,
    stamps: &Stamps,
    path: &Path,
    (from, to): (f64, f64),
) -> anyhow::Result<()> {
    let panes = stamps.all();
    let mut parts: [(&str, Samples); 7] =
        ["source", "watermark", "window", "channel", "total", "outbox", "total_told"]
            .map(|name| (name, Samples::default()));
    let told = path.told.all();
    let mut add = |heard: &Heard, is_told: bool| {
        let Some(pane) = panes.get(&heard.decided_at) else { return };
        let inside =
            pane.partitions as u64 == args.partitions && (from..to).contains(&pane.appended);
        let Some((passed, fired)) = pane.passed.zip(pane.fired).filter(|_| inside) else { return };
        if is_told {
            parts[5].1.add(heard.at - fired);
            parts[6].1.add(heard.at - pane.appended);
            return;
        }
        // The look at the capability may come after the transition: then the window took no time.
        let passed = passed.min(fired);
        let times = [
            pane.handed - pane.appended,
            passed - pane.handed,
            fired - passed,
            heard.at - fired,
            heard.at - pane.appended,
        ];
        parts.iter_mut().zip(times).for_each(|((_, samples), time)| samples.add(time));
    };
    path.offered.all().iter().for_each(|heard| add(heard, false));
    told.iter().for_each(|heard| add(heard, true));
    let closed = panes.values().filter(|p| (from..to).contains(&p.appended)).count();
    println!("panes={closed} notifications={} told={}", parts[4].1.len(), parts[6].1.len());
    for (name, samples) in &parts {
        println!("{name} ms: {samples}");
    }
    println!("total, to the channel's queue:\n{}", parts[4].1.histogram());
    anyhow::ensure!(parts[4].1.len() > 0, "nobody was told anything");
    Ok(())
}
