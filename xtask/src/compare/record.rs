//! What is kept of a comparison: `results.json`, `REPORT.md` and plots.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    machine::Machine,
    options::CompareArguments,
    outcome::{Figures, Measured, Outcome, Sized, Status},
    plot::{Bar, Chart},
    run::Bench,
    verdict::Verdict,
};

/// Everything that is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) arguments: &'a CompareArguments,
    pub(super) machine: &'a Machine,
    pub(super) bench: &'a Bench<'a>,
    pub(super) outcomes: &'a [Outcome],
}

impl Record<'_> {
    /// Writes it into a folder of `benches/runs`, which it names.
    pub(super) fn write(&self, project: &Path) -> Result<PathBuf> {
        let mut name = format!("{}-{}", self.machine.date, self.machine.slug());
        for (option, value) in self.arguments.variant() {
            let _ = write!(name, "-{option}-{}", value.replace(',', "-"));
        }
        let folder = project.join("benches/runs").join(name);
        fs::create_dir_all(&folder)
            .with_context(|| format!("could not make `{}`", folder.display()))?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("could not write `{}`", path.display()))
        };
        write("results.json", &format!("{:#}\n", self.json()))?;
        for (name, chart) in charts(self.outcomes) {
            write(name, &chart.svg())?;
        }
        write("REPORT.md", &self.report())?;
        Ok(folder)
    }

    /// Everything, for programs.
    fn json(&self) -> Value {
        let Record { arguments, machine, bench, outcomes } = self;
        json!({
            "date": machine.date,
            "machine": machine.to_json(),
            "versions": {
                "tidewatch": env!("CARGO_PKG_VERSION"),
                "commit": machine.commit,
                "rustc": machine.rustc,
                "kafka": machine.kafka,
            },
            "options": {
                "command": command(arguments),
                "messages": arguments.messages,
                "hosts": arguments.hosts,
                "interval": arguments.interval,
                "seed": arguments.seed,
                "queries": arguments.queries,
                "compression": arguments.compression,
                "rounds": arguments.rounds,
                "parallelism": arguments.parallelism,
            },
            "records": {
                "full": { "metrics": bench.full.metrics, "logs": bench.full.logs },
                "small": { "metrics": bench.small.metrics, "logs": bench.small.logs },
            },
            "systems": outcomes.iter().map(system).collect::<Vec<_>>(),
        })
    }

    /// The same, for people.
    fn report(&self) -> String {
        let Record { arguments, machine, bench, outcomes } = self;
        let (metrics, logs) = (bench.full.metrics, bench.full.logs);
        let mut text =
            format!("# Comparison of {}\n\n```text\n{}\n```\n\n", machine.date, command(arguments));
        text.push_str(&table(outcomes, &arguments.queries));
        let _ = write!(
            text,
            "\nCPU seconds are those of all processes of a system, net of start-up, for a million messages, metrics and \
             logs together; the broker is not counted. Memory is the greatest sum over all processes. \
             Before each run up to 2 GiB were touched and given back. Every answer was \
             compared with the exact reference.\n\n"
        );
        for outcome in outcomes.iter().filter(|outcome| !outcome.notes.is_empty()) {
            let _ = write!(text, "- {}: {}", outcome.name, outcome.notes);
            if let Some(share) = outcome.exchanged() {
                let _ = write!(
                    text,
                    "; {:.2} % of the bytes read crossed between processes",
                    share * 100.0
                );
            }
            text.push_str(".\n");
        }
        text.push('\n');
        for (name, chart) in charts(outcomes) {
            let _ = writeln!(text, "![{}]({name})\n", chart.title);
        }
        let _ = writeln!(
            text,
            "| | |\n| --- | --- |\n| machine | {}, {} cores, {} GiB, Linux {} |\n| data | {metrics} metric messages of {} hosts every {} s and {logs} log lines, compression {}, seed {} |\n| queries | {} |\n| rounds | {} |\n| load before the runs | {} |\n| tidewatch | {}, commit {}, {} |\n| Kafka | {}, one broker on the same machine |",
            machine.processor,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            arguments.hosts,
            arguments.interval,
            arguments.compression,
            arguments.seed,
            arguments.queries.join(", "),
            arguments.rounds,
            loads(outcomes),
            env!("CARGO_PKG_VERSION"),
            machine.commit,
            machine.rustc,
            machine.kafka,
        );
        text
    }
}

