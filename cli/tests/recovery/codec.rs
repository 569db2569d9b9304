//! Records as text: `host field time value`, `log host time`, `bad`, `poison`.

use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{Decoded, Level, LogLine, Point, RecordBatch};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_dataflow::time::EventTime;

/// Samples of before `from` are of another measurement, so that nothing selects them.
pub struct TestCodec {
    pub from: EventTime,
}

impl Codec for TestCodec {
    fn decode(&mut self, batch: &RecordBatch<'_>, series: &mut SeriesTable, out: &mut Decoded) {
        for record in batch.records {
            let text = std::str::from_utf8(record.value.unwrap()).unwrap();
            let words: Vec<_> = text.split(' ').collect();
            let (host, field, time, value) = match words.as_slice() {
                ["log", host, time] => (*host, "lines", *time, "1"),
                [host, field, time, value] => (*host, *field, *time, *value),
                ["poison"] => panic!("a record to pass over was read"),
                _ => {
                    let why = Malformed::new(Reason::Unparseable, text);
                    out.reject(out.mark(), record.offset, why);
                    continue;
                }
            };
            let time = EventTime::from_millis(time.parse().unwrap());
            let dc = if host.ends_with(['0', '2']) { "east" } else { "west" };
            let measurement = if time < self.from { "past" } else { "m" };
            let series_id = series.intern(measurement, &mut [("host", host), ("dc", dc)]).unwrap();
            let field_id = series.intern_field(field).unwrap();
            let first = out.values.len() as u32;
            out.values.push((field_id, value.parse().unwrap()));
            out.points.push(Point {
                series: series_id,
                event_time: time,
                admission_time: time,
                unread: 0,
                offset: record.offset,
                values: first..first + 1,
            });
            if field == "lines" {
                out.logs.push(LogLine {
                    partition: batch.partition,
                    offset: record.offset,
                    index: 0,
                    generation: 0,
                    event_time: time,
                    level: Level::Error,
                    host: host.into(),
                    service: "test".into(),
                    message: text.into(),
                    extra: "".into(),
                });
            }
        }
    }
}
