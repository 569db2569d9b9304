//! The notifier, transition by transition, and with the outbox through crashes.

mod crash;

use super::*;
use crate::config::InventoryEntry;
use tidewatch_dataflow::alert::{EndReason, Reading, Severity};
use tidewatch_dataflow::checkpoint::encode;
use tidewatch_dataflow::series::Labels;
use tidewatch_operators::detect::burst::BurstConfig;

fn at(minutes: u64) -> EventTime {
    EventTime::from_millis(minutes * 60_000)
}

fn transition(host: &str, kind: TransitionKind, minute: u64) -> Transition {
    let group = Labels::from_pairs([("host", host)]);
    Transition {
        decided_at: at(minute),
        incident: IncidentId::new("cpu", &group, at(1)),
        sequence: u32::from(kind != TransitionKind::Opened),
        kind,
        rule: "cpu".into(),
        group,
        severity: Severity::Critical,
        started_at: at(1),
        at: at(minute),
        value: Reading(95.0),
        summary: "usage_active above 90".into(),
    }
}

fn notifier() -> Notifier {
    let receivers = [("cpu".into(), vec!["oncall".to_owned()])];
    let (matches, labels) =
        (Labels::from_pairs([("host", "a")]), Labels::from_pairs([("owner", "web")]));
    let inventory = Inventory { entries: vec![InventoryEntry { matches, labels }] };
    Notifier::new(receivers, inventory, Duration::from_secs(900))
}

const END: TransitionKind = TransitionKind::Ended(EndReason::Recovered);

/// The opening on host `a` was told to these.
struct ToldOfA(&'static [&'static str]);

impl Attempts for ToldOfA {
    fn receivers(&self, incident: IncidentId) -> Vec<String> {
        let is_a = incident == transition("a", END, 1).incident;
        self.0.iter().filter(|_| is_a).map(|name| name.to_string()).collect()
    }
}

/// Who is told, of `decision` that is to tell.
fn told(decision: &Decision) -> &[String] {
    let Decision::Tell { receivers, .. } = decision else { panic!("{decision:?}") };
    receivers
}

/// The next run, under a configuration of its own, after a crash right after a checkpoint of `before`.
fn restored(before: &Notifier, after: Notifier) -> Notifier {
    let mut after = after;
    assert_eq!(after.restore(before.snapshot()), [], "nothing was told since");
    after
}

#[test]
fn fresh_transitions_are_told_with_what_the_inventory_knows() {
    let mut notifier = notifier();
    let decision = notifier.decide(transition("a", TransitionKind::Opened, 100), at(101));
    let Decision::Tell { notification, receivers } = decision else { panic!("{decision:?}") };
    assert_eq!(notification.inventory.get("owner"), Some("web"));
    assert_eq!(receivers.as_ref(), ["oncall"]);
    assert_eq!(notifier.told(), 1);
    assert_eq!(told(&notifier.decide(transition("a", END, 102), at(103))), ["oncall"]);
    assert_eq!(notifier.told(), 0);
    assert_eq!(notifier.decide(transition("b", END, 102), at(103)), Decision::Unheard);
}

#[test]
fn history_is_summarised_and_what_is_still_open_is_told() {
    let mut notifier = notifier();
    let now = at(1_000);
    for host in ["a", "b"] {
        let opened = transition(host, TransitionKind::Opened, 100);
        assert_eq!(notifier.decide(opened, now), Decision::Held);
    }
    assert_eq!(notifier.decide(transition("b", END, 200), now), Decision::Summarised);
    assert_eq!(notifier.release(at(900), now), [], "still catching up");
    let released = notifier.release(at(990), now);
    let [Decision::Tell { notification, .. }] = released.as_slice() else { panic!("{released:?}") };
    assert_eq!(notification.transition.group.get("host"), Some("a"));
    assert_eq!(
        told(&notifier.decide(transition("a", END, 500), now)),
        ["oncall"],
        "what was told as open is told as ended, however old the end is"
    );
    assert_eq!(notifier.summarised(), 1);
}

