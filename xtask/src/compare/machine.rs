//! The machine and the programs that figures depend on.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use serde_json::{Value, json};
use tidewatch_testkit::cache;

use super::usage::kib;
use crate::shell::capture;

/// What a result has to say about where it comes from. Says nothing about whose machine it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Machine {
    /// The day, in UTC.
    pub(super) date: String,
    /// The processor, as the kernel names it.
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_gib: f64,
    pub(super) kernel: String,
    pub(super) rustc: String,
    /// Of this project, with `+changes` when files differ from it.
    pub(super) commit: String,
    pub(super) kafka: &'static str,
}

/// Looks around.
pub(super) fn describe(project: &Path) -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let git = |arguments: &[&str]| {
        capture(Command::new("git").args(arguments).current_dir(project)).unwrap_or_default()
    };
    let changes = if git(&["status", "--porcelain"]).is_empty() { "" } else { "+changes" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Machine {
        date: capture(Command::new("date").args(["-u", "+%Y-%m-%d"]))?,
        processor: processor(&read("/proc/cpuinfo")),
        cores,
        memory_gib: memory_gib(&read("/proc/meminfo")),
        kernel: kernel(&read("/proc/sys/kernel/osrelease")),
        rustc: capture(Command::new("rustc").arg("--version").current_dir(project))?,
        commit: format!("{}{changes}", git(&["rev-parse", "--short=12", "HEAD"])),
        kafka: cache::KAFKA.version,
    })
}

impl Machine {
    /// A short name for folders: `2x-amd-epyc-9r14`.
    pub(super) fn slug(&self) -> String {
        let noise = |word: &&str| {
            let word = word.to_ascii_lowercase();
            !matches!(&*word, "cpu" | "processor" | "with" | "@" | "virtual" | "")
                && !word.ends_with("-core")
                && !word.ends_with("ghz")
        };
        let plain = self.processor.replace("(R)", " ").replace("(TM)", " ").replace("(tm)", " ");
        let words: Vec<_> = plain.split_whitespace().filter(noise).take(4).collect();
        let name: String = words
            .join("-")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        format!("{}x-{}", self.cores, if name.is_empty() { "unknown" } else { &name })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "memory_gib": self.memory_gib,
            "kernel": self.kernel,
        })
    }
}

/// The version without what whoever built it has added.
fn kernel(release: &str) -> String {
    release.trim().split(['-', '+']).next().unwrap_or_default().to_owned()
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("unknown").to_owned()
}

fn memory_gib(meminfo: &str) -> f64 {
    (kib(meminfo, "MemTotal:") as f64 / (1 << 20) as f64).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(processor: &str) -> String {
        let machine = Machine {
            date: String::new(),
            processor: processor.to_owned(),
            cores: 2,
            memory_gib: 0.0,
            kernel: String::new(),
            rustc: String::new(),
            commit: String::new(),
            kafka: "",
        };
        machine.slug()
    }

    #[test]
    fn processors_have_short_names() {
        assert_eq!(slug("AMD EPYC 9R14 96-Core Processor"), "2x-amd-epyc-9r14");
        assert_eq!(
            slug("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"),
            "2x-intel-xeon-platinum-8375c"
        );
        assert_eq!(slug(""), "2x-unknown");
    }

    #[test]
    fn the_kernel_knows_the_machine() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\n";
        assert_eq!(processor(cpuinfo), "AMD EPYC");
        assert_eq!(processor("CPU part : 0xd0c\n"), "unknown");
        assert_eq!(kernel("6.12.38+deb13-cloud-amd64\n"), "6.12.38");
        assert_eq!(memory_gib("MemTotal:       24641536 kB\nMemFree: 1 kB\n"), 24.0);
    }
}
