//! Checks of how the records of `[[sources]]` are decoded.

use tidewatch_connectors::codec::influx_line::Precision;
use tidewatch_connectors::codec::text_log::{Pattern, PatternError, TextPatterns, TimeFormat};
use tidewatch_connectors::codec::time::UtcOffset;
use tidewatch_connectors::codec::{Format, RecordLabels, SourceFormat};

use super::common::word;
use crate::config::file::{LabelsFrom, SourceSection};
use crate::config::report::Scope;

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

/// How the records of a source are decoded.
pub(super) fn source_format(
    scope: &mut Scope<'_, '_, '_>,
    section: &SourceSection,
) -> SourceFormat {
    value_fields(scope, section);
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
    format.record_labels = record_labels(scope, section);
    format.time_from = section.time_from;
    if section.precision != Precision::Auto {
        only_for(scope, section, "precision", &[Format::Auto, Format::InfluxLine]);
    }
    format
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

/// A record has a handful of headers, and a series about ten labels.
const HEADERS_MAX: usize = 16;

fn record_labels(scope: &mut Scope<'_, '_, '_>, section: &SourceSection) -> RecordLabels {
    let LabelsFrom { key, headers } = &section.labels_from;
    let scope = &mut scope.below("labels_from");
    if headers.len() > HEADERS_MAX {
        scope.error(
            &["headers"],
            format!("{} headers, more than {HEADERS_MAX}", headers.len()),
            "name those that tell series apart, or that rules and searches ask for",
        );
    }
    if let Some(label) = key {
        word(scope, "key", "label", label);
    }
    let mut taken: Vec<&str> = key.iter().map(String::as_str).collect();
    for (name, label) in headers {
        let at = format!("headers.\"{name}\"");
        if name.is_empty() || name.chars().any(char::is_control) {
            scope.error(
                &["headers"],
                "the name of a header is empty or holds a control character",
                "write its name as producers do, as in { \"x-region\" = \"region\" }",
            );
        }
        word(scope, &at, "label", label);
        if taken.contains(&label.as_str()) {
            scope.error(
                &[&at],
                format!("two parts of a record become the label `{label}`"),
                "give each a label of its own",
            );
        }
        taken.push(label);
    }
    let headers = headers.iter().map(|(name, label)| (name.as_str().into(), label.as_str().into()));
    RecordLabels { key: key.as_deref().map(Into::into), headers: headers.collect() }
}
