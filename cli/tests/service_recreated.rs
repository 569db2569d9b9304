//! A topic is deleted and made again on a real Kafka, while the program reads it and while it does not: documents and
//! dead letters of the new topic stand beside those of the old one at the same offsets, and stay there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewatch_testkit::elasticsearch::Elastic;
use tidewatch_testkit::http::client::get;
use tidewatch_testkit::kafka::{Broker, Message};
use tidewatch_testkit::{Program, free_ports, unique, wait_for};

const WITHIN: Duration = Duration::from_secs(90);

struct Setting {
    broker: &'static Broker,
    elastic: &'static Elastic,
    folder: tempfile::TempDir,
    topic: String,
    letters: String,
    index: String,
    port: u16,
}

impl Setting {
    fn config(&self) -> String {
        format!(
            "[kafka]\nbrokers = [\"{}\"]\n[[sources]]\ntopic = \"{}\"\nformat = \"json_log\"\n\
             [time]\nstart = \"earliest\"\nout_of_orderness = \"1s\"\nidle_timeout = \"1s\"\n\
             [[statistics]]\nname = \"lines\"\nmeasurement = \"log\"\nfield = \"lines\"\n\
             group_by = [\"service\"]\nwindows = [{{ size = \"1s\" }}]\naggregates = [\"count\"]\n\
             [sinks.elasticsearch]\nurl = \"{}\"\nindex = \"{}\"\n[dead_letters]\ntopic = \"{}\"\n\
             [checkpoint]\ninterval = \"1s\"\n[http]\nlisten = \"127.0.0.1:{}\"\n",
            self.broker.bootstrap(),
            self.topic,
            self.elastic.url(),
            self.index,
            self.letters,
            self.port
        )
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn run(&self, processes: u16) -> Program {
        let file = self.folder.path().join("tidewatch.toml");
        std::fs::write(&file, self.config()).unwrap();
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        command.args(["run", "-c"]).arg(&file).args(["-n", &processes.to_string()]);
        Program(command.stderr(log).spawn().unwrap())
    }

    fn stop(&self, mut program: Program) {
        Command::new("kill").arg(program.0.id().to_string()).status().unwrap();
        let status = program.0.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    /// So many lines, and something that is none, in each of two partitions.
    fn produce(&self, what: &str, count: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let line = |number: usize| {
            format!(
                r#"{{"@timestamp":{now},"level":"INFO","host":"h","service":"s","message":"{what} {number}"}}"#
            )
        };
        let message =
            |partition, value| Message { partition: Some(partition), value, ..Message::default() };
        let mut messages: Vec<_> = (0..count).map(|i| message(i as i32 % 2, line(i))).collect();
        messages.splice(0..0, [message(0, "?".to_owned()), message(1, "?".to_owned())]);
        self.broker.produce(&self.topic, &messages).unwrap();
    }

    /// Deletes the topic and makes it anew.
    fn recreate(&self) {
        self.broker.delete_topic(&self.topic).unwrap();
        let made = wait_for(WITHIN, || self.broker.create_topic(&self.topic, 2).ok());
        assert!(made.is_some(), "the topic was not made anew");
    }

    /// How many documents there are of each generation.
    fn documents(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for document in self.elastic.documents(&format!("{}-*", self.index)).unwrap_or_default() {
            let id = document["_id"].as_str().unwrap();
            let (generation, _) = id.split_once('-').unwrap();
            let message = document["_source"]["message"].as_str().unwrap();
            assert!(message.starts_with(&format!("{generation}: ")), "{id}: {message}");
            *counts.entry(generation.to_owned()).or_default() += 1;
        }
        counts
    }

    fn expect(&self, program: &mut Program, wanted: &[(&str, usize)]) {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|(g, n)| ((*g).to_owned(), *n)).collect();
        let found = wait_for(WITHIN, || (self.documents() == wanted).then_some(()));
        assert!(
            found.is_some(),
            "{:?}, not {wanted:?}, {:?}: {}",
            self.documents(),
            program.0.try_wait(),
            self.said()
        );
    }

    /// The value of a metric of process 0.
    fn metric(&self, name: &str) -> Option<u64> {
        let answer = get(&format!("http://127.0.0.1:{}/metrics", self.port), &[]).ok()?;
        let line = answer.body.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    fn expect_metric(&self, name: &str, is_wanted: impl Fn(u64) -> bool) {
        let found = wait_for(WITHIN, || self.metric(name).filter(|value| is_wanted(*value)));
        assert!(found.is_some(), "{name} is {:?}: {}", self.metric(name), self.said());
    }

    /// How many dead letters there are of each origin and generation.
    fn origins(&self) -> BTreeMap<(String, String, String), usize> {
        let mut counts = BTreeMap::new();
        for letter in self.broker.read_all(&self.letters).unwrap() {
            let header = |name: &str| {
                let found = letter.headers.iter().find(|(key, _)| key == name);
                found.unwrap_or_else(|| panic!("no {name}")).1.clone()
            };
            let origin = ["generation", "partition", "offset"];
            let [generation, partition, offset] =
                origin.map(|name| header(&format!("tidewatch.{name}")));
            *counts.entry((generation, partition, offset)).or_default() += 1;
        }
        counts
    }
}

#[test]
fn a_recreated_topic_is_read_beside_the_old_one() {
    let (Some(broker), Some(elastic)) = (Broker::shared(), Elastic::shared()) else { return };
    let setting = Setting {
        broker,
        elastic,
        folder: tempfile::tempdir().unwrap(),
        topic: unique("server-logs"),
        letters: unique("letters"),
        index: unique("logs"),
        port: free_ports(2),
    };
    broker.create_topic(&setting.topic, 2).unwrap();
    broker.create_topic(&setting.letters, 1).unwrap();
    let (recreated, firings) =
        ("tidewatch_topics_recreated_total", "tidewatch_window_firings_total");

    // While two processes read it, one partition each.
    setting.produce("0: old", 40);
    let mut program = setting.run(2);
    setting.expect(&mut program, &[("0", 40)]);
    setting.expect_metric(recreated, |count| count == 0);
    setting.recreate();
    setting.produce("1: new", 60);
    setting.expect(&mut program, &[("0", 40), ("1", 60)]);
    setting.expect_metric(recreated, |count| count == 1);
    let said = setting.said();
    for part in ["topic was recreated", "from its beginning, as a new generation", &setting.topic] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    assert!(!said.contains("no checkpoint holds"), "{said}");
    // Windows go on, and so do counts: those of the old topic were in a checkpoint.
    let before = setting.metric(firings).unwrap_or_default();
    setting.produce("1: more", 10);
    setting.expect(&mut program, &[("0", 40), ("1", 70)]);
    setting.expect_metric(firings, |count| count > before);
    setting.stop(program);

    // It stays in its generation, at another size.
    let mut program = setting.run(1);
    setting.produce("1: more still", 10);
    setting.expect(&mut program, &[("0", 40), ("1", 80)]);
    setting.expect_metric(recreated, |count| count == 1);
    setting.expect_metric("tidewatch_source_records_total", |count| count == 42 + 62 + 12 + 12);
    setting.stop(program);

    // While nothing reads it.
    setting.recreate();
    setting.produce("2: newest", 90);
    let mut program = setting.run(1);
    setting.expect(&mut program, &[("0", 40), ("1", 80), ("2", 90)]);
    setting.expect_metric(recreated, |count| count == 2);
    let ready = wait_for(WITHIN, || {
        let answer = get(&format!("http://127.0.0.1:{}/readyz", setting.port), &[]).ok()?;
        answer.is_success().then_some(())
    });
    assert!(ready.is_some(), "{}", setting.said());
    setting.stop(program);
    let origins = setting.origins();
    for generation in ["0", "1", "2"] {
        for partition in ["0", "1"] {
            let first = (generation.to_owned(), partition.to_owned(), "0".to_owned());
            assert!(origins.contains_key(&first), "no {first:?} in {origins:?}");
        }
    }
}
