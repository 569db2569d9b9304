//! The host file: one `host:port` a line, one line for each process, in order of their indexes.

use std::path::{Path, PathBuf};

/// The addresses of all processes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostfile(pub Vec<String>);

/// A host file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostfileError {
    /// The file cannot be read.
    #[error("could not read the host file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not an address.
    #[error("{}:{line}: `{text}` is not an address: write `host:port`", path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// There are not as many lines as processes.
    #[error("the host file `{}` lists {found} processes and `-n` says {wanted}: give one line for each process", path.display())]
    WrongCount {
        /// The file.
        path: PathBuf,
        /// Lines found.
        found: usize,
        /// Processes wanted.
        wanted: usize,
    },
}

impl Hostfile {
    /// Reads `path`, which must list exactly `processes` addresses; blank lines and `#` comments are skipped.
    ///
    /// # Errors
    /// [`HostfileError`] naming file and line.
    pub fn read(path: &Path, processes: usize) -> Result<Self, HostfileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| HostfileError::Unreadable { path: path.into(), source })?;
        let mut hosts = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let valid = line.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
            });
            if !valid {
                let (path, text) = (path.into(), line.to_owned());
                return Err(HostfileError::BadLine { path, line: index + 1, text });
            }
            hosts.push(line.to_owned());
        }
        if hosts.len() != processes {
            let (found, wanted) = (hosts.len(), processes);
            return Err(HostfileError::WrongCount { path: path.into(), found, wanted });
        }
        Ok(Hostfile(hosts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, processes: usize) -> Result<Hostfile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, text).unwrap();
        let shown = path.display().to_string();
        Hostfile::read(&path, processes).map_err(|e| e.to_string().replace(&shown, "hosts"))
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let hosts = read("# two\n a:2101 \n\nb:2101 # second\n", 2).unwrap();
        assert_eq!(hosts.0, ["a:2101", "b:2101"]);
    }

    #[test]
    fn errors_name_file_and_line() {
        let error = read("a:2101\nb\n", 2).unwrap_err();
        assert_eq!(error, "hosts:2: `b` is not an address: write `host:port`");
        let error = read("a:2101\n", 2).unwrap_err();
        assert!(error.contains("lists 1 processes and `-n` says 2"), "{error}");
    }
}
