//! The house rules that a machine can check.
//!
//! Each rule is a function from the tree of tracked files to findings; the
//! table [`RULES`] names them. A rule that clippy can express lives in the
//! lints of the root `Cargo.toml` instead.

mod dependencies;
mod hosts;
mod language;
mod layout;
mod metrics;
mod peers;
mod servers;
mod source;
mod translations;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use source::RustSource;

use crate::shell::capture;

/// Files whose text is not ours: generated, or the words of a licence.
const FOREIGN: [&str; 5] = [
    "Cargo.lock",
    "LICENSE-APACHE",
    "xtask/influxd/go.mod",
    "xtask/influxd/go.sum",
    ".gitattributes",
];

/// One rule.
struct Rule {
    name: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

/// All rules.
const RULES: &[Rule] = &[
    Rule { name: "dependency direction", check: dependencies::check },
    Rule { name: "layout of files", check: layout::check },
    Rule { name: "language", check: language::check },
    Rule { name: "hosts and paths", check: hosts::check },
    Rule { name: "metric names", check: metrics::check },
    Rule { name: "real servers", check: servers::check },
    Rule { name: "peers", check: peers::check },
    Rule { name: "translations", check: translations::check },
];

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1; 0 when it is about the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.message),
            line => write!(formatter, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// What is checked.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Text files by their path from the project's top.
    texts: BTreeMap<String, String>,
    /// The Rust files among them.
    rust: BTreeMap<String, RustSource>,
    /// What `cargo metadata --no-deps` says.
    metadata: Value,
}

impl Tree {
    fn new(texts: BTreeMap<String, String>, metadata: Value) -> Self {
        let rust = texts.iter().filter(|(path, _)| path.ends_with(".rs"));
        let mut rust: BTreeMap<String, RustSource> =
            rust.map(|(path, text)| (path.clone(), RustSource::parse(path, text))).collect();
        let test_modules: Vec<String> =
            rust.iter().flat_map(|(path, source)| source.test_modules(path)).collect();
        for (path, source) in &mut rust {
            let is_in = |module: &String| {
                let rest = path.strip_prefix(module.as_str());
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            if test_modules.iter().any(is_in) {
                source.mark_as_test();
            }
        }
        Self { texts, rust, metadata }
    }

    /// Reads all files that are tracked or will be: not ignored ones.
    fn read(project: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = capture(git.current_dir(project)).context("could not list the files")?;
        let mut texts = BTreeMap::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            // One that was deleted is still listed; one that is no text has no words.
            if let Ok(text) = fs::read_to_string(project.join(PathBuf::from(path))) {
                texts.insert(path.to_owned(), text);
            }
        }
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(project);
        let metadata = capture(&mut cargo).context("could not read the manifests")?;
        let metadata = serde_json::from_str(&metadata).context("could not parse the metadata")?;
        Ok(Self::new(texts, metadata))
    }

    /// Text files that are ours.
    fn own_texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.texts.iter().filter(|(path, _)| !FOREIGN.contains(&path.as_str()));
        own.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// A tree of the given files, for tests of rules.
    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self::new(texts.collect(), Value::Null)
    }
}

/// Checks all rules; fails if one is broken.
pub(crate) fn run(project: &Path) -> Result<()> {
    let tree = Tree::read(project)?;
    let mut count = 0;
    for Rule { name, check } in RULES {
        let findings = check(&tree);
        count += findings.len();
        for finding in findings {
            println!("{name}: {finding}");
        }
    }
    if count > 0 {
        bail!("{count} places break the house rules");
    }
    println!("{} rules hold in {} files", RULES.len(), tree.texts.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_test_modules_are_test_code() {
        let tree = Tree::of(&[
            ("a/src/mod.rs", "#[cfg(test)]\nmod sample;\nmod sampler;\n"),
            ("a/src/sample.rs", "fn a() {}\n"),
            ("a/src/sample/deep.rs", "fn a() {}\n"),
            ("a/src/sampler.rs", "fn a() {}\n"),
        ]);
        let production = |path: &str| tree.rust[path].production().count();
        assert_eq!(production("a/src/sample.rs") + production("a/src/sample/deep.rs"), 0);
        assert_eq!(production("a/src/sampler.rs"), 1);
    }
}
