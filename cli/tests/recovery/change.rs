//! Rules and statistics that change between two runs, and what is to become of each.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tidewatch::pipeline::{PipelineSpec, TimeSpec};
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_operators::detect::sustained::Condition;
use tidewatch_operators::feed::{Aggregate, Detector, FeedSpec, OnChange, StatisticSpec};
use tidewatch_operators::window::WindowConfig;

use super::plan::{feeds, seconds, selector, sustained};

/// What becomes of a rule or window.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as if nothing had happened.
    Kept,
    /// It goes on from its state, in another form.
    Carried,
    /// It begins at the cut.
    Fresh,
    /// It ends at the cut.
    Gone,
}

/// Statistic and label of a window, such as `1m/10s`.
pub type Window = (String, String);

/// What is computed before and after.
#[derive(Clone, Debug)]
pub struct Change {
    before: Vec<FeedSpec>,
    after: Vec<FeedSpec>,
    pub on_change: OnChange,
    /// What was done, in words.
    pub what: Vec<&'static str>,
}

impl Change {
    /// A change of the first `count` feeds.
    pub fn new(count: usize, lateness: Duration, rng: &mut Rng) -> Change {
        let before: Vec<_> = feeds(lateness).into_iter().take(count).collect();
        let on_change = if rng.bool() { OnChange::Reset } else { OnChange::Carry };
        let mut change = Change { after: before.clone(), before, on_change, what: Vec::new() };
        while change.what.is_empty() {
            for deed in [hotter, longer, fewer, more, wider, also, calmer, odder, dropped, added] {
                if rng.u32(..4) == 0 {
                    change.what.extend(deed(&mut change.after, lateness));
                }
            }
        }
        change
    }

    /// The pipeline before or after.
    pub fn apply(&self, spec: PipelineSpec, is_changed: bool) -> PipelineSpec {
        let feeds = if is_changed { &self.after } else { &self.before };
        let PipelineSpec { topics, ingest, .. } = spec;
        let time = TimeSpec {
            out_of_orderness: ingest.out_of_orderness,
            idle_timeout: ingest.idle_timeout,
            future_tolerance: ingest.future_tolerance,
            max_lead: ingest.max_lead,
            clock: ingest.clock,
        };
        let on_change = self.on_change;
        PipelineSpec { on_change, ..PipelineSpec::new(topics, time, feeds.clone()) }
    }

    /// What becomes of each rule.
    pub fn rules(&self) -> BTreeMap<String, Fate> {
        let of = |feeds: &[FeedSpec]| -> BTreeMap<String, Detector> {
            let rules = feeds.iter().flat_map(|feed| &feed.rules);
            rules.map(|rule| (rule.name.to_string(), rule.detector.clone())).collect()
        };
        let (before, after) = (of(&self.before), of(&self.after));
        let names = before.keys().chain(after.keys());
        let fate = |name: &String| match (before.get(name), after.get(name)) {
            (_, None) => Fate::Gone,
            (None, _) => Fate::Fresh,
            (Some(a), Some(b)) if format!("{a:?}") == format!("{b:?}") => Fate::Kept,
            (Some(a), Some(b)) if self.on_change == OnChange::Carry && fits(a, b) => Fate::Carried,
            _ => Fate::Fresh,
        };
        names.map(|name| (name.clone(), fate(name))).collect()
    }

    /// What becomes of each window, and how long it is.
    pub fn windows(&self) -> BTreeMap<Window, (Fate, Duration)> {
        let of = |feeds: &[FeedSpec]| -> BTreeMap<Window, (String, Duration)> {
            let mut windows = BTreeMap::new();
            for feed in feeds {
                for statistic in &feed.statistics {
                    for window in &statistic.windows {
                        let name = (statistic.name.to_string(), label(window));
                        windows.insert(name, (format!("{:?}", feed.selector), window.size));
                    }
                }
            }
            windows
        };
        let (before, after) = (of(&self.before), of(&self.after));
        let mut fates = BTreeMap::new();
        for (window, (feed, size)) in &after {
            // Panes are shared by all windows of a feed.
            let has_panes = before.values().any(|(other, _)| other == feed);
            let fate = match before.contains_key(window) {
                true => Fate::Kept,
                false if has_panes && self.on_change == OnChange::Carry => Fate::Carried,
                false => Fate::Fresh,
            };
            fates.insert(window.clone(), (fate, *size));
        }
        for (window, (_, size)) in before {
            fates.entry(window).or_insert((Fate::Gone, size));
        }
        fates
    }
}

