//! A run of the demo: the in-process Kafka, the fleet that writes to it, the very service of
//! `tidewatch run` that reads from it, and the judgement at the end.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::Context;
use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::time::{Clock, EventTime};
use tokio::runtime::Runtime;

use super::config::{DemoSettings, pipeline};
use super::console::{self, Progress, Step};
use super::evaluate::{Report, RunFacts, Seen, evaluate};
use super::fleet::Fleet;
use super::mock::{Feeder, FleetProducer, MockKafka};
use crate::cluster::{self, Membership};
use crate::config;
use crate::service::{Service, ServiceOptions};

/// What is asked of the demo.
#[derive(Clone, Debug)]
pub struct Demo {
    /// How long after the start of live data it stops by itself.
    pub duration: Option<Duration>,
    /// Where to write the report.
    pub report: Option<PathBuf>,
    /// Hosts in the fleet.
    pub hosts: usize,
    /// Decides fleet and faults.
    pub seed: u64,
    /// Where to serve the page.
    pub page: Option<SocketAddr>,
}

/// Two workers: the least number that shows the exchange at work, and what a laptop can spare.
const WORKERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(1);
/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the demo until its time is over or a stop is wanted; the exit code of the process: 1 when a fault
/// was missed or an alert was false.
///
/// # Errors
/// Whatever kept it from running.
pub fn run(demo: &Demo) -> anyhow::Result<u8> {
    cluster::abort_on_panic();
    let runtime = Runtime::new().context("could not start the runtime for stores and page")?;
    let stop = cluster::stop_on_signal(runtime.handle())?;
    let mut out = std::io::stdout();
    say(
        &mut out,
        format_args!("starting an in-process Kafka and a fleet of {} hosts", demo.hosts),
    )?;
    let kafka = MockKafka::start(demo.hosts)?;
    let clock = Clock::System;
    let fleet = Fleet::new(demo.seed, demo.hosts, clock.now());
    let feeder = Feeder::spawn(fleet, FleetProducer::connect(kafka.brokers())?, clock.clone())?;
    let Some(backlog) = wait_for_backlog(&feeder, &stop)? else {
        feeder.stop()?;
        return Ok(0);
    };
    say(&mut out, format_args!("the last 30 minutes are in Kafka: {backlog} records"))?;

    let folder = tempfile::tempdir().context("could not make a folder for the database")?;
    let settings = DemoSettings {
        brokers: kafka.brokers(),
        hosts: demo.hosts,
        database: &folder.path().join("demo.db"),
        listen: demo.page,
    };
    let config = config::parse(&pipeline(&settings), "demo.toml")?;
    let (observer, transitions) = mpsc::channel();
    let options = ServiceOptions {
        membership: Membership::alone(WORKERS),
        stop: Arc::clone(&stop),
        serve: demo.page.is_some(),
        observer: Some(observer),
    };
    let service = Service::start(&config, options, runtime.handle())
        .context("could not start the demo; a port in use can be changed with `--port`")?;
    if let Some(address) = service.address {
        say(
            &mut out,
            format_args!("open http://{address}/ to look at it, press Ctrl-C to end it"),
        )?;
    }
    let mut watch = Watch { demo, clock, transitions, seen: Vec::new(), catch_up: None };
    let end = watch.until_stopped(&service, &feeder, backlog, &stop)?;
    let (records, windows) = service.totals();
    stop.store(true, Ordering::Relaxed);
    let fleet = feeder.stop();
    service.wait()?;
    watch.collect();
    let fleet = fleet.context("the simulated fleet failed")?;
    let facts = RunFacts {
        seed: demo.seed,
        hosts: demo.hosts,
        start: fleet.start(),
        end,
        records_read: records,
        windows_fired: windows,
        catch_up_records: backlog,
        catch_up: watch.catch_up,
    };
    let report = evaluate(fleet.faults(), &watch.seen, &facts);
    console::summary(&mut out, &report).context("could not write to standard output")?;
    write_report(demo, &report)?;
    Ok(report.exit_code())
}

fn say(out: &mut impl Write, line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    writeln!(out, "{line}").context("could not write to standard output")
}

/// Waits until the backlog is in Kafka; how many records it has, or `None` when a stop came first.
///
/// Reading begins only then: partitions that are still empty would pass for idle, and time would go on
/// without them.
fn wait_for_backlog(feeder: &Feeder, stop: &AtomicBool) -> anyhow::Result<Option<u64>> {
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if let Some(backlog) = feeder.progress().backlog {
            return Ok(Some(backlog));
        }
        anyhow::ensure!(!feeder.has_ended(), "the simulated fleet could not write its backlog");
        anyhow::ensure!(
            began.elapsed() < Duration::from_secs(300),
            "the backlog was not written within 5 minutes: try fewer `--hosts`"
        );
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}

/// Looks on while the service runs.
struct Watch<'a> {
    demo: &'a Demo,
    clock: Clock,
    transitions: Receiver<Transition>,
    seen: Vec<Seen>,
    catch_up: Option<Duration>,
}

impl Watch<'_> {
    /// Returns the fleet's time when the demo is over: by itself, or by a stop.
    fn until_stopped(
        &mut self,
        service: &Service,
        feeder: &Feeder,
        backlog: u64,
        stop: &AtomicBool,
    ) -> anyhow::Result<EventTime> {
        let (began, terminal) = (Instant::now(), std::io::stdout().is_terminal());
        let mut progress = Progress::new(std::io::stdout(), terminal);
        while !stop.load(Ordering::Relaxed) {
            anyhow::ensure!(!feeder.has_ended(), "the simulated fleet ended by itself");
            anyhow::ensure!(!service.has_ended(), "the pipeline ended by itself");
            let (elapsed, records) = (began.elapsed(), service.totals().0);
            if self.catch_up.is_none() {
                let step = Step { elapsed, records, total: Some(backlog) };
                if records >= backlog {
                    self.catch_up = Some(elapsed);
                    progress.finish(step).context("could not write to standard output")?;
                } else {
                    progress.tell(step).context("could not write to standard output")?;
                }
            }
            self.collect();
            if self.demo.duration.is_some_and(|duration| elapsed >= duration) {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(self.clock.now())
    }

    /// Takes in what the dataflow has said since the last time.
    fn collect(&mut self) {
        let seen_at = self.clock.now();
        let new = self.transitions.try_iter();
        self.seen.extend(new.map(|transition| Seen { transition, seen_at }));
    }
}

fn write_report(demo: &Demo, report: &Report) -> anyhow::Result<()> {
    let Some(path) = &demo.report else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(report).context("could not write the report as JSON")?;
    std::fs::write(path, text + "\n")
        .with_context(|| format!("could not write the report to `{}`", path.display()))
}
