//! What both log codecs do with a finished line.

use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::{Decoded, LOG_FIELD, LOG_MEASUREMENT, LogLine, Point};
use tidewatch_dataflow::series::SeriesTable;

use super::fields::FieldCache;
use super::{check_labels, column_end, table_full};

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
        offset: line.offset,
        values: start..column_end(out.values.len()),
    });
    out.logs.push(line);
    Ok(())
}