/// The least and the greatest load that a full run began under.
fn loads(outcomes: &[Outcome]) -> String {
    let loads = outcomes.iter().flat_map(|outcome| &outcome.rounds).map(|round| round.full.load);
    let (least, most) = loads
        .fold((f64::INFINITY, 0.0_f64), |(least, most), load| (least.min(load), most.max(load)));
    if least > most { "unknown".to_owned() } else { format!("{least:.2} to {most:.2}") }
}

/// The command that was given, as far as it matters.
fn command(arguments: &CompareArguments) -> String {
    let mut command = format!(
        "cargo xtask compare --messages {} --peers {} --rounds {}",
        arguments.messages,
        arguments.peers.join(","),
        arguments.rounds
    );
    for (name, value) in arguments.variant() {
        let _ = write!(command, " --{name} {value}");
    }
    if arguments.scaling {
        command.push_str(" --scaling");
    }
    command
}

fn run(sized: &Sized) -> Value {
    json!({
        "records": sized.records,
        "cost": sized.cost.to_json(),
        "load_before": sized.load,
    })
}

fn round(measured: &Measured) -> Value {
    json!({
        "small": run(&measured.small),
        "full": run(&measured.full),
        "exchanged": measured.exchanged,
        "answers": measured.verdict.to_string(),
    })
}

fn system(outcome: &Outcome) -> Value {
    let figures = outcome.figures().map(|figures| {
        json!({
            "cpu_s_per_million": figures.cpu_s_per_million,
            "msgs_per_s": figures.msgs_per_s,
            "rss_mib": figures.rss_mib,
            "start_up": figures.start_up,
        })
    });
    json!({
        "name": outcome.name,
        "version": outcome.version,
        "notes": outcome.notes,
        "queries": outcome.queries(),
        "answers": outcome.verdict().map(ToString::to_string),
        "failed": outcome.failed,
        "median": figures,
        "rounds": outcome.rounds.iter().map(round).collect::<Vec<_>>(),
    })
}

/// A row for each system.
fn table(outcomes: &[Outcome], asked: &[String]) -> String {
    let mut text =
        "| system | version | queries | CPU s per million | messages/s | MiB | answers |\n\
                    | --- | --- | --- | ---: | ---: | ---: | --- |\n"
            .to_owned();
    for outcome in outcomes {
        let version = outcome.version.as_deref().unwrap_or_default();
        let queries =
            if outcome.queries() == asked { "all" } else { &outcome.queries().join(", ") };
        let _ = match (outcome.figures(), &outcome.failed) {
            (Some(figures), None) => {
                let Figures { cpu_s_per_million, msgs_per_s, rss_mib, .. } = figures;
                let verdict = outcome.verdict().map(ToString::to_string).unwrap_or_default();
                writeln!(
                    text,
                    "| {} | {version} | {queries} | {cpu_s_per_million:.2} | {msgs_per_s:.0} | {rss_mib:.0} | {verdict} |",
                    outcome.name
                )
            }
            (_, failed) => {
                let why = failed.as_deref().unwrap_or("not run").replace(['\n', '|'], " ");
                writeln!(text, "| {} | {version} | | | | | failed: {why} |", outcome.name)
            }
        };
    }
    text
}