#[test]
fn a_restored_notifier_owes_the_same_ends() {
    let mut before = notifier();
    let fresh = transition("a", TransitionKind::Opened, 100);
    assert_eq!(told(&before.decide(fresh, at(101))), ["oncall"]);
    let now = at(1_000);
    for host in ["b", "c"] {
        assert_eq!(
            before.decide(transition(host, TransitionKind::Opened, 110), now),
            Decision::Held
        );
    }
    assert_eq!(before.decide(transition("b", END, 120), now), Decision::Summarised);

    let mut after = restored(&before, notifier());
    assert_eq!(after.snapshot(), before.snapshot());
    assert_eq!(after.summarised(), 1);
    assert_eq!(told(&after.decide(transition("a", END, 130), now)), ["oncall"]);
    assert_eq!(after.decide(transition("c", END, 130), now), Decision::Summarised);
    assert_eq!(after.decide(transition("a", END, 130), now), Decision::Unheard, "once is enough");
}

#[test]
fn an_opening_told_since_the_cut_is_told_again_and_never_held() {
    let hours_later = at(1_000);
    let attempts = Arc::new(ToldOfA(&["oncall"]));
    let mut after = notifier().with_attempts(attempts.clone());
    let opened = transition("a", TransitionKind::Opened, 100);
    assert_eq!(told(&after.decide(opened.clone(), hours_later)), ["oncall"]);
    assert_eq!(told(&after.decide(transition("a", END, 110), hours_later)), ["oncall"]);
    let other = transition("b", TransitionKind::Opened, 100);
    assert_eq!(after.decide(other, hours_later), Decision::Held);

    // Held at the cut, released and told since.
    let mut before = notifier();
    for host in ["a", "b"] {
        let opened = transition(host, TransitionKind::Opened, 100);
        assert_eq!(before.decide(opened, hours_later), Decision::Held);
    }
    let mut after = notifier().with_attempts(attempts);
    let released = after.restore(before.snapshot());
    assert_eq!(released.len(), 1, "{released:?}");
    assert_eq!(told(&released[0]), ["oncall"]);
    assert_eq!(after.decide(transition("b", END, 110), hours_later), Decision::Summarised);
    assert_eq!(told(&after.decide(transition("a", END, 110), hours_later)), ["oncall"]);
}

#[test]
fn an_end_goes_to_those_whom_the_opening_was_for() {
    let mut before = notifier();
    before.decide(transition("a", TransitionKind::Opened, 100), at(101));
    let other = || {
        let rules = [("cpu".into(), vec!["platform".to_owned()])];
        Notifier::new(rules, Inventory::default(), Duration::from_secs(900))
    };
    let none = || Notifier::new([], Inventory::default(), Duration::from_secs(900));
    for after in [other(), none()] {
        let mut after = restored(&before, after);
        assert_eq!(told(&after.decide(transition("a", END, 102), at(103))), ["oncall"]);
    }

    // Told to others since the cut, under the configuration of then: both are told, and owed the end.
    let mut after = other().with_attempts(Arc::new(ToldOfA(&["oncall"])));
    let opened = transition("a", TransitionKind::Opened, 100);
    assert_eq!(told(&after.decide(opened, at(101))), ["platform", "oncall"]);
    assert_eq!(told(&after.decide(transition("a", END, 102), at(103))), ["platform", "oncall"]);
}

#[test]
fn a_rule_that_is_gone_leaves_no_opening_behind() {
    let mut before = notifier();
    let opened = transition("a", TransitionKind::Opened, 100);
    assert_eq!(before.decide(opened, at(1_000)), Decision::Held);
    let mut after =
        restored(&before, Notifier::new([], Inventory::default(), Duration::from_secs(900)));
    assert_eq!((after.release(at(1_000), at(1_000)), after.summarised()), (vec![], 1));
    assert_eq!(after.decide(transition("a", END, 110), at(1_000)), Decision::Unheard);
}

