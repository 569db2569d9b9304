//! Logs: to standard error, as text for people or JSON for machines, as RUST_LOG says.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The format as the command line writes it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// What is logged when RUST_LOG does not say: what we do, and what others find worth a warning.
///
/// A target stands for all that begin with it, so that `tidewatch` covers the libraries too.
const DEFAULT_FILTER: &str = "warn,tidewatch=info";

/// Sends all events of this process to standard error. Does nothing when a program that embeds us has
/// arranged otherwise before.
pub(super) fn start(format: LogFormat) {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|f| !f.is_empty());
    let filter =
        EnvFilter::builder().parse_lossy(from_environment.as_deref().unwrap_or(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // An error means that somebody else was first, which is their right.
    let _taken = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
}
