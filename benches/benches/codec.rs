//! What it costs to decode records: Telegraf's JSON, log lines and bare values, one batch after another.
//!
//! ```console
//! cargo bench -p tidewatch-benches --bench codec
//! ```
//!
//! A batch has 3,000 records: `cpu`, `mem` and `disk` of 1,000 hosts in a shuffled order, numbers with 16 or
//! 17 digits as Telegraf writes them, about 270 bytes each; or as many log lines or values. All series are
//! known before the clock starts. The time of an item is that of one record.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tidewatch_connectors::codec::{Format, SourceFormat, for_source};
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

fn telegraf() -> Vec<String> {
    let mut lines: Vec<(u64, String)> = (0..HOSTS * 3)
        .map(|i| {
            let (host, kind, time) = (i / 3, i % 3, START + mix(i) % 10_000);
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

fn run(bencher: Bencher<'_, '_>, format: Format, lines: Vec<String>) {
    let keys: Vec<String> = (0..HOSTS).map(|host| format!("web-{host:04}")).collect();
    let records: Vec<Record<'_>> = (0..)
        .zip(lines.iter().zip(keys.iter().cycle()))
        .map(|(offset, (line, key))| Record {
            offset,
            time: RecordTime::Created(EventTime::from_millis(START)),
            key: Some(key.as_bytes()),
            value: Some(line.as_bytes()),
        })
        .collect();
    let batch =
        RecordBatch { partition: PartitionId { topic: 0, partition: 0 }, records: &records };
    let mut codec = for_source(&SourceFormat::new("cpu-usage", format));
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

#[divan::bench(args = [Format::TelegrafJson, Format::Auto])]
fn telegraf_json(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, telegraf());
}

#[divan::bench(args = [Format::JsonLog, Format::Auto])]
fn json_log(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, json_logs());
}

#[divan::bench(args = [Format::TextLog, Format::Auto])]
fn text_log(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, text_logs());
}

#[divan::bench(args = [Format::Value, Format::Auto])]
fn value(bencher: Bencher<'_, '_>, format: Format) {
    run(bencher, format, values());
}
