//! Checks of `[receivers.NAME]`.

use std::collections::BTreeMap;

use tidewatch_connectors::sinks::ReceiverConfig;
use tidewatch_connectors::sinks::email::{EmailConfig, Encryption};

use super::common::{duplicates, name};
use super::kafka::is_local;
use super::sink::{in_the_clear, invalid};
use crate::config::path::Path;
use crate::config::report::{Report, Scope};

/// Checks all receivers. `used` are the names that rules mention, where all
/// rules could be read.
pub(super) fn receivers(
    report: &mut Report<'_, '_>,
    receivers: &BTreeMap<String, ReceiverConfig>,
    used: Option<&Vec<&str>>,
) {
    for (receiver, config) in receivers {
        let mut scope = report.scope(Path::root().key("receivers").key(receiver));
        name(&mut scope, "", receiver);
        let ReceiverConfig { console, slack, email, pagerduty } = config;
        if let Some(pagerduty) = pagerduty {
            let scope = &mut scope.below("pagerduty");
            invalid(scope, pagerduty.validate());
            in_the_clear(scope, "url", &pagerduty.url, "the routing key");
        }
        if let Some(email) = email {
            check_email(&mut scope.below("email"), email);
        }
        let silent = !console && slack.is_none() && email.is_none() && pagerduty.is_none();
        if silent {
            scope.warning(
                &[],
                format!("receiver `{receiver}` tells nobody"),
                "give it `console = true`, `slack`, `email` or `pagerduty`",
            );
        } else if used.is_some_and(|used| !used.contains(&receiver.as_str())) {
            scope.warning(
                &[],
                format!("no rule tells receiver `{receiver}`"),
                format!("name it in a rule: receivers = [\"{receiver}\"]"),
            );
        }
    }
}

fn check_email(scope: &mut Scope<'_, '_, '_>, email: &EmailConfig) {
    invalid(scope, email.validate());
    for (index, address) in duplicates(&email.to) {
        let key = format!("to[{index}]");
        scope.warning(&[&key], format!("`{address}` is listed twice"), "remove one of the two");
    }
    let usual = match (email.tls, email.port) {
        (Encryption::StartTls, Some(465)) => Some(("465", "tls")),
        (Encryption::Tls, Some(port @ (25 | 587))) => {
            Some((if port == 25 { "25" } else { "587" }, "starttls"))
        }
        _ => None,
    };
    if let Some((port, tls)) = usual {
        scope.warning(
            &["port"],
            format!("relays speak `{tls}` on port {port}, and something else is asked for"),
            format!("write `tls = \"{tls}\"`, or leave `port` out"),
        );
    }
    if email.tls == Encryption::None && email.password.is_some() && !is_local(&email.relay) {
        scope.warning(
            &["tls"],
            "the password crosses the network in the clear",
            "write `tls = \"starttls\"`",
        );
    }
}
