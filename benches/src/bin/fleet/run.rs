//! The pipeline of one process, until every window before the end has fired.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tidewatch::cluster::Membership;
use tidewatch::config::PipelineConfig;
use tidewatch::pipeline::{
    Durability, Outputs, PipelineCounters, Shared, Sources as _, StoreDurability, start,
};
use tidewatch_connectors::state::DirectoryStore;
use tidewatch_dataflow::time::{Clock, EventTime};

use super::answers::Answers;
use super::job::Job;
use super::source::KafkaSources;
use super::{Args, end, query};

/// How often the main thread looks how far the workers are.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Runs process `args.process`: the first one says when it is over, for all.
pub(crate) fn run(args: &Args, job: &Job) -> anyhow::Result<()> {
    let began = Instant::now();
    let config = query::config(job, args.checkpoint_every.map(|every| every.get()))?;
    let sources = KafkaSources::open(&config)?;
    let partitions = sources.partitions();
    let answers = Arc::new(Answers::create(job, args.process)?);
    let outputs = Arc::clone(&answers) as Arc<dyn Outputs>;
    let shared = Shared::new(query::spec(&config), Box::new(sources), outputs, args.workers.get());
    let shared = Shared { durability: durability(args, job, &config)?, ..shared };
    let counters = Arc::clone(&shared.counters);
    let (workers, hosts) = (args.workers, args.hosts.clone());
    let membership = Membership { workers, hosts, process: args.process };
    let running = start(&membership, shared)?;
    if args.process == 0 {
        // While the workers read, so that it costs no time.
        let end = end::find(&config, &partitions)?;
        let applied = || EventTime::from_millis(counters.applied.load(Ordering::Relaxed));
        while applied() < end && !running.has_ended() {
            thread::sleep(LOOK_EVERY);
        }
        running.stop();
    }
    running.join()?;
    answers.flush(&job.out)?;
    summary(args, &counters, began.elapsed());
    if !args.hosts.is_empty() {
        exchange(args, &counters, job)?;
    }
    let records = counters.ingest.records.load(Ordering::Relaxed);
    if let (Some(expected), true) = (job.records(), args.hosts.is_empty()) {
        ensure!(records == expected, "{records} records were read and there are {expected}");
    }
    Ok(())
}

/// Checkpoints as the configuration says, into a folder of the job.
fn durability(args: &Args, job: &Job, config: &PipelineConfig) -> anyhow::Result<Durability> {
    let checkpoint = &config.checkpoint;
    if !checkpoint.enabled {
        return Ok(Durability::Nothing);
    }
    let folder = args.state.clone().unwrap_or_else(|| job.out.join("state"));
    fs::create_dir_all(&folder)
        .with_context(|| format!("could not make `{}`", folder.display()))?;
    Ok(Durability::Store(StoreDurability {
        store: Arc::new(DirectoryStore::open(&folder)?),
        pipeline: checkpoint.pipeline.clone(),
        topics: config.topics(),
        every: checkpoint.interval,
        keep: checkpoint.keep,
        clock: Clock::System,
        decisions: Vec::new(),
    }))
}

/// Says on standard error what this process did.
fn summary(args: &Args, counters: &PipelineCounters, took: Duration) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln!(
        "process {}: {} records, {} samples too late, {} windows and {} transitions in {:.1} s",
        args.process,
        read(&counters.ingest.records),
        read(&counters.feeds.late),
        read(&counters.firings),
        read(&counters.transitions),
        took.as_secs_f64()
    );
}

/// Leaves word of what this process read and what it sent to the others: `exchange-PROCESS.json`.
fn exchange(args: &Args, counters: &PipelineCounters, job: &Job) -> anyhow::Result<()> {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let path = job.out.join(format!("exchange-{}.json", args.process));
    let text = serde_json::json!({
        "read": read(&counters.ingest.bytes),
        "sent": read(&counters.traffic.sent),
    });
    fs::write(&path, text.to_string())
        .with_context(|| format!("could not write `{}`", path.display()))
}