/// Whether the state of a detector of one kind goes on in the other.
fn fits(a: &Detector, b: &Detector) -> bool {
    match (a, b) {
        (Detector::Sustained(a), Detector::Sustained(b)) => {
            a.condition == b.condition && a.clear == b.clear
        }
        (Detector::Burst(a), Detector::Burst(b)) => {
            (a.window, a.slide, a.baseline) == (b.window, b.slide, b.baseline)
                && a.factor.is_some() == b.factor.is_some()
        }
        (Detector::Anomaly(a), Detector::Anomaly(b)) => {
            a.half_life == b.half_life && a.direction == b.direction
        }
        _ => false,
    }
}

/// As points write it.
fn label(window: &WindowConfig) -> String {
    let text = |duration| HumanDuration::from(duration).to_string();
    match window.size == window.slide {
        true => text(window.size),
        false => format!("{}/{}", text(window.size), text(window.slide)),
    }
}

type Feeds<'a> = &'a mut Vec<FeedSpec>;

fn detector<'a>(feeds: &'a mut [FeedSpec], name: &str) -> Option<&'a mut Detector> {
    let mut rules = feeds.iter_mut().flat_map(|feed| &mut feed.rules);
    rules.find(|rule| &*rule.name == name).map(|rule| &mut rule.detector)
}

fn hotter(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    let Detector::Sustained(hot) = detector(feeds, "hot")? else { return None };
    (hot.condition, hot.clear) = (Condition::Above(94.0), 94.0);
    Some("another threshold")
}

fn longer(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    let Detector::Sustained(hot) = detector(feeds, "hot")? else { return None };
    hot.for_ = seconds(50);
    Some("a longer `for`")
}

fn fewer(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    feeds.first_mut()?.rules.retain(|rule| &*rule.name != "stuck");
    Some("a rule less")
}

fn more(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    let mut warm = sustained("warm", 40, seconds(60));
    if let Detector::Sustained(config) = &mut warm.detector {
        (config.condition, config.clear) = (Condition::Above(60.0), 60.0);
    }
    feeds.first_mut()?.rules.push(warm);
    Some("a rule more")
}

fn wider(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    let windows = &mut feeds.first_mut()?.statistics.first_mut()?.windows;
    windows.last_mut()?.size = seconds(90);
    Some("another window")
}

fn also(feeds: Feeds<'_>, lateness: Duration) -> Option<&'static str> {
    let window = WindowConfig { size: seconds(40), slide: seconds(20), allowed_lateness: lateness };
    let aggregates = vec![Aggregate::Sum, Aggregate::Count];
    let also = StatisticSpec { name: "also".into(), windows: vec![window], aggregates };
    feeds.first_mut()?.statistics.push(also);
    Some("a statistic more")
}

fn calmer(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    let Detector::Burst(burst) = detector(feeds, "burst")? else { return None };
    burst.above = 5;
    Some("another bound of bursts")
}

fn odder(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    let Detector::Anomaly(odd) = detector(feeds, "odd")? else { return None };
    odd.score = 2.0;
    Some("another score")
}

fn dropped(feeds: Feeds<'_>, _: Duration) -> Option<&'static str> {
    (feeds.len() > 1).then(|| feeds.truncate(1))?;
    Some("all but the first feed dropped")
}

/// Of the least pane, so that the cut lies between two of them.
fn added(feeds: Feeds<'_>, lateness: Duration) -> Option<&'static str> {
    let mut feed = super::plan::feeds(lateness).into_iter().next()?;
    feed.selector = selector("value", "dc");
    feed.statistics.iter_mut().for_each(|statistic| statistic.name = "added".into());
    feed.rules = vec![sustained("added", 20, seconds(60))];
    feeds.push(feed);
    Some("a feed more")
}
