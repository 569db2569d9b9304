//! Serde's messages, put plainly and with a remedy.

use super::decode::Hints;
use super::words::{did_you_mean, example, nearest};

/// What an error of serde means to the writer of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) help: Option<String>,
    /// Whether its position is that of a key and not of a value.
    pub(super) about_key: bool,
    /// The key that was probably meant by an unknown one.
    pub(super) meant: Option<String>,
    /// The key that is missing.
    pub(super) missing: Option<String>,
}

/// Reads serde's `message`, whose wording is stable: crates rely on it. `at_key` tells whether it is
/// about a key.
pub(super) fn explain(message: &str, at_key: bool, hints: &Hints<'_>) -> Explained {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    if let Some(key) = quoted_after(what, "unknown field ") {
        return unknown_key(key, expected, hints);
    }
    if let Some(value) = quoted_after(what, "unknown variant ") {
        return unknown_word(value, &quoted(expected), at_key);
    }
    if let Some(key) = quoted_after(what, "missing field ") {
        return Explained {
            message: format!("key `{key}` is missing"),
            help: Some(match example(key) {
                Some(line) => format!("add {line}"),
                None => format!("add `{key} = ...`"),
            }),
            missing: Some(key.to_owned()),
            ..Explained::default()
        };
    }
    if let Some(found) = what.strip_prefix("invalid type: ") {
        return wrong_type(found, expected);
    }
    if let Some(found) = what.strip_prefix("invalid value: ") {
        return Explained {
            message: format!("found {found}, wanted {}", plainly(expected)),
            help: Some(format!("write {}", plainly(expected))),
            ..Explained::default()
        };
    }
    // Our own words, "what is wrong: what to do", or a message of the TOML reader.
    match message.split_once(": write ") {
        Some((wrong, remedy)) => Explained {
            message: wrong.to_owned(),
            help: Some(format!("write {remedy}")),
            ..Explained::default()
        },
        None => Explained {
            message: message.to_owned(),
            help: Some("see docs/configuration.md for what may stand here".to_owned()),
            ..Explained::default()
        },
    }
}

const SECRET: &str =
    r#"write { env = "NAME" } for an environment variable, or { file = "/path" } for a file"#;

/// One of some words should stand here, or one of them as a key.
fn unknown_word(word: &str, known: &[&str], at_key: bool) -> Explained {
    let (message, help) = match (known == ["env", "file"], at_key) {
        (true, true) => (format!("unknown key `{word}` in a secret"), SECRET.to_owned()),
        (true, false) if word == "{ ... }" => {
            ("a secret is named by one of `env` and `file`".to_owned(), SECRET.to_owned())
        }
        (true, false) => {
            ("a secret cannot be written into this file".to_owned(), SECRET.to_owned())
        }
        (false, _) => {
            let help = did_you_mean(word, known).unwrap_or_default();
            (format!("`{word}` is not known here"), help)
        }
    };
    Explained { message, help: Some(help), ..Explained::default() }
}

fn unknown_key(key: &str, expected: &str, hints: &Hints<'_>) -> Explained {
    let mut known = quoted(expected);
    known.extend(hints.also);
    let meant = nearest(key, &known);
    let misplaced = || hints.misplaced.and_then(|say| say(key));
    Explained {
        message: format!("unknown key `{key}`"),
        help: match meant {
            Some(_) => did_you_mean(key, &known),
            None => misplaced().or_else(|| did_you_mean(key, &known)),
        },
        about_key: true,
        meant: meant.map(str::to_owned),
        missing: None,
    }
}

fn wrong_type(found: &str, expected: &str) -> Explained {
    // The text itself may be a secret; it is in the file for those who may read it.
    let found = if found.starts_with("string ") { "a text" } else { found };
    let number = found.split('`').nth(1).filter(|_| !found.starts_with("boolean"));
    let help = match number {
        Some(n) if expected.contains("a duration") => {
            format!(r#"write "{n}s", "{n}m" or "{n}h", in quotes and with the unit that is meant"#)
        }
        Some(n) if expected.contains("a size") => {
            format!(
                r#"write "{n}B", "{n}KiB" or "{n}MiB", in quotes and with the unit that is meant"#
            )
        }
        Some(n) if expected == "a string" => format!(r#"write "{n}", in quotes"#),
        _ if found == "a text" && matches!(expected, "f64" | "u64" | "u32" | "u16" | "usize") => {
            "write the number without quotes".to_owned()
        }
        _ if expected == "a sequence" => "write a list, in brackets: [ ... ]".to_owned(),
        _ => format!("write {}", plainly(expected)),
    };
    Explained {
        message: format!("found {found}, wanted {}", plainly(expected)),
        help: Some(help),
        ..Explained::default()
    }
}

/// What serde calls `expected`, in words for people.
fn plainly(expected: &str) -> String {
    match expected {
        "f32" | "f64" => "a number".into(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, zero or more".into(),
        "i32" | "i64" => "a whole number".into(),
        "a nonzero usize" => "a whole number, one or more".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table: { ... }".into(),
        "a string" => "a text in quotes".into(),
        _ if expected.starts_with("struct ") => "a table: { ... }".into(),
        _ => expected.to_owned(),
    }
}

/// The word in backquotes that follows `prefix` at the start of `text`.
fn quoted_after<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(prefix)?.strip_prefix('`')?;
    // The word is the user's and may contain anything, a backquote too.
    rest.rsplit_once('`').map(|(word, _)| word)
}

/// All words in backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}
