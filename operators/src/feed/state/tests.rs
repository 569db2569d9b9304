//! Machines that are stopped, written down and restored by others, against one that is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use smallvec::SmallVec;
use tidewatch_dataflow::alert::{EndReason, Severity, Transition, TransitionKind};
use tidewatch_dataflow::checkpoint::{
    Checkpointed, Piece, PieceContent, PieceWriter, Restored, Shard, StateError,
};
use tidewatch_dataflow::ingest::Quarantined;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::operator::{Inbox, PaneMachine};
use tidewatch_dataflow::series::{Labels, worker_of};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::*;
use crate::aggregate::{Aggregate as _, Moments};
use crate::detect::anomaly::{AnomalyConfig, Direction};
use crate::detect::burst::BurstConfig;
use crate::detect::sustained::{Condition, ConditionPartial, SustainedConfig};
use crate::evaluation::{self, UnderWay};
use crate::feed::message::bucket_of;
use crate::feed::points::BLOCK_MAX;
use crate::feed::{
    Aggregate, Detector, Fault, FeedCounters, FeedMachine, FeedMessage, FeedOutput, FeedPartial,
    FeedSpec, OperatorId, RuleSpec, Selector, StatisticSpec,
};
use crate::window::WindowConfig;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn size() -> PaneSize {
    PaneSize::new(secs(10)).unwrap()
}

fn start(pane: u64) -> EventTime {
    size().start(Pane(pane))
}

fn labels(group: u32) -> Labels {
    Labels::from_pairs([("host", format!("web-{group}"))])
}

fn window(size: u64, slide: u64, late: u64) -> WindowConfig {
    WindowConfig { size: secs(size), slide: secs(slide), allowed_lateness: secs(late) }
}

fn sustained() -> SustainedConfig {
    SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 85.0,
        for_: secs(20),
        clear_for: secs(10),
        gap_tolerance: secs(25),
        pane: size(),
    }
}

fn burst() -> BurstConfig {
    BurstConfig {
        window: secs(30),
        slide: secs(10),
        above: 4,
        factor: Some(1.5),
        baseline: secs(90),
        clear_for: secs(20),
    }
}

fn anomaly() -> AnomalyConfig {
    AnomalyConfig {
        half_life: secs(120),
        warm_up: secs(40),
        score: 3.0,
        min_deviation: 5.0,
        direction: Direction::Both,
        for_: secs(20),
        pane: size(),
    }
}

fn rule(name: &str, detector: Detector) -> RuleSpec {
    RuleSpec {
        name: name.into(),
        severity: Severity::Critical,
        summary: format!("{name} speaks").into(),
        detector,
    }
}

fn spec() -> FeedSpec {
    let statistic = |name: &str, windows| StatisticSpec {
        name: name.into(),
        windows,
        aggregates: vec![Aggregate::Mean, Aggregate::Stddev, Aggregate::Min],
    };
    FeedSpec {
        selector: Selector {
            measurement: "cpu".into(),
            field: "usage".into(),
            filters: Vec::new(),
            group_by: vec!["host".into()],
        },
        pane: size(),
        statistics: vec![
            statistic("cpu", vec![window(10, 10, 0), window(60, 10, 30)]),
            statistic("slow", vec![window(40, 40, 70)]),
        ],
        rules: vec![
            rule("hot", Detector::Sustained(sustained())),
            rule("burst", Detector::Burst(burst())),
            rule("odd", Detector::Anomaly(anomaly())),
            rule(
                "cold",
                Detector::Sustained(SustainedConfig {
                    condition: Condition::Below(30.0),
                    clear: 30.0,
                    ..sustained()
                }),
            ),
        ],
    }
}

/// The fold of one group's samples of one event pane, admission pane and partition.
#[derive(Clone, Debug)]
struct Fold {
    group: u32,
    event: u64,
    admission: u64,
    order: u64,
    samples: Vec<(u64, f64)>,
}

impl Fold {
    fn message(&self, spec: &FeedSpec) -> FeedMessage {
        let values = || self.samples.iter().map(|(_, value)| *value);
        let mut conditions = SmallVec::new();
        if self.event == self.admission {
            for rule in &spec.rules {
                if let Detector::Sustained(config) = &rule.detector {
                    let at = |offset: u64| start(self.event) + Duration::from_millis(offset);
                    let samples = self.samples.iter().map(|(offset, value)| (at(*offset), *value));
                    conditions.push(ConditionPartial::of(config, Pane(self.event), samples));
                }
            }
        }
        FeedMessage::Partial {
            bucket: bucket_of(labels(self.group).stable_hash()),
            sender: 0,
            slot: self.group,
            order: self.order,
            event_pane: Pane(self.event),
            admission_pane: Pane(self.admission),
            partial: FeedPartial { moments: Moments::of(values()), conditions },
        }
    }
}

/// A machine as the shell drives it, with the pieces it has put.
struct Driven {
    machine: FeedMachine,
    inbox: Inbox<FeedPartial>,
    out: Vec<Said>,
    versions: BTreeMap<Box<str>, u64>,
    pieces: BTreeMap<Box<str>, Vec<u8>>,
}

