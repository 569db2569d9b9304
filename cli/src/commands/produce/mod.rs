//! `tidewatch produce`: records to a topic by hand.

mod input;

use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Read, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::time::EventTime;

use super::EXIT_OK;
use super::generate::{Compression, parse_time};
use crate::config;

/// Sends samples, log lines and files to a topic: those on the command line, the lines of files, or the lines of
/// standard input.
///
/// A record of a word and a number, as `server-1 85%`, is a sample: the word is its key and the number its value.
/// Every other record is sent as it stands.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("cluster").required(true).args(["brokers", "config"]))]
#[command(after_help = "\
Examples:
  tidewatch produce --brokers localhost:9092 --topic cpu-usage 'server-1 85%'
      one sample of server-1
  tidewatch produce -c tidewatch.toml --topic server-logs --key web-1 'ERROR no connection'
      one log line of web-1, to the brokers of a pipeline file
  tail -f app.log | tidewatch produce --brokers localhost:9092 --topic server-logs
      each line, as it comes
  tidewatch produce --brokers localhost:9092 --topic otlp --whole --file metrics.pb
      the file as one record

Exit codes: 0 all is written, 1 it could not be written, 2 wrong usage or invalid configuration")]
pub struct ProduceArgs {
    /// What is sent, each a record. Default: the lines of standard input.
    #[arg(value_name = "RECORD", conflicts_with = "file")]
    pub records: Vec<String>,
    /// Send the lines of this file, each a record, without empty ones. May be given several times.
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Send each file, or all of standard input, as one record.
    #[arg(long, conflicts_with = "records")]
    pub whole: bool,
    /// Send a word and a number as they stand, too.
    #[arg(long)]
    pub as_is: bool,
    /// The topic.
    #[arg(short, long, value_name = "NAME")]
    pub topic: String,
    /// The key of every record, which is then sent as it stands.
    #[arg(short, long, value_name = "KEY")]
    pub key: Option<String>,
    /// A header of every record. May be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,
    /// Kafka's timestamp of every record, as 2023-11-14T22:13:20Z or in milliseconds since 1970. Default: now.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub time: Option<u64>,
    /// Some brokers of the cluster, as host:port, separated by commas.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    #[arg(help_heading = "Cluster (one of --brokers and --config)")]
    pub brokers: Vec<String>,
    /// Take brokers, encryption and password from this pipeline file.
    #[arg(short, long, value_name = "FILE")]
    #[arg(help_heading = "Cluster (one of --brokers and --config)")]
    pub config: Option<PathBuf>,
    /// How the batches of records are compressed.
    #[arg(long, value_enum, default_value_t = Compression::Lz4, help_heading = "Kafka")]
    pub compression: Compression,
    /// Give up a record that the brokers have not taken within this time.
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Kafka")]
    pub timeout: HumanDuration,
}

/// `x-region=eu-1`
fn parse_header(text: &str) -> Result<(String, String), String> {
    super::name_and_value(text)
        .ok_or_else(|| "not a header: write NAME=VALUE, as in x-region=eu-1".to_owned())
}

/// Sends what is asked for, and says on standard output how much was taken.
///
/// # Errors
/// An invalid pipeline file, what cannot be read, and what the brokers do not take. Records before it may have been
/// written.
pub fn run(args: &ProduceArgs) -> anyhow::Result<ExitCode> {
    let timeout = args.timeout.get();
    let sender = Sender::new(args, timeout)?;
    if !args.records.is_empty() {
        for record in &args.records {
            sender.send(record.as_bytes())?;
        }
    } else if args.file.is_empty() {
        tell_terminal();
        sender.read(std::io::stdin().lock()).context("could not send standard input")?;
    }
    for path in &args.file {
        let sent = File::open(path).map_err(Into::into).and_then(|file| sender.read(file));
        sent.with_context(|| format!("could not send `{}`", path.display()))?;
    }
    // A little more than the client's own patience, so that its reason is told.
    let counts = sender
        .producer
        .flush(timeout + Duration::from_secs(5))
        .with_context(|| format!("could not write to topic `{}`", args.topic))?;
    let plural = if counts.delivered == 1 { "" } else { "s" };
    writeln!(
        std::io::stdout().lock(),
        "{} record{plural} written to `{}`",
        counts.delivered,
        args.topic
    )?;
    Ok(ExitCode::from(EXIT_OK))
}

/// Says that somebody is waited for who may not know it.
#[allow(clippy::print_stderr, reason = "a command-line program that waits for its user")]
fn tell_terminal() {
    if std::io::stdin().is_terminal() {
        eprintln!("each line is a record; Ctrl-D ends");
    }
}

/// Sends records as the arguments say.
struct Sender<'a> {
    args: &'a ProduceArgs,
    headers: Vec<(&'a str, &'a [u8])>,
    producer: Producer,
    timeout: Duration,
}

impl<'a> Sender<'a> {
    fn new(args: &'a ProduceArgs, timeout: Duration) -> anyhow::Result<Self> {
        let mut kafka = match &args.config {
            Some(file) => {
                let config = config::load(file)?;
                super::tell_warnings(&config.warnings);
                config.kafka
            }
            None => KafkaConfig::new(args.brokers.iter().map(String::as_str)),
        };
        // The client takes whole milliseconds, at least one; zero would mean without end.
        let millis = timeout.as_millis().clamp(1, 2_147_483_647).to_string();
        for (name, value) in [
            ("compression.type", args.compression.as_str()),
            ("message.timeout.ms", &millis),
            // A topic that does not exist is an error soon.
            ("topic.metadata.propagation.max.ms", "5000"),
        ] {
            kafka.properties.insert(name.to_owned(), value.to_owned());
        }
        let headers = args.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let producer = Producer::new(&kafka).context("could not make a producer")?;
        Ok(Sender { args, headers: headers.collect(), producer, timeout })
    }

    /// Sends all that `from` has.
    fn read(&self, from: impl Read) -> anyhow::Result<()> {
        if self.args.whole {
            return self
                .send_value(self.args.key.as_deref().map(str::as_bytes), &input::whole(from)?);
        }
        input::lines(BufReader::new(from), |line| self.send(line))
    }

    /// Sends one record, which may be a sample.
    fn send(&self, record: &[u8]) -> anyhow::Result<()> {
        let key = self.args.key.as_deref().map(str::as_bytes);
        let sample = input::sample(record).filter(|_| key.is_none() && !self.args.as_is);
        match sample {
            Some((key, value)) => self.send_value(Some(key), value),
            None => self.send_value(key, record),
        }
    }

    fn send_value(&self, key: Option<&[u8]>, value: &[u8]) -> anyhow::Result<()> {
        let message = Message {
            topic: &self.args.topic,
            partition: None,
            key,
            value: Some(value),
            time: self.args.time.map(EventTime::from_millis),
            headers: &self.headers,
        };
        Ok(self.producer.send(&message, self.timeout)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_names_and_values() {
        let header = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(parse_header("x-region=eu=1"), header("x-region", "eu=1"));
        assert_eq!(parse_header("x="), header("x", ""));
        assert!(parse_header("=x").is_err() && parse_header("x").is_err());
    }
}
