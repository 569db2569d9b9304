//! Chaos: the program is killed again and again, at any moment, while a fleet goes on writing to a real
//! Kafka; at the end InfluxDB, Elasticsearch, dead letters and channels hold exactly what an undisturbed
//! run leaves.
//!
//! ```text
//!  fleet ─► Kafka ─► tidewatch, killed ─► proxies ─► InfluxDB, Elasticsearch ─┐
//!             │              └──────────► Slack, PagerDuty, mail ────────────┼─► the same
//!             └────► tidewatch, undisturbed ─► the same servers ─────────────┘
//! ```
//! When time goes on without a partition whose hosts are off is decided by the clock, once, and journaled: the
//! undisturbed run knows the journal of the disturbed one, and the records that time had gone on without are found in
//! it.
//!
//! Event time passes many times faster than real time. What is written is a function of the seed; what is
//! killed and when is drawn from the seed too, but a second run with it meets the program at other moments.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `TIDEWATCH_CHAOS_KILLS` | how many processes to kill | 25 |
//! | `TIDEWATCH_CHAOS_SEED` | the seed | 13; with `TIDEWATCH_CHAOS_KILLS` drawn from the clock, printed |
//! | `TIDEWATCH_CHAOS_SPEED` | seconds of event time in a second | 60; 15 above 100 kills |
//! | `TIDEWATCH_CHAOS_STATE` | where the state is: `folder`, or `s3` for a bucket of a fake of S3 | drawn from the seed |
//! | `TIDEWATCH_CHAOS_CHECKPOINT` | `off`: no checkpoints; shows that the test sees what then goes wrong | on |
//! | `TIDEWATCH_CHAOS_PROGRAM` | another build of the program | the one of this test |
//!
//! `cargo xtask chaos --kills N` sets them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says how far it got"
)]

mod compare;
mod disturb;
mod fleet;
mod history;
mod left;
mod oracle;
mod producer;
mod program;
mod proxy;
mod random;
mod run;
mod state;
mod trouble;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compare::{Telling, check_telling, differences, unlike_told};
use disturb::{Chaos, HANG_TIMEOUT};
use fleet::Fleet;
use history::History;
use left::CHANNELS;
use oracle::Oracle;
use producer::Producer;
use program::Size;
use proxy::Proxy;
use random::Random;
use run::{Outcome, Run, Stage};
use state::State;
use world::{Servers, Setting};

/// How many faults are shown, how many that begin alike, and how many characters of each.
const SHOWN: usize = 20;
const SHOWN_OF_A_KIND: usize = 5;
const SHOWN_CHARS: usize = 600;

/// What a run of the test is to do.
struct Options {
    kills: usize,
    seed: u64,
    speed: u64,
    recovers: bool,
    /// Whether the state is in a bucket.
    in_bucket: bool,
}

/// What every change is tested with: the same kills each time, as far as timing allows.
const SEED: u64 = 13;
/// With so many kills, everything there is must have been tried.
const ENOUGH: usize = 25;
/// Seconds of event time in a second, for at most 100 kills.
const USUAL_SPEED: u64 = 60;
/// How long partitions may be silent before time goes on without them, where that is known to both runs.
const IDLE_TIMEOUT: &str = "3s";
/// Nobody is idle but who never had anything.
const NEVER_IDLE: &str = "10m";
/// Make what is drawn once from the seed differ from what is drawn on the way.
const IN_BUCKET: u64 = 0x5733;
const SMALL: u64 = 0x5f1f;

