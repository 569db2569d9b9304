//! `tidewatch checkpoint`: what it says of a state store, of one that is damaged, and of one that is not there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;
use tidewatch::commands::checkpoint::{CheckpointArgs, View};
use tidewatch::config::parse;
use tidewatch_connectors::delivery::{Delivery, DeliveryConfig, Spill};
use tidewatch_connectors::state::DirectoryStore;
use tidewatch_dataflow::checkpoint::{
    Cut, Fence, Keeper, KeeperConfig, PieceWriter, RunInfo, StateStore, WorkerPieces,
};
use tidewatch_dataflow::ingest::{Decision, Facts, Quarantined, ResumePoint, StoreJournal};
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
use tidewatch_dataflow::time::{Clock, EventTime};
use tidewatch_testkit::wait_for;

/// 2026-03-01T00:00:00Z
const MIDNIGHT: u64 = 1_772_323_200;

fn at(seconds: u64) -> EventTime {
    EventTime::from_millis((MIDNIGHT + seconds) * 1_000)
}

/// A folder with a pipeline file, and beside it the state of two runs.
struct Fixture {
    folder: TempDir,
    store: Arc<DirectoryStore>,
}

const FILE: &str = "[kafka]\nbrokers = [\"127.0.0.1:9092\"]\n[[sources]]\ntopic = \"cpu-usage\"\n";

impl Fixture {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tidewatch.toml"), FILE).unwrap();
        let store = DirectoryStore::open(folder.path().join("tidewatch-state")).unwrap();
        Fixture { folder, store: Arc::new(store) }
    }

    /// Run 1 wrote one checkpoint with one worker; run 2 two with two, the second with little new.
    fn new() -> Self {
        let fixture = Fixture::empty();
        fixture.run(1, &[(1, 10)]);
        fixture.run(2, &[(1, 20), (2, 30)]);
        fixture
    }

    fn run(&self, workers: usize, cuts: &[(u64, u64)]) {
        let store: Arc<dyn StateStore> = self.store.clone();
        let info = RunInfo { started_at: at(0), pid: 7, workers: 1 };
        let fence = Fence::claim(Arc::clone(&store), &info).unwrap();
        let run = fence.run();
        let clock = Clock::manual(at(0));
        let config = KeeperConfig {
            pipeline: "tidewatch".to_owned(),
            topics: vec!["cpu-usage".to_owned(), "server-logs".to_owned()],
            process: 0,
            local_workers: workers,
            workers,
            keep: 10,
            clock: clock.clone(),
        };
        let keeper = Keeper::start(store, fence, config);
        let mut versions = vec![BTreeMap::new(); workers * 2];
        for (sequence, second) in cuts {
            let cut = Cut { sequence: *sequence, at: at(*second) };
            clock.set(at(second + 6));
            for (worker, versions) in versions.chunks_mut(2).enumerate() {
                let [ingest, windows] = versions else { unreachable!() };
                keeper.share(cut, worker, put(worker, *second, ingest, windows));
            }
            let segments = if run == 2 { self.spill(run, *sequence) } else { Vec::new() };
            keeper.extras(cut, Vec::new(), segments);
            let (_, part) = wait_for(Duration::from_secs(60), || keeper.take_part()).unwrap();
            keeper.commit(cut, vec![part]);
            wait_for(Duration::from_secs(60), || keeper.take_committed()).unwrap();
        }
        keeper.close();
    }

    /// The segments of a sink that is down.
    fn spill(&self, run: u64, sequence: u64) -> Vec<String> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let prefix = format!("spill/{run:08}-p0000-influxdb-{sequence}");
        let spill = Spill { store: self.store.clone(), prefix, max_bytes: 1 << 20 };
        let config = DeliveryConfig::default();
        let sink = Delivery::spawn_with(
            runtime.handle(),
            "influxdb",
            Down,
            config,
            Some(spill),
            |_, _| {},
        );
        sink.offer((0..100).collect());
        let state = runtime.block_on(sink.make_durable(sink.mark())).unwrap();
        state.segments.into_iter().map(|segment| segment.name).collect()
    }

    fn path(&self, object: &str) -> PathBuf {
        self.folder.path().join("tidewatch-state").join(object)
    }

    fn damage(&self, object: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = std::fs::read(self.path(object)).unwrap();
        change(&mut content);
        std::fs::write(self.path(object), content).unwrap();
    }

    /// What the command prints at 00:01 in the morning, and its exit code.
    fn tell(&self, arguments: &[&str]) -> anyhow::Result<(String, u8)> {
        let name = self.folder.path().join("tidewatch.toml").display().to_string();
        let config = parse(FILE, &name).unwrap().checkpoint;
        let view = View { store: self.store.clone(), config, now: at(60) };
        let told = view.answer(&parsed(arguments).action)?;
        let folder = self.folder.path().display().to_string();
        Ok((told.0.replace(&folder, "FOLDER"), told.1))
    }

    /// What the program itself says.
    fn program(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
            .arg("checkpoint")
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

fn parsed(arguments: &[&str]) -> CheckpointArgs {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CheckpointArgs,
    }
    Line::parse_from([&["checkpoint"], arguments].concat()).args
}