impl Driven {
    fn new(spec: &FeedSpec) -> Self {
        Driven {
            machine: FeedMachine::try_new(Arc::new(spec.clone()), EventTime::MIN).unwrap(),
            inbox: Inbox::default(),
            out: Vec::new(),
            versions: BTreeMap::new(),
            pieces: BTreeMap::new(),
        }
    }

    fn receive(&mut self, fold: &Fold) {
        let spec = Arc::clone(&self.machine.spec);
        let message = fold.message(&spec);
        let group = FeedMessage::Group {
            hash: labels(fold.group).stable_hash(),
            sender: 0,
            slot: fold.group,
            labels: labels(fold.group),
        };
        self.machine.receive(group, &mut self.inbox);
        self.machine.receive(message, &mut self.inbox);
    }

    fn run_to(&mut self, cut: u64) {
        while let Some(pane) = self.inbox.first().into_iter().chain(self.machine.next_due()).min()
            && pane.0 < cut
        {
            let mut outputs = Vec::new();
            self.machine.apply(pane, &mut self.inbox.take(pane), &mut outputs);
            self.out.extend(one_by_one(outputs));
        }
    }

    /// Takes a snapshot; returns the names of pieces that were written.
    fn snapshot(&mut self) -> Vec<Box<str>> {
        let mut writer = PieceWriter::new(&mut self.versions);
        self.machine.snapshot(&mut writer);
        let mut former = std::mem::take(&mut self.pieces);
        let mut written = Vec::new();
        for Piece { name, content } in writer.finish() {
            let bytes = match content {
                PieceContent::Same => former.remove(&name).expect("what is the same was there"),
                PieceContent::New(bytes) => {
                    written.push(name.clone());
                    bytes
                }
            };
            assert!(self.pieces.insert(name.clone(), bytes).is_none(), "{name} was put twice");
        }
        written
    }

    fn bytes(&self) -> usize {
        self.pieces.values().map(Vec::len).sum()
    }
}

/// What the machines have put, as a restore finds it.
fn stored<'a>(machines: impl IntoIterator<Item = &'a Driven>) -> Restored {
    let pieces = |driven: &Driven| {
        let new = driven.pieces.iter().map(|(name, bytes)| Piece {
            name: name.clone(),
            content: PieceContent::New(bytes.clone()),
        });
        new.collect()
    };
    Restored::from_pieces("detect/test", machines.into_iter().map(pieces).collect())
}

/// One output, with points one by one.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Point(MetricPoint),
    Transition(Transition),
}

/// `outputs` one by one. Blocks have a point and no more than they may have.
fn one_by_one(outputs: Vec<FeedOutput>) -> Vec<Said> {
    let mut said = Vec::new();
    for output in outputs {
        match output {
            FeedOutput::Points(points) => {
                assert!((1..=BLOCK_MAX).contains(&points.len()), "{}", points.len());
                said.extend(points.into_iter().map(Said::Point));
            }
            FeedOutput::Transition(transition) => said.push(Said::Transition(transition)),
        }
    }
    said
}

/// Everything said, in an order of its own, with the bits of every number.
fn said(outputs: impl IntoIterator<Item = Said>) -> Vec<String> {
    let line = |output| match output {
        Said::Transition(transition) => format!("{transition:?}"),
        Said::Point(point) => {
            let bits: Vec<_> = point.fields.iter().map(|(n, x)| (n, x.to_bits())).collect();
            format!("{} {} {:?} {bits:x?}", point.measurement, point.labels, point.time)
        }
    };
    let mut lines: Vec<String> = outputs.into_iter().map(line).collect();
    lines.sort();
    lines
}

/// Levels that make episodes likely, with corrections and what comes too late.
fn folds() -> impl Strategy<Value = Vec<Fold>> {
    let level = prop_oneof![3 => Just(95.0), 3 => Just(50.0), 1 => Just(87.0), 1 => 0.0..100.0f64];
    let stretch = (0..5u32, level, 1..14u64, 0..5u64, 1..4usize);
    let on_time = prop::collection::vec(stretch, 1..22).prop_map(|stretches| {
        let (mut now, mut all) = ([20u64; 5], Vec::new());
        for (group, level, length, pause, samples) in stretches {
            let clock = &mut now[group as usize];
            *clock += if pause == 4 { 9 } else { pause / 3 };
            for i in 0..length {
                *clock += 1;
                let sample = |s: usize| {
                    let offset = (s as u64 * 3_700 + i * 911) % 10_000;
                    (offset, level + 0.1 * ((i + s as u64) * 7 % 11) as f64)
                };
                for order in 0..if i % 5 == 4 { 2 } else { 1 } {
                    let samples = (0..samples).map(|s| sample(s + order)).collect();
                    let (event, order) = (*clock, order as u64);
                    all.push(Fold { group, event, admission: event, order, samples });
                }
            }
        }
        all
    });
    let one = (0..5u32, 20..90u64, 1..14u64, 2..4u64, -5.0..120.0f64);
    let late = prop::collection::vec(one, 0..25).prop_map(|all| {
        let fold = |(group, event, delay, order, value)| Fold {
            group,
            event,
            admission: event + delay,
            order,
            samples: vec![(0, value)],
        };
        all.into_iter().map(fold).collect::<Vec<_>>()
    });
    (on_time, late).prop_map(|(mut on_time, late)| {
        on_time.extend(late);
        on_time.sort_by_key(|f| (f.admission, f.group, f.event, f.order));
        on_time.dedup_by_key(|f| (f.admission, f.group, f.event, f.order));
        on_time
    })
}

