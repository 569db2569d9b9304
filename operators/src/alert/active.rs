//! The active incidents: a differential collection derived from the transition log.

use differential_dataflow::AsCollection;
use differential_dataflow::VecCollection;
use tidewatch_dataflow::alert::{Incident, Severity, Transition, TransitionKind};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTimestamp;
use timely::dataflow::StreamVec;

/// Groups with more labels than this are matched with the inventory by their first ones only: the
/// subsets of six labels are 63 look-ups for one incident.
const MATCHED_LABELS_MAX: usize = 6;

/// The incidents that are open: +1 for an opening, -1 when it ends.
///
/// The log must hold an opening before its end, at the same or an earlier time. An incident that opens and
/// ends at one time is never seen here, which is why people are told from the log.
///
/// ```
/// use tidewatch_dataflow::alert::*;
/// use tidewatch_dataflow::{series::Labels, time::EventTime};
/// use tidewatch_operators::alert::active_incidents;
/// use timely::dataflow::operators::{Capture, Input, capture::Extract};
/// let opening = Transition {
///     decided_at: EventTime::from_millis(10_000),
///     incident: IncidentId(7),
///     sequence: 0,
///     kind: TransitionKind::Opened,
///     rule: "cpu".into(),
///     group: Labels::from_pairs([("host", "web-1")]),
///     severity: Severity::Critical,
///     started_at: EventTime::from_millis(1_000),
///     at: EventTime::from_millis(9_000),
///     value: Reading(95.0),
///     summary: "usage_active above 90".into(),
/// };
/// let end = Transition {
///     kind: TransitionKind::Ended(EndReason::Recovered),
///     sequence: 1,
///     ..opening.clone()
/// };
/// let seen = timely::execute_directly(move |worker| {
///     let (mut log, seen) = worker.dataflow::<u64, _, _>(|scope| {
///         let (log, stream) = scope.new_input();
///         (log, active_incidents(stream).consolidate().inner.capture())
///     });
///     log.send(opening);
///     log.advance_to(20_000);
///     log.send(end);
///     seen
/// });
/// let changes: Vec<_> = seen.extract().into_iter().flat_map(|(_, changes)| changes).collect();
/// let diffs: Vec<_> = changes.iter().map(|(incident, time, diff)| (incident.id, *time, *diff)).collect();
/// assert_eq!(diffs, [(IncidentId(7), 0, 1), (IncidentId(7), 20_000, -1)]);
/// ```
pub fn active_incidents<'scope, T: EventTimestamp>(
    log: StreamVec<'scope, T, Transition>,
) -> VecCollection<'scope, T, Incident> {
    use timely::dataflow::channels::pact::Pipeline;
    use timely::dataflow::operators::Operator;
    log.unary::<timely::container::CapacityContainerBuilder<Vec<_>>, _, _, _>(
        Pipeline,
        "alert/active",
        |_, _| {
            // The opening of each incident that is open: what its end takes back.
            let mut open = std::collections::BTreeMap::new();
            move |input, output| {
                input.for_each(|capability, transitions| {
                    let Some(time) = capability.least().cloned() else { return };
                    let mut session = output.session(&capability);
                    for transition in transitions.drain(..) {
                        match transition.kind {
                            TransitionKind::Opened => {
                                let incident = incident(transition);
                                session.give((incident.clone(), time.clone(), 1isize));
                                open.insert(incident.id, incident);
                            }
                            TransitionKind::Ended(_) => {
                                if let Some(incident) = open.remove(&transition.incident) {
                                    session.give((incident, time.clone(), -1));
                                }
                            }
                        }
                    }
                });
            }
        },
    )
    .as_collection()
}

fn incident(opening: Transition) -> Incident {
    let Transition { incident: id, rule, group, severity, started_at, at, value, summary, .. } =
        opening;
    Incident { id, rule, group, severity, started_at, opened_at: at, value, summary }
}

/// Each incident with what the inventory knows of its group: the labels of the most specific entry whose
/// match is contained in the group, or none.
///
/// `inventory` holds pairs of labels that must match and the labels they bring. A differential join: a
/// change of either side changes exactly what it touches.
pub fn with_inventory<'scope, T: EventTimestamp>(
    incidents: VecCollection<'scope, T, Incident>,
    inventory: VecCollection<'scope, T, (Labels, Labels)>,
) -> VecCollection<'scope, T, (Incident, Labels)> {
    let unknown = incidents.clone().map(|incident| (incident, (0usize, Labels::default())));
    let known = incidents
        .flat_map(|incident| subsets(&incident.group).map(move |part| (part, incident.clone())))
        .join_map(inventory, |wanted, incident, labels| {
            (incident.clone(), (wanted.iter().count(), labels.clone()))
        });
    unknown
        .concat(known)
        .reduce(|_incident, entries, chosen| {
            // Entries come sorted: the last has the most matching labels.
            if let Some(((_, labels), _)) = entries.last() {
                chosen.push((labels.clone(), 1isize));
            }
        })
        .map(|(incident, labels)| (incident, labels))
}

/// All non-empty subsets of the labels of a group.
fn subsets(group: &Labels) -> impl Iterator<Item = Labels> + use<> {
    let pairs: Vec<(String, String)> = group
        .iter()
        .take(MATCHED_LABELS_MAX)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    (1u32..1 << pairs.len()).map(move |mask| {
        let chosen = pairs.iter().enumerate().filter(|(i, _)| mask & (1 << i) != 0);
        Labels::from_pairs(chosen.map(|(_, (name, value))| (name, value)))
    })
}

/// How many incidents are open, by rule and severity.
pub fn open_counts<T: EventTimestamp>(
    incidents: VecCollection<'_, T, Incident>,
) -> VecCollection<'_, T, ((Box<str>, Severity), isize)> {
    incidents.map(|incident| (incident.rule, incident.severity)).count()
}