/// A store that is down.
struct Down;

impl SinkWriter for Down {
    type Item = u64;

    async fn write(&mut self, _batch: &[u64]) -> Result<Receipt, ConnectorError> {
        let (endpoint, source) = ("influxdb".to_owned(), "connection refused".into());
        Err(ConnectorError::Transient { endpoint, retry_after: None, source })
    }
}

type Versions = BTreeMap<Box<str>, u64>;

/// What a worker puts: its partition, and windows, of which only one pane is new at each cut.
fn put(worker: usize, second: u64, ingest: &mut Versions, windows: &mut Versions) -> WorkerPieces {
    let point = |topic: u32, offset: Option<i64>| ResumePoint {
        partition: PartitionId { topic, partition: i32::try_from(worker).unwrap() },
        offset,
        watermark: offset.map(|_| at(second.saturating_sub(1))),
        floor: EventTime::from_millis(0),
        before: None,
        lifted: topic == 1,
        next: offset,
        out_of_orderness: Duration::from_secs(5),
    };
    let points = [point(0, Some(1_000 + second as i64)), point(1, None)];
    let mut pieces = PieceWriter::new(ingest);
    pieces.put("partitions", &points.to_vec());
    if (worker, second) == (0, 30) {
        let mut facts = Facts::default();
        facts.learn(quarantine());
        pieces.put("facts", &facts);
    }
    let ingest = ("ingest".into(), pieces.finish());
    let mut pieces = PieceWriter::new(windows);
    for pane in 1..=second / 10 {
        pieces.put_version(&format!("pane/{pane}"), pane, || vec![pane as u8; 1_500]);
    }
    vec![ingest, ("feed/0".into(), pieces.finish())]
}

/// A group that a rule leaves out.
fn quarantine() -> Decision {
    let group = Labels::from_pairs([("host", "web-1"), ("cpu", "cpu-total")]);
    let operator = "detect/cpu.usage_active/10s#310f6b4c46be9e1a/rule cpu_sustained".into();
    Decision::Quarantined { what: Quarantined { operator, content: 7, group }, from: at(20) }
}

/// Compares `told` with `tests/checkpoint/FILE`, or writes it there.
fn compare(file: &str, told: &str) {
    let golden = Path::new("tests/checkpoint").join(file);
    if std::env::var("UPDATE_GOLDEN").as_deref() == Ok("1") {
        std::fs::write(&golden, told).unwrap();
    }
    let written = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(told, written, "{} differs; UPDATE_GOLDEN=1 writes it anew", golden.display());
}

