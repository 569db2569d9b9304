//! The pipeline file: what it may say, what is wrong with it, and what it means.
//!
//! ```text
//!  text ─► document ─► read: sections (file::*) ─► check ─► PipelineConfig (resolved)
//!            │                   │                   │
//!            └───────────────────┴───────────────────┴────► report: every problem, with line and column
//! ```
//!
//! [`load`] and [`parse`] give a [`PipelineConfig`], whose every value is checked and filled in, or
//! [`ConfigErrors`]: all problems at once, each with its place, what is wrong and what to do. Nothing here
//! opens a connection, and no secret is fetched.
//!
//! The types of the file itself are in [`mod@file`]; those of a component (a sink, a channel, the brokers)
//! live beside the component.

mod check;
mod decode;
mod document;
mod explain;
mod fields;
pub mod file;
mod inventory;
mod mask;
mod pane;
mod path;
mod problem;
mod read;
mod report;
mod resolved;
#[cfg(test)]
mod tests;
mod words;

use std::path::Path as FilePath;

pub use inventory::{EntrySection, Inventory, InventoryEntry, parse_inventory};
pub use problem::{ConfigErrors, Level, Position, Problem};
pub use resolved::{CheckpointConfig, PipelineConfig, Rule, Source, Statistic, TimeConfig};

use document::Document;
use path::Path;
use report::Report;

/// A larger file than this is none that a person wrote: 16 MiB, tens of thousands of rules.
const FILE_MAX: u64 = 16 << 20;

/// Reads, checks and resolves the pipeline file at `path`, and the inventory it names.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong, in either file; also when one cannot be read.
pub fn load(path: &FilePath) -> Result<PipelineConfig, ConfigErrors> {
    let name = path.display().to_string();
    let text = read_file(path).map_err(|(message, help)| ConfigErrors {
        file: name.clone(),
        problems: vec![Problem {
            level: Level::Error,
            file: name.clone(),
            position: None,
            message,
            help: Some(help),
        }],
    })?;
    parse_with(&text, &name, load_inventory)
}

/// Checks and resolves the pipeline file `text`; `name` is what its problems call it, and relative paths
/// in it start at the folder that `name` lies in. Reads no other file: the inventory stays empty.
///
/// ```
/// use tidewatch::config::{Level, parse};
/// let text = r#"
///     [kafka]
///     brokers = ["127.0.0.1:9092"]
///     [[sources]]
///     topic = "cpu-usage"
///     [[rules]]
///     name = "cpu"
///     kind = "sustained"
///     measurement = "cpu"
///     field = "usage_active"
///     group_by = ["host"]
///     abvoe = 90
///     for = "5m"
/// "#;
/// let errors = parse(text, "tidewatch.toml").unwrap_err();
/// let error = errors.problems.iter().find(|problem| problem.level == Level::Error).unwrap();
/// let position = error.position.as_ref().unwrap();
/// assert_eq!((position.line, position.column), (12, 5));
/// assert_eq!(error.message, "unknown key `abvoe`");
/// assert_eq!(error.help.as_deref(), Some("did you mean `above`?"));
/// assert!(parse(&text.replace("abvoe", "above"), "tidewatch.toml").is_ok());
/// ```
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn parse(text: &str, name: &str) -> Result<PipelineConfig, ConfigErrors> {
    parse_with(text, name, |_, _| Vec::new())
}

/// As [`parse`], with `more` to do once the file itself is resolved; it gives problems in other files.
fn parse_with(
    text: &str,
    name: &str,
    more: impl FnOnce(&mut Report<'_, '_>, &mut PipelineConfig) -> Vec<Problem>,
) -> Result<PipelineConfig, ConfigErrors> {
    let (document, syntax) = Document::parse(name, text);
    let mut report = Report::new(&document);
    let mut config = None;
    let mut elsewhere = Vec::new();
    if syntax.is_empty() {
        let sections = read::read(&mut report);
        let folder = FilePath::new(name).parent().unwrap_or(FilePath::new(""));
        config = check::check(&mut report, sections, folder);
        if let Some(config) = &mut config {
            elsewhere = more(&mut report, config);
        }
    } else {
        report.syntax(&syntax);
    }
    if config.is_none() {
        report.unexplained();
    }
    let problems = report.finish(elsewhere)?;
    match config {
        Some(config) => Ok(PipelineConfig { warnings: problems, ..config }),
        // Unreachable: without a configuration there is an error. Said rather than panicked.
        None => Err(ConfigErrors { file: name.to_owned(), problems }),
    }
}

/// Reads the inventory that `config` names, into it. Gives the problems inside.
fn load_inventory(report: &mut Report<'_, '_>, config: &mut PipelineConfig) -> Vec<Problem> {
    let Some(file) = &config.inventory_file else { return Vec::new() };
    match read_file(file) {
        Ok(text) => match parse_inventory(&text, &file.display().to_string()) {
            Ok((inventory, warnings)) => {
                config.inventory = inventory;
                warnings
            }
            Err(errors) => errors.problems,
        },
        Err((message, help)) => {
            report.scope(Path::root().key("inventory")).error(&["file"], message, help);
            Vec::new()
        }
    }
}

/// The text of a file, or what is wrong with it and what to do.
fn read_file(path: &FilePath) -> Result<String, (String, String)> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "name a file that exists",
            std::io::ErrorKind::PermissionDenied => "let this user read it",
            std::io::ErrorKind::InvalidData => "store it as UTF-8",
            _ => "name a file that can be read",
        };
        (format!("could not read `{shown}`: {error}"), help.to_owned())
    };
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > FILE_MAX {
        let help = format!("files of up to {} MiB are read", FILE_MAX >> 20);
        return Err((format!("`{shown}` has {size} bytes"), help));
    }
    std::fs::read_to_string(path).map_err(cannot)
}
