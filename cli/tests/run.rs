//! `tidewatch run` without a broker: exit codes, and what the supervisor does before anything is read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tidewatch_testkit::{free_ports, wait_for};

const WITHIN: Duration = Duration::from_secs(60);

/// A pipeline file whose broker is a port on which nobody listens: a member that is started with it waits
/// half a minute for an answer.
fn file(folder: &Path) -> PathBuf {
    let text = format!(
        "[kafka]\nbrokers = [\"127.0.0.1:{}\"]\n[[sources]]\ntopic = \"cpu\"\nformat = \"telegraf_json\"\n\
         [[statistics]]\nname = \"cpu\"\nmeasurement = \"cpu\"\nfield = \"usage_active\"\n\
         group_by = [\"host\"]\nwindows = [{{ size = \"10s\" }}]\naggregates = [\"mean\"]\n\
         [http]\nlisten = \"127.0.0.1:{}\"\n",
        free_ports(1),
        free_ports(1)
    );
    let file = folder.join("tidewatch.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn command(file: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(["run", "-c"]).arg(file).args(args).stderr(Stdio::piped());
    command
}

/// A supervisor with at least one member, ended when the test fails.
struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Supervisor {
    fn start(mut command: Command) -> Self {
        let supervisor = Supervisor(command.stderr(Stdio::inherit()).spawn().unwrap());
        assert!(supervisor.member(None).is_some(), "it starts a member");
        supervisor
    }

    /// A member other than `before`.
    fn member(&self, before: Option<u32>) -> Option<u32> {
        let pid = self.0.id();
        wait_for(WITHIN, || {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let pid = children.ok()?.split_whitespace().next()?.parse().ok();
            pid.filter(|pid| Some(*pid) != before)
        })
    }

    fn code(mut self) -> Option<i32> {
        wait_for(WITHIN, || self.0.try_wait().unwrap()).and_then(|status| status.code())
    }
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cannot_be_right_is_code_2_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path());
    let wrong: [(&[&str], &str); 4] = [
        (&["--hang-timeout", "1s"], "give 3s or more, or 0s"),
        (&["--hang-timeout", "5"], "is not a duration"),
        (
            &["-n", "2", "-p", "0", "--hostfile", "nowhere"],
            "could not read the host file `nowhere`",
        ),
        (&["-n", "2", "-p", "2", "--hostfile", "nowhere"], "counts from 0"),
    ];
    for (args, text) in wrong {
        let output = command(&file, args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(told(&output).contains(text), "{args:?}: {}", told(&output));
    }
}

#[test]
fn a_member_whose_supervisor_is_gone_ends() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&file(folder.path()), &[]).env("TIDEWATCH_PARENT", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told(&output).contains("the supervisor (process 1) is gone"), "{}", told(&output));
}

#[test]
fn a_stop_while_the_brokers_are_away_does_not_wait_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(command(&file(folder.path()), &["-n", "2"]));
    let began = std::time::Instant::now();
    signal("-TERM", supervisor.0.id());
    assert_eq!(supervisor.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_member_that_dies_is_started_again_and_one_that_refuses_the_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path());
    let supervisor = Supervisor::start(command(&file, &[]));
    let first = supervisor.member(None).unwrap();
    signal("-KILL", first);
    let second = supervisor.member(Some(first)).unwrap();
    std::fs::write(&file, "[kafka]\n").unwrap();
    signal("-KILL", second);
    assert_eq!(supervisor.code(), Some(2));
}
