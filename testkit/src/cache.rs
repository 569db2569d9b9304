//! Where fetched servers and tools are kept, and how a complete one is told
//! from a torn one.
//!
//! `cargo xtask services fetch` writes here, the tests read. The folder lies
//! outside the source tree and outside `target/`, so that a clean clone finds
//! what an earlier one fetched:
//!
//! 1. `TIDEWATCH_CACHE`, if set;
//! 2. `$XDG_CACHE_HOME/tidewatch`, or `$HOME/.cache/tidewatch`;
//! 3. for root, when 2 lies in a folder that other users cannot traverse (as
//!    root's home usually does): `/var/tmp/tidewatch-cache`. Elasticsearch
//!    refuses to run as root, so the tests start it as user 65534, who has to
//!    be able to read it.
//!
//! An artifact is fetched into a temporary folder beside its place, stamped
//! with [`Artifact::stamp`], and renamed: a folder whose stamp is not the
//! expected one counts as absent.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Where root's artifacts go when root's own cache folder is private.
const SHARED_ROOT: &str = "/var/tmp/tidewatch-cache";

/// Name of the stamp inside an artifact's folder, written last.
pub const STAMP_FILE: &str = ".complete";

/// Something that is fetched once and kept: a server, or a tool of the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Short name, also the start of its folder's name.
    pub name: &'static str,
    /// Version of what is inside.
    pub version: &'static str,
    /// Goes up when the same version has to be fetched or built anew because
    /// the way of doing so has changed.
    pub recipe: u32,
}

/// Apache Kafka and its tools: a folder `libs` of jars.
pub const KAFKA: Artifact = Artifact { name: "kafka", version: "4.3.1", recipe: 1 };
/// InfluxDB 2 without its pages: one binary, `influxd`.
pub const INFLUXDB: Artifact = Artifact { name: "influxdb", version: "2.9.1", recipe: 1 };
/// InfluxDB 1 of the distribution: `influxd`, a file that names the program.
pub const INFLUXDB1: Artifact = Artifact { name: "influxdb1", version: "system", recipe: 1 };
/// VictoriaMetrics: one binary, `victoria-metrics`.
pub const VICTORIAMETRICS: Artifact =
    Artifact { name: "victoriametrics", version: "1.130.0", recipe: 1 };
/// Elasticsearch as unpacked from its own integration-test archive.
pub const ELASTICSEARCH: Artifact =
    Artifact { name: "elasticsearch", version: "8.19.21", recipe: 1 };
/// OpenSearch in a runner for tests: a folder `libs` of jars.
pub const OPENSEARCH: Artifact = Artifact { name: "opensearch", version: "2.19.1", recipe: 1 };
/// The SMTP server library: a folder `lib`, and `python`, which names the
/// interpreter to run it with.
pub const AIOSMTPD: Artifact = Artifact { name: "aiosmtpd", version: "1.4.6", recipe: 1 };
/// The browser driver: `node_modules`, and `chromium`, which names the browser.
pub const BROWSER: Artifact = Artifact { name: "playwright-core", version: "1.65.1", recipe: 1 };
/// Telegraf with the plugins that the shipped configuration and the tests use: one binary, `telegraf`.
pub const TELEGRAF: Artifact = Artifact { name: "telegraf", version: "1.37.2", recipe: 1 };
/// Producers of the distribution: `rsyslogd` and `collectd`, files that name the programs.
pub const AGENTS: Artifact = Artifact { name: "agents", version: "system", recipe: 1 };
/// Prometheus of the distribution: `prometheus` and `promtool`, files that name the programs.
pub const PROMETHEUS: Artifact = Artifact { name: "prometheus", version: "system", recipe: 1 };
/// Grafana's types and the TypeScript compiler: `node_modules`.
pub const GRAFANA_SCHEMA: Artifact =
    Artifact { name: "grafana-schema", version: "13.2.3", recipe: 1 };
/// Schemas of compose and Kubernetes files, and the programs that check against them: `lib`, and `python`, which names the
/// interpreter. The version is that of check-jsonschema, then that of kubernetes-validate.
pub const SCHEMAS: Artifact = Artifact { name: "schemas", version: "0.39.0-1.37.0", recipe: 1 };
/// The licence and source checker: `bin/cargo-deny`.
pub const CARGO_DENY: Artifact = Artifact { name: "cargo-deny", version: "0.20.2", recipe: 1 };

