//! What the codecs of log lines share: collecting what is left over, and finishing a line.

use std::borrow::Cow;
use std::collections::HashMap;

use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::{Decoded, LOG_FIELD, LOG_MEASUREMENT, LogLine, Point};
use tidewatch_dataflow::series::SeriesTable;

use super::fields::FieldCache;
use super::json::push_string;
use super::{check_labels, column_end, table_full};

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

/// Appends `line` and the point that counts it.
pub(super) fn push_line(
    line: LogLine,
    names: &mut FieldCache,
    series: &mut SeriesTable,
    out: &mut Decoded,
) -> Result<(), Malformed> {
    let mut labels =
        [("level", line.level.as_str()), ("service", &*line.service), ("host", &*line.host)];
    check_labels(LOG_MEASUREMENT, &labels)?;
    let id = series.intern(LOG_MEASUREMENT, &mut labels).map_err(table_full)?;
    let field = names.id(LOG_FIELD, series).map_err(table_full)?;
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
