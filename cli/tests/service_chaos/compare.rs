//! The rules at the end: the disturbed run has left what the undisturbed one has, and nobody was told
//! anything twice without a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::history::{Event, Excuse};
use crate::left::{CHANNELS, Left, Told};

/// How long the receipt of a message may take to become durable: a death later than that after a message
/// explains no repetition.
const RECEIPT_WITHIN: Duration = Duration::from_secs(3);
/// Arrivals are known to be at most this much earlier than noted.
const CLOCK: Duration = Duration::from_millis(500);

/// What differs between what must be and what is, without regard to how often somebody was told.
pub fn differences(expected: &Left, found: &Left) -> Vec<String> {
    let mut faults = compare("point", &expected.points, &found.points);
    faults.extend(compare("document", &expected.documents, &found.documents));
    faults.extend(compare("alert", &expected.alerts, &found.alerts));
    let letters = |left: &Left| {
        let letters = left.letters.keys();
        letters.map(|l| ((l.origin.clone(), l.reason.clone()), l.value.clone())).collect()
    };
    let (expected_letters, found_letters): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (letters(expected), letters(found));
    faults.extend(compare("dead letter", &expected_letters, &found_letters));
    for ((channel, expected), found) in CHANNELS.iter().zip(&expected.told).zip(&found.told) {
        let once = |told: &[Told]| -> BTreeMap<(String, bool), String> {
            let all = told.iter();
            all.map(|t| ((t.incident.clone(), t.is_opening), t.text.clone())).collect()
        };
        faults.extend(compare(channel, &once(expected), &once(found)));
    }
    faults
}

fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, value) in expected {
        match found.get(key) {
            Some(other) if other == value => {}
            Some(other) => {
                faults
                    .push(format!("{what} {key:?} is\n      {other:?}, expected\n      {value:?}"));
            }
            None => faults.push(format!("{what} {key:?} is missing: {value:?}")),
        }
    }
    let extra = found.iter().filter(|(key, _)| !expected.contains_key(key));
    faults.extend(extra.map(|(key, value)| format!("{what} {key:?} is too much: {value:?}")));
    faults
}

/// In what way the alerts in the store are not what people were told.
pub fn unlike_told(left: &Left) -> Vec<String> {
    let told = left.told[1].iter().map(|told| (told.incident.clone(), told.is_opening));
    let told: BTreeSet<_> = told.collect();
    let stored = left.alerts.values().map(|source| {
        let source: serde_json::Value = serde_json::from_str(source).unwrap_or_default();
        let incident = source["alert"]["incident"].as_str().unwrap_or_default();
        (incident.to_owned(), source["event"]["action"] == "opened")
    });
    let stored: BTreeSet<_> = stored.collect();
    let word = |is_opening: &bool| if *is_opening { "opening" } else { "end" };
    let missing = told.difference(&stored).map(|(incident, is_opening)| {
        format!("the {} of {incident} was told and is no alert in the store", word(is_opening))
    });
    let silent = stored.difference(&told).map(|(incident, is_opening)| {
        format!("the {} of {incident} is an alert in the store and was not told", word(is_opening))
    });
    missing.chain(silent).collect()
}

/// How often each channel was told something again, and what was wrong in what it was told.
#[derive(Debug, Default, PartialEq)]
pub struct Telling {
    /// Repetitions, by channel.
    pub repeated: [usize; 3],
    pub faults: Vec<String>,
}

/// Checks each channel by itself: every opening is closed once and in that order, and repetitions are
/// the same message and have their reason in `events`.
pub fn check_telling(left: &Left, events: &[Event]) -> Telling {
    let mut telling = Telling::default();
    for (place, channel) in CHANNELS.iter().enumerate() {
        let told = &left.told[place];
        let mut first: BTreeMap<(&str, bool), &Told> = BTreeMap::new();
        let lost = events.iter().map(|event| match event.excuses {
            Excuse::LostAnswers(at, count) if at == place => count,
            _ => 0,
        });
        let mut lost: usize = lost.sum();
        let mut fault = |text: String| telling.faults.push(format!("{channel}: {text}"));
        for message in told {
            let (incident, is_opening) = message.id();
            let word = if is_opening { "opening" } else { "end" };
            if is_opening && first.contains_key(&(incident, false)) {
                fault(format!("the opening of {incident} came after its end: {}", message.text));
            }
            if !is_opening && !first.contains_key(&(incident, true)) {
                fault(format!("the end of {incident} came before its opening: {}", message.text));
            }
            let Some(before) = first.insert((incident, is_opening), message) else { continue };
            telling.repeated[place] += 1;
            if before.text != message.text {
                let (one, other) = (&before.text, &message.text);
                fault(format!(
                    "the {word} of {incident} came twice and changed: {one}\n      {other}"
                ));
            }
            let died =
                |event: &Event| event.excuses == Excuse::Death && explains(event, before.arrived);
            if events.iter().any(died) {
                continue;
            }
            match lost.checked_sub(1) {
                Some(fewer) => lost = fewer,
                None => fault(format!(
                    "the {word} of {incident} came twice, {:.1} s apart, and nothing had died: {}",
                    message.arrived.duration_since(before.arrived).as_secs_f64(),
                    message.text
                )),
            }
        }
        let closed: BTreeSet<_> = first.keys().filter(|(_, opening)| !opening).collect();
        let open = first.keys().filter(|(incident, _)| !closed.contains(&(*incident, false)));
        let open: Vec<_> =
            open.map(|(incident, _)| format!("{incident} was never closed")).collect();
        open.into_iter().for_each(fault);
    }
    telling
}

