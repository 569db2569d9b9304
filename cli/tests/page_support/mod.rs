//! The simulated fleet pushed straight into a page's state, without Kafka and without an engine: samples
//! are shown as they are, and each fault that must alert becomes an alert when it is due.

#![allow(dead_code, reason = "each user of this module uses another part of it")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tidewatch::demo::fleet::{Fault, Fleet, Message, TOPIC_LOGS};
use tidewatch::page::{LiveState, Phase, Status};
use tidewatch_dataflow::alert::{
    EndReason, Incident, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{Level, LogLine, PartitionId};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

/// Plays a fleet into a page.
pub struct Player {
    fleet: Fleet,
    state: Arc<LiveState>,
    /// Where the fleet has been played to.
    at: EventTime,
    records: u64,
    offset: i64,
    /// How many transitions each fault has had.
    told: Vec<u32>,
}

impl Player {
    /// A player at the beginning of the backlog of `fleet`.
    pub fn new(fleet: Fleet, state: Arc<LiveState>) -> Self {
        let at = fleet.start().saturating_sub(tidewatch::demo::fleet::BACKLOG);
        Player { fleet, state, at, records: 0, offset: 0, told: Vec::new() }
    }

    /// Plays everything that arrives before `until`.
    ///
    /// # Errors
    /// When a message of the fleet is not as it should be.
    pub fn play(&mut self, until: EventTime, phase: Phase) -> anyhow::Result<()> {
        let messages: Vec<Message> = self.fleet.until(until).collect();
        let seconds = until.since(self.at).as_secs_f64().max(0.1);
        let (mut points, mut lines) = (Vec::new(), Vec::new());
        for message in &messages {
            if message.topic == TOPIC_LOGS {
                self.offset += 1;
                lines.push(line(message, self.offset)?);
            } else {
                points.push(point(message)?);
            }
        }
        points.sort_by_key(|point| point.time);
        self.state.add_points(&points);
        self.state.add_lines(&lines);
        self.records += messages.len() as u64;
        self.at = until;
        self.alert(until);
        self.state.set_status(Status {
            phase,
            records: self.records,
            records_per_second: messages.len() as f64 / seconds,
            watermark: Some(until.saturating_sub(Duration::from_millis(5_300))),
        });
        Ok(())
    }

    /// Opens and ends the alerts of the labelled faults.
    fn alert(&mut self, until: EventTime) {
        let faults: Vec<Fault> = self.fleet.faults().to_vec();
        self.told.resize(faults.len(), 0);
        let mut transitions = Vec::new();
        for (fault, told) in faults.iter().zip(&mut self.told).filter(|(f, _)| f.must_alert) {
            let ended = fault.end.max(fault.due + Duration::from_secs(60));
            if *told == 0 && fault.due <= until {
                transitions.push(transition(fault, 0, TransitionKind::Opened, fault.due));
                *told = 1;
            }
            if *told == 1 && ended <= until {
                let end = TransitionKind::Ended(EndReason::Recovered);
                transitions.push(transition(fault, 1, end, ended));
                *told = 2;
            }
        }
        if !transitions.is_empty() {
            transitions.sort_by_key(|transition| transition.at);
            self.state.add_transitions(&transitions);
            let open = faults.iter().zip(&self.told).filter(|(_, told)| **told == 1);
            self.state.set_active(open.map(|(fault, _)| active(fault)).collect());
        }
    }
}

fn point(message: &Message) -> anyhow::Result<MetricPoint> {
    let json: Value = serde_json::from_slice(&message.value)?;
    let measurement = json["name"].as_str().context("a metric without a name")?;
    let field = if measurement == "cpu" { "usage_active" } else { "used_percent" };
    let value = json["fields"][field].as_f64().context("a metric without its field")?;
    let end = (message.event_time.as_millis() / 10_000 + 1) * 10_000;
    Ok(MetricPoint {
        measurement: measurement.into(),
        labels: Labels::from_pairs([("host", &*message.key), ("window", "10s")]),
        time: EventTime::from_millis(end),
        fields: [("mean", value)].into_iter().collect(),
        is_correction: false,
    })
}

fn line(message: &Message, offset: i64) -> anyhow::Result<LogLine> {
    let json: Value = serde_json::from_slice(&message.value)?;
    let text = |field: &str| json[field].as_str().context("a log line lacks a field");
    let level = match text("level")? {
        "DEBUG" => Level::Debug,
        "WARN" => Level::Warn,
        "ERROR" => Level::Error,
        "FATAL" => Level::Fatal,
        _ => Level::Info,
    };
    Ok(LogLine {
        partition: PartitionId { topic: 0, partition: 0 },
        offset,
        index: 0,
        generation: 0,
        event_time: message.event_time,
        level,
        host: text("host")?.into(),
        service: text("service")?.into(),
        message: text("message")?.into(),
        extra: "".into(),
    })
}

fn summary(fault: &Fault) -> (Severity, f64, &'static str) {
    match fault.rule {
        "cpu_sustained" => (Severity::Critical, 95.4, "usage_active above 90 for 5m"),
        "error_burst" => (Severity::Critical, 47.0, "more than 20 error lines within 60s"),
        _ => (Severity::Warning, 22.8, "used_percent 22.8 points off its usual level"),
    }
}

fn transition(fault: &Fault, sequence: u32, kind: TransitionKind, at: EventTime) -> Transition {
    let (severity, value, text) = summary(fault);
    Transition {
        decided_at: at + Duration::from_secs(10),
        incident: IncidentId::new(fault.rule, &fault.group, fault.start),
        sequence,
        kind,
        rule: fault.rule.into(),
        group: fault.group.clone(),
        severity,
        started_at: fault.start,
        at,
        value: Reading(value),
        summary: text.into(),
    }
}

fn active(fault: &Fault) -> (Incident, Labels) {
    let (severity, value, text) = summary(fault);
    let incident = Incident {
        id: IncidentId::new(fault.rule, &fault.group, fault.start),
        rule: fault.rule.into(),
        group: fault.group.clone(),
        severity,
        started_at: fault.start,
        opened_at: fault.due,
        value: Reading(value),
        summary: text.into(),
    };
    (incident, Labels::from_pairs([("owner", "web-team"), ("tier", "1")]))
}
