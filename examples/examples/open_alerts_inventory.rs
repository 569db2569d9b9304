//! Open alerts joined with an inventory, both changing: a differential view of who owns what is broken.
//!
//! The log of transitions says what opens and ends. The inventory says whose a host is, and a change of it
//! changes the view of an alert that is open already, without anything being told anew.
//!
//! ```text
//! cargo run -p tidewatch-examples --example open_alerts_inventory
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::input::Input as _;
use tidewatch_dataflow::alert::{
    EndReason, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::alert::{active_incidents, open_counts, with_inventory};
use timely::dataflow::operators::{Input as _, Probe};

/// `owner=web-team,tier=1` as labels.
fn labels(text: &str) -> Labels {
    Labels::from_pairs(text.split(',').filter_map(|pair| pair.split_once('=')))
}

/// What a detector would say of `group` at minute `minute`.
fn transition(minute: u64, group: &str, kind: TransitionKind) -> Transition {
    let (group, at) = (labels(group), EventTime::from_millis(minute * 60_000));
    let started_at = EventTime::MIN;
    Transition {
        decided_at: at,
        incident: IncidentId::new("cpu_sustained", &group, started_at),
        sequence: u32::from(kind != TransitionKind::Opened),
        kind,
        rule: "cpu_sustained".into(),
        group,
        severity: Severity::Critical,
        started_at,
        at,
        value: Reading(97.0),
        summary: "usage_active above 90 for 5m".into(),
    }
}

fn main() {
    let told = timely::execute_directly(|worker| {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let (mut log, mut inventory, probe) = worker.dataflow::<EventTime, _, _>(|scope| {
            let (log, transitions) = scope.new_input();
            let (inventory, entries) = scope.new_collection();
            let active = active_incidents(transitions);
            let counts = open_counts(active.clone());
            let told = Rc::clone(&lines);
            let known = with_inventory(active, entries).consolidate().inspect(
                move |((incident, known), time, diff)| {
                    let minute = time.as_millis() / 60_000;
                    let sign = if *diff > 0 { '+' } else { '-' };
                    let line = format!("minute {minute}: {sign} {} [{known}]", incident.group);
                    told.borrow_mut().push(line);
                },
            );
            let told = Rc::clone(&lines);
            let counts = counts.consolidate().inspect(move |(((rule, _), open), time, diff)| {
                let minute = time.as_millis() / 60_000;
                if *diff > 0 {
                    told.borrow_mut().push(format!("minute {minute}: {open} open of {rule}"));
                }
            });
            let (probe, _) = counts.inner.probe();
            known.inner.probe_with(&probe);
            (log, inventory, probe)
        });

        let opened = TransitionKind::Opened;
        let ended = TransitionKind::Ended(EndReason::Recovered);
        inventory.insert((labels("dc=eu"), labels("owner=europe,tier=2")));
        inventory.insert((labels("host=web-1"), labels("owner=web-team")));
        for minute in 0..5 {
            match minute {
                0 => {
                    log.send(transition(minute, "host=web-1,dc=eu", opened));
                    log.send(transition(minute, "host=db-1,dc=us", opened));
                }
                1 => inventory.insert((labels("host=db-1"), labels("owner=data-team,tier=1"))),
                2 => {
                    inventory.remove((labels("host=web-1"), labels("owner=web-team")));
                    inventory.insert((labels("host=web-1"), labels("owner=platform")));
                }
                3 => log.send(transition(minute, "host=db-1,dc=us", ended)),
                _ => {}
            }
            let next = EventTime::from_millis((minute + 1) * 60_000);
            log.advance_to(next);
            inventory.advance_to(next);
            inventory.flush();
            while probe.less_than(&next) {
                worker.step();
            }
            // Inside a minute, changes come in no particular order.
            lines.borrow_mut().sort();
        }
        lines.take()
    });

    told.iter().for_each(|line| println!("{line}"));
    assert_eq!(
        told,
        [
            "minute 0: + dc=eu,host=web-1 [owner=web-team,tier=2]",
            "minute 0: + dc=us,host=db-1 []",
            "minute 0: 2 open of cpu_sustained",
            "minute 1: + dc=us,host=db-1 [owner=data-team,tier=1]",
            "minute 1: - dc=us,host=db-1 []",
            "minute 2: + dc=eu,host=web-1 [owner=platform,tier=2]",
            "minute 2: - dc=eu,host=web-1 [owner=web-team,tier=2]",
            "minute 3: - dc=us,host=db-1 [owner=data-team,tier=1]",
            "minute 3: 1 open of cpu_sustained",
        ]
    );
}
