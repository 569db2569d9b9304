//! What a valid file resolves to.

use std::path::Path as FilePath;
use std::time::Duration;

use tidewatch_connectors::codec::Format;
use tidewatch_connectors::state::Location;
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::detect::sustained::Condition;
use tidewatch_operators::feed::{Aggregate, Detector, OnChange};

use super::file::Start;
use super::*;

const LEAST: &str = "[kafka]\nbrokers = [\"localhost:9092\"]\n[[sources]]\ntopic = \"t\"\n";

/// The least file and `more`.
fn resolved(more: &str) -> PipelineConfig {
    match parse(&format!("{LEAST}{more}"), "etc/tidewatch.toml") {
        Ok(config) => config,
        Err(errors) => panic!("{errors}"),
    }
}

fn statistic(name: &str, rest: &str) -> String {
    format!(
        "[[statistics]]\nname = \"{name}\"\nmeasurement = \"cpu\"\nfield = \"value\"\ngroup_by = [\"host\"]\n{rest}\n"
    )
}

fn rule(name: &str, kind: &str, rest: &str) -> String {
    format!("[[rules]]\nname = \"{name}\"\nkind = \"{kind}\"\ngroup_by = [\"host\"]\n{rest}\n")
}

fn sustained(name: &str, rest: &str) -> String {
    let rest = format!("measurement = \"cpu\"\nfield = \"value\"\nabove = 90\n{rest}");
    rule(name, "sustained", &rest)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_least_file_has_every_default() {
    let config = resolved("");
    assert_eq!(config.time.start, Start::Latest);
    assert_eq!((config.tick().duration(), config.longest_window()), (seconds(10), Duration::ZERO));
    assert_eq!(config.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.series_max, 1_000_000);
    assert_eq!((&config.dead_letters, &config.inventory_file), (&None, &None));
    assert!(config.feeds().is_empty() && config.secrets.is_empty());
}

#[test]
fn sources_are_sorted_and_name_what_bare_values_are() {
    let config = resolved(
        "[[sources]]\ntopic = \"cpu-usage\"\nformat = \"value\"\n[[sources]]\ntopic = \"-usage\"\n[[sources]]\ntopic = \"a\"\nmeasurement = \"m\"\nfield = \"f\"\nkey_label = \"k\"\n",
    );
    let told: Vec<_> = config
        .sources
        .iter()
        .map(|s| {
            (
                &*s.topic,
                s.format.format,
                &*s.format.measurement,
                &*s.format.field,
                &*s.format.key_label,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("-usage", Format::Auto, "-usage", "value", "host"),
            ("a", Format::Auto, "m", "f", "k"),
            ("cpu-usage", Format::Value, "cpu", "value", "host"),
            ("t", Format::Auto, "t", "value", "host"),
        ]
    );
    let topics = config.topics();
    let indexes = (0..).zip(&config.sources).all(|(at, source)| topics.name(at) == source.topic);
    assert!(indexes, "the engine finds a partition's source by the index of its topic");
}

#[test]
fn panes_are_the_longest_that_fit_and_never_over_a_minute() {
    for (windows, pane) in [
        (r#"[{ size = "10s" }]"#, 10),
        (r#"[{ size = "10s" }, { size = "5m", slide = "10s" }]"#, 10),
        (r#"[{ size = "1h" }]"#, 60),
        (r#"[{ size = "1m" }, { size = "25s" }]"#, 5),
        (r#"[{ size = "7s" }]"#, 7),
    ] {
        let config = resolved(&statistic("s", &format!("windows = {windows}")));
        assert_eq!(config.statistics[0].pane.duration(), seconds(pane), "{windows}");
    }
    for (rest, pane, clear_for) in [
        ("for = \"5m\"", 10, 10),
        ("for = \"299s\"", 1, 1),
        ("for = \"12s\"", 6, 6),
        ("for = \"5m\"\nclear_for = \"45s\"", 5, 45),
    ] {
        let config = resolved(&sustained("r", rest));
        let Detector::Sustained(detector) = &config.rules[0].spec.detector else { panic!() };
        assert_eq!(config.rules[0].pane, detector.pane);
        assert_eq!(
            (detector.pane.duration(), detector.clear_for),
            (seconds(pane), seconds(clear_for))
        );
    }
}

#[test]
fn a_statistic_takes_the_lateness_of_time_unless_it_has_its_own() {
    let windows = "windows = [{ size = \"10s\" }]\n";
    let own = format!("{windows}allowed_lateness = \"7s\"");
    let more = format!(
        "[time]\nallowed_lateness = \"30s\"\n{}{}",
        statistic("a", windows),
        statistic("b", &own)
    );
    let config = resolved(&more);
    let lateness = config.statistics.iter().map(|s| s.spec.windows[0].allowed_lateness);
    assert_eq!(lateness.collect::<Vec<_>>(), [seconds(30), seconds(7)]);
    assert_eq!(config.statistics[0].spec.windows[0].slide, seconds(10), "tumbling by default");
    let default = [Aggregate::Count, Aggregate::Mean, Aggregate::Min, Aggregate::Max];
    assert_eq!(config.statistics[0].spec.aggregates, default);
}

#[test]
fn equal_samples_in_equal_panes_share_a_feed() {
    let config = resolved(
        &[
            statistic("a", "windows = [{ size = \"10s\" }]"),
            statistic("b", "windows = [{ size = \"20s\", slide = \"10s\" }]"),
            statistic("c", "windows = [{ size = \"1m\" }]"),
            sustained("r", "for = \"5m\""),
            sustained("q", "for = \"5m\"\nwhere = { dc = \"eu\" }"),
        ]
        .concat(),
    );
    let feeds = config.feeds();
    let shape: Vec<_> = feeds
        .iter()
        .map(|f| (f.pane.duration().as_secs(), f.statistics.len(), f.rules.len()))
        .collect();
    assert_eq!(shape, [(10, 2, 1), (60, 1, 0), (10, 0, 1)]);
    assert_eq!((config.tick().duration(), config.longest_window()), (seconds(10), seconds(300)));
}

#[test]
fn conditions_have_two_sides_and_hysteresis() {
    let config = resolved(
        &[
            sustained("up", "for = \"5m\"\nclear_below = 85"),
            sustained("plain", "for = \"1m30s\""),
            sustained("down", "for = \"1m\"\nclear_above = 6").replace("above = 90", "below = 5"),
        ]
        .concat(),
    );
    let told: Vec<_> = config
        .rules
        .iter()
        .map(|rule| match &rule.spec.detector {
            Detector::Sustained(d) => (d.condition, d.clear, &*rule.spec.summary),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (Condition::Above(90.0), 85.0, "value above 90 for 5m"),
            (Condition::Above(90.0), 90.0, "value above 90 for 1m30s"),
            (Condition::Below(5.0), 6.0, "value below 5 for 1m"),
        ]
    );
}

#[test]
fn bursts_count_errors_of_logs_unless_told_otherwise() {
    let config = resolved(
        &[
            rule("logs", "error_burst", "above = 20"),
            rule(
                "own",
                "error_burst",
                "above = 1\nwhere = {}\nfactor = 5\nbaseline = \"10m\"\nwindow = \"30s\"",
            ),
            rule(
                "other",
                "error_burst",
                "above = 1\nmeasurement = \"nginx\"\nfield = \"requests\"",
            ),
        ]
        .concat(),
    );
    let filters: Vec<_> = config.rules.iter().map(|r| r.selector.filters.clone()).collect();
    let errors = vec![("level".to_owned(), vec!["ERROR".to_owned(), "FATAL".to_owned()])];
    assert_eq!(filters, [errors, vec![], vec![]]);
    let summaries: Vec<&str> = config.rules.iter().map(|r| &*r.spec.summary).collect();
    assert_eq!(
        summaries,
        [
            "more than 20 log lines of level ERROR or FATAL within 1m",
            "more than 1 log lines within 30s, and 5 times as many as usual",
            "more than 1 samples of requests within 1m",
        ]
    );
    let Detector::Burst(own) = &config.rules[1].spec.detector else { panic!() };
    assert_eq!((own.clear_for, own.baseline, own.factor), (seconds(30), seconds(600), Some(5.0)));
}

#[test]
fn a_start_is_a_word_or_a_time_in_quotes_or_not() {
    let at = Start::At(EventTime::from_millis(1_772_323_200_000));
    for (text, start) in [
        ("\"earliest\"", Start::Earliest),
        ("\"2026-03-01T00:00:00Z\"", at),
        ("\"2026-03-01T01:00:00+01:00\"", at),
        ("2026-03-01T00:00:00Z", at),
    ] {
        assert_eq!(resolved(&format!("[time]\nstart = {text}\n")).time.start, start, "{text}");
    }
}

#[test]
fn a_bucket_is_named_with_its_service() {
    let config = resolved(
        "[checkpoint]\nstore = \"s3://ops/eu\"\nendpoint = \"http://127.0.0.1:9000\"\nkeep = 5\non_change = \"carry\"\n",
    );
    let checkpoint = config.checkpoint;
    assert_eq!(checkpoint.store.to_string(), "s3://ops/eu at http://127.0.0.1:9000");
    assert_eq!((checkpoint.keep, checkpoint.on_change), (5, OnChange::Carry));
    assert_eq!(checkpoint.interval, Duration::from_secs(10));
    assert!(checkpoint.enabled);
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let config = resolved(
        "[checkpoint]\nstore = \"state\"\n[sinks.sqlite]\npath = \"/var/lib/tw.db\"\n[sinks.influxdb]\nurl = \"http://127.0.0.1:8086\"\norg = \"o\"\nbucket = \"b\"\ntoken = { file = \"secret/token\" }\n[inventory]\nfile = \"hosts.toml\"\n",
    );
    assert_eq!(config.checkpoint.store, Location::Directory("etc/state".into()));
    assert_eq!(config.inventory_file.as_deref(), Some(FilePath::new("etc/hosts.toml")));
    assert_eq!(config.sinks.sqlite.unwrap().path, FilePath::new("/var/lib/tw.db"));
    let token = Secret::File("etc/secret/token".to_owned());
    assert_eq!(config.sinks.influxdb.unwrap().token, token);
    assert_eq!(config.secrets, [token]);
}

#[test]
fn the_inventory_beside_the_file_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, format!("{LEAST}[inventory]\nfile = \"hosts.toml\"\n")).unwrap();
    let hosts = "[[entry]]\nmatch = { host = \"a\" }\nlabels = { tier = \"1\" }\n";
    std::fs::write(folder.path().join("hosts.toml"), hosts).unwrap();
    let inventory = load(&file).unwrap().inventory;
    let group = Labels::from_pairs([("host", "a"), ("dc", "eu")]);
    assert_eq!(inventory.labels_of(&group), Labels::from_pairs([("tier", "1")]));
    assert!(inventory.labels_of(&Labels::from_pairs([("host", "b")])).is_empty());
}

#[test]
fn a_file_that_is_no_text_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, b"\xff\xfe[kafka]").unwrap();
    let errors = load(&file).unwrap_err();
    assert_eq!((errors.count(Level::Error), errors.problems[0].position.clone()), (1, None));
    assert!(errors.to_string().contains("store it as UTF-8"), "{errors}");
    assert!(load(folder.path()).unwrap_err().to_string().contains("could not read"));
}

#[test]
fn no_more_problems_are_kept_than_can_be_read() {
    let many: String = (0..1_000).map(|i| format!("key_{i} = 1\n")).collect();
    let errors = parse(&many, "x.toml").unwrap_err();
    assert_eq!(errors.problems.len(), 100);
}
