//! The jobs of other engines in `benches/peers`: not Rust, and held to the same
//! order. Each file says what it is, no file is long, scripts stop at the first
//! error, and a version stands in one place only.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// Where they are.
const FOLDER: &str = "benches/peers/";
/// The most lines of a file.
const LINES_MAX: usize = 400;
/// What each peer consists of at least.
const PARTS: [&str; 3] = ["peer.toml", "run.sh", "setup.sh"];

/// Checks each file, and that peers are complete and described.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut peers = BTreeSet::new();
    for (path, text) in tree.own_texts() {
        let Some(rest) = path.strip_prefix(FOLDER) else { continue };
        if let Some((peer, file)) = rest.split_once('/')
            && PARTS.contains(&file)
        {
            peers.insert(peer);
        }
        findings.extend(objections(path, text).map(|message| Finding::at(path, 0, message)));
    }
    let readme = format!("{FOLDER}README.md");
    for peer in peers {
        for part in PARTS {
            let path = format!("{FOLDER}{peer}/{part}");
            if !tree.texts.contains_key(&path) {
                findings.push(Finding::at(&path, 0, "this file is missing"));
            }
        }
        let told = tree.texts.get(&readme).is_some_and(|text| text.contains(&format!("`{peer}/`")));
        if !told {
            findings.push(Finding::at(&readme, 0, format!("it does not describe `{peer}/`")));
        }
    }
    findings
}

/// What is wrong with one file.
fn objections(path: &str, text: &str) -> impl Iterator<Item = &'static str> {
    let is_long = text.lines().count() > LINES_MAX;
    let runs_on = path.ends_with("run.sh") || path.ends_with("setup.sh");
    let runs_on = runs_on && !text.contains("\nset -euo pipefail\n");
    let checks = [
        (!says_what_it_is(path, text), "it has to begin with a comment that says what it is"),
        (is_long, "it is longer than 400 lines: split it"),
        (runs_on, "it has to say `set -euo pipefail`"),
        (pins(path, text), "versions stand in peer.toml: take them from there"),
    ];
    checks.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, message)| message)
}

/// Whether the file begins with a comment; Java's stands above the type.
fn says_what_it_is(path: &str, text: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "sh" if path.ends_with("/lib.sh") => text.starts_with("# "),
        "sh" => text.starts_with("#!/usr/bin/env bash\n# "),
        "py" => text.starts_with("\"\"\""),
        "go" => text.starts_with("// "),
        "xml" => text.lines().nth(1).is_some_and(|line| line.starts_with("<!-- ")),
        "java" => {
            let (_, below) = text.split_once("\n/**").unwrap_or_default();
            let above = text.len() - below.len();
            !below.is_empty() && !text[..above].contains('{')
        }
        _ => text.starts_with("# "),
    }
}

/// Whether a Maven project names a version of its own.
fn pins(path: &str, text: &str) -> bool {
    let mut versions = text.lines().filter_map(|line| line.trim().strip_prefix("<version>"));
    path.ends_with("pom.xml")
        && versions.any(|rest| !rest.starts_with("${") && !rest.starts_with("1<"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        objections(&format!("{FOLDER}{path}"), text).count()
    }

    #[test]
    fn files_say_what_they_are() {
        assert_eq!(count("a/b.py", "import os\n"), 1);
        assert_eq!(count("a/b.py", "\"\"\"What it is.\"\"\"\n"), 0);
        assert_eq!(count("a/B.java", "package a;\n\nclass B {\n/** x */\n}\n"), 1);
        assert_eq!(count("a/B.java", "package a;\n\n/** What it is. */\nclass B {}\n"), 0);
        assert_eq!(count("a/b.go", "package main\n"), 1);
        assert_eq!(count("a/b.yml", "x: 1\n"), 1);
    }

    #[test]
    fn scripts_stop_at_errors() {
        let start = "#!/usr/bin/env bash\n# What it does.\n";
        assert_eq!(count("a/run.sh", start), 1);
        assert_eq!(count("a/run.sh", &format!("{start}set -euo pipefail\n")), 0);
        assert_eq!(count("lib.sh", "# What it is.\n"), 0);
    }

    #[test]
    fn versions_stand_in_one_place() {
        let pom = |version: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<!-- What it is. -->\n  <version>{version}</version>\n"
            )
        };
        assert_eq!(count("a/pom.xml", &pom("2.3.0")), 1);
        assert_eq!(count("a/pom.xml", &pom("${peer.version}")), 0);
        assert_eq!(count("a/pom.xml", &pom("1")), 0);
    }

    #[test]
    fn peers_are_complete_and_described() {
        let toml = ("benches/peers/a/peer.toml", "# A.\n");
        assert_eq!(check(&Tree::of(&[toml])).len(), 3);
        let start = "#!/usr/bin/env bash\n# What it does.\nset -euo pipefail\n";
        let complete = [
            toml,
            ("benches/peers/a/run.sh", start),
            ("benches/peers/a/setup.sh", start),
            ("benches/peers/README.md", "# Peers\n\n`a/` is one.\n"),
        ];
        assert_eq!(check(&Tree::of(&complete)), []);
    }
}
