//! The `tidewatch` program: see [`tidewatch::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tidewatch::commands::main()
}
