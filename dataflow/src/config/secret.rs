//! Secrets: named in the configuration, taken from the environment or a file, never printed.

use std::fmt;

use serde::Deserialize;

/// Where a secret comes from. In the file: `{ env = "NAME" }` or `{ file = "/run/secrets/name" }`.
///
/// There is no way to write the secret itself into the configuration, and neither `Debug` nor an
/// error shows it.
///
/// ```
/// use tidewatch_dataflow::config::Secret;
/// let secret = Secret::Env("TIDEWATCH_SURELY_UNSET".into());
/// assert!(secret.reveal().unwrap_err().to_string().contains("TIDEWATCH_SURELY_UNSET"));
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, without trailing white space.
    File(String),
    /// A value given by the program that embeds tidewatch; cannot be written in a file.
    #[serde(skip)]
    Given(String),
}

/// A secret that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or is not text.
    #[error(
        "the secret in environment variable `{0}` is not set: export it, or name a file with `file = \"...\"`"
    )]
    Unset(String),
    /// The file cannot be read.
    #[error("could not read the secret in file `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Secret {
    /// Fetches the secret.
    ///
    /// # Errors
    /// [`SecretError`] naming the variable or the file, never the content.
    pub fn reveal(&self) -> Result<String, SecretError> {
        match self {
            Secret::Env(name) => std::env::var(name).map_err(|_| SecretError::Unset(name.clone())),
            Secret::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end().to_owned())
                .map_err(|source| SecretError::Unreadable { path: path.clone(), source }),
            Secret::Given(value) => Ok(value.clone()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "Secret(env {name})"),
            Secret::File(path) => write!(f, "Secret(file {path})"),
            Secret::Given(_) => f.write_str("Secret(given)"),
        }
    }
}
