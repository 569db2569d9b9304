//! A group at which a rule panics, on a real Kafka: after three crashes the rule leaves it out, its open incident
//! ends, and everything else is as it would have been.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewatch_connectors::sinks::sqlite::{SeriesQuery, SqliteConfig, SqliteStore, StoredIncident};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::http::client::get;
use tidewatch_testkit::kafka::{Broker, Message};
use tidewatch_testkit::{Program, free_ports, unique, wait_for};

/// Three crashes, and the pauses of the supervisor between them.
const WITHIN: Duration = Duration::from_secs(90);

fn start(file: &Path, fault: Option<&str>) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(["run", "-w", "2", "-c"]).arg(file);
    if let Some(fault) = fault {
        command.env("TIDEWATCH_TEST_FAULT", fault);
    }
    Program(command.spawn().unwrap())
}

fn hot(host: &str, second: u64) -> Message {
    let value = format!(
        r#"{{"name":"cpu","tags":{{"host":"{host}"}},"fields":{{"usage":97.5}},"timestamp":{second}}}"#
    );
    let partition = i32::try_from(second % 2).ok();
    Message { partition, value, ..Message::default() }
}

fn body(port: u16, path: &str) -> Option<String> {
    Some(get(&format!("http://127.0.0.1:{port}{path}"), &[]).ok()?.body)
}

/// The value of a metric line that begins with `name`.
fn metric(port: u16, name: &str) -> Option<f64> {
    let body = body(port, "/metrics")?;
    let line = body.lines().find(|line| line.starts_with(name))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Samples of `host` in all windows of the store that end after second `from` and up to `to`.
fn counted(store: &SqliteStore, host: &str, (from, to): (u64, u64)) -> f64 {
    // One query for each window: neighbours would be averaged.
    let windows = (from..=to).step_by(10).map(|end| SeriesQuery {
        measurement: "cpu".to_owned(),
        labels: Labels::from_pairs([("host", host), ("window", "10s")]),
        field: "count".to_owned(),
        from: EventTime::from_millis(end * 1_000),
        to: EventTime::from_millis(end * 1_000 + 1),
        points: 1,
    });
    windows.flat_map(|query| store.series(&query).unwrap()).map(|(_, count)| count).sum()
}

fn incident(store: &SqliteStore, host: &str) -> Option<StoredIncident> {
    let mut incidents = store.incidents(10).unwrap();
    incidents.retain(|incident| incident.group.get("host") == Some(host));
    assert!(incidents.len() < 2, "{incidents:?}");
    incidents.pop()
}

/// Hosts that are hot, one sample a second, an hour ago: event time goes on with their samples alone.
struct Fleet<'a> {
    broker: &'a Broker,
    topic: String,
    second: u64,
}

impl Fleet<'_> {
    /// Ten more seconds of `hosts`.
    fn go_on(&mut self, hosts: &[&str]) {
        let seconds = self.second..self.second + 10;
        let messages = seconds.flat_map(|second| hosts.iter().map(move |host| hot(host, second)));
        self.broker.produce(&self.topic, &messages.collect::<Vec<_>>()).unwrap();
        self.second += 10;
    }

    /// Goes on with `hosts` until `done`, and says for how many seconds.
    fn until(&mut self, hosts: &[&str], mut done: impl FnMut() -> Option<bool>) -> u64 {
        let before = self.second;
        let reached = wait_for(WITHIN, || {
            if done() == Some(true) {
                return Some(());
            }
            self.go_on(hosts);
            std::thread::sleep(Duration::from_millis(200));
            None
        });
        assert!(reached.is_some(), "not within {WITHIN:?}");
        self.second - before
    }
}

