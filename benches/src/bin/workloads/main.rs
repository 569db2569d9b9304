//! Workloads beside the throughput of the fleet: how soon people hear of an incident, what a series and a long
//! window cost, whether memory stays flat over a backlog, how long a crash is felt.
//!
//! ```text
//! cargo run --release -p tidewatch-benches --bin workloads -- NAME --help
//! ```
//!
//! All go through the production path: the facade's pipeline or the whole service with the real codec, state
//! store, delivery and outbox, and a real Kafka where a broker matters. Trust ratios and CPU seconds; rates and
//! latencies suffer from whatever else the machine does, so each prints the load.

#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

mod backlog;
mod engine;
mod feeds;
mod fleet;
mod formats;
mod kafka;
mod latency;
mod member;
mod process;
mod quantile;
mod recovery;
mod series;
mod stretch;
mod synthetic;
mod windows;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// That of the program `tidewatch`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measured workloads of tidewatch.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// From the append of the record that closes a pane to the notification, at half load.
    Latency(latency::LatencyArgs),
    /// The fleet that `latency` listens to.
    #[command(hide = true)]
    LatencyLive(latency::live::LiveArgs),
    /// Bytes and CPU of a series, from a thousand to a million.
    Series(series::SeriesArgs),
    /// One size of `series`, measured in this process.
    #[command(hide = true)]
    SeriesOne(series::OneArgs),
    /// One hour sliding by ten seconds against ten seconds tumbling.
    Windows(windows::WindowsArgs),
    /// Telegraf JSON, line protocol and log lines.
    Formats(formats::FormatsArgs),
    /// Memory over the catch-up of hours, with a store that answers or a dead one.
    Backlog(backlog::BacklogArgs),
    /// From a kill to caught up.
    Recovery(recovery::RecoveryArgs),
    /// The service that `backlog` and `recovery` watch.
    #[command(hide = true)]
    Member(member::MemberArgs),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().workload {
        Workload::Latency(args) => latency::run(&args),
        Workload::LatencyLive(args) => latency::live::run(&args),
        Workload::Series(args) => series::run(&args),
        Workload::SeriesOne(args) => series::one(&args),
        Workload::Windows(args) => windows::run(&args),
        Workload::Formats(args) => formats::run(&args),
        Workload::Backlog(args) => backlog::run(&args),
        Workload::Recovery(args) => recovery::run(&args),
        Workload::Member(args) => member::run(&args),
    }
}
