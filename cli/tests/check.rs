//! `tidewatch check`: what it says of files that are wrong, that it says so of every damaged file, and what
//! the program itself prints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tidewatch::config::{ConfigErrors, load, parse};

/// The pipeline file of a production cluster that comes with tidewatch.
const SAMPLE: &str = include_str!("../../deploy/tidewatch.toml");

/// Every file in `tests/check` and its problems, as they are to be shown. With `UPDATE_GOLDEN=1` in the
/// environment what is shown now is written down, to be read and committed.
#[test]
fn every_wrong_file_is_told_as_written_down() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/check")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the files are gone");
    for file in files {
        let errors = load(&file).map(|_| ()).expect_err(&format!("{} is valid", file.display()));
        compare(&file.with_extension("stderr"), &format!("{errors}\n"));
        let helpless = errors.problems.iter().find(|problem| problem.help.is_none());
        assert_eq!(helpless, None, "{}: every problem has a remedy", file.display());
        assert!(!errors.to_string().contains("hunter2"), "{}: a secret is shown", file.display());
    }
}

/// Compares `told` with the content of `golden`, or writes it there.
fn compare(golden: &Path, told: &str) {
    if std::env::var("UPDATE_GOLDEN").as_deref() == Ok("1") {
        std::fs::write(golden, told).unwrap();
    }
    let written = std::fs::read_to_string(golden).unwrap_or_default();
    assert_eq!(told, written, "{} differs; UPDATE_GOLDEN=1 writes it anew", golden.display());
}

#[test]
fn the_sample_for_production_is_clean() {
    let config = parse(SAMPLE, "tidewatch.toml").unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 0, "{}", warnings.join("\n"));
}

/// The sample says "what is commented out shows its default, or what could stand there": so it must be
/// readable too.
#[test]
fn what_the_sample_comments_out_could_stand_there() {
    let is_setting = |line: &str| {
        let rest = line.trim_start_matches("# ");
        rest.starts_with('[') || rest.starts_with('"') || {
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            rest.split_once(" = ").is_some_and(|(key, _)| !key.is_empty() && key.chars().all(word))
        }
    };
    let uncommented = SAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if is_setting(line) => setting,
        _ => line,
    });
    let text = uncommented.collect::<Vec<_>>().join("\n");
    assert!(text.contains("\n[sinks.sqlite]\n") && text.contains("\nprefetch = "));
    if let Err(errors) = parse(&text, "tidewatch.toml") {
        panic!("{errors}");
    }
}

#[test]
fn the_pipeline_of_the_demo_is_valid() {
    if let Err(errors) = parse(tidewatch::demo::config::TEXT, "demo.toml") {
        panic!("{errors}");
    }
}

/// What people, editors and scripts do to a file.
#[derive(Clone, Debug)]
enum Damage {
    /// The value of the nth setting is replaced.
    Value(usize, &'static str),
    /// The nth line is removed.
    Remove(usize),
    /// The nth line is written twice.
    Repeat(usize),
    /// Two lines change places.
    Swap(usize, usize),
    /// A text is put in at a byte.
    Insert(usize, String),
    /// The file ends at a byte.
    Cut(usize),
}

const VALUES: [&str; 24] = [
    "0",
    "-1",
    "1e400",
    "nan",
    "-inf",
    "true",
    "\"\"",
    "\"0s\"",
    "\"1ms\"",
    "\"500ms\"",
    "\"99999999999999999d\"",
    "\"100d\"",
    "[]",
    "[[]]",
    "{}",
    "[{ }]",
    "{ env = 1 }",
    "[\"a\", \"a\"]",
    "2026-01-01T00:00:00Z",
    "\"\\u0000\"",
    "\"ä\u{202e}\"",
    "{ size = \"10s\" }",
    "[{ size = \"7s\", slide = \"3s\" }]",
    "99999999999999999999",
];

fn damage() -> impl Strategy<Value = Damage> {
    let place = 0..10_000_usize;
    prop_oneof![
        6 => (place.clone(), prop::sample::select(VALUES.as_slice())).prop_map(|(n, v)| Damage::Value(n, v)),
        2 => place.clone().prop_map(Damage::Remove),
        1 => place.clone().prop_map(Damage::Repeat),
        1 => (place.clone(), place.clone()).prop_map(|(a, b)| Damage::Swap(a, b)),
        1 => (place.clone(), "\\PC{0,8}").prop_map(|(at, text)| Damage::Insert(at, text)),
        1 => place.prop_map(Damage::Cut),
    ]
}

fn damaged(text: &str, damage: &Damage) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let count = lines.len();
    if count == 0 {
        return String::new();
    }
    let boundary =
        |at: usize| (0..=at % (text.len() + 1)).rev().find(|at| text.is_char_boundary(*at));
    match damage {
        Damage::Value(n, value) => {
            let settings: Vec<usize> =
                (0..lines.len()).filter(|i| lines[*i].contains(" = ")).collect();
            if let Some(line) = settings.get(n % settings.len().max(1)) {
                let key = lines[*line].split(" = ").next().unwrap().to_owned();
                lines[*line] = format!("{key} = {value}");
            }
        }
        Damage::Remove(n) => {
            lines.remove(n % count);
        }
        Damage::Repeat(n) => lines.insert(n % count, lines[n % count].clone()),
        Damage::Swap(a, b) => lines.swap(a % count, b % count),
        Damage::Insert(at, inserted) => {
            let (before, after) = text.split_at(boundary(*at).unwrap());
            return format!("{before}{inserted}{after}");
        }
        Damage::Cut(at) => return text[..boundary(*at).unwrap()].to_owned(),
    }
    lines.join("\n")
}

