//! The collections of active incidents against sets worked out anew for every instant.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use differential_dataflow::input::Input as _;
use proptest::prelude::*;
use tidewatch_dataflow::alert::{
    EndReason, Incident, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::alert::{active_incidents, open_counts, with_inventory};
use timely::dataflow::operators::{Input as _, Inspect};

/// Instants are 0 to this.
const LAST: u64 = 8;

/// One incident: when it opens, for how long it is open if it ends, its group, its rule.
#[derive(Clone, Debug)]
struct Plan {
    opened: u64,
    lasts: Option<u64>,
    group: Labels,
    rule: &'static str,
    is_told_twice: bool,
}

/// One entry of the inventory: when it comes, for how long it stays, what must match, what it brings.
type Listing = (u64, Option<u64>, Labels, Labels);

fn labels() -> impl Strategy<Value = Labels> {
    let label = |name: &'static str| {
        prop_oneof![Just(None), Just(Some((name, "a"))), Just(Some((name, "b")))]
    };
    (label("host"), label("dc"), label("app"))
        .prop_map(|(host, dc, app)| Labels::from_pairs([host, dc, app].into_iter().flatten()))
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let rule = prop_oneof![Just("cpu"), Just("errors")];
    let plan = (0..LAST, prop::option::of(0..LAST), labels(), rule, any::<bool>());
    let plan = plan.prop_map(|(opened, lasts, group, rule, is_told_twice)| Plan {
        opened,
        lasts,
        group,
        rule,
        is_told_twice,
    });
    prop::collection::vec(plan, 0..8)
}

fn inventory() -> impl Strategy<Value = Vec<Listing>> {
    let known = (prop::option::of(0..3u8), prop::option::of(0..3u8)).prop_map(|(owner, tier)| {
        let owner = owner.map(|owner| ("owner", owner.to_string()));
        let tier = tier.map(|tier| ("tier", tier.to_string()));
        Labels::from_pairs(owner.into_iter().chain(tier))
    });
    prop::collection::vec((0..LAST, prop::option::of(1..LAST), labels(), known), 0..8)
}

fn incident(index: usize, plan: &Plan) -> Incident {
    Incident {
        id: IncidentId(index as u64),
        rule: plan.rule.into(),
        group: plan.group.clone(),
        severity: Severity::Warning,
        started_at: EventTime::MIN,
        opened_at: EventTime::from_millis(plan.opened),
        value: Reading(1.0),
        summary: "told".into(),
    }
}

/// What is told of an incident at `now`.
fn transitions(index: usize, plan: &Plan, now: u64) -> Vec<Transition> {
    let told = |kind, at| Transition {
        decided_at: EventTime::from_millis(now),
        incident: IncidentId(index as u64),
        sequence: u32::from(kind != TransitionKind::Opened),
        kind,
        rule: plan.rule.into(),
        group: plan.group.clone(),
        severity: Severity::Warning,
        started_at: EventTime::MIN,
        at: EventTime::from_millis(at),
        value: Reading(1.0),
        summary: "told".into(),
    };
    let mut all = Vec::new();
    if plan.opened == now {
        all.push(told(TransitionKind::Opened, plan.opened));
        if plan.is_told_twice {
            all.push(told(TransitionKind::Opened, plan.opened));
        }
    }
    if plan.lasts.is_some_and(|lasts| plan.opened + lasts == now) {
        all.push(told(TransitionKind::Ended(EndReason::Recovered), now));
    }
    all
}

fn is_there(from: u64, lasts: Option<u64>, now: u64) -> bool {
    from <= now && lasts.is_none_or(|lasts| now < from + lasts)
}

/// What is open at `now`, with what the inventory then knows of it.
fn expected(plans: &[Plan], inventory: &[Listing], now: u64) -> BTreeSet<(Incident, Labels)> {
    let open = plans.iter().enumerate().filter(|(_, p)| is_there(p.opened, p.lasts, now));
    open.map(|(index, plan)| {
        let mut known: Vec<(usize, &Labels)> = inventory
            .iter()
            .filter(|(from, lasts, ..)| is_there(*from, *lasts, now))
            .filter(|(_, _, wanted, _)| !wanted.is_empty())
            .filter(|(_, _, wanted, _)| wanted.iter().all(|(n, v)| plan.group.get(n) == Some(v)))
            .map(|(_, _, wanted, brings)| (wanted.iter().count(), brings))
            .collect();
        known.sort();
        let known = Labels::from_pairs(known.iter().flat_map(|(_, brings)| brings.iter()));
        (incident(index, plan), known)
    })
    .collect()
}

/// A collection's changes, as seen on all workers.
type Changes<D> = Arc<Mutex<Vec<(D, u64, isize)>>>;

/// The collection as of `now`.
fn as_of<D: Ord + Clone>(changes: &Changes<D>, now: u64) -> BTreeMap<D, isize> {
    let mut sums = BTreeMap::new();
    for (data, time, diff) in changes.lock().unwrap().iter() {
        if *time <= now {
            *sums.entry(data.clone()).or_insert(0) += diff;
        }
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn oracle_active_incidents(plans in plans(), inventory in inventory(), workers in 1..4usize) {
        let known: Changes<(Incident, Labels)> = Changes::default();
        let counted: Changes<((Box<str>, Severity), isize)> = Changes::default();
        let (log, entries) = (plans.clone(), inventory.clone());
        let (seen, counts) = (Arc::clone(&known), Arc::clone(&counted));
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (seen, counts) = (Arc::clone(&seen), Arc::clone(&counts));
            let (mut told, mut listed) = worker.dataflow::<u64, _, _>(|scope| {
                let (told, stream) = scope.new_input();
                let (listed, inventory) = scope.new_collection();
                let active = active_incidents(stream);
                open_counts(active.clone()).inner.inspect(move |c| counts.lock().unwrap().push(c.clone()));
                with_inventory(active, inventory).inner.inspect(move |c| seen.lock().unwrap().push(c.clone()));
                (told, listed)
            });
            for now in 0..=LAST {
                told.advance_to(now);
                listed.advance_to(now);
                for (index, plan) in log.iter().enumerate() {
                    if index % workers == worker.index() {
                        told.send_batch(&mut transitions(index, plan, now));
                    }
                }
                for (index, (from, lasts, wanted, brings)) in entries.iter().enumerate() {
                    if index % workers == worker.index() {
                        let entry = (wanted.clone(), brings.clone());
                        if *from == now {
                            listed.insert(entry.clone());
                        }
                        if lasts.is_some_and(|lasts| from + lasts == now) {
                            listed.remove(entry);
                        }
                    }
                }
                listed.flush();
                worker.step();
            }
        });
        for result in guards.unwrap().join() {
            result.unwrap();
        }
        for now in 0..=LAST {
            let open = expected(&plans, &inventory, now);
            let mut by_rule = BTreeMap::new();
            for (incident, _) in &open {
                *by_rule.entry((incident.rule.clone(), incident.severity)).or_insert(0isize) += 1;
            }
            let open: BTreeMap<_, _> = open.into_iter().map(|known| (known, 1)).collect();
            prop_assert_eq!(as_of(&known, now), open, "at {}", now);
            let by_rule: BTreeMap<_, _> = by_rule.into_iter().map(|count| (count, 1)).collect();
            prop_assert_eq!(as_of(&counted, now), by_rule, "at {}", now);
        }
    }
}
