//! What was asked for.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args};

/// Measures the program beside other engines on one broker, and checks every answer.
///
/// Each system reads the same topics, and has one line on standard output:
///
///   tidewatch cpu_s_per_million=0.98 msgs_per_s=1023000 rss_mib=353 answers=ok
///
/// Figures are net of start-up: each system runs on the whole topics and on small ones, and the difference is
/// divided by the difference in messages, metrics and logs together. Where the small run cost more than half of
/// the full one, the line says so (`start_up=0.62`): ask for more messages. CPU seconds are those of all
/// processes of the system, ended ones included, without the broker; trust them more than messages per second,
/// which suffer from whatever else the machine does. Memory is the greatest sum of what all processes of the
/// system held.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask compare --peers none                    tidewatch alone, in a few minutes
  cargo xtask compare --messages 1M --peers flink     a first look at one peer
  cargo xtask compare --rounds 3 --record             everything, into benches/runs/

A peer that cannot be set up or run says why (`spark failed=…`), and the others go on.
docs/benchmark.md says what is asked of each engine, and of which data.

Exit codes: 0 all answers are right, 1 an answer is wrong, or nothing could be measured")]
pub(crate) struct CompareArguments {
    /// How many metric messages to load, as `10M`, `500k` or a number; logs are a tenth more.
    #[arg(long, value_name = "N", default_value = "10M", value_parser = count)]
    pub(super) messages: u64,
    /// How many hosts send them.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..=1_000_000))]
    pub(super) hosts: u64,
    /// Seconds of event time between two samples of a host.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(super) interval: u64,
    /// What the data is drawn from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) seed: u64,
    /// Which peers to run: `all`, `none`, or names of folders in benches/peers.
    #[arg(long, value_name = "NAME,…", default_value = "all", value_delimiter = ',')]
    pub(super) peers: Vec<String>,
    /// Which queries to ask, of q1,q2,q3,q4; each system is asked those of them that it can answer.
    #[arg(long, value_name = "Q,…", default_value = "q1,q2,q3,q4", value_delimiter = ',')]
    #[arg(value_parser = ["q1", "q2", "q3", "q4"])]
    pub(super) queries: Vec<String>,
    /// How the records are compressed: none, lz4, zstd, gzip or snappy.
    #[arg(long, value_name = "CODEC", default_value = "none")]
    #[arg(value_parser = ["none", "lz4", "zstd", "gzip", "snappy"])]
    pub(super) compression: String,
    /// How often each system is measured; the medians are printed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Threads that a peer may use for its work.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) parallelism: u32,
    /// Also runs tidewatch with two workers, and with two processes.
    #[arg(long)]
    pub(super) scaling: bool,
    /// How long one run may take, in minutes.
    #[arg(long, value_name = "MINUTES", default_value = "60", value_parser = minutes)]
    pub(super) time_limit: Duration,
    /// Whether a peer may be wrong, or fail, without this command failing.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(super) tolerate_peers: bool,
    /// Takes tidewatch, fleet, broker and answers from this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    pub(super) programs: Option<PathBuf>,
    /// Writes results.json, REPORT.md and plots into `benches/runs/<date>-<machine>/`, a folder of its own for
    /// each other choice of data and questions.
    #[arg(long)]
    pub(super) record: bool,
}

/// Seconds of event time in the small topics: enough for windows to fire, little enough to be start-up.
pub(super) const SMALL_SECONDS: u64 = 34;

impl CompareArguments {
    /// Metric messages of the small topics.
    pub(super) fn small_messages(&self) -> u64 {
        (SMALL_SECONDS * 3 * self.hosts).div_ceil(self.interval)
    }

    /// The options about data and questions that are not as the published benchmark has them, each with its value.
    pub(super) fn variant(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("hosts", self.hosts.to_string(), "1000"),
            ("interval", self.interval.to_string(), "1"),
            ("seed", self.seed.to_string(), "1"),
            ("queries", self.queries.join(","), "q1,q2,q3,q4"),
            ("compression", self.compression.clone(), "none"),
        ];
        let unusual = all.into_iter().filter(|(_, value, usual)| value != usual);
        unusual.map(|(name, value, _)| (name, value)).collect()
    }
}

/// A count of messages: digits, `_` between them, and `k` or `M` behind.
fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no count: write 10M, 500k or 250000");
    let plain = text.replace('_', "");
    let (digits, factor) = match plain.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => plain.strip_suffix(['m', 'M']).map_or((&*plain, 1), |digits| (digits, 1_000_000)),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|count| *count > 0).ok_or_else(wrong)
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: u64 = text.parse().map_err(|_| format!("`{text}` is no number of minutes"))?;
    Ok(Duration::from_secs(minutes.saturating_mul(60)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: CompareArguments,
    }

    #[test]
    fn counts_have_units() {
        assert_eq!(count("10M"), Ok(10_000_000));
        assert_eq!(count("500k"), Ok(500_000));
        assert_eq!(count("1_000"), Ok(1_000));
        for wrong in ["", "M", "0", "1.5M", "ten", "99999999999999M"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_defaults_are_the_published_benchmark() {
        let line = Line::parse_from(["compare"]).arguments;
        assert_eq!((line.messages, line.hosts, line.rounds), (10_000_000, 1_000, 1));
        assert_eq!(line.peers, ["all"]);
        assert_eq!(line.queries, ["q1", "q2", "q3", "q4"]);
        assert_eq!(line.small_messages(), 102_000);
        assert_eq!(line.variant(), []);
        let sparse = ["compare", "--hosts", "10000", "--interval", "10"];
        let sparse = Line::parse_from(sparse).arguments;
        assert_eq!(sparse.small_messages(), 102_000);
        let variant = [("hosts", "10000".to_owned()), ("interval", "10".to_owned())];
        assert_eq!(sparse.variant(), variant);
        assert!(line.tolerate_peers && !line.record);
        let line = Line::parse_from(["compare", "--tolerate-peers", "false", "--peers", "a,b"]);
        assert_eq!(line.arguments.peers, ["a", "b"]);
        assert!(!line.arguments.tolerate_peers);
        assert!(Line::try_parse_from(["compare", "--queries", "q5"]).is_err());
    }
}
