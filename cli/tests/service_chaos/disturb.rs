//! The disturbances: processes that die, stores and channels that fail, in an order drawn from the seed.

use std::thread::Scope;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tidewatch_testkit::wait_for;

use crate::history::{Excuse, History};
use crate::producer::Producer;
use crate::program::{Launcher, Program, Size, exists, send};
use crate::proxy::Proxy;
use crate::random::Random;
use crate::state::State;
use crate::trouble::Prelude;
use crate::world::{Channels, Servers};

/// What ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// SIGKILL of one member.
    Member,
    /// SIGKILL of the supervisor, and a start at another size.
    Supervisor,
    /// SIGKILL of the broker, and its restart.
    Broker,
    /// SIGSTOP of one member, which its supervisor has to notice and to kill.
    Hang,
    /// SIGTERM of the supervisor, and a start at another size.
    Stop,
    /// SIGTERM of one member, which stops all, and a start at another size.
    StopMember,
    /// A second run beside the first, which fences it.
    Usurp,
}

impl Kill {
    /// How many of 100 kills are of each kind.
    const SHARES: [(Kill, usize); 7] = [
        (Kill::Member, 42),
        (Kill::Supervisor, 20),
        (Kill::Broker, 8),
        (Kill::Hang, 8),
        (Kill::Stop, 8),
        (Kill::StopMember, 8),
        (Kill::Usurp, 6),
    ];

    /// `count` kills in these shares, shuffled.
    pub fn deck(count: usize, random: &mut Random) -> Vec<Kill> {
        let of = |index: usize| {
            let mut place = index * 100 / count.max(1);
            let found = Kill::SHARES.iter().find(|(_, share)| {
                let here = place < *share;
                place = place.saturating_sub(*share);
                here
            });
            found.map_or(Kill::Member, |(kill, _)| *kill)
        };
        let mut deck: Vec<_> = (0..count).map(of).collect();
        random.shuffle(&mut deck);
        deck
    }
}

/// How long a dead member may be missed: the longest back-off after repeated crashes.
const RESTART_WITHIN: Duration = Duration::from_secs(40);
/// How long a stop may take: sinks flush in that time.
const STOP_WITHIN: Duration = Duration::from_secs(45);
/// What the supervisor is told about hung members.
pub const HANG_TIMEOUT: &str = "3s";
/// How long a run may go on beside a newer one: until it writes the next checkpoint, and its last words.
const FENCED_WITHIN: Duration = Duration::from_secs(20);
/// The exit code of a run that a newer one has fenced.
const FENCED: i32 = 4;
/// How long a hung member may go unnoticed.
const HANG_WITHIN: Duration = Duration::from_secs(12);

/// How long a checkpoint is waited for where there is to be one.
const PROGRESS_WITHIN: Duration = Duration::from_secs(8);

/// The program, what it depends on, and what is done to both.
pub struct Chaos<'a> {
    pub servers: &'a Servers,
    pub influx: &'a Proxy,
    pub elastic: &'a Proxy,
    pub channels: &'a Channels,
    pub producer: &'a Producer,
    /// Whether Elasticsearch is the store with the small spill, and not InfluxDB.
    pub elastic_is_small: bool,
    pub launcher: &'a mut Launcher,
    pub program: Program,
    pub history: History,
    pub random: Random,
    /// Whether the program is expected to recover by itself. If not, it is started again here.
    pub recovers: bool,
    /// The members when they were last looked at, since when nothing was done to them.
    pub known: Vec<u32>,
    /// Where the state is.
    pub state: &'a State,
    /// The newest checkpoint when the members were started.
    pub before: Option<String>,
}

impl<'a> Chaos<'a> {
    /// A size drawn from the seed. Without recovery always two processes, which have a supervisor.
    pub fn size(random: &mut Random, recovers: bool) -> Size {
        let processes = if recovers { 1 + random.below(2) } else { 2 };
        Size { workers: 1 + random.below(2), processes }
    }

    /// All disturbances, one after another, with 0.2 to 2.5 s in between, or the time until a checkpoint
    /// and up to 1 s.
    pub fn run(&mut self, kills: usize) {
        std::thread::scope(|scope| self.run_within(kills, scope));
    }

