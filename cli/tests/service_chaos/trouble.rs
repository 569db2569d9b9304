//! What goes wrong besides the deaths: stores and channels that fail for a while, hosts that are off, spills that are
//! full.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tidewatch_testkit::http::Reply;
use tidewatch_testkit::wait_for;

use crate::disturb::Chaos;
use crate::fleet::Topic;
use crate::history::Excuse;
use crate::program::{Program, send};
use crate::proxy::{Fault, Proxy};
use crate::random::Random;
use crate::state::State;

/// How long it is waited for that time goes on without a partition whose hosts are off: if it does not, something else
/// happens meanwhile.
const LIFTED_WITHIN: Duration = Duration::from_secs(8);
/// How long it may take until a spill is full: some seconds, in a run that may just have failed and back off, of a
/// broker that may just be starting again.
const FULL_WITHIN: Duration = Duration::from_secs(120);
/// How long a spill is to be full before the next kill: the run stalls then, and is not about to write a segment.
const FULL_FOR: Duration = Duration::from_millis(700);
/// Longer than any run: until somebody ends it.
const UNTIL_HEALED: Duration = Duration::from_secs(86_400);

/// In one of so many kills the hosts of a partition are switched off first.
const KILLS_AN_OUTAGE: usize = 13;
/// In one of so many kills a spill is filled first.
const KILLS_A_FULL_SPILL: usize = 25;

/// What is begun before a kill and ended some time after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prelude {
    /// All hosts of a partition are off, until time goes on without it.
    HostsOff,
    /// The store with the small spill is out of reach, until its spill is full.
    FullSpill,
}

impl Prelude {
    /// Before which kills.
    pub fn deck(kills: usize, random: &mut Random) -> Vec<Option<Prelude>> {
        let of =
            |prelude, one_in: usize| std::iter::repeat_n(Some(prelude), kills.div_ceil(one_in));
        let mut deck: Vec<_> = of(Prelude::HostsOff, KILLS_AN_OUTAGE).collect();
        deck.extend(of(Prelude::FullSpill, KILLS_A_FULL_SPILL));
        deck.resize(kills, None);
        random.shuffle(&mut deck);
        deck
    }
}

impl<'a> Chaos<'a> {
    /// Switches the hosts of a partition off, waits until time goes on without it, and perhaps switches them on
    /// again.
    pub fn switch_off(&mut self) {
        let topic = Topic::ALL[self.random.below(3) as usize];
        let partition = self.random.below(topic.used()) as i32;
        let what = format!("the hosts of {}-{partition} are off", topic.name());
        self.history.note(what, Excuse::Nothing);
        let lifted = |program: &Program| {
            let metrics = program.metrics()?;
            let lifted =
                metrics.family("tidewatch_decisions_total").find(|(of, _)| *of == "lifted");
            Some(lifted.map_or(0.0, |(_, count)| count))
        };
        self.producer.switch_off(topic, partition);
        let mut before = f64::INFINITY;
        let is_lifted = || {
            let now = lifted(&self.program)?;
            // A run counts from 0.
            before = before.min(now);
            (now > before).then_some(())
        };
        let text = match wait_for(LIFTED_WITHIN, is_lifted) {
            Some(()) => "time goes on without them",
            None => "time does not go on without them yet",
        };
        self.history.note(text, Excuse::Nothing);
        if self.random.chance(40) {
            self.producer.switch_on();
            std::thread::sleep(self.random.millis(0, 1_000));
        }
    }

    /// The store with the small spill.
    pub fn small(&self) -> (&'static str, &'a Proxy) {
        match self.elastic_is_small {
            true => ("Elasticsearch", self.elastic),
            false => ("InfluxDB", self.influx),
        }
    }

