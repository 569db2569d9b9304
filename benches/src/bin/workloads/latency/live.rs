//! The fleet as it sends: at a constant rate, stamped with the present, with hosts that come and go above 90 %.
//! A process of its own, so that what it costs is not the pipeline's.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use tidewatch_dataflow::time::Clock;

use super::super::fleet::{Draft, KINDS, mix};
use super::super::kafka::{Loader, pace};

/// Event times lie up to this much before the present, in milliseconds.
const JITTER: u64 = 1_000;
/// Every so many seconds a host that is to alert does so once, for [`BUSY_SECONDS`].
const PERIOD: u64 = 30;
/// Long enough for a rule over one or two panes of a second.
const BUSY_SECONDS: u64 = 3;

/// Arguments of the process that sends.
#[derive(Clone, Debug, Args)]
pub(crate) struct LiveArgs {
    #[arg(long)]
    pub(crate) brokers: String,
    /// Messages a second.
    #[arg(long)]
    pub(crate) rate: f64,
    #[arg(long)]
    pub(crate) hosts: u64,
    #[arg(long)]
    pub(crate) partitions: u64,
    /// Hosts that begin to alert, each second, in panes of one second.
    #[arg(long)]
    pub(crate) alerts: u64,
    /// How many panes of a second one pane of the rule is.
    #[arg(long)]
    pub(crate) pane: u64,
    #[arg(long)]
    pub(crate) seconds: u64,
}

impl LiveArgs {
    /// How to run this in another process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        vec![
            "latency-live".to_owned(),
            format!("--brokers={}", self.brokers),
            format!("--rate={}", self.rate),
            format!("--hosts={}", self.hosts),
            format!("--partitions={}", self.partitions),
            format!("--alerts={}", self.alerts),
            format!("--pane={}", self.pane),
            format!("--seconds={}", self.seconds),
        ]
    }

    /// Whether `host` is above 90 % at `time`, in milliseconds.
    fn is_busy(&self, host: u64, time: u64) -> bool {
        let pane = time / (1_000 * self.pane.max(1));
        host < self.alerts * PERIOD && (pane + host) % PERIOD < BUSY_SECONDS
    }
}

/// Sends until the time is up; prints how it went.
pub(crate) fn run(args: &LiveArgs) -> anyhow::Result<()> {
    let mut loader = Loader::new(&args.brokers, super::TOPIC, args.partitions)?;
    let clock = Clock::System;
    let (sent, behind) = pace(args.rate, Duration::from_secs(args.seconds), |number| {
        let host = number / KINDS % args.hosts;
        let time = clock.now().as_millis() - mix(number) % JITTER;
        let busy = args.is_busy(host, time);
        loader.send(Draft { host, kind: number % KINDS, time, salt: number, busy })
    })?;
    loader.finish()?;
    println!("sent={sent} behind_ms={:.0}", behind.as_secs_f64() * 1_000.0);
    std::io::stdout().flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_hosts_begin_each_second_as_are_wanted() {
        let args = LiveArgs {
            brokers: String::new(),
            rate: 1.0,
            hosts: 1_000,
            partitions: 12,
            alerts: 7,
            pane: 1,
            seconds: 1,
        };
        for second in 1..100 {
            let begins = |host: &u64| {
                args.is_busy(*host, second * 1_000) && !args.is_busy(*host, (second - 1) * 1_000)
            };
            assert_eq!((0..args.hosts).filter(begins).count(), 7);
        }
    }
}
