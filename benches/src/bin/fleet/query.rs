//! The pipeline of a job: the file beside this one, cut down to what was asked for.

use std::time::Duration;

use anyhow::Context as _;
use tidewatch::config::{self, PipelineConfig};
use tidewatch::pipeline::{PipelineSpec, TimeSpec};
use tidewatch_connectors::codec::SourceFormat;
use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_dataflow::time::Clock;

use super::job::{Job, Query, Topic};

const FILE: &str = include_str!("fleet.toml");

/// The names of a query's statistics and rules in the file.
pub(crate) fn names(query: Query) -> &'static [&'static str] {
    match query {
        Query::Q1 => &["cpu", "mem", "disk"],
        Query::Q2 => &["cpu_5m"],
        Query::Q3 => &["cpu_sustained"],
        Query::Q4 => &["errors"],
    }
}

/// The file, with the brokers, topics and queries of `job`, and checkpoints as often as `every` says.
pub(crate) fn config(job: &Job, every: Option<Duration>) -> anyhow::Result<PipelineConfig> {
    let mut config = config::parse(FILE, "fleet.toml").context("could not use `fleet.toml`")?;
    config.kafka = KafkaConfig::new(job.brokers.iter().map(String::as_str));
    let wanted: Vec<&str> = job.queries.iter().flat_map(|query| names(*query)).copied().collect();
    config.statistics.retain(|statistic| wanted.contains(&&*statistic.spec.name));
    config.rules.retain(|rule| wanted.contains(&&*rule.spec.name));
    let named = [("fleet-logs", &job.logs), ("fleet-metrics", &job.metrics)];
    config.sources.retain_mut(|source| {
        let found = named.iter().find(|(name, _)| *name == source.topic);
        let Some((_, Some(Topic { name, .. }))) = found else { return false };
        source.format = SourceFormat::new(name, source.format.format);
        source.topic.clone_from(name);
        true
    });
    // Partitions count in topics by name.
    config.sources.sort_by(|a, b| a.topic.cmp(&b.topic));
    if let Some(every) = every {
        config.checkpoint.enabled = !every.is_zero();
        config.checkpoint.interval = every;
    }
    Ok(config)
}

/// What the file means to a pipeline.
pub(crate) fn spec(config: &PipelineConfig) -> PipelineSpec {
    let time = TimeSpec {
        out_of_orderness: config.time.out_of_orderness,
        idle_timeout: config.time.idle_timeout,
        future_tolerance: config.time.future_tolerance,
        max_lead: config.time.max_lead,
        clock: Clock::System,
    };
    PipelineSpec {
        series_max: config.series_max,
        on_change: config.checkpoint.on_change,
        ..PipelineSpec::new(config.topics(), time, config.feeds())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn job(queries: &[Query]) -> Job {
        let topic = |name: &str| Some(Topic { name: name.to_owned(), records: None });
        Job {
            brokers: vec!["127.0.0.1:1".to_owned()],
            metrics: topic("a-metrics").filter(|_| queries != [Query::Q4]),
            logs: topic("z-logs").filter(|_| queries.contains(&Query::Q4)),
            queries: queries.to_vec(),
            out: PathBuf::new(),
            error_threshold: 20,
        }
    }

    #[test]
    fn every_query_is_in_the_file_and_the_file_has_nothing_else() {
        let file = config::parse(FILE, "fleet.toml").unwrap();
        let mut found: Vec<String> =
            file.statistics.iter().map(|statistic| statistic.spec.name.to_string()).collect();
        found.extend(file.rules.iter().map(|rule| rule.spec.name.to_string()));
        found.sort();
        let mut named: Vec<_> = Query::ALL.into_iter().flat_map(names).copied().collect();
        named.sort_unstable();
        assert_eq!(found, named);
    }

    #[test]
    fn a_job_cuts_the_file_down() {
        let all = config(&job(&Query::ALL), None).unwrap();
        let topics: Vec<_> = all.topics().iter().map(ToString::to_string).collect();
        assert_eq!(topics, ["a-metrics", "z-logs"], "sorted by the names of the job");
        assert!(all.checkpoint.enabled, "as in production");
        // Q1 to Q3 share the panes of cpu: samples are cut and shipped once.
        assert_eq!(spec(&all).feeds.len(), 4);
        let q4 = config(&job(&[Query::Q4]), Some(Duration::ZERO)).unwrap();
        assert_eq!((q4.sources.len(), q4.rules.len(), q4.statistics.len()), (1, 0, 1));
        assert!(!q4.checkpoint.enabled);
    }
}
