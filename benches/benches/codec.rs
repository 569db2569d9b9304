//! What it costs to decode records: Telegraf's JSON, log lines and bare values, one batch after another.
//!
//! ```console
//! cargo bench -p tidewatch-benches --bench codec
//! ```
//!
//! A batch has 30,000 Telegraf records: `cpu`, `mem` and `disk` of 1,000 hosts in random order, ten of each,
//! numbers with 16 or 17 digits as Telegraf writes them, 200 to 330 bytes, 8 MB in all; or 3,000 log lines or
//! values. All series are known before the clock starts. The time of an item is that of one record.
//!
//! `telegraf_json` runs with shape prediction and without it, side by side: what prediction gains is the ratio of
//! two lines of one run. `telegraf_flood` has a label that never repeats, so that nothing can be predicted: what
//! learning costs is the ratio of its two lines.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tidewatch_connectors::codec::{Format, SourceFormat, for_source, reference_for_source};
use tidewatch_dataflow::record::{Decoded, PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

fn main() {
    divan::main();
}

const HOSTS: u64 = 1_000;
const START: u64 = 1_700_000_000_000;

/// A hash as a source of numbers that look random and are always the same.
fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A share of 100, with all its digits.
fn percent(seed: u64) -> f64 {
    (mix(seed) >> 11) as f64 / (1_u64 << 53) as f64 * 100.0
}

/// Messages of Telegraf; with `flood` each has a label of its own.
fn telegraf(flood: bool) -> Vec<String> {
    let mut lines: Vec<(u64, String)> = (0..HOSTS * 3 * 10)
        .map(|i| {
            let (host, kind, time) = (i / 3 % HOSTS, i % 3, START + mix(i) % 10_000);
            let (a, b) = (percent(i * 7), percent(i * 7 + 1));
            let (fields, name, more) = match kind {
                0 => {
                    let fields = format!(
                        r#""usage_active":{a},"usage_idle":{},"usage_iowait":{b},"usage_system":{},"usage_user":{}"#,
                        100.0 - a,
                        a / 3.0,
                        a / 1.5
                    );
                    (fields, "cpu", r#""cpu":"cpu-total","#)
                }
                1 => {
                    let available = mix(i) % 68_719_476_736;
                    let fields = format!(
                        r#""available":{available},"available_percent":{a},"total":68719476736,"used":{},"used_percent":{b}"#,
                        68_719_476_736 - available
                    );
                    (fields, "mem", "")
                }
                _ => {
                    let free = mix(i) % 107_374_182_400;
                    let fields =
                        format!(r#""free":{free},"total":107374182400,"used_percent":{a}"#);
                    (fields, "disk", r#""device":"vda","fstype":"ext4","path":"/","#)
                }
            };
            let more = if flood { format!(r#"{more}"container":"{:016x}","#, mix(i)) } else { more.into() };
            let line = format!(
                r#"{{"fields":{{{fields}}},"name":"{name}","tags":{{{more}"dc":"eu-1","host":"web-{host:04}","rack":"r{}","role":"web"}},"timestamp":{time}}}{}"#,
                host % 40,
                '\n'
            );
            (mix(i * 31), line)
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn json_logs() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                r#"{{"@timestamp":"2026-11-22T19:{:02}:{:02}.{:03}Z","level":"{}","host":"web-{:04}","service":"svc-{:02}","message":"request {i} handled in {} ms","trace_id":"{:016x}","status":{}}}"#,
                i % 60,
                i / 60 % 60,
                i % 1_000,
                ["INFO", "info", "WARN", "error"][(mix(i) % 4) as usize],
                mix(i) % HOSTS,
                mix(i) % 50,
                mix(i) % 900,
                mix(i),
                200 + mix(i) % 4 * 100
            )
        })
        .collect()
}

fn text_logs() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                "2026-11-22 19:{:02}:{:02},{:03} {} [worker-{}] com.example.Service - request {i} handled in {} ms",
                i % 60,
                i / 60 % 60,
                i % 1_000,
                ["INFO ", "DEBUG", "WARN ", "ERROR"][(mix(i) % 4) as usize],
                i % 8,
                mix(i) % 900
            )
        })
        .collect()
}

fn values() -> Vec<String> {
    (0..HOSTS * 3).map(|i| format!("{:.1}%", percent(i))).collect()
}

/// Whether Telegraf's JSON is predicted or always parsed.
#[derive(Copy, Clone, Debug)]
enum Reading {
    Predicted,
    Parsed,
}

/// As records whose values lie one behind the other, as in the batches of a broker.
fn records<'a>(lines: &[String], all: &'a mut String) -> Vec<Record<'a>> {
    *all = lines.concat();
    let mut rest = all.as_str();
    (0..)
        .zip(lines)
        .map(|(offset, line)| {
            let (value, behind) = rest.split_at(line.len());
            rest = behind;
            let host = value.find("web-").and_then(|at| value.get(at..at + 8));
            Record {
                offset,
                time: RecordTime::Created(EventTime::from_millis(START)),
                key: Some(host.unwrap_or("web-0000").as_bytes()),
                value: Some(value.as_bytes()),
            }
        })
        .collect()
}

fn run(bencher: Bencher<'_, '_>, format: Format, reading: Reading, lines: &[String]) {
    let mut all = String::new();
    let records = records(lines, &mut all);
    let batch =
        RecordBatch { partition: PartitionId { topic: 0, partition: 0 }, records: &records };
    let source = SourceFormat::new("cpu-usage", format);
    let mut codec = match reading {
        Reading::Predicted => for_source(&source),
        Reading::Parsed => reference_for_source(&source),
    };
    let mut series = SeriesTable::new(1_000_000);
    let mut out = Decoded::default();
    codec.decode(&batch, &mut series, &mut out);
    assert_eq!((out.points.len(), out.rejected.len()), (records.len(), 0));
    bencher
        .counter(ItemsCount::new(records.len()))
        .counter(BytesCount::new(lines.iter().map(String::len).sum::<usize>()))
        .bench_local(|| {
            out.clear();
            codec.decode(black_box(&batch), &mut series, &mut out);
            black_box(out.values.len())
        });
}

/// Decodes `lines` in pieces that a source would hand out, each time with a codec that knows nothing.
fn run_new(bencher: Bencher<'_, '_>, reading: Reading, lines: &[String]) {
    let mut all = String::new();
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

#[divan::bench(args = [Reading::Predicted, Reading::Parsed])]
fn telegraf_flood(bencher: Bencher<'_, '_>, reading: Reading) {
    run_new(bencher, reading, &telegraf(true));
}

#[divan::bench(args = [Format::JsonLog, Format::Auto])]
fn json_log(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, Reading::Predicted, &json_logs());
}

#[divan::bench(args = [Format::TextLog, Format::Auto])]
fn text_log(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, Reading::Predicted, &text_logs());
}

#[divan::bench(args = [Format::Value, Format::Auto])]
fn value(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, Reading::Predicted, &values());
}
