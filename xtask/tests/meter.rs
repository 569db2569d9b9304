//! The meter of the comparison, as a program: nothing that a system starts is lost from its account.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// Runs a shell script under the meter.
fn meter(folder: &Path, limit_ms: u32, script: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("meter").arg("--out").arg(folder.join("cost.json"));
    command.args(["--limit-ms", &limit_ms.to_string(), "--", "sh", "-c", script]);
    command.current_dir(folder).output().unwrap()
}

fn cost(folder: &Path, name: &str) -> f64 {
    let text = fs::read_to_string(folder.join("cost.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[name].as_f64().unwrap()
}

/// A script that counts for some tens of milliseconds.
const COUNT: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

/// Whether the process whose number is in `file` lives.
fn lives(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z")
}

#[test]
fn children_and_orphans_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(meter(folder, 60_000, COUNT).status.success());
    let alone = cost(folder, "cpu_seconds");
    assert!(alone > 0.01, "{alone}");
    assert!(cost(folder, "wall_seconds") > 0.01);
    // Two that nobody waits for: their parent ends at once. One has ended before the program, one has not.
    let script = format!(
        "(sh -c '{COUNT}; touch done' &) ; (sh -c 'echo $$ > pid; {COUNT}; touch too; sleep 600' &) ;
         while [ ! -e done ] || [ ! -e too ]; do sleep 0.05; done"
    );
    assert!(meter(folder, 60_000, &script).status.success());
    let orphans = cost(folder, "cpu_seconds");
    assert!(orphans > alone * 1.3, "{orphans} for two, {alone} for one");
    assert!(!lives(&folder.join("pid")), "what is left behind is ended");
}

/// Memory is sampled: what runs for less than a look has no figure, and its first look sees it before it has begun.
#[test]
fn memory_of_what_lasts_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    assert!(meter(folder.path(), 60_000, "sleep 0.5; true").status.success());
    assert!(cost(folder.path(), "memory_mib") > 0.1);
}

#[test]
fn failures_are_passed_on_and_time_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let failed = meter(folder, 60_000, "exit 3");
    assert!(!failed.status.success());
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(said.contains("`sh` failed (exit status: 3)"), "{said}");
    let slow = meter(folder, 300, "echo $$ > pid; sleep 600 & wait");
    assert!(!slow.status.success());
    let said = String::from_utf8_lossy(&slow.stderr).into_owned();
    assert!(said.contains("it took longer than"), "{said}");
    assert!(!lives(&folder.join("pid")));
}
