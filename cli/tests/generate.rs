//! `tidewatch generate` to files: the same bytes for the same options, labels that agree, and clear refusals.

#![allow(clippy::unwrap_used, reason = "test support: a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tidewatch::generate::{Labels, Topic};

const BENCHMARK: &str = include_str!("../../docs/benchmark.md");

fn generate(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .arg("generate")
        .args(args)
        .arg("--out")
        .arg(folder)
        .output()
        .unwrap()
}

/// The files of `folder` by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), text)
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

#[test]
fn a_folder_holds_all_partitions_and_the_labels() {
    let folder = tempfile::tempdir().unwrap();
    let made: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(["7", "7", "8"])
        .map(|(name, seed)| {
            let folder = folder.path().join(name).join("deep");
            let args = ["--messages", "105k", "--hosts", "50", "--seed", seed];
            let output = generate(&args, &folder);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            (String::from_utf8(output.stdout).unwrap(), files(&folder))
        })
        .collect();
    let (summary, first) = &made[0];
    assert_eq!(first, &made[1].1, "the same seed, the same bytes");
    assert_ne!(first, &made[2].1);
    assert_eq!(first.len(), 25);
    let labels: Labels = serde_json::from_str(&first["labels.json"]).unwrap();
    assert_eq!((labels.seconds, labels.records.metrics), (700, 105_036));
    assert!(summary.starts_with("105036 metrics ("), "{summary}");
    assert_eq!(labels.incidents.len(), 3, "600 s do not fit");
    let mut counted = [(0, 0); 2];
    for partition in 0..12 {
        for (topic, counted) in ["metrics", "logs"].into_iter().zip(&mut counted) {
            for line in first[&format!("fleet-{topic}-{partition:02}.ndjson")].lines() {
                let (key, message) = line.split_once('\t').unwrap();
                assert!(message.contains(&format!("\"{key}\"")), "{line}");
                counted.0 += 1;
                counted.1 += message.len() as u64;
            }
        }
    }
    let told = Topic::ALL.map(|topic| (labels.records.of(topic), labels.bytes.of(topic)));
    assert_eq!(counted, told);
}

#[test]
fn wrong_options_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = |args: &[&str], code: i32, remedy: &str| {
        let output = generate(args, &file);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(remedy), "{told}");
    };
    refused(&["--messages", "1k"], 2, "ask for at least that many");
    refused(&["--messages", "10X"], 2, "500k or 10M");
    refused(&["--messages", "1M", "--hosts", "7"], 2, "50..=1000000");
    refused(&["--messages", "1M", "--start", "soon"], 2, "2023-11-14T22:13:20Z");
    refused(&["--messages", "1M", "--brokers", "a:1"], 2, "cannot be used with");
    refused(&["--messages", "3k"], 1, "could not make the folder");
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn messages_in_the_document_are_of_the_workload_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let output = generate(&["--messages", "96k", "--hosts", "50", "--seed", "1"], folder.path());
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("96036 metrics (1 late) and 9882 log lines"), "{told}");
    let files = files(folder.path());
    let quoted: Vec<&str> = BENCHMARK.lines().filter(|line| line.starts_with("{\"")).collect();
    assert_eq!(quoted.len(), 4, "cpu, mem, disk and a log line");
    for message in quoted {
        let line = format!("\t{message}\n");
        assert!(files.values().any(|text| text.contains(&line)), "{message}");
    }
}
