//! What two ways to the same end must have in common.

use std::collections::BTreeMap;
use std::fmt::Debug;

use tidewatch_dataflow::time::EventTime;

use super::sink::{Fields, PointKey};
use super::world::Outcome;

/// Compares what was delivered up to `end`, what is open, and what was counted.
pub fn same(straight: &Outcome, disturbed: &Outcome, end: EventTime) -> Result<(), String> {
    let (one, two) = (&straight.delivered, &disturbed.delivered);
    same_map("log lines", &one.logs, &two.logs)?;
    same_map("dead letters", &one.letters, &two.letters)?;
    let upto = end.as_millis();
    let points = |of: &Outcome| -> BTreeMap<_, _> {
        let points = of.delivered.points.iter().filter(|((_, _, time), _)| *time <= upto);
        points.map(|(key, values)| (key.clone(), values.clone())).collect()
    };
    let (ones, twos) = (points(straight), points(disturbed));
    let last = |points: &BTreeMap<PointKey, Vec<Fields>>| -> BTreeMap<_, _> {
        points.iter().map(|(key, values)| (key.clone(), values.last().cloned())).collect()
    };
    same_map("points", &last(&ones), &last(&twos))?;
    for (key, values) in &twos {
        // A value that was never true may not have been written, not even for a while.
        let known = &ones[key];
        if let Some(odd) = values.iter().find(|value| !known.contains(value)) {
            return Err(format!("point {key:?} had the value {odd:?}, of {known:?} none"));
        }
    }
    let transitions = |of: &Outcome| -> BTreeMap<_, _> {
        let all = of.delivered.transitions.iter();
        all.filter(|(_, t)| t.iter().all(|t| t.decided_at <= end))
            .map(|(id, t)| (id.clone(), t.clone()))
            .collect()
    };
    same_map("transitions", &transitions(straight), &transitions(disturbed))?;
    if let Some(two) = two.transitions.values().find(|contents| contents.len() > 1) {
        return Err(format!("a transition with two contents: {two:?}"));
    }
    if straight.active != disturbed.active {
        return Err(format!("active: {:?} and {:?}", straight.active, disturbed.active));
    }
    if straight.counted != disturbed.counted {
        return Err(format!("counted: {:?} and {:?}", straight.counted, disturbed.counted));
    }
    Ok(())
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
