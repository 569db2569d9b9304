//! The floor: all records taken from librdkafka's queues in batches, none looked at.

use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tidewatch::pipeline::Sources as _;
use tidewatch_connectors::kafka::BUDGET_MAX;
use tidewatch_dataflow::source::Poll;

use super::job::Job;
use super::query;
use super::source::KafkaSources;

/// The pause when nothing has come; an arrival ends it.
const PARK_MAX: Duration = Duration::from_millis(20);
/// How long nothing may come before the job counts as failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Reads every partition to its end.
pub(crate) fn run(job: &Job) -> anyhow::Result<()> {
    let config = query::config(job, None)?;
    let sources = KafkaSources::open(&config)?;
    let partitions = sources.partitions();
    let mut reader = sources.open(partitions.iter().map(|p| (*p, None)).collect())?;
    let this = thread::current();
    reader.on_arrival(Box::new(move || this.unpark()));
    let budget = NonZeroUsize::new(BUDGET_MAX).unwrap_or(NonZeroUsize::MIN);
    let (mut read, mut ended, mut heard) = (0u64, 0, Instant::now());
    while ended < partitions.len() {
        let before = read;
        ended = 0;
        for partition in &partitions {
            let mut visit = |batch: tidewatch_dataflow::record::RecordBatch<'_>| {
                read += batch.records.len() as u64;
            };
            if reader.poll(*partition, budget, &mut visit)? == Poll::AtEnd {
                ended += 1;
            }
        }
        if read > before {
            heard = Instant::now();
        } else if ended < partitions.len() {
            ensure!(heard.elapsed() < SILENCE_MAX, "nothing came after {read} records");
            thread::park_timeout(PARK_MAX);
        }
    }
    eprintln!("{read} records");
    if let Some(expected) = job.records() {
        ensure!(read == expected, "{read} records were read and there are {expected}");
    }
    Ok(())
}
