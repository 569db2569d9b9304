//! The disturbances: processes that die, stores and channels that fail, in an order drawn from the seed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::thread::Scope;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tidewatch_testkit::http::Reply;
use tidewatch_testkit::wait_for;

use crate::history::{Excuse, History};
use crate::program::{Launcher, Metrics, Program, Size, exists, send};
use crate::proxy::{Fault, Proxy};
use crate::random::Random;
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
    pub launcher: &'a mut Launcher,
    pub program: Program,
    pub history: History,
    pub random: Random,
    /// Whether the program is expected to recover by itself. If not, it is started again here.
    pub recovers: bool,
    /// The members when they were last looked at, since when nothing was done to them.
    pub known: Vec<u32>,
    /// Where the state is.
    pub state: Option<PathBuf>,
    /// The newest checkpoint when the members were started.
    pub before: Option<OsString>,
}

impl Chaos<'_> {
    /// A size drawn from the seed. Without recovery always two processes, which have a supervisor.
    pub fn size(random: &mut Random, recovers: bool) -> Size {
        let processes = if recovers { 1 + random.below(2) } else { 2 };
        Size { workers: 1 + random.below(2), processes }
    }

    /// All disturbances, one after another, with 0.2 to 3 s in between, or the time until a checkpoint
    /// and up to 1 s.
    pub fn run(&mut self, kills: usize) {
        std::thread::scope(|scope| self.run_within(kills, scope));
    }

    fn run_within<'scope>(&mut self, kills: usize, scope: &'scope Scope<'scope, '_>)
    where
        Self: 'scope,
    {
        for (index, kill) in Kill::deck(kills, &mut self.random).into_iter().enumerate() {
            if self.random.chance(40) {
                wait_for(PROGRESS_WITHIN, || (self.newest() != self.before).then_some(()));
                std::thread::sleep(self.random.millis(0, 1_000));
            } else {
                std::thread::sleep(self.random.millis(200, 3_000));
            }
            if self.random.chance(30) {
                self.fault();
                std::thread::sleep(self.random.millis(0, 1_000));
            }
            self.keep_running();
            self.look_for_replaced();
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
        }
    }

    /// Ends all faults that still last.
    pub fn heal(&self) {
        self.influx.heal();
        self.elastic.heal();
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

    /// The newest checkpoint there is.
    fn newest(&self) -> Option<OsString> {
        let folder = std::fs::read_dir(self.state.as_ref()?.join("manifests")).ok()?;
        folder.flatten().map(|file| file.file_name()).max()
    }

    /// Notes whether the members that just died had taken a checkpoint.
    fn died(&mut self) {
        let newest = self.newest();
        self.history.deaths += 1;
        self.history.deaths_with_checkpoint += usize::from(newest != self.before);
        self.before = newest;
    }

    /// A member that is running now or soon.
    fn member(&mut self) -> Option<u32> {
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
        self.is_reading();
        // Its first sign of life comes a moment later.
        std::thread::sleep(self.random.millis(1_000, 2_000));
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
        self.is_reading();
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

    /// Waits until the members have begun to read, which is when they can be found to hang.
    fn is_reading(&mut self) {
        let has_read = |metrics: &Metrics| metrics.of("tidewatch_source_records_total") > 0.0;
        wait_for(RESTART_WITHIN, || {
            self.keep_running();
            self.program.metrics().filter(has_read)
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

    /// Begins something that passes, and does not wait for it.
    fn fault(&mut self) {
        match self.random.below(6) {
            0 | 1 => self.store_out_of_reach(),
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