/// The plots, each with its file.
fn charts(outcomes: &[Outcome]) -> [(&'static str, Chart); 3] {
    let chart = |title: &str, subtitle: &str, value: fn(&Figures) -> f64, is_rising: bool| {
        let measured = outcomes.iter().filter(|outcome| outcome.status() != Status::Failed);
        let mut bars: Vec<Bar> = measured
            .filter_map(|outcome| {
                let value = value(&outcome.figures()?);
                Some(Bar {
                    label: outcome.name.clone(),
                    value,
                    note: note(outcome),
                    is_ours: !outcome.is_peer && outcome.name != "librdkafka",
                })
            })
            .collect();
        bars.sort_by(|a, b| a.value.total_cmp(&b.value));
        if !is_rising {
            bars.reverse();
        }
        Chart { title: title.to_owned(), subtitle: subtitle.to_owned(), bars }
    };
    [
        (
            "cpu.svg",
            chart(
                "CPU seconds per million messages",
                "all processes, net of start-up, without the broker; less is better",
                |figures| figures.cpu_s_per_million,
                true,
            ),
        ),
        (
            "rate.svg",
            chart(
                "Messages per second",
                "net of start-up; more is better",
                |figures| figures.msgs_per_s,
                false,
            ),
        ),
        (
            "memory.svg",
            chart(
                "Peak memory in MiB",
                "resident, all processes; less is better",
                |figures| figures.rss_mib,
                true,
            ),
        ),
    ]
}

/// What a bar's length does not say.
fn note(outcome: &Outcome) -> String {
    let part = match outcome.queries() {
        all if all.len() == 4 => String::new(),
        some => format!("{} only", some.join(", ")),
    };
    let verdict = match outcome.verdict() {
        Some(Verdict::Wrong(_)) => "wrong answers",
        Some(Verdict::ArrivalTime) => "by arrival time",
        Some(Verdict::Unasked) => "reads only",
        Some(Verdict::Right) | None => "",
    };
    [part.as_str(), verdict]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{
        meter::Cost,
        peer::{Manifest, Peer},
        system::System,
    };
    use super::*;

    fn outcome(name: &'static str, cpu_seconds: f64, verdict: Verdict) -> Outcome {
        let cost = |cpu_seconds| Cost { cpu_seconds, wall_seconds: cpu_seconds, memory_mib: 100.0 };
        let sized = |records, cpu| Sized { records, cost: cost(cpu), load: 0.1 };
        let queries = vec!["q1".to_owned()];
        let (small, full) = (sized(0, 0.0), sized(1_000_000, cpu_seconds));
        let mut outcome = Outcome::new(&System::Tidewatch(name, &[]), None);
        outcome.add(Ok(Measured { queries, small, full, exchanged: None, verdict }));
        outcome
    }

    fn failed() -> Outcome {
        let manifest = Manifest {
            name: "spark".to_owned(),
            version: "4.2.0".to_owned(),
            queries: Vec::new(),
            arrival_time_only: false,
            corrects: false,
            notes: String::new(),
            versions: Default::default(),
        };
        let peer = Peer { id: "spark".to_owned(), folder: PathBuf::new(), manifest };
        Outcome::new(&System::Peer(peer), Some(&"no | Java".to_owned()))
    }

    #[test]
    fn every_system_has_a_row_and_only_measured_ones_a_bar() {
        let outcomes = [outcome("tidewatch", 1.0, Verdict::Right), failed()];
        let text = table(&outcomes, &["q1".to_owned()]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows[0],
            format!(
                "| tidewatch | {} | all | 1.00 | 1000000 | 100 | ok |",
                env!("CARGO_PKG_VERSION")
            )
        );
        assert_eq!(rows[1], "| spark | 4.2.0 | | | | | failed: no   Java |");
        for (name, chart) in charts(&outcomes) {
            assert_eq!(chart.bars.len(), 1, "{name}");
        }
    }

    #[test]
    fn the_best_comes_first_and_what_limits_a_figure_is_said() {
        let wrong = Verdict::Wrong("q1:lost=1".to_owned());
        let outcomes = [outcome("slow", 9.0, wrong), outcome("tidewatch", 1.0, Verdict::Right)];
        let [(_, cpu), (_, rate), _] = charts(&outcomes);
        assert_eq!(cpu.bars[0].label, "tidewatch");
        assert_eq!(rate.bars[0].label, "tidewatch");
        assert_eq!(cpu.bars[1].note, "q1 only, wrong answers");
        let json = system(&outcomes[0]);
        assert_eq!(json["answers"], "wrong(q1:lost=1)");
        assert_eq!(json["median"]["cpu_s_per_million"], 9.0);
    }
}