    /// Puts the store with the small spill out of reach until queue and spill are full in one process at least, which
    /// reads no more then.
    pub fn fill(&mut self) {
        let (name, proxy) = self.small();
        let fault = Fault::ALL[self.random.below(2) as usize];
        self.history.note(format!("{name}: {fault:?} until its spill is full"), Excuse::Nothing);
        proxy.disturb(fault, UNTIL_HEALED);
        let began = Instant::now();
        let mut full_since: Option<Instant> = None;
        while began.elapsed() < FULL_WITHIN {
            self.keep_running();
            // Members that do not answer are just starting, with nothing in memory.
            let metrics = self.program.metrics();
            let full = metrics.filter(|metrics| {
                metrics.sum("tidewatch_sink_full") > 0.0
                    && metrics.sum("tidewatch_sink_spilled") > 0.0
            });
            full_since = full.as_ref().map(|_| full_since.unwrap_or_else(Instant::now));
            if let Some(full) = full
                && full_since.is_some_and(|since| since.elapsed() > FULL_FOR)
            {
                let [memory, disk] =
                    ["tidewatch_sink_queued", "tidewatch_sink_spilled"].map(|name| full.sum(name));
                let text =
                    format!("its spill is full: {memory} items wait, {disk} of them on disk");
                self.history.note(text, Excuse::Nothing);
                self.history.full_spills += 1;
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.history.violation(format!("{name}: its spill was not full within {FULL_WITHIN:?}"));
    }

    /// Begins something that passes, and does not wait for it.
    pub fn fault(&mut self) {
        match self.random.below(7) {
            0 | 1 => self.store_out_of_reach(),
            6 => self.state_out_of_reach(),
            2 => self.pause(),
            3 => self.refusals(),
            4 => self.lost_answers(),
            _ => {
                self.history.note("mail: 3 refusals for now", Excuse::Nothing);
                self.channels.mail.refuse_next(&["451 4.3.0 try again later"; 3]).unwrap();
            }
        }
    }

    fn store_out_of_reach(&mut self) {
        let fault = Fault::ALL[self.random.below(3) as usize];
        let time = self.random.millis(500, 5_000);
        let (name, proxy) = match self.random.below(2) {
            0 => ("InfluxDB", self.influx),
            _ => ("Elasticsearch", self.elastic),
        };
        self.history.note(format!("{name}: {fault:?} for {time:?}"), Excuse::Nothing);
        proxy.disturb(fault, time);
    }

    /// The state store cannot be reached for a while, if it is one that this can happen to.
    fn state_out_of_reach(&mut self) {
        let State::Bucket(bucket) = self.state else { return self.store_out_of_reach() };
        let fault = Fault::ALL[self.random.below(3) as usize];
        let time = self.random.millis(200, 1_500);
        self.history.note(format!("state store: {fault:?} for {time:?}"), Excuse::Nothing);
        bucket.proxy.disturb(fault, time);
    }

    /// A member stands still for less time than its supervisor would act on.
    fn pause(&mut self) {
        let Some(pid) = self.member() else { return };
        let time = self.random.millis(100, 1_000);
        self.history.note(format!("member paused for {time:?}"), Excuse::Nothing);
        send(pid, Signal::SIGSTOP);
        std::thread::sleep(time);
        send(pid, Signal::SIGCONT);
    }

    fn refusals(&mut self) {
        let count = 1 + self.random.below(4);
        let name = if self.random.chance(50) { "Slack" } else { "PagerDuty" };
        self.history.note(format!("{name}: {count} requests fail"), Excuse::Nothing);
        for _ in 0..count {
            let reply = match self.random.below(4) {
                0 => Reply::hang_up(),
                1 => Reply::status(429).header("retry-after", "1"),
                2 => Reply::status(503).after(Duration::from_millis(1_500)),
                _ => Reply::status(500),
            };
            match name {
                "Slack" => self.channels.slack.fake().enqueue(reply),
                _ => self.channels.pagerduty.fake().enqueue(reply),
            }
        }
    }

    fn lost_answers(&mut self) {
        let count = 1 + self.random.below(2) as usize;
        let to_slack = self.random.chance(50);
        let (name, place) = if to_slack { ("Slack", 0) } else { ("PagerDuty", 1) };
        let what = format!("{name}: {count} answers are lost");
        self.history.note(what, Excuse::LostAnswers(place, count));
        for _ in 0..count {
            let lost = Reply::hang_up();
            match to_slack {
                true => self.channels.slack.fake().enqueue_after_effect(lost),
                false => self.channels.pagerduty.fake().enqueue_after_effect(lost),
            }
        }
    }
}
