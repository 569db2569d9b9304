//! A sequence of runs of one pipeline, each ended or overtaken by the next in some unkind way.

use std::time::Duration;

use fastrand::Rng;
use tidewatch_dataflow::checkpoint::StateStore as _;
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::testing::MemoryLog;
use tidewatch_dataflow::time::EventTime;

use super::change::Change;
use super::plan::{Arrival, FUTURE, Plan, seconds, start};
use super::store::Fault;
use super::world::{Begin, Live, Outcome, World};

/// How one run is followed by the next.
#[derive(Copy, Clone, Debug)]
enum Handover {
    /// It dies, then the next one begins.
    Killed,
    /// The next one begins while it runs; later it dies, if it has not ended by itself.
    Overtaken,
    /// It is stopped as it should be.
    Stopped,
}

pub struct Disturbed<'a> {
    pub world: World,
    plan: &'a Plan,
    rng: &'a mut Rng,
    /// Arrivals that are in the log.
    appended: usize,
    future: u64,
    now: EventTime,
    /// Whether later runs may begin after the future has come.
    waits_for_future: bool,
    /// Only the second topic is known yet, as the first.
    is_alone: bool,
    /// Clocks show when the newest record arrived.
    is_present: bool,
    /// What happens to the rules between two runs, and whether it has.
    change: Option<&'a Change>,
    is_changed: bool,
    old: Vec<Live>,
}

impl<'a> Disturbed<'a> {
    /// A world whose clocks stand still at `now`.
    pub fn new(plan: &'a Plan, now: EventTime, rng: &'a mut Rng) -> Self {
        let world = World::new(plan.partitions());
        let waits_for_future = plan.nature.has_future;
        Disturbed {
            world,
            plan,
            rng,
            appended: 0,
            future: 0,
            now,
            waits_for_future,
            is_alone: false,
            is_present: false,
            change: None,
            is_changed: false,
            old: Vec::new(),
        }
    }

    /// The rules change once, between two of the runs; people are told of incidents.
    pub fn changing(self, change: &'a Change) -> Self {
        Disturbed { change: Some(change), ..self }
    }

    fn edition(&self) -> Option<u32> {
        self.change.map(|_| u32::from(self.is_changed))
    }

    /// A world whose clocks go with the arrivals. Some of the partitions that are not present at the
    /// beginning are there and empty.
    pub fn in_the_present(plan: &'a Plan, rng: &'a mut Rng) -> Self {
        let mut there = plan.present();
        if plan.nature.of_new_topic {
            there = there.into_iter().map(|p| PartitionId { topic: 0, ..p }).collect();
        } else {
            there.extend(plan.partitions().into_iter().filter(|_| rng.bool()));
        }
        let mut disturbed = Disturbed::new(plan, start(), rng);
        disturbed.world = World::new(there);
        disturbed.is_alone = plan.nature.of_new_topic;
        disturbed.waits_for_future = false;
        disturbed.is_present = true;
        disturbed
    }

    fn append(&mut self, count: usize) {
        let upto = self.plan.arrivals.len().min(self.appended + count);
        for arrival in &self.plan.arrivals[self.appended..upto] {
            let topic = if self.is_alone { 0 } else { arrival.partition.topic };
            let partition = PartitionId { topic, ..arrival.partition };
            self.world.log.append(partition, [arrival.record()]);
            self.future += u64::from(arrival.is_future());
        }
        self.appended = upto;
        if let Some(last) = self.plan.arrivals[..upto].last()
            && self.is_present
        {
            self.now = start() + last.after;
            self.old.iter().for_each(|live| live.clock.set(self.now));
        }
    }

    /// Whether the decisions about records that must not be read are durable: a run that was given them may have
    /// died before.
    fn is_decided(&self) -> bool {
        let journal = self.world.store.list("journal/").unwrap();
        journal.iter().any(|object| object.name.ends_with("-0000000000"))
    }

    /// A topic is added, so that the first one is the second now.
    fn add_topic(&mut self) {
        self.is_alone = false;
        self.world.log = MemoryLog::default();
        for arrival in &self.plan.arrivals[..self.appended] {
            self.world.log.append(arrival.partition, [arrival.record()]);
        }
        self.world.far.lock().unwrap().renumber();
    }

    fn begin(&mut self) -> Live {
        let faults = [Fault::Before, Fault::After, Fault::Freeze, Fault::Refused, Fault::Unsure];
        // The first operations claim the run; one that hangs meanwhile claims a later run than its successor.
        let fault = (self.rng.u32(..3) > 0)
            .then(|| (self.rng.u64(3..80), faults[self.rng.usize(..faults.len())]));
        let decisions = if self.is_alone || self.is_decided() || self.rng.bool() {
            Vec::new()
        } else {
            self.plan.decisions()
        };
        let begin = Begin {
            workers: self.rng.usize(1..=3),
            seed: self.rng.u64(..),
            fault,
            every: Duration::from_millis(self.rng.u64(0..6)),
            eager: self.rng.u64(0..4),
            now: self.now,
            decisions,
            edition: self.edition(),
            from: EventTime::MIN,
        };
        self.begin_with(&begin)
    }

    fn topics(&self) -> Topics {
        if self.is_alone { Topics::new(["b"]) } else { self.plan.topics() }
    }

