//! The small sections: `[dead_letters]`, `[inventory]`, `[http]`, `[limits]`.

use std::path::PathBuf;

use serde::Deserialize;

/// `[dead_letters]`: where records go that cannot be processed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersSection {
    /// A topic that takes them whole, with reason and origin in headers. Default: none, they are counted
    /// and logged.
    pub topic: Option<String>,
}

/// `[inventory]`: what is known about groups.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventorySection {
    /// A file of `[[entry]]` tables, each with `match` and `labels`. A relative path starts at the folder
    /// of the pipeline file. Default: none.
    pub file: Option<PathBuf>,
}

/// `[http]`: what tidewatch serves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSection {
    /// Address and port of page, API, `/metrics`, `/healthz` and `/readyz`. Default `127.0.0.1:9464`:
    /// reachable from this machine only, since it asks nobody who they are.
    #[serde(default = "default_listen")]
    pub listen: String,
}

fn default_listen() -> String {
    "127.0.0.1:9464".to_owned()
}

/// `[limits]`: bounds that protect memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    /// At most this many series on each worker; samples of further ones go to the dead letters, with
    /// reason `series_limit`. Default 1,000,000: about 0.5 KB each, so half a gigabyte.
    #[serde(default = "default_series")]
    pub series: u32,
}

fn default_series() -> u32 {
    1_000_000
}
