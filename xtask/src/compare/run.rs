//! Setting systems up, and measuring one of them once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tidewatch_testkit::cache;

use super::{
    clock::Progress,
    dataset::Dataset,
    exchange,
    meter::{self, Cost},
    options::CompareArguments,
    outcome::{Measured, Sized},
    site::{self, Broker, Task},
    system::System,
    usage,
    verdict::{self, Verdict},
    warm,
};
use crate::shell::{Job, end_tree};

/// How long setting a peer up may take: it may fetch and build.
const SET_UP_LIMIT: Duration = Duration::from_secs(3_600);
/// How long a meter may take to end what it has started, after its limit.
const GRACE: Duration = Duration::from_secs(30);
/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a line is printed while it runs.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Everything that runs are measured with.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    arguments: &'a CompareArguments,
    progress: &'a Progress,
    programs: PathBuf,
    broker: Broker,
    pub(super) full: Dataset,
    pub(super) small: Dataset,
    /// Logs, answers and labels.
    folder: PathBuf,
    /// Where peers keep what they fetched.
    cache: PathBuf,
}

impl<'a> Bench<'a> {
    /// Builds, starts a broker and loads the topics.
    pub(super) fn prepare(
        arguments: &'a CompareArguments,
        project: &Path,
        progress: &'a Progress,
    ) -> Result<Self> {
        let programs = match &arguments.programs {
            Some(folder) => std::path::absolute(folder).context("could not find `--programs`")?,
            None => {
                progress.say("building tidewatch and the programs of the benchmark");
                site::build(project)?
            }
        };
        site::fetch_kafka()?;
        progress.say("starting Kafka");
        let broker = Broker::start(&programs)?;
        let folder = site::target(project)?.join("compare");
        let cache = cache::root()?.join("peers");
        fs::create_dir_all(&cache)
            .with_context(|| format!("could not make `{}`", cache.display()))?;
        let place = (&*programs, &*broker.bootstrap);
        let load =
            |suffix, messages| site::load(arguments, place, (suffix, messages), &folder, progress);
        let small = load("-small", arguments.small_messages())?;
        let full = load("", arguments.messages)?;
        Ok(Bench { arguments, progress, programs, broker, full, small, folder, cache })
    }

    /// Makes a system ready to run; the reason when it cannot.
    pub(super) fn set_up(&self, system: &System) -> Result<(), String> {
        let System::Peer(peer) = system else { return Ok(()) };
        self.progress.say(&format!("setting up {}", peer.id));
        let mut command = Command::new(peer.folder.join("setup.sh"));
        command.env("PEERS_CACHE", &self.cache);
        let label = format!("{}-setup", peer.id);
        self.run(&label, &mut command, SET_UP_LIMIT).map_err(|error| format!("{error:#}"))
    }

    /// Runs `system` on the small topics and on the full ones, and checks what it says.
    pub(super) fn measure(&self, system: &System, round: u32) -> Result<Measured, String> {
        let queries = system.queries(&self.arguments.queries);
        if queries.is_empty() {
            return Err("it can answer none of these queries".to_owned());
        }
        let one = |size: &str, data: &Dataset| {
            let label = format!("{}-{size}", system.name());
            self.one(system, &label, data, &queries).map_err(|error| format!("{error:#}"))
        };
        let small = one("small", &self.small)?;
        let full = one("full", &self.full)?;
        let out = self.out(&format!("{}-full", system.name()));
        let verdict = verdict::check(system, &self.programs, &self.full, &queries, &out)
            .map_err(|error| format!("{error:#}"))?;
        let exchanged = exchange::share(&out).map_err(|error| format!("{error:#}"))?;
        let _ = fs::remove_dir_all(self.out(&format!("{}-small", system.name())));
        if !matches!(verdict, Verdict::Wrong(_)) {
            // Hundreds of megabytes that nobody will look at.
            let _ = fs::remove_dir_all(&out);
        }
        let measured = Measured { queries, small, full, exchanged, verdict };
        self.progress.say(&format!("{}, round {round}: {}", system.name(), measured.summary()));
        Ok(measured)
    }

    fn out(&self, label: &str) -> PathBuf {
        self.folder.join("out").join(label)
    }

    /// One run, into an empty folder.
    fn one(
        &self,
        system: &System,
        label: &str,
        data: &Dataset,
        queries: &[String],
    ) -> Result<Sized> {
        let out = self.out(label);
        // Of an earlier comparison.
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out).with_context(|| format!("could not make `{}`", out.display()))?;
        let task = Task {
            programs: &self.programs,
            bootstrap: &self.broker.bootstrap,
            data,
            queries,
            out: &out,
            cache: &self.cache,
            parallelism: self.arguments.parallelism,
        };
        warm::memory()?;
        let (cost, load) = (self.folder.join(format!("{label}.json")), usage::load());
        let _ = fs::remove_file(&cost);
        self.progress.say(&format!("running {label}, load {load:.2}"));
        let limit = self.arguments.time_limit;
        let mut command = meter::metered(&system.command(&task), &cost, limit)?;
        self.run(label, &mut command, limit + GRACE)?;
        Ok(Sized { records: data.records(queries), cost: Cost::read(&cost)?, load })
    }

    /// Runs `command` to its end, with its output in a log of its own.
    fn run(&self, label: &str, command: &mut Command, limit: Duration) -> Result<()> {
        let job = Job::new(label, self.folder.join(format!("{label}.log")))?;
        let mut child = job.spawn(command)?;
        let (began, mut told) = (Instant::now(), Instant::now());
        loop {
            match child.try_wait().context("could not wait for a program")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    self.progress.say(&job.tail());
                    bail!("{label} ({status})");
                }
                None if began.elapsed() > limit => {
                    end_tree(&mut child);
                    bail!("{label} took longer than {} s", limit.as_secs());
                }
                None => {}
            }
            if told.elapsed() > SIGN_OF_LIFE {
                told = Instant::now();
                self.progress.say(&format!("still running {label}"));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}
