//! One ordered log out of many workers' outputs.

use std::collections::BTreeMap;

use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::StopFlag;
use crate::time::EventTimestamp;

/// Brings all items to worker 0 and hands them on in order of (time, item), each time once it is complete.
///
/// What waits is what lies ahead of the frontier. A stop hands out nothing more.
///
/// ```
/// use tidewatch_dataflow::operator::{StopFlag, in_order};
/// use timely::dataflow::operators::{Capture, Input, capture::Extract};
/// let seen = timely::execute_directly(|worker| {
///     let (mut input, seen) = worker.dataflow::<u64, _, _>(|scope| {
///         let (input, stream) = scope.new_input::<Vec<u32>>();
///         (input, in_order(stream, "log", StopFlag::default()).capture())
///     });
///     input.send(7);
///     input.send(3);
///     input.advance_to(1);
///     input.send(1);
///     seen
/// });
/// let items: Vec<u32> = seen.extract().into_iter().flat_map(|(_, items)| items).collect();
/// assert_eq!(items, [3, 7, 1]);
/// ```
pub fn in_order<'scope, T, D>(
    stream: StreamVec<'scope, T, D>,
    name: &str,
    stop: StopFlag,
) -> StreamVec<'scope, T, D>
where
    T: EventTimestamp,
    D: ExchangeData + Ord,
{
    stream.unary_frontier(Exchange::new(|_| 0), name, move |capability, _info| {
        drop(capability);
        let mut waiting: BTreeMap<T, (_, Vec<D>)> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|capability, items| {
                if let Some(held) = capability.retain_least(0) {
                    let (_, list) =
                        waiting.entry(held.time().clone()).or_insert_with(|| (held, Vec::new()));
                    list.append(items);
                }
            });
            while let Some(entry) = waiting.first_entry()
                && !frontier.less_equal(entry.key())
                && !stop.is_stopped()
            {
                let (held, mut items) = entry.remove();
                items.sort();
                output.session(&held).give_iterator(items.into_iter());
            }
        }
    })
}