    fn begin_with(&self, begin: &Begin) -> Live {
        if self.is_changed {
            self.world.keep_copy();
        }
        let spec = |clock| {
            let spec = self.plan.spec(clock, self.topics());
            self.change.map_or(spec.clone(), |change| change.apply(spec, self.is_changed))
        };
        let live = self.world.begin(spec, begin);
        // It has claimed its run, so that the next one claims a later.
        live.wait(seconds(10), |live| live.gate.operations() >= 3);
        live
    }

    fn hand_over(&mut self, live: Live) -> Result<Live, String> {
        if self.waits_for_future
            && self.appended * 3 > self.plan.arrivals.len() * 2
            // A partition may have held one of them back.
            && !self.plan.arrivals[self.appended..].iter().any(Arrival::is_future)
            && live.letters("future") == self.future
        {
            // What was refused stays refused.
            self.waits_for_future = false;
            self.now = self.now + FUTURE + seconds(3_600);
        }
        let how = if live.gate.is_dead() || live.has_ended() {
            Handover::Killed
        } else {
            match self.rng.u32(..16) {
                0..7 => Handover::Killed,
                7..15 => Handover::Overtaken,
                // Rare: it waits for seconds for a checkpoint that is on its way.
                _ => Handover::Stopped,
            }
        };
        match how {
            Handover::Killed => {
                live.gate.kill();
                self.old.push(live);
                Ok(self.begin())
            }
            Handover::Stopped => {
                live.gate.thaw();
                let (sink, gate) = (std::sync::Arc::clone(&live.sink), live.gate.clone());
                // Whatever is not part of a checkpoint is lost now and then.
                if self.rng.bool() {
                    sink.flush();
                }
                let ended = live.stop();
                sink.kill();
                match ended {
                    Err(error) if !gate.is_blown() => Err(format!("stopped: {error:?}")),
                    _ => Ok(self.begin()),
                }
            }
            Handover::Overtaken => {
                let next = self.begin();
                self.pause(Some(&next));
                if self.rng.bool() {
                    let more = self.rng.usize(..40);
                    self.append(more);
                    if self.is_present {
                        next.clock.set(self.now);
                        live.clock.set(self.now);
                    }
                }
                live.gate.thaw();
                self.pause(Some(&next));
                live.gate.kill();
                self.old.push(live);
                Ok(next)
            }
        }
    }

    fn pause(&mut self, live: Option<&Live>) {
        let short = Duration::from_micros(self.rng.u64(..6_000));
        match (self.rng.u32(..4), live) {
            (0, Some(live)) => {
                let records = self.appended as u64;
                live.wait(Duration::from_millis(300), |live| live.records() >= records);
            }
            (1, Some(live)) => {
                let operations = live.gate.operations() + self.rng.u64(1..12);
                live.wait(short * 4, |live| live.gate.operations() >= operations);
            }
            _ => std::thread::sleep(short),
        }
    }

    /// Everything is appended, in pieces, between crashes; the last run finishes.
    pub fn run(mut self) -> Result<(Outcome, World), String> {
        let all = self.plan.arrivals.len();
        let crashes = self.rng.usize(2..=6);
        let pieces = if self.is_present { 60..200 } else { crashes + 2..30 };
        let chunk = all / self.rng.usize(pieces) + 1;
        let first = self.plan.present().len() + self.rng.usize(..chunk);
        let is_there = |arrival: &&Arrival| !self.is_alone || arrival.partition.topic > 0;
        let known = self.plan.arrivals.iter().take_while(is_there).count();
        self.append(first.min(known));
        let mut live = self.begin();
        let mut left = crashes;
        let change_at = self.change.map_or(all, |_| all * self.rng.usize(10..90) / 100);
        while self.appended < all {
            let from = self.appended;
            let upto = all.min(from + chunk);
            let is_new = |arrival: &Arrival| arrival.partition.topic == 0;
            if self.is_alone && self.plan.arrivals[from..upto].iter().any(is_new) {
                live.gate.kill();
                self.old.drain(..).for_each(|old| old.gate.kill());
                self.add_topic();
                self.old.push(live);
                live = self.begin();
            }
            let has_poison = self.plan.arrivals[from..upto].iter().any(Arrival::is_poison);
            if has_poison && !self.is_decided() {
                live.gate.kill();
                self.old.push(live);
                let (decisions, edition) = (self.plan.decisions(), self.edition());
                live = self.begin_with(&Begin { decisions, edition, ..Begin::plain(self.now) });
                live.wait(seconds(10), |_| self.is_decided());
            }
            self.append(chunk);
            if self.is_present {
                live.clock.set(self.now);
            }
            self.pause(Some(&live));
            let is_time = left > 0 && self.rng.usize(..(all - upto) / chunk + 1) < left;
            let changes = self.change.is_some() && !self.is_changed && upto >= change_at;
            self.is_changed |= changes;
            if is_time || changes || live.gate.is_dead() || live.has_ended() {
                left = left.saturating_sub(1);
                live = self.hand_over(live)?;
            }
        }
        if self.is_alone {
            live.gate.kill();
            self.add_topic();
        }
        // The last one has no faults, except that the one before may still run.
        let begin = Begin {
            workers: self.rng.usize(1..=3),
            seed: self.rng.u64(..),
            decisions: self.plan.decisions(),
            edition: self.edition(),
            ..Begin::plain(self.now)
        };
        let last = self.begin_with(&begin);
        self.pause(Some(&last));
        live.gate.thaw();
        self.pause(Some(&last));
        live.gate.kill();
        drop(live);
        let outcome = last.finish(all as u64, self.plan.end())?;
        Ok((outcome, self.world))
    }
}
