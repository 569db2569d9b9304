//! `tidewatch topics` on a real Apache Kafka: what is missing is created, what is there is compared, and
//! nothing that is there is changed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use tidewatch_testkit::kafka::Broker;
use tidewatch_testkit::unique;

/// Exit code, standard output, standard error of `tidewatch topics`.
fn topics(file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(["topics", "--timeout", "60s", "-c"])
        .arg(file)
        .args(more)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn pipeline(broker: &Broker, name: &str, wanted: &str) -> String {
    format!(
        "[kafka]\nbrokers = [\"{}\"]\n[[sources]]\ntopic = \"{name}\"\n{wanted}\n[dead_letters]\ntopic = \"{name}-dead\"\n",
        broker.bootstrap()
    )
}

#[test]
fn topics_are_created_verified_and_never_changed() {
    let Some(broker) = Broker::shared() else { return };
    let name = unique("topics");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidewatch.toml");
    let write = |wanted: &str| std::fs::write(&file, pipeline(broker, &name, wanted)).unwrap();
    let is = |verb: &str, topic: &str| format!("{name}{topic}: {verb} ");

    write("partitions = 6\nreplication = 1");
    for _ in 0..2 {
        let (code, out, err) = topics(&file, &["--dry-run"]);
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(
            out.contains(
                is("would be created with 6 partitions, 1 copy, kept for 7d", "").trim_end()
            ),
            "{out}"
        );
        assert!(out.contains(&is("would be created with 1 partition,", "-dead")), "{out}");
    }
    let (code, out, err) = topics(&file, &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains(&is("created with 6 partitions,", "")), "{out}");
    assert!(out.contains(&is("created with 1 partition,", "-dead")), "{out}");
    for dry in [&["--dry-run"][..], &[]] {
        let (code, out, err) = topics(&file, dry);
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(out.contains(&is("there, with 6 partitions,", "")), "{out}");
    }

    write("partitions = 8\nreplication = 1\nretention = \"1d\"");
    for dry in [&["--dry-run"][..], &[]] {
        let (code, out, err) = topics(&file, dry);
        assert_eq!(code, Some(1), "{out}{err}");
        assert!(
            out.contains(is("differs: partitions is 6 where 8 is wanted", "").trim_end()),
            "{out}"
        );
        assert!(out.contains("(7d and 1d)") && out.contains("Nothing was changed."), "{out}");
    }
    write("partitions = 6\nreplication = 1");
    assert_eq!(topics(&file, &[]).0, Some(0), "it is as it was");
}

#[test]
fn more_copies_than_brokers_are_refused_with_the_remedy() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, pipeline(broker, &unique("copies"), "replication = 3")).unwrap();
    let (code, out, err) = topics(&file, &[]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("warning: 3 copies are asked for"), "{err}");
    assert!(err.contains("lower `replication`"), "{err}");
}
