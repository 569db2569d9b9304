//! What comes of the runs of a system: figures net of start-up, a line for people and programs.

use super::{is_peer, meter::Cost, system::System, verdict::Verdict};

/// One run on topics of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sized {
    /// What it read.
    pub(super) records: u64,
    pub(super) cost: Cost,
    /// The machine's load before it.
    pub(super) load: f64,
}

/// One round: a run on the small topics and one on the full ones.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    /// What it was asked.
    pub(super) queries: Vec<String>,
    pub(super) small: Sized,
    pub(super) full: Sized,
    /// Bytes between processes for each byte that the full run read, where there are processes that say so.
    pub(super) exchanged: Option<f64>,
    pub(super) verdict: Verdict,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    /// CPU seconds for a million messages.
    pub(super) cpu_s_per_million: f64,
    /// Messages in a second of the clock on the wall.
    pub(super) msgs_per_s: f64,
    /// The most memory of the full run.
    pub(super) rss_mib: f64,
    /// Which share of the full run's CPU seconds the small one cost too.
    pub(super) start_up: f64,
}

/// A smaller share of the full run than this cannot be told from its noise: the difference counts as this much.
const NOISE: f64 = 0.1;

/// With a greater share of start-up than this the figures say little.
const START_UP_MAX: f64 = 0.5;

impl Figures {
    /// Whether more messages are needed to measure this system.
    pub(super) fn is_mostly_start_up(&self) -> bool {
        self.start_up > START_UP_MAX
    }
}

impl Measured {
    /// The difference between the full run and the small one, by message.
    pub(super) fn figures(&self) -> Figures {
        let messages = self.full.records.saturating_sub(self.small.records) as f64;
        let net = |of: fn(&Cost) -> f64| {
            let full = of(&self.full.cost);
            (full - of(&self.small.cost)).max(full * NOISE).max(1e-3)
        };
        Figures {
            cpu_s_per_million: net(|cost| cost.cpu_seconds) * 1e6 / messages.max(1.0),
            msgs_per_s: messages / net(|cost| cost.wall_seconds),
            rss_mib: self.full.cost.memory_mib,
            start_up: (self.small.cost.cpu_seconds / self.full.cost.cpu_seconds.max(1e-3)).min(1.0),
        }
    }

    /// Both runs in a few words.
    pub(super) fn summary(&self) -> String {
        let Measured { small, full, verdict, .. } = self;
        format!(
            "{:.2} CPU s and {:.1} s for {} messages, {:.2} and {:.1} for {}, answers {verdict}",
            full.cost.cpu_seconds,
            full.cost.wall_seconds,
            full.records,
            small.cost.cpu_seconds,
            small.cost.wall_seconds,
            small.records
        )
    }
}

/// How a system has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Right,
    Wrong,
    Failed,
}

/// Everything about one system.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) version: Option<String>,
    /// What a reader of its figures should know.
    pub(super) notes: String,
    pub(super) is_peer: bool,
    pub(super) rounds: Vec<Measured>,
    /// Why it was measured no further.
    pub(super) failed: Option<String>,
}

impl Outcome {
    /// Of a system that has not run, or cannot.
    pub(super) fn new(system: &System, failed: Option<&String>) -> Self {
        Outcome {
            name: system.name().to_owned(),
            version: system.version().map(ToOwned::to_owned),
            notes: system.notes().to_owned(),
            is_peer: is_peer(system),
            rounds: Vec::new(),
            failed: failed.cloned(),
        }
    }

    /// Whether another round makes sense.
    pub(super) fn can_go_on(&self) -> bool {
        self.failed.is_none()
    }

    /// Takes in a round.
    pub(super) fn add(&mut self, round: Result<Measured, String>) {
        match round {
            Ok(measured) => self.rounds.push(measured),
            Err(why) => self.failed = Some(why),
        }
    }

    /// How it has done, in all rounds.
    pub(super) fn status(&self) -> Status {
        let is_wrong = |round: &Measured| matches!(round.verdict, Verdict::Wrong(_));
        match &self.failed {
            Some(_) => Status::Failed,
            None if self.rounds.iter().any(is_wrong) => Status::Wrong,
            None => Status::Right,
        }
    }

