//! How long a crash is felt: from the kill of the service to the moment at which its successor has restored the
//! state and read everything that came meanwhile, under a live fleet.
//!
//! The successor is started at once, as the supervisor does with the first one that dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tidewatch_dataflow::time::Clock;
use tidewatch_testkit::kafka::Broker;

use super::fleet::{Draft, KINDS, mix};
use super::kafka::{Loader, pace};
use super::member::{Member, pipeline};
use super::process::load;
use super::quantile::Samples;

/// Partitions of each topic.
const PARTITIONS: u64 = 12;
/// Each series has a sample so often, as Telegraf sends by default.
const EVERY: u64 = 10;

/// Arguments of `recovery`.
#[derive(Debug, Args)]
pub(crate) struct RecoveryArgs {
    /// How many series, several sizes in turn.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    series: Vec<u64>,
    /// Kills of each size.
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// How long the service runs before the first kill: the longest window is five minutes, and its panes are
    /// what the state is made of.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

/// Sends as `hosts` do until `over` is set.
fn send(mut loader: Loader, hosts: u64, over: &AtomicBool) -> anyhow::Result<()> {
    let rate = (hosts * KINDS) as f64 / EVERY as f64;
    let mut before = 0;
    while !over.load(Ordering::Relaxed) {
        let (sent, _) = pace(rate, Duration::from_secs(1), |number| {
            let number = before + number;
            let time = Clock::System.now().as_millis() - mix(number) % 1_000;
            let (host, kind) = (number / KINDS % hosts, number % KINDS);
            loader.send(Draft { host, kind, time, salt: number, busy: false })
        })?;
        before += sent;
    }
    loader.finish()
}

/// Kills and restarts a service with so many series.
fn measure(args: &RecoveryArgs, broker: &Broker, series: u64) -> anyhow::Result<()> {
    let hosts = series.div_ceil(KINDS);
    let topic: &'static str = Box::leak(format!("recovery-{series}").into_boxed_str());
    broker.create_topic(topic, i32::try_from(PARTITIONS)?)?;
    let over = Arc::new(AtomicBool::new(false));
    let loader = Loader::new(&broker.bootstrap(), topic, PARTITIONS)?;
    let is_over = Arc::clone(&over);
    let sender = std::thread::spawn(move || send(loader, hosts, &is_over));
    let folder = tempfile::tempdir().context("could not make a folder")?;
    let config = folder.path().join("pipeline.toml");
    std::fs::write(&config, pipeline(&broker.bootstrap(), topic, folder.path()))?;
    let mut member = Member::start(&config)?;
    std::thread::sleep(Duration::from_secs(args.seconds));
    let [mut up, mut caught_up, mut ready]: [Samples; 3] = Default::default();
    let mut state = 0.0;
    for kill in 0..args.kills {
        member.wait("ready", Member::is_ready)?;
        let commits = |m: &Member| {
            m.metrics().map_or(0.0, |metrics| metrics.sum("tidewatch_checkpoint_commits_total"))
        };
        member.wait("with a checkpoint", |member| commits(member) >= 1.0)?;
        // Anywhere between two checkpoints, which come every ten seconds.
        std::thread::sleep(Duration::from_millis(mix(u64::from(kill)) % 10_000));
        let metrics = member.metrics().context("the service has ended by itself")?;
        state = metrics.sum("tidewatch_checkpoint_state_bytes");
        let killed = Instant::now();
        drop(member);
        member = Member::start(&config)?;
        member.wait("up", |member| member.metrics().is_some())?;
        up.add(killed.elapsed().as_secs_f64() * 1_000.0);
        member.wait("caught up", Member::has_caught_up)?;
        caught_up.add(killed.elapsed().as_secs_f64() * 1_000.0);
        member.wait("ready", Member::is_ready)?;
        ready.add(killed.elapsed().as_secs_f64() * 1_000.0);
    }
    over.store(true, Ordering::Relaxed);
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the fleet has failed"))?;
    sent.context("the fleet could not send")?;
    println!(
        "series={series} kills={} state_mib={:.1} up_ms: {up} caught_up_ms: {caught_up} ready_ms: {ready}",
        args.kills,
        state / f64::from(1 << 20)
    );
    Ok(())
}

/// Measures all sizes.
pub(crate) fn run(args: &RecoveryArgs) -> anyhow::Result<()> {
    println!("load={}", load());
    let broker =
        Broker::start().context("could not start Kafka: run `cargo xtask services fetch`")?;
    for series in &args.series {
        measure(args, &broker, *series)?;
    }
    println!("load={}", load());
    Ok(())
}
