//! The state behind the page: bounds, corrections, and what a tick carries.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidewatch_dataflow::alert::{
    EndReason, Incident, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{Level, LogLine, PartitionId};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime};

use super::*;

fn at(seconds: u64) -> EventTime {
    EventTime::from_millis(seconds * 1_000)
}

fn state(hosts: usize) -> Arc<LiveState> {
    let clock = Clock::manual(at(10_000));
    LiveState::new(LiveConfig { hosts, clock, ..LiveConfig::default() })
}

fn point(host: &str, window: &str, seconds: u64, mean: f64) -> MetricPoint {
    MetricPoint {
        measurement: "cpu".into(),
        labels: Labels::from_pairs([("host", host), ("window", window)]),
        time: at(seconds),
        fields: [("max", 99.0), ("mean", mean)].into_iter().collect(),
        is_correction: false,
    }
}

fn line(seconds: u64, level: Level, message: &str) -> LogLine {
    LogLine {
        partition: PartitionId { topic: 0, partition: 0 },
        offset: 0,
        index: 0,
        generation: 0,
        event_time: at(seconds),
        level,
        host: "web-1".into(),
        service: "cart".into(),
        message: message.into(),
        extra: "".into(),
    }
}

fn incident(host: &str, started: u64) -> Incident {
    let group = Labels::from_pairs([("host", host)]);
    Incident {
        id: IncidentId::new("cpu_sustained", &group, at(started)),
        rule: "cpu_sustained".into(),
        group,
        severity: Severity::Critical,
        started_at: at(started),
        opened_at: at(started + 300),
        value: Reading(95.0),
        summary: "usage_active above 90 for 5m".into(),
    }
}

fn transition(host: &str, started: u64, kind: TransitionKind, when: u64) -> Transition {
    let incident = incident(host, started);
    Transition {
        decided_at: at(when),
        incident: incident.id,
        sequence: u32::from(kind != TransitionKind::Opened),
        kind,
        rule: incident.rule,
        group: incident.group,
        severity: incident.severity,
        started_at: incident.started_at,
        at: at(when),
        value: incident.value,
        summary: incident.summary,
    }
}

fn cpu(state: &LiveState, host: &str) -> Vec<(u64, f64)> {
    state.series(host, EventTime::MIN).map(|lines| lines[0].clone()).unwrap_or_default()
}

fn next_tick(ticks: &mut tokio::sync::broadcast::Receiver<Arc<str>>, state: &LiveState) -> Value {
    state.tick();
    serde_json::from_str(&ticks.try_recv().unwrap()).unwrap()
}

#[test]
fn points_are_kept_in_order_and_corrected() {
    let state = state(10);
    state.add_points(&[point("a", "10s", 20, 2.0), point("a", "10s", 10, 1.0)]);
    state.add_points(&[point("a", "5m/10s", 30, 9.0), point("a", "10s", 10, 1.5)]);
    state.add_points(&[point("a", "10s", 30, f64::NAN)]);
    assert_eq!(cpu(&state, "a"), [(10_000, 1.5), (20_000, 2.0)]);
    assert_eq!(state.hosts()[0].values["cpu"], (20_000, 2.0));
    assert!(state.series("b", EventTime::MIN).is_none());
}

#[test]
fn memory_is_bounded_per_line_and_knows_how_far_it_reaches() {
    let state = state(10);
    for second in 0..1_000 {
        state.add_points(&[point("a", "10s", second * 10, 1.0)]);
    }
    let points = cpu(&state, "a");
    assert_eq!((points.len(), points[0].0), (400, 6_000_000));
    assert!(state.reaches("a", at(6_000)) && !state.reaches("a", at(5_990)));
    state.add_points(&[point("b", "10s", 100, 1.0)]);
    assert!(state.reaches("b", EventTime::MIN), "a short line is whole");
}

#[test]
fn a_silent_host_gives_way_and_a_lively_one_does_not() {
    let state = state(2);
    state.add_points(&[point("a", "10s", 0, 1.0), point("b", "10s", 590, 1.0)]);
    state.add_points(&[point("c", "10s", 600, 1.0)]);
    assert_eq!((state.status().hosts, state.status().left_out), (2, 1));
    assert!(state.series("c", EventTime::MIN).is_none());
    state.add_points(&[point("c", "10s", 601, 1.0)]);
    assert!(state.series("a", EventTime::MIN).is_none(), "silent for more than ten minutes");
    assert!(state.series("c", EventTime::MIN).is_some());
}