impl Options {
    fn from_environment() -> Self {
        let number = |name: &str| -> Option<u64> {
            let text = std::env::var(format!("TIDEWATCH_CHAOS_{name}")).ok()?;
            Some(
                text.parse().unwrap_or_else(|_| panic!("TIDEWATCH_CHAOS_{name}={text}: no number")),
            )
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let asked = number("KILLS");
        let kills = asked.unwrap_or(25) as usize;
        let seed = number("SEED").unwrap_or(if asked.is_some() { now % 1_000_000 } else { SEED });
        let in_bucket = match std::env::var("TIDEWATCH_CHAOS_STATE").as_deref() {
            Ok("s3") => true,
            Ok("folder") => false,
            Ok(other) => panic!("TIDEWATCH_CHAOS_STATE={other}: neither `folder` nor `s3`"),
            Err(_) => Random::new(seed ^ IN_BUCKET).chance(50),
        };
        Options {
            kills,
            seed,
            in_bucket,
            speed: number("SPEED").unwrap_or(if kills > 100 {
                USUAL_SPEED / 4
            } else {
                USUAL_SPEED
            }),
            recovers: std::env::var("TIDEWATCH_CHAOS_CHECKPOINT").as_deref() != Ok("off"),
        }
    }

    /// The fleet begins so long ago that it never reaches the present, however long this takes.
    fn fleet(&self) -> Fleet {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let seconds_a_kill = 10;
        let span = (self.kills as u64 * seconds_a_kill + 300) * self.speed * 1_000 + 7_200_000;
        let start = (now - span) / 3_600_000 * 3_600_000;
        Fleet { seed: self.seed, start, outages: Vec::new() }
    }
}

#[test]
fn chaos() {
    let options = Options::from_environment();
    let Options { kills, seed, speed, in_bucket, .. } = options;
    let place = if in_bucket { "a bucket" } else { "a folder" };
    eprintln!("chaos: seed {seed}, {kills} kills, event time at speed {speed}, state in {place}");
    let began = Instant::now();
    let Some(servers) = Servers::start() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
    // What a failed run with this seed left.
    let _ = std::fs::remove_dir_all(&folder);
    let stage = Stage { servers, fleet: options.fleet(), folder, began };
    stage.say("servers are up");

    let Disturbed { outcome: disturbed, state, oracle, quiet_from } = disturbed(&stage, &options);
    let undisturbed = undisturbed(&stage, quiet_from, &oracle, state.as_ref());

    let telling = check_telling(&disturbed.left, disturbed.history.events());
    report(&stage, &disturbed, &telling);
    let mut faults = disturbed.history.violations.clone();
    faults.extend(disturbed.faults);
    faults.extend(undisturbed.faults.iter().map(|fault| format!("undisturbed: {fault}")));
    let plain = check_telling(&undisturbed.left, &[]);
    faults.extend(plain.faults.iter().map(|fault| format!("undisturbed: {fault}")));
    faults.extend(oracle.check(&undisturbed.left).iter().map(|f| format!("undisturbed: {f}")));
    faults.extend(oracle.check(&disturbed.left).iter().map(|f| format!("disturbed: {f}")));
    faults.extend(telling.faults);
    faults.extend(unlike_told(&disturbed.left));
    faults.extend(differences(&undisturbed.left, &disturbed.left));
    if options.recovers && kills >= ENOUGH && disturbed.history.full_spills == 0 {
        faults.push(format!("{kills} kills, and none with a full spill: they prove too little"));
    }
    if !faults.is_empty() {
        show(&faults, &disturbed.history, seed);
        let all = stage.folder.join("faults.txt");
        std::fs::write(&all, faults.join("\n")).unwrap();
        panic!(
            "seed {seed}: {} faults, all in `{}`, beside the program's log",
            faults.len(),
            all.display()
        );
    }
    std::fs::remove_dir_all(&stage.folder).unwrap();
    stage.say("the disturbed run has left exactly what the undisturbed one has");
}

/// What was done, and the first faults of each kind.
fn show(faults: &[String], history: &History, seed: u64) {
    eprintln!("\nwhat was done (seed {seed}):\n{}", history.list());
    let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit() || c == '"');
    let kind = |fault: &String| {
        let words = fault.split(' ').filter(is_word).take(2);
        words.collect::<Vec<_>>().join(" ")
    };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut shown = 0;
    for fault in faults {
        let count = kinds.entry(kind(fault)).or_default();
        *count += 1;
        if *count <= SHOWN_OF_A_KIND && shown < SHOWN {
            shown += 1;
            eprintln!("  {}", fault.chars().take(SHOWN_CHARS).collect::<String>());
        }
    }
    eprintln!("\n{} faults, by how they begin: {kinds:?}", faults.len());
}

/// What the disturbed run has come to.
struct Disturbed {
    outcome: Outcome,
    /// Its state, if it has any.
    state: Option<State>,
    /// What it must have left.
    oracle: Oracle,
    /// The second from which on all is quiet.
    quiet_from: u64,
}

