//! `tidewatch topics`: the topics of a pipeline file, on the real cluster.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tidewatch_connectors::kafka::admin::{TopicOutcome, TopicSpec, ensure_topics};
use tidewatch_dataflow::config::HumanDuration;

use super::{ConfigArgs, EXIT_FAILED, EXIT_OK};
use crate::config::{self, PipelineConfig};

/// Creates the topics that a pipeline file reads and its dead-letter topic, with their partitions, copies
/// and retention; verifies those that exist. What exists is never changed: more partitions move keys
/// to other partitions, and a shorter retention removes records.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  tidewatch topics -c tidewatch.toml --dry-run  what is missing or differs?
  tidewatch topics -c tidewatch.toml            create what is missing

Exit codes: 0 all topics are, or with --dry-run will be, as the file wants them;
            1 a topic differs, or the cluster refused or cannot be reached;
            2 wrong usage or invalid configuration")]
pub struct TopicsArgs {
    /// Which pipeline file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Create nothing: only say what would be created, and what differs.
    #[arg(long)]
    pub dry_run: bool,
    /// Give up when the cluster has not answered within this time.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: HumanDuration,
}

/// Creates and verifies topics, and says on standard output what became of each.
///
/// # Errors
/// An invalid file; a cluster that cannot be reached, or refuses.
pub fn run(args: &TopicsArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config.config)?;
    super::tell_warnings(&config.warnings);
    let timeout = args.timeout.get();
    let mut specs = specs(&config)?;
    let mut out = std::io::stdout().lock();
    if args.dry_run {
        let there = names(&config, timeout)?;
        let missing = specs.extract_if(.., |spec| !there.contains(&spec.name));
        for spec in missing {
            writeln!(out, "{}: would be created with {}", spec.name, described(&spec))?;
        }
    }
    let outcomes = ensure_topics(&config.kafka, &specs, timeout)
        .context("could not verify or create the topics")?;
    let mut code = EXIT_OK;
    for (spec, outcome) in specs.iter().zip(outcomes) {
        let name = &spec.name;
        match outcome {
            TopicOutcome::Created => writeln!(out, "{name}: created with {}", described(spec))?,
            TopicOutcome::Matches => writeln!(out, "{name}: there, with {}", described(spec))?,
            TopicOutcome::Differs(differences) => {
                code = EXIT_FAILED;
                for difference in differences {
                    writeln!(out, "{name}: differs: {difference}")?;
                }
            }
        }
    }
    if code == EXIT_FAILED {
        writeln!(
            out,
            "\nNothing was changed. Change the topic with Kafka's own tools, or the file to what is there."
        )?;
    }
    Ok(ExitCode::from(code))
}

/// The topics that the file wants: those that are read, and the one for dead letters, which needs little:
/// one partition, with the copies and the retention of the source that has most of each.
fn specs(config: &PipelineConfig) -> anyhow::Result<Vec<TopicSpec>> {
    let spec = |name: &str, partitions: u32, replication: u16, retention: Duration| {
        anyhow::Ok(TopicSpec {
            name: name.to_owned(),
            partitions: i32::try_from(partitions).context("too many partitions")?,
            replication: i32::from(replication),
            retention: Some(retention),
            extra: Default::default(),
        })
    };
    let sources = || config.sources.iter();
    let mut specs: Vec<TopicSpec> = sources()
        .map(|s| spec(&s.topic, s.partitions, s.replication, s.retention))
        .collect::<Result<_, _>>()?;
    if let Some(topic) = &config.dead_letters {
        let replication = sources().map(|source| source.replication).max().unwrap_or(1);
        let retention = sources().map(|source| source.retention).max().unwrap_or_default();
        specs.push(spec(topic, 1, replication, retention)?);
    }
    Ok(specs)
}

/// `12 partitions, 3 copies, kept for 7d`
fn described(spec: &TopicSpec) -> String {
    let plural = |n: i32, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let partitions = plural(spec.partitions, "partition", "partitions");
    let copies = plural(spec.replication, "copy", "copies");
    match spec.retention {
        Some(retention) => {
            format!("{partitions}, {copies}, kept for {}", HumanDuration::from(retention))
        }
        None => format!("{partitions}, {copies}"),
    }
}

/// The names of all topics of the cluster.
fn names(config: &PipelineConfig, timeout: Duration) -> anyhow::Result<Vec<String>> {
    let brokers = config.kafka.brokers.join(",");
    let mut settings = config.kafka.client_config()?;
    // Asking must not create.
    settings.set("allow.auto.create.topics", "false");
    let client: BaseConsumer = settings.create()?;
    let metadata = client
        .fetch_metadata(None, timeout)
        .with_context(|| format!("could not list the topics of kafka at `{brokers}`"))?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}
