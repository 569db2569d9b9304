//! Whether memory stays flat over a catch-up of any length, with a store that answers and with one that does not.
//!
//! A topic holds hours of a small fleet; the whole service reads it from the beginning and writes its windows to a
//! store over HTTP. Its resident memory is looked at all the time. With `--dead` the store refuses everything from
//! the start: the sink's queue fills, then its spill, then reading pauses. After a while the store comes back, and
//! everything must arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tidewatch_dataflow::config::{ByteSize, HumanDuration};
use tidewatch_testkit::http::{Fake, Reply};
use tidewatch_testkit::kafka::Broker;

use super::fleet::{Draft, KINDS, START, mix};
use super::kafka::Loader;
use super::member::{Member, pipeline};
use super::process::load;
use super::quantile::Samples;

const TOPIC: &str = "backlog";
/// The label of the sink that is watched.
const SINK: &str = "sink=\"influxdb\"";

/// Arguments of `backlog`.
#[derive(Debug, Args)]
pub(crate) struct BacklogArgs {
    /// How much event time lies in the topic.
    #[arg(long, default_value = "4h")]
    span: HumanDuration,
    /// Hosts, each with three series that have a sample a second: 40 are 10.4 million messages a day.
    #[arg(long, default_value_t = 40)]
    hosts: u64,
    #[arg(long, default_value_t = 12)]
    partitions: u64,
    /// The store refuses everything, until reading has stood still for this long.
    #[arg(long)]
    dead: Option<HumanDuration>,
    /// How much the sink may spill; small, so that a dead store is felt.
    #[arg(long, default_value = "8MiB")]
    spill: String,
    /// How many points the sink may hold in memory.
    #[arg(long, default_value_t = 20_000)]
    queue_items: u64,
}

/// How far the service is, and what it holds.
#[derive(Copy, Clone, Debug)]
struct Look {
    /// Share of the topic that was read.
    share: f64,
    kib: u64,
}

/// Writes the backlog; returns how many messages it has.
fn fill(args: &BacklogArgs, brokers: &str) -> anyhow::Result<u64> {
    let mut loader = Loader::new(brokers, TOPIC, args.partitions)?;
    let seconds = args.span.get().as_secs();
    for second in 0..seconds {
        for at in 0..args.hosts * KINDS {
            let salt = second * args.hosts * KINDS + at;
            let time = START + second * 1_000 + mix(salt) % 1_000;
            loader.send(Draft { host: at / KINDS, kind: at % KINDS, time, salt, busy: false })?;
        }
    }
    loader.finish()?;
    Ok(seconds * args.hosts * KINDS)
}

/// Looks at the service every few milliseconds until `is_over`, which is given the share and how long it stood.
fn watch(
    member: &Member,
    messages: u64,
    looks: &mut Vec<Look>,
    mut is_over: impl FnMut(f64, Duration) -> bool,
) -> anyhow::Result<()> {
    let (mut moved, mut share) = (Instant::now(), 0.0);
    loop {
        let metrics = member.metrics().context("the service has ended by itself")?;
        let now = metrics.sum("tidewatch_source_records_total") / messages as f64;
        if now > share {
            (share, moved) = (now, Instant::now());
        }
        for _ in 0..10 {
            looks.push(Look { share, kib: member.resident_kib() });
            std::thread::sleep(Duration::from_millis(10));
        }
        if is_over(share, moved.elapsed()) {
            return Ok(());
        }
        anyhow::ensure!(
            moved.elapsed() < Duration::from_secs(300),
            "it stands still at {share:.3}"
        );
    }
}

/// Memory in MiB over those looks at which a share between `from` and `to` was read.
fn mib(looks: &[Look], from: f64, to: f64) -> Samples {
    let mut samples = Samples::default();
    let inside = looks.iter().filter(|look| (from..=to).contains(&look.share));
    inside.for_each(|look| samples.add(look.kib as f64 / 1_024.0));
    samples
}

fn tenths(looks: &[Look]) -> String {
    let tenth = |at: u32| {
        let from = f64::from(at) / 10.0;
        format!("{:.0}", mib(looks, from, from + 0.1).quantile(0.5))
    };
    (0..10).map(tenth).collect::<Vec<_>>().join(" ")
}