/// The run that is killed, while the fleet writes.
fn disturbed(stage: &Stage, options: &Options) -> Disturbed {
    let (influx, elastic) =
        (Proxy::start(&stage.servers.influx.url()), Proxy::start(&stage.servers.elastic.url()));
    let state = match (options.recovers, options.in_bucket) {
        (false, _) => State::Nowhere,
        (true, false) => State::Folder(stage.folder.join("disturbed").join("state")),
        (true, true) => State::bucket(),
    };
    let elastic_is_small = Random::new(options.seed ^ SMALL).chance(50);
    // Full within seconds: there are 500 points and 150 documents in each, at the usual speed, and a quarter of it in
    // long runs. One batch is less than the queue: what is under way would leave nothing to spill.
    let large = "queue_items = 1000";
    let (influx_queue, elastic_queue) = match (elastic_is_small, options.speed < USUAL_SPEED) {
        (true, false) => (large, "queue_items = 50\nbatch_items = 25\nspill = \"16KiB\""),
        (true, true) => (large, "queue_items = 20\nbatch_items = 10\nspill = \"6KiB\""),
        (false, false) => ("queue_items = 200\nbatch_items = 50\nspill = \"32KiB\"", large),
        (false, true) => ("queue_items = 60\nbatch_items = 20\nspill = \"12KiB\"", large),
    };
    let setting = Setting {
        influx: &influx.url(),
        elastic: &elastic.url(),
        influx_queue,
        elastic_queue,
        state: &state,
        interval: "1s",
        idle_timeout: if options.recovers { IDLE_TIMEOUT } else { NEVER_IDLE },
    };
    let further: &[_] = if options.recovers { &["--hang-timeout", HANG_TIMEOUT] } else { &[] };
    let mut run = Run::prepare(stage, "disturbed", &setting, further);
    let producer = Producer::start(&stage.servers.bootstrap, stage.fleet.clone(), options.speed);
    let mut random = Random::new(options.seed);
    let program = run.launcher.start(Chaos::size(&mut random, options.recovers));
    let mut chaos = Chaos {
        servers: &stage.servers,
        influx: &influx,
        elastic: &elastic,
        channels: &run.channels,
        producer: &producer,
        elastic_is_small,
        launcher: &mut run.launcher,
        program,
        history: History::new(),
        random,
        recovers: options.recovers,
        known: Vec::new(),
        state: &state,
        before: None,
    };
    chaos.run(options.kills);
    if options.kills == 0 {
        // Undisturbed against undisturbed: live and afterwards.
        std::thread::sleep(Duration::from_secs(20));
    }
    chaos.heal();
    let Chaos { program, history, .. } = chaos;
    stage.say(&format!("killed; the fleet has reached second {}", producer.second()));
    let (fleet, quiet_from) = producer.finish();
    stage.say(&format!("all is quiet from second {quiet_from} on, and written"));
    let expected = Oracle::new(&fleet, quiet_from, &state.facts(&run.folder));
    let folder = run.folder.clone();
    let outcome = run.finish(stage, program, history, &state, (quiet_from, &expected));
    // More may have been decided until then.
    let oracle = Oracle::new(&fleet, quiet_from, &state.facts(&folder));
    let [overtaken, leapt] = oracle.overtaken();
    stage.say(&format!(
        "{} outages of partitions; time had gone on without {overtaken} records, with the clock without {leapt}",
        fleet.outages.len(),
    ));
    let state = Some(state).filter(|state| !matches!(state, State::Nowhere));
    Disturbed { outcome, state, oracle, quiet_from }
}

/// The run that nobody touches, of one worker, over what is written already. What the disturbed one has decided
/// about time is known to it; how soon somebody is idle is not for it to say.
fn undisturbed(
    stage: &Stage,
    quiet_from: u64,
    oracle: &Oracle,
    disturbed: Option<&State>,
) -> Outcome {
    let folder = stage.folder.join("undisturbed").join("state");
    let state = disturbed.map_or(State::Nowhere, |state| state.decisions(folder));
    let setting = Setting {
        influx: &stage.servers.influx.url(),
        elastic: &stage.servers.elastic.url(),
        influx_queue: "queue_items = 100000",
        elastic_queue: "queue_items = 100000",
        state: &state,
        interval: "1m",
        idle_timeout: NEVER_IDLE,
    };
    let run = Run::prepare(stage, "undisturbed", &setting, &[]);
    let program = run.launcher.start(Size { workers: 1, processes: 1 });
    run.finish(stage, program, History::new(), &state, (quiet_from, oracle))
}

/// The figures of the disturbed run.
fn report(stage: &Stage, disturbed: &Outcome, telling: &Telling) {
    let mut restarts = disturbed.history.restarts.clone();
    restarts.sort();
    if let (Some(median), Some(longest)) = (restarts.get(restarts.len() / 2), restarts.last()) {
        let (count, median, longest) =
            (restarts.len(), median.as_secs_f64(), longest.as_secs_f64());
        stage.say(&format!(
            "{count} restarts of members, until a successor ran: median {median:.2} s, longest {longest:.2} s"
        ));
    }
    let History { deaths, deaths_with_checkpoint, full_spills, .. } = &disturbed.history;
    stage.say(&format!(
        "{deaths_with_checkpoint} of {deaths} runs had written a checkpoint; {full_spills} kills came with a full spill"
    ));
    for (channel, repeated) in CHANNELS.iter().zip(telling.repeated) {
        stage.say(&format!("{channel}: {repeated} repetitions of a message without receipt"));
    }
    let letters = &disturbed.left.letters;
    let repeated: usize = letters.values().map(|count| count - 1).sum();
    stage.say(&format!("dead letters: {} repeated of {}", repeated, letters.len()));
}
