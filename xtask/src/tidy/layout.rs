//! Where things are, how long a file is, and how it begins.

use super::{Finding, Tree, source::is_test_file};

/// The most lines of a file, its tests not counted.
const LINES_MAX: usize = 400;

/// Files that a reader of the project expects.
const EXPECTED: [&str; 8] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
];

/// Checks lengths, first lines and the presence of documents.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let missing = EXPECTED.iter().filter(|path| !tree.texts.contains_key(**path));
    let mut findings: Vec<Finding> =
        missing.map(|path| Finding::at(path, 0, "this file is missing")).collect();
    for (path, source) in &tree.rust {
        let lines = source.production().count();
        if lines > LINES_MAX && !is_test_file(path) {
            let message = format!(
                "{lines} lines without tests, at most {LINES_MAX}: split it, or move tests to tests.rs"
            );
            findings.push(Finding::at(path, 0, message));
        }
        if !tree.texts.get(path).is_some_and(|text| text.starts_with("//!")) {
            let message = "it has to begin with a `//!` comment that says what it is";
            findings.push(Finding::at(path, 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings about one file.
    fn about(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).iter().filter(|finding| finding.path == path).count()
    }

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let long = format!("//! Long.\n{}", "fn a() {}\n".repeat(400));
        assert_eq!(about("a/src/lib.rs", &long), 1);
        assert_eq!(about("a/src/tests.rs", &long), 0);
        let tests = "  fn a() {}\n".repeat(400);
        let tested = format!("//! Tested.\n#[cfg(test)]\nmod tests {{\n{tests}}}\n");
        assert_eq!(about("a/src/lib.rs", &tested), 0);
    }

    #[test]
    fn the_first_line_is_documentation() {
        assert_eq!(about("a/src/lib.rs", "use std::fmt;\n"), 1);
        assert_eq!(about("a/src/lib.rs", "//! What it is.\n"), 0);
    }

    #[test]
    fn documents_are_expected() {
        assert_eq!(check(&Tree::of(&[])).len(), EXPECTED.len());
        assert_eq!(check(&Tree::of(&[("README.md", "")])).len(), EXPECTED.len() - 1);
    }
}
