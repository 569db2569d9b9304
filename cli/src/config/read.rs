//! From the document to the sections of the file, each decoded on its own, so that a fault in one does
//! not hide those in others.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_connectors::sinks::ReceiverConfig;
use toml::de::DeValue;

use super::decode::{Hints, decode, decode_both, empty_table, only};
use super::document::Node;
use super::fields::fields_of;
use super::file::{
    AnomalySection, CheckpointSection, DeadLettersSection, ErrorBurstSection, HttpSection,
    InventorySection, LimitsSection, RuleCommon, RuleKind, SinksSection, SourceSection,
    StatisticSection, SustainedSection, TimeSection,
};
use super::path::Path;
use super::problem::Level;
use super::report::Report;
use super::words::{did_you_mean, nearest};

/// Every section a file can have, and whether it is a list.
pub(super) const SECTIONS: [(&str, bool); 12] = [
    ("kafka", false),
    ("sources", true),
    ("time", false),
    ("statistics", true),
    ("rules", true),
    ("receivers", false),
    ("sinks", false),
    ("dead_letters", false),
    ("inventory", false),
    ("checkpoint", false),
    ("http", false),
    ("limits", false),
];

/// What is particular to the kind of a rule.
pub(super) enum KindSection {
    Sustained(SustainedSection),
    ErrorBurst(ErrorBurstSection),
    Anomaly(AnomalySection),
}

/// The sections that could be decoded. Elements of lists keep their place in the file.
pub(super) struct Sections {
    pub(super) kafka: Option<KafkaConfig>,
    pub(super) sources: Vec<(usize, SourceSection)>,
    pub(super) time: Option<TimeSection>,
    pub(super) statistics: Vec<(usize, StatisticSection)>,
    pub(super) rules: Vec<(usize, RuleCommon, KindSection)>,
    pub(super) receivers: Option<BTreeMap<String, ReceiverConfig>>,
    pub(super) sinks: Option<SinksSection>,
    pub(super) dead_letters: Option<DeadLettersSection>,
    pub(super) inventory: Option<InventorySection>,
    pub(super) checkpoint: Option<CheckpointSection>,
    pub(super) http: Option<HttpSection>,
    pub(super) limits: Option<LimitsSection>,
}

/// Decodes all sections.
pub(super) fn read(report: &mut Report<'_, '_>) -> Sections {
    unknown_sections(report);
    required(report, "kafka", "[kafka]\nbrokers = [\"kafka-1:9092\"]");
    required(report, "sources", "[[sources]]\ntopic = \"cpu-usage\"");
    Sections {
        kafka: section(report, "kafka"),
        sources: list(report, "sources"),
        time: section(report, "time"),
        statistics: list(report, "statistics"),
        rules: rules(report),
        receivers: section(report, "receivers"),
        sinks: section(report, "sinks"),
        dead_letters: section(report, "dead_letters"),
        inventory: section(report, "inventory"),
        checkpoint: section(report, "checkpoint"),
        http: section(report, "http"),
        limits: section(report, "limits"),
    }
}

/// Keys at the top that are no section.
fn unknown_sections(report: &mut Report<'_, '_>) {
    let known: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
    let document = report.document();
    for (key, _) in document.root().get_ref().as_table().into_iter().flatten() {
        let word = key.get_ref().as_ref();
        if known.contains(&word) {
            continue;
        }
        if let Some(meant) = nearest(word, &known) {
            report.taint(Path::root().key(meant));
        }
        let message = format!("unknown section `{word}`");
        report.at(key.span(), Level::Error, message, did_you_mean(word, &known));
    }
}

/// Says that the section `name` is missing, if it is.
fn required(report: &mut Report<'_, '_>, name: &str, example: &str) {
    let path = Path::root().key(name);
    if report.document().get(&path).is_none() && !report.is_tainted(&path) {
        let help = example.replace('\n', " with ");
        report.at(0..0, Level::Error, format!("there is no `{name}`"), Some(format!("add {help}")));
        report.taint(path);
    }
}

