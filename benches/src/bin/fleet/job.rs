//! What is asked for, as the environment says.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};

/// One of the benchmark's queries.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Query {
    /// Tumbling windows of cpu, mem and disk.
    Q1,
    /// A long window of cpu that slides.
    Q2,
    /// A condition of cpu that holds for long.
    Q3,
    /// Errors counted in the logs.
    Q4,
}

impl Query {
    /// All of them.
    pub(crate) const ALL: [Query; 4] = [Query::Q1, Query::Q2, Query::Q3, Query::Q4];

    /// As the environment writes it, and the names of answer files begin.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Query::Q1 => "q1",
            Query::Q2 => "q2",
            Query::Q3 => "q3",
            Query::Q4 => "q4",
        }
    }
}

impl FromStr for Query {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let known = Query::ALL.into_iter().find(|query| query.as_str() == text);
        known.with_context(|| format!("`{text}` is no query: write some of q1,q2,q3,q4"))
    }
}

/// A topic of the benchmark, and how many records it has where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) records: Option<u64>,
}

/// The whole job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) brokers: Vec<String>,
    /// Of the metrics; `None` when no query reads them.
    pub(crate) metrics: Option<Topic>,
    /// Of the logs, likewise.
    pub(crate) logs: Option<Topic>,
    /// At least one; sorted, each once.
    pub(crate) queries: Vec<Query>,
    pub(crate) out: PathBuf,
    /// Counts above this are answers of Q4.
    pub(crate) error_threshold: u64,
}

impl Job {
    /// Reads the environment of this process.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// Reads variables; an empty one counts as unset.
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let set = |name: &str| variable(name).filter(|text| !text.is_empty());
        let needed = |name: &str| set(name).with_context(|| format!("`{name}` is not set"));
        let number = |name: &str| {
            let parsed = set(name).map(|text| text.parse::<u64>());
            parsed.transpose().with_context(|| format!("`{name}` is not a number"))
        };
        let list = |text: String| {
            text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<String>>()
        };
        let queries = list(needed("QUERIES")?);
        let mut queries =
            queries.iter().map(|q| q.parse()).collect::<anyhow::Result<Vec<Query>>>()?;
        queries.sort_unstable();
        queries.dedup();
        let topic = |name: &str, records: &str| {
            Ok::<_, anyhow::Error>(Topic { name: needed(name)?, records: number(records)? })
        };
        let reads_metrics = queries.iter().any(|query| *query != Query::Q4);
        let reads_logs = queries.contains(&Query::Q4);
        let metrics = reads_metrics.then(|| topic("METRICS_TOPIC", "METRICS_RECORDS"));
        let logs = reads_logs.then(|| topic("LOGS_TOPIC", "LOGS_RECORDS"));
        let out = PathBuf::from(needed("OUT")?);
        if !out.is_dir() {
            bail!("`OUT` is `{}`, which is no folder: make it first", out.display());
        }
        Ok(Job {
            brokers: list(needed("BOOTSTRAP")?),
            metrics: metrics.transpose()?,
            logs: logs.transpose()?,
            queries,
            out,
            error_threshold: number("ERROR_THRESHOLD")?.unwrap_or(20),
        })
    }

    /// How many records are to be read, where that is known of every topic.
    pub(crate) fn records(&self) -> Option<u64> {
        let topics = self.metrics.iter().chain(&self.logs);
        topics.map(|topic| topic.records).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(pairs: &[(&str, &str)]) -> anyhow::Result<Job> {
        let here = env::temp_dir().display().to_string();
        let common = [
            ("BOOTSTRAP", "a:1,b:2"),
            ("METRICS_TOPIC", "m"),
            ("LOGS_TOPIC", "l"),
            ("METRICS_RECORDS", "10"),
            ("LOGS_RECORDS", "1"),
            ("OUT", &here),
        ];
        let find = |name: &str| {
            let found = pairs.iter().chain(&common).find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Job::from_variables(find)
    }

    #[test]
    fn topics_are_read_only_where_a_query_needs_them() {
        let all = job(&[("QUERIES", "q4, q2,q1,q3,q1")]).unwrap();
        assert_eq!(all.queries, Query::ALL);
        assert_eq!((all.brokers.len(), all.records()), (2, Some(11)));
        assert_eq!(all.error_threshold, 20);
        let metrics = job(&[("QUERIES", "q1")]).unwrap();
        assert_eq!((metrics.records(), metrics.logs), (Some(10), None));
        let logs = job(&[("QUERIES", "q4"), ("LOGS_RECORDS", "")]).unwrap();
        assert_eq!((logs.records(), logs.metrics), (None, None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |pairs| job(pairs).unwrap_err().to_string();
        assert_eq!(error(&[]), "`QUERIES` is not set");
        assert_eq!(error(&[("QUERIES", "q5")]), "`q5` is no query: write some of q1,q2,q3,q4");
        let wrong = error(&[("QUERIES", "q1"), ("METRICS_RECORDS", "many")]);
        assert_eq!(wrong, "`METRICS_RECORDS` is not a number");
    }
}
