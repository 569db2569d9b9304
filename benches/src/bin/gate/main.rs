//! Guards what makes tidewatch fast, by ratios inside one run: an absolute time says more about the machine.
//!
//! ```console
//! cargo run --release -p tidewatch-benches --bin gate
//! ```
//!
//! Each line compares two ways of doing one thing, in CPU time of this thread, the least of several rounds that take
//! turns. A ratio above its limit is a regression, and the exit code is 1. Limits leave room for other machines:
//! about one and a half times what was measured when they were set.

#![allow(clippy::print_stdout, reason = "its lines are the result")]

mod clock;
mod ratios;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let mut is_fine = true;
    for ratio in ratios::all()? {
        let measured = ratio.first.as_secs_f64() / ratio.second.as_secs_f64().max(1e-9);
        let verdict = if measured <= ratio.limit { "ok" } else { "TOO MUCH" };
        is_fine &= measured <= ratio.limit;
        println!("{:<58} {measured:>6.3} of at most {:>5.2}  {verdict}", ratio.name, ratio.limit);
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
