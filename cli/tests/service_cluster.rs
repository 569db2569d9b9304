//! The supervisor and its members on a real Kafka: no member outlives its supervisor, what dies or hangs
//! is started again together with the others, and a stop is clean.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tidewatch_testkit::http::client::get;
use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::{free_ports, unique, wait_for};

const WITHIN: Duration = Duration::from_secs(60);

/// Supervisors and their members, which listen on `port` and those after it.
struct Cluster {
    supervisors: Vec<Child>,
    processes: u16,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for supervisor in &mut self.supervisors {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
        }
    }
}

fn exists(pid: u32) -> bool {
    // A zombie has ended: only its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit_once(')').unwrap_or_default().1.trim_start().starts_with('Z')
    })
}

fn signal(name: &str, pid: u32) {
    signal_all(name, &[pid]);
}

/// To all at once: one that is asked later might have ended by then.
fn signal_all(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    assert!(Command::new("kill").arg(name).args(pids).status().unwrap().success());
}

fn run(file: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(["run", "--hang-timeout", "5s", "-c"]).arg(file).args(args).spawn().unwrap()
}

impl Cluster {
    /// One supervisor of all processes, and all ready.
    fn local(broker: &Broker, processes: u16) -> Self {
        let start = |file: &Path, _: &Path| vec![run(file, &["-n", &processes.to_string()])];
        Self::start(broker, processes, start)
    }

    /// As many supervisors as processes, as on machines of their own.
    fn spread(broker: &Broker, processes: u16) -> Self {
        Self::start(broker, processes, |file, hosts| {
            let first = free_ports(processes);
            let lines = (first..first + processes).map(|port| format!("127.0.0.1:{port}\n"));
            std::fs::write(hosts, lines.collect::<String>()).unwrap();
            let (count, hosts) = (processes.to_string(), hosts.to_str().unwrap());
            let one = |index: u16| {
                run(file, &["-n", &count, "-p", &index.to_string(), "--hostfile", hosts])
            };
            (0..processes).map(one).collect()
        })
    }

    fn start(
        broker: &Broker,
        processes: u16,
        start: impl FnOnce(&Path, &Path) -> Vec<Child>,
    ) -> Self {
        let topic = unique("cpu-usage");
        broker.create_topic(&topic, 2).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(processes);
        let text = format!(
            "[kafka]\nbrokers = [\"{}\"]\n[[sources]]\ntopic = \"{topic}\"\nformat = \"telegraf_json\"\n\
             [time]\nstart = \"earliest\"\n[[statistics]]\nname = \"cpu\"\nmeasurement = \"cpu\"\n\
             field = \"usage_active\"\ngroup_by = [\"host\"]\nwindows = [{{ size = \"10s\" }}]\n\
             aggregates = [\"mean\"]\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\n",
            broker.bootstrap()
        );
        let file = folder.path().join("tidewatch.toml");
        std::fs::write(&file, text).unwrap();
        let supervisors = start(&file, &folder.path().join("hosts"));
        let mut cluster = Cluster { supervisors, processes, port, _folder: folder };
        cluster.wait_ready(&[]);
        cluster
    }

    /// Waits until all members are others than `before`, and at the end of their partitions. Returns how
    /// long that took.
    fn wait_ready(&mut self, before: &[u32]) -> Duration {
        let began = Instant::now();
        let mut answers = Vec::new();
        let ready = wait_for(WITHIN, || {
            let members = self.members();
            answers = (self.port..self.port + self.processes).map(readiness).collect();
            let new = members.len() == usize::from(self.processes)
                && !members.iter().any(|pid| before.contains(pid));
            (new && answers.iter().all(|(ready, _)| *ready)).then_some(())
        });
        let ended: Vec<_> = self.supervisors.iter_mut().map(|s| s.try_wait().unwrap()).collect();
        assert!(
            ready.is_some(),
            "not ready in time: supervisors {ended:?}, members {:?}, /readyz {answers:#?}",
            self.members()
        );
        began.elapsed()
    }

