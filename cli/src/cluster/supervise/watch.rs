//! What is known of the members of one run, and what follows from it: no clock, no process, no socket.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::cluster::exit;

/// For how long members may be silent, and how long they have to stop.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Without a beat for this long a member hangs; `None` to never find so.
    pub hang: Option<Duration>,
    /// A member that has not beaten for the first time by then hangs; `None` where it may have to wait for
    /// other machines.
    pub start: Option<Duration>,
    /// How long members have to stop by themselves before they are killed: sinks flush in that time.
    pub stop: Duration,
}

impl Default for Limits {
    /// 30 s without a beat, 120 s for the first one, 30 s to stop.
    fn default() -> Self {
        Limits {
            hang: Some(Duration::from_secs(30)),
            start: Some(Duration::from_secs(120)),
            stop: Duration::from_secs(30),
        }
    }
}

/// Something that happened. Members are meant by their place, from 0.
#[derive(Copy, Clone, Debug)]
pub(super) enum Event {
    /// A member gave a sign of life.
    Beat(usize),
    /// A member ended.
    Ended(usize, ExitStatus),
    /// Somebody wants the run to stop.
    Stop,
    /// The deadline came and nothing else.
    Time,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for the next event.
    Wait,
    /// Ask all members to stop.
    Terminate,
    /// End what is left of them: the run is over.
    Over(Outcome),
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All members stopped well.
    Stopped,
    /// The members were to stop, and one died over it or did not do it in time.
    Unclean,
    /// Asked twice.
    Forced,
    /// A member ended with a code that forbids another attempt.
    ForGood(usize, u8),
    /// A member failed: another attempt may succeed.
    Failed(usize, Why),
}

/// Why a member has failed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It ended.
    Ended(ExitStatus),
    /// It gave no sign of life for so long.
    Silent(Duration),
    /// It was not up after so long.
    NotUp(Duration),
}

impl Why {
    /// Whether it ended for the next run to read a topic that was made anew.
    pub(super) fn is_renewal(&self) -> bool {
        matches!(self, Why::Ended(status) if exit::is_renewal(*status))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Ended(status) if exit::is_renewal(*status) => {
                write!(f, "a topic was recreated, to be read by the next run ({status})")
            }
            Why::Ended(status) => write!(f, "{status}"),
            Why::Silent(limit) => write!(f, "no sign of life for {limit:?}"),
            Why::NotUp(limit) => write!(f, "not up after {limit:?}"),
        }
    }
}

#[derive(Copy, Clone, Debug)]
enum Phase {
    Starting,
    Beating(Instant),
    Ended,
}

/// One run, from its start until it is over.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    started: Instant,
    members: Vec<Phase>,
    up: Option<Instant>,
    /// When members that were asked to stop are killed.
    stop_by: Option<Instant>,
    unclean: bool,
}

impl Watch {
    /// `count` members were started at `now`.
    pub(super) fn new(limits: Limits, count: usize, now: Instant) -> Self {
        let members = vec![Phase::Starting; count];
        Watch { limits, started: now, members, up: None, stop_by: None, unclean: false }
    }

    /// Since when all members have been up.
    pub(super) fn up(&self) -> Option<Instant> {
        self.up
    }

    /// When [`Event::Time`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stop_by {
            Some(stop_by) => Some(stop_by),
            None => self.members.iter().filter_map(|phase| Some(self.due(*phase)?.0)).min(),
        }
    }

    /// Takes note of an event at `now`.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Step {
        match event {
            Event::Beat(index) => {
                if let Some(phase) = self.members.get_mut(index) {
                    *phase = Phase::Beating(now);
                }
                let all = self.members.iter().all(|phase| matches!(phase, Phase::Beating(_)));
                if all && self.up.is_none() {
                    self.up = Some(now);
                }
                Step::Wait
            }
            Event::Ended(index, status) => self.ended(index, status, now),
            Event::Stop if self.stop_by.is_some() => Step::Over(Outcome::Forced),
            Event::Stop => self.stop(now),
            Event::Time => self.time(now),
        }
    }

    fn ended(&mut self, index: usize, status: ExitStatus, now: Instant) -> Step {
        if let Some(phase) = self.members.get_mut(index) {
            *phase = Phase::Ended;
        }
        if let Some(code) = exit::for_good(status) {
            return Step::Over(Outcome::ForGood(index, code));
        }
        // A member that dies of SIGTERM was asked to stop before it handled signals: it had nothing to put
        // in order yet.
        let clean = status.success() || status.signal() == Some(Signal::SIGTERM as i32);
        if !clean && self.stop_by.is_none() {
            return Step::Over(Outcome::Failed(index, Why::Ended(status)));
        }
        self.unclean |= !clean;
        if self.members.iter().all(|phase| matches!(phase, Phase::Ended)) {
            let end = if self.unclean { Outcome::Unclean } else { Outcome::Stopped };
            return Step::Over(end);
        }
        // Whoever was asked has told the others through the dataflow; the signal is for one that is not
        // so far yet.
        if self.stop_by.is_none() { self.stop(now) } else { Step::Wait }
    }

    fn stop(&mut self, now: Instant) -> Step {
        self.stop_by = Some(now + self.limits.stop);
        Step::Terminate
    }

    fn time(&mut self, now: Instant) -> Step {
        if let Some(stop_by) = self.stop_by {
            return if now < stop_by { Step::Wait } else { Step::Over(Outcome::Unclean) };
        }
        let silent = self.members.iter().enumerate().find_map(|(index, phase)| {
            let (due, why) = self.due(*phase)?;
            (now >= due).then_some((index, why))
        });
        silent.map_or(Step::Wait, |(index, why)| Step::Over(Outcome::Failed(index, why)))
    }

    /// When a member in this phase has been silent for too long, and what that means.
    fn due(&self, phase: Phase) -> Option<(Instant, Why)> {
        match phase {
            Phase::Starting => self.limits.start.map(|max| (self.started + max, Why::NotUp(max))),
            Phase::Beating(last) => self.limits.hang.map(|max| (last + max, Why::Silent(max))),
            Phase::Ended => None,
        }
    }
}