    fn run_within<'scope>(&mut self, kills: usize, scope: &'scope Scope<'scope, '_>)
    where
        Self: 'scope,
    {
        let preludes = match self.recovers {
            true => Prelude::deck(kills, &mut self.random),
            false => vec![None; kills],
        };
        let deck = Kill::deck(kills, &mut self.random).into_iter().zip(preludes);
        for (index, (kill, prelude)) in deck.enumerate() {
            if self.random.chance(40) {
                wait_for(PROGRESS_WITHIN, || (self.state.newest() != self.before).then_some(()));
                std::thread::sleep(self.random.millis(0, 1_000));
            } else {
                std::thread::sleep(self.random.millis(200, 2_500));
            }
            if self.random.chance(30) {
                self.fault();
                std::thread::sleep(self.random.millis(0, 1_000));
            }
            self.keep_running();
            self.look_for_replaced();
            match prelude {
                Some(Prelude::HostsOff) => self.switch_off(),
                Some(Prelude::FullSpill) => self.fill(),
                None => {}
            }
            let label = format!("{} of {kills}", index + 1);
            match kill {
                Kill::Member => self.kill_member(&label),
                Kill::Supervisor => self.kill_supervisor(&label),
                Kill::Broker => self.kill_broker(&label, scope),
                Kill::Hang => self.hang(&label),
                Kill::Stop => self.stop(&label, false),
                Kill::StopMember => self.stop(&label, true),
                Kill::Usurp => self.usurp(&label),
            }
            if prelude == Some(Prelude::FullSpill) {
                self.history.note("the store is back", Excuse::Nothing);
                self.small().1.heal();
            }
            if self.random.chance(60) {
                self.producer.switch_on();
            }
        }
    }

    /// Ends all faults that still last.
    pub fn heal(&self) {
        self.influx.heal();
        self.elastic.heal();
        if let State::Bucket(bucket) = self.state {
            bucket.proxy.heal();
        }
    }

    /// Starts the program again if it has ended, which it should not.
    pub fn keep_running(&mut self) {
        if let Some(status) = self.program.ended() {
            if self.recovers {
                self.history.violation(format!("the supervisor ended by itself: {status}"));
            }
            self.program = self.launcher.start(self.program.size);
        }
    }

    /// Notes when members have been replaced though nothing was done to them.
    fn look_for_replaced(&mut self) {
        let members = self.program.members();
        if !self.known.is_empty() && self.known.iter().any(|pid| !members.contains(pid)) {
            self.history.note("members were replaced, for a reason of their own", Excuse::Death);
        }
        self.known.clear();
    }

    /// Notes whether the members that just died had taken a checkpoint.
    fn died(&mut self) {
        let newest = self.state.newest();
        self.history.deaths += 1;
        self.history.deaths_with_checkpoint += usize::from(newest != self.before);
        self.before = newest;
    }

    /// A member that is running now or soon.
    pub fn member(&mut self) -> Option<u32> {
        let began = Instant::now();
        while began.elapsed() < RESTART_WITHIN {
            let members = self.program.members();
            if !members.is_empty() {
                let index = self.random.below(members.len() as u64) as usize;
                return members.get(index).copied();
            }
            self.keep_running();
            std::thread::sleep(Duration::from_millis(20));
        }
        self.history.violation(format!("no member within {RESTART_WITHIN:?}"));
        None
    }

    /// Waits until all members that were there have been replaced, and notes how long it took.
    fn replaced(&mut self, before: &[u32]) {
        let began = Instant::now();
        while began.elapsed() < RESTART_WITHIN {
            let members = self.program.members();
            let complete = members.len() as u64 == self.program.size.processes;
            if complete && !members.iter().any(|pid| before.contains(pid)) {
                self.history.restarts.push(began.elapsed());
                self.known = members;
                self.died();
                return;
            }
            self.keep_running();
            std::thread::sleep(Duration::from_millis(20));
        }
        self.history.violation(format!("not restarted within {RESTART_WITHIN:?}"));
    }

    fn kill_member(&mut self, label: &str) {
        let Some(pid) = self.member() else { return };
        let before = self.program.members();
        let Size { workers, processes } = self.program.size;
        let what = format!("kill {label}: member of -w {workers} -n {processes}");
        self.history.note(what, Excuse::Death);
        send(pid, Signal::SIGKILL);
        self.replaced(&before);
    }

    fn kill_supervisor(&mut self, label: &str) {
        let members = self.program.members();
        self.history.note(format!("kill {label}: supervisor"), Excuse::Death);
        self.program.signal(Signal::SIGKILL);
        self.program.ends_within(STOP_WITHIN);
        let gone = || (!members.iter().any(|pid| exists(*pid))).then_some(());
        if wait_for(Duration::from_secs(5), gone).is_none() {
            self.history.violation("members outlived their supervisor by 5 s");
        }
        self.start_anew();
    }

    /// The broker starts again by itself; whatever else happens, happens meanwhile.
    fn kill_broker<'scope>(&mut self, label: &str, scope: &'scope Scope<'scope, '_>)
    where
        Self: 'scope,
    {
        let broker = &self.servers.broker;
        // Waits until it is up again, had it been killed before.
        broker.lock().unwrap().kill();
        self.history.note(format!("kill {label}: broker"), Excuse::Nothing);
        let down = self.random.millis(0, 2_000);
        scope.spawn(move || {
            std::thread::sleep(down);
            broker.lock().unwrap().restart().unwrap();
        });
    }

    fn hang(&mut self, label: &str) {
        self.is_up();
        std::thread::sleep(self.random.millis(0, 1_000));
        let Some(pid) = self.member() else { return };
        let before = self.program.members();
        let event = self
            .history
            .note(format!("kill {label}: member stands still (SIGSTOP)"), Excuse::Death);
        send(pid, Signal::SIGSTOP);
        if !self.recovers {
            send(pid, Signal::SIGKILL);
        } else if wait_for(HANG_WITHIN, || (!exists(pid)).then_some(())).is_none() {
            self.history.violation(format!("a hung member was not noticed within {HANG_WITHIN:?}"));
            send(pid, Signal::SIGKILL);
        }
        self.history.extend(event);
        self.replaced(&before);
    }

    fn stop(&mut self, label: &str, by_member: bool) {
        let whom = if by_member { "one member" } else { "supervisor" };
        let member = if by_member { self.member() } else { None };
        let event = self.history.note(format!("kill {label}: SIGTERM to {whom}"), Excuse::Nothing);
        match member {
            Some(pid) => send(pid, Signal::SIGTERM),
            None => self.program.signal(Signal::SIGTERM),
        }
        match self.program.ends_within(STOP_WITHIN) {
            Some(status) if status.success() => {}
            Some(status) => {
                self.history.violation(format!("SIGTERM to {whom}: ended with {status}"));
            }
            None => self.history.violation(format!("not stopped within {STOP_WITHIN:?}")),
        }
        self.history.extend(event);
        self.start_anew();
    }

    /// Starts a second run beside the first, which has to leave.
    fn usurp(&mut self, label: &str) {
        self.is_up();
        let size = Self::size(&mut self.random, self.recovers);
        let Size { workers, processes } = size;
        let what = format!("kill {label}: a second run at -w {workers} -n {processes}");
        let event = self.history.note(what, Excuse::Death);
        self.launcher.move_ports();
        let mut first = std::mem::replace(&mut self.program, self.launcher.start(size));
        if self.recovers {
            match first.ends_within(FENCED_WITHIN) {
                Some(status) if status.code() == Some(FENCED) => {}
                ended => {
                    self.history.violation(format!("fenced, the first run ended with {ended:?}"))
                }
            }
        }
        drop(first);
        self.history.extend(event);
        self.died();
    }

    /// Waits until each member has given a sign of life, from when on it can be found to hang. While the broker is
    /// just starting again that takes as long as it does.
    fn is_up(&mut self) {
        wait_for(RESTART_WITHIN, || {
            self.keep_running();
            self.program.is_up().then_some(())
        });
    }

    fn start_anew(&mut self) {
        let size = Self::size(&mut self.random, self.recovers);
        // The former one is ended first, should it still be there.
        self.program.signal(Signal::SIGKILL);
        self.program.ends_within(STOP_WITHIN);
        self.died();
        self.program = self.launcher.start(size);
        let Size { workers, processes } = size;
        self.history.note(format!("start at -w {workers} -n {processes}"), Excuse::Nothing);
    }
}
