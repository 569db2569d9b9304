//! Names of metrics: all begin with `tidewatch_`, all are declared in one file,
//! and what dashboards and rules in `deploy/` ask for exists.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// What every metric name begins with.
const PREFIX: &str = "tidewatch_";

/// Names that begin like a metric's and are crates.
const CRATES: [&str; 7] = [
    "tidewatch_benches",
    "tidewatch_cli",
    "tidewatch_connectors",
    "tidewatch_dataflow",
    "tidewatch_examples",
    "tidewatch_operators",
    "tidewatch_testkit",
];

/// What an exporter appends to a declared name.
const SUFFIXES: [&str; 5] = ["_bucket", "_count", "_created", "_sum", "_total"];

/// Checks declarations in code and uses in `deploy/`.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut declared: Vec<(String, usize, String)> = Vec::new();
    for (path, source) in &tree.rust {
        if path.starts_with("xtask/") || path.starts_with("examples/") {
            continue;
        }
        for (line, code) in source.production_with_literals() {
            let names = literals(code).filter(|text| is_name(text));
            declared.extend(names.map(|name| (path.clone(), line, name.to_owned())));
            if code.contains("Registry::with_prefix(") {
                let message = "write the whole name of each metric where it is declared: \
                               a name put together can't be searched for";
                findings.push(Finding::at(path, line, message));
            }
            let registered = code.split(".register(\"").nth(1);
            let name = registered.and_then(|rest| rest.split('"').next());
            if let Some(name) = name.filter(|name| !name.starts_with(PREFIX)) {
                let message = format!("the metric `{name}` has to begin with `{PREFIX}`");
                findings.push(Finding::at(path, line, message));
            }
        }
    }
    // The file that declares the most is the one; a stray declaration elsewhere is found.
    let files: BTreeSet<&str> = declared.iter().map(|(path, _, _)| path.as_str()).collect();
    let count = |file: &str| declared.iter().filter(|(path, _, _)| path == file).count();
    let home = files.into_iter().max_by_key(|file| count(file)).unwrap_or_default().to_owned();
    for (path, line, name) in declared.iter().filter(|(path, _, _)| *path != home) {
        let message = format!("declare the metric `{name}` in {home}, where the others are");
        findings.push(Finding::at(path, *line, message));
    }
    let names: BTreeSet<&str> = declared.iter().map(|(_, _, name)| name.as_str()).collect();
    findings.extend(uses(tree, &names));
    findings
}

/// Names that `deploy/` asks for and nobody declares.
fn uses(tree: &Tree, declared: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let deployed = tree.own_texts().filter(|(path, _)| {
        path.starts_with("deploy/grafana/") || path.starts_with("deploy/prometheus/")
    });
    for (path, text) in deployed {
        for (index, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for word in words.filter(|word| is_name(word)) {
                let mut names = SUFFIXES.iter().filter_map(|suffix| word.strip_suffix(suffix));
                if !declared.contains(word) && !names.any(|name| declared.contains(name)) {
                    let message = format!("no metric is called `{word}`");
                    findings.push(Finding::at(path, index + 1, message));
                }
            }
        }
    }
    findings
}

/// The texts in quotes on a line. Escapes do not matter: no name has one.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

/// Whether `text` is the name of a metric and nothing else.
fn is_name(text: &str) -> bool {
    text.len() > PREFIX.len()
        && text.starts_with(PREFIX)
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !CRATES.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: (&str, &str) = (
        "cli/src/telemetry/names.rs",
        "const A: &str = \"tidewatch_source_records_total\";\n\
         const B: &str = \"tidewatch_alert_delay_seconds\";\n",
    );

    #[test]
    fn one_file_declares_all() {
        assert_eq!(check(&Tree::of(&[NAMES])), []);
        let stray = ("connectors/src/a.rs", "f(\"tidewatch_kafka_lag_records\");\n");
        let findings = check(&Tree::of(&[NAMES, stray]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, stray.0);
        let filter =
            ("cli/src/log.rs", "f(\"tidewatch_dataflow\", \"tidewatch_dataflow=info\");\n");
        assert_eq!(check(&Tree::of(&[NAMES, filter])), []);
    }

    #[test]
    fn names_have_the_prefix_in_full() {
        let bare = ("cli/src/a.rs", "registry.register(\"records\", help, metric);\n");
        assert_eq!(check(&Tree::of(&[NAMES, bare])).len(), 1);
        let cut = ("cli/src/a.rs", "let registry = Registry::with_prefix(\"tidewatch\");\n");
        assert_eq!(check(&Tree::of(&[NAMES, cut])).len(), 1);
    }

    #[test]
    fn dashboards_ask_for_what_exists() {
        let path = "deploy/prometheus/rules/a.yml";
        let good = (path, "expr: rate(tidewatch_alert_delay_seconds_bucket[5m]) > 0");
        assert_eq!(check(&Tree::of(&[NAMES, good])), []);
        let bad = (path, "expr: tidewatch_alert_delay_minutes > 0");
        assert_eq!(check(&Tree::of(&[NAMES, bad])).len(), 1);
    }
}
