//! `cargo xtask meter`, which the comparison runs for itself: a program and what it and all its descendants cost.
//!
//! ```text
//!  compare ─► meter ─► run.sh ─► java ─► …
//!               ▲                  │
//!               └─ adopts, reaps ──┘  whoever is left behind by its parent
//! ```
//!
//! It is the reaper of its descendants: a process whose parent has ended becomes its own child. So it can wait
//! for every single one, and the kernel's account of its children is exact: no sampling, and nothing lost with
//! a process that was short-lived. Memory is sampled.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
        time::TimeVal,
        wait::waitpid,
    },
    unistd::Pid,
};
use serde_json::{Value, json};

use super::usage::memory_kib;
use crate::shell::descendants;

/// How often memory is looked at, and whether the program has ended.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Samples of memory are taken every so many looks: walking `/proc` costs time of its own. The first looks, as many,
/// take one each, so that a program that ends at once has a figure too.
const LOOKS_PER_SAMPLE: u32 = 10;

/// What to run.
#[derive(Clone, Debug, Args)]
pub(crate) struct MeterArguments {
    /// Where to write what it cost.
    #[arg(long)]
    out: PathBuf,
    /// Milliseconds after which it is killed.
    #[arg(long)]
    limit_ms: u64,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<PathBuf>,
}

/// What a program cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// User and system time of it and all its descendants.
    pub(crate) cpu_seconds: f64,
    /// From its start to its end.
    pub(crate) wall_seconds: f64,
    /// The most memory that all of them held together.
    pub(crate) memory_mib: f64,
}

impl Cost {
    pub(super) fn to_json(self) -> Value {
        json!({
            "cpu_seconds": self.cpu_seconds,
            "wall_seconds": self.wall_seconds,
            "memory_mib": self.memory_mib,
        })
    }

    fn of_json(value: &Value) -> Option<Self> {
        Some(Cost {
            cpu_seconds: value["cpu_seconds"].as_f64()?,
            wall_seconds: value["wall_seconds"].as_f64()?,
            memory_mib: value["memory_mib"].as_f64()?,
        })
    }

    /// What a meter has written to `out`.
    pub(super) fn read(out: &Path) -> Result<Self> {
        let text = fs::read_to_string(out)
            .with_context(|| format!("could not read `{}`", out.display()))?;
        let value: Value = serde_json::from_str(&text).context("the meter wrote no JSON")?;
        Cost::of_json(&value).context("the meter wrote something else")
    }
}

/// The command that runs `command` under a meter, which this very program is.
pub(super) fn metered(command: &Command, out: &Path, limit: Duration) -> Result<Command> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let mut metered = Command::new(program);
    metered.arg("meter").arg("--out").arg(out);
    metered.args(["--limit-ms", &limit.as_millis().to_string(), "--"]);
    metered.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => metered.env(name, value),
            None => metered.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        metered.current_dir(folder);
    }
    Ok(metered)
}

/// Runs the program to its end; whether it succeeded.
pub(crate) fn run(arguments: &MeterArguments) -> Result<bool> {
    prctl::set_child_subreaper(true).context("could not adopt orphans")?;
    prctl::set_pdeathsig(Signal::SIGTERM).context("could not ask to die with the parent")?;
    let (program, rest) = arguments.command.split_first().context("there is nothing to run")?;
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null());
    let limit = Duration::from_millis(arguments.limit_ms);
    let (own, began) = (std::process::id(), Instant::now());
    let mut child =
        command.spawn().with_context(|| format!("could not start `{}`", program.display()))?;
    let (mut most_kib, mut looks) = (0, 0_u32);
    let status = loop {
        if let Some(status) = child.try_wait().context("could not wait for the program")? {
            break status;
        }
        if looks < LOOKS_PER_SAMPLE || looks.is_multiple_of(LOOKS_PER_SAMPLE) {
            most_kib = memory_kib(&descendants(own)).max(most_kib);
        }
        looks = looks.wrapping_add(1);
        if began.elapsed() > limit {
            end_all(own);
            bail!("it took longer than {} s", limit.as_secs());
        }
        thread::sleep(SAMPLE_EVERY);
    };
    let wall_seconds = began.elapsed().as_secs_f64();
    end_all(own);
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).context("could not read what it used")?;
    let cost = Cost {
        cpu_seconds: seconds(used.user_time()) + seconds(used.system_time()),
        wall_seconds,
        memory_mib: most_kib as f64 / 1_024.0,
    };
    fs::write(&arguments.out, cost.to_json().to_string())
        .with_context(|| format!("could not write `{}`", arguments.out.display()))?;
    if !status.success() {
        eprintln!("`{}` failed ({status})", program.display());
    }
    Ok(status.success())
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// Ends whatever is left of the tree and waits for all of it, so that all of it is counted.
fn end_all(own: u32) {
    loop {
        for pid in descendants(own) {
            // It may have ended meanwhile; then it is waited for below.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        loop {
            match waitpid(None, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                // There are no children any more.
                Err(_) => return,
            }
            if !descendants(own).is_empty() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_survives_its_file() {
        let cost = Cost { cpu_seconds: 1.25, wall_seconds: 0.5, memory_mib: 353.0 };
        assert_eq!(Cost::of_json(&cost.to_json()), Some(cost));
        assert_eq!(Cost::of_json(&json!({ "cpu_seconds": 1.0 })), None);
    }

    #[test]
    fn what_is_metered_keeps_its_environment() {
        let mut command = Command::new("run.sh");
        command.arg("--fast").env("OUT", "here").env_remove("GONE").current_dir("/");
        let metered = metered(&command, Path::new("cost"), Duration::from_secs(2)).unwrap();
        let args: Vec<_> = metered.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let expected = ["meter", "--out", "cost", "--limit-ms", "2000", "--", "run.sh", "--fast"];
        assert_eq!(args, expected);
        assert_eq!(metered.get_envs().count(), 2);
        assert_eq!(metered.get_current_dir(), Some(Path::new("/")));
    }
}