/// Runs `folds` on as many machines as each stage says, with a restore between two stages.
fn disturbed(
    spec: &FeedSpec,
    folds: &[Fold],
    stages: &[(usize, u64)],
) -> Result<Vec<String>, TestCaseError> {
    Ok(said(disturbed_without(spec, folds, stages, &[])?))
}

/// As [`disturbed`], leaving out groups.
fn disturbed_without(
    spec: &FeedSpec,
    folds: &[Fold],
    stages: &[(usize, u64)],
    left_out: &[(Quarantined, EventTime)],
) -> Result<Vec<Said>, TestCaseError> {
    let mut out = Vec::new();
    let mut machines: Vec<Driven> = Vec::new();
    let mut from = 0;
    for (workers, cut) in stages {
        let state = stored(&machines);
        let before: Vec<_> =
            machines.iter().flat_map(|driven| driven.machine.open_openings()).collect();
        machines = (0..*workers).map(|_| Driven::new(spec)).collect();
        let mut after = Vec::new();
        for (index, driven) in machines.iter_mut().enumerate() {
            let shard = Shard { index, peers: *workers };
            let report = driven.machine.restore_with(&state, shard, start(from), OnChange::Reset);
            let report = report.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(report.orphans.is_empty());
            let outcome = if from == 0 { Outcome::New } else { Outcome::Kept };
            prop_assert!(report.consumers.iter().all(|c| c.outcome == outcome));
            after.extend(driven.machine.open_openings());
            leave_out(&mut driven.machine, left_out, shard, start(from));
        }
        let sorted = |mut openings: Vec<_>| {
            openings.sort();
            openings
        };
        prop_assert_eq!(sorted(after), sorted(before));
        for fold in folds.iter().filter(|f| (from..*cut).contains(&f.admission)) {
            let owner = worker_of(labels(fold.group).stable_hash(), *workers);
            machines[owner].receive(fold);
        }
        for driven in &mut machines {
            // Cuts in between make the last one incremental.
            for between in (from..*cut).step_by(7).take(20) {
                driven.run_to(between);
                driven.snapshot();
            }
            driven.run_to(*cut);
            driven.snapshot();
            let again = driven.snapshot();
            prop_assert_eq!(again, [names::META.into()]);
            out.append(&mut driven.out);
        }
        from = *cut;
    }
    Ok(out)
}

fn leave_out(
    machine: &mut FeedMachine,
    left_out: &[(Quarantined, EventTime)],
    shard: Shard,
    at: EventTime,
) {
    let left_out = left_out.iter().map(|(what, from)| (what, *from));
    machine.leave_out(left_out, shard, at, Arc::default());
}

