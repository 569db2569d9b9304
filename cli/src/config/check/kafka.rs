//! Checks of `[kafka]`.

use tidewatch_connectors::kafka::{KafkaConfig, KafkaConfigError, Protocol};

use super::common::duplicates;
use crate::config::mask::is_secret;
use crate::config::report::Scope;

/// Checks `[kafka]`. The client's own checks stop at their first fault.
pub(super) fn kafka(scope: &mut Scope<'_, '_, '_>, config: &KafkaConfig) {
    if let Err(KafkaConfigError::Field { field, reason }) = config.validate() {
        let (wrong, help) = reason.split_once(": ").unwrap_or((reason.as_str(), ""));
        // Names of properties have dots of their own.
        let key = match field.strip_prefix("properties.") {
            Some(property) => format!("properties.\"{property}\""),
            None => field.clone(),
        };
        let (what, help) = match wrong.strip_prefix("write ") {
            Some(_) => (format!("`{field}` is set by tidewatch itself"), wrong.to_owned()),
            None => (format!("`{field}` {wrong}"), help.to_owned()),
        };
        scope.error(&[&key], what, help);
    }
    for (index, broker) in duplicates(&config.brokers) {
        let key = format!("brokers[{index}]");
        scope.warning(&[&key], format!("`{broker}` is listed twice"), "remove one of the two");
    }
    for name in config.properties.keys().filter(|name| is_secret(name)) {
        scope.warning(
            &[&format!("properties.\"{name}\"")],
            format!("`{name}` looks like a secret, and this file is no place for one"),
            "write it as `password` or `key_password` in `security`, from the environment or a file",
        );
    }
    let local = config.brokers.iter().all(|broker| is_local(broker));
    if config.security.protocol == Protocol::SaslPlaintext && !local {
        scope.warning(
            &["security.protocol"],
            "the password and all data cross the network in the clear",
            "write `protocol = \"sasl_ssl\"`",
        );
    }
}

/// Whether an address is that of this machine.
pub(super) fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.starts_with("127.") || matches!(host, "[::1]" | "::1")
}
