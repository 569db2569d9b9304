//! `tidewatch check`: is a pipeline file right, and what would it do?

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, EXIT_OK};
use crate::config;

mod summary;

pub use summary::Summary;

/// Checks a pipeline file and the inventory it names, and says what it would do. Reaches no network and
/// fetches no secret.
///
/// Every fault is told at once, with line, column and what to do: unknown keys, wrong units, names that
/// stand for nothing, windows that cannot be cut into panes, and what is allowed but probably not meant.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  tidewatch check                       tidewatch.toml in this folder
  tidewatch check -c /etc/tidewatch.toml && systemctl reload tidewatch

Exit codes: 0 valid (perhaps with warnings), 2 invalid")]
pub struct CheckArgs {
    /// Which pipeline file.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Checks the file, and says so on standard output; warnings go to standard error.
///
/// # Errors
/// [`config::ConfigErrors`], and when standard output is closed.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config.config)?;
    super::tell_warnings(&config.warnings);
    let name = args.config.config.display();
    write!(std::io::stdout().lock(), "`{name}` is valid\n\n{}", Summary::of(&config))?;
    Ok(ExitCode::from(EXIT_OK))
}