/// The operator of `spec` with this index, which leaves `group` out.
fn held(spec: &FeedSpec, operator: usize, group: u32) -> Quarantined {
    let OperatorId { name, content } = spec.operators().swap_remove(operator);
    Quarantined { operator: name, content, group: labels(group) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn restores_at_any_worker_count(
        folds in folds(), workers in prop::array::uniform3(1..5usize), cuts in (21..120u64, 0..60u64),
        parts in prop::array::uniform6(any::<bool>()),
    ) {
        // Any part of it: what one consumer leaves to be done at a pane, another might do by the way.
        let (mut spec, mut parts) = (spec(), parts.into_iter());
        spec.statistics.retain(|_| parts.next().unwrap());
        spec.rules.retain(|_| parts.next().unwrap());
        let mut straight = Driven::new(&spec);
        folds.iter().for_each(|fold| straight.receive(fold));
        straight.run_to(u64::MAX);
        let (first, second) = (cuts.0, cuts.0 + cuts.1);
        let stages = [(workers[0], first), (workers[1], second), (workers[2], 1_000)];
        prop_assert_eq!(disturbed(&spec, &folds, &stages)?, said(straight.out));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        folds in folds(), cut in 40..90u64, at in any::<prop::sample::Index>(), piece in any::<prop::sample::Index>(),
        change in prop_oneof![Just(None), (1..=255u8).prop_map(Some)],
    ) {
        let spec = spec();
        let mut first = Driven::new(&spec);
        folds.iter().filter(|f| f.admission < cut).for_each(|fold| first.receive(fold));
        first.run_to(cut);
        first.snapshot();
        let names: Vec<_> = first.pieces.keys().cloned().collect();
        let name = piece.get(&names).clone();
        match (change, first.pieces.get_mut(&name)) {
            (Some(change), Some(bytes)) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= change;
            }
            _ => {
                first.pieces.remove(&name);
            }
        }
        let is_whole = first.pieces.len() == names.len();
        let mut second = Driven::new(&spec);
        let state = stored([&first]);
        match second.machine.restore_with(&state, Shard::ALL, start(cut), OnChange::Reset) {
            Err(error) => prop_assert!(matches!(error, StateError::Unreadable { .. }), "{error}"),
            Ok(_) => {
                // Another number, or other labels, that could be just as well.
                prop_assert!(is_whole, "{name} is missing");
                folds.iter().filter(|f| f.admission >= cut).for_each(|fold| second.receive(fold));
                second.run_to(1_000);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// The reference: of an operator and a group that it leaves out, what a straight run over the entries before
    /// says up to then, and the end of what is open; of everything else, what a straight run says. The same
    /// wherever runs begin.
    #[test]
    fn a_group_is_left_out_from_an_instant_on_and_no_other(
        folds in folds(), workers in prop::array::uniform3(1..4usize), cuts in (21..120u64, 0..60u64),
        left_out in prop::collection::btree_map((0..5usize, 0..5u32), 15..110u64, 1..4),
    ) {
        let spec = spec();
        let straight = |is_taken: &dyn Fn(&Fold) -> bool| {
            let mut straight = Driven::new(&spec);
            folds.iter().filter(|fold| is_taken(fold)).for_each(|fold| straight.receive(fold));
            straight.run_to(u64::MAX);
            straight.out
        };
        // By operator and group.
        let origin = |output: &Said| match output {
            Said::Point(point) => (0, point.labels.get("host").unwrap().to_owned()),
            Said::Transition(t) => {
                let rule = spec.rules.iter().position(|rule| rule.name == t.rule).unwrap();
                (1 + rule, t.group.get("host").unwrap().to_owned())
            }
        };
        let host = |group: u32| labels(group).get("host").unwrap().to_owned();
        let mut expected = straight(&|_| true);
        for ((operator, group), from) in &left_out {
            let is_it = |output: &Said| origin(output) == (*operator, host(*group));
            expected.retain(|output| !is_it(output));
            let before = straight(&|fold| fold.group != *group || fold.admission < *from);
            let said = before.into_iter().filter(|output| is_it(output) && match output {
                Said::Point(point) => point.time <= start(*from),
                Said::Transition(t) => t.decided_at <= start(*from),
            });
            let said: Vec<_> = said.collect();
            if let Some(Said::Transition(last)) = said.last()
                && last.is_opening()
            {
                let kind = TransitionKind::Ended(EndReason::Quarantined);
                let (at, decided_at) = (start(*from), start(from + 1));
                let end = Transition { decided_at, sequence: 1, kind, at, ..last.clone() };
                expected.push(Said::Transition(end));
            }
            expected.extend(said);
        }
        let held = left_out.iter().map(|((operator, group), from)| {
            (held(&spec, *operator, *group), start(*from))
        });
        let held: Vec<_> = held.collect();
        let (first, second) = (cuts.0, cuts.0 + cuts.1);
        let stages = [(workers[0], first), (workers[1], second), (workers[2], 1_000)];
        let whole = disturbed_without(&spec, &folds, &[(1, 1_000)], &held)?;
        let parted = disturbed_without(&spec, &folds, &stages, &held)?;
        prop_assert_eq!(said(whole), said(expected.clone()));
        prop_assert_eq!(said(parted), said(expected));
    }
}

#[test]
fn what_was_left_out_before_an_incident_could_open_is_not_ended() {
    let spec = hot(|_, _| {});
    let counters = Arc::new(FeedCounters::default());
    let mut driven = Driven::new(&spec);
    let (what, other) = (held(&spec, 1, 0), Quarantined { content: 7, ..held(&spec, 1, 1) });
    let all = [(&what, start(0)), (&other, start(0))];
    let taken = driven.machine.leave_out(all, Shard::ALL, start(25), Arc::clone(&counters));
    assert_eq!(taken, [&what], "the other one is about a rule that was changed since");
    assert_eq!(counters.quarantined_groups.load(Ordering::Relaxed), 1);
    feed(&mut driven, |_| 95.0, 24, 40);
    let told = transitions(&driven);
    assert_eq!(told.iter().map(|t| &t.group).collect::<Vec<_>>(), [&labels(1)]);
    assert_eq!(counters.quarantined.load(Ordering::Relaxed), 15, "panes 25 to 39");
}

#[test]
fn a_panic_tells_the_operator_and_the_group() {
    let spec = spec();
    for (operator, name) in [(0, "windows"), (1, "rule hot"), (3, "rule odd")] {
        let mut driven = Driven::new(&spec);
        driven.machine.break_at(Fault { operator: name.into(), group: "host=web-1".into() });
        driven.receive(&Fold {
            group: 0,
            event: 20,
            admission: 20,
            order: 0,
            samples: vec![(0, 1.0)],
        });
        driven.run_to(21);
        for group in 0..3 {
            let samples = vec![(0, 1.0)];
            driven.receive(&Fold { group, event: 21, admission: 21, order: 0, samples });
        }
        assert_eq!(evaluation::under_way(), None);
        // The hook of this thread alone: others of the process panic as ever.
        let (mine, before) = (std::thread::current().id(), Arc::new(std::panic::take_hook()));
        let (seen, found) = std::sync::mpsc::channel();
        let others = Arc::clone(&before);
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == mine {
                seen.send(evaluation::under_way()).unwrap();
            } else {
                others(panic);
            }
        }));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| driven.run_to(22)));
        std::panic::set_hook(Box::new(move |panic| before(panic)));
        assert!(ended.is_err());
        let expected = UnderWay { what: held(&spec, operator, 1), pane: start(21) };
        assert_eq!(found.recv().unwrap(), Some(expected));
        assert_eq!(evaluation::under_way(), None, "not any more");
    }
}

