//! Raw points: what was read, on its way to a store before anything is computed of it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use tidewatch_dataflow::ingest::PointBatch;
use tidewatch_dataflow::metric::{FieldNames, Fields, MetricPoint};
use tidewatch_dataflow::record::LOG_MEASUREMENT;
use tidewatch_dataflow::series::{FieldId, SeriesTable};
use tidewatch_dataflow::time::EventTime;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use super::outputs::Outputs;

/// Which points are handed out as they were read.
///
/// Lines of logs are none of them: they have stores of their own.
///
/// ```
/// use tidewatch::pipeline::RawPoints;
///
/// let all = RawPoints::default();
/// assert!(all.takes("cpu") && !all.takes("log"));
/// let some = RawPoints::of(["mem"]);
/// assert!(some.takes("mem") && !some.takes("cpu"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawPoints {
    /// Empty: all.
    measurements: BTreeSet<String>,
}

impl RawPoints {
    /// Those of `measurements`; of all, when it names none.
    pub fn of<M: Into<String>>(measurements: impl IntoIterator<Item = M>) -> Self {
        RawPoints { measurements: measurements.into_iter().map(Into::into).collect() }
    }

    /// Whether points of `measurement` are handed out.
    pub fn takes(&self, measurement: &str) -> bool {
        let is_named = self.measurements.is_empty() || self.measurements.contains(measurement);
        is_named && measurement != LOG_MEASUREMENT
    }
}

/// Hands out the points of `batches` that `which` takes, and passes all of them on: whatever is behind has seen a
/// batch only after its raw points were handed out.
///
/// Points come once for each time they are read, late ones too, at their event time. Their identity is that of every
/// metric point, so one that is read again after a restart overwrites itself.
pub(super) fn hand_out<'scope>(
    batches: StreamVec<'scope, EventTime, PointBatch>,
    which: RawPoints,
    series: Rc<RefCell<SeriesTable>>,
    outputs: Arc<dyn Outputs>,
) -> StreamVec<'scope, EventTime, PointBatch> {
    let mut names = KnownNames::default();
    batches.unary::<CapacityContainerBuilder<Vec<PointBatch>>, _, _, _>(
        Pipeline,
        "sink/raw",
        move |_, _| {
            move |input, output| {
                input.for_each(|capability, batches| {
                    for batch in batches.iter() {
                        let points = points(batch, &which, &series.borrow(), &mut names);
                        if !points.is_empty() {
                            outputs.raw(points);
                        }
                    }
                    output.session(&capability).give_container(batches);
                });
            }
        },
    )
}

/// So many names of fields are kept in all: at about 64 bytes each, 4 MB.
const NAMES_MAX: usize = 65_536;

/// Names for the numbers of fields, shared by all points with the same fields.
#[derive(Default)]
struct KnownNames {
    known: HashMap<Box<[FieldId]>, FieldNames>,
    /// How many names `known` holds.
    held: usize,
    /// The fields that are looked for.
    ids: Vec<FieldId>,
}

impl KnownNames {
    /// The names of the fields of `values`, all of which have one.
    fn of<'a>(
        &mut self,
        values: impl Iterator<Item = &'a (FieldId, f64)>,
        series: &SeriesTable,
    ) -> FieldNames {
        self.ids.clear();
        self.ids.extend(values.map(|(id, _)| *id));
        if let Some(names) = self.known.get(&*self.ids) {
            return names.clone();
        }
        let names = self.ids.iter().map(|id| series.field(*id).unwrap_or_default());
        let names = FieldNames::new(names);
        self.held += names.len().max(1);
        if self.held > NAMES_MAX {
            self.known.clear();
            self.held = names.len().max(1);
        }
        self.known.insert(self.ids.as_slice().into(), names.clone());
        names
    }
}

/// The points of `batch` that `which` takes, with names for numbers; `names` keeps those of fields.
fn points(
    batch: &PointBatch,
    which: &RawPoints,
    series: &SeriesTable,
    names: &mut KnownNames,
) -> Vec<MetricPoint> {
    let mut points = Vec::new();
    for point in &batch.decoded.points {
        let Some(of) = series.series(point.series) else { continue };
        if !which.takes(&of.measurement) {
            continue;
        }
        let values = batch.decoded.values_of(point).iter();
        let values = values.filter(|(id, _)| series.field(*id).is_some());
        let point = MetricPoint {
            measurement: Arc::clone(&of.measurement),
            labels: of.labels.clone(),
            time: point.event_time,
            fields: Fields::new(names.of(values.clone(), series), values.map(|(_, value)| *value)),
            is_correction: false,
        };
        if !point.fields.is_empty() {
            points.push(point);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflow::record::{Decoded, PartitionId, Point};

    use super::*;

    #[test]
    fn points_have_the_names_labels_and_times_that_they_came_with() {
        let mut series = SeriesTable::new(10);
        let mut decoded = Decoded::default();
        let messages =
            [("cpu", "busy", 1), ("log", "lines", 2), ("mem", "used", 3), ("cpu", "busy", 4)];
        for (measurement, field, time) in messages {
            let of = series.intern(measurement, &mut [("host", "a")]).unwrap();
            let start = decoded.values.len() as u32;
            decoded.values.push((series.intern_field(field).unwrap(), time as f64));
            let time = EventTime::from_millis(time);
            decoded.points.push(Point {
                series: of,
                event_time: time,
                admission_time: EventTime::from_millis(99),
                unread: 0,
                offset: 0,
                values: start..start + 1,
            });
        }
        let partition = PartitionId { topic: 0, partition: 0 };
        let batch = PointBatch { partition, generation: 0, decoded };
        let taken = |which: &RawPoints| -> Vec<_> {
            let points = points(&batch, which, &series, &mut KnownNames::default());
            let seen = |point: &MetricPoint| {
                let (name, value) = point.fields.iter().next().unwrap();
                assert_eq!(point.labels.get("host"), Some("a"));
                (point.measurement.to_string(), name.to_owned(), value, point.time.as_millis())
            };
            points.iter().map(seen).collect()
        };
        let of = |measurement: &str, name: &str, time: u64| {
            (measurement.to_owned(), name.to_owned(), time as f64, time)
        };
        let all = [of("cpu", "busy", 1), of("mem", "used", 3), of("cpu", "busy", 4)];
        assert_eq!(taken(&RawPoints::default()), all);
        assert_eq!(taken(&RawPoints::of(["mem"])), all[1..2]);
        assert_eq!(taken(&RawPoints::of(["net"])), []);
    }

    #[test]
    fn names_are_those_of_the_fields_however_many_layouts_there_are() {
        let mut series = SeriesTable::new(1);
        let ids: Vec<_> =
            (0..400).map(|i| series.intern_field(&format!("f{i}")).unwrap()).collect();
        let mut names = KnownNames::default();
        for first in 0..ids.len() {
            let layout: Vec<_> =
                ids.iter().cycle().skip(first).take(200).map(|id| (*id, 0.0)).collect();
            for _ in 0..2 {
                let names = names.of(layout.iter(), &series);
                assert!(names.iter().eq(layout.iter().map(|(id, _)| series.field(*id).unwrap())));
            }
            assert!(names.held <= NAMES_MAX && !names.known.is_empty());
            assert_eq!(names.held, 200 * names.known.len());
        }
        assert!(names.known.len() < ids.len(), "some were forgotten");
    }
}
