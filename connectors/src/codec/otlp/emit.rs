//! From data points and log records of either encoding to points and lines.

use std::borrow::Cow;

use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, Level, LogLine};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

use super::super::line::{Extra, UNKNOWN};
use super::super::point::intern;
use super::super::{Input, LABELS_MAX, POINTS_MAX, level, time};
use super::Otlp;
use super::any::{Any, Attribute, Attributes};

/// Where data points and log records of a record go.
pub(super) struct Sink<'a, 'r> {
    pub(super) codec: &'a mut Otlp,
    pub(super) series: &'a mut SeriesTable,
    pub(super) out: &'a mut Decoded,
    pub(super) input: &'a Input<'r>,
    /// Log lines so far.
    pub(super) lines: u32,
}

/// A data point: what it is about, when, and its numbers.
pub(super) struct DataPoint<'a> {
    pub(super) attributes: Attributes<'a>,
    pub(super) nanos: u64,
    pub(super) flags: u64,
    pub(super) numbers: SmallVec<[(Cow<'a, str>, f64); 4]>,
}

/// A log record.
#[derive(Default)]
pub(super) struct LogRecord<'a> {
    pub(super) nanos: u64,
    pub(super) observed_nanos: u64,
    pub(super) severity: u64,
    pub(super) severity_text: Cow<'a, str>,
    pub(super) body: Any<'a>,
    pub(super) attributes: Attributes<'a>,
    pub(super) trace: Cow<'a, str>,
    pub(super) span: Cow<'a, str>,
    pub(super) event: Cow<'a, str>,
}

/// The flag of a data point that says only that nothing was recorded.
const NOT_RECORDED: u64 = 1;

impl Sink<'_, '_> {
    /// The instant, which is Kafka's where there is none.
    fn instant(&self, nanos: u64) -> Result<EventTime, Malformed> {
        match nanos {
            0 => self.input.record_time(),
            nanos => time::checked(EventTime::from_millis(nanos / 1_000_000)),
        }
    }

    pub(super) fn point(
        &mut self,
        resource: &[Attribute<'_>],
        name: &str,
        point: &DataPoint<'_>,
    ) -> Result<(), Malformed> {
        if name.is_empty() {
            return Err(Malformed::new(Reason::MissingField, "a metric without `name`"));
        }
        if point.flags & NOT_RECORDED != 0 {
            self.out.no_numbers += 1;
            return Ok(());
        }
        let points = &mut self.codec.points;
        points.begin(self.out);
        for (field, number) in &point.numbers {
            points.number(field, *number, self.series, self.out)?;
        }
        if points.is_empty(self.out) {
            return Ok(());
        }
        let event_time = self.instant(point.nanos)?;
        let chosen = resource.iter().filter(|(name, _)| {
            matches!(name.as_ref(), "host.name" | "service.name")
                || self.codec.resource_labels.iter().any(|label| **label == **name)
        });
        let mut texts: SmallVec<[(&str, Cow<'_, str>); 16]> = SmallVec::new();
        let own: &[Attribute<'_>] = &point.attributes;
        for (name, value) in chosen.chain(own) {
            if texts.len() >= LABELS_MAX {
                return Err(Malformed::new(
                    Reason::TooLarge,
                    format!("more than {LABELS_MAX} attributes of a point"),
                ));
            }
            let value = value.text();
            if !value.is_empty() {
                texts.push((label(name), value));
            }
        }
        // The point's own come last, and of a repeated name the last one counts.
        let mut labels: SmallVec<[(&str, &str); 16]> =
            texts.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let id = intern(name, &mut labels, self.series)?;
        self.codec.points.end(id, event_time, self.input, self.out)
    }

    pub(super) fn log(
        &mut self,
        resource: &[Attribute<'_>],
        log: &LogRecord<'_>,
    ) -> Result<(), Malformed> {
        if self.lines as usize >= POINTS_MAX {
            return Err(Malformed::new(
                Reason::TooLarge,
                format!("more than {POINTS_MAX} log records"),
            ));
        }
        let nanos = if log.nanos > 0 { log.nanos } else { log.observed_nanos };
        let level = level_of(log);
        let message = log.body.text();
        if nanos == 0 && level.is_none() && message.is_empty() && log.attributes.is_empty() {
            return Err(Malformed::new(
                Reason::MissingField,
                "a log record with neither a time nor a severity nor a body nor attributes",
            ));
        }
        let named = |name: &str| {
            let found = resource.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.text()).filter(|text| !text.is_empty())
        };
        let mut extra = Extra::default();
        for (name, value) in resource {
            if !matches!(name.as_ref(), "host.name" | "service.name") {
                extra.json(name.as_ref(), value.json());
            }
        }
        for (name, value) in &log.attributes {
            extra.json(name.as_ref(), value.json());
        }
        for (name, text) in
            [("trace.id", &log.trace), ("span.id", &log.span), ("event.name", &log.event)]
        {
            if !text.is_empty() {
                extra.text(name, text);
            }
        }
        let line = LogLine {
            partition: self.input.partition,
            offset: self.input.record.offset,
            index: self.lines,
            generation: 0,
            event_time: self.instant(nanos)?,
            level: level.unwrap_or_default(),
            host: named("host.name").unwrap_or(Cow::Borrowed(UNKNOWN)).as_ref().into(),
            service: named("service.name").unwrap_or(Cow::Borrowed(UNKNOWN)).as_ref().into(),
            message: message.as_ref().into(),
            extra: extra.finish(),
        };
        self.lines += 1;
        self.codec.lines.push(line, self.series, self.out)
    }
}

/// The label that an attribute becomes.
fn label(name: &str) -> &str {
    match name {
        "host.name" => "host",
        "service.name" => "service",
        name => name,
    }
}

/// The level of a log record, if it says one.
fn level_of(log: &LogRecord<'_>) -> Option<Level> {
    match log.severity {
        1..=4 => Some(Level::Trace),
        5..=8 => Some(Level::Debug),
        9..=12 => Some(Level::Info),
        13..=16 => Some(Level::Warn),
        17..=20 => Some(Level::Error),
        21..=24 => Some(Level::Fatal),
        _ if log.severity_text.is_empty() => None,
        _ => Some(level::from_word(log.severity_text.trim()).unwrap_or_default()),
    }
}