/// A machine of `spec` that has applied one sample of `value` in each pane `from..to` of two groups.
fn fed(spec: &FeedSpec, value: impl Fn(u64) -> f64, from: u64, to: u64) -> Driven {
    let mut driven = Driven::new(spec);
    feed(&mut driven, value, from, to);
    driven
}

fn feed(driven: &mut Driven, value: impl Fn(u64) -> f64, from: u64, to: u64) {
    for event in from..to {
        for group in 0..2 {
            let samples = vec![(500, value(event))];
            driven.receive(&Fold { group, event, admission: event, order: 0, samples });
        }
    }
    driven.run_to(to);
}

/// A machine of `spec` that goes on from `former` at pane `cut`, and what it reports.
fn taken_over(
    former: &mut Driven,
    spec: &FeedSpec,
    cut: u64,
    policy: OnChange,
) -> (Driven, RestoreReport) {
    former.snapshot();
    let mut driven = Driven::new(spec);
    let state = stored([&*former]);
    let report = driven.machine.restore_with(&state, Shard::ALL, start(cut), policy).unwrap();
    (driven, report)
}

fn outcomes(report: &RestoreReport) -> Vec<(&str, Outcome)> {
    report.consumers.iter().map(|c| (c.consumer.as_str(), c.outcome)).collect()
}

/// Only the rule "hot", as `change` makes it, and no windows.
fn hot(change: impl FnOnce(&mut RuleSpec, &mut SustainedConfig)) -> FeedSpec {
    let (mut config, mut rule) = (sustained(), rule("hot", Detector::Sustained(sustained())));
    change(&mut rule, &mut config);
    rule.detector = Detector::Sustained(config);
    FeedSpec { statistics: Vec::new(), rules: vec![rule], ..spec() }
}

fn transitions(driven: &Driven) -> Vec<&Transition> {
    let all = driven.out.iter().filter_map(|output| match output {
        Said::Transition(transition) => Some(transition),
        Said::Point(_) => None,
    });
    all.collect()
}

/// Times of the points of the window named `label`, in panes.
fn fired(driven: &Driven, measurement: &str, label: &str) -> Vec<u64> {
    let time = |output: &Said| match output {
        Said::Point(point)
            if &*point.measurement == measurement && point.labels.get("window") == Some(label) =>
        {
            Some(point.time.as_millis() / 10_000)
        }
        _ => None,
    };
    let mut times: Vec<_> = driven.out.iter().filter_map(time).collect();
    times.dedup();
    times
}

#[test]
fn another_severity_keeps_the_state_and_what_is_open_ends_as_it_was_told() {
    let mut former = fed(&hot(|_, _| {}), |_| 95.0, 20, 30);
    let changed = hot(|rule, _| {
        rule.severity = Severity::Info;
        rule.summary = "in other words".into();
    });
    let (mut driven, report) = taken_over(&mut former, &changed, 30, OnChange::Reset);
    assert_eq!(outcomes(&report), [("rule hot", Outcome::Kept)]);
    assert_eq!(driven.machine.open_openings(), former.machine.open_openings());
    feed(&mut driven, |_| 10.0, 30, 35);
    let ends = transitions(&driven);
    assert_eq!(ends.len(), 2, "{ends:?}");
    for (end, opening) in ends.iter().zip(former.machine.open_openings()) {
        assert_eq!(end.kind, TransitionKind::Ended(EndReason::Recovered));
        assert_eq!((end.incident, end.sequence), (opening.incident, 1));
        assert_eq!((end.severity, &*end.summary), (Severity::Critical, "hot speaks"));
    }
    feed(&mut driven, |_| 95.0, 35, 40);
    let last = transitions(&driven).pop().cloned().unwrap();
    assert_eq!((last.severity, &*last.summary), (Severity::Info, "in other words"));
}

