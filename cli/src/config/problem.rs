//! A problem with a configuration file, and how it is shown: where, what, and what to do.
//!
//! ```text
//! error: unknown key `abvoe`
//!   --> tidewatch.toml:42:1
//!    |
//! 42 | abvoe = 90
//!    | ^^^^^
//!    = help: did you mean `above`?
//! ```

use std::fmt;

/// Whether a problem stops the file from being used.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing runs with this file.
    Error,
    /// The file can be used, but probably does not do what was meant.
    Warning,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warning => "warning",
        })
    }
}

/// A place in a file, with the line it is on. Secrets in the line are already blotted out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line, or the part of a long line around the column; without control characters.
    pub excerpt: String,
    /// How many characters of the excerpt stand before the caret.
    pub caret_start: usize,
    /// How many characters are underlined; at least 1.
    pub caret_len: usize,
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// Name of the file, as it was given.
    pub file: String,
    /// Where; `None` when the file could not be read at all.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { level, file, position, message, help } = self;
        write!(f, "{level}: {message}")?;
        let gutter = match position {
            None => {
                write!(f, "\n --> {file}")?;
                String::from(" ")
            }
            Some(at) => {
                let number = at.line.to_string();
                let gutter = " ".repeat(number.len());
                write!(f, "\n{gutter}--> {file}:{}:{}", at.line, at.column)?;
                write!(f, "\n{gutter} |\n{number} | {}", at.excerpt)?;
                let (indent, carets) = (" ".repeat(at.caret_start), "^".repeat(at.caret_len));
                write!(f, "\n{gutter} | {indent}{carets}")?;
                gutter
            }
        };
        match help {
            Some(help) => write!(f, "\n{gutter} = help: {help}"),
            None => Ok(()),
        }
    }
}

/// Everything wrong with a configuration, in the order of the file: at least one error, and the
/// warnings found beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Name of the file that was asked for.
    pub file: String,
    /// The problems; never empty.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// How many problems are of `level`.
    pub fn count(&self, level: Level) -> usize {
        self.problems.iter().filter(|p| p.level == level).count()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}\n")?;
        }
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        write!(f, "`{}` has {}", self.file, plural(self.count(Level::Error), "error"))?;
        match self.count(Level::Warning) {
            0 => Ok(()),
            n => write!(f, " and {}", plural(n, "warning")),
        }
    }
}

impl std::error::Error for ConfigErrors {}
