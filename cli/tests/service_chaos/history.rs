//! What was done to the program and when, and when each channel got its messages.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::world::Channels;

/// Something that was done, and how long it lasted.
#[derive(Clone, Debug)]
pub struct Event {
    pub from: Instant,
    pub to: Instant,
    pub what: String,
    pub excuses: Excuse,
}

/// Which repeated messages an event explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// None.
    Nothing,
    /// The program died: what was under way then, at every channel.
    Death,
    /// This many answers of a channel (by its place in [`Channels::counts`]) were lost.
    LostAnswers(usize, usize),
}

/// All that happened in a run.
pub struct History {
    began: Instant,
    events: Vec<Event>,
    /// What the program should not have done.
    pub violations: Vec<String>,
    /// How long it took from the death of a member to its successor.
    pub restarts: Vec<Duration>,
    /// How often members died or were stopped, and how often they had written a checkpoint by then.
    pub deaths: usize,
    pub deaths_with_checkpoint: usize,
    /// How often something was killed while a spill was full.
    pub full_spills: usize,
}

impl History {
    pub fn new() -> Self {
        History {
            began: Instant::now(),
            events: Vec::new(),
            violations: Vec::new(),
            restarts: Vec::new(),
            deaths: 0,
            deaths_with_checkpoint: 0,
            full_spills: 0,
        }
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Notes what begins now; gives its place among the events.
    pub fn note(&mut self, what: impl Into<String>, excuses: Excuse) -> usize {
        let (now, what) = (Instant::now(), what.into());
        eprintln!("{:8.1} s  {what}", self.began.elapsed().as_secs_f64());
        self.events.push(Event { from: now, to: now, what, excuses });
        self.events.len() - 1
    }

    /// Lets the event at a place last until now.
    pub fn extend(&mut self, place: usize) {
        if let Some(event) = self.events.get_mut(place) {
            event.to = Instant::now();
        }
    }

    /// Notes what should not have happened.
    pub fn violation(&mut self, what: impl std::fmt::Display) {
        let text = format!("{:.1} s: {what}", self.began.elapsed().as_secs_f64());
        eprintln!("    WRONG  {text}");
        self.violations.push(text);
    }

    /// The events, one a line.
    pub fn list(&self) -> String {
        self.events.iter().fold(String::new(), |mut text, event| {
            let at = event.from.duration_since(self.began).as_secs_f64();
            let _infallible = writeln!(text, "{at:8.1} s  {}", event.what);
            text
        })
    }
}

/// Notes when messages arrive, on a thread of its own.
pub struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<[Vec<Instant>; 3]>,
}

/// How often channels are looked at: arrivals are known that exactly.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Recorder {
    pub fn start(channels: Arc<Channels>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut arrivals: [Vec<Instant>; 3] = Default::default();
            loop {
                let last = stopped.load(Ordering::Relaxed);
                for (arrivals, count) in arrivals.iter_mut().zip(channels.counts()) {
                    arrivals.resize(count.max(arrivals.len()), Instant::now());
                }
                if last {
                    return arrivals;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Recorder { stop, thread }
    }

    /// When the messages of each channel arrived, in the order of [`Channels::counts`].
    pub fn finish(self) -> [Vec<Instant>; 3] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