#[test]
fn a_changed_rule_is_reset_and_its_incidents_end() {
    let mut former = fed(&hot(|_, _| {}), |_| 95.0, 20, 30);
    let opened = former.machine.open_openings();
    assert_eq!(opened.len(), 2);
    let changed = hot(|_, config| config.for_ = secs(100));
    let (mut driven, report) = taken_over(&mut former, &changed, 30, OnChange::Reset);
    let reset = Outcome::Reset(ResetReason::Changed);
    assert_eq!(outcomes(&report), [("rule hot", reset)]);
    assert!(driven.machine.open_openings().is_empty());
    let ended: Vec<_> = report.orphans.iter().map(|t| (t.incident, t.kind, t.at)).collect();
    let changed = TransitionKind::Ended(EndReason::RuleChanged);
    let expected: Vec<_> = opened.iter().map(|t| (t.incident, changed, start(30))).collect();
    assert_eq!(ended, expected);
    assert!(report.orphans.iter().all(|t| t.sequence == 1 && t.decided_at == start(30)));
    feed(&mut driven, |_| 95.0, 30, 41);
    let told: Vec<_> = transitions(&driven).iter().map(|t| (t.kind, t.started_at)).collect();
    let anew = (TransitionKind::Opened, start(30) + Duration::from_millis(500));
    assert_eq!(told, [anew, anew], "counted from the cut on");
}

#[test]
fn each_orphan_is_told_by_one_worker() {
    let mut former = fed(&spec(), |_| 95.0, 20, 30);
    former.snapshot();
    let state = stored([&former]);
    let none = FeedSpec { rules: Vec::new(), ..spec() };
    let mut all = Vec::new();
    let mut dropped = Vec::new();
    for index in 0..3 {
        let shard = Shard { index, peers: 3 };
        let mut machine = FeedMachine::try_new(Arc::new(none.clone()), EventTime::MIN).unwrap();
        let report = machine.restore_with(&state, shard, start(30), OnChange::Carry).unwrap();
        assert!(outcomes(&report).contains(&("rule hot", Outcome::Dropped)));
        all.extend(report.orphans);
        let report = RestoreReport::of_dropped("detect/gone", &state, shard, start(30)).unwrap();
        assert_eq!(report.consumers.len(), 7);
        dropped.extend(report.orphans);
    }
    all.sort();
    dropped.sort();
    assert_eq!(all, dropped);
    let told: Vec<_> = all.iter().map(|t| t.incident).collect();
    let mut opened: Vec<_> = former.machine.open_openings().iter().map(|t| t.incident).collect();
    opened.sort_by_key(|id| told.iter().position(|t| t == id));
    assert!(!told.is_empty());
    assert_eq!(told, opened);
}

#[test]
fn durations_are_carried_and_bounds_are_not() {
    let mut former = fed(&hot(|_, _| {}), |pane| if pane < 28 { 50.0 } else { 95.0 }, 20, 30);
    let longer = hot(|_, config| config.for_ = secs(50));
    let (mut driven, report) = taken_over(&mut former, &longer, 30, OnChange::Carry);
    assert_eq!(outcomes(&report), [("rule hot", Outcome::Carried)]);
    feed(&mut driven, |_| 95.0, 30, 40);
    let opened = transitions(&driven)[0];
    let begun = start(28) + Duration::from_millis(500);
    assert_eq!((opened.started_at, opened.at), (begun, begun + secs(50)));

    let bound = hot(|_, config| config.condition = Condition::Above(91.0));
    let (_, report) = taken_over(&mut former, &bound, 30, OnChange::Carry);
    assert_eq!(outcomes(&report), [("rule hot", Outcome::Reset(ResetReason::Unfit))]);
}

#[test]
fn a_shorter_tolerance_that_is_overdue_ends_with_the_first_pane() {
    let patient = hot(|_, config| config.gap_tolerance = secs(300));
    let mut former = fed(&patient, |_| 95.0, 20, 30);
    former.run_to(40);
    let (mut driven, report) = taken_over(&mut former, &hot(|_, _| {}), 40, OnChange::Carry);
    assert_eq!(outcomes(&report), [("rule hot", Outcome::Carried)]);
    driven.run_to(100);
    let ended = transitions(&driven)[0];
    assert_eq!(ended.kind, TransitionKind::Ended(EndReason::NoData));
    let last = start(29) + Duration::from_millis(500);
    assert_eq!((ended.at, ended.decided_at), (last + secs(25), start(41)));
}

#[test]
fn a_rule_of_another_kind_begins_anew() {
    let mut former = fed(&hot(|_, _| {}), |_| 95.0, 20, 30);
    let other = FeedSpec { rules: vec![rule("hot", Detector::Anomaly(anomaly()))], ..spec() };
    let (driven, report) = taken_over(&mut former, &other, 30, OnChange::Carry);
    assert!(outcomes(&report).contains(&("rule hot", Outcome::Reset(ResetReason::Unfit))));
    assert_eq!(report.orphans.len(), 2);
    assert!(driven.machine.open_openings().is_empty());
}

