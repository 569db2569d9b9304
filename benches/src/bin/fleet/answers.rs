//! The benchmark's sink: answers as CSV, one file a query and process.
//!
//! | file | a line |
//! | --- | --- |
//! | `q1*.csv` | `window_end_ms,measurement,host,count,mean,min,max` |
//! | `q2*.csv` | `window_end_ms,host,mean,max` |
//! | `q3*.csv` | `host,first_ms` |
//! | `q4*.csv` | `window_end_ms,service,count`, counts above the threshold only |
//!
//! Numbers are written so that reading them gives the same bits again.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, bail};
use tidewatch::pipeline::{Durable, Outputs};
use tidewatch_dataflow::alert::{Incident, Transition};
use tidewatch_dataflow::checkpoint::Cut;
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::series::Labels;

use super::job::{Job, Query};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;

/// Answers on their way to files. Workers share it.
pub(crate) struct Answers {
    error_threshold: u64,
    files: [Option<Mutex<BufWriter<File>>>; Query::ALL.len()],
    /// Memory for lines: at most one for each worker.
    spare: Mutex<Vec<Lines>>,
    failed: OnceLock<io::Error>,
}

impl Answers {
    /// Makes the files of process `process`.
    pub(crate) fn create(job: &Job, process: usize) -> anyhow::Result<Self> {
        let create = |query: Query| {
            let path = job.out.join(format!("{}-{process}.csv", query.as_str()));
            File::create(&path)
                .with_context(|| format!("could not make `{}`", path.display()))
                .map(|file| Mutex::new(BufWriter::with_capacity(BUFFER, file)))
        };
        let mut files = [const { None }; Query::ALL.len()];
        for query in &job.queries {
            files[*query as usize] = Some(create(*query)?);
        }
        let (spare, failed) = (Mutex::default(), OnceLock::new());
        Ok(Answers { error_threshold: job.error_threshold, files, spare, failed })
    }

    fn append(&self, query: Query, text: &[u8]) {
        let Some(file) = self.files.get(query as usize).and_then(Option::as_ref) else { return };
        if text.is_empty() {
            return;
        }
        if let Err(error) = lock(file).write_all(text) {
            // The first failure says it all.
            let _ = self.failed.set(error);
        }
    }

