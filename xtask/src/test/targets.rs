//! What the workspace has to build and run, as Cargo itself tells it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell::capture;

/// Names of targets by their kind, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Where Cargo puts what it builds.
    pub(crate) folder: PathBuf,
    /// Integration tests that need no server.
    pub(crate) tests: Vec<String>,
    /// Integration tests that need real servers: their names start with `service`.
    pub(crate) service_tests: Vec<String>,
    /// Examples.
    pub(crate) examples: Vec<String>,
    /// Benchmarks.
    pub(crate) benches: Vec<String>,
}

impl Targets {
    /// Asks Cargo.
    pub(crate) fn read(project: &Path) -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(project);
        let text = capture(&mut cargo).context("could not read the manifests")?;
        let metadata = serde_json::from_str(&text).context("could not parse the metadata")?;
        Ok(Self::of(&metadata))
    }

    fn of(metadata: &Value) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let folder = metadata["target_directory"].as_str().unwrap_or("target").into();
        let mut targets = Self { folder, ..Self::default() };
        for target in list(&metadata["packages"]).iter().flat_map(|p| list(&p["targets"])) {
            let name = target["name"].as_str().unwrap_or_default().to_owned();
            match target["kind"][0].as_str() {
                Some("test") if name.starts_with("service") => targets.service_tests.push(name),
                Some("test") => targets.tests.push(name),
                Some("example") => targets.examples.push(name),
                Some("bench") => targets.benches.push(name),
                _ => {}
            }
        }
        for names in [
            &mut targets.tests,
            &mut targets.service_tests,
            &mut targets.examples,
            &mut targets.benches,
        ] {
            names.sort();
            names.dedup();
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_are_sorted_by_kind() {
        let target = |kind: &str, name: &str| json!({"kind": [kind], "name": name});
        let metadata = json!({
            "target_directory": "/t",
            "packages": [
                {"targets": [target("lib", "a"), target("test", "service_kafka"), target("test", "golden")]},
                {"targets": [target("example", "join"), target("bench", "window"), target("test", "golden")]},
            ],
        });
        let targets = Targets::of(&metadata);
        assert_eq!(targets.tests, ["golden"]);
        assert_eq!(targets.service_tests, ["service_kafka"]);
        assert_eq!(
            (targets.examples, targets.benches),
            (vec!["join".into()], vec!["window".into()])
        );
    }
}
