//! What two ways to the same end must have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::time::EventTime;

use super::sink::{Fields, PointKey};
use super::world::Outcome;

/// Compares what was delivered up to `end`, what is open, and what was counted. Nothing may have been told, not
/// even for a while, that the straight run does not tell.
pub fn same(straight: &Outcome, disturbed: &Outcome, end: EventTime) -> Result<(), String> {
    same_in_the_end(straight, disturbed, end)?;
    same_all_the_time(straight, disturbed, end)
}

/// As [`same`], but a run that died may have told more, which its successor did not know and takes nothing back
/// of.
pub fn same_in_the_end(
    straight: &Outcome,
    disturbed: &Outcome,
    end: EventTime,
) -> Result<(), String> {
    let (one, two) = (&straight.delivered, &disturbed.delivered);
    same_map("log lines", &one.logs, &two.logs)?;
    same_map("dead letters", &one.letters, &two.letters)?;
    same_map("raw points", &one.raw, &two.raw)?;
    if one.raw.is_empty() && !one.points.is_empty() {
        return Err("no raw points were handed out at all".to_owned());
    }
    let last = |points: BTreeMap<PointKey, Vec<Fields>>| -> BTreeMap<_, _> {
        points.into_iter().map(|(key, mut values)| (key, values.pop())).collect()
    };
    same_map("points", &last(points(straight, end)), &last(points(disturbed, end)))?;
    let (ones, twos) = (transitions(straight, end), transitions(disturbed, end));
    let told =
        |(id, one): &(_, &BTreeSet<_>)| twos.get(*id).is_some_and(|two| two.is_superset(one));
    if let Some((id, one)) = ones.iter().find(|pair| !told(pair)) {
        return Err(format!("transition {id}: {one:?} and {:?}", twos.get(id)));
    }
    if straight.active != disturbed.active {
        return Err(format!("active: {:?} and {:?}", straight.active, disturbed.active));
    }
    if straight.counted != disturbed.counted {
        return Err(format!("counted: {:?} and {:?}", straight.counted, disturbed.counted));
    }
    Ok(())
}

fn same_all_the_time(
    straight: &Outcome,
    disturbed: &Outcome,
    end: EventTime,
) -> Result<(), String> {
    let known = points(straight, end);
    for (key, values) in points(disturbed, end) {
        let known = &known[&key];
        if let Some(odd) = values.iter().find(|value| !known.contains(value)) {
            return Err(format!("point {key:?} had the value {odd:?}, of {known:?} none"));
        }
    }
    same_map("transitions", &transitions(straight, end), &transitions(disturbed, end))
}

fn points(of: &Outcome, end: EventTime) -> BTreeMap<PointKey, Vec<Fields>> {
    let points = of.delivered.points.iter().filter(|((_, _, time), _)| *time <= end.as_millis());
    points.map(|(key, values)| (key.clone(), values.clone())).collect()
}

fn transitions(of: &Outcome, end: EventTime) -> BTreeMap<String, BTreeSet<Transition>> {
    let all = of.delivered.transitions.iter();
    let upto = all.filter(|(_, contents)| contents.iter().all(|t| t.decided_at <= end));
    upto.map(|(id, contents)| (id.clone(), contents.clone())).collect()
}

/// Equal maps, or the first few differences.
fn same_map<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    one: &BTreeMap<K, V>,
    two: &BTreeMap<K, V>,
) -> Result<(), String> {
    let keys = one.keys().chain(two.keys().filter(|key| !one.contains_key(key)));
    let differing = keys.filter(|key| one.get(key) != two.get(key));
    let texts: Vec<_> = differing
        .map(|key| {
            format!(
                "\n  {key:?}\n    straight:  {:?}\n    disturbed: {:?}",
                one.get(key),
                two.get(key)
            )
        })
        .collect();
    if texts.is_empty() {
        return Ok(());
    }
    let first: String = texts.iter().take(4).map(String::as_str).collect();
    Err(format!("{} {what} differ (of {} and {}):{first}", texts.len(), one.len(), two.len()))
}
