//! A local cluster of two processes on a real Kafka: no member outlives its supervisor, and none goes on
//! when another has died.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Child, Command};
use std::time::Duration;

use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::{unique, wait_for};

const WITHIN: Duration = Duration::from_secs(30);

/// A supervisor with two members.
struct Cluster {
    supervisor: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn exists(pid: u32) -> bool {
    // A zombie has ended: only its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit_once(')').unwrap_or_default().1.trim_start().starts_with('Z')
    })
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

impl Cluster {
    fn start(broker: &Broker) -> Self {
        let topic = unique("cpu-usage");
        broker.create_topic(&topic, 2).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
        let supervisor = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
            .args(["run", "-n", "2", "-c"])
            .arg(&file)
            .spawn()
            .unwrap();
        let cluster = Cluster { supervisor, _folder: folder };
        // Both members are at the end of their partitions once the second one says so.
        let ready = wait_for(WITHIN, || {
            let ask = |port| {
                tidewatch_testkit::http::client::get(
                    &format!("http://127.0.0.1:{port}/readyz"),
                    &[],
                )
                .is_ok_and(|answer| answer.status == 200)
            };
            (ask(port) && ask(port + 1)).then_some(())
        });
        assert!(ready.is_some(), "the cluster is ready in time");
        cluster
    }

    fn members(&self) -> Vec<u32> {
        let pid = self.supervisor.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

#[test]
fn members_die_with_their_supervisor() {
    let Some(broker) = Broker::shared() else { return };
    let cluster = Cluster::start(broker);
    let members = cluster.members();
    assert_eq!(members.len(), 2);
    signal("-KILL", cluster.supervisor.id());
    let gone = wait_for(WITHIN, || (!members.iter().any(|pid| exists(*pid))).then_some(()));
    assert!(gone.is_some(), "nobody outlives the supervisor");
}

#[test]
fn a_member_that_dies_ends_the_run() {
    let Some(broker) = Broker::shared() else { return };
    let mut cluster = Cluster::start(broker);
    let members = cluster.members();
    signal("-KILL", members[1]);
    let status = wait_for(WITHIN, || cluster.supervisor.try_wait().unwrap());
    assert_eq!(status.unwrap().code(), Some(1), "the run has failed");
    assert!(!exists(members[0]), "the other member does not go on alone");
}

#[test]
fn a_stop_is_clean_for_all() {
    let Some(broker) = Broker::shared() else { return };
    let mut cluster = Cluster::start(broker);
    let members = cluster.members();
    signal("-TERM", members[0]);
    let status = wait_for(WITHIN, || cluster.supervisor.try_wait().unwrap());
    assert_eq!(status.unwrap().code(), Some(0), "SIGTERM to one member stops all, in order");
    assert!(!members.iter().any(|pid| exists(*pid)));
}