    /// Ids of all member processes, in order of their start.
    fn members(&self) -> Vec<u32> {
        let of = |supervisor: &Child| {
            let pid = supervisor.id();
            // It is its main thread that has the children.
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            children.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
        };
        self.supervisors.iter().flat_map(of).collect()
    }

    /// Waits until all supervisors have ended, all with this code and without leaving a member.
    fn wait_ended(mut self, code: i32) {
        let members = self.members();
        for supervisor in &mut self.supervisors {
            let status = wait_for(WITHIN, || supervisor.try_wait().unwrap());
            assert_eq!(status.and_then(|status| status.code()), Some(code), "{status:?}");
        }
        assert!(!members.iter().any(|pid| exists(*pid)), "a member is left");
    }
}

/// Whether the process that listens on `port` is ready, and what it says.
fn readiness(port: u16) -> (bool, String) {
    match get(&format!("http://127.0.0.1:{port}/readyz"), &[]) {
        Ok(answer) => (answer.status == 200, format!("{answer:?}")),
        Err(error) => (false, error.to_string()),
    }
}

#[test]
fn members_die_with_their_supervisor() {
    let Some(broker) = Broker::shared() else { return };
    let cluster = Cluster::local(broker, 2);
    let members = cluster.members();
    signal("-KILL", cluster.supervisors[0].id());
    let gone = wait_for(WITHIN, || (!members.iter().any(|pid| exists(*pid))).then_some(()));
    assert!(gone.is_some(), "nobody outlives the supervisor");
}

#[test]
fn a_member_that_is_killed_restarts_all_and_the_run_goes_on() {
    let Some(broker) = Broker::shared() else { return };
    for processes in [1, 2] {
        let mut cluster = Cluster::local(broker, processes);
        let members = cluster.members();
        signal("-KILL", *members.last().unwrap());
        let took = cluster.wait_ready(&members);
        eprintln!("-n {processes}: ready again after {took:?}");
        assert!(!members.iter().any(|pid| exists(*pid)), "nobody goes on alone");
        signal("-TERM", cluster.supervisors[0].id());
        cluster.wait_ended(0);
    }
}

#[test]
fn a_member_that_hangs_restarts_all() {
    let Some(broker) = Broker::shared() else { return };
    let mut cluster = Cluster::local(broker, 2);
    let members = cluster.members();
    signal("-STOP", members[0]);
    let took = cluster.wait_ready(&members);
    assert!(took >= Duration::from_secs(3), "not before it has been silent for 5 s: {took:?}");
    assert!(!members.iter().any(|pid| exists(*pid)));
}

#[test]
fn members_on_several_machines_find_each_other_again() {
    let Some(broker) = Broker::shared() else { return };
    let mut cluster = Cluster::spread(broker, 2);
    let members = cluster.members();
    signal("-KILL", members[0]);
    let took = cluster.wait_ready(&members);
    eprintln!("two supervisors: ready again after {took:?}");
    // Whoever is asked, all stop.
    signal("-TERM", cluster.supervisors[1].id());
    cluster.wait_ended(0);
}

#[test]
fn a_stop_is_clean_whoever_is_asked() {
    let Some(broker) = Broker::shared() else { return };
    // One member; or everybody, as a service manager may do.
    for everybody in [false, true] {
        let cluster = Cluster::local(broker, 2);
        let members = cluster.members();
        let all = [members[0], members[1], cluster.supervisors[0].id()];
        signal_all("-TERM", if everybody { &all } else { &all[..1] });
        cluster.wait_ended(0);
    }
}

#[test]
fn a_supervisor_that_is_asked_twice_leaves_at_once() {
    let Some(broker) = Broker::shared() else { return };
    let cluster = Cluster::local(broker, 2);
    // A member that does not hear the first request keeps the run from its end.
    signal("-STOP", cluster.members()[0]);
    signal("-TERM", cluster.supervisors[0].id());
    signal("-INT", cluster.supervisors[0].id());
    cluster.wait_ended(130);
}