/// Damaged files tried at a time. One takes about two milliseconds.
const CASES: u32 = 500;

fn positions_are_inside(text: &str, errors: &ConfigErrors) -> Result<(), TestCaseError> {
    prop_assert!(!errors.problems.is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &errors.problems {
        let Some(at) = &problem.position else {
            return Err(TestCaseError::fail(format!("no position: {problem}")));
        };
        prop_assert!((1..=lines.len()).contains(&at.line), "line {}: {problem}", at.line);
        let length = lines[at.line - 1].chars().count();
        prop_assert!((1..=length + 1).contains(&at.column), "column {}: {problem}", at.column);
        prop_assert!(at.caret_start <= at.excerpt.chars().count(), "caret: {problem}");
        prop_assert!(problem.help.is_some(), "no remedy: {problem}");
        prop_assert!(!problem.message.is_empty() && !problem.to_string().contains('\t'));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/check.proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    /// A file that was damaged in up to six ways is read, or refused with a place inside of it and a
    /// remedy; nothing else.
    #[test]
    fn a_damaged_file_is_read_or_refused(damages in prop::collection::vec(damage(), 1..6)) {
        let text = damages.iter().fold(SAMPLE.to_owned(), |text, one| damaged(&text, one));
        match parse(&text, "tidewatch.toml") {
            Err(errors) => positions_are_inside(&text, &errors)?,
            // What is valid can be used: these are what a start asks for first.
            Ok(config) => {
                prop_assert!(config.tick().as_millis() >= 1_000);
                prop_assert!(config.feeds().iter().all(|feed| feed.pane.as_millis() >= 1_000));
                prop_assert!(config.topics().iter().count() == config.sources.len());
                prop_assert!(!tidewatch::commands::check::Summary::of(&config).to_string().is_empty());
            }
        }
    }

    /// Any text at all.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        if let Err(errors) = parse(&text, "x.toml") {
            positions_are_inside(&text, &errors)?;
        }
    }
}

fn tidewatch(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(arguments)
        // What this machine has in its environment must not show.
        .env_clear()
        .output()
        .unwrap()
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_program_says_what_a_valid_file_would_do() {
    let (code, out, err) = told(&tidewatch(&["check", "-c", "../deploy/tidewatch.toml"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    compare(Path::new("tests/check/summary.stdout"), &out);
}

#[test]
fn the_program_refuses_a_wrong_file_with_2() {
    let (code, out, err) = told(&tidewatch(&["check", "-c", "tests/check/unknown_keys.toml"]));
    let golden = std::fs::read_to_string("tests/check/unknown_keys.stderr").unwrap();
    assert_eq!((code, out.as_str(), err), (Some(2), "", golden));
}

#[test]
fn every_command_refuses_a_file_that_is_not_there_with_2() {
    for command in [&["check"][..], &["run"], &["topics"], &["checkpoint", "list"]] {
        let (code, out, err) = told(&tidewatch(&[command, &["-c", "no/such/file.toml"]].concat()));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{command:?}: {err}");
        assert!(err.contains("could not read `no/such/file.toml`"), "{command:?}: {err}");
        assert!(err.contains("help: name a file that exists"), "{command:?}: {err}");
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["chekc"][..],
        &["check", "--confg", "x"],
        &["run", "-w", "0"],
        &["run", "-p", "0"],
        &["run", "-c", "../deploy/tidewatch.toml", "-n", "2", "-p", "2", "--hostfile", "hosts"],
        &["demo", "--for", "90"],
        &["topics", "--timeout", "soon"],
    ] {
        let (code, out, err) = told(&tidewatch(arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: "), "{arguments:?}: {err}");
    }
}

#[test]
fn a_cluster_out_of_reach_is_1_and_soon() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidewatch.toml");
    let text = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[[sources]]\ntopic = \"t\"\n";
    std::fs::write(&file, text).unwrap();
    for dry in [&["--dry-run"][..], &[]] {
        let arguments = ["topics", "--timeout", "2s", "-c", file.to_str().unwrap()];
        let started = std::time::Instant::now();
        let (code, out, err) = told(&tidewatch(&[&arguments, dry].concat()));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains("127.0.0.1:1") && err.contains("error: could not"), "{err}");
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{err}");
    }
}

#[test]
fn help_names_commands_examples_defaults_and_exit_codes() {
    let (code, help, _) = told(&tidewatch(&["--help"]));
    assert_eq!(code, Some(0));
    for word in [
        "demo",
        "run",
        "check",
        "topics",
        "checkpoint",
        "query",
        "Try it:",
        "Exit codes:",
        "invalid configuration",
    ] {
        assert!(help.contains(word), "`{word}` is missing in\n{help}");
    }
    for command in ["demo", "run", "check", "topics"] {
        let (code, help, _) = told(&tidewatch(&[command, "--help"]));
        assert_eq!(code, Some(0));
        for word in ["Examples:", "Exit codes:", "[default: "] {
            assert!(help.contains(word), "`{word}` is missing in the help of {command}\n{help}");
        }
        let (_, after) = help.split_once("Examples:").unwrap();
        let widest = after.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{command}: too wide for a small terminal\n{help}");
    }
    assert!(told(&tidewatch(&["--version"])).1.starts_with("tidewatch "));
}
