//! What it costs to decode records of each format, one batch after another.
//!
//! ```console
//! cargo bench -p tidewatch-benches --bench codec
//! ```
//!
//! A batch of Telegraf's has 30,000 records: `cpu`, `mem` and `disk` of 1,000 hosts in random order, ten of each,
//! numbers with 16 or 17 digits as Telegraf writes them, 200 to 330 bytes, 8 MB in all. Line protocol has the same
//! metrics. The other formats have 3,000 records of one message each, as their producers send to Kafka, but for remote
//! write, whose 300 records have 100 series each. All series are known before the clock starts. The time of an item is
//! that of one record.
//!
//! `telegraf_json` runs with shape prediction and without it, side by side: what prediction gains is the ratio of
//! two lines of one run; and so does `influx_line`, with its memory of heads and without, and `json_log`, with its reader
//! of flat objects and without. `fleet_log` has 30,000 log lines of the benchmark of the fleet, 10,000 hosts with six
//! services, whose series have the host or, as in the benchmark's query, do not. `telegraf_flood` has a label
//! that never repeats, so that nothing can be predicted: what learning costs is the ratio of its two lines.
//! `telegraf_labels` is `telegraf_json` with the record's key as a further label.

#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

mod data;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tidewatch_connectors::codec::{
    Format, LogLabels, RecordLabels, SourceFormat, for_source, reference_for_source,
};
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

use data::*;

fn main() {
    divan::main();
}

/// Whether a codec takes its short ways (prediction for Telegraf's JSON) or always parses.
#[derive(Copy, Clone, Debug)]
enum Reading {
    Predicted,
    Parsed,
}

/// As records whose values lie one behind the other, as in the batches of a broker.
fn records<'a, V: AsRef<[u8]>>(values: &[V], all: &'a mut Vec<u8>) -> Vec<Record<'a>> {
    *all = values.iter().flat_map(|value| value.as_ref()).copied().collect();
    let mut rest = all.as_slice();
    (0..)
        .zip(values)
        .map(|(offset, value)| {
            let (value, behind) = rest.split_at(value.as_ref().len());
            rest = behind;
            let host = value.windows(8).find(|word| word.starts_with(b"web-"));
            Record {
                offset,
                time: RecordTime::Created(EventTime::from_millis(START)),
                key: Some(host.unwrap_or(b"web-0000")),
                value: Some(value),
                headers: &[],
            }
        })
        .collect()
}

fn run<V: AsRef<[u8]>>(bencher: Bencher<'_, '_>, format: Format, reading: Reading, lines: &[V]) {
    run_source(bencher, &SourceFormat::new("cpu-usage", format), reading, lines);
}

fn run_source<V: AsRef<[u8]>>(
    bencher: Bencher<'_, '_>,
    source: &SourceFormat,
    reading: Reading,
    lines: &[V],
) {
    let mut all = Vec::new();
    let records = records(lines, &mut all);
    let batch =
        RecordBatch { partition: PartitionId { topic: 0, partition: 0 }, records: &records };
    let mut codec = match reading {
        Reading::Predicted => for_source(source),
        Reading::Parsed => reference_for_source(source),
    };
    let mut series = SeriesTable::new(1_000_000);
    let mut out = Decoded::default();
    codec.decode(&batch, &mut series, &mut out);
    assert!(out.points.len() >= records.len() && out.rejected.is_empty(), "{:?}", out.rejected);
    bencher
        .counter(ItemsCount::new(records.len()))
        .counter(BytesCount::new(lines.iter().map(|line| line.as_ref().len()).sum::<usize>()))
        .bench_local(|| {
            out.clear();
            codec.decode(black_box(&batch), &mut series, &mut out);
            black_box(out.values.len())
        });
}

/// Decodes `lines` in pieces that a source would hand out, each time with a codec that knows nothing.
fn run_new(bencher: Bencher<'_, '_>, reading: Reading, lines: &[String]) {
    let mut all = Vec::new();
    let records = records(lines, &mut all);
    let source = SourceFormat::new("cpu-usage", Format::TelegrafJson);
    let mut out = Decoded::default();
    bencher
        .counter(ItemsCount::new(records.len()))
        .with_inputs(|| {
            let codec = match reading {
                Reading::Predicted => for_source(&source),
                Reading::Parsed => reference_for_source(&source),
            };
            (codec, SeriesTable::new(1_000_000))
        })
        .bench_local_refs(|(codec, series)| {
            for records in records.chunks(4_096) {
                out.clear();
                let partition = PartitionId { topic: 0, partition: 0 };
                codec.decode(black_box(&RecordBatch { partition, records }), series, &mut out);
                black_box(out.values.len());
            }
        });
}

