//! The store against its contract: once in effect, bounded, searchable, and honest about strange files.

use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;
use tidewatch_dataflow::alert::{
    EndReason, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::config::ByteSize;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{Level, LogLine, PartitionId, Topics};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::{ConnectorError, SinkWriter};
use tidewatch_dataflow::time::{Clock, EventTime};

use super::*;

const NOW: u64 = 1_800_000_000_000;

struct Fixture {
    folder: TempDir,
    clock: Clock,
    store: SqliteStore,
}

fn config(folder: &TempDir) -> SqliteConfig {
    SqliteConfig::new(folder.path().join("store.db"))
}

fn fixture(change: impl FnOnce(&mut SqliteConfig)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    change(&mut config);
    let clock = Clock::manual(EventTime::from_millis(NOW));
    let store = SqliteStore::open_with_clock(&config, clock.clone()).unwrap();
    Fixture { folder, clock, store }
}

fn at(seconds: u64) -> EventTime {
    EventTime::from_millis(NOW + seconds * 1_000)
}

fn labels(host: &str) -> Labels {
    Labels::from_pairs([("host", host), ("window", "10s")])
}

fn point(host: &str, seconds: u64, mean: f64) -> MetricPoint {
    MetricPoint {
        measurement: "cpu".into(),
        labels: labels(host),
        time: at(seconds),
        fields: [("mean", mean), ("count", 2.0)].into_iter().collect(),
        is_correction: false,
    }
}

fn series(host: &str, points: usize) -> SeriesQuery {
    SeriesQuery {
        measurement: "cpu".to_owned(),
        labels: labels(host),
        field: "mean".to_owned(),
        from: at(0),
        to: at(100),
        points,
    }
}

fn line(offset: i64, seconds: u64, level: Level, message: &str) -> LogLine {
    LogLine {
        partition: PartitionId { topic: 0, partition: 3 },
        offset,
        index: 0,
        generation: 0,
        event_time: at(seconds),
        level,
        host: format!("web-{}", offset % 3).into(),
        service: "checkout".into(),
        message: message.into(),
        extra: "".into(),
    }
}

fn transition(group: &str, started: u64, sequence: u32, kind: TransitionKind) -> Transition {
    let group = Labels::from_pairs([("host", group)]);
    Transition {
        decided_at: at(started + 310 + u64::from(sequence)),
        incident: IncidentId::new("cpu_sustained", &group, at(started)),
        sequence,
        kind,
        rule: "cpu_sustained".into(),
        group,
        severity: Severity::Critical,
        started_at: at(started),
        at: at(started + 300 + u64::from(sequence)),
        value: Reading(95.5),
        summary: "usage_active above 90 for 5m".into(),
    }
}

fn topics() -> Topics {
    Topics::new(["server-logs"])
}

fn messages(lines: &[StoredLine]) -> Vec<&str> {
    lines.iter().map(|line| line.message.as_str()).collect()
}

#[tokio::test]
async fn points_come_back_and_a_correction_overwrites() {
    let f = fixture(|_| {});
    let mut sink = SqliteMetrics::new(f.store.clone());
    let batch = [point("a", 10, 1.5), point("a", 0, 0.5), point("b", 10, 7.0)];
    for _ in 0..2 {
        assert_eq!(sink.write(&batch).await.unwrap().accepted, 3);
    }
    assert_eq!(f.store.series(&series("a", 100)).unwrap(), [(NOW, 0.5), (NOW + 10_000, 1.5)]);
    sink.write(&[point("a", 10, 2.5)]).await.unwrap();
    assert_eq!(f.store.series(&series("a", 100)).unwrap(), [(NOW, 0.5), (NOW + 10_000, 2.5)]);
    let mut none = series("a", 100);
    none.field = "no such \"field".to_owned();
    assert!(f.store.series(&none).unwrap().is_empty());
}

#[tokio::test]
async fn many_points_are_averaged_down_to_what_was_asked_for() {
    let f = fixture(|_| {});
    let batch: Vec<MetricPoint> = (0..100).map(|s| point("a", s, s as f64)).collect();
    SqliteMetrics::new(f.store.clone()).write(&batch).await.unwrap();
    let found = f.store.series(&series("a", 10)).unwrap();
    assert_eq!(found.len(), 10);
    assert_eq!(found[0], (NOW + 9_000, 4.5));
    assert_eq!(found[9], (NOW + 99_000, 94.5));
}

#[tokio::test]
async fn a_number_that_is_none_is_rejected_alone() {
    let f = fixture(|_| {});
    let receipt = SqliteMetrics::new(f.store.clone())
        .write(&[point("a", 0, f64::NAN), point("a", 10, 1.0)])
        .await
        .unwrap();
    assert_eq!((receipt.accepted, receipt.rejected[0].index), (1, 0));
    assert_eq!(f.store.series(&series("a", 100)).unwrap(), [(NOW + 10_000, 1.0)]);
}

#[tokio::test]
async fn a_line_written_twice_is_there_once_also_after_a_restart() {
    let f = fixture(|_| {});
    let batch = [line(1, 0, Level::Info, "one"), line(2, 1, Level::Error, "two")];
    SqliteLogs::new(f.store.clone(), topics()).write(&batch).await.unwrap();
    let Fixture { folder, clock, store } = f;
    drop(store);
    let store = SqliteStore::open_with_clock(&config(&folder), clock).unwrap();
    // The topic has another number now; its name, and so the line's identity, is the same.
    let renumbered = Topics::new(["alerts", "server-logs"]);
    let mut again = batch.clone();
    again.iter_mut().for_each(|line| line.partition.topic = 1);
    SqliteLogs::new(store.clone(), renumbered).write(&again).await.unwrap();
    let found = store.logs(&LogQuery::default(), 10).unwrap();
    assert_eq!(messages(&found), ["two", "one"]);
    assert_eq!(found[0].origin, "server-logs-3-2-0");
    assert_eq!(store.logs(&LogQuery::parse("one"), 10).unwrap().len(), 1, "and once in the index");
}

#[tokio::test]
async fn search_finds_words_fields_and_levels() {
    let f = fixture(|_| {});
    let batch = [
        line(0, 0, Level::Info, "GET /cart answered 200 in 12 ms"),
        line(1, 1, Level::Error, "call to payments timed out after 5000 ms"),
        line(2, 2, Level::Warn, "call to payments slow: 812 ms"),
        line(3, 3, Level::Fatal, "höst weg, \"giving up\" (a AND b)"),
    ];
    SqliteLogs::new(f.store.clone(), topics()).write(&batch).await.unwrap();
    let search = |query: &str| -> Vec<u64> {
        let found = f.store.logs(&LogQuery::parse(query), 10).unwrap();
        found.iter().map(|line| (line.time - NOW) / 1_000).collect()
    };
    assert_eq!(search(""), [3, 2, 1, 0]);
    assert_eq!(search("payments"), [2, 1]);
    assert_eq!(search("PAYM timed"), [1], "beginnings of words, any case, all of them");
    assert_eq!(search("level:error"), [3, 1]);
    assert_eq!(search("level:error payments"), [1]);
    assert_eq!(search("host:web-1 ms"), [1]);
    assert_eq!(search("service:checkout"), [3, 2, 1, 0]);
    assert_eq!(search("host"), [3], "a word of the message: accents do not matter");
    assert_eq!(search("\"giving up\""), [3]);
    assert_eq!(search("AND"), [3], "no operator");
    assert_eq!(search("(a NEAR b*"), [0_u64; 0]);
    assert_eq!(search("\" -- *"), [0_u64; 0], "nothing to look for finds nothing");
    assert_eq!(search("message:x host: *:"), [0_u64; 0]);
    let two = f.store.logs(&LogQuery::default().at_least(Level::Warn), 2).unwrap();
    assert_eq!(messages(&two), [&*batch[3].message, &*batch[2].message]);
}

#[tokio::test]
async fn a_search_sorts_no_more_than_it_shows() {
    let f = fixture(|_| {});
    let connection = Connection::open(f.store.path()).unwrap();
    let plan: Vec<String> = connection
        .prepare(
            "EXPLAIN QUERY PLAN SELECT time FROM
             (SELECT rowid AS found FROM log_text WHERE log_text MATCH '\"a\"*')
             JOIN log ON log.id = found WHERE level >= 2 ORDER BY found DESC LIMIT 10",
        )
        .unwrap()
        .query_map([], |row| row.get(3))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{plan:?}");
}

#[tokio::test]
async fn lines_are_counted_by_time_and_level() {
    let f = fixture(|_| {});
    let levels = [Level::Info, Level::Error, Level::Error, Level::Debug];
    let batch: Vec<LogLine> =
        (0..4).map(|i| line(i, 4 * i as u64, levels[i as usize], "x")).collect();
    SqliteLogs::new(f.store.clone(), topics()).write(&batch).await.unwrap();
    let counts = f.store.log_rate(at(0), at(12), Duration::from_secs(10)).unwrap();
    assert_eq!(counts, [LogCount { time: NOW, levels: [0, 0, 1, 0, 2, 0] },]);
    let counts = f.store.log_rate(at(0), at(13), Duration::from_secs(10)).unwrap();
    assert_eq!(counts[1], LogCount { time: NOW + 10_000, levels: [0, 1, 0, 0, 0, 0] });
}

#[tokio::test]
async fn incidents_are_told_with_their_ends() {
    let f = fixture(|_| {});
    let (opened, ended) = (TransitionKind::Opened, TransitionKind::Ended(EndReason::NoData));
    let batch = [
        transition("a", 0, 0, opened),
        transition("a", 0, 1, ended),
        transition("b", 600, 0, opened),
    ];
    let mut sink = SqliteTransitions::new(f.store.clone());
    for _ in 0..2 {
        sink.write(&batch).await.unwrap();
    }
    let incidents = f.store.incidents(10).unwrap();
    assert_eq!(incidents.len(), 2);
    assert_eq!(incidents[0].group.get("host"), Some("b"));
    assert_eq!((incidents[0].ended_at, incidents[0].value), (None, 95.5));
    assert_eq!(incidents[1].ended_at, Some(NOW + 301_000));
    assert_eq!(incidents[1].end.as_deref(), Some("no_data"));
    assert_eq!(f.store.incidents(1).unwrap().len(), 1);
}

fn within(since: u64, until: u64, host: Option<&str>, limit: usize) -> Scope {
    let labels = host.map(|host| ("host".to_owned(), host.to_owned()));
    Scope { since: at(since), until: at(until), labels: labels.into_iter().collect(), limit }
}

#[tokio::test]
async fn somebody_else_reads_what_is_asked_for_while_it_is_written() {
    let f = fixture(|_| {});
    let archive = SqliteArchive::open(f.store.path()).unwrap();
    let batch: Vec<MetricPoint> =
        (0..10).flat_map(|s| [point("a", s * 10, s as f64), point("b", s * 10, 0.5)]).collect();
    SqliteMetrics::new(f.store.clone()).write(&batch).await.unwrap();
    let times = |measurement, scope: &Scope| {
        let found = archive.points(measurement, scope).unwrap();
        found.iter().map(|p| (p.time - NOW) / 1_000).collect::<Vec<_>>()
    };
    assert_eq!(times(Some("cpu"), &within(20, 50, Some("a"), 100)), [20, 30, 40]);
    assert_eq!(times(None, &within(0, 100, Some("a"), 2)), [80, 90], "the newest, oldest first");
    assert!(times(Some("mem"), &within(0, 100, None, 100)).is_empty());
    assert!(times(None, &within(0, 100, Some("a\" or 1"), 100)).is_empty());
    let both = archive.points(None, &within(90, 91, None, 10)).unwrap();
    assert_eq!(
        both.iter().map(|p| p.labels.get("host")).collect::<Vec<_>>(),
        [Some("a"), Some("b")]
    );
    assert_eq!((both[0].fields["mean"], both[0].fields["count"]), (9.0, 2.0));
    let window =
        Scope { labels: vec![("window".into(), "1m".into())], ..within(0, 100, Some("a"), 10) };
    assert!(archive.points(None, &window).unwrap().is_empty());

    let lines = [
        line(0, 0, Level::Info, "payment one timed out"),
        line(1, 30, Level::Error, "payment two timed out"),
        line(2, 10, Level::Error, "disk full"),
        line(3, 20, Level::Error, "payment three timed out"),
    ];
    SqliteLogs::new(f.store.clone(), topics()).write(&lines).await.unwrap();
    let found = |search: &str, scope: &Scope| {
        let lines = archive.logs(&LogQuery::parse(search), scope).unwrap();
        lines.into_iter().map(|line| line.message).collect::<Vec<_>>()
    };
    let all = within(0, 100, None, 100);
    assert_eq!(
        found("level:error timed", &all),
        ["payment three timed out", "payment two timed out"]
    );
    assert_eq!(found("timed", &within(0, 30, Some("web-0"), 100)).len(), 2);
    assert_eq!(found("timed", &within(0, 100, None, 1)), ["payment two timed out"]);
    assert_eq!(found("", &within(5, 25, None, 100)), ["disk full", "payment three timed out"]);
    assert_eq!(found("\"", &all), Vec::<String>::new());

    let history = [
        transition("a", 0, 0, TransitionKind::Opened),
        transition("a", 0, 1, TransitionKind::Ended(EndReason::Recovered)),
        transition("b", 50, 0, TransitionKind::Opened),
    ];
    SqliteTransitions::new(f.store.clone()).write(&history).await.unwrap();
    let groups = |words: &[&str], open, scope: &Scope| {
        let found = archive.incidents(words, open, scope).unwrap();
        found.iter().map(|i| i.group.get("host").unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = within(0, 1_000, None, 10);
    assert_eq!(groups(&[], false, &all), ["a", "b"]);
    assert_eq!(groups(&[], true, &all), ["b"]);
    assert_eq!(groups(&["CPU", "above"], false, &within(0, 1_000, Some("a"), 10)), ["a"]);
    assert_eq!(groups(&["memory"], false, &all), Vec::<String>::new());
    assert_eq!(groups(&[], false, &within(302, 1_000, None, 10)), ["b"], "a was over before");
    assert_eq!(groups(&[], false, &within(0, 340, None, 10)), ["a"], "b opened later");
}

#[tokio::test]
async fn what_is_too_old_is_deleted() {
    let f = fixture(|config| config.retention = Duration::from_secs(60).into());
    let (mut logs, mut metrics) =
        (SqliteLogs::new(f.store.clone(), topics()), SqliteMetrics::new(f.store.clone()));
    logs.write(&[line(1, 0, Level::Info, "old"), line(2, 50, Level::Info, "new")]).await.unwrap();
    metrics.write(&[point("gone", 0, 1.0), point("a", 0, 1.0), point("a", 50, 2.0)]).await.unwrap();
    f.clock.set(at(100));
    logs.write(&[line(3, 99, Level::Info, "newest")]).await.unwrap();
    assert_eq!(messages(&f.store.logs(&LogQuery::default(), 9).unwrap()), ["newest", "new"]);
    assert!(f.store.logs(&LogQuery::parse("old"), 9).unwrap().is_empty(), "nor in the index");
    assert_eq!(f.store.series(&series("a", 100)).unwrap(), [(NOW + 50_000, 2.0)]);
    let connection = Connection::open(f.store.path()).unwrap();
    let left: i64 = connection.query_row("SELECT count(*) FROM series", [], |r| r.get(0)).unwrap();
    assert_eq!(left, 1, "a series without points is gone");
    drop(f.folder);
}

#[tokio::test]
async fn the_file_never_grows_beyond_its_bound_and_the_newest_stay() {
    let bound = SqliteConfig::MAX_SIZE_MIN;
    let f = fixture(|config| config.max_size = ByteSize::from_bytes(bound));
    let mut sink = SqliteLogs::new(f.store.clone(), topics());
    let mut offset = 0;
    for batch in 0..150 {
        // Words that do not repeat, so that the index grows as well.
        let lines: Vec<LogLine> = (0..1_000)
            .map(|_| {
                offset += 1;
                let text = format!("request {offset:x} of user {:x} failed", offset * 7_919);
                line(offset, batch, Level::Info, &text)
            })
            .collect();
        assert_eq!(sink.write(&lines).await.unwrap().accepted, 1_000);
        let size = std::fs::metadata(f.store.path()).unwrap().len();
        assert!(size <= bound, "{size} bytes after batch {batch}");
        assert!(f.store.used_bytes().unwrap() <= bound * 8 / 10);
    }
    let newest = format!("{:x}", offset * 7_919);
    assert_eq!(f.store.logs(&LogQuery::parse(&newest), 9).unwrap().len(), 1);
    let left = f.store.log_rate(at(0), at(150), Duration::from_secs(1)).unwrap();
    assert!(left.len() > 5 && left.len() < 150, "{} seconds are left", left.len());
    assert_eq!(left.last().unwrap().time, NOW + 149_000);
}

#[tokio::test]
async fn a_batch_larger_than_the_store_is_refused_for_good() {
    let f = fixture(|config| config.max_size = ByteSize::from_bytes(SqliteConfig::MAX_SIZE_MIN));
    let mut sink = SqliteLogs::new(f.store.clone(), topics());
    let huge: Vec<LogLine> =
        (0..24).map(|offset| line(offset, 0, Level::Info, &"x ".repeat(1 << 19))).collect();
    let error = sink.write(&huge).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Permanent { .. }), "{error:?}");
    assert_eq!(sink.write(&huge[..1]).await.unwrap().accepted, 1, "the store goes on");
}

#[test]
fn strange_files_are_refused_with_a_remedy() {
    let nowhere = tempfile::tempdir().unwrap().path().join("none.db");
    assert!(SqliteArchive::open(&nowhere).is_err() && !nowhere.exists(), "asking creates nothing");
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let refusal = || SqliteStore::open(&config).unwrap_err().to_string();

    SqliteStore::open(&config).unwrap();
    let connection = Connection::open(&config.path).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    assert!(refusal().contains("schema version 7 and this version reads 1"), "{}", refusal());
    connection.pragma_update(None, "application_id", 1).unwrap();
    assert!(refusal().contains("of another program"), "{}", refusal());
    drop(connection);

    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", config.path.display()));
    }
    std::fs::write(&config.path, vec![b'x'; 8_192]).unwrap();
    let error = SqliteStore::open(&config).unwrap_err();
    assert!(matches!(ConnectorError::from(error), ConnectorError::Refused { .. }));

    let missing = SqliteConfig::new(folder.path().join("no/such/folder/store.db"));
    assert!(
        SqliteStore::open(&missing)
            .unwrap_err()
            .to_string()
            .starts_with("could not open the store")
    );
    let mut small = missing;
    small.max_size = ByteSize::from_bytes(1);
    assert!(SqliteStore::open(&small).unwrap_err().to_string().contains("at least 16777216"));
}

