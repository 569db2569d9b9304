//! The demo's pipeline file: a real one that users can copy, with the addresses of this run put in.

use std::net::SocketAddr;
use std::path::Path;

use super::fleet;

/// The pipeline file as it is in the source tree: brokers, store and page at their usual places, for the
/// default fleet of 100 hosts.
pub const TEXT: &str = include_str!("demo.toml");

/// What differs from run to run.
#[derive(Copy, Clone, Debug)]
pub struct DemoSettings<'a> {
    /// Where the in-process Kafka listens, as `host:port`, several separated by commas.
    pub brokers: &'a str,
    /// How many hosts the fleet has; decides the partitions of its topics.
    pub hosts: usize,
    /// The database file.
    pub database: &'a Path,
    /// Where the page is served; `None` leaves the section out.
    pub listen: Option<SocketAddr>,
}

/// The pipeline file of a run: [`TEXT`] with `settings` put in, comments and all.
///
/// ```
/// use std::path::Path;
/// use tidewatch::demo::config::{DemoSettings, pipeline};
/// let text = pipeline(&DemoSettings {
///     brokers: "127.0.0.1:40001",
///     hosts: 100,
///     database: Path::new("run/demo.db"),
///     listen: None,
/// });
/// assert!(text.contains("brokers = [\"127.0.0.1:40001\"]"));
/// assert!(text.contains("path = \"run/demo.db\""));
/// assert!(!text.contains("[http]"));
/// ```
pub fn pipeline(settings: &DemoSettings<'_>) -> String {
    let brokers: Vec<String> =
        settings.brokers.split(',').map(|broker| quoted(broker.trim())).collect();
    let database = quoted(&settings.database.to_string_lossy());
    let partitions = fleet::partitions(settings.hosts);
    let text = TEXT
        .replace(r#"["127.0.0.1:9092"]"#, &format!("[{}]", brokers.join(", ")))
        .replace("partitions = 12", &format!("partitions = {partitions}"))
        .replace(r#""tidewatch-demo.db""#, &database);
    match (settings.listen, text.split_once("\n[http]")) {
        (None, Some((before, _))) => before.to_owned(),
        (None, None) => text,
        (Some(listen), _) => text.replace("127.0.0.1:9464", &listen.to_string()),
    }
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_replaced_is_there() {
        for (place, times) in [
            (r#"["127.0.0.1:9092"]"#, 1),
            ("partitions = 12", 4),
            (r#""tidewatch-demo.db""#, 1),
            ("127.0.0.1:9464", 1),
            ("\n[http]", 1),
        ] {
            assert_eq!(TEXT.matches(place).count(), times, "{place}");
        }
    }

    #[test]
    fn the_file_of_a_run_is_toml_with_its_settings() {
        let text = pipeline(&DemoSettings {
            brokers: "127.0.0.1:1, 127.0.0.1:2",
            hosts: 300,
            database: Path::new(r#"a "quoted" dir\demo.db"#),
            listen: Some(([127, 0, 0, 1], 8_080).into()),
        });
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["kafka"]["brokers"].as_array().unwrap().len(), 2);
        assert_eq!(table["sinks"]["sqlite"]["path"].as_str(), Some(r#"a "quoted" dir\demo.db"#));
        assert_eq!(table["http"]["listen"].as_str(), Some("127.0.0.1:8080"));
        let sources = table["sources"].as_array().unwrap();
        let topics: Vec<&str> = sources.iter().map(|s| s["topic"].as_str().unwrap()).collect();
        assert_eq!(topics, fleet::TOPICS);
        assert!(sources.iter().all(|source| source["partitions"].as_integer() == Some(25)));
    }

    #[test]
    fn rules_have_the_names_that_the_labels_use() {
        let table: toml::Table = TEXT.parse().unwrap();
        let rules = table["rules"].as_array().unwrap();
        let names: Vec<&str> = rules.iter().map(|rule| rule["name"].as_str().unwrap()).collect();
        assert_eq!(names, [fleet::RULE_CPU, fleet::RULE_BURST, fleet::RULE_MEMORY]);
    }
}