/// Whether a message that arrived then may have been without receipt when the program died.
fn explains(event: &Event, arrived: Instant) -> bool {
    event.to + CLOCK >= arrived && event.from <= arrived + RECEIPT_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::left::Letter;

    fn told(incident: &str, is_opening: bool, arrived: Instant) -> Told {
        let text = format!("{incident} {is_opening}");
        Told { incident: incident.to_owned(), is_opening, text, arrived }
    }

    fn after(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    fn death(at: Instant) -> Event {
        Event { from: at, to: at, what: "kill".to_owned(), excuses: Excuse::Death }
    }

    fn faults(slack: Vec<Told>, events: &[Event]) -> (usize, usize) {
        let left = Left { told: [slack, Vec::new(), Vec::new()], ..Left::default() };
        let telling = check_telling(&left, events);
        (telling.repeated[0], telling.faults.len())
    }

    #[test]
    fn repetitions_need_a_death_right_after_the_first() {
        let begin = Instant::now();
        let twice = |apart: u64| {
            vec![
                told("a", true, after(begin, 10)),
                told("a", true, after(begin, 10 + apart)),
                told("a", false, after(begin, 50)),
            ]
        };
        assert_eq!(faults(twice(5), &[death(after(begin, 11))]), (1, 0));
        assert_eq!(faults(twice(5), &[death(after(begin, 9))]), (1, 1), "died before");
        assert_eq!(
            faults(twice(20), &[death(after(begin, 20))]),
            (1, 1),
            "the receipt was durable"
        );
        assert_eq!(faults(twice(5), &[]), (1, 1));
        let lost = Event { excuses: Excuse::LostAnswers(0, 1), ..death(begin) };
        assert_eq!(faults(twice(5), &[lost]), (1, 0));
        let elsewhere = Event { excuses: Excuse::LostAnswers(1, 1), ..death(begin) };
        assert_eq!(faults(twice(5), &[elsewhere]), (1, 1));
    }

    #[test]
    fn openings_are_closed_in_order() {
        let begin = Instant::now();
        assert_eq!(faults(vec![told("a", true, begin), told("a", false, begin)], &[]), (0, 0));
        assert_eq!(faults(vec![told("a", true, begin)], &[]), (0, 1), "never closed");
        assert_eq!(faults(vec![told("a", false, begin)], &[]), (0, 1), "never opened");
        let again = vec![told("a", true, begin), told("a", false, begin), told("a", true, begin)];
        assert_eq!(faults(again, &[death(begin)]), (1, 1), "opened after its end");
    }

    #[test]
    fn alerts_in_the_store_are_those_that_were_told() {
        let alert = |incident: &str, action: &str| {
            let source =
                serde_json::json!({"alert": {"incident": incident}, "event": {"action": action}});
            (format!("{incident} {action}"), source.to_string())
        };
        let now = Instant::now();
        let pagerduty = vec![told("a", true, now), told("a", false, now), told("b", true, now)];
        let told = [Vec::new(), pagerduty, Vec::new()];
        let alerts = [alert("a", "opened"), alert("a", "ended"), alert("b", "opened")];
        let left = Left { told, alerts: BTreeMap::from(alerts), ..Left::default() };
        assert_eq!(unlike_told(&left), [""; 0]);
        let alerts =
            BTreeMap::from([alert("a", "opened"), alert("a", "ended"), alert("b", "ended")]);
        let faults = unlike_told(&Left { alerts, ..left });
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("the opening of b was told"), "{faults:?}");
        assert!(faults[1].starts_with("the end of b is an alert"), "{faults:?}");
    }

    #[test]
    fn what_is_missing_too_much_or_changed_is_found() {
        let point = |name: &str, mean: &str| {
            let fields = BTreeMap::from([("mean".to_owned(), mean.to_owned())]);
            (name.to_owned(), fields)
        };
        let letter = |reason: &str| Letter {
            origin: "cpu-0-1".to_owned(),
            reason: reason.to_owned(),
            value: String::new(),
        };
        let expected = Left {
            points: BTreeMap::from([point("a", "1"), point("b", "2")]),
            letters: BTreeMap::from([(letter("late"), 1)]),
            ..Left::default()
        };
        assert_eq!(differences(&expected, &expected), [""; 0]);
        let found = Left {
            points: BTreeMap::from([point("b", "2.1"), point("c", "2")]),
            letters: BTreeMap::from([(letter("late"), 7)]),
            ..Left::default()
        };
        let faults = differences(&expected, &found).join("\n");
        assert_eq!(faults.matches("point").count(), 3, "{faults}");
        assert_eq!(faults.matches("missing").count(), 1, "{faults}");
        assert_eq!(faults.matches("too much").count(), 1, "{faults}");
        assert_eq!(differences(&found, &expected).len(), 3, "letters may be repeated");
    }
}