#[test]
fn the_configuration_has_defaults_and_no_unknown_fields() {
    let config: SqliteConfig = toml_like(r#"{"path": "a.db"}"#).unwrap();
    assert_eq!(config, SqliteConfig::new("a.db"));
    assert_eq!(config.retention.to_string(), "7d");
    let config: SqliteConfig =
        toml_like(r#"{"path": "a.db", "retention": "1d", "max_size": "64MiB"}"#).unwrap();
    assert_eq!((config.retention.to_string(), config.max_size.bytes()), ("1d".into(), 64 << 20));
    assert!(toml_like(r#"{"path": "a.db", "size": 1}"#).is_err());
}

fn toml_like(text: &str) -> serde_json::Result<SqliteConfig> {
    serde_json::from_str(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever people type, the search answers: no text is an operator or a syntax error.
    #[test]
    fn any_text_can_be_searched_for(query in "\\PC{0,40}", words in "[a-z\"*:()^+\\- ]{0,40}") {
        thread_local! {
            static FIXTURE: Fixture = fixture(|_| {});
        }
        FIXTURE.with(|f| {
            for text in [&query, &words] {
                prop_assert!(f.store.logs(&LogQuery::parse(text), 5).is_ok(), "{}", text);
            }
            Ok(())
        })?;
    }
}
