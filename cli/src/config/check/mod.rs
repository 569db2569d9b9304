//! Everything that can be wrong with a file whose sections could be read, and what it resolves to.

mod anchor;
mod checkpoint;
mod common;
mod kafka;
mod other;
mod receiver;
mod rule;
mod selector;
mod sink;
mod source;
mod source_format;
mod statistic;
mod time;

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::time::Duration;

use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::time::PaneSize;

use super::inventory::Inventory;
use super::path::Path;
use super::read::Sections;
use super::report::Report;
use super::resolved::{PipelineConfig, Rule, Statistic, TimeConfig};
use source::Produced;

/// Checks all sections, and resolves them; relative paths start at `folder`. `None` when something could
/// not be resolved, with the reason in `report`; an answer does not mean that nothing is wrong.
pub(super) fn check(
    report: &mut Report<'_, '_>,
    sections: Sections,
    folder: &FilePath,
) -> Option<PipelineConfig> {
    let top = Path::root();
    if let Some(config) = &sections.kafka {
        kafka::kafka(&mut report.scope(top.key("kafka")), config);
    }
    let brokers = sections.kafka.as_ref().map(|kafka| kafka.brokers.len());
    let sources = source::sources(report, &sections.sources, brokers);
    let mut produced = source::produced(&sources);
    if report.is_tainted(&top.key("sources")) {
        produced.anything = true;
        produced.logs = true;
    }
    let time = sections
        .time
        .as_ref()
        .map(|section| time::time(&mut report.scope(top.key("time")), section));
    let statistics = statistics(report, &sections, time.as_ref(), &produced);
    let receivers = sections.receivers.clone().unwrap_or_default();
    let rules = rules(report, &sections, &produced);
    let used: Vec<&str> = sections
        .rules
        .iter()
        .flat_map(|(_, common, _)| &common.receivers)
        .map(String::as_str)
        .collect();
    let all_rules_read = !report.is_tainted(&top.key("rules"));
    receiver::receivers(report, &receivers, all_rules_read.then_some(&used));
    if let Some(sinks) = &sections.sinks {
        sink::sinks(report, sinks);
    }
    let checkpoint = sections.checkpoint.as_ref().and_then(|section| {
        checkpoint::checkpoint(&mut report.scope(top.key("checkpoint")), section, folder)
    });
    let other = other::other(report, &sources, &sections);
    let nothing = statistics.is_empty() && rules.is_empty();
    if nothing && sections.statistics.is_empty() && sections.rules.is_empty() {
        nothing_to_compute(report);
    }
    if let Some(time) = &time {
        lead(report, time, &statistics, &rules);
    }
    let mut config = PipelineConfig {
        kafka: sections.kafka?,
        sources,
        time: time?,
        statistics,
        rules,
        receivers,
        sinks: sections.sinks?,
        dead_letters: other.dead_letters,
        inventory_file: other.inventory_file,
        inventory: Inventory::default(),
        checkpoint: checkpoint?,
        listen: other.listen?,
        series_max: other.series_max?,
        secrets: report.document().secrets(),
        warnings: Vec::new(),
    };
    anchor::anchor(&mut config, folder);
    Some(config)
}

fn statistics(
    report: &mut Report<'_, '_>,
    sections: &Sections,
    time: Option<&TimeConfig>,
    produced: &Produced,
) -> Vec<Statistic> {
    let lateness = time.map_or(Duration::ZERO, |time| time.allowed_lateness);
    let path = Path::root().key("statistics");
    let names = sections.statistics.iter().map(|(index, section)| (*index, section.name.as_str()));
    unique_names(report, &path, "statistic", names);
    let checked = sections.statistics.iter().filter_map(|(index, section)| {
        statistic::statistic(&mut report.scope(path.index(*index)), section, lateness, produced)
    });
    checked.collect()
}

fn rules(report: &mut Report<'_, '_>, sections: &Sections, produced: &Produced) -> Vec<Rule> {
    let path = Path::root().key("rules");
    let names = sections.rules.iter().map(|(index, common, _)| (*index, common.name.as_str()));
    unique_names(report, &path, "rule", names);
    // Receivers that could not be read are there all the same.
    let document = report.document();
    let table = document.get(&Path::root().key("receivers")).map(|node| node.get_ref());
    let receivers: Vec<&str> = table
        .and_then(|node| node.as_table())
        .into_iter()
        .flat_map(|table| table.keys().map(|key| key.get_ref().as_ref()))
        .collect();
    let checked = sections.rules.iter().filter_map(|(index, common, section)| {
        rule::rule(&mut report.scope(path.index(*index)), common, section, &receivers, produced)
    });
    checked.collect()
}

/// Names that two elements of a list share.
fn unique_names<'s>(
    report: &mut Report<'_, '_>,
    path: &Path,
    what: &str,
    names: impl Iterator<Item = (usize, &'s str)>,
) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, name) in names {
        if let Some(earlier) = first.get(name) {
            report.scope(path.index(index)).error(
                &["name"],
                format!("{what} {} has the name `{name}` already", earlier + 1),
                format!("names tell results apart: give this {what} a name of its own"),
            );
        } else {
            first.insert(name, index);
        }
    }
}

fn nothing_to_compute(report: &mut Report<'_, '_>) {
    report.scope(Path::root()).warning(
        &["statistics", "rules"],
        "there are neither statistics nor rules: only log lines are stored",
        "add [[statistics]] or [[rules]]",
    );
}

/// Reading ahead must leave room for panes that are still open.
fn lead(report: &mut Report<'_, '_>, time: &TimeConfig, statistics: &[Statistic], rules: &[Rule]) {
    let panes = statistics.iter().map(|s| s.pane).chain(rules.iter().map(|r| r.pane));
    let longest = panes.map(PaneSize::duration).max().unwrap_or_default();
    let least = longest * 4;
    if time.max_lead < least && !time.max_lead.is_zero() {
        report.scope(Path::root().key("time")).warning(
            &["max_lead"],
            format!(
                "panes of {} need a lead of four of them: {} is used",
                HumanDuration::from(longest),
                HumanDuration::from(least)
            ),
            format!("write `max_lead = \"{}\"` or more", HumanDuration::from(least)),
        );
    }
}
