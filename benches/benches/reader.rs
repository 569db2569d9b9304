//! CPU seconds per million records from Kafka, for the reader alone and with the codec behind it.
//!
//! ```console
//! cargo bench -p tidewatch-benches --bench reader -- 2000000
//! ```
//!
//! Writes so many Telegraf messages of some 270 bytes (default 1,000,000) to 12 partitions of a real broker,
//! reads them from the beginning with one reader, and counts the CPU time of this process, all its threads,
//! between the first poll and the end of the last partition. The broker is a process of its own and is not
//! counted. Without a broker in the cache, or as a test (`cargo test --bench reader`), librdkafka's mock cluster takes its place with
//! 10,000 messages; as it lives in this process, its cost is counted then.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::mocking::MockCluster;
use tidewatch_connectors::codec::{Format, SourceFormat, for_source};
use tidewatch_connectors::kafka::admin::{TopicSpec, ensure_topics};
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_connectors::kafka::{KafkaConfig, KafkaReader, Start};
use tidewatch_dataflow::record::{Decoded, PartitionId, Topics};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::{Poll, SourceReader};
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::kafka::Broker;

const PARTITIONS: i32 = 12;
const TOPIC: &str = "reader-bench";
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    // `cargo bench` says so; anything else is a test that the benchmark runs at all.
    let mut test = true;
    let mut count = 1_000_000;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => test = false,
            other => count = other.parse().unwrap_or(count),
        }
    }
    let broker = if test { None } else { Broker::start().ok() };
    let (mock, brokers) = match &broker {
        Some(broker) => (None, broker.bootstrap()),
        None => {
            count = 10_000;
            let mock = MockCluster::new(1)?;
            mock.create_topic(TOPIC, PARTITIONS, 1)?;
            let brokers = mock.bootstrap_servers();
            (Some(mock), brokers)
        }
    };
    let config = KafkaConfig::new(brokers.split(','));
    if broker.is_some() {
        let spec = TopicSpec {
            name: TOPIC.to_owned(),
            partitions: PARTITIONS,
            replication: 1,
            retention: None,
            extra: [].into(),
        };
        ensure_topics(&config, &[spec], LIMIT)?;
    }
    fill(&config, count)?;
    for round in 0..3 {
        for decode in [false, true] {
            let (cpu, wall) = read(&config, count, decode)?;
            let per_million = 1e6 / count as f64;
            let what = if decode { "reader and codec" } else { "reader          " };
            let place = if mock.is_some() { "mock in this process" } else { "real broker" };
            #[allow(clippy::print_stdout, reason = "the result of the benchmark")]
            {
                println!(
                    "{what}  round {round}  {:.2} CPU s per million  {:.2} M records/s wall  ({count} records, {place})",
                    cpu * per_million,
                    count as f64 / wall / 1e6
                );
            }
        }
    }
    Ok(())
}

fn fill(config: &KafkaConfig, count: u64) -> Result<()> {
    let mut config = config.clone();
    // The broker keeps what it is given: plain batches, the easiest to read.
    config.properties.insert("compression.type".into(), "none".into());
    config.properties.insert("batch.size".into(), "1000000".into());
    let producer = Producer::new(&config)?;
    for i in 0..count {
        let host = i % 1_000;
        let share = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1_u64 << 53) as f64;
        let time = 1_700_000_000_000 + i;
        let value = format!(
            r#"{{"fields":{{"usage_active":{},"usage_idle":{},"usage_iowait":{},"usage_system":{},"usage_user":{}}},"name":"cpu","tags":{{"cpu":"cpu-total","dc":"eu-1","host":"web-{host:04}","role":"web"}},"timestamp":{time}}}{}"#,
            share * 100.0,
            100.0 - share * 100.0,
            share / 3.0,
            share * 30.0,
            share * 70.0,
            '\n'
        );
        let message = Message {
            topic: TOPIC,
            partition: Some((host % 12) as i32),
            value: Some(value.as_bytes()),
            time: Some(EventTime::from_millis(time)),
            ..Message::default()
        };
        producer.send(&message, LIMIT)?;
    }
    producer.flush(LIMIT)?;
    Ok(())
}

/// CPU and wall seconds to read everything.
fn read(config: &KafkaConfig, count: u64, decode: bool) -> Result<(f64, f64)> {
    let topics = Topics::new([TOPIC]);
    let ids: Vec<_> = (0..PARTITIONS).map(|p| PartitionId { topic: 0, partition: p }).collect();
    let starts: Vec<_> = ids.iter().map(|id| (*id, Start::Earliest)).collect();
    let mut codec = for_source(&SourceFormat::new(TOPIC, Format::Auto));
    let mut series = SeriesTable::new(100_000);
    let mut out = Decoded::default();
    let budget = NonZeroUsize::new(2_048).context("a budget")?;
    let (cpu, wall) = (cpu_seconds()?, Instant::now());
    let mut reader = KafkaReader::open(config, &topics, &starts)?;
    let waker = std::thread::current();
    reader.on_arrival(Box::new(move || waker.unpark()));
    let mut records = 0;
    let mut ended = 0;
    while ended < ids.len() {
        let mut ready = false;
        ended = 0;
        for id in &ids {
            let poll = reader.poll(*id, budget, &mut |batch| {
                records += batch.records.len() as u64;
                if decode {
                    out.clear();
                    codec.decode(&batch, &mut series, &mut out);
                }
            })?;
            ready |= poll == Poll::Ready;
            ended += usize::from(poll == Poll::AtEnd);
        }
        if !ready && ended < ids.len() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    let result = (cpu_seconds()? - cpu, wall.elapsed().as_secs_f64());
    ensure!(records == count, "read {records} of {count} records");
    Ok(result)
}

/// User and system time of this process so far, all threads, ended ones included.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("could not read the CPU time")?;
    // The second column, the name of the program, may have spaces; it ends with the last bracket.
    let (_, rest) = stat.rsplit_once(')').context("the CPU time is in a form not known")?;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    // Linux counts these in hundredths of a second whatever the kernel's own clock.
    Ok(ticks as f64 / 100.0)
}
