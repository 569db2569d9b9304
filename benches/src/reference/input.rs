//! Records, made again from the options or read from the generator's files.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use tidewatch::generate::output::files::{LABELS, file_name};
use tidewatch::generate::{Fact, Labels, MARK_PREFIX, MEASUREMENTS, PARTITIONS, Topic, Workload};

use super::fold::{Fold, Observation, Partition};
use super::{Reference, ReferenceError};

impl Reference {
    /// The answers about `workload`, from its records as they are generated.
    ///
    /// # Errors
    /// [`ReferenceError::Lateness`] when the workload is not as it promises to be.
    pub fn of_workload(workload: &Workload) -> Result<Self, ReferenceError> {
        let mut fold =
            Fold::new(workload.start_ms(), workload.end_ms(), workload.error_threshold());
        for (topic, number) in all_partitions() {
            let mut partition = Partition::new(topic, number);
            workload.records(topic, number, |record| {
                let observation = Observation {
                    key: record.key,
                    event_time: record.event_time,
                    fact: record.fact,
                    is_late: Some(record.is_late),
                    is_mark: record.is_mark,
                };
                fold.observe(&mut partition, &observation)
            })?;
        }
        Ok(fold.finish())
    }

    /// The answers about the workload in `folder`, as `tidewatch generate --out` has written it: from the messages
    /// themselves, each read as JSON, and with nothing but the watermark to say which are late.
    ///
    /// # Errors
    /// [`ReferenceError`] when a file is missing, or is not what the generator writes.
    pub fn of_folder(folder: &Path) -> Result<Self, ReferenceError> {
        let labels = read_labels(&folder.join(LABELS))?;
        let mut fold = Fold::new(labels.start_ms, labels.end_ms, labels.error_threshold);
        for (topic, number) in all_partitions() {
            let mut partition = Partition::new(topic, number);
            let path = folder.join(file_name(topic, number));
            let file = File::open(&path).map_err(ReferenceError::file("read", &path))?;
            for (line, number) in BufReader::new(file).lines().zip(1..) {
                let text = line.map_err(ReferenceError::file("read", &path))?;
                let (key, event_time, fact) = parse(topic, &text).map_err(|reason| {
                    ReferenceError::Line { path: path.clone(), line: number, reason }
                })?;
                let is_mark = key.starts_with(MARK_PREFIX);
                let observation = Observation { key, event_time, fact, is_late: None, is_mark };
                fold.observe(&mut partition, &observation)?;
            }
        }
        Ok(fold.finish())
    }
}

/// Reads what `tidewatch generate` says of a workload.
///
/// # Errors
/// [`ReferenceError`] when the file cannot be read, or holds no labels.
pub(super) fn read_labels(path: &Path) -> Result<Labels, ReferenceError> {
    let text = fs::read(path).map_err(ReferenceError::file("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|error| ReferenceError::file("read labels from", path)(error.into()))
}

fn all_partitions() -> impl Iterator<Item = (Topic, u32)> {
    Topic::ALL.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |number| (topic, number)))
}

/// What matters of a metric message.
#[derive(Deserialize)]
struct Metric<'a> {
    fields: Fields,
    name: &'a str,
    tags: Tags<'a>,
    timestamp: u64,
}

#[derive(Deserialize)]
struct Fields {
    usage_active: Option<f64>,
    used_percent: Option<f64>,
}

#[derive(Deserialize)]
struct Tags<'a> {
    host: &'a str,
}

/// What matters of a log message.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "@timestamp")]
    time: &'a str,
    level: &'a str,
    service: &'a str,
}

/// Reads a line of a file: key, event time, fact.
fn parse(topic: Topic, line: &str) -> Result<(&str, u64, Fact), String> {
    let (key, message) = line.split_once('\t').ok_or("has no tab behind the key")?;
    let json = |error: serde_json::Error| format!("is no message: {error}");
    let (named, time, fact) = match topic {
        Topic::Metrics => {
            let metric: Metric<'_> = serde_json::from_str(message).map_err(json)?;
            let known = MEASUREMENTS.into_iter().find(|known| *known == metric.name);
            let measurement = known.ok_or("has an unknown measurement")?;
            let value = match measurement {
                "cpu" => metric.fields.usage_active,
                _ => metric.fields.used_percent,
            };
            let value = value.ok_or("has no value")?;
            (metric.tags.host, metric.timestamp, Fact::Metric { measurement, value })
        }
        Topic::Logs => {
            let line: Line<'_> = serde_json::from_str(message).map_err(json)?;
            let instant: Timestamp = line.time.parse().map_err(|_| "has no time")?;
            let time = u64::try_from(instant.as_millisecond()).map_err(|_| "is before 1970")?;
            (line.service, time, Fact::Log { is_error: line.level == "ERROR" })
        }
    };
    if named == key { Ok((key, time, fact)) } else { Err("is not about its key".to_owned()) }
}
