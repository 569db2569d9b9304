//! One run of the program, from its configuration to what it leaves behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tidewatch_testkit::wait_for;

use crate::fleet::{Fleet, OUT_OF_ORDERNESS};
use crate::history::{History, Recorder};
use crate::left::{Left, count_documents, count_last_windows};
use crate::oracle::Oracle;
use crate::program::{Launcher, Metrics, Program};
use crate::state::State;
use crate::world::{Channels, Names, Servers, Setting, config, secrets};

/// How long a run may take to write everything once its input is complete.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);
/// For how long nothing may change in the end before all is taken to be there.
const STILL_FOR: Duration = Duration::from_secs(2);
/// For how long nothing may change while something is missing before it is taken to be lost: longer than
/// any back-off of a sink.
const LOST_AFTER: Duration = Duration::from_secs(35);
/// Statistics and rules of the pipeline.
const FEEDS: f64 = 5.0;

/// What the runs of a test share.
pub struct Stage {
    pub servers: Servers,
    pub fleet: Fleet,
    /// Where files of this test go: removed when it passes.
    pub folder: PathBuf,
    pub began: Instant,
}

impl Stage {
    /// Prints how far it is.
    pub fn say(&self, text: &str) {
        eprintln!("chaos, after {:.0} s: {text}", self.began.elapsed().as_secs_f64());
    }
}

/// What a run has come to.
pub struct Outcome {
    pub left: Left,
    /// What is wrong with the run by itself.
    pub faults: Vec<String>,
    pub history: History,
}

/// One run of the program: its channels and where it writes to.
pub struct Run {
    label: &'static str,
    names: Names,
    pub channels: Arc<Channels>,
    pub launcher: Launcher,
    recorder: Recorder,
    /// The folder of its files.
    pub folder: PathBuf,
}

impl Run {
    /// Makes its places and channels, and writes its configuration.
    pub fn prepare(
        stage: &Stage,
        label: &'static str,
        setting: &Setting<'_>,
        further: &[&str],
    ) -> Self {
        let folder = stage.folder.join(label);
        std::fs::create_dir_all(&folder).unwrap();
        let names = Names::create(&stage.servers, label);
        let channels = Arc::new(Channels::start());
        let config = config(&stage.servers, &names, &channels, setting, &folder);
        let environment = secrets(&channels).into_iter().chain(setting.state.environment());
        let launcher = Launcher::new(&folder, config, environment.collect(), further);
        let recorder = Recorder::start(Arc::clone(&channels));
        Run { label, names, channels, launcher, recorder, folder }
    }

