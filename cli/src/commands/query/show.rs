//! Answers of the store as people read them: times in UTC, the newest last.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use tidewatch_connectors::sinks::sqlite::{StoredIncident, StoredLine, StoredPoint};
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::series::Labels;

use crate::commands::table::table;

/// `2026-11-22 19:40:00`, with milliseconds where `exact`.
fn time(millis: u64, exact: bool) -> String {
    let time = i64::try_from(millis).ok().and_then(|m| Timestamp::from_millisecond(m).ok());
    match time {
        Some(time) if exact => format!("{time:.3}").replace('T', " ").replace('Z', ""),
        Some(time) => format!("{time:.0}").replace('T', " ").replace('Z', ""),
        None => format!("{millis} ms"),
    }
}

/// `host=web-1 window=10s`
fn labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// `97.25`, and not more than six digits behind the point.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A text in one line: what would break it is escaped.
fn in_line(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

pub(super) fn points(points: &[StoredPoint]) -> Result<String, fmt::Error> {
    let row = |point: &StoredPoint| {
        let fields = point.fields.iter().map(|(name, value)| format!("{name}={}", number(*value)));
        vec![
            time(point.time, false),
            in_line(&point.measurement),
            in_line(&labels(&point.labels)),
            in_line(&fields.collect::<Vec<_>>().join(" ")),
        ]
    };
    let rows: Vec<_> = points.iter().map(row).collect();
    let mut out = String::new();
    table(&mut out, "", &["TIME (UTC)", "STATISTIC", "LABELS", "FIELDS"], &rows)?;
    Ok(out)
}

pub(super) fn lines(lines: &[StoredLine]) -> Result<String, fmt::Error> {
    let row = |line: &StoredLine| {
        let extra = if line.extra.is_empty() { "" } else { " " };
        vec![
            time(line.time, true),
            line.level.to_owned(),
            in_line(&line.host),
            in_line(&line.service),
            in_line(&format!("{}{extra}{}", line.message, line.extra)),
        ]
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    let mut out = String::new();
    table(&mut out, "", &["TIME (UTC)", "LEVEL", "HOST", "SERVICE", "MESSAGE"], &rows)?;
    Ok(out)
}

pub(super) fn incidents(incidents: &[StoredIncident]) -> Result<String, fmt::Error> {
    let row = |incident: &StoredIncident| {
        let lasted = |end: u64| {
            let seconds = end.saturating_sub(incident.started_at) / 1_000;
            HumanDuration::from(Duration::from_secs(seconds)).to_string()
        };
        let state = match (&incident.end, incident.ended_at) {
            (Some(end), Some(at)) => format!("{end} after {}", lasted(at)),
            _ => "open".to_owned(),
        };
        vec![
            time(incident.opened_at, false),
            incident.severity.clone(),
            in_line(&incident.rule),
            in_line(&labels(&incident.group)),
            state,
            in_line(&incident.summary),
        ]
    };
    let rows: Vec<_> = incidents.iter().map(row).collect();
    let mut out = String::new();
    let titles = ["OPENED (UTC)", "SEVERITY", "RULE", "GROUP", "STATE", "SUMMARY"];
    table(&mut out, "", &titles, &rows)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_stays_in_its_line() {
        let line = StoredLine {
            time: 1_795_376_400_120,
            level: "ERROR",
            host: "web-1".into(),
            service: "shop".into(),
            message: "failed\n\tat x\u{1b}[31m".into(),
            extra: "{\"a\":1}".into(),
            origin: "logs-0-1-0".into(),
        };
        assert_eq!(
            lines(&[line]).unwrap(),
            "TIME (UTC)               LEVEL  HOST   SERVICE  MESSAGE\n\
             2026-11-22 19:40:00.120  ERROR  web-1  shop     failed\\n at x\\u{1b}[31m {\"a\":1}\n"
        );
    }

    #[test]
    fn incidents_say_how_long_they_lasted() {
        let open = StoredIncident {
            incident: "tw-1".into(),
            rule: "cpu_sustained".into(),
            group: Labels::from_pairs([("host", "web-1")]),
            severity: "critical".into(),
            started_at: 1_795_376_100_000,
            opened_at: 1_795_376_400_000,
            ended_at: None,
            end: None,
            value: 97.25,
            summary: "usage_active above 90 for 5m".into(),
        };
        let ended = StoredIncident {
            ended_at: Some(1_795_377_000_000),
            end: Some("recovered".into()),
            ..open.clone()
        };
        let text = incidents(&[open, ended]).unwrap();
        assert!(text.contains("host=web-1  open "), "{text}");
        assert!(text.contains("  recovered after 15m  usage_active above"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(97.0), "97");
        assert_eq!(number(1.0 / 3.0), "0.333333");
    }
}
