//! Checks of `[sinks]`.

use tidewatch_connectors::sinks::OpenError;
use tidewatch_connectors::sinks::sqlite::SqliteConfig;
use tidewatch_dataflow::config::ByteSize;

use super::common::positive;
use super::kafka::is_local;
use super::other::path;
use crate::config::file::SinksSection;
use crate::config::path::Path;
use crate::config::report::{Report, Scope};
use crate::config::words::example;

/// Checks all sinks.
pub(super) fn sinks(report: &mut Report<'_, '_>, sinks: &SinksSection) {
    let top = Path::root().key("sinks");
    let SinksSection { influxdb, influxdb1, prometheus, elasticsearch, sqlite } = sinks;
    let has_metrics = influxdb.is_some() || influxdb1.is_some() || prometheus.is_some();
    if !has_metrics && elasticsearch.is_none() && sqlite.is_none() {
        report.scope(top.clone()).warning(
            &["influxdb", "influxdb1", "prometheus", "elasticsearch", "sqlite"],
            "nothing is stored: there is no sink",
            "add [sinks.influxdb], [sinks.elasticsearch] or [sinks.sqlite]",
        );
    }
    if let Some(influx) = influxdb {
        let scope = &mut report.scope(top.key("influxdb"));
        invalid(scope, influx.validate());
        in_the_clear(scope, "url", &influx.url, "the token");
        batch_fits(scope, influx.batch_items.get(), influx.queue_items.get());
    }
    if let Some(influx) = influxdb1 {
        let scope = &mut report.scope(top.key("influxdb1"));
        invalid(scope, influx.validate());
        if influx.password.is_some() {
            in_the_clear(scope, "url", &influx.url, "the password");
        }
        batch_fits(scope, influx.batch_items.get(), influx.queue_items.get());
    }
    if let Some(prometheus) = prometheus {
        let scope = &mut report.scope(top.key("prometheus"));
        invalid(scope, prometheus.validate());
        if prometheus.token.is_some() || prometheus.password.is_some() {
            in_the_clear(scope, "url", &prometheus.url, "the credentials");
        }
        batch_fits(scope, prometheus.batch_items.get(), prometheus.queue_items.get());
    }
    if let Some(elastic) = elasticsearch {
        let scope = &mut report.scope(top.key("elasticsearch"));
        invalid(scope, elastic.validate());
        if elastic.api_key.is_some() || elastic.password.is_some() {
            in_the_clear(scope, "url", &elastic.url, "the credentials");
        }
        batch_fits(scope, elastic.batch_items.get(), elastic.queue_items.get());
    }
    if let Some(sqlite) = sqlite {
        check_sqlite(&mut report.scope(top.key("sqlite")), sqlite);
    }
}

fn check_sqlite(scope: &mut Scope<'_, '_, '_>, sqlite: &SqliteConfig) {
    path(scope, "path", &sqlite.path);
    positive(scope, "retention", sqlite.retention, "nothing would be kept: write \"7d\", say");
    if sqlite.max_size.bytes() < SqliteConfig::MAX_SIZE_MIN {
        let least = ByteSize::from_bytes(SqliteConfig::MAX_SIZE_MIN);
        scope.error(
            &["max_size"],
            format!("{} is too little for a store", sqlite.max_size),
            format!("write \"{least}\" or more"),
        );
    }
    for (key, value) in [("queue_items", sqlite.queue_items), ("batch_items", sqlite.batch_items)] {
        if value == 0 {
            scope.error(
                &[key],
                format!("with `{key} = 0` nothing is ever written"),
                "write 1 or more",
            );
        }
    }
    batch_fits(scope, sqlite.batch_items, sqlite.queue_items);
}

/// Says what a component found wrong with its own configuration.
pub(super) fn invalid(scope: &mut Scope<'_, '_, '_>, found: Result<(), OpenError>) {
    match found {
        Ok(()) => {}
        Err(OpenError::Invalid { field, reason }) => {
            let help = match example(field) {
                Some(line) => format!("for example: {line}"),
                None => format!("correct `{field}`, or what is said to go with it"),
            };
            // What it says of other fields only follows when one of those could not be read.
            let named = reason.split('`').skip(1).step_by(2);
            let keys: Vec<&str> = std::iter::once(field).chain(named).collect();
            scope.error(&keys, format!("`{field}` is not usable: {reason}"), help);
        }
        Err(other) => scope.error(&[], other.to_string(), "correct this table"),
    }
}

/// Warns of a secret that crosses a network without encryption.
pub(super) fn in_the_clear(scope: &mut Scope<'_, '_, '_>, key: &str, url: &str, what: &str) {
    let Some(rest) = url.strip_prefix("http://") else { return };
    let authority = rest.split('/').next().unwrap_or_default();
    if !is_local(authority) {
        scope.warning(
            &[key],
            format!("{what} and all data cross the network in the clear"),
            "write an address that begins with https://",
        );
    }
}

fn batch_fits(scope: &mut Scope<'_, '_, '_>, batch: usize, queue: usize) {
    if batch > queue && queue > 0 {
        scope.warning(
            &["batch_items", "queue_items"],
            format!("a batch of {batch} never fits into a queue of {queue}"),
            "make `queue_items` several batches long",
        );
    }
}
