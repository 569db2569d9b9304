//! What the codecs of log lines share: collecting what is left over, and finishing a line.

use std::borrow::Cow;
use std::collections::HashMap;

use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::{Decoded, LOG_FIELD, LOG_MEASUREMENT, LogLine, Point};
use tidewatch_dataflow::series::{SeriesId, SeriesTable};

use super::fields::FieldCache;
use super::json::push_string;
use super::{SourceFormat, check_labels, column_end, table_full};

/// What a line that does not name its host or service is counted under.
pub(super) const UNKNOWN: &str = "unknown";

/// Collects what a line says besides its time, level, host, service and text: names, and values as JSON.
#[derive(Default)]
pub(super) struct Extra<'a>(Vec<(Cow<'a, str>, String)>);

impl<'a> Extra<'a> {
    /// Adds a text.
    pub(super) fn text(&mut self, name: impl Into<Cow<'a, str>>, text: &str) {
        let mut json = String::with_capacity(text.len() + 2);
        push_string(&mut json, text);
        self.json(name, json);
    }

    /// Adds JSON on one line.
    pub(super) fn json(&mut self, name: impl Into<Cow<'a, str>>, json: String) {
        self.0.push((name.into(), json));
    }

    /// One JSON object, empty when there is nothing; of a repeated name the last value, at the last place.
    pub(super) fn finish(self) -> Box<str> {
        let mut last: HashMap<&str, usize> = HashMap::new();
        // Comparing all pairs is quicker than hashing for the few that a line has.
        let few = self.0.len() <= 16;
        if !few {
            last.extend(self.0.iter().enumerate().map(|(at, (name, _))| (name.as_ref(), at)));
        }
        let mut object = String::new();
        for (at, (name, json)) in self.0.iter().enumerate() {
            let repeated = if few {
                self.0.iter().skip(at + 1).any(|(other, _)| other == name)
            } else {
                last.get(name.as_ref()).is_some_and(|last| *last != at)
            };
            if repeated {
                continue;
            }
            object.push(if object.is_empty() { '{' } else { ',' });
            push_string(&mut object, name);
            object.push(':');
            object.push_str(json);
        }
        if !object.is_empty() {
            object.push('}');
        }
        object.into()
    }
}

/// Which labels the series of log lines have. A label that no statistic and no rule asks for tells apart only series
/// that all end in the same groups, and costs a series for each of its values: a fleet of 100,000 hosts has as many.
/// The lines themselves, as they go to a store, always have all three.
///
/// ```
/// use tidewatch_connectors::codec::LogLabels;
/// let mut labels = LogLabels::NONE;
/// labels.add("service");
/// labels.add("shop");
/// assert_eq!(labels, LogLabels { service: true, ..LogLabels::NONE });
/// assert!(labels.has("service") && !labels.has("host"));
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LogLabels {
    /// How serious a line is.
    pub level: bool,
    /// What wrote it.
    pub service: bool,
    /// Where.
    pub host: bool,
}

impl LogLabels {
    /// All of them.
    pub const ALL: LogLabels = LogLabels { level: true, service: true, host: true };
    /// None of them: all lines are one series.
    pub const NONE: LogLabels = LogLabels { level: false, service: false, host: false };

    /// Adds the label `name`, if log lines have it.
    pub fn add(&mut self, name: &str) {
        match name {
            "level" => self.level = true,
            "service" => self.service = true,
            "host" => self.host = true,
            _ => {}
        }
    }

    /// Whether the series have the label `name`; they have all but those of the three that were left out.
    pub fn has(&self, name: &str) -> bool {
        match name {
            "level" => self.level,
            "service" => self.service,
            "host" => self.host,
            _ => true,
        }
    }
}

/// All of them.
impl Default for LogLabels {
    fn default() -> Self {
        LogLabels::ALL
    }
}

/// Finishes log lines.
pub(super) struct LineWriter {
    names: FieldCache,
    labels: LogLabels,
}

impl LineWriter {
    /// For the lines of `source`.
    pub(super) fn new(source: &SourceFormat) -> Self {
        // What a record carries is added to the whole labels, and they are cut after that.
        let cut_later = !source.record_labels.is_empty();
        let labels = if cut_later { LogLabels::ALL } else { source.log_labels };
        LineWriter { names: FieldCache::default(), labels }
    }

    /// Appends `line` and the point that counts it.
    pub(super) fn push(
        &mut self,
        line: LogLine,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let id = self.series_of(&line, series)?;
        let field = self.names.id(LOG_FIELD, series).map_err(table_full)?;
        let start = column_end(out.values.len());
        out.values.push((field, 1.0));
        out.points.push(Point {
            series: id,
            event_time: line.event_time,
            admission_time: line.event_time,
            unread: 0,
            offset: line.offset,
            values: start..column_end(out.values.len()),
        });
        out.logs.push(line);
        Ok(())
    }

    fn series_of(&self, line: &LogLine, series: &mut SeriesTable) -> Result<SeriesId, Malformed> {
        // In order of their names, which is how a series has them.
        let all =
            [("host", &*line.host), ("level", line.level.as_str()), ("service", &*line.service)];
        // What is refused does not depend on what is asked for.
        check_labels(LOG_MEASUREMENT, &all)?;
        let LogLabels { level, service, host } = self.labels;
        let asked = all.into_iter().zip([host, level, service]).filter(|(_, asked)| *asked);
        let mut labels: SmallVec<[(&str, &str); 3]> = asked.map(|(label, _)| label).collect();
        series.intern(LOG_MEASUREMENT, &mut labels).map_err(table_full)
    }
}
