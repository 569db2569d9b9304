//! The `tidewatch` program: see [`tidewatch::commands`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// For the client of Kafka as well, which is written in C: see docs/adr/0025.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tidewatch::commands::main()
}
