//! Tests of what the director decides and counts, and of facts about no partition.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Report};
use super::control::{Control, Direction};
use super::director::{Director, Known};
use super::generation::Generations;
use super::journal::Journal;
use super::{Decision, Facts, IngestConfig, IngestCounters, Quarantined};
use crate::record::PartitionId;
use crate::series::Labels;
use crate::time::{Clock, EventTime, PaneSize};

const P: PartitionId = PartitionId { topic: 0, partition: 0 };
const Q: PartitionId = PartitionId { topic: 0, partition: 1 };

fn at(seconds: u64) -> EventTime {
    EventTime::from_millis(seconds * 1_000)
}

fn report(partition: PartitionId, generation: u32, silent: bool, returning: bool) -> Report {
    let watermark = Some(at(1_000));
    Report { partition, generation, watermark, silent, returning, next: 7 }
}

/// Everything is durable at once.
#[derive(Clone, Default)]
struct Appended(Rc<RefCell<(Vec<Decision>, usize)>>);

impl Journal for Appended {
    fn append(&mut self, decisions: Vec<Decision>) {
        let (all, batches) = &mut *self.0.borrow_mut();
        all.extend(decisions);
        *batches += 1;
    }

    fn take_durable(&mut self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().1)
    }

    fn mark(&self) -> u64 {
        0
    }
}

fn director(clock: &Clock, journal: &Appended) -> (Director, Arc<IngestCounters>) {
    let pane = PaneSize::new(Duration::from_secs(10)).unwrap();
    let config = IngestConfig {
        out_of_orderness: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(30),
        future_tolerance: Duration::from_secs(60),
        max_lead: Duration::from_secs(60),
        open_points_max: 1_000,
        tick: pane,
        grid: pane,
        clock: clock.clone(),
    };
    let counters = Arc::<IngestCounters>::default();
    let journal = Box::new(journal.clone());
    let own = Arc::clone(&counters);
    let direction =
        Direction { journal, processes: 1, checkpoints: None, counters: own, first: Vec::new() };
    let generations = Generations::default();
    let known = Known { reached: EventTime::MIN, resumed_at: EventTime::MIN, generations };
    (Director::new(config, direction, 1, known), counters)
}

/// The decisions counted since the last call, those that there were.
fn counted(counters: &IngestCounters, before: &mut Vec<u64>) -> Vec<(&'static str, u64)> {
    let now: Vec<_> = counters.decisions().collect();
    before.resize(now.len(), 0);
    let since = now.iter().zip(&*before).map(|((kind, n), before)| (kind.as_str(), n - before));
    let since = since.filter(|(_, count)| *count > 0).collect();
    *before = now.iter().map(|(_, count)| *count).collect();
    since
}

#[test]
fn every_decision_is_counted() {
    let clock = Clock::manual(at(1_020));
    let ((mut director, counters), mut before) =
        (director(&clock, &Appended::default()), Vec::new());
    let mut board = Board::new([P, Q]);
    let mut decide = |director: &mut Director, board: &mut Board| {
        let messages = director.decide(board, EventTime::MIN).messages;
        for message in &messages {
            match message {
                Control::Lift { partition, generation, .. } => board.lift(*partition, *generation),
                Control::Advance { to } => board.advance(*to),
                _ => {}
            }
        }
        counted(&counters, &mut before)
    };
    decide(&mut director, &mut board);
    [P, Q].into_iter().for_each(|partition| board.report(report(partition, 0, false, false)));
    assert_eq!(decide(&mut director, &mut board), [("reached", 1)]);
    assert_eq!(decide(&mut director, &mut board), [], "nothing is new");
    board.report(report(P, 1, true, false));
    assert_eq!(decide(&mut director, &mut board), [("lifted", 1)]);
    board.report(report(Q, 1, true, false));
    assert_eq!(decide(&mut director, &mut board), [("lifted", 1)]);
    // All are silent: from the next look on time goes with the clock, once for both partitions.
    clock.set(at(1_100));
    assert_eq!(
        decide(&mut director, &mut board),
        [("floor", 2), ("advanced", 1), ("all_silent", 1)]
    );
    clock.set(at(1_120));
    let again = decide(&mut director, &mut board);
    assert!(again.contains(&("advanced", 1)) && !again.iter().any(|(k, _)| *k == "all_silent"));
    board.report(report(Q, 2, false, true));
    let returned = decide(&mut director, &mut board);
    assert!(returned.contains(&("returned", 1)) && returned.contains(&("floor", 1)));
    director.hear(&Control::Refuse { partition: P, offsets: vec![8, 9] });
    director.hear(&Control::Discovered { partition: PartitionId { topic: 1, partition: 0 } });
    let told = decide(&mut director, &mut board);
    assert!(told.contains(&("refused", 2)) && told.contains(&("discovered", 1)), "{told:?}");
}

#[test]
fn a_quarantine_holds_from_when_it_was_first_decided_until_its_operator_is_another() {
    let held = |operator: &str, host: &str| Quarantined {
        operator: operator.into(),
        content: 1,
        group: Labels::from_pairs([("host", host)]),
    };
    let decided = |what: &Quarantined, from| Decision::Quarantined { what: what.clone(), from };
    let (hot, cold) = (held("rule hot", "a"), held("rule cold", "a"));
    let (mut facts, mut others) = (Facts::default(), Facts::default());
    [decided(&hot, at(20)), decided(&hot, at(50)), decided(&hot, at(10))]
        .into_iter()
        .for_each(|decision| facts.learn(decision));
    others.learn(decided(&cold, at(30)));
    facts.merge(&others);
    let all = [(&cold, at(30)), (&hot, at(10))];
    assert_eq!(facts.quarantined().collect::<Vec<_>>(), all);
    assert_eq!(facts.renumbered(|_| None).quarantined().collect::<Vec<_>>(), all, "no topic's");
    let mut of_another_worker = facts.clone();
    of_another_worker.keep_only(|_| true);
    assert_eq!(of_another_worker.quarantined().len(), 0, "worker 0 keeps them");
    facts.lift_quarantines(|what| what.operator.ends_with("hot"));
    assert_eq!(facts.quarantined().collect::<Vec<_>>(), [(&hot, at(10))]);
}

#[test]
fn what_another_machine_has_found_out_is_journaled() {
    let (clock, journal) = (Clock::manual(at(1_020)), Appended::default());
    let (mut director, counters) = director(&clock, &journal);
    let skipped = vec![Decision::Skipped { partition: P, offset: 7 }];
    director.hear(&Control::FoundOut { decisions: skipped.clone() });
    let orders = director.decide(&Board::new([P]), EventTime::MIN);
    assert_eq!(journal.0.borrow().0, skipped);
    assert_eq!(orders.messages, [], "it takes effect with the next run");
    assert!(counters.decisions().all(|(_, count)| count == 0), "it is not about time");
}
