//! Checks of `[[sources]]`.

use std::collections::BTreeMap;

use tidewatch_connectors::codec::Format;

use super::common::positive;
use super::source_format::source_format;
use crate::config::file::SourceSection;
use crate::config::path::Path;
use crate::config::report::{Report, Scope};
use crate::config::resolved::Source;

/// Kafka's own bound on the length of a topic's name.
const TOPIC_MAX: usize = 249;

/// What the sources can bring, as far as the file tells.
#[derive(Debug, Default)]
pub(super) struct Produced {
    /// Whether some source may bring any measurement, or a source could not be read.
    pub(super) anything: bool,
    /// Whether some source may bring log lines.
    pub(super) logs: bool,
    /// Measurements that `value` sources bring.
    pub(super) values: Vec<ProducedValue>,
}

/// The measurement and field of a `value` source.
#[derive(Debug)]
pub(super) struct ProducedValue {
    pub(super) measurement: String,
    pub(super) field: String,
}

/// Checks all sources, and resolves them, sorted by topic. `brokers` is how many are listed.
pub(super) fn sources(
    report: &mut Report<'_, '_>,
    sections: &[(usize, SourceSection)],
    brokers: Option<usize>,
) -> Vec<Source> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    let mut warned = false;
    let mut resolved = Vec::new();
    for (index, section) in sections {
        let mut scope = report.scope(Path::root().key("sources").index(*index));
        topic_name(&mut scope, "topic", &section.topic);
        if let Some(earlier) = first.get(section.topic.as_str()) {
            scope.error(
                &["topic"],
                format!("topic `{}` is read by source {} already", section.topic, earlier + 1),
                "one topic is one source: remove one of the two",
            );
        } else {
            first.insert(&section.topic, *index);
        }
        counts(&mut scope, section);
        let too_few = brokers.is_some_and(|brokers| brokers < usize::from(section.replication));
        if too_few && !warned {
            warned = true;
            scope.warning(
                &["replication"],
                format!(
                    "{} copies are asked for, and `kafka.brokers` lists fewer brokers",
                    section.replication
                ),
                "list more of the brokers; if there are no more, write `replication = 1`",
            );
        }
        resolved.push(resolve(&mut scope, section));
    }
    resolved.sort_by(|a, b| a.topic.cmp(&b.topic));
    resolved
}

/// What the resolved `sources` can bring.
pub(super) fn produced(sources: &[Source]) -> Produced {
    let mut produced = Produced::default();
    for source in sources {
        match source.format.format {
            Format::Auto => {
                produced.anything = true;
                produced.logs = true;
            }
            Format::Otlp => {
                produced.anything = true;
                produced.logs = true;
            }
            Format::TelegrafJson
            | Format::InfluxLine
            | Format::CollectdJson
            | Format::PrometheusRemoteWrite => produced.anything = true,
            Format::JsonLog
            | Format::EcsJson
            | Format::Syslog
            | Format::Logfmt
            | Format::TextLog => produced.logs = true,
            Format::Value => produced.values.push(ProducedValue {
                measurement: source.format.measurement.to_string(),
                field: source.format.field.to_string(),
            }),
        }
    }
    produced
}

/// The rules of Kafka for names of topics.
pub(super) fn topic_name(scope: &mut Scope<'_, '_, '_>, key: &str, topic: &str) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let wrong = if topic.is_empty() {
        "is empty".to_owned()
    } else if matches!(topic, "." | "..") {
        "is reserved".to_owned()
    } else if topic.len() > TOPIC_MAX {
        format!("has {} characters", topic.len())
    } else if let Some(c) = topic.chars().find(|c| !allowed(*c)) {
        format!("holds `{}`", c.escape_default())
    } else {
        return;
    };
    scope.error(
        &[key],
        format!("the name of the topic {wrong}"),
        format!("Kafka takes up to {TOPIC_MAX} letters, digits, `_`, `-` and `.`"),
    );
}

fn counts(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) {
    if section.partitions == 0 {
        scope.error(
            &["partitions"],
            "a topic has at least one partition",
            "write `partitions = 12`",
        );
    } else if section.partitions > 100_000 {
        scope.error(
            &["partitions"],
            format!("{} partitions are more than a cluster carries", section.partitions),
            "a few for each worker are enough: write `partitions = 12`",
        );
    }
    if section.replication == 0 {
        scope.error(
            &["replication"],
            "a partition has at least one copy",
            "write `replication = 3`, or 1 where there is but one broker",
        );
    }
    positive(
        scope,
        "retention",
        section.retention,
        "the brokers would drop records before they are read: write \"7d\", say",
    );
}

fn resolve(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) -> Source {
    Source {
        topic: section.topic.clone(),
        format: source_format(scope, section),
        partitions: section.partitions,
        replication: section.replication,
        retention: section.retention.get(),
    }
}
