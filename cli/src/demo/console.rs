//! What the demo says on the terminal: progress while it catches up, and a table at the end. Alerts
//! themselves are told by the console channel.

use std::io::{self, Write};
use std::time::Duration;

use super::evaluate::{FaultReport, Outcome, Report};

/// On something that is no terminal a line of progress is written this often at most.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Tells how far the backlog has been read: one line that is written over again on a terminal, plain lines
/// elsewhere.
#[derive(Debug)]
pub struct Progress<W> {
    out: W,
    terminal: bool,
    /// When the last line was written, by the caller's count.
    told_at: Option<Duration>,
    /// How long the line is that stands on the terminal.
    width: usize,
}

/// How far it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Time since the beginning.
    pub elapsed: Duration,
    /// Records read.
    pub records: u64,
    /// Records of the backlog; `None` while it is still being written.
    pub total: Option<u64>,
}

impl<W: Write> Progress<W> {
    /// Progress on `out`, which is a terminal or not.
    pub fn new(out: W, terminal: bool) -> Self {
        Progress { out, terminal, told_at: None, width: 0 }
    }

    /// Tells `step`, if it is time to.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn tell(&mut self, step: Step) -> io::Result<()> {
        let due = self.terminal
            || self.told_at.is_none_or(|told| step.elapsed.saturating_sub(told) >= PLAIN_EVERY);
        if !due {
            return Ok(());
        }
        self.told_at = Some(step.elapsed);
        let line = format!("catching up: {}", describe(step));
        if self.terminal {
            let width = line.len();
            write!(self.out, "\r{line:<pad$}", pad = self.width)?;
            self.width = width;
        } else {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// Makes room on the terminal for a line of somebody else.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.terminal && self.width > 0 {
            write!(self.out, "\r{:pad$}\r", "", pad = self.width)?;
            self.width = 0;
        }
        self.out.flush()
    }

    /// Says that the backlog is through.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn finish(&mut self, step: Step) -> io::Result<()> {
        self.clear()?;
        writeln!(self.out, "caught up: {}, live from here", describe(step))?;
        self.out.flush()
    }
}

fn describe(step: Step) -> String {
    let seconds = step.elapsed.as_secs_f64();
    let rate = (step.records as f64 / seconds.max(1e-3)).round() as u64;
    let share = match step.total {
        Some(total) => {
            let percent = (100 * step.records).checked_div(total).unwrap_or(100).min(100);
            format!("of {} records ({percent} %)", grouped(total))
        }
        None => "records".to_owned(),
    };
    format!("{} {share} in {seconds:.1} s, {} records/s", grouped(step.records), grouped(rate))
}

/// A number with its thousands set apart: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes the end of a run for people: totals, one line per fault, false alarms, the verdict.
///
/// # Errors
/// When `out` cannot be written to.
pub fn summary(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(out)?;
    writeln!(
        out,
        "{} records read, {} windows fired, {} incidents opened, {} ended",
        grouped(report.records_read),
        grouped(report.windows_fired),
        report.alerts.opened,
        report.alerts.ended
    )?;
    if let Some(catch_up) = &report.catch_up {
        writeln!(
            out,
            "caught up with {} records in {:.1} s: {} records/s",
            grouped(catch_up.records),
            catch_up.seconds,
            grouped(catch_up.records_per_second.round() as u64)
        )?;
    }
    writeln!(out)?;
    let width = report.faults.iter().map(|fault| fault.group.len()).max().unwrap_or(0).max(5);
    writeln!(
        out,
        "{:<14} {:<width$} {:<9} {:<12} {:<12} seen after",
        "fault", "group", "began", "must alert", "outcome"
    )?;
    for fault in &report.faults {
        let began = fault.start.get(11..19).unwrap_or_default();
        let must = if fault.must_alert { "yes" } else { "no" };
        writeln!(
            out,
            "{:<14} {:<width$} {began:<9} {must:<12} {:<12} {}",
            kind(fault),
            fault.group,
            outcome(fault.outcome),
            fault.wall_delay_seconds.map(|s| format!("{s:.1} s")).unwrap_or_default()
        )?;
    }
    for alarm in &report.false_alarms {
        writeln!(
            out,
            "false alarm: {} {} at {}: {}",
            alarm.rule, alarm.group, alarm.at, alarm.summary
        )?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "{}: {} detected, {} missed, {} false alarms, {} not due yet",
        report.verdict,
        report.count(Outcome::Detected),
        report.missed,
        report.false_alarms.len(),
        report.count(Outcome::NotDue)
    )?;
    out.flush()
}

fn kind(fault: &FaultReport) -> &'static str {
    use super::fleet::FaultKind;
    match fault.kind {
        FaultKind::CpuSustained => "cpu sustained",
        FaultKind::CpuShort => "cpu short",
        FaultKind::CpuFlapping => "cpu flapping",
        FaultKind::ErrorBurst => "error burst",
        FaultKind::SmallBurst => "small burst",
        FaultKind::MemoryShift => "memory shift",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Detected => "detected",
        Outcome::Missed => "MISSED",
        Outcome::NotDue => "not due yet",
        Outcome::Quiet => "quiet",
        Outcome::FalseAlarm => "FALSE ALARM",
    }
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::{RunFacts, evaluate};
    use super::super::fleet::{Fleet, HOSTS_MIN};
    use super::*;
    use tidewatch_dataflow::time::EventTime;

    fn step(seconds: u64, records: u64, total: Option<u64>) -> Step {
        Step { elapsed: Duration::from_secs(seconds), records, total }
    }

    #[test]
    fn a_terminal_sees_one_line_and_a_file_sees_few() {
        let mut progress = Progress::new(Vec::new(), true);
        progress.tell(step(1, 120_000, None)).unwrap();
        progress.tell(step(2, 60, Some(120))).unwrap();
        progress.finish(step(4, 120, Some(120))).unwrap();
        let text = String::from_utf8(progress.out).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.starts_with("\rcatching up: 120,000 records in 1.0 s, 120,000 records/s\r"));
        assert!(text.contains("60 of 120 records (50 %) in 2.0 s, 30 records/s"));
        assert!(text.ends_with(
            "caught up: 120 of 120 records (100 %) in 4.0 s, 30 records/s, live from here\n"
        ));

        let mut progress = Progress::new(Vec::new(), false);
        for second in 0..12 {
            progress.tell(step(second, 0, Some(0))).unwrap();
        }
        let text = String::from_utf8(progress.out).unwrap();
        assert_eq!((text.lines().count(), text.contains('\r')), (3, false));
    }

    #[test]
    fn the_summary_names_every_fault_and_the_verdict() {
        let start = EventTime::from_millis(1_800_000_000_000);
        let fleet = Fleet::new(1, HOSTS_MIN, start);
        let facts = RunFacts { start, end: start + Duration::from_secs(60), ..RunFacts::default() };
        let report = evaluate(fleet.faults(), &[], &facts);
        let mut out = Vec::new();
        summary(&mut out, &report).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("MISSED").count(), report.missed);
        assert!(text.contains("\nfail: 0 detected, "), "{text}");
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
