//! The active incidents: a differential collection derived from the transition log.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use differential_dataflow::AsCollection;
use differential_dataflow::VecCollection;
use tidewatch_dataflow::alert::{Incident, IncidentId, Severity, Transition, TransitionKind};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTimestamp;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

/// Groups with more labels than this are matched with the inventory by their first ones only: the
/// subsets of six labels are 63 look-ups for one incident.
const MATCHED_LABELS_MAX: usize = 6;

/// The incidents that are open: +1 for an opening, -1 when it ends.
///
/// All transitions of an incident must come from one worker, the opening before its end, at the same or an
/// earlier time; a transition told twice counts once. An incident that opens and ends at one time is never
/// seen here, which is why people are told from the log.
///
/// State: one [`Incident`] for each that is open, on the worker its identity hashes to.
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
    log.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(
        Exchange::new(|transition: &Transition| transition.incident.0),
        "alert/active",
        |_, _| {
            // The opening of each incident that is open: what its end takes back.
            let mut open: BTreeMap<IncidentId, Incident> = BTreeMap::new();
            move |input, output| {
                input.for_each(|capability, transitions| {
                    let Some(time) = capability.least().cloned() else { return };
                    let mut session = output.session(&capability);
                    for transition in transitions.drain(..) {
                        match transition.kind {
                            TransitionKind::Opened => {
                                if let Entry::Vacant(place) = open.entry(transition.incident) {
                                    let incident = place.insert(incident(transition)).clone();
                                    session.give((incident, time.clone(), 1isize));
                                }
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

/// Each incident with what the inventory knows of its group: the labels of every entry whose match is
/// contained in the group. Where two entries say different things, the one that matches more labels holds.
///
/// `inventory` holds pairs of labels that must match and the labels they bring. A differential join: a
/// change of either side changes exactly what it touches. An incident without entry keeps empty labels.
///
/// ```
/// use differential_dataflow::input::Input;
/// use tidewatch_dataflow::alert::*;
/// use tidewatch_dataflow::{series::Labels, time::EventTime};
/// use tidewatch_operators::alert::with_inventory;
/// use timely::dataflow::operators::{Capture, capture::Extract};
/// let labels = |text: &str| Labels::from_pairs(text.split(',').filter_map(|p| p.split_once('=')));
/// let incident = |group: &str| Incident {
///     id: IncidentId::new("cpu", &labels(group), EventTime::MIN),
///     rule: "cpu".into(),
///     group: labels(group),
///     severity: Severity::Critical,
///     started_at: EventTime::MIN,
///     opened_at: EventTime::MIN,
///     value: Reading(95.0),
///     summary: "usage_active above 90".into(),
/// };
/// let (web, db) = (incident("host=web-1,dc=eu"), incident("host=db-1,dc=us"));
/// let seen = timely::execute_directly(move |worker| {
///     worker.dataflow::<u64, _, _>(|scope| {
///         let incidents = scope.new_collection_from([web, db]).1;
///         let inventory = scope.new_collection_from([
///             (labels("dc=eu"), labels("owner=europe,tier=2")),
///             (labels("host=web-1,dc=eu"), labels("owner=web-team")),
///         ]).1;
///         with_inventory(incidents, inventory).consolidate().inner.capture()
///     })
/// });
/// let mut told: Vec<String> = seen
///     .extract()
///     .into_iter()
///     .flat_map(|(_, changes)| changes)
///     .map(|((incident, known), _, diff)| format!("{} {known} {diff:+}", incident.group))
///     .collect();
/// told.sort();
/// assert_eq!(told, ["dc=eu,host=web-1 owner=web-team,tier=2 +1", "dc=us,host=db-1  +1"]);
/// ```
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
    unknown.concat(known).reduce(|_incident, entries, known| {
        // Entries come sorted, the least specific first, and the last pair of a name wins.
        let pairs = entries.iter().flat_map(|((_, labels), _)| labels.iter());
        known.push((Labels::from_pairs(pairs), 1isize));
    })
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

/// How many incidents are open, by rule and severity. A pair without open incidents is absent.
///
/// ```
/// use differential_dataflow::input::Input;
/// use tidewatch_dataflow::alert::*;
/// use tidewatch_dataflow::{series::Labels, time::EventTime};
/// use tidewatch_operators::alert::open_counts;
/// use timely::dataflow::operators::{Capture, capture::Extract};
/// let incident = |id: u64| Incident {
///     id: IncidentId(id),
///     rule: "cpu".into(),
///     group: Labels::default(),
///     severity: Severity::Critical,
///     started_at: EventTime::MIN,
///     opened_at: EventTime::MIN,
///     value: Reading(95.0),
///     summary: "usage_active above 90".into(),
/// };
/// let seen = timely::execute_directly(move |worker| {
///     worker.dataflow::<u64, _, _>(|scope| {
///         let incidents = scope.new_collection_from([incident(1), incident(2)]).1;
///         open_counts(incidents).consolidate().inner.capture()
///     })
/// });
/// let counts: Vec<_> = seen.extract().into_iter().flat_map(|(_, counts)| counts).collect();
/// assert_eq!(counts, [((("cpu".into(), Severity::Critical), 2), 0, 1)]);
/// ```
pub fn open_counts<T: EventTimestamp>(
    incidents: VecCollection<'_, T, Incident>,
) -> VecCollection<'_, T, ((Box<str>, Severity), isize)> {
    incidents.map(|incident| (incident.rule, incident.severity)).count()
}