/// The opening on host `a` in minute 100 was told after the cut.
struct OpenedA;

impl Attempts for OpenedA {
    fn receivers(&self, incident: IncidentId) -> Vec<String> {
        ToldOfA(&["oncall"]).receivers(incident)
    }
    fn openings(&self) -> Vec<(EventTime, Transition)> {
        vec![(at(100), transition("a", TransitionKind::Opened, 100))]
    }
}

/// A burst within ten minutes.
fn burst() -> Detector {
    let (window, slide) = (Duration::from_secs(540), Duration::from_secs(60));
    let baseline = Duration::from_secs(3_600);
    let config = BurstConfig { window, slide, above: 5, factor: None, baseline, clear_for: slide };
    Detector::Burst(config)
}

#[test]
fn what_was_told_after_the_cut_ends_with_its_rule() {
    let gone = || Notifier::new([], Inventory::default(), Duration::from_secs(900));
    let mut after = gone().with_attempts(Arc::new(OpenedA));
    assert_eq!(after.abandon(at(99)), []);
    // A checkpoint in between knows of it.
    let mut after = restored(&after, gone().with_attempts(Arc::new(ToldOfA(&["oncall"]))));
    let ends = after.abandon(at(100));
    let [(end, decision)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!(*end, transition("a", TransitionKind::Ended(EndReason::RuleChanged), 100));
    assert_eq!(told(decision), ["oncall"]);
    assert_eq!(after.abandon(at(1_000)), [], "once");
    assert_eq!(after.snapshot(), NotifierState::default());
}

#[test]
fn a_rule_that_may_open_the_incident_again_is_waited_for() {
    let detector = burst();
    let changed =
        || notifier().with_detectors([("cpu", &detector)]).with_attempts(Arc::new(OpenedA));
    // It opens it again.
    let mut after = changed();
    assert_eq!(after.abandon(at(109)), []);
    assert_eq!(
        told(&after.decide(transition("a", TransitionKind::Opened, 109), at(1))),
        ["oncall"]
    );
    assert_eq!(after.abandon(at(1_000)), []);
    assert_eq!(told(&after.decide(transition("a", END, 1_001), at(1))), ["oncall"]);
    // It does not.
    let mut after = changed();
    let version = after.version();
    assert_eq!(told(&after.abandon(at(110))[0].1), ["oncall"]);
    assert!(after.version() > version);
    assert_eq!(after.abandon(at(1_000)), []);
}

#[test]
fn a_rule_without_receivers_costs_no_state() {
    let mut notifier =
        Notifier::new([("cpu".into(), Vec::new())], Inventory::default(), Duration::from_secs(900));
    let opened = notifier.decide(transition("a", TransitionKind::Opened, 100), at(101));
    assert_eq!(told(&opened), [""; 0]);
    assert_eq!(notifier.snapshot(), NotifierState::default());
}

/// The bounds that `NotifierState` documents.
#[test]
fn an_open_incident_takes_11_bytes_of_a_checkpoint() {
    let (mut fresh, mut old) = (notifier(), notifier());
    let hosts = 1_000_u32;
    for host in 0..hosts {
        let opened = transition(&format!("web-{host:04}"), TransitionKind::Opened, 29_756_273);
        fresh.decide(opened.clone(), at(29_756_273));
        old.decide(opened, at(29_757_273));
    }
    let size = |n: &Notifier| encode(&n.snapshot()).len() as f64 / f64::from(hosts);
    let (open, held) = (size(&fresh), size(&old));
    assert!((10.0..=11.1).contains(&open), "{open} bytes");
    assert!((60.0..=150.0).contains(&held), "{held} bytes");
    let version = fresh.version();
    assert_eq!(fresh.release(at(0), at(29_757_273)), []);
    assert_eq!(fresh.version(), version);
}
