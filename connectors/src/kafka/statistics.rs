//! The part of librdkafka's statistics that says which brokers answer and which partitions are served.

use std::collections::HashMap;

use serde::Deserialize;

/// What the client tells of itself, about once a second.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    nodeid: i32,
    state: String,
    /// Microseconds since the last byte from it; negative when there was none.
    #[serde(default)]
    rxidle: i64,
}

#[derive(Debug, Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: HashMap<String, Partition>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    /// The broker it is fetched from, -1 when there is none.
    broker: i32,
    /// The broker that leads it, -1 when there is none.
    #[serde(default)]
    leader: i32,
    /// This client was told to read it.
    #[serde(default)]
    desired: bool,
    /// The brokers do not know of it.
    #[serde(default)]
    unknown: bool,
}

/// Partitions, as topic and number.
type Named = Vec<(String, i32)>;

impl Broker {
    fn is_up(&self) -> bool {
        self.nodeid >= 0 && matches!(self.state.as_str(), "UP" | "UPDATE" | "REAUTH")
    }
}

impl Statistics {
    /// How many brokers are connected, and the names of those that were tried and are not, sorted.
    pub(super) fn brokers(&self) -> (usize, Vec<String>) {
        let up = self.brokers.values().filter(|broker| broker.is_up()).count();
        // Addresses of the configuration stay in the list beside the brokers they lead to, with no number;
        // they count while nothing else is known.
        let known = self.brokers.values().any(|broker| broker.nodeid >= 0);
        let tried = self.brokers.iter().filter(|(_, broker)| {
            (broker.nodeid >= 0) == known && broker.state != "INIT" && !broker.is_up()
        });
        let mut down: Vec<String> = tried.map(|(name, _)| name.clone()).collect();
        down.sort_unstable();
        (up, down)
    }

    fn any_up(&self) -> bool {
        self.brokers.values().any(Broker::is_up)
    }

    fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(&partition.to_string())
    }

    /// Partitions that are read and have no leader, and those that the brokers know nothing of; sorted.
    /// Nothing is known of either while no broker is up.
    pub(super) fn troubled(&self) -> (Named, Named) {
        let (mut leaderless, mut unknown) = (Vec::new(), Vec::new());
        if !self.any_up() {
            return (leaderless, unknown);
        }
        for (name, topic) in &self.topics {
            for (number, partition) in topic.partitions.iter().filter(|(_, p)| p.desired) {
                let Ok(number) = number.parse() else { continue };
                if partition.unknown {
                    unknown.push((name.clone(), number));
                } else if partition.leader < 0 {
                    leaderless.push((name.clone(), number));
                }
            }
        }
        leaderless.sort_unstable();
        unknown.sort_unstable();
        (leaderless, unknown)
    }

    /// Whether brokers can be reached and know nothing of the partition.
    pub(super) fn denies(&self, topic: &str, partition: i32) -> bool {
        self.any_up() && self.partition(topic, partition).is_some_and(|p| p.unknown)
    }

    /// Whether the broker of the partition is connected and was heard of within `idle_max_us`
    /// microseconds. A fetch at the end of the log is answered after `fetch.wait.max.ms`, so a broker
    /// that is well is heard of several times a second.
    pub(super) fn serves(&self, topic: &str, partition: i32, idle_max_us: i64) -> bool {
        self.partition(topic, partition).is_some_and(|p| {
            p.broker >= 0
                && self.brokers.values().any(|broker| {
                    broker.nodeid == p.broker
                        && broker.is_up()
                        && (0..=idle_max_us).contains(&broker.rxidle)
                })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn parse(text: &str) -> Statistics {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn brokers_are_up_down_or_no_business_of_ours() {
        let unborn = r#"{"brokers":{"a:1/bootstrap":{"nodeid":-1,"state":"CONNECT"}}}"#;
        assert_eq!(parse(unborn).brokers(), (0, vec!["a:1/bootstrap".to_owned()]));
        let text = r#"{"brokers":{
            "a:1/bootstrap":{"nodeid":-1,"state":"DOWN"},
            "a:1/1":{"nodeid":1,"state":"UP"}, "b:1/2":{"nodeid":2,"state":"TRY_CONNECT"},
            "c:1/3":{"nodeid":3,"state":"INIT"}}}"#;
        assert_eq!(parse(text).brokers(), (1, vec!["b:1/2".to_owned()]));
    }

    #[test]
    fn only_partitions_that_are_read_are_troubled() {
        let text = |state: &str| {
            format!(
                r#"{{"brokers":{{"a:1/1":{{"nodeid":1,"state":"{state}"}}}},
                "topics":{{"t":{{"partitions":{{
                "-1":{{"broker":-1,"leader":-1}},
                "0":{{"broker":1,"leader":1,"desired":true}},
                "1":{{"broker":-1,"leader":-1,"desired":true}},
                "2":{{"broker":-1,"leader":-1,"desired":true,"unknown":true}},
                "3":{{"broker":-1,"leader":-1}}}}}}}}}}"#
            )
        };
        let at = |partition| vec![("t".to_owned(), partition)];
        assert_eq!(parse(&text("UP")).troubled(), (at(1), at(2)));
        assert!(parse(&text("UP")).denies("t", 2) && !parse(&text("UP")).denies("t", 1));
        assert_eq!(parse(&text("DOWN")).troubled(), (vec![], vec![]));
    }
}
