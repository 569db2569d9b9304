//! Tests that need a real server are where `cargo xtask test` looks for them:
//! in integration test files whose names start with `service`.

use super::{Finding, Tree};

/// What a test that needs a real server names.
const MARKS: [&str; 11] = [
    "Broker::start",
    "Broker::shared",
    "Influx::start",
    "Influx::shared",
    "Influx1::start",
    "Prometheus::start",
    "Victoria::start",
    "Elastic::start",
    "Elastic::shared",
    "MailServer::start",
    "tidewatch_testkit::require",
];

/// Checks where the test kit's servers are used.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in &tree.rust {
        if path.starts_with("testkit/src/") || path.starts_with("xtask/") || is_allowed(path) {
            continue;
        }
        for (line, code) in source.all() {
            if let Some(mark) = MARKS.iter().find(|mark| code.contains(**mark)) {
                let message = format!(
                    "`{mark}` needs a real server: move the test to a file tests/service_….rs"
                );
                findings.push(Finding::at(path, line, message));
            }
        }
    }
    findings
}

/// A file of service tests, or of benchmarks, which are run by hand.
fn is_allowed(path: &str) -> bool {
    path.starts_with("benches/")
        || path.split_once("/tests/").is_some_and(|(_, file)| file.starts_with("service"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_servers_are_used_in_service_tests_only() {
        let text = "fn a() { let broker = Broker::shared(); }";
        let count = |path: &str| check(&Tree::of(&[(path, text)])).len();
        assert_eq!(count("connectors/tests/kafka.rs"), 1);
        assert_eq!(count("connectors/src/kafka/tests.rs"), 1);
        assert_eq!(count("connectors/tests/service_kafka.rs"), 0);
        assert_eq!(count("cli/tests/service/world.rs"), 0);
        assert_eq!(count("benches/benches/pipeline.rs"), 0);
    }
}
