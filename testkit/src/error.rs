//! What can go wrong with a server under test.

use std::{path::PathBuf, time::Duration};

/// Why a server could not be had, started, or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder to keep servers in.
    #[error("could not use the cache folder `{path}`: {reason}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file or process operation failed.
    #[error("could not {action}: {source}")]
    Io {
        /// What was attempted, on which object.
        action: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The server is not in the cache.
    #[error("`{server}` is not in the cache: run `cargo xtask services fetch`")]
    Missing {
        /// The server's name.
        server: &'static str,
    },
    /// The server ended, or did not answer in time.
    #[error("`{server}` did not answer within {waited:?}: {reason}\n{log}")]
    NotReady {
        /// The server's name.
        server: &'static str,
        /// How long was waited.
        waited: Duration,
        /// What the last probe said.
        reason: String,
        /// The end of the server's log.
        log: String,
    },
    /// The server answered something else than expected.
    #[error("`{server}` refused to {action}: {reason}")]
    Refused {
        /// The server's name.
        server: &'static str,
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
}

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Names what was attempted when an I/O call failed: `map_err(Error::io(..))`.
    pub fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
