//! One value for all workers, said by worker 0 before anything else is built.

use std::cell::RefCell;
use std::rc::Rc;

use timely::ExchangeData;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandleVec, ProbeHandle};
use timely::worker::Worker;

/// Tells every worker what worker 0 says. Called on every worker, with `say` called on worker 0 only; blocks
/// until it has been heard.
///
/// ```
/// use tidewatch_dataflow::operator::agree;
/// let heard = timely::execute(timely::Config::process(2), |worker| {
///     agree(worker, || "begin".to_owned())
/// });
/// for worker in heard.unwrap().join() {
///     assert_eq!(worker.unwrap().as_deref(), Some("begin"));
/// }
/// ```
pub fn agree<T: ExchangeData + Clone>(worker: &mut Worker, say: impl FnOnce() -> T) -> Option<T> {
    let mut input = InputHandleVec::<u64, T>::new();
    let probe = ProbeHandle::new();
    let heard = Rc::new(RefCell::new(None));
    let hears = Rc::clone(&heard);
    worker.dataflow_named::<u64, _, _>("agree", |scope| {
        let said = input.to_stream(scope).broadcast();
        said.inspect(move |value| *hears.borrow_mut() = Some(value.clone())).probe_with(&probe);
    });
    if worker.index() == 0 {
        input.send(say());
    }
    input.close();
    while !probe.done() {
        worker.step_or_park(None);
    }
    heard.take()
}
