//! The topics of a comparison, and what is in them as their labels say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Two topics, complete.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dataset {
    pub(super) metrics_topic: String,
    pub(super) logs_topic: String,
    /// Records in the topics, end marks included.
    pub(super) metrics: u64,
    pub(super) logs: u64,
    /// Counts of Q4 above this are answers.
    pub(super) error_threshold: u64,
    /// What the generator knows of the data.
    pub(super) labels: PathBuf,
}

impl Dataset {
    /// The topics whose names end with `suffix`, as the generator has written `labels` about them.
    pub(super) fn read(suffix: &str, labels: &Path) -> Result<Self> {
        let text = fs::read_to_string(labels)
            .with_context(|| format!("could not read `{}`", labels.display()))?;
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("`{}` is no JSON", labels.display()))?;
        let number = |pointer: &str| {
            let found = value.pointer(pointer).and_then(Value::as_u64);
            found.with_context(|| format!("`{}` has no number at `{pointer}`", labels.display()))
        };
        Ok(Dataset {
            metrics_topic: metrics_topic(suffix),
            logs_topic: logs_topic(suffix),
            metrics: number("/records/metrics")?,
            logs: number("/records/logs")?,
            error_threshold: number("/error_threshold")?,
            labels: labels.to_path_buf(),
        })
    }

    /// How many records a system reads that is asked `queries`.
    pub(super) fn records(&self, queries: &[String]) -> u64 {
        let logs = queries.iter().any(|query| query == "q4");
        let metrics = queries.iter().any(|query| query != "q4");
        u64::from(metrics) * self.metrics + u64::from(logs) * self.logs
    }
}

/// The topic of metrics with names ending with `suffix`.
pub(super) fn metrics_topic(suffix: &str) -> String {
    format!("fleet-metrics{suffix}")
}

/// The topic of logs.
pub(super) fn logs_topic(suffix: &str) -> String {
    format!("fleet-logs{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_charged_with_what_it_reads() {
        let folder = tempfile::tempdir().unwrap();
        let labels = folder.path().join("labels.json");
        let text = r#"{"records": {"metrics": 1000, "logs": 100}, "error_threshold": 20}"#;
        fs::write(&labels, text).unwrap();
        let set = Dataset::read("-small", &labels).unwrap();
        assert_eq!(set.metrics_topic, "fleet-metrics-small");
        let records = |queries: &[&str]| {
            set.records(&queries.iter().map(|query| (*query).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(records(&["q1", "q2"]), 1_000);
        assert_eq!(records(&["q4"]), 100);
        assert_eq!(records(&["q1", "q4"]), 1_100);
        fs::write(&labels, r#"{"records": {"logs": 100}}"#).unwrap();
        let error = Dataset::read("", &labels).unwrap_err().to_string();
        assert!(error.ends_with("has no number at `/records/metrics`"), "{error}");
    }
}