#[test]
fn a_store_that_is_whole_is_told_as_written_down() {
    let fixture = Fixture::new();
    for (arguments, file) in [
        (&["list"][..], "list.txt"),
        (&["list", "--json"], "list.json"),
        (&["inspect"], "inspect.txt"),
        (&["inspect", "--json"], "inspect.json"),
        (&["inspect", "1-1"], "inspect_first.txt"),
        (&["verify"], "verify.txt"),
        (&["verify", "--json"], "verify.json"),
    ] {
        let (told, code) = fixture.tell(arguments).unwrap();
        assert_eq!(code, 0, "{arguments:?}\n{told}");
        compare(file, &told);
    }
}

#[test]
fn what_is_damaged_is_named() {
    let fixture = Fixture::new();
    // A bit of the state, a part that is cut off, and a segment that is gone.
    fixture.damage("pieces/00000002-0000000001-p0000", |bytes| *bytes.last_mut().unwrap() ^= 1);
    fixture.damage("parts/00000001-0000000001-p0000", |bytes| bytes.truncate(40));
    let segment = fixture.store.list("spill/").unwrap().pop().unwrap().name;
    fixture.store.delete(&segment).unwrap();
    let (listed, code) = fixture.tell(&["list"]).unwrap();
    assert_eq!(code, 0);
    compare("damaged_list.txt", &listed);
    let (verified, code) = fixture.tell(&["verify"]).unwrap();
    assert_eq!(code, 1);
    compare("damaged_verify.txt", &verified);
    let (_, code) = fixture.tell(&["verify", "--json"]).unwrap();
    assert_eq!(code, 1);
    let (inspected, _) = fixture.tell(&["inspect", "1-1"]).unwrap();
    compare("damaged_inspect.txt", &inspected);
}

/// Every byte of every object that a checkpoint needs is under some checksum.
#[test]
fn every_changed_byte_is_found() {
    let fixture = Fixture::new();
    let mut tried = 0;
    for folder in ["manifests/", "parts/", "pieces/", "spill/"] {
        for object in fixture.store.list(folder).unwrap() {
            let step = (object.size / 12).max(1);
            for byte in (0..object.size).step_by(usize::try_from(step).unwrap()) {
                let byte = usize::try_from(byte).unwrap();
                fixture.damage(&object.name, |bytes| bytes[byte] ^= 0x40);
                let (told, code) = fixture.tell(&["verify"]).unwrap();
                assert_eq!(code, 1, "byte {byte} of {}\n{told}", object.name);
                assert!(told.contains(&object.name), "{}\n{told}", object.name);
                fixture.damage(&object.name, |bytes| bytes[byte] ^= 0x40);
                tried += 1;
            }
            fixture.damage(&object.name, |bytes| bytes.truncate(bytes.len() - 1));
            assert_eq!(fixture.tell(&["verify"]).unwrap().1, 1, "{} cut off", object.name);
            fixture.damage(&object.name, |bytes| bytes.clear());
            assert_eq!(fixture.tell(&["list"]).unwrap().1, 0);
            std::fs::remove_file(fixture.path(&object.name)).unwrap();
            if folder != "manifests/" {
                assert_eq!(fixture.tell(&["verify"]).unwrap().1, 1, "{} gone", object.name);
            }
            // The fixture is whole again for the next one.
            let whole = Fixture::new();
            std::fs::copy(whole.path(&object.name), fixture.path(&object.name)).unwrap();
            assert_eq!(fixture.tell(&["verify"]).unwrap().1, 0, "{}", object.name);
        }
    }
    assert!(tried > 80, "{tried}");
}

