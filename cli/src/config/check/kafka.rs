//! Checks of `[kafka]`.

use tidewatch_connectors::kafka::{KafkaConfig, KafkaConfigError, Protocol};

use super::common::duplicates;
use crate::config::mask::is_secret;
use crate::config::report::Scope;

/// Checks `[kafka]`. The client's own check stops at its first fault, so each property is checked by
/// itself too.
pub(super) fn kafka(scope: &mut Scope<'_, '_, '_>, config: &KafkaConfig) {
    invalid(scope, config, config);
    for (name, value) in &config.properties {
        let mut alone = KafkaConfig::new(["localhost:9092"]);
        alone.properties.insert(name.clone(), value.clone());
        invalid(scope, config, &alone);
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

/// Says what the client finds wrong with `checked`, a part of `config`.
fn invalid(scope: &mut Scope<'_, '_, '_>, config: &KafkaConfig, checked: &KafkaConfig) {
    let Err(KafkaConfigError::Field { field, reason }) = checked.validate() else { return };
    let (wrong, help) = reason.split_once(": ").unwrap_or((reason.as_str(), ""));
    let broker = config.brokers.iter().position(|broker| reason.contains(&format!("`{broker}`")));
    let key = match (field.strip_prefix("properties."), broker) {
        // Names of properties have dots of their own.
        (Some(property), _) => format!("properties.\"{property}\""),
        (None, Some(index)) if field == "brokers" => format!("brokers[{index}]"),
        (None, _) => field.clone(),
    };
    if key.starts_with("properties") {
        scope.error(&[&key], format!("`{field}` cannot be set here"), reason);
    } else {
        scope.error(&[&key], format!("`{field}` {wrong}"), help);
    }
}

/// Whether an address is that of this machine.
pub(super) fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.starts_with("127.") || matches!(host, "[::1]" | "::1")
}
