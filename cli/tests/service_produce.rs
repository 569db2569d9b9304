//! `tidewatch produce` on a real Apache Kafka, and what `tidewatch run` makes of it: samples become windows, lines become
//! documents, key and headers become labels, in every compression.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tidewatch_connectors::sinks::sqlite::{LogQuery, SeriesQuery, SqliteConfig, SqliteStore};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::{unique, wait_for};

/// Long enough for a machine whose cores are busy.
const WITHIN: Duration = Duration::from_secs(60);
/// The beginning of a window, in milliseconds.
const BEGAN: u64 = 1_795_375_200_000;

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        if wait_for(Duration::from_secs(15), || self.0.try_wait().ok().flatten()).is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// `tidewatch produce` with these arguments and this standard input.
fn produce(target: &[&str], arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.arg("produce").args(target).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// What it says when all went well.
fn produced(target: &[&str], arguments: &[&str], input: &[u8]) -> String {
    let output = produce(target, arguments, input);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_sent_by_hand_is_windowed_and_stored() {
    let Some(broker) = Broker::shared() else { return };
    let (samples, lines) = (unique("cpu-usage"), unique("server-logs"));
    broker.create_topic(&samples, 1).unwrap();
    broker.create_topic(&lines, 1).unwrap();
    let brokers = broker.bootstrap();
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("tidewatch.db");
    let labels = "labels_from = { key = \"host\", headers = { \"x-region\" = \"region\" } }";
    let text = format!(
        "[kafka]\nbrokers = [\"{brokers}\"]\n\
         [[sources]]\ntopic = \"{samples}\"\nformat = \"value\"\nmeasurement = \"cpu\"\nreplication = 1\n{labels}\n\
         [[sources]]\ntopic = \"{lines}\"\nformat = \"json_log\"\nreplication = 1\n{labels}\n\
         time_from = \"record\"\n\
         [time]\nstart = \"earliest\"\nidle_timeout = \"1s\"\n\
         [[statistics]]\nname = \"cpu\"\nmeasurement = \"cpu\"\nfield = \"value\"\n\
         group_by = [\"host\", \"region\"]\nwindows = [{{ size = \"10s\" }}]\naggregates = [\"count\", \"mean\"]\n\
         [sinks.sqlite]\npath = \"{}\"\nretention = \"36500d\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        database.display(),
    );
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let by_brokers = ["--brokers", &brokers];
    let region = ["--header", "x-region=eu-1", "--header", "other=\u{fe}"];

    // One sample, as a person types it; then one in every compression, from standard input and with a key of its own.
    let time = BEGAN.to_string();
    let arguments = ["-t", &samples, "server-1 85%", "--time", &time];
    let said = produced(&by_brokers, &[&arguments[..], &region].concat(), b"");
    assert_eq!(said, format!("1 record written to `{samples}`\n"));
    for (i, compression) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let time = (BEGAN + 1_000 + i as u64).to_string();
        let arguments = ["-t", &samples, "--time", &time, "--compression", compression];
        let arguments = [&arguments[..], &region].concat();
        let said = produced(&["-c", file], &arguments, b"server-1 10%\n\nserver-1\t20 %\r\n");
        assert_eq!(said, format!("2 records written to `{samples}`\n"));
        let keyed = [&arguments[..], &["--key", "server-2", "7"]].concat();
        produced(&by_brokers, &keyed, b"");
    }
    // Later, so that the window ends; without the header, so of another group.
    let later = (BEGAN + 120_000).to_string();
    produced(&by_brokers, &["-t", &samples, "--time", &later, "server-3 1"], b"");

    // Log lines from files: each line of one, all of another.
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let many = path(
        "many",
        "{\"level\":\"error\",\"message\":\"one\"}\n{\"message\":\"two\",\"host\":\"own\"}\n",
    );
    let whole = path("whole", "{\"level\":\"warn\",\n \"message\":\"three\"}\n");
    let arguments = ["-t", &lines, "--time", &time, "--key", "web-1", "--header", "x-region=eu-2"];
    let said = produced(&by_brokers, &[&arguments[..], &["-f", &many]].concat(), b"");
    assert_eq!(said, format!("2 records written to `{lines}`\n"));
    let said = produced(&by_brokers, &[&arguments[..], &["--whole", "-f", &whole]].concat(), b"");
    assert_eq!(said, format!("1 record written to `{lines}`\n"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    let _program = Program(command.args(["run", "-w", "2", "-c", file]).spawn().unwrap());
    let open = || SqliteStore::open(&SqliteConfig::new(&database)).ok();
    let store = wait_for(WITHIN, || Path::new(&database).exists().then(open)?).unwrap();
    let window = |host: &str, field: &str| {
        let labels = [("host", host), ("region", "eu-1"), ("window", "10s")];
        let query = SeriesQuery {
            measurement: "cpu".to_owned(),
            labels: Labels::from_pairs(labels),
            field: field.to_owned(),
            from: EventTime::from_millis(BEGAN),
            to: EventTime::from_millis(BEGAN + 10_001),
            points: 1,
        };
        store.series(&query).ok()?.first().map(|(_, value)| *value)
    };
    let stored = || store.logs(&LogQuery::default(), 10).ok().filter(|lines| lines.len() >= 3);
    let arrived = wait_for(WITHIN, || window("server-2", "mean").and(stored()).map(drop));
    assert!(arrived.is_some(), "{:?} {:?}", window("server-1", "count"), stored());
    assert_eq!((window("server-1", "count"), window("server-2", "count")), (Some(11.0), Some(5.0)));
    let mean = window("server-1", "mean").unwrap();
    assert!((mean - (85.0 + 5.0 * 30.0) / 11.0).abs() < 1e-9, "{mean}");
    let mut seen: Vec<_> = stored()
        .unwrap()
        .into_iter()
        .map(|line| (line.message, line.level, line.host, line.extra, line.time))
        .collect();
    seen.sort();
    let line = |message: &str, level, host: &str| {
        let extra = "{\"region\":\"eu-2\"}".to_owned();
        (message.to_owned(), level, host.to_owned(), extra, BEGAN)
    };
    let wanted =
        [line("one", "ERROR", "web-1"), line("three", "WARN", "web-1"), line("two", "INFO", "own")];
    assert_eq!(seen, wanted);
}

#[test]
fn what_cannot_be_written_is_told() {
    let Some(broker) = Broker::shared() else { return };
    let brokers = broker.bootstrap();
    let target = ["--brokers", &brokers, "--timeout", "5s"];
    let failed = |arguments: &[&str], code: i32, part: &str| {
        let output = produce(&target, arguments, b"");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    };
    failed(&["-t", "a", "-f", "no/such/file"], 1, "could not send `no/such/file`");
    failed(&["-t", "a", "--header", "x", "1"], 2, "write NAME=VALUE");
    failed(&["-t", "a", "--time", "noon", "1"], 2, "not a time since 1970");
    failed(&["-t", "a", "-f", "x", "1"], 2, "cannot be used with");
    failed(&["-t", "no such topic", "1"], 1, "could not write to topic `no such topic`");
    let output = produce(&[], &["-t", "a", "1"], b"");
    assert_eq!(output.status.code(), Some(2), "brokers are needed");
}
