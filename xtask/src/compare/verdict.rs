//! Whether answers are right, as the exact reference says.

use std::{fmt, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{dataset::Dataset, system::System};

/// What is to be said of a system's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every row is there, and right.
    Right,
    /// Rows are lost or wrong: how many, of which query.
    Wrong(String),
    /// It does not look at event time: nothing was lost, and more cannot be asked.
    ArrivalTime,
    /// It was asked nothing.
    Unasked,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Right => f.write_str("ok"),
            Verdict::Wrong(why) => write!(f, "wrong({why})"),
            Verdict::ArrivalTime => f.write_str("arrival-time"),
            Verdict::Unasked => f.write_str("none"),
        }
    }
}

impl Verdict {
    /// Of what `answers check` has printed: `ok`, or else what is wrong.
    fn of_line(line: &str, is_arrival_time: bool) -> Self {
        match line.strip_prefix("wrong").map(|rest| rest.trim_matches(['(', ')', ' '])) {
            // Lines are split at spaces by those who read them.
            Some(why) => Verdict::Wrong(
                why.replace(": ", ":").replace(", ", ",").replace("; ", ";").replace(' ', "_"),
            ),
            None if is_arrival_time => Verdict::ArrivalTime,
            None => Verdict::Right,
        }
    }
}

/// Checks the answers of `system` to `queries` about `data`, which are in `out`.
pub(super) fn check(
    system: &System,
    programs: &Path,
    data: &Dataset,
    queries: &[String],
    out: &Path,
) -> Result<Verdict> {
    let (is_arrival_time, corrects) = match system {
        System::Floor => return Ok(Verdict::Unasked),
        System::Tidewatch(..) => (false, false),
        System::Peer(peer) => (peer.manifest.arrival_time_only, peer.manifest.corrects),
    };
    let mut command = Command::new(programs.join("answers"));
    command.arg("check").arg("--labels").arg(&data.labels).arg("--answers").arg(out);
    if is_arrival_time {
        command.arg("--arrival-time");
    } else {
        command.args(["--queries", &queries.join(",")]);
        command.args(corrects.then_some("--corrects"));
    }
    let output = command.output().context("could not start `answers check`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match (text.lines().last().map(str::trim), output.status.code()) {
        (Some(line), Some(0 | 1)) if line == "ok" || line.starts_with("wrong") => {
            Ok(Verdict::of_line(line, is_arrival_time))
        }
        _ => {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("`answers check` failed ({}): {}", output.status, errors.trim())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_say_what_is_wrong() {
        let line = |line, arrival| Verdict::of_line(line, arrival).to_string();
        assert_eq!(line("ok", false), "ok");
        assert_eq!(line("ok", true), "arrival-time");
        let wrong = "wrong(q1: 3 missing, 1 extra; q4: 1 missing)";
        let told = "wrong(q1:3_missing,1_extra;q4:1_missing)";
        assert_eq!(line(wrong, false), told);
        assert_eq!(line(wrong, true), told, "what was lost is lost at any time");
        assert_eq!(Verdict::Unasked.to_string(), "none");
    }
}
