//! Words that must not appear in code: unfinished work, tests that do not
//! test, ways to end the process, unsafe code, the wall clock.

use super::{
    Finding, Tree,
    source::{RustSource, has_word},
};

/// Files that may contain `unsafe`, each with what makes it necessary. Its
/// module documentation carries the proof obligations.
const UNSAFE_ALLOWED: [(&str, &str); 3] = [
    (
        "connectors/src/kafka/batch_queue.rs",
        "the batch interface of librdkafka has no safe binding",
    ),
    ("dataflow/src/wire/abomonated.rs", "abomonation decodes in place; a feature, off by default"),
    ("testkit/src/process.rs", "a server has to die with the test that started it"),
];

/// Files that may end the process by a panic, each with its reason.
const PANIC_ALLOWED: [(&str, &str); 1] =
    [("testkit/src/policy.rs", "test support: a panic is how a test fails")];

/// Files that may read the wall clock in crates that otherwise may not.
const CLOCK_ALLOWED: [&str; 1] = ["dataflow/src/time.rs"];

/// Forbidden everywhere, tests included.
const NOWHERE: [(&str, &str); 5] = [
    ("todo!", "finish it, or say in the issue what is left"),
    ("unimplemented!", "finish it, or say in the issue what is left"),
    ("dbg!", "remove it"),
    ("#[ignore", "a test that does not run looks green: run it, or remove it"),
    ("#[should_panic", "assert on the error that is returned"),
];

/// Forbidden outside of tests.
const NOT_IN_PRODUCTION: [(&str, &str); 3] = [
    (".unwrap()", "return an error that says what failed"),
    (".expect(", "return an error that says what failed"),
    ("panic!", "return an error that says what failed"),
];

/// Ways to read the wall clock.
const CLOCKS: [&str; 2] = ["SystemTime::now", "Instant::now"];

/// Checks every Rust file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust.iter().flat_map(|(path, source)| check_file(path, source)).collect()
}

fn check_file(path: &str, source: &RustSource) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |line: usize, what: &str, remedy: &str| {
        findings.push(Finding::at(path, line, format!("`{what}` is not allowed here: {remedy}")));
    };
    let allows = |list: &[(&str, &str)]| list.iter().any(|(allowed, _)| *allowed == path);
    for (line, code) in source.all() {
        for (word, remedy) in NOWHERE.iter().filter(|(word, _)| contains(code, word)) {
            found(line, word, remedy);
        }
        if has_word(code, "unsafe") && !allows(&UNSAFE_ALLOWED) {
            let remedy = "do without, or add the file and its reason to xtask/src/tidy/language.rs";
            found(line, "unsafe", remedy);
        }
    }
    let may_not_read_clock = (path.starts_with("operators/") || path.starts_with("dataflow/"))
        && !CLOCK_ALLOWED.contains(&path);
    for (line, code) in source.production() {
        let words = NOT_IN_PRODUCTION.iter().filter(|(word, _)| contains(code, word));
        for (word, remedy) in words.filter(|_| !allows(&PANIC_ALLOWED)) {
            found(line, word, remedy);
        }
        let clocks = CLOCKS.iter().filter(|clock| may_not_read_clock && code.contains(**clock));
        for clock in clocks {
            found(line, clock, "time is data here: take it from the record, or be passed a clock");
        }
    }
    findings
}

/// Whether `code` has `word`, not as the end of a longer one (`nodbg!`).
fn contains(code: &str, word: &str) -> bool {
    let starts_a_word = word.starts_with(|character: char| character.is_alphabetic());
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !starts_a_word || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn unfinished_work_is_found_in_tests_too() {
        assert_eq!(count("a/src/lib.rs", "fn a() { todo!() }"), 1);
        assert_eq!(count("a/tests/b.rs", "#[ignore]\nfn a() { dbg!(1); }"), 2);
        assert_eq!(count("a/src/lib.rs", "// todo!\nfn a() { f(\"todo!\") }"), 0);
    }

    #[test]
    fn panics_are_for_tests() {
        let text = "fn a() { b.unwrap(); c.expect(x); panic!() }";
        assert_eq!(count("a/src/lib.rs", text), 3);
        assert_eq!(count("a/src/tests.rs", text), 0);
        assert_eq!(count("a/src/lib.rs", "fn a() { b.unwrap_or(1); core_panic!() }"), 0);
        assert_eq!(count("a/src/lib.rs", "#[cfg(test)]\nmod tests {\n  fn a() { panic!() }\n}"), 0);
    }

    #[test]
    fn unsafe_needs_a_reason() {
        assert_eq!(count("a/src/lib.rs", "fn a() { unsafe { b() } }"), 1);
        assert_eq!(count("testkit/src/process.rs", "fn a() { unsafe { b() } }"), 0);
        assert_eq!(count("a/src/lib.rs", "#![deny(unsafe_code)]"), 0);
    }

    #[test]
    fn operators_read_no_clock() {
        let text = "fn a() { Instant::now(); }";
        assert_eq!(count("operators/src/a.rs", text), 1);
        assert_eq!(count("dataflow/src/a.rs", text), 1);
        assert_eq!(count("dataflow/src/time.rs", text), 0);
        assert_eq!(count("connectors/src/a.rs", text), 0);
        assert_eq!(count("operators/tests/a.rs", text), 0);
    }
}
