//! The inventory: what is known about groups, such as who owns a host.
//!
//! A file of its own, since it is often made by another tool:
//!
//! ```toml
//! [[entry]]
//! match = { host = "web-1" }
//! labels = { owner = "web-team", tier = "1" }
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use tidewatch_dataflow::series::Labels;

use super::decode::{Hints, decode};
use super::document::Document;
use super::path::Path;
use super::problem::{ConfigErrors, Level, Problem};
use super::report::Report;
use super::words::did_you_mean;

/// An inventory as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntrySection {
    /// Labels that a group must have for this entry to apply to it; at least one. A group may have more.
    #[serde(rename = "match")]
    pub matches: BTreeMap<String, String>,
    /// Labels to show with the group's incidents.
    pub labels: BTreeMap<String, String>,
}

/// One thing known about groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InventoryEntry {
    /// Labels that a group must have; never empty.
    pub matches: Labels,
    /// What is known of such groups.
    pub labels: Labels,
}

/// What is known about groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The entries in the order of the file; no two have the same `matches`.
    pub entries: Vec<InventoryEntry>,
}

impl Inventory {
    /// What is known of `group`: the labels of every entry that applies. Where two say different things,
    /// the one that matches more labels holds, and of equals the later.
    ///
    /// ```
    /// use tidewatch::config::parse_inventory;
    /// use tidewatch_dataflow::series::Labels;
    /// let (inventory, _) = parse_inventory(r#"
    ///     [[entry]]
    ///     match = { host = "web-1" }
    ///     labels = { owner = "web-team", tier = "1" }
    ///     [[entry]]
    ///     match = { host = "web-1", service = "billing" }
    ///     labels = { owner = "money-team" }
    /// "#, "inventory.toml").unwrap();
    /// let group = Labels::from_pairs([("host", "web-1"), ("service", "billing")]);
    /// assert_eq!(inventory.labels_of(&group).to_string(), "owner=money-team,tier=1");
    /// ```
    pub fn labels_of(&self, group: &Labels) -> Labels {
        let mut applying: Vec<&InventoryEntry> =
            self.entries.iter().filter(|entry| entry.applies_to(group)).collect();
        applying.sort_by_key(|entry| entry.matches.iter().count());
        Labels::from_pairs(applying.iter().flat_map(|entry| entry.labels.iter()))
    }
}

impl InventoryEntry {
    /// Whether `group` has all labels of `matches`.
    pub fn applies_to(&self, group: &Labels) -> bool {
        self.matches.iter().all(|(name, value)| group.get(name) == Some(value))
    }
}

/// Reads an inventory from `text`; `name` is what its problems call it. Also gives warnings.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn parse_inventory(text: &str, name: &str) -> Result<(Inventory, Vec<Problem>), ConfigErrors> {
    let (document, syntax) = Document::parse(name, text);
    let mut report = Report::new(&document);
    if !syntax.is_empty() {
        report.syntax(&syntax);
        return report.finish(Vec::new()).map(|warnings| (Inventory::default(), warnings));
    }
    let mut inventory = Inventory::default();
    let root = document.root().get_ref().as_table();
    for (key, node) in root.into_iter().flatten() {
        let word = key.get_ref().as_ref();
        if word != "entry" {
            let help = did_you_mean(word, &["entry"]);
            report.at(key.span(), Level::Error, format!("unknown key `{word}`"), help);
            continue;
        }
        for (index, element) in report.elements("entry", node) {
            let path = Path::root().key("entry").index(index);
            let section = decode::<EntrySection>(&mut report, &path, element, &Hints::default());
            let Some(section) = section else { continue };
            check_entry(&mut report, &path, &section, &inventory);
            inventory.entries.push(InventoryEntry {
                matches: Labels::from_pairs(section.matches),
                labels: Labels::from_pairs(section.labels),
            });
        }
    }
    report.finish(Vec::new()).map(|warnings| (inventory, warnings))
}

fn check_entry(
    report: &mut Report<'_, '_>,
    path: &Path,
    section: &EntrySection,
    before: &Inventory,
) {
    let mut scope = report.scope(path.clone());
    if section.matches.is_empty() {
        scope.error(
            &["match"],
            "an entry without labels to match applies to every group",
            "name the group it is about: match = { host = \"web-1\" }",
        );
        return;
    }
    if section.labels.is_empty() {
        scope.warning(
            &["labels"],
            "this entry says nothing",
            "write what is known: labels = { owner = \"web-team\" }",
        );
    }
    let matches = Labels::from_pairs(&section.matches);
    if before.entries.iter().any(|entry| entry.matches == matches) {
        scope.error(
            &["match"],
            format!("`{matches}` has an entry already"),
            "put all labels of a group into one entry",
        );
    }
}
