//! Collecting problems: all of them, each once, and none that only follows from another.

use std::ops::Range;

use toml::de::DeValue;

use super::document::{Document, Node};
use super::path::Path;
use super::problem::{ConfigErrors, Level, Problem};

/// More problems than this are not kept: nobody mends a hundred in one go, and a file of megabytes
/// could have as many.
const PROBLEMS_MAX: usize = 100;

/// As many errors of the TOML reader are shown.
const SYNTAX_ERRORS_MAX: usize = 3;

/// The problems of one document, found so far.
pub(super) struct Report<'d, 'i> {
    document: &'d Document<'i>,
    /// With the byte they are at, to sort them by.
    problems: Vec<(usize, Problem)>,
    /// Values that could not be read. What is said about these later would only confuse.
    tainted: Vec<Path>,
}

impl<'d, 'i> Report<'d, 'i> {
    /// No problem yet.
    pub(super) fn new(document: &'d Document<'i>) -> Self {
        Report { document, problems: Vec::new(), tainted: Vec::new() }
    }

    /// The document that is reported on.
    pub(super) fn document(&self) -> &'d Document<'i> {
        self.document
    }

    /// Notes a problem with the text at `span`.
    pub(super) fn at(
        &mut self,
        span: Range<usize>,
        level: Level,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let problem = Problem {
            level,
            file: self.document.name.to_owned(),
            position: Some(self.document.position(span.clone())),
            message: message.into(),
            help: help.filter(|help| !help.is_empty()),
        };
        if !self.problems.iter().any(|(_, known)| *known == problem) {
            self.problems.push((span.start, problem));
        }
    }

    /// Notes errors of the TOML reader. One fault often leads to more on its line: the first of each line
    /// is kept, and no more than a few.
    pub(super) fn syntax(&mut self, errors: &[toml::de::Error]) {
        let mut lines = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = self.document.position(span.clone()).line;
            if lines.contains(&line) || lines.len() >= SYNTAX_ERRORS_MAX {
                continue;
            }
            lines.push(line);
            let help = match error.message() {
                "duplicate key" => {
                    "this key or table stands in the file before: remove one of the two"
                }
                _ => "the file is TOML: text in quotes, lists in brackets, tables in braces",
            };
            self.at(span, Level::Error, error.message(), Some(help.to_owned()));
        }
    }

    /// The elements of the list `name`, which must be an array of tables.
    pub(super) fn elements<'n>(
        &mut self,
        name: &str,
        node: &'n Node<'i>,
    ) -> Vec<(usize, &'n Node<'i>)> {
        match node.get_ref() {
            DeValue::Array(array) => array.iter().enumerate().collect(),
            DeValue::Table(_) => {
                self.at(
                    node.span(),
                    Level::Error,
                    format!("`{name}` is a list, and this is a single table"),
                    Some(format!("write [[{name}]], with two brackets, before each of them")),
                );
                self.taint(Path::root().key(name));
                Vec::new()
            }
            other => {
                self.at(
                    node.span(),
                    Level::Error,
                    format!("`{name}` is a list of tables, and this is a {}", other.type_str()),
                    Some(format!("write [[{name}]] before each of them")),
                );
                self.taint(Path::root().key(name));
                Vec::new()
            }
        }
    }

    /// Whether nothing more is kept.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    /// Notes that the value at `path` could not be read.
    pub(super) fn taint(&mut self, path: Path) {
        self.tainted.push(path);
    }

    /// Whether the value at `path`, or one above or below it, could not be read.
    pub(super) fn is_tainted(&self, path: &Path) -> bool {
        self.tainted.iter().any(|t| path.is_within(t) || t.is_within(path))
    }

    /// The part of the file below `base`.
    pub(super) fn scope(&mut self, base: Path) -> Scope<'_, 'd, 'i> {
        Scope { report: self, base }
    }

    /// Notes that the file cannot be used, in case that no error says why.
    pub(super) fn unexplained(&mut self) {
        if !self.problems.iter().any(|(_, problem)| problem.level == Level::Error) {
            let help = "this is a fault of tidewatch: please report it with the file";
            self.at(0..0, Level::Error, "the file cannot be used", Some(help.to_owned()));
        }
    }

    /// The problems in the order of the file, then those `elsewhere`: as errors if one of them is, else
    /// as mere warnings.
    pub(super) fn finish(mut self, elsewhere: Vec<Problem>) -> Result<Vec<Problem>, ConfigErrors> {
        self.problems.sort_by_key(|(at, problem)| (*at, problem.level));
        let here = self.problems.into_iter().map(|(_, problem)| problem);
        let problems: Vec<Problem> = here.chain(elsewhere).collect();
        if problems.iter().any(|problem| problem.level == Level::Error) {
            return Err(ConfigErrors { file: self.document.name.to_owned(), problems });
        }
        Ok(problems)
    }
}

/// A part of the file that is being checked: one section, or one element of a list.
pub(super) struct Scope<'r, 'd, 'i> {
    report: &'r mut Report<'d, 'i>,
    base: Path,
}

impl<'d, 'i> Scope<'_, 'd, 'i> {
    /// Notes that the values of `keys`, paths below this scope, are wrong.
    ///
    /// It is shown at the first of them that is in the file, else at the head of the scope. Nothing is
    /// noted when one of them could not be read: that was said already.
    pub(super) fn error(
        &mut self,
        keys: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.note(Level::Error, keys, message.into(), help.into());
    }

    /// As [`Scope::error`], for what is allowed but probably not meant.
    pub(super) fn warning(
        &mut self,
        keys: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.note(Level::Warning, keys, message.into(), help.into());
    }

    /// Whether `key`, a path below this scope, is in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.report.document.get(&self.base.join(key)).is_some()
    }

    /// The part of the file below `key`.
    pub(super) fn below(&mut self, key: &str) -> Scope<'_, 'd, 'i> {
        let base = self.base.join(key);
        Scope { report: &mut *self.report, base }
    }

    fn note(&mut self, level: Level, keys: &[&str], message: String, help: String) {
        let paths: Vec<Path> = keys.iter().map(|key| self.base.join(key)).collect();
        if paths.iter().any(|path| self.report.is_tainted(path)) {
            return;
        }
        let document = self.report.document;
        let shown = paths.iter().find(|path| document.get(path).is_some()).unwrap_or(&self.base);
        let span = document.span_of_value(shown);
        self.report.at(span, level, message, Some(help));
    }
}
