//! Tumbling windows over a stream in memory: response times of two services, in windows of ten seconds.
//!
//! Records come out of order. One of them is late and corrects a window that has fired already; another
//! is too late even for that, and comes back in `dropped`.
//!
//! ```text
//! cargo run -p tidewatch-examples --example tumbling_window
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::aggregate::Moments;
use tidewatch_operators::keyed::{Keyed, Tumbling, TumblingConfig};
use timely::dataflow::operators::{Input, Inspect};

/// What the stream's sender promises when it sends a record (no earlier record will follow), the record's
/// service and second, and its response time in milliseconds.
const RECORDS: [(u64, &str, u64, f64); 9] = [
    (0, "shop", 3, 20.0),
    (0, "shop", 1, 40.0),
    (0, "login", 7, 5.0),
    (5, "shop", 12, 30.0),
    (5, "shop", 8, 30.0),
    (12, "shop", 14, 50.0),
    (12, "shop", 9, 130.0), // Late: the window from 0 to 10 s has fired.
    (31, "login", 33, 7.0),
    (31, "shop", 2, 9_999.0), // Too late: more than 20 s after its window's end.
];

fn main() -> anyhow::Result<()> {
    let config =
        TumblingConfig { size: Duration::from_secs(10), allowed_lateness: Duration::from_secs(20) };
    let told = timely::execute_directly(move |worker| -> anyhow::Result<Vec<String>> {
        let (lines, late) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
        let mut input = worker.dataflow::<EventTime, _, _>(|scope| -> anyhow::Result<_> {
            let (input, records) = scope.new_input();
            let output = records.tumbling::<Moments>("response_time", config)?;
            let told = Rc::clone(&lines);
            output.firings.inspect(move |firing| {
                let seconds = |time: EventTime| time.as_millis() / 1_000;
                let (from, to) = (seconds(firing.window.start), seconds(firing.window.end));
                let now = firing.value;
                let before = firing.former.map(|former| format!(", was {:.0}", former.mean()));
                told.borrow_mut().push(format!(
                    "{} {from}..{to} s: {} requests, mean {:.0} ms{}",
                    firing.group,
                    now.count,
                    now.mean(),
                    before.unwrap_or_default(),
                ));
            });
            let told = Rc::clone(&late);
            output.dropped.inspect(move |dropped| {
                let record = &dropped.record;
                told.borrow_mut().push(format!("{} {:?} dropped", record.key, record.time));
            });
            Ok(input)
        })?;
        for (promise, service, second, millis) in RECORDS {
            input.advance_to(EventTime::from_millis(promise * 1_000));
            let time = EventTime::from_millis(second * 1_000);
            input.send(Keyed::new(service.to_owned(), time, millis));
            input.flush();
            worker.step();
        }
        input.close();
        while worker.step() {}
        Ok([lines.take(), late.take()].concat())
    })?;

    told.iter().for_each(|line| println!("{line}"));
    assert_eq!(
        told,
        [
            "login 0..10 s: 1 requests, mean 5 ms",
            "shop 0..10 s: 3 requests, mean 30 ms",
            "shop 0..10 s: 4 requests, mean 55 ms, was 30",
            "shop 10..20 s: 2 requests, mean 40 ms",
            "login 30..40 s: 1 requests, mean 7 ms",
            "shop 2000ms dropped",
        ]
    );
    Ok(())
}