    /// Hands what is gathered to the operating system.
    ///
    /// # Errors
    /// When this or an earlier write failed.
    pub(crate) fn flush(&self, out: &Path) -> anyhow::Result<()> {
        for file in self.files.iter().flatten() {
            lock(file)
                .flush()
                .with_context(|| format!("could not write to `{}`", out.display()))?;
        }
        match self.failed.get() {
            Some(error) => bail!("could not write to `{}`: {error}", out.display()),
            None => Ok(()),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a point's field.
fn field(point: &MetricPoint, name: &str) -> f64 {
    point.fields.get(name).unwrap_or(f64::NAN)
}

/// The lines of each query, on their way to its file.
type Lines = [Vec<u8>; Query::ALL.len()];

/// Writes the line of `point` behind those of its query. The statistics of `fleet.toml` say which that is.
fn write(point: &MetricPoint, error_threshold: u64, lines: &mut Lines) {
    let [q1, q2, _, q4] = lines;
    let end = point.time.as_millis();
    let label = |name| point.labels.get(name).unwrap_or_default();
    match &*point.measurement {
        "cpu_5m" => {
            begin(q2, end, &[label("host")]);
            numbers(q2, &[field(point, "mean"), field(point, "max")]);
        }
        "errors" => {
            let count = field(point, "count") as u64;
            if count > error_threshold {
                begin(q4, end, &[label("service"), itoa::Buffer::new().format(count)]);
                numbers(q4, &[]);
            }
        }
        measurement => {
            let [count, mean, min, max] = ["count", "mean", "min", "max"].map(|f| field(point, f));
            let (mut text, count) = (itoa::Buffer::new(), count as u64);
            begin(q1, end, &[measurement, label("host"), text.format(count)]);
            numbers(q1, &[mean, min, max]);
        }
    }
}

/// Begins a line with a time and `texts`, each behind a comma.
fn begin(line: &mut Vec<u8>, time: u64, texts: &[&str]) {
    line.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
    for text in texts {
        line.push(b',');
        line.extend_from_slice(text.as_bytes());
    }
}

/// Ends a line with `numbers`, each behind a comma.
fn numbers(line: &mut Vec<u8>, numbers: &[f64]) {
    let mut before: Option<(u64, Range<usize>)> = None;
    for number in numbers {
        line.push(b',');
        let start = line.len();
        match &before {
            // Mean, least and greatest of one sample are the same number.
            Some((bits, text)) if *bits == number.to_bits() => {
                line.extend_from_within(text.clone());
            }
            _ => line.extend_from_slice(zmij::Buffer::new().format(*number).as_bytes()),
        }
        before = Some((number.to_bits(), start..line.len()));
    }
    line.push(b'\n');
}

impl Outputs for Answers {
    fn points(&self, points: Vec<MetricPoint>) {
        let mut lines = lock(&self.spare).pop().unwrap_or_default();
        for point in &points {
            write(point, self.error_threshold, &mut lines);
        }
        for (query, lines) in Query::ALL.into_iter().zip(&mut lines) {
            self.append(query, lines);
            lines.clear();
        }
        lock(&self.spare).push(lines);
    }

    fn logs(&self, _lines: Vec<LogLine>) {}

    fn dead_letters(&self, _letters: Vec<DeadLetter>) {}

    fn transitions(&self, transitions: Vec<Transition>) {
        let openings = transitions.iter().filter(|transition| transition.is_opening());
        let lines: String = openings
            .map(|opening| {
                let host = opening.group.get("host").unwrap_or_default();
                format!("{host},{}\n", opening.started_at.as_millis())
            })
            .collect();
        self.append(Query::Q3, lines.as_bytes());
    }

    fn active(&self, _changes: Vec<((Incident, Labels), isize)>) {}

    fn make_durable(&self, _cut: Cut, done: Durable) {
        for file in self.files.iter().flatten() {
            if let Err(error) = lock(file).flush() {
                let _ = self.failed.set(error);
                return;
            }
        }
        done(Vec::new(), Vec::new());
    }

    fn is_full(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflow::time::EventTime;

    use super::*;

    fn point(measurement: &str, label: (&str, &str), fields: &[(&str, f64)]) -> MetricPoint {
        MetricPoint {
            measurement: measurement.into(),
            labels: Labels::from_pairs([label, ("window", "10s")]),
            time: EventTime::from_millis(1_700_000_010_000),
            fields: fields.iter().copied().collect(),
            is_correction: false,
        }
    }

    #[test]
    fn points_become_lines_of_their_query() {
        let folder = tempfile::tempdir().unwrap();
        let job = Job {
            brokers: Vec::new(),
            metrics: None,
            logs: None,
            queries: vec![Query::Q1, Query::Q4],
            out: folder.path().to_path_buf(),
            error_threshold: 20,
        };
        let answers = Answers::create(&job, 0).unwrap();
        let all = [("count", 10.0), ("mean", 0.1 + 0.2), ("min", 1e-7), ("max", 88.5)];
        answers.points(vec![
            point("cpu", ("host", "a"), &all),
            point("cpu_5m", ("host", "a"), &[("mean", 1.0), ("max", 2.0)]),
            point(
                "disk",
                ("host", "b"),
                &[("count", 1.0), ("mean", 0.5), ("min", 0.5), ("max", 0.5)],
            ),
            point("errors", ("service", "pay"), &[("count", 20.0)]),
            point("errors", ("service", "pay"), &[("count", 21.0)]),
        ]);
        answers.flush(&job.out).unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let line = "1700000010000,cpu,a,10,0.30000000000000004,1e-7,88.5\n\
            1700000010000,disk,b,1,0.5,0.5,0.5\n";
        assert_eq!(text("q1-0.csv"), line);
        assert_eq!(text("q4-0.csv"), "1700000010000,pay,21\n", "above, not at");
        assert!(!folder.path().join("q2-0.csv").exists(), "nobody asked for it");
    }
}
