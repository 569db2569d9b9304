//! The timely side that all keyed operators share: admit, exchange, gather, drive.

use std::hash::Hasher;

use rustc_hash::FxHasher;
use tidewatch_dataflow::operator::{PaneMachine, StopFlag, apply_panes};
use tidewatch_dataflow::time::{EventTime, EventTimestamp, Pane, PaneSize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::gather::Gather;
use super::{Dropped, Key, Keyed};
use crate::aggregate::Value;
use crate::group::{Grouped, LiveGroups};

/// A stream of what `M` says, by key.
pub(super) type Told<'scope, T, K, M> =
    StreamVec<'scope, T, <<M as PaneMachine>::Output as Grouped>::Named<K>>;

/// Records that came too late.
pub(super) type Late<'scope, T, K, V> = StreamVec<'scope, T, Dropped<K, V>>;

/// Records that did not.
type Admitted<'scope, T, K, V> = StreamVec<'scope, T, Keyed<K, V>>;

/// A machine with all that a shell needs to know of it.
pub(super) struct Operator<M, L, F> {
    /// Its name in logs: `kind/instance`.
    pub(super) name: String,
    pub(super) machine: M,
    /// Whether something of the first pane, admitted in the second, is not to be admitted.
    pub(super) is_too_late: L,
    /// Folds the records of one key and pane.
    pub(super) fold: F,
}

/// Runs `operator` over `records`. Returns what it says and what came too late.
pub(super) fn run<'scope, T, K, V, M, L, F>(
    records: StreamVec<'scope, T, Keyed<K, V>>,
    operator: Operator<M, L, F>,
) -> (Told<'scope, T, K, M>, Late<'scope, T, K, V>)
where
    T: EventTimestamp,
    K: Key,
    V: Value,
    M: PaneMachine + LiveGroups,
    M::Output: Grouped,
    <M::Output as Grouped>::Named<K>: Clone + 'static,
    L: Fn(Pane, Pane) -> bool + 'static,
    F: FnMut(Pane, &mut dyn Iterator<Item = (EventTime, V)>) -> Option<M::Partial> + 'static,
{
    let Operator { name, machine, is_too_late, fold } = operator;
    let (admitted, dropped) = divide(records, &name, machine.pane_size(), is_too_late);
    let by_key = Exchange::new(|record: &Keyed<K, V>| {
        let mut hasher = FxHasher::default();
        record.key.hash(&mut hasher);
        hasher.finish()
    });
    let gather = Gather::new(machine, fold);
    let told = apply_panes(
        admitted,
        by_key,
        &name,
        StopFlag::default(),
        gather,
        |stamp, record, inbox, gather| gather.admit(stamp, record, inbox),
    );
    (told, dropped)
}

/// Parts what can be admitted from what comes too late, before it crosses workers. Holds no capability.
fn divide<'scope, T, K, V>(
    records: StreamVec<'scope, T, Keyed<K, V>>,
    name: &str,
    size: PaneSize,
    is_too_late: impl Fn(Pane, Pane) -> bool + 'static,
) -> (Admitted<'scope, T, K, V>, Late<'scope, T, K, V>)
where
    T: EventTimestamp,
    K: Key,
    V: Value,
{
    let mut builder = OperatorBuilder::new(format!("{name}/admit"), records.scope());
    let mut input = builder.new_input(records, Pipeline);
    let (admitted, admitted_stream) = builder.new_output();
    let (dropped, dropped_stream) = builder.new_output();
    let mut admitted = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(admitted);
    let mut dropped = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(dropped);
    builder.build(move |capabilities| {
        drop(capabilities);
        move |_frontiers| {
            let (mut admitted, mut dropped) = (admitted.activate(), dropped.activate());
            input.for_each(|capability, batch| {
                let stamp = capability.least().map_or(EventTime::MIN, EventTimestamp::event_time);
                let (mut late, mut kept) = (Vec::new(), admitted.session(&capability));
                for record in batch.drain(..) {
                    let admission_time = record.time.max(stamp);
                    if is_too_late(size.pane(record.time), size.pane(admission_time)) {
                        late.push(Dropped { record, admission_time });
                    } else {
                        kept.give(record);
                    }
                }
                if !late.is_empty() {
                    dropped.session(&capability).give_iterator(late.into_iter());
                }
            });
        }
    });
    (admitted_stream, dropped_stream)
}
