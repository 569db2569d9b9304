//! What a consumer is, apart from its name: hashes that are the same in every build.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::checkpoint::encode;
use tidewatch_dataflow::series::StableHash;
use tidewatch_dataflow::time::{EventTime, millis};

use crate::detect::sustained::Condition;
use crate::feed::{Detector, FeedSpec, OperatorId};
use crate::window::WindowConfig;

/// What a consumer does.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Window,
    Rule,
}

/// A consumer as state knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConsumerRecord {
    pub(super) kind: Kind,
    /// `cpu/5m/10s` for a window of statistic `cpu`, the rule's name for a rule.
    pub(super) name: Box<str>,
    /// Hash of everything its state depends on.
    pub(super) content: u64,
    /// Hash of what must be equal for its state to be carried over.
    pub(super) shape: u64,
    /// Windows that begin before are not put out.
    pub(super) complete_from: EventTime,
}

fn hash<T: Serialize>(value: &T) -> u64 {
    let mut hash = StableHash::default();
    hash.write(&encode(value));
    hash.finish()
}

/// The identity of a feed's samples: selector and pane.
pub(in crate::feed) fn samples_hash(spec: &FeedSpec) -> u64 {
    let s = &spec.selector;
    hash(&(&s.measurement, &s.field, &s.filters, &s.group_by, spec.pane))
}

/// Content and shape of a window over the samples of `spec`.
pub(super) fn window(spec: &FeedSpec, config: &WindowConfig) -> (u64, u64) {
    let samples = samples_hash(spec);
    let WindowConfig { size, slide, allowed_lateness } = *config;
    let content = (samples, "window", millis(size), millis(slide), millis(allowed_lateness));
    (hash(&content), hash(&(samples, "window")))
}

/// A condition as a word and its bound.
fn condition(condition: Condition) -> (&'static str, f64) {
    match condition {
        Condition::Above(bound) => ("above", bound),
        Condition::Below(bound) => ("below", bound),
    }
}

/// Content and shape of a detector over the samples of `spec`.
pub(super) fn detector(spec: &FeedSpec, detector: &Detector) -> (u64, u64) {
    let samples = samples_hash(spec);
    match detector {
        Detector::Sustained(c) => {
            let shape = hash(&(samples, "sustained", condition(c.condition), c.clear, c.pane));
            let spans = (millis(c.for_), millis(c.clear_for), millis(c.gap_tolerance));
            (hash(&(shape, spans)), shape)
        }
        Detector::Burst(c) => {
            // Without a factor the baseline has no effect, and no past is kept.
            let baseline = c.factor.map(|_| millis(c.baseline));
            let shape = hash(&(samples, "burst", millis(c.window), millis(c.slide), baseline));
            (hash(&(shape, c.above, c.factor, millis(c.clear_for))), shape)
        }
        Detector::Anomaly(c) => {
            let half_life = millis(c.half_life);
            let shape = hash(&(samples, "anomaly", half_life, c.direction, c.pane));
            let spans = (millis(c.warm_up), millis(c.for_));
            (hash(&(shape, spans, c.score, c.min_deviation)), shape)
        }
    }
}

/// All operators of a feed: the windows, which are one, and each rule.
pub(in crate::feed) fn operators(spec: &FeedSpec) -> Vec<OperatorId> {
    let key = spec.key();
    let configs = spec.statistics.iter().flat_map(|statistic| &statistic.windows);
    let windows: Vec<_> = configs.map(|config| window(spec, config).0).collect();
    let windows = (format!("detect/{key}/windows"), hash(&windows));
    let rules = spec
        .rules
        .iter()
        .map(|rule| (format!("detect/{key}/rule {}", rule.name), detector(spec, &rule.detector).0));
    let all = std::iter::once(windows).chain(rules);
    let version = env!("CARGO_PKG_VERSION");
    all.map(|(name, content)| OperatorId { name: name.into(), content: hash(&(content, version)) })
        .collect()
}