#[test]
fn windows_that_began_before_the_cut_are_not_put_out_after_a_reset() {
    let only = |windows| FeedSpec {
        statistics: vec![StatisticSpec { windows, ..spec().statistics[0].clone() }],
        rules: Vec::new(),
        ..spec()
    };
    let mut former = fed(&only(vec![window(10, 10, 0), window(60, 10, 30)]), |_| 1.0, 20, 40);
    let now = only(vec![window(10, 10, 0), window(60, 10, 50), window(80, 10, 0)]);

    let (mut driven, report) = taken_over(&mut former, &now, 40, OnChange::Reset);
    let reset = Outcome::Reset(ResetReason::Changed);
    let expected = [
        ("window cpu/10s", Outcome::Kept),
        ("window cpu/1m/10s", reset),
        ("window cpu/1m20s/10s", Outcome::New),
    ];
    assert_eq!(outcomes(&report), expected);
    feed(&mut driven, |_| 1.0, 40, 50);
    assert_eq!(fired(&driven, "cpu", "10s"), (41..=50).collect::<Vec<_>>());
    assert_eq!(fired(&driven, "cpu", "1m/10s"), (46..=50).collect::<Vec<_>>());
    assert_eq!(fired(&driven, "cpu", "1m20s/10s"), (48..=50).collect::<Vec<_>>());

    let (mut driven, report) = taken_over(&mut former, &now, 40, OnChange::Carry);
    // One minute and thirty seconds were kept: from pane 32 on.
    assert_eq!(report.consumers[1].outcome, Outcome::Carried);
    assert_eq!(report.consumers[1].complete_from, Some(start(32)));
    assert_eq!(report.consumers[2].complete_from, Some(start(32)));
    feed(&mut driven, |_| 1.0, 40, 50);
    assert_eq!(fired(&driven, "cpu", "1m/10s"), (41..=50).collect::<Vec<_>>());
    assert_eq!(fired(&driven, "cpu", "1m20s/10s"), (41..=50).collect::<Vec<_>>());
}

#[test]
fn what_was_incomplete_stays_so_over_a_restore() {
    let spec = spec();
    let mut former = Driven::new(&spec);
    former.machine = FeedMachine::try_new(Arc::new(spec.clone()), start(25)).unwrap();
    feed(&mut former, |_| 1.0, 25, 28);
    let (mut driven, report) = taken_over(&mut former, &spec, 28, OnChange::Reset);
    assert_eq!(report.consumers[1].complete_from, Some(start(25)));
    feed(&mut driven, |_| 1.0, 28, 40);
    assert_eq!(fired(&driven, "cpu", "1m/10s")[0], 31);
}

#[test]
fn groups_without_state_are_left_behind() {
    let mut former = fed(&hot(|_, _| {}), |_| 50.0, 20, 30);
    feed(&mut former, |_| 50.0, 30, 31);
    let samples = vec![(0, 95.0)];
    former.receive(&Fold { group: 9, event: 31, admission: 31, order: 0, samples });
    former.run_to(32);
    let (driven, _) = taken_over(&mut former, &hot(|_, _| {}), 32, OnChange::Reset);
    assert_eq!(*driven.machine.groups, [labels(9)]);
}

#[test]
fn only_the_new_pane_is_written() {
    let windows_only = FeedSpec { rules: Vec::new(), ..spec() };
    let mut driven = fed(&windows_only, |_| 1.0, 20, 40);
    driven.snapshot();
    feed(&mut driven, |_| 1.0, 40, 41);
    assert_eq!(driven.snapshot(), ["panes/40+1".into(), names::META.into()]);
    let samples = vec![(0, 2.0)];
    driven.receive(&Fold { group: 0, event: 38, admission: 41, order: 0, samples });
    driven.run_to(42);
    assert_eq!(driven.snapshot(), ["panes/38+1".into(), names::META.into()]);
}

#[test]
fn long_windows_are_put_in_few_pieces() {
    let statistic =
        StatisticSpec { windows: vec![window(86_400, 10, 0)], ..spec().statistics[0].clone() };
    let day = FeedSpec { statistics: vec![statistic], rules: Vec::new(), ..spec() };
    let mut driven = Driven::new(&day);
    for event in 20..4_000 {
        driven.receive(&Fold {
            group: 0,
            event,
            admission: event,
            order: 0,
            samples: vec![(0, 1.0)],
        });
    }
    driven.run_to(4_000);
    driven.snapshot();
    let pieces = driven.pieces.keys().filter(|name| name.starts_with(names::PANES)).count();
    assert!(pieces < 300, "{pieces}");
    let (restored, _) = taken_over(&mut driven, &day, 4_000, OnChange::Reset);
    let (mine, others) = (driven.machine.windows.columns(), restored.machine.windows.columns());
    assert!(
        mine.map(|(pane, _, rows)| (pane, rows)).eq(others.map(|(pane, _, rows)| (pane, rows)))
    );
}