#[divan::bench(args = [
    (Format::TelegrafJson, Reading::Predicted),
    (Format::TelegrafJson, Reading::Parsed),
    (Format::Auto, Reading::Predicted),
    (Format::Auto, Reading::Parsed),
])]
fn telegraf_json(bencher: Bencher<'_, '_>, (format, reading): (Format, Reading)) {
    run(bencher, format, reading, &telegraf(false));
}

#[divan::bench]
fn telegraf_labels(bencher: Bencher<'_, '_>) {
    let record_labels = RecordLabels { key: Some("key".into()), headers: Vec::new() };
    let source =
        SourceFormat { record_labels, ..SourceFormat::new("cpu-usage", Format::TelegrafJson) };
    run_source(bencher, &source, Reading::Predicted, &telegraf(false));
}

#[divan::bench(args = [Reading::Predicted, Reading::Parsed])]
fn telegraf_flood(bencher: Bencher<'_, '_>, reading: Reading) {
    run_new(bencher, reading, &telegraf(true));
}

#[divan::bench(args = [
    (Format::JsonLog, Reading::Predicted),
    (Format::JsonLog, Reading::Parsed),
    (Format::Auto, Reading::Predicted),
])]
fn json_log(bencher: Bencher<'_, '_>, (format, reading): (Format, Reading)) {
    run(bencher, format, reading, &json_logs());
}

#[divan::bench(args = [
    (true, Reading::Predicted),
    (false, Reading::Predicted),
    (false, Reading::Parsed),
])]
fn fleet_log(bencher: Bencher<'_, '_>, (host, reading): (bool, Reading)) {
    let log_labels = LogLabels { host, ..LogLabels::ALL };
    let source = SourceFormat { log_labels, ..SourceFormat::new("logs", Format::JsonLog) };
    run_source(bencher, &source, reading, &fleet_logs());
}

#[divan::bench(args = [Format::TextLog, Format::Auto])]
fn text_log(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, Reading::Predicted, &text_logs());
}

#[divan::bench(args = [Format::Value, Format::Auto])]
fn value(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, Reading::Predicted, &values());
}

#[divan::bench(args = [
    (Format::InfluxLine, Reading::Predicted),
    (Format::InfluxLine, Reading::Parsed),
    (Format::Auto, Reading::Predicted),
])]
fn influx_line(bencher: Bencher<'_, '_>, (format, reading): (Format, Reading)) {
    run(bencher, format, reading, &lines());
}

#[divan::bench]
fn collectd_json(bencher: Bencher<'_, '_>) {
    run(bencher, Format::CollectdJson, Reading::Predicted, &collectd());
}

#[divan::bench]
fn syslog_5424(bencher: Bencher<'_, '_>) {
    run(bencher, Format::Syslog, Reading::Predicted, &syslogs());
}

#[divan::bench]
fn syslog_3164(bencher: Bencher<'_, '_>) {
    run(bencher, Format::Syslog, Reading::Predicted, &old_syslogs());
}

#[divan::bench]
fn logfmt(bencher: Bencher<'_, '_>) {
    run(bencher, Format::Logfmt, Reading::Predicted, &logfmts());
}

#[divan::bench]
fn ecs_json(bencher: Bencher<'_, '_>) {
    run(bencher, Format::EcsJson, Reading::Predicted, &ecs_logs());
}

#[divan::bench]
fn otlp_protobuf_metrics(bencher: Bencher<'_, '_>) {
    run(bencher, Format::Otlp, Reading::Predicted, &otlp_metrics());
}

#[divan::bench]
fn otlp_protobuf_logs(bencher: Bencher<'_, '_>) {
    run(bencher, Format::Otlp, Reading::Predicted, &otlp_logs());
}

#[divan::bench]
fn otlp_json_metrics(bencher: Bencher<'_, '_>) {
    run(bencher, Format::Otlp, Reading::Predicted, &otlp_json());
}

#[divan::bench]
fn prometheus_remote_write(bencher: Bencher<'_, '_>) {
    run(bencher, Format::PrometheusRemoteWrite, Reading::Predicted, &remote_write());
}