    /// Waits until everything is written that `oracle` knows of, stops the program and reads what it has left.
    /// All is quiet from second `quiet_from` on.
    pub fn finish(
        self,
        stage: &Stage,
        mut program: Program,
        history: History,
        state: &State,
        (quiet_from, oracle): (u64, &Oracle),
    ) -> Outcome {
        let (mut faults, last) = (Vec::new(), Fleet::last_second(quiet_from));
        let (expected, expected_hosts) = (oracle.documents(), oracle.last_hosts());
        let began = Instant::now();
        let mut still: Option<(Vec<usize>, Instant)> = None;
        let mut progress = String::new();
        let drained = wait_for(DRAIN_WITHIN, || {
            if let Some(status) = program.ended() {
                faults.push(format!("the program ended while it was to drain: {status}"));
                program = self.launcher.start(program.size);
            }
            let metrics = program.metrics();
            let (lag, queued) = metrics.as_ref().map_or((f64::NAN, f64::NAN), |metrics| {
                let waits = ["tidewatch_sink_queued", "tidewatch_sink_spilled"];
                let waits = waits.map(|name| metrics.sum(name)).iter().sum();
                (metrics.sum("tidewatch_source_lag_records"), waits)
            });
            let documents = count_documents(&stage.servers, &self.names.index);
            let complete = last - OUT_OF_ORDERNESS;
            let (servers, bucket) = (&stage.servers, &self.names.bucket);
            let hosts = count_last_windows(servers, bucket, &stage.fleet, complete);
            progress = format!(
                "lag {lag}, queued {queued}, {documents} documents of {expected}, {hosts} hosts at the end"
            );
            let [slack, pagerduty, mail] = self.channels.counts();
            let alerts = count_documents(&stage.servers, &self.names.alerts);
            let now = vec![documents, alerts, hosts, slack, pagerduty, mail];
            std::thread::sleep(Duration::from_millis(200));
            match &still {
                Some((before, since)) if *before == now => {
                    let at_rest = lag + queued == 0.0;
                    let complete = at_rest && documents >= expected && hosts >= expected_hosts;
                    let lost = at_rest && since.elapsed() > LOST_AFTER;
                    (lost || complete && since.elapsed() > STILL_FOR).then_some(complete)
                }
                _ => {
                    still = Some((now, Instant::now()));
                    None
                }
            }
        });
        if drained != Some(true) {
            faults.push(format!("not complete within {DRAIN_WITHIN:?}: {progress}"));
        }
        stage.say(&format!(
            "{}: drained in {:.1} s: {progress}",
            self.label,
            began.elapsed().as_secs_f64()
        ));
        if let Some(metrics) = program.metrics() {
            faults.extend(conservation(&metrics));
        }
        program.signal(Signal::SIGTERM);
        match program.ends_within(Duration::from_secs(45)) {
            Some(status) if status.success() => {}
            ended => faults.push(format!("SIGTERM at the end: ended with {ended:?}")),
        }
        if !matches!(state, State::Nowhere) {
            match self.launcher.verify() {
                Ok(said) => {
                    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                    stage.say(&format!("{}: {} verify: {said}", self.label, state.contents()));
                }
                Err(said) => faults.push(format!("the state that is left is faulty: {said}")),
            }
        }
        let arrivals = self.recorder.finish();
        let (servers, names) = (&stage.servers, &self.names);
        let left = Left::read(servers, names, &self.channels, &arrivals, &stage.fleet, last);
        stage.say(&format!(
            "{}: {} points, {} documents, {} alerts, {} dead letters, {} messages, {} events, {} mails",
            self.label,
            left.points.len(),
            left.documents.len(),
            left.alerts.len(),
            left.letters.values().sum::<usize>(),
            left.told[0].len(),
            left.told[1].len(),
            left.told[2].len(),
        ));
        Outcome { left, faults, history }
    }
}

/// What does not add up in the counters of a run that is at rest.
fn conservation(metrics: &Metrics) -> Vec<String> {
    let mut faults = Vec::new();
    let selected = metrics.of("tidewatch_samples_selected_total");
    let merged = metrics.of("tidewatch_samples_merged_total");
    let late = metrics.of("tidewatch_samples_late_total");
    // Points behind the frontier are still to be merged, each by at most as many feeds as there are.
    let open = metrics.sum("tidewatch_source_open_points") * FEEDS;
    if !(merged + late..=merged + late + open).contains(&selected) {
        faults.push(format!(
            "{selected} samples selected, but {merged} merged + {late} late + at most {open} open"
        ));
    }
    for (sink, offered) in metrics.family("tidewatch_sink_offered_total") {
        let of = |name: &str| {
            let found = metrics.family(name).find(|(label, _)| *label == sink);
            found.map_or(0.0, |(_, value)| value)
        };
        let parts = [
            of("tidewatch_sink_delivered_total"),
            of("tidewatch_sink_queued"),
            of("tidewatch_sink_shed_total"),
            of("tidewatch_sink_rejected_total"),
        ];
        let restored = of("tidewatch_sink_restored_total");
        if offered + restored != parts.iter().sum::<f64>() {
            faults.push(format!(
                "sink {sink}: {offered} offered + {restored} restored, but delivered, queued, shed, rejected are {parts:?}"
            ));
        }
    }
    faults
}
