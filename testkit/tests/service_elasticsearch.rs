//! The real Elasticsearch starts, answers, keeps its data over a crash, and ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::json;
use tidewatch_testkit::{elasticsearch::Elastic, unique};

/// One node for both: a start costs 15 CPU seconds.
#[test]
fn documents_are_written_read_and_survive_a_crash() {
    if tidewatch_testkit::require(tidewatch_testkit::Service::Elasticsearch).is_none() {
        return;
    }
    let mut elastic = Elastic::start().unwrap();
    let index = unique("logs");
    assert!(elastic.documents(&index).is_err(), "there is no such index yet");

    let bulk = "{\"create\":{\"_id\":\"a\"}}\n{\"message\":\"disk full\"}\n";
    let answer = elastic.request("POST", &format!("/{index}/_bulk"), bulk).unwrap();
    assert!(answer.is_success() && answer.body.contains("\"errors\":false"), "{}", answer.body);
    let again = elastic.request("POST", &format!("/{index}/_bulk"), bulk).unwrap();
    assert!(again.body.contains("version_conflict_engine_exception"), "{}", again.body);

    elastic.kill();
    assert!(elastic.request("GET", "/_cluster/health", "").is_err());
    elastic.restart().unwrap();
    let found = tidewatch_testkit::wait_for(std::time::Duration::from_secs(60), || {
        elastic.documents(&index).ok()
    });
    let found = found.expect("the index can't be searched after a restart");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0]["_id"], &found[0]["_source"]),
        (&json!("a"), &json!({"message": "disk full"}))
    );

    let address = elastic.url().replace("http://", "");
    drop(elastic);
    assert!(std::net::TcpStream::connect(address).is_err(), "it still listens");
}