    /// The worst verdict of any round.
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        let wrong = self.rounds.iter().find(|round| matches!(round.verdict, Verdict::Wrong(_)));
        wrong.or(self.rounds.first()).map(|round| &round.verdict)
    }

    /// The median of each figure; `None` without a round.
    pub(super) fn figures(&self) -> Option<Figures> {
        let rounds: Vec<Figures> = self.rounds.iter().map(Measured::figures).collect();
        Some(Figures {
            cpu_s_per_million: median(rounds.iter().map(|figures| figures.cpu_s_per_million))?,
            msgs_per_s: median(rounds.iter().map(|figures| figures.msgs_per_s))?,
            rss_mib: median(rounds.iter().map(|figures| figures.rss_mib))?,
            start_up: median(rounds.iter().map(|figures| figures.start_up))?,
        })
    }

    /// The most bytes between processes for each byte read, of all rounds.
    pub(super) fn exchanged(&self) -> Option<f64> {
        self.rounds.iter().filter_map(|round| round.exchanged).reduce(f64::max)
    }

    /// What it was asked.
    pub(super) fn queries(&self) -> &[String] {
        self.rounds.first().map_or(&[], |round| &round.queries)
    }

    /// The line of this system; `asked` are the queries of the whole comparison.
    pub(super) fn line(&self, asked: &[String]) -> String {
        let name = &self.name;
        if let Some(why) = &self.failed {
            return format!("{name} failed={}", why.replace(['\n', ' '], "_"));
        }
        let (Some(figures), Some(verdict)) = (self.figures(), self.verdict()) else {
            return format!("{name} failed=not_run");
        };
        let Figures { cpu_s_per_million, msgs_per_s, rss_mib, start_up } = figures;
        let mut line = format!(
            "{name} cpu_s_per_million={cpu_s_per_million:.2} msgs_per_s={msgs_per_s:.0} rss_mib={rss_mib:.0} answers={verdict}"
        );
        if self.queries() != asked {
            line.push_str(&format!(" queries={}", self.queries().join(",")));
        }
        if let Some(share) = self.exchanged() {
            line.push_str(&format!(" exchanged={share:.4}"));
        }
        if figures.is_mostly_start_up() {
            line.push_str(&format!(" start_up={start_up:.2}"));
        }
        line
    }
}

/// The middle of `numbers`, or the mean of the two in the middle.
fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    let lower = if sorted.len().is_multiple_of(2) { *sorted.get(middle - 1)? } else { upper };
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(records: u64, cpu_seconds: f64, wall_seconds: f64) -> Sized {
        let cost = Cost { cpu_seconds, wall_seconds, memory_mib: records as f64 / 1e4 };
        Sized { records, cost, load: 0.5 }
    }

    fn round(cpu: f64, verdict: Verdict) -> Measured {
        let queries = vec!["q1".to_owned(), "q4".to_owned()];
        let (small, full) = (sized(100_000, 0.6, 1.0), sized(1_100_000, cpu, 3.0));
        Measured { queries, small, full, exchanged: None, verdict }
    }

    fn outcome(rounds: Vec<Measured>) -> Outcome {
        let system = System::Tidewatch("tidewatch", &[]);
        Outcome { rounds, ..Outcome::new(&system, None) }
    }

    fn asked(queries: &str) -> Vec<String> {
        queries.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn start_up_is_taken_off() {
        let line = outcome(vec![round(1.6, Verdict::Right)]).line(&asked("q1,q4"));
        let expected = "tidewatch cpu_s_per_million=1.00 msgs_per_s=500000 rss_mib=110 answers=ok";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_difference_within_the_noise_is_said_and_gives_no_record() {
        let mut strange = round(0.7, Verdict::Right);
        strange.full.cost.wall_seconds = 0.9;
        let figures = strange.figures();
        assert!((figures.cpu_s_per_million - 0.1).abs() < 1e-9, "{figures:?}");
        assert!((figures.msgs_per_s - 1e6 / 0.09).abs() < 1.0, "a tenth of the full run");
        let line = outcome(vec![strange]).line(&asked("q1,q4"));
        assert!(line.ends_with("answers=ok start_up=0.86"), "{line}");
    }

    #[test]
    fn rounds_give_the_median_and_the_worst_verdict() {
        let wrong = Verdict::Wrong("q1:lost=1".to_owned());
        let rounds =
            vec![round(9.6, Verdict::Right), round(1.6, wrong), round(2.6, Verdict::Right)];
        let outcome = outcome(rounds);
        assert_eq!(outcome.figures().unwrap().cpu_s_per_million, 2.0);
        assert_eq!(outcome.status(), Status::Wrong);
        let line = outcome.line(&asked("q1,q2,q4"));
        assert!(line.ends_with("answers=wrong(q1:lost=1) queries=q1,q4"), "{line}");
    }

    #[test]
    fn a_failure_is_one_line_and_ends_the_rounds() {
        let mut outcome = outcome(vec![round(1.6, Verdict::Right)]);
        assert!(outcome.can_go_on());
        outcome.add(Err("spark-full (exit status: 1)\nmore".to_owned()));
        assert!(!outcome.can_go_on());
        let line = outcome.line(&asked("q1"));
        assert_eq!(line, "tidewatch failed=spark-full_(exit_status:_1)_more");
        assert_eq!(outcome.status(), Status::Failed);
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }
}
