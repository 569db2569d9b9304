//! Checkpoints as people read them.

use std::fmt::{self, Write};
use std::time::Duration;

use tidewatch_dataflow::config::HumanDuration;

use super::audit::{Damage, Effort};
use super::facts::{Detail, Line, QuarantineFacts};
use crate::commands::table::table;

/// `1.2 MiB`
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1_024.0;
    let mut unit = 0;
    while size >= 1_024.0 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS.get(unit).copied().unwrap_or_default())
}

/// `8s`, `3h12m`, `2d4h`: the two largest units.
fn age(seconds: u64) -> String {
    let keep = match seconds {
        0..3_600 => seconds,
        3_600..86_400 => seconds - seconds % 60,
        _ => seconds - seconds % 3_600,
    };
    HumanDuration::from(Duration::from_secs(keep)).to_string()
}

fn some(value: Option<&String>) -> String {
    value.cloned().unwrap_or_else(|| "?".to_owned())
}

/// The list, newest first.
pub(super) fn list(out: &mut String, lines: &[Line]) -> fmt::Result {
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            vec![
                line.name.clone(),
                some(line.event_time.as_ref()),
                line.age_seconds.map_or("?".to_owned(), age),
                bytes(line.state_bytes),
                line.pieces.to_string(),
                line.state.to_owned(),
            ]
        })
        .collect();
    table(out, "", &["CHECKPOINT", "EVENT TIME", " AGE", " SIZE", " PIECES", "STATE"], &rows)?;
    damages(out, lines)
}

/// What is wrong, below a table.
fn damages(out: &mut String, lines: &[Line]) -> fmt::Result {
    let damaged: Vec<&Line> = lines.iter().filter(|line| !line.damages.is_empty()).collect();
    if damaged.is_empty() {
        return Ok(());
    }
    for line in &damaged {
        writeln!(out, "\n{} is damaged:", line.name)?;
        for fault in &line.damages {
            writeln!(out, "  {}: {}", fault.object, fault.reason)?;
        }
    }
    writeln!(
        out,
        "\nA restart goes on from the newest. To go on from an older one, stop the pipeline and delete the objects \
         of\nthe newer ones under `manifests/`."
    )
}

/// One checkpoint.
pub(super) fn inspect(out: &mut String, detail: &Detail) -> fmt::Result {
    let line = &detail.line;
    let count = |count: Option<u64>, what: &str| match count {
        Some(1) => format!("1 {what}"),
        Some(count) => format!("{count} {what}s"),
        None => format!("? {what}s"),
    };
    writeln!(out, "checkpoint {}, {}", line.name, line.state)?;
    writeln!(out, "  pipeline    {}", some(detail.pipeline.as_ref()))?;
    writeln!(
        out,
        "  event time  {}: everything before it is in it",
        some(line.event_time.as_ref())
    )?;
    writeln!(
        out,
        "  written     {}, {} ago, by {} in {}",
        some(line.written_at.as_ref()),
        line.age_seconds.map_or("?".to_owned(), age),
        count(detail.workers.map(u64::from), "worker"),
        count(detail.processes.map(|count| count as u64), "process")
            .replace("processs", "processes"),
    )?;
    writeln!(
        out,
        "  state       {} in {} and {}",
        bytes(line.state_bytes),
        count(Some(line.pieces as u64), "piece"),
        count(Some(detail.objects as u64), "object"),
    )?;
    if !detail.partitions.is_empty() {
        let rows: Vec<Vec<String>> = detail
            .partitions
            .iter()
            .map(|p| {
                let offset = p.offset.map_or("the first".to_owned(), |offset| offset.to_string());
                let idle = if p.idle { "idle" } else { "" };
                let watermark = p.watermark.clone().unwrap_or_else(|| "none yet".to_owned());
                vec![p.topic.clone(), p.partition.to_string(), offset, watermark, idle.to_owned()]
            })
            .collect();
        writeln!(out, "\npartitions, and the offset that reading goes on at")?;
        table(out, "  ", &["TOPIC", " PARTITION", " OFFSET", "WATERMARK", ""], &rows)?;
    }
    if !detail.quarantined.is_empty() {
        let cells = |q: &QuarantineFacts| vec![q.group.clone(), q.operator.clone(), q.from.clone()];
        let rows: Vec<Vec<String>> = detail.quarantined.iter().map(cells).collect();
        writeln!(out, "\nquarantine: groups that crashed an operator, which leaves them out")?;
        table(out, "  ", &["GROUP", "OPERATOR", "FROM"], &rows)?;
    }
    if !detail.operators.is_empty() {
        let rows: Vec<Vec<String>> = detail
            .operators
            .iter()
            .map(|o| {
                vec![
                    o.operator.clone(),
                    o.workers.to_string(),
                    o.pieces.to_string(),
                    bytes(o.bytes),
                ]
            })
            .collect();
        writeln!(out, "\noperators")?;
        table(out, "  ", &["OPERATOR", " WORKERS", " PIECES", " SIZE"], &rows)?;
    }
    match detail.sinks.is_empty() {
        // Of parts that cannot be read nobody knows.
        true if !line.damages.is_empty() => {}
        true => writeln!(out, "\nsinks: all that was computed was delivered")?,
        false => {
            let rows: Vec<Vec<String>> = detail
                .sinks
                .iter()
                .map(|s| vec![s.sink.clone(), s.segments.to_string(), bytes(s.bytes)])
                .collect();
            writeln!(out, "\nsinks, and what they have still to deliver")?;
            table(out, "  ", &["SINK", " SEGMENTS", " SIZE"], &rows)?;
        }
    }
    damages(out, std::slice::from_ref(line))
}

/// The outcome of a verification.
pub(super) fn verified(
    out: &mut String,
    lines: &[Line],
    beside: &[Damage],
    effort: Effort,
) -> fmt::Result {
    for line in lines {
        let verdict = if line.damages.is_empty() { "whole" } else { "DAMAGED" };
        writeln!(out, "{}  {verdict}", line.name)?;
    }
    writeln!(out, "\n{} objects read, {}", effort.objects, bytes(effort.bytes))?;
    damages(out, lines)?;
    if beside.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nBeside the checkpoints there is damaged:")?;
    for Damage { object, reason } in beside {
        writeln!(out, "  {object}: {reason}")?;
    }
    writeln!(
        out,
        "\nA restart needs what was written after the checkpoint that it goes on from. Put these objects back from a \
         copy."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        for (count, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
        for (seconds, shown) in [(0, "0s"), (75, "1m15s"), (3_725, "1h2m"), (100_000, "1d3h")] {
            assert_eq!(age(seconds), shown);
        }
    }
}