#[test]
fn a_group_that_crashes_a_rule_is_left_out_and_told() {
    let Some(broker) = Broker::shared() else { return };
    let topic = unique("cpu-usage");
    broker.create_topic(&topic, 2).unwrap();
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let database = folder.path().join("tidewatch.db");
    let text = format!(
        "[kafka]\nbrokers = [\"{}\"]\n[[sources]]\ntopic = \"{topic}\"\nformat = \"telegraf_json\"\n\
         [time]\nstart = \"earliest\"\nidle_timeout = \"1h\"\n[[statistics]]\nname = \"cpu\"\n\
         measurement = \"cpu\"\nfield = \"usage\"\ngroup_by = [\"host\"]\nwindows = [{{ size = \"10s\" }}]\n\
         aggregates = [\"count\"]\n[[rules]]\nname = \"cpu_hot\"\nkind = \"sustained\"\nmeasurement = \"cpu\"\n\
         field = \"usage\"\ngroup_by = [\"host\"]\nabove = 90.0\nfor = \"20s\"\ngap_tolerance = \"1h\"\n\
         [sinks.sqlite]\npath = \"{}\"\n[checkpoint]\ninterval = \"1s\"\n\
         [http]\nlisten = \"127.0.0.1:{port}\"\n",
        broker.bootstrap(),
        database.display(),
    );
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, text).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let began = (now - 3_600) / 10 * 10;
    let mut fleet = Fleet { broker, topic, second: began };
    let commits = || metric(port, "tidewatch_checkpoint_commits_total");

    // 1. Two hosts are hot, and a checkpoint knows of it.
    let program = start(&file, None);
    let mut seconds = fleet.until(&["web-1", "web-2"], || {
        Some(metric(port, "tidewatch_alert_transitions_total")? == 2.0)
    });
    let before = commits().unwrap();
    // The one that was under way may lack them.
    seconds += fleet.until(&["web-1", "web-2"], || Some(commits()? >= before + 2.0));
    assert!(program.terminate().unwrap().success());
    let store = SqliteStore::open(&SqliteConfig::new(&database)).unwrap();
    let opened = incident(&store, "web-2").unwrap();
    assert!(opened.end.is_none(), "{opened:?}");

    // 2. From now on the rule panics at one of them.
    let hosts = ["web-1", "web-2", "web-3"];
    fleet.go_on(&hosts);
    fleet.go_on(&["web-0"]);
    fleet.go_on(&["web-0"]);
    let program = start(&file, Some("rule cpu_hot@host=web-2"));
    let left_out = wait_for(WITHIN, || {
        (metric(port, "tidewatch_quarantined_samples_total")? >= 10.0).then_some(())
    });
    assert!(left_out.is_some(), "the run goes on without the group");
    assert_eq!(metric(port, "tidewatch_quarantined_groups"), Some(1.0));
    let caught_up = || body(port, "/readyz").filter(|body| body.starts_with("ready\n"));
    let ready = wait_for(WITHIN, caught_up);
    let told = "ready\ngroups in quarantine: 1; the log of the start names them\n";
    assert_eq!(ready.as_deref(), Some(told), "{:?}", body(port, "/readyz"));

    // 3. All points are there, also those of the group; its incident has ended, the other one is open.
    let before = commits().unwrap();
    fleet.until(&["web-0"], || Some(commits()? >= before + 2.0));
    assert!(program.terminate().unwrap().success());
    let counts = hosts.map(|host| counted(&store, host, (began, fleet.second)));
    assert_eq!(counts, [(seconds + 10) as f64, (seconds + 10) as f64, 10.0]);
    let ended = incident(&store, "web-2").unwrap();
    assert_eq!((&ended.incident, ended.end.as_deref()), (&opened.incident, Some("quarantined")));
    assert_eq!(incident(&store, "web-1").unwrap().end, None);

    // 4. It is listed.
    let inspect = |json: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        command.args(["checkpoint", "inspect", "-c"]).arg(&file).args(json);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let shown = inspect(&[]);
    let is_shown =
        shown.contains("quarantine: groups that crashed") && shown.contains("host=web-2");
    assert!(is_shown, "{shown}");
    let shown: serde_json::Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    assert_eq!(shown["quarantined"][0]["group"], "host=web-2", "{shown}");

    // 5. It stays so over a restart, and a changed rule lifts it.
    let groups = || metric(port, "tidewatch_quarantined_groups");
    let program = start(&file, None);
    assert_eq!(wait_for(WITHIN, caught_up).as_deref(), Some(told));
    assert_eq!(groups(), Some(1.0));
    assert!(program.terminate().unwrap().success());
    let changed = std::fs::read_to_string(&file).unwrap().replace("for = \"20s\"", "for = \"30s\"");
    std::fs::write(&file, changed).unwrap();
    let program = start(&file, None);
    assert_eq!(wait_for(WITHIN, caught_up).as_deref(), Some("ready\n"));
    assert_eq!(groups(), Some(0.0));
    assert!(program.terminate().unwrap().success());
}
