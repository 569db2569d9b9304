//! What each process of a cluster takes over.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::alert::{IncidentId, Reading, Severity, Transition, TransitionKind};
use tidewatch_dataflow::checkpoint::{
    Cut, PieceContent, Recovery, Restored, RestoredState, Shard, encode,
};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime};

use super::outlets::{Opening, Outlets};
use crate::config::{Inventory, PipelineConfig, parse};
use crate::notify::{Decision, Notifier, NotifierState};
use crate::page::{LiveConfig, LiveState};
use crate::pipeline::{Outputs as _, PipelineCounters, Resumption};

fn at(minutes: u64) -> EventTime {
    EventTime::from_millis(minutes * 60_000)
}

fn opening(host: &str, minute: u64) -> Transition {
    let group = Labels::from_pairs([("host", host)]);
    Transition {
        decided_at: at(minute),
        incident: IncidentId::new("cpu", &group, at(minute)),
        sequence: 0,
        kind: TransitionKind::Opened,
        rule: "cpu".into(),
        group,
        severity: Severity::Critical,
        started_at: at(minute),
        at: at(minute),
        value: Reading(95.0),
        summary: "usage_active above 90".into(),
    }
}

fn config() -> PipelineConfig {
    let text = r#"
[kafka]
brokers = ["localhost:9092"]
[[sources]]
topic = "t"
[[rules]]
name = "cpu"
kind = "sustained"
measurement = "cpu"
field = "usage_active"
group_by = ["host"]
above = 90
for = "1m"
receivers = ["oncall"]
[receivers.oncall]
console = true
"#;
    parse(text, "tidewatch.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// An opening that is held back, and one that was told.
fn state() -> NotifierState {
    let receivers = [("cpu".into(), vec!["oncall".to_owned()])];
    let mut notifier = Notifier::new(receivers, Inventory::default(), Duration::from_secs(900));
    assert_eq!(notifier.decide(opening("old", 10), at(100)), Decision::Held);
    assert!(matches!(notifier.decide(opening("new", 99), at(100)), Decision::Tell { .. }));
    notifier.snapshot()
}

/// What the notifier of a process goes on from.
fn taken_over(process: usize) -> NotifierState {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    let clock = Clock::manual(at(100));
    let config = config();
    let opening = Opening {
        store: None,
        live: LiveState::new(LiveConfig { clock: clock.clone(), ..LiveConfig::of(&config) }),
        clock,
        counters: Arc::new(PipelineCounters::default()),
        observer: None,
    };
    let outlets = Outlets::new(&config, opening, runtime.handle());
    let recovery = Recovery::new(Shard::ALL, Arc::default());
    let alerts = recovery.participant("alerts");
    let cut = |sequence| Cut { sequence, at: at(100) };
    let pieces = || recovery.take_complete().unwrap().1.remove(0).1;
    recovery.announce(cut(1));
    alerts.put(|pieces| pieces.put("notifier", &state()));
    let operators = [("alerts".into(), Restored::from_pieces("alerts", vec![pieces()]))];
    let state = Arc::new(RestoredState { at: at(100), operators: operators.into() });
    let resumption = Resumption { state, process: (process, 2), ..Resumption::default() };
    outlets.resume(&resumption).unwrap();
    recovery.announce(cut(2));
    alerts.put(|pieces| outlets.put(pieces));
    let pieces = pieces();
    let found = pieces.iter().find(|piece| &*piece.name == "notifier").unwrap();
    let PieceContent::New(bytes) = &found.content else { panic!("{found:?}") };
    let known = [state_of_a_beginner(), self::state()];
    known.into_iter().find(|state| encode(state) == *bytes).unwrap()
}

fn state_of_a_beginner() -> NotifierState {
    Notifier::new([], Inventory::default(), Duration::ZERO).snapshot()
}

#[test]
fn only_the_first_process_takes_over_what_people_were_told() {
    assert_eq!(taken_over(0), state());
    // It hears of no transitions: it would end what the first goes on with, and release what the first releases.
    assert_eq!(taken_over(1), state_of_a_beginner());
}