/// The journal, the outbox and the claims of runs stand beside the checkpoints.
#[test]
fn what_is_damaged_beside_the_checkpoints_is_found() {
    let fixture = Fixture::new();
    let fence = Fence::of(fixture.store.clone(), 2);
    let store: &dyn StateStore = &*fixture.store;
    StoreJournal::write_first(store, &fence, vec!["t".to_owned()], vec![quarantine()]).unwrap();
    store.create("outbox/readme", b"not ours").unwrap();
    assert_eq!(fixture.tell(&["verify"]).unwrap().1, 0);
    for object in ["journal/00000002-0000000000", "runs/00000001"] {
        fixture.damage(object, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let (told, code) = fixture.tell(&["verify"]).unwrap();
        assert_eq!(code, 1);
        let line = format!("  {object}: it is damaged (its checksum is wrong)\n");
        assert!(told.contains(&line) && told.contains("2-0000000002  whole"), "{told}");
        let (told, _) = fixture.tell(&["verify", "--json"]).unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["beside"][0]["object"], object);
        fixture.damage(object, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
}

#[test]
fn what_is_not_there_is_told_with_a_remedy() {
    let fixture = Fixture::empty();
    let (told, code) = fixture.tell(&["list"]).unwrap();
    assert_eq!(code, 0);
    assert_eq!(
        told,
        "no checkpoint in `FOLDER/tidewatch-state` yet: `tidewatch run` writes one every 10s\n"
    );
    assert_eq!(fixture.tell(&["list", "--json"]).unwrap().0, "[]\n");
    assert_eq!(fixture.tell(&["verify"]).unwrap().1, 1, "nothing is not whole");
    let error = fixture.tell(&["inspect"]).unwrap_err().to_string();
    assert!(error.contains("start the pipeline with `tidewatch run`"), "{error}");
    fixture.run(1, &[(1, 10)]);
    let error = fixture.tell(&["inspect", "7"]).unwrap_err().to_string();
    assert!(error.contains("there is no checkpoint `7`"), "{error}");
    assert!(error.contains("the newest is `00000001-0000000001`"), "{error}");
    for name in ["1", "1-1", "00000001-0000000001"] {
        assert!(fixture.tell(&["inspect", name]).is_ok(), "{name}");
    }
}

#[test]
fn the_program_tells_by_its_exit_code() {
    let fixture = Fixture::new();
    let (code, out, err) = fixture.program(&["list"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("CHECKPOINT") && out.lines().count() == 4, "{out}");
    assert_eq!(fixture.program(&["verify"]).0, Some(0));
    fixture.damage("pieces/00000001-0000000001-p0000", |bytes| bytes[0] ^= 1);
    let (code, out, _) = fixture.program(&["verify"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("00000001-0000000001  DAMAGED"), "{out}");
    let (code, out, err) = fixture.program(&["inspect", "9"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("error: there is no checkpoint `9`"), "{err}");
    // Looking makes nothing.
    let state = fixture.folder.path().join("tidewatch-state");
    std::fs::remove_dir_all(&state).unwrap();
    let (code, _, err) = fixture.program(&["list"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("start the pipeline that writes it") && !state.exists(), "{err}");
    std::fs::write(fixture.folder.path().join("tidewatch.toml"), "[checkpoint]\nkeep = 0\n")
        .unwrap();
    assert_eq!(fixture.program(&["list"]).0, Some(2));
    assert_eq!(fixture.program(&["remove"]).0, Some(2));
}

#[test]
fn state_of_another_pipeline_is_said_to_be() {
    let fixture = Fixture::new();
    let file = format!("{FILE}[checkpoint]\npipeline = \"eu\"\n");
    std::fs::write(fixture.folder.path().join("tidewatch.toml"), file).unwrap();
    for action in ["list", "inspect"] {
        let (_, out, _) = fixture.program(&[action]);
        assert!(
            out.contains("belongs to pipeline `tidewatch`, and the file says `pipeline = \"eu\"`"),
            "{out}"
        );
    }
}

#[test]
fn every_action_has_examples_and_exit_codes() {
    let fixture = Fixture::empty();
    for arguments in
        [&["--help"][..], &["list", "--help"], &["inspect", "--help"], &["verify", "--help"]]
    {
        let (code, help, _) = fixture.program(arguments);
        assert_eq!(code, Some(0));
        let (_, after) = help.split_once("Examples:").unwrap();
        assert!(after.contains("Exit codes:"), "{help}");
        let widest = after.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "too wide for a small terminal\n{help}");
        assert!(arguments.len() == 1 || help.contains("[default: tidewatch.toml]"), "{help}");
    }
}
