//! A record that ends the process that decodes or folds it, on a real Kafka: it is found by its crumb, passed over,
//! and told as a dead letter, and the run goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use tidewatch_testkit::http::client::get;
use tidewatch_testkit::kafka::{Broker, Message, Record};
use tidewatch_testkit::{Program, free_ports, unique, wait_for};

/// Three crashes, and the pauses of the supervisor between them.
const WITHIN: Duration = Duration::from_secs(60);
/// The bytes that the hooks for tests take for poison.
const POISON: &str = "a-record-that-crashes-us";

fn cpu(second: u64, host: &str) -> Message {
    let value = format!(
        r#"{{"name":"cpu","tags":{{"host":"{host}"}},"fields":{{"usage_active":7.5}},"timestamp":{second}}}"#
    );
    Message { value, ..Message::default() }
}

/// The value of a metric line that begins with `name`.
fn metric(port: u16, name: &str) -> Option<u64> {
    let answer = get(&format!("http://127.0.0.1:{port}/metrics"), &[]).ok()?;
    let line = answer.body.lines().find(|line| line.starts_with(name))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn a_record_that_ends_its_decoder_is_passed_over_and_told() {
    check("TIDEWATCH_TEST_POISON", POISON);
}

#[test]
fn a_record_that_the_fold_panics_at_is_passed_over_and_told() {
    check("TIDEWATCH_TEST_FAULT", &format!("fold@host={POISON}"));
}

/// The hook for tests that is set by `variable` strikes at a record with [`POISON`].
fn check(variable: &str, hook: &str) {
    let Some(broker) = Broker::shared() else { return };
    let (topic, letters) = (unique("cpu-usage"), unique("dead-letters"));
    broker.create_topic(&topic, 1).unwrap();
    broker.create_topic(&letters, 1).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut messages: Vec<_> = (0..100).map(|i| cpu(now - 200 + i, "web-1")).collect();
    messages.insert(50, cpu(now - 150, POISON));
    broker.produce(&topic, &messages).unwrap();

    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let text = format!(
        "[kafka]\nbrokers = [\"{}\"]\n[[sources]]\ntopic = \"{topic}\"\nformat = \"telegraf_json\"\n\
         [time]\nstart = \"earliest\"\n[[statistics]]\nname = \"cpu\"\nmeasurement = \"cpu\"\n\
         field = \"usage_active\"\ngroup_by = [\"host\"]\nwindows = [{{ size = \"10s\" }}]\n\
         aggregates = [\"mean\"]\n[dead_letters]\ntopic = \"{letters}\"\n\
         [http]\nlisten = \"127.0.0.1:{port}\"\n",
        broker.bootstrap()
    );
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, text).unwrap();
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_tidewatch"))
            .args(["run", "-c"])
            .arg(&file)
            .env(variable, hook)
            .spawn()
            .unwrap(),
    );
    let poisoned = "tidewatch_dead_letters_total{reason=\"poison\"}";
    let read = wait_for(WITHIN, || {
        let told = metric(port, poisoned) == Some(1);
        (told && metric(port, "tidewatch_source_records_total") == Some(101)).then_some(())
    });
    assert!(read.is_some(), "all but the poison is read: {:?}", program.0.try_wait());
    let told = wait_for(WITHIN, || {
        let letters = broker.read_all(&letters).unwrap();
        let reason = ("tidewatch.reason".to_owned(), "poison".to_owned());
        let is_it = |l: &Record| l.value.contains(POISON) && l.headers.contains(&reason);
        letters.iter().any(is_it).then_some(())
    });
    assert!(told.is_some(), "the poison is in the dead letters, whole");
    broker.produce(&topic, &[cpu(now, "web-2")]).unwrap();
    let more = wait_for(WITHIN, || {
        (metric(port, "tidewatch_source_records_total") == Some(102)).then_some(())
    });
    assert!(more.is_some(), "the run goes on");
}
