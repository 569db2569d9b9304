//! Who may know whom.
//!
//! ```text
//!              cli        examples        benches
//!             /    \        /   \          /   \
//!   connectors      operators        (same two)
//!             \    /
//!            dataflow  ──►  timely, differential-dataflow
//! ```
//!
//! Clients of the outside world belong to the crates that touch it; elsewhere
//! they may appear in tests only.

use serde_json::Value;

use super::{Finding, Tree};

/// Crates that must not be known, by crate; in tests as well, since a cycle
/// through tests shows that a seam is missing.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("tidewatch-dataflow", &["tidewatch-operators", "tidewatch-connectors", "tidewatch"]),
    ("tidewatch-operators", &["tidewatch-connectors", "tidewatch"]),
    ("tidewatch-connectors", &["tidewatch-operators", "tidewatch"]),
    (
        "tidewatch-testkit",
        &["tidewatch-dataflow", "tidewatch-operators", "tidewatch-connectors", "tidewatch"],
    ),
];

/// Crates that nobody depends on.
const LEAVES: [&str; 3] = ["xtask", "tidewatch-examples", "tidewatch-benches"];

/// Crates that do input and output.
const OUTSIDE: [&str; 9] = [
    "axum",
    "elasticsearch",
    "influxdb2",
    "lettre",
    "rdkafka",
    "reqwest",
    "rusqlite",
    "tokio",
    "tokio-stream",
];

/// Crates that may use [`OUTSIDE`] in what they ship or run.
const TOUCHES_OUTSIDE: [&str; 4] =
    ["tidewatch-connectors", "tidewatch", "tidewatch-testkit", "tidewatch-benches"];

/// Crates that may use the test kit other than in tests.
const USES_TESTKIT: [&str; 2] = ["xtask", "tidewatch-benches"];

/// Checks each manifest's dependencies.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in tree.metadata["packages"].as_array().into_iter().flatten() {
        let name = text(&package["name"]);
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = text(&dependency["name"]);
            let is_test_only = dependency["kind"] == "dev";
            if let Some(reason) = objection(name, other, is_test_only) {
                let message = format!("`{name}` must not depend on `{other}`: {reason}");
                findings.push(Finding::at(&manifest(tree, package), 0, message));
            }
        }
    }
    findings
}

/// Why `name` may not depend on `other`, if so.
fn objection(name: &str, other: &str, is_test_only: bool) -> Option<&'static str> {
    let forbidden = FORBIDDEN.iter().filter(|(from, _)| *from == name);
    if forbidden.flat_map(|(_, to)| to.iter()).any(|to| *to == other) {
        return Some("dependencies point from the outside to the dataflow");
    }
    if LEAVES.contains(&other) {
        return Some("it is a tool or a program, not a library");
    }
    if is_test_only {
        return None;
    }
    if OUTSIDE.contains(&other) && !TOUCHES_OUTSIDE.contains(&name) {
        return Some("input and output belong to connectors and cli");
    }
    if other == "tidewatch-testkit" && !USES_TESTKIT.contains(&name) {
        return Some("it is for tests: make it a dev-dependency");
    }
    None
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The manifest's path from the project's top.
fn manifest(tree: &Tree, package: &Value) -> String {
    let path = text(&package["manifest_path"]);
    let root = text(&tree.metadata["workspace_root"]);
    path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_direction_is_kept() {
        for (name, other) in [
            ("tidewatch-dataflow", "tidewatch-operators"),
            ("tidewatch-operators", "tidewatch-connectors"),
            ("tidewatch-connectors", "tidewatch-operators"),
            ("tidewatch-connectors", "tidewatch"),
            ("tidewatch", "xtask"),
        ] {
            assert!(objection(name, other, false).is_some(), "{name} -> {other}");
            assert!(objection(name, other, true).is_some(), "{name} -> {other} in tests");
        }
        assert_eq!(objection("tidewatch", "tidewatch-connectors", false), None);
        assert_eq!(objection("tidewatch-operators", "tidewatch-dataflow", false), None);
    }

    #[test]
    fn clients_stay_outside() {
        assert!(objection("tidewatch-operators", "tokio", false).is_some());
        assert!(objection("tidewatch-dataflow", "rdkafka", false).is_some());
        assert_eq!(objection("tidewatch-dataflow", "tokio", true), None);
        assert_eq!(objection("tidewatch-connectors", "reqwest", false), None);
    }

    #[test]
    fn the_test_kit_is_for_tests() {
        assert!(objection("tidewatch", "tidewatch-testkit", false).is_some());
        assert_eq!(objection("tidewatch", "tidewatch-testkit", true), None);
    }

    #[test]
    fn findings_name_the_manifest() {
        let metadata = json!({
            "workspace_root": "/p",
            "packages": [{
                "name": "tidewatch-dataflow", "manifest_path": "/p/dataflow/Cargo.toml",
                "dependencies": [{"name": "reqwest", "kind": null}, {"name": "timely", "kind": null}],
            }],
        });
        let tree = Tree { metadata, ..Tree::default() };
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "dataflow/Cargo.toml");
    }
}