/// MiB: the median where a tenth to a fifth was read, the most after a tenth, the most of all.
fn memory(looks: &[Look]) -> (f64, f64, f64) {
    let of = |from, to| mib(looks, from, to);
    (of(0.1, 0.2).quantile(0.5), of(0.1, 1.0).quantile(1.0), of(0.0, 1.0).quantile(1.0))
}

/// Measures and prints.
pub(crate) fn run(args: &BacklogArgs) -> anyhow::Result<()> {
    println!("load={}", load());
    let spill: ByteSize = args.spill.parse().map_err(anyhow::Error::msg)?;
    let broker =
        Broker::start().context("could not start Kafka: run `cargo xtask services fetch`")?;
    let kept = [("retention.ms", "-1")];
    broker.create_topic_with(TOPIC, i32::try_from(args.partitions)?, &kept)?;
    let messages = fill(args, &broker.bootstrap())?;
    let is_down = Arc::new(AtomicBool::new(args.dead.is_some()));
    let down = Arc::clone(&is_down);
    let store = Fake::start_with(move |_| {
        Reply::status(if down.load(Ordering::Relaxed) { 503 } else { 204 })
    })?;
    let folder = tempfile::tempdir().context("could not make a folder")?;
    std::fs::write(folder.path().join("token"), "a")?;
    let sink = format!(
        "\n[sinks.influxdb]\nurl = \"{}\"\norg = \"o\"\nbucket = \"b\"\ntoken = {{ file = \"{}\" }}\nqueue_items = {}\nspill = \"{spill}\"\n",
        store.url(""),
        folder.path().join("token").display(),
        args.queue_items
    );
    let config = folder.path().join("pipeline.toml");
    std::fs::write(&config, pipeline(&broker.bootstrap(), TOPIC, folder.path()) + &sink)?;
    let began = Instant::now();
    let mut member = Member::start(&config)?;
    let mut looks = Vec::new();
    if let Some(hold) = args.dead {
        // The store is dead: until it is certain that nothing more is read.
        watch(&member, messages, &mut looks, |share, stood| share > 0.0 && stood > hold.get())?;
        let metrics = member.metrics().context("the service has ended by itself")?;
        let most = looks.iter().map(|look| look.kib).max().unwrap_or_default();
        println!(
            "dead store: read={:.2} of the backlog, queued={:.0} points, spilled={:.1} MiB, max_rss_mib={:.0}",
            looks.last().map_or(0.0, |look| look.share),
            metrics.sum_where("tidewatch_sink_queued", SINK),
            metrics.sum_where("tidewatch_sink_spilled_bytes", SINK) / f64::from(1 << 20),
            most as f64 / 1_024.0
        );
        is_down.store(false, Ordering::Relaxed);
    }
    watch(&member, messages, &mut looks, |share, _| share >= 1.0)?;
    let took = began.elapsed();
    member.wait("ready", Member::is_ready)?;
    // Every window has fired and arrived, and nothing was late, shed or refused.
    let due = args.span.get().as_secs() / 10 * args.hosts * (KINDS + 1) + 29 * args.hosts;
    let delivered = |member: &Member| {
        let metrics = member.metrics();
        metrics.is_some_and(|m| m.sum_where("tidewatch_sink_delivered_total", SINK) >= due as f64)
    };
    member.wait("done", delivered)?;
    let metrics = member.metrics().context("the service has ended by itself")?;
    for lost in [
        "tidewatch_samples_late_total",
        "tidewatch_dead_letters_total",
        "tidewatch_sink_shed_total",
    ] {
        anyhow::ensure!(metrics.sum(lost) == 0.0, "{lost} is {}", metrics.sum(lost));
    }
    let (early, later, most) = memory(&looks);
    println!(
        "messages={messages} span={} msgs_per_s={:.0} rss_mib_at_10%={early:.0} max_rss_mib_after_10%={later:.0} ratio={:.2} max_rss_mib={most:.0} windows={:.0} answers=ok",
        args.span,
        messages as f64 / took.as_secs_f64(),
        later / early,
        metrics.sum_where("tidewatch_sink_delivered_total", SINK),
    );
    println!("median rss_mib by tenths of the backlog: {}", tenths(&looks));
    println!("load={}", load());
    Ok(())
}