#[test]
fn log_lines_are_counted_searched_and_cut() {
    let state = state(1);
    state.add_lines(&[
        line(3, Level::Info, "all is well"),
        line(4, Level::Error, "call to payments TIMED out"),
        line(14, Level::Fatal, &"ä".repeat(2_000)),
    ]);
    let rate = state.log_rate();
    assert_eq!(rate[0], RateView { time: 0, levels: [0, 0, 1, 0, 1, 0] });
    assert_eq!(rate[1], RateView { time: 10_000, levels: [0, 0, 0, 0, 0, 1] });
    let search = |query: &str, level| state.recent_lines(query, level, 10).len();
    assert_eq!(search("", Level::Trace), 3);
    assert_eq!(search("timed Payments", Level::Trace), 1);
    assert_eq!(search("web-1", Level::Error), 2);
    let longest = state.recent_lines("", Level::Fatal, 1);
    assert_eq!(longest[0].message.len(), 768, "cut at a letter");
}

#[test]
fn log_counts_and_lines_are_bounded() {
    let state = state(1);
    for step in 0..1_500 {
        state.add_lines(&[line(step * 10, Level::Info, "x")]);
    }
    state.add_lines(&[line(0, Level::Info, "very late")]);
    let rate = state.log_rate();
    assert_eq!((rate.len(), rate[0].time), (400, 11_000_000));
    assert_eq!(state.recent_lines("", Level::Trace, 5_000).len(), 1_000);
    assert_eq!(state.recent_lines("late", Level::Trace, 5)[0].time, 0, "it is found all the same");
}

#[test]
fn alerts_open_end_and_are_kept() {
    let state = state(1);
    let (opened, ended) = (TransitionKind::Opened, TransitionKind::Ended(EndReason::Recovered));
    let owner = Labels::from_pairs([("owner", "web")]);
    state.add_transitions(&[transition("a", 0, opened, 300)]);
    state.set_active(vec![(incident("a", 0), owner.clone())]);
    state.change_active(vec![((incident("b", 100), owner.clone()), 1)]);
    let view = state.alerts();
    assert_eq!((view.open_count, view.past.len()), (2, 0));
    assert_eq!(view.open[0].host.as_deref(), Some("b"), "the newest first");
    assert_eq!(view.open[1].inventory, "owner=web");

    let before = view.version;
    state.add_transitions(&[transition("a", 0, ended, 700), transition("a", 0, opened, 300)]);
    state.change_active(vec![((incident("a", 0), owner), -1)]);
    let view = state.alerts();
    assert_eq!((view.open_count, view.past.len()), (1, 1));
    assert_eq!(view.past[0].ended_at, Some(700_000), "an opening told twice changes nothing");
    assert!(view.version > before);
    for number in 0..2_000 {
        let host = format!("h{number}");
        state.add_transitions(&[transition(&host, number, opened, number)]);
        state.add_transitions(&[transition(&host, number, ended, number + 1)]);
    }
    assert_eq!(state.alerts().past.len(), 1_000);
}

#[tokio::test]
async fn a_tick_carries_what_is_new_and_says_when_more_changed() {
    let state = state(10);
    state.add_points(&[point("a", "10s", 10, 1.0)]);
    let mut ticks = state.ticks.subscribe();
    let tick = next_tick(&mut ticks, &state);
    assert_eq!(tick["points"]["a"]["cpu"], serde_json::json!([10_000, 1.0]));
    assert_eq!(tick["rewritten"], false);
    let tick = next_tick(&mut ticks, &state);
    assert_eq!(tick["points"], serde_json::json!({}), "nothing is said twice");

    state.add_points(&[point("a", "10s", 10, 7.0)]);
    assert_eq!(next_tick(&mut ticks, &state)["rewritten"], true, "a correction");
    state.add_points(&[point("a", "10s", 20, 1.0), point("a", "10s", 30, 1.0)]);
    let tick = next_tick(&mut ticks, &state);
    assert_eq!(
        (&tick["rewritten"], &tick["points"]["a"]["cpu"][0]),
        (&true.into(), &30_000.into())
    );

    state.add_lines(&[line(4, Level::Warn, "x")]);
    let tick = next_tick(&mut ticks, &state);
    assert_eq!(tick["rate"], serde_json::json!([{"time": 0, "levels": [0, 0, 0, 1, 0, 0]}]));
    assert_eq!(tick["status"]["phase"]["name"], "starting");
}

#[tokio::test]
async fn ticks_come_by_themselves_while_somebody_listens() {
    let state = state(10);
    for _ in 0..2 {
        let mut ticks = state.subscribe();
        let status = Status { watermark: Some(at(9_995)), ..Status::default() };
        state.set_status(status);
        let within = tokio::time::timeout(Duration::from_secs(20), ticks.recv());
        let tick: Value = serde_json::from_str(&within.await.unwrap().unwrap()).unwrap();
        assert_eq!(tick["status"]["now"], 10_000_000);
        drop(ticks);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while state.ticking.load(std::sync::atomic::Ordering::Acquire) {
            assert!(std::time::Instant::now() < deadline, "the task goes on without a listener");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(state.status().watermark_delay, Some(5.0));
}