#[test]
fn a_series_costs_few_bytes() {
    const GROUPS: u32 = 2_000;
    // One sample of every group in every pane, as agents with an interval of ten seconds send them.
    let value = |group: u32, event: u64| f64::from(group % 97) / 1.7 + event as f64 / 3.1;
    let run = |windows: Vec<WindowConfig>, rules: Vec<RuleSpec>| {
        let statistic = StatisticSpec { windows, ..spec().statistics[0].clone() };
        let mut driven = Driven::new(&FeedSpec { statistics: vec![statistic], rules, ..spec() });
        for event in 100..160 {
            for group in 0..GROUPS {
                let samples = vec![(500, value(group, event))];
                driven.receive(&Fold { group, event, admission: event, order: 0, samples });
            }
        }
        driven.run_to(160);
        driven.snapshot();
        driven.bytes() as f64 / f64::from(GROUPS)
    };
    let (tumbling, sliding) = (window(10, 10, 60), window(300, 10, 60));
    assert!(run(vec![window(10, 10, 0)], Vec::new()) < 15.0, "labels only");
    let one = run(vec![tumbling], Vec::new());
    let both = run(vec![tumbling, sliding], Vec::new());
    let hot = run(vec![tumbling], vec![rule("hot", Detector::Sustained(sustained()))]);
    let odd = run(vec![tumbling], vec![rule("odd", Detector::Anomaly(anomaly()))]);
    // From pane 154 on, and from pane 125 on.
    let per_pane = (both - one) / 29.0;
    assert!(per_pane < 8.1, "a pane with one sample: {per_pane}");
    assert!(one < 80.0, "10 s and a minute of lateness: {one}");
    assert!(hot < 150.0 && odd < 150.0, "with a rule: {hot}, {odd}");
}

#[test]
fn the_plain_restore_refuses_what_has_changed() {
    let mut former = fed(&hot(|_, _| {}), |_| 95.0, 20, 30);
    former.snapshot();
    let state = stored([&former]);
    let restored = |spec: FeedSpec| {
        let mut machine = FeedMachine::try_new(Arc::new(spec), EventTime::MIN).unwrap();
        machine.restore(&state, Shard::ALL, start(30)).map(|()| machine.open_openings())
    };
    assert_eq!(restored(hot(|_, _| {})), Ok(former.machine.open_openings()));
    let changed = restored(hot(|_, config| config.for_ = secs(60)));
    assert!(matches!(changed, Err(StateError::Mismatch { .. })), "{changed:?}");
}

#[test]
fn a_state_cut_inside_a_pane_is_refused() {
    let mut former = fed(&spec(), |_| 95.0, 20, 30);
    former.snapshot();
    let at = start(30) + secs(3);
    let mut machine = FeedMachine::try_new(Arc::new(spec()), EventTime::MIN).unwrap();
    let refused = machine.restore_with(&stored([&former]), Shard::ALL, at, OnChange::Carry);
    assert!(matches!(refused, Err(StateError::Mismatch { .. })), "{refused:?}");
}

#[test]
fn identities_never_change() {
    let spec = spec();
    assert_eq!(spec.key(), "cpu.usage/10s#310f6b4c46be9e1a");
    let hashes = spec.rules.iter().map(|rule| identity::detector(&spec, &rule.detector));
    let hashes: Vec<_> = hashes.chain([identity::window(&spec, &window(60, 10, 30))]).collect();
    assert_eq!(
        hashes,
        [
            (0x5860_f5e3_928a_07cb, 0x08a9_0b6e_0f2d_7b57),
            (0x07ab_eb89_3d55_cbd4, 0xaf49_c7ea_a4c4_51ce),
            (0x6284_666f_2242_393a, 0x5f60_73de_6021_8d48),
            (0xdc9a_2d60_c822_06b1, 0x6a61_c43e_2b39_3844),
            (0x75aa_3f86_9049_978a, 0x1d17_af19_0b46_d037)
        ]
    );
}

#[test]
fn the_order_of_labels_and_filters_makes_no_other_feed() {
    let selector = |group_by: [&str; 2], values: [&str; 2]| Selector {
        filters: vec![("cpu".into(), values.map(String::from).to_vec())],
        group_by: group_by.map(String::from).to_vec(),
        ..spec().selector
    };
    let of = |selector| (selector, size(), spec().rules[0].clone());
    let rules =
        [of(selector(["host", "dc"], ["0", "1"])), of(selector(["dc", "host"], ["1", "0"]))];
    let feeds = FeedSpec::shared([], rules);
    assert_eq!(feeds.len(), 1);
    assert_eq!(feeds[0].rules.len(), 2);
}

#[test]
fn a_pane_of_many_groups_says_its_points_by_window_and_group_and_then_what_rules_say() {
    let groups = 0..2 * BLOCK_MAX as u32 + 452;
    let mut driven = Driven::new(&spec());
    let mut transitions = 0;
    for event in 20..24 {
        for group in groups.clone() {
            let samples = vec![(0, 95.0)];
            driven.receive(&Fold { group, event, admission: event, order: 0, samples });
        }
        driven.run_to(event + 1);
        let mut said = std::mem::take(&mut driven.out).into_iter();
        for window in ["10s", "1m/10s"].into_iter().chain((event == 23).then_some("40s")) {
            for group in groups.clone() {
                let Some(Said::Point(point)) = said.next() else { panic!("points come first") };
                let expected = labels(group);
                assert_eq!(point.labels.get("host"), expected.get("host"));
                assert_eq!(
                    (point.labels.get("window"), point.time),
                    (Some(window), start(event + 1))
                );
                assert_eq!(point.fields.get("mean"), Some(95.0));
            }
        }
        transitions += said.inspect(|said| assert!(matches!(said, Said::Transition(_)))).count();
    }
    assert_eq!(transitions, groups.len(), "`hot` says one of each group");
}
