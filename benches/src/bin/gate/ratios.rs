//! What is compared with what.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context as _;
use tidewatch::generate::{Options, Topic, Workload};
use tidewatch_benches::panes::{FIRST, messages, moments, warm_up, windows};
use tidewatch_connectors::codec::{Format, SourceFormat, for_source, reference_for_source};
use tidewatch_dataflow::operator::PaneMachine;
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_dataflow::time::{EventTime, Pane};
use tidewatch_operators::feed::{FeedBatch, FeedMessage};
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

use crate::clock::by_turns;

/// Two measured jobs.
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) first: Duration,
    pub(crate) second: Duration,
    /// The first may take at most so many times as long as the second.
    pub(crate) limit: f64,
}

/// All ratios, measured now.
pub(crate) fn all() -> anyhow::Result<Vec<Ratio>> {
    Ok(vec![
        parse()?,
        sliding("5 min sliding by 10 s / 10 s tumbling, per pane", 300, 10, 6.0)?,
        sliding("1 h sliding by 10 s / 5 min sliding by 10 s, per pane", 3_600, 300, 2.0)?,
        wire("partials to bytes and back / by bincode", false, 1.2)?,
        wire("partials with a condition to bytes and back / by bincode", true, 2.2)?,
    ])
}

/// Telegraf records with shape prediction, and without.
fn parse() -> anyhow::Result<Ratio> {
    let workload = Workload::new(Options { hosts: 500, ..Options::new(1, 30_000) })?;
    let mut values: Vec<Vec<u8>> = Vec::new();
    workload.records(Topic::Metrics, 0, |record| {
        values.push(record.payload.to_vec());
        anyhow::Ok(())
    })?;
    let read = |mut codec: Box<dyn Codec>| {
        let (mut series, mut out) = (SeriesTable::new(10_000), Decoded::default());
        let values = &values;
        move || {
            let records: Vec<Record<'_>> = values.iter().zip(0..).map(record).collect();
            let partition = PartitionId { topic: 0, partition: 0 };
            let batch = RecordBatch { partition, records: &records };
            out.clear();
            codec.decode(&batch, &mut series, &mut out);
            anyhow::ensure!(out.points.len() == values.len(), "a record was not read");
            black_box(&out);
            Ok(())
        }
    };
    let source = SourceFormat::new("fleet-metrics", Format::TelegrafJson);
    let (first, second) = by_turns(read(for_source(&source)), read(reference_for_source(&source)))?;
    Ok(Ratio { name: "parse with shape prediction / by serde_json", first, second, limit: 0.35 })
}

fn record((value, offset): (&Vec<u8>, i64)) -> Record<'_> {
    Record {
        offset,
        time: RecordTime::Created(EventTime::from_millis(1_700_000_000_000)),
        key: None,
        value: Some(value),
        headers: &[],
    }
}

/// Windows of `size` seconds and of `other` seconds, both sliding by ten, pane after pane.
fn sliding(name: &'static str, size: u64, other: u64, limit: f64) -> anyhow::Result<Ratio> {
    /// Panes of one round.
    const PANES: u64 = 32;
    let apply = |size: u64| -> anyhow::Result<_> {
        let mut machine = windows(size)?;
        let mut next = warm_up(&mut machine, size / 10, moments);
        let mut out = Vec::new();
        Ok(move || {
            for _ in 0..PANES {
                machine.apply(Pane(next), &mut moments(next), &mut out);
                black_box(&out);
                out.clear();
                next += 1;
            }
            Ok(())
        })
    };
    debug_assert!(FIRST.is_multiple_of(360));
    let (first, second) = by_turns(apply(size)?, apply(other)?)?;
    Ok(Ratio { name, first, second, limit })
}

/// Partials to another process, by the feeds' codec and by serde and bincode.
fn wire(name: &'static str, has_condition: bool, limit: f64) -> anyhow::Result<Ratio> {
    let plain = messages(has_condition)?;
    let own = FeedBatch::from(plain.clone());
    let own = move || {
        let mut bytes = Vec::with_capacity(own.length_in_bytes());
        own.into_bytes(&mut bytes);
        black_box(FeedBatch::try_from_bytes(&bytes).context("a batch was not read")?);
        Ok(())
    };
    let by_bincode = move || {
        let mut bytes = Vec::with_capacity(plain.length_in_bytes());
        plain.into_bytes(&mut bytes);
        black_box(Vec::<FeedMessage>::from_bytes(BytesMut::from(bytes).freeze()));
        Ok(())
    };
    let (first, second) = by_turns(own, by_bincode)?;
    Ok(Ratio { name, first, second, limit })
}
