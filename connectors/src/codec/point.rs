//! What the codecs of measurements do with a finished point.

use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, Point};
use tidewatch_dataflow::series::{SeriesId, SeriesTable};
use tidewatch_dataflow::time::EventTime;

use super::fields::FieldCache;
use super::{FIELDS_MAX, Input, POINTS_MAX, check_labels, column_end, table_full};

/// Collects the numbers of one point after another, each field once: of a repeated one the last counts.
#[derive(Default)]
pub(super) struct PointWriter {
    names: FieldCache,
    /// For each field number: in which point it was last seen, and where its value stands. Finds a repeated
    /// field in one step. Grows to the number of field names, 65,536 * 8 bytes at the most.
    seen: Vec<(u32, u32)>,
    /// The number of the present point.
    point: u32,
    /// Where its values begin.
    start: usize,
    /// How many points the present record has.
    of_record: usize,
}

impl PointWriter {
    /// Begins a record.
    pub(super) fn begin_record(&mut self) {
        self.of_record = 0;
    }

    /// Begins a point.
    pub(super) fn begin(&mut self, out: &Decoded) {
        self.point = match self.point.checked_add(1) {
            Some(next) => next,
            None => {
                // After four billion points the numbers begin anew: forget the old ones.
                self.seen.clear();
                1
            }
        };
        self.start = out.values.len();
    }

    /// Appends a number. One that is not finite says that there is none, and is counted and
    /// passed over.
    pub(super) fn number(
        &mut self,
        name: &str,
        number: f64,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        if !number.is_finite() {
            out.no_numbers += 1;
            return Ok(());
        }
        let id = self.names.id(name, series).map_err(table_full)?;
        let index = id.0 as usize;
        if index >= self.seen.len() {
            self.seen.resize(index + 1, (0, 0));
        }
        let Some(seen) = self.seen.get_mut(index) else { return Ok(()) };
        if seen.0 == self.point {
            if let Some(value) = out.values.get_mut(seen.1 as usize) {
                value.1 = number;
            }
            return Ok(());
        }
        if out.values.len() - self.start >= FIELDS_MAX {
            return Err(Malformed::new(Reason::TooLarge, format!("more than {FIELDS_MAX} fields")));
        }
        *seen = (self.point, column_end(out.values.len()));
        out.values.push((id, number));
        Ok(())
    }

    /// Whether the present point has no number yet.
    pub(super) fn is_empty(&self, out: &Decoded) -> bool {
        out.values.len() == self.start
    }

    /// Ends the point as one of `series`. Must have a number.
    pub(super) fn end(
        &mut self,
        id: SeriesId,
        event_time: EventTime,
        input: &Input<'_>,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        self.of_record += 1;
        if self.of_record > POINTS_MAX {
            return Err(Malformed::new(
                Reason::TooLarge,
                format!("more than {POINTS_MAX} metrics"),
            ));
        }
        out.points.push(Point {
            series: id,
            event_time,
            admission_time: event_time,
            unread: 0,
            offset: input.record.offset,
            values: column_end(self.start)..column_end(out.values.len()),
        });
        Ok(())
    }
}

/// The number of a series, after its bounds were checked. Sorts `labels`.
pub(super) fn intern(
    measurement: &str,
    labels: &mut [(&str, &str)],
    series: &mut SeriesTable,
) -> Result<SeriesId, Malformed> {
    check_labels(measurement, labels)?;
    series.intern(measurement, labels).map_err(table_full)
}