/// The section `name`, from an empty table when it is not in the file.
fn section<T: DeserializeOwned>(report: &mut Report<'_, '_>, name: &str) -> Option<T> {
    let path = Path::root().key(name);
    match report.document().get(&path) {
        Some(node) => {
            if let DeValue::Array(_) = node.get_ref() {
                let help = format!("write it once, as [{name}], with one bracket");
                report.at(node.span(), Level::Error, format!("`{name}` is no list"), Some(help));
                report.taint(path);
                return None;
            }
            decode(report, &path, node, &Hints::default())
        }
        None => T::deserialize(toml::de::ValueDeserializer::from(empty_table())).ok(),
    }
}

/// The elements of the list `name` that can be decoded.
fn list<T: DeserializeOwned>(report: &mut Report<'_, '_>, name: &str) -> Vec<(usize, T)> {
    let path = Path::root().key(name);
    let Some(node) = report.document().get(&path) else { return Vec::new() };
    let mut decoded = Vec::new();
    for (index, element) in report.elements(name, node) {
        let path = path.index(index);
        decoded.extend(decode(report, &path, element, &Hints::default()).map(|t| (index, t)));
    }
    decoded
}

/// Rules: what all have in common, and beside it what their kind has.
fn rules(report: &mut Report<'_, '_>) -> Vec<(usize, RuleCommon, KindSection)> {
    let path = Path::root().key("rules");
    let Some(node) = report.document().get(&path) else { return Vec::new() };
    let mut decoded = Vec::new();
    for (index, element) in report.elements("rules", node) {
        let path = path.index(index);
        let kind = element.get_ref().get("kind").and_then(|kind| kind.get_ref().as_str());
        let known = RuleKind::ALL.into_iter().find(|known| Some(known.as_str()) == kind);
        let Some(kind) = known else {
            // Without its kind, only what all rules have in common can be checked.
            common_only(report, &path, element);
            continue;
        };
        let other = |key: &str| of_other_kind(kind, key);
        let (common, section) = match kind {
            RuleKind::Sustained => {
                let (common, section) = decode_both(report, &path, element, Some(&other));
                (common, section.map(KindSection::Sustained))
            }
            RuleKind::ErrorBurst => {
                let (common, section) = decode_both(report, &path, element, Some(&other));
                (common, section.map(KindSection::ErrorBurst))
            }
            RuleKind::Anomaly => {
                let (common, section) = decode_both(report, &path, element, Some(&other));
                (common, section.map(KindSection::Anomaly))
            }
        };
        if let (Some(common), Some(section)) = (common, section) {
            decoded.push((index, common, section));
        }
    }
    decoded
}

/// Decodes what all rules have in common, for the sake of the problems.
fn common_only(report: &mut Report<'_, '_>, path: &Path, element: &Node<'_>) {
    let keys = fields_of::<RuleCommon>();
    let mut node = element.clone();
    if let DeValue::Table(table) = node.get_mut() {
        *table = only(table, |key| keys.contains(&key));
    }
    let _problems_are_what_counts = decode::<RuleCommon>(report, path, &node, &Hints::default());
    report.taint(path.clone());
}

/// What to say of `key` in a rule of `kind`, when it belongs to rules of other kinds.
fn of_other_kind(kind: RuleKind, key: &str) -> Option<String> {
    let has = |other: RuleKind| match other {
        RuleKind::Sustained => fields_of::<SustainedSection>().contains(&key),
        RuleKind::ErrorBurst => fields_of::<ErrorBurstSection>().contains(&key),
        RuleKind::Anomaly => fields_of::<AnomalySection>().contains(&key),
    };
    let mut others = RuleKind::ALL.into_iter().filter(|other| *other != kind);
    let other = others.find(|other| has(*other))?;
    let kind = kind.as_str();
    Some(format!("rules of kind `{}` have it, those of kind `{kind}` do not", other.as_str()))
}
