//! The structure of Grafana's dashboards: what Grafana would complain of, or show as nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{FILES, read, yaml};

/// The panel types that every Grafana has.
const TYPES: [&str; 9] = [
    "stat",
    "timeseries",
    "status-history",
    "heatmap",
    "bargauge",
    "table",
    "logs",
    "state-timeline",
    "piechart",
];
/// The units in use, as Grafana names them.
const UNITS: [&str; 6] = ["percent", "short", "s", "cps", "bytes", "Bps"];

fn boards() -> Vec<(&'static str, Value)> {
    let files = FILES.iter().filter(|file| file.starts_with("grafana/dashboards/"));
    files.map(|&file| (file, serde_json::from_str(&read(file)).unwrap())).collect()
}

fn list<'a>(value: &'a Value, what: &str) -> &'a Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{what} is no list"))
}

/// The words after `$` in a text, `${host:regex}` giving `host`; Grafana's own begin with `__`.
fn used_variables(text: &str) -> BTreeSet<String> {
    let after = text.split('$').skip(1).map(|rest| rest.trim_start_matches('{'));
    let words = after.map(|rest| {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
    });
    words.filter(|word| !word.is_empty() && !word.starts_with("__")).collect()
}

#[test]
fn names_are_unique_and_data_sources_are_provisioned() {
    let provisioned = &yaml("grafana/provisioning/datasources/tidewatch.yaml")[0];
    let known: BTreeSet<(String, String)> = list(&provisioned["datasources"], "datasources")
        .iter()
        .map(|source| (source["type"].to_string(), source["uid"].to_string()))
        .collect();
    assert_eq!(known.len(), 4);
    let check = |place: &str, source: &Value| {
        let pair = (source["type"].to_string(), source["uid"].to_string());
        assert!(known.contains(&pair), "{place}: {source}");
    };
    let (mut uids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for (file, board) in boards() {
        assert!(uids.insert(board["uid"].to_string()), "{file}");
        assert!(titles.insert(board["title"].to_string()), "{file}");
        assert!(!board["description"].as_str().unwrap().is_empty(), "{file}");
        let mut ids = BTreeSet::new();
        for panel in list(&board["panels"], file) {
            let place = format!("{file}: {}", panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}");
            check(&place, &panel["datasource"]);
            let mut references = BTreeSet::new();
            for target in list(&panel["targets"], &place) {
                check(&place, &target["datasource"]);
                assert!(references.insert(target["refId"].to_string()), "{place}");
            }
            assert!(!references.is_empty(), "{place}: no query");
        }
        for annotation in list(&board["annotations"]["list"], file) {
            check(file, &annotation["datasource"]);
        }
        for variable in list(&board["templating"]["list"], file) {
            check(file, &variable["datasource"]);
        }
    }
}

#[test]
fn every_graph_shows_when_incidents_opened_and_ended() {
    for (file, board) in boards() {
        let names: Vec<_> =
            list(&board["annotations"]["list"], file).iter().map(|a| a["name"].as_str()).collect();
        assert_eq!(names, [Some("Incidents opened"), Some("Incidents ended")], "{file}");
    }
}

#[test]
fn panels_are_of_known_types_and_units_and_lie_side_by_side() {
    for (file, board) in boards() {
        let mut taken = BTreeSet::new();
        for panel in list(&board["panels"], file) {
            let place = format!("{file}: {}", panel["title"]);
            assert!(TYPES.contains(&panel["type"].as_str().unwrap()), "{place}");
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{place}: no description");
            if let Some(unit) = panel["fieldConfig"]["defaults"]["unit"].as_str() {
                assert!(UNITS.contains(&unit), "{place}: {unit}");
            }
            let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(of("x") + of("w") <= 24, "{place}: beyond the edge");
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    assert!(taken.insert((x, y)), "{place}: covers another panel");
                }
            }
        }
    }
}

#[test]
fn variables_in_use_are_declared_and_the_other_way_round() {
    for (file, board) in boards() {
        let declared: BTreeSet<String> = list(&board["templating"]["list"], file)
            .iter()
            .map(|variable| variable["name"].as_str().unwrap().to_owned())
            .collect();
        let used = used_variables(&board["panels"].to_string());
        assert_eq!(used, declared, "{file}");
    }
}
