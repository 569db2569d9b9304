//! What a process costs: CPU by thread, memory, the machine's load; and running this program once more.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// The kernel counts in hundredths of a second on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Threads of this name make messages: what they cost is not the pipeline's.
pub(crate) const GENERATOR: &str = "generator";
/// Threads of this name, and the main thread, only look: neither is theirs.
pub(crate) const WATCHER: &str = "watcher";

/// How much CPU this process has used at one moment.
pub(crate) struct CpuClock {
    total: u64,
    /// By thread number: what the thread is called, and what it has used.
    threads: BTreeMap<u32, (String, u64)>,
}

/// CPU seconds between two moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu {
    /// Of all threads but the generators and watchers.
    pub(crate) seconds: f64,
    /// By group of threads, those included; threads that have ended meanwhile are in none.
    pub(crate) groups: BTreeMap<String, f64>,
}

/// User and system time in a line of `stat`, and the name in it.
fn ticks(stat: &str) -> Option<(String, u64)> {
    // The name in parentheses may hold anything; fields are counted after it.
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    Some((name, fields.next()?.ok()? + fields.next()?.ok()?))
}

/// `rdk:broker1` and `rdk:broker2` are one group: names without their numbers.
fn group(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned()
}

impl CpuClock {
    /// Looks at all threads.
    pub(crate) fn now() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").context("could not read CPU time")?;
        let (_, total) = ticks(&stat).context("could not read CPU time")?;
        let mut threads = BTreeMap::new();
        for entry in std::fs::read_dir("/proc/self/task").context("could not list threads")? {
            let path = entry.context("could not list threads")?.path();
            // A thread that has ended since is in the total.
            let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
            let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            if let Some((id, (name, used))) = id.zip(ticks(&stat)) {
                // The main thread is called like the program.
                let is_main = id == std::process::id();
                threads.insert(id, (if is_main { WATCHER.to_owned() } else { name }, used));
            }
        }
        Ok(CpuClock { total, threads })
    }

    /// What was used from then to now.
    pub(crate) fn until(&self, now: &CpuClock) -> Cpu {
        let mut groups = BTreeMap::new();
        for (id, (name, used)) in &now.threads {
            let before =
                self.threads.get(id).filter(|(n, _)| n == name).map_or(0, |(_, used)| *used);
            let seconds = used.saturating_sub(before) as f64 / TICKS_PER_SECOND;
            *groups.entry(group(name)).or_insert(0.0) += seconds;
        }
        let all = now.total.saturating_sub(self.total) as f64 / TICKS_PER_SECOND;
        let other = [GENERATOR, WATCHER].map(|name| groups.get(name).copied().unwrap_or_default());
        Cpu { seconds: (all - other.iter().sum::<f64>()).max(0.0), groups }
    }
}

impl Cpu {
    /// CPU seconds per million of `messages`.
    pub(crate) fn per_million(&self, messages: u64) -> f64 {
        self.seconds / (messages.max(1) as f64 / 1e6)
    }

    /// The groups that use most, per million of `messages`: `timely:work=0.61 rdk:broker=0.45`.
    pub(crate) fn groups_per_million(&self, messages: u64) -> String {
        let millions = messages.max(1) as f64 / 1e6;
        let mut groups: Vec<_> = self.groups.iter().filter(|(_, s)| **s > 0.0).collect();
        groups.sort_by(|a, b| b.1.total_cmp(a.1));
        let texts = groups.iter().map(|(name, seconds)| {
            format!("{}={:.3}", name.replace(' ', "_"), *seconds / millions)
        });
        texts.collect::<Vec<_>>().join(" ")
    }
}

/// A line of `/proc/self/status` in KiB.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Memory that this process holds now, in KiB.
pub(crate) fn resident_kib() -> u64 {
    status_kib("VmRSS:")
}

/// The most memory it ever held, in KiB.
pub(crate) fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

/// The machine's load over the last minute: what else it was doing.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// This program with other arguments.
pub(crate) fn again(arguments: &[String]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("could not find this program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Runs this program with other arguments to its end, and returns the `name=value` pairs it printed.
pub(crate) fn measure_again(arguments: &[String]) -> anyhow::Result<BTreeMap<String, f64>> {
    let output = again(arguments)?.output().context("could not start this program again")?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "`{}` failed: {text}", arguments.join(" "));
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    Ok(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_be_called_anything() {
        let stat = "7 (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 52 3 0 0 20 0";
        assert_eq!(ticks(stat), Some(("a (b) c".to_owned(), 55)));
        assert_eq!(group("timely:work-12"), "timely:work");
    }

    #[test]
    fn generators_and_watchers_do_not_count() {
        let at = |making: u64, working: u64| {
            let named = |name: &str, used| (name.to_owned(), used);
            let threads = [
                (1, named(GENERATOR, making)),
                (2, named("work-0", working)),
                (3, named(WATCHER, working)),
            ];
            CpuClock { total: making + 2 * working, threads: threads.into() }
        };
        let cpu = at(100, 10).until(&at(400, 60));
        assert_eq!((cpu.seconds, cpu.per_million(500_000)), (0.5, 1.0));
        assert_eq!(cpu.groups_per_million(1_000_000), "generator=3.000 watcher=0.500 work=0.500");
    }
}
