//! A real Kafka for as long as standard input stays open: prints its address, then waits.
//!
//! `cargo xtask compare` starts it, so that the build system itself needs no Kafka client.

#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use tidewatch_testkit::kafka::Broker;

fn main() -> anyhow::Result<()> {
    let broker =
        Broker::start().context("could not start Kafka: run `cargo xtask services fetch kafka`")?;
    println!("{}", broker.bootstrap());
    std::io::stdout().flush().context("could not say where the broker is")?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).context("could not wait for the end of input")?;
    Ok(())
}