impl Artifact {
    /// The folder it is kept in, complete or not.
    ///
    /// # Errors
    /// [`Error::Cache`] when no cache folder can be chosen or made.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(root()?.join(format!("{}-{}", self.name, self.version)))
    }

    /// What the stamp of a complete artifact says.
    ///
    /// ```
    /// assert_eq!(tidewatch_testkit::cache::KAFKA.stamp(), "kafka 4.3.1 recipe 1\n");
    /// ```
    #[must_use]
    pub fn stamp(&self) -> String {
        format!("{} {} recipe {}\n", self.name, self.version, self.recipe)
    }

    /// Its folder if it is there and complete.
    ///
    /// # Errors
    /// [`Error::Cache`] when no cache folder can be chosen or made.
    pub fn find(&self) -> Result<Option<PathBuf>> {
        let folder = self.folder()?;
        let stamped = fs::read_to_string(folder.join(STAMP_FILE));
        Ok(stamped.is_ok_and(|found| found == self.stamp()).then_some(folder))
    }
}

/// The cache folder, made if it was missing.
///
/// # Errors
/// [`Error::Cache`] when neither `TIDEWATCH_CACHE` nor a home folder is set,
/// when the folder cannot be made, or when somebody else could write to it.
pub fn root() -> Result<PathBuf> {
    let chosen = choose(
        env::var_os("TIDEWATCH_CACHE").map(PathBuf::from),
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from),
        env::var_os("HOME").map(PathBuf::from),
        nix::unistd::geteuid().is_root(),
        traversable_by_all,
    )?;
    prepare(&chosen)?;
    Ok(chosen)
}

/// The rule of the module's documentation, without the environment.
fn choose(
    explicit: Option<PathBuf>,
    xdg: Option<PathBuf>,
    home: Option<PathBuf>,
    is_root: bool,
    traversable: impl Fn(&Path) -> bool,
) -> Result<PathBuf> {
    let set = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
    if let Some(explicit) = set(explicit) {
        return Ok(explicit);
    }
    let own = set(xdg)
        .or_else(|| set(home).map(|home| home.join(".cache")))
        .map(|base| base.join("tidewatch"));
    match own {
        Some(own) if !is_root || traversable(&own) => Ok(own),
        _ if is_root => Ok(PathBuf::from(SHARED_ROOT)),
        _ => Err(Error::Cache {
            path: PathBuf::from("$HOME/.cache/tidewatch"),
            reason: "HOME is not set; set TIDEWATCH_CACHE to a folder to keep servers in".into(),
        }),
    }
}

/// Whether every existing folder on the way to `path` lets all users through.
#[must_use]
pub fn traversable_by_all(path: &Path) -> bool {
    path.ancestors()
        .filter_map(|folder| fs::metadata(folder).ok())
        .all(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

/// Makes the folder and refuses one that another user prepared or can change:
/// programs are run from it.
fn prepare(path: &Path) -> Result<()> {
    let failed = |reason: String| Error::Cache { path: path.to_path_buf(), reason };
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| failed(format!("could not make it: {error}")))?;
    let metadata = fs::metadata(path)
        .map_err(|error: io::Error| failed(format!("could not look at it: {error}")))?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(failed("it belongs to another user; set TIDEWATCH_CACHE".into()));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(failed("others may write to it; run `chmod go-w` on it".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<PathBuf> {
        Some(PathBuf::from(text))
    }

    #[test]
    fn an_explicit_folder_wins() {
        let chosen = choose(path("/c"), path("/x"), path("/h"), true, |_| false);
        assert_eq!(chosen.ok(), path("/c"));
    }

    #[test]
    fn a_user_keeps_it_at_home() {
        let chosen = choose(path(""), None, path("/h"), false, |_| false);
        assert_eq!(chosen.ok(), path("/h/.cache/tidewatch"));
        let chosen = choose(None, path("/x"), path("/h"), false, |_| false);
        assert_eq!(chosen.ok(), path("/x/tidewatch"));
    }

    #[test]
    fn root_with_a_private_home_uses_the_shared_folder() {
        let private = choose(None, None, path("/h"), true, |_| false);
        assert_eq!(private.ok(), path(SHARED_ROOT));
        let open = choose(None, None, path("/h"), true, |_| true);
        assert_eq!(open.ok(), path("/h/.cache/tidewatch"));
    }

    #[test]
    fn no_home_and_no_setting_is_an_error() {
        assert!(choose(None, None, None, false, |_| true).is_err());
    }
}
