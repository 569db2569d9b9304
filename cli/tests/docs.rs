//! The documents say what is true: names they use exist, lists they promise are complete, links lead somewhere.

#![allow(clippy::unwrap_used, reason = "test support: a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tidewatch::telemetry::METRICS;
use tidewatch_dataflow::dead_letter::Reason;

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const GLOSSARY: &str = include_str!("../../docs/glossary.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");

/// The crates whose modules stand in the code map.
const CRATES: [&str; 4] = ["dataflow", "operators", "connectors", "cli"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between single backquotes in `line`.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The first cell of every row of every table in `text`.
fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next()).map(str::trim)
}

/// Everything below `folder` whose name ends with `end`.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}

/// The documents, by their path from the project's folder.
fn documents() -> Vec<(String, String)> {
    let project = project();
    let mut paths: Vec<PathBuf> = files(&project.join("docs"), ".md");
    let top = fs::read_dir(&project).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(top.filter(|path| path.extension().is_some_and(|e| e == "md")));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&project).unwrap().to_string_lossy().into_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_metric_is_in_operations_with_its_kind() {
    let rows: Vec<&str> =
        OPERATIONS.lines().filter(|line| line.starts_with("| `tidewatch_")).collect();
    for metric in METRICS {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let start = format!("| `{}{suffix}` | {kind} |", metric.name);
        assert!(
            rows.iter().any(|row| row.starts_with(&start)),
            "docs/operations.md has no row that begins with: {start}"
        );
    }
}

#[test]
fn every_metric_named_in_a_document_exists() {
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    for (path, text) in documents() {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let is_crate = ["tidewatch_dataflow", "tidewatch_operators", "tidewatch_connectors"]
                .contains(&word);
            if word.starts_with("tidewatch_") && word.len() > "tidewatch_".len() && !is_crate {
                let name = word.strip_suffix("_total").unwrap_or(word);
                assert!(known.contains(name), "{path}: there is no metric `{word}`");
            }
        }
    }
}

#[test]
fn every_dead_letter_reason_is_in_operations() {
    let listed: BTreeSet<&str> = first_cells(OPERATIONS).flat_map(quoted).collect();
    for reason in Reason::ALL {
        let name = reason.as_str();
        assert!(listed.contains(name), "docs/operations.md does not list the reason `{name}`");
    }
}

#[test]
fn glossary_names_exist_in_the_code() {
    let sources: String = CRATES
        .iter()
        .flat_map(|name| files(&project().join(name).join("src"), ".rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut terms = BTreeSet::new();
    for line in GLOSSARY.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (term, code) = (cells.next().unwrap(), cells.next_back().unwrap());
        if term == "term" || term.starts_with("---") {
            continue;
        }
        assert!(terms.insert(term), "docs/glossary.md explains `{term}` twice");
        assert!(code.contains('`'), "docs/glossary.md: `{term}` has no name in code");
        for name in quoted(code) {
            let last = name.rsplit("::").next().unwrap();
            assert!(
                sources.contains(last),
                "docs/glossary.md: `{name}` of `{term}` is nowhere in the code"
            );
        }
    }
    assert!(terms.len() > 50, "the tables of docs/glossary.md were not read");
}

#[test]
fn the_code_map_names_every_module_and_no_other() {
    for name in CRATES {
        let heading = format!("### `{name}/`");
        let (_, rest) = ARCHITECTURE.split_once(&heading).expect("the crate is in the code map");
        let section = rest.split("\n#").next().unwrap();
        let mapped: BTreeSet<&str> = first_cells(section).flat_map(quoted).collect();
        let source = project().join(name).join("src");
        let modules: BTreeSet<String> = fs::read_dir(&source)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() || path.join("mod.rs").is_file())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|module| !matches!(module.as_str(), "lib" | "main"))
            .filter(|module| name != "operators" || module != "testing")
            .collect();
        for module in &modules {
            assert!(
                mapped.contains(module.as_str()),
                "ARCHITECTURE.md: the code map of `{name}` lacks the module `{module}`"
            );
        }
        for module in mapped {
            assert!(
                modules.contains(module),
                "ARCHITECTURE.md: the code map of `{name}` names `{module}`, which is not there"
            );
        }
    }
}

#[test]
fn paths_in_documents_exist() {
    let project = project();
    for (path, text) in documents() {
        let in_text = text.lines().filter(|line| !line.starts_with("    ")).flat_map(quoted);
        for name in in_text.filter(|name| !name.contains([' ', '*', '{', '…'])) {
            let folder = name.split('/').next().unwrap();
            let is_path = name.contains('/')
                && [
                    "dataflow",
                    "operators",
                    "connectors",
                    "cli",
                    "testkit",
                    "xtask",
                    "examples",
                    "benches",
                    "deploy",
                    "docs",
                ]
                .contains(&folder);
            if is_path {
                let file = name.split(':').next().unwrap();
                assert!(project.join(file).exists(), "{path}: there is no `{name}`");
            }
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let project = project();
    for (path, text) in documents() {
        let folder = project.join(&path).parent().unwrap().to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { project.join(&path) } else { folder.join(file) };
            assert!(target.exists(), "{path}: the link `{link}` leads nowhere");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                assert!(
                    text.lines().any(|line| line.starts_with('#') && anchor(line) == heading),
                    "{path}: the link `{link}` names no heading"
                );
            }
        }
    }
}

/// How a heading is called in links.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn decisions_are_numbered_and_have_their_parts() {
    let folder = project().join("docs/adr");
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut numbers = Vec::new();
    for path in files(&folder, ".md") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let number = name.split('-').next().unwrap().to_owned();
        assert!(text.starts_with(&format!("# {number}: ")), "{name}: the title has another number");
        for part in ["\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n"] {
            assert!(text.contains(part), "{name}: `{}` is missing", part.trim());
        }
        assert!(list.contains(&format!("({name})")), "docs/adr/README.md does not list {name}");
        numbers.push(number);
    }
    numbers.sort();
    let expected: Vec<String> = (1..=numbers.len()).map(|n| format!("{n:04}")).collect();
    assert_eq!(numbers, expected, "numbers follow one another");
}
