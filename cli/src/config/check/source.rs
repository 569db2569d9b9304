//! Checks of `[[sources]]`.

use std::collections::BTreeMap;

use tidewatch_connectors::codec::influx_line::Precision;
use tidewatch_connectors::codec::text_log::{Pattern, PatternError, TextPatterns, TimeFormat};
use tidewatch_connectors::codec::time::UtcOffset;
use tidewatch_connectors::codec::{Format, SourceFormat};

use super::common::{positive, word};
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
        value_fields(&mut scope, section);
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

/// Fields that only records of bare values need.
fn value_fields(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) {
    let takes_values = matches!(section.format, Format::Auto | Format::Value);
    let fields = [
        ("measurement", &section.measurement),
        ("field", &section.field),
        ("key_label", &section.key_label),
    ];
    for (key, value) in fields {
        let Some(value) = value else { continue };
        word(scope, key, key, value);
        if !takes_values {
            scope.warning(
                &[key],
                format!("`{key}` has no effect: these records carry names of their own"),
                "remove it, or write `format = \"value\"`",
            );
        }
    }
}

fn resolve(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) -> Source {
    let mut format = SourceFormat::new(&section.topic, section.format);
    if format.measurement.is_empty() {
        format.measurement = section.topic.as_str().into();
    }
    let given = [
        (&section.measurement, &mut format.measurement),
        (&section.field, &mut format.field),
        (&section.key_label, &mut format.key_label),
    ];
    for (given, place) in given {
        if let Some(given) = given {
            *place = given.as_str().into();
        }
    }
    format.precision = section.precision;
    format.utc_offset = utc_offset(scope, section);
    format.patterns = text_patterns(scope, section);
    format.resource_labels = resource_labels(scope, section);
    if section.precision != Precision::Auto {
        only_for(scope, section, "precision", &[Format::Auto, Format::InfluxLine]);
    }
    Source {
        topic: section.topic.clone(),
        format,
        partitions: section.partitions,
        replication: section.replication,
        retention: section.retention.get(),
    }
}

/// Warns of a field that is given and that records of the source's format do not use.
fn only_for(scope: &mut Scope<'_, '_, '_>, section: &SourceSection, key: &str, formats: &[Format]) {
    if !formats.contains(&section.format) {
        scope.warning(
            &[key],
            format!("`{key}` has no effect on records of this format"),
            "remove it, or write the `format` that it is for",
        );
    }
}

fn utc_offset(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) -> UtcOffset {
    let Some(text) = &section.utc_offset else { return UtcOffset::default() };
    let formats = [Format::Auto, Format::Syslog, Format::Logfmt, Format::TextLog];
    only_for(scope, section, "utc_offset", &formats);
    UtcOffset::parse(text).unwrap_or_else(|| {
        scope.error(
            &["utc_offset"],
            format!("`{text}` is no offset from UTC"),
            "write it as in \"+02:00\"; names of time zones are not known",
        );
        UtcOffset::default()
    })
}

/// The most bytes of a pattern; what people write has tens.
const PATTERN_MAX: usize = 1_024;

fn text_patterns(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) -> TextPatterns {
    /// The text of `key`, made into what it stands for; a fault is told.
    fn made<T>(
        scope: &mut Scope<'_, '_, '_>,
        section: &SourceSection,
        (key, given, help): (&str, &Option<String>, &str),
        make: impl FnOnce(&str) -> Result<T, PatternError>,
    ) -> Option<T> {
        let text = given.as_deref()?;
        only_for(scope, section, key, &[Format::Auto, Format::TextLog]);
        if text.is_empty() || text.len() > PATTERN_MAX {
            let length = text.len();
            scope.error(
                &[key],
                format!("`{key}` has {length} characters, not 1 to {PATTERN_MAX}"),
                help,
            );
            return None;
        }
        match make(text) {
            Ok(made) => Some(made),
            Err(error) => {
                scope.error(&[key], error.to_string(), help);
                None
            }
        }
    }
    let expression = "write a regular expression with one group, as in '\\[([^\\]]+)\\]'";
    let time = ("time_pattern", &section.time_pattern, expression);
    let level = ("level_pattern", &section.level_pattern, expression);
    let format = "write it as `strptime` has it, as in \"%d/%b/%Y:%H:%M:%S %z\"";
    let format = ("time_format", &section.time_format, format);
    TextPatterns {
        time: made(scope, section, time, Pattern::new),
        time_format: made(scope, section, format, TimeFormat::new),
        level: made(scope, section, level, Pattern::new),
    }
}

/// More labels of a series than this are refused by the codecs anyway.
const RESOURCE_LABELS_MAX: usize = 32;

fn resource_labels(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) -> Vec<Box<str>> {
    if section.resource_labels.is_empty() {
        return Vec::new();
    }
    only_for(scope, section, "resource_labels", &[Format::Auto, Format::Otlp]);
    let count = section.resource_labels.len();
    if count > RESOURCE_LABELS_MAX || section.resource_labels.iter().any(String::is_empty) {
        scope.error(
            &["resource_labels"],
            format!("{count} names, of which none may be empty, and at most {RESOURCE_LABELS_MAX}"),
            "name the attributes that tell series apart, as in [\"k8s.pod.name\"]",
        );
    }
    section.resource_labels.iter().map(|name| name.as_str().into()).collect()
}
