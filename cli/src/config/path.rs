//! A path into a configuration file: `rules[2].for`.

use std::fmt;

/// One step down: into a table by key, or into an array by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A key of a table.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// Steps from the top of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

impl Path {
    /// The top of the file.
    pub(super) fn root() -> Self {
        Path::default()
    }

    /// This path and then into `key`.
    pub(super) fn key(&self, key: impl Into<String>) -> Self {
        self.step(Step::Key(key.into()))
    }

    /// This path and then to element `index`.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// This path and then one more step.
    pub(super) fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Path(steps)
    }

    /// This path and then along `dotted`, such as `windows[1].size` or `properties."fetch.wait.max.ms"`.
    ///
    /// Brackets that hold no number are taken as part of the key.
    pub(super) fn join(&self, dotted: &str) -> Self {
        let mut path = self.clone();
        let mut quoted = false;
        let apart = |c: char| {
            quoted ^= c == '"';
            c == '.' && !quoted
        };
        for part in dotted.split(apart).filter(|part| !part.is_empty()) {
            let indexed = part.strip_suffix(']').and_then(|part| part.split_once('['));
            match indexed.and_then(|(key, index)| Some((key, index.parse().ok()?))) {
                Some((key, index)) => path = path.key(key).index(index),
                None => path = path.key(part.trim_matches('"')),
            }
        }
        path
    }

    /// The steps.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether `self` is `other` or lies below it.
    pub(super) fn is_within(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_paths_are_read_and_written() {
        let root = Path::root();
        let size = root.join("statistics[0].windows[1].size");
        let steps = root.key("statistics").index(0).key("windows").index(1).key("size");
        assert_eq!(size, steps);
        assert_eq!(size.to_string(), "statistics[0].windows[1].size");
        assert_eq!(root.join(r#"a."b.c""#), root.key("a").key("b.c"));
        assert!(size.is_within(&root.join("statistics[0]")));
        assert!(!size.is_within(&root.join("statistics[1]")));
    }
}
