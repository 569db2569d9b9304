//! What happens to a test whose server is not there.
//!
//! On a developer's machine the test says `SKIPPED` loudly, past the test
//! runner's capturing of output, and leaves a line in the file that
//! `TIDEWATCH_SKIPPED_FILE` names, else in `target/skipped-services.txt`;
//! `cargo xtask test` sums those up. With `CI=true` or
//! `TIDEWATCH_REQUIRE_SERVICES=1` it fails instead: a green run on a build
//! machine means that every server was met.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
};

use crate::{
    Error, Result,
    cache::{self, Artifact},
};

/// A real server that tests may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Apache Kafka.
    Kafka,
    /// InfluxDB 2.
    InfluxDb,
    /// InfluxDB 1.
    InfluxDb1,
    /// VictoriaMetrics.
    VictoriaMetrics,
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
    /// The mail server.
    Smtp,
    /// Telegraf.
    Telegraf,
    /// rsyslog and collectd.
    Agents,
    /// Prometheus and its tool.
    Prometheus,
    /// The types of Grafana's dashboards.
    GrafanaSchema,
    /// The schemas of compose and Kubernetes files.
    Schemas,
}

impl Service {
    /// What has to be in the cache for it.
    #[must_use]
    pub const fn artifact(self) -> Artifact {
        match self {
            Self::Kafka => cache::KAFKA,
            Self::InfluxDb => cache::INFLUXDB,
            Self::InfluxDb1 => cache::INFLUXDB1,
            Self::VictoriaMetrics => cache::VICTORIAMETRICS,
            Self::Elasticsearch => cache::ELASTICSEARCH,
            Self::OpenSearch => cache::OPENSEARCH,
            Self::Smtp => cache::AIOSMTPD,
            Self::Telegraf => cache::TELEGRAF,
            Self::Agents => cache::AGENTS,
            Self::Prometheus => cache::PROMETHEUS,
            Self::GrafanaSchema => cache::GRAFANA_SCHEMA,
            Self::Schemas => cache::SCHEMAS,
        }
    }

    /// The program whose path is in the file `name` of its folder.
    pub(crate) fn program(self, name: &str) -> Result<PathBuf> {
        let file = self.installed()?.join(name);
        let path = fs::read_to_string(&file);
        let path = path.map_err(Error::io(format!("read `{}`", file.display())))?;
        Ok(PathBuf::from(path.trim()))
    }

    /// Its folder in the cache.
    pub(crate) fn installed(self) -> Result<PathBuf> {
        let artifact = self.artifact();
        artifact.find()?.ok_or(Error::Missing { server: artifact.name })
    }
}

/// The folder of `service` in the cache, or `None` if it is not there: then the
/// test has been reported as skipped and should return.
///
/// # Panics
/// If it is not there and skipping is not allowed (module documentation).
#[must_use]
pub fn require(service: Service) -> Option<PathBuf> {
    let name = service.artifact().name;
    let reason = match service.artifact().find() {
        Ok(Some(folder)) => return Some(folder),
        Ok(None) => "not in the cache, run `cargo xtask services fetch`".to_owned(),
        Err(error) => error.to_string(),
    };
    let test = thread::current().name().unwrap_or("unnamed").to_owned();
    let line = format!("SKIPPED: {test} needs {name}: {reason}");
    if skipping_is_forbidden(|variable| env::var(variable).ok()) {
        fail(&line);
    }
    // Straight to the stream: the macros are captured in tests that pass.
    let _ = writeln!(io::stderr(), "{line}");
    if let Err(error) = record(&skipped_file(), &line) {
        let _ = writeln!(io::stderr(), "could not record the skipped test: {error}");
    }
    None
}

/// Ends a test because its server could not be had or started.
#[expect(clippy::panic, reason = "test support: this is how a test fails")]
pub(crate) fn fail(reason: &str) -> ! {
    panic!("{reason}")
}

fn skipping_is_forbidden(variable: impl Fn(&str) -> Option<String>) -> bool {
    ["CI", "TIDEWATCH_REQUIRE_SERVICES"]
        .into_iter()
        .filter_map(variable)
        .any(|value| matches!(value.as_str(), "1" | "true"))
}

fn skipped_file() -> PathBuf {
    env::var_os("TIDEWATCH_SKIPPED_FILE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/skipped-services.txt"),
        PathBuf::from,
    )
}

fn record(file: &Path, line: &str) -> io::Result<()> {
    // One write call of one line: tests of several processes may append at once.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)?
        .write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_is_forbidden_in_ci_and_on_demand() {
        let with = |name: &'static str, value: &'static str| {
            skipping_is_forbidden(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(with("CI", "true"));
        assert!(with("CI", "1"));
        assert!(with("TIDEWATCH_REQUIRE_SERVICES", "1"));
        assert!(!with("CI", "false"));
        assert!(!with("OTHER", "1"));
    }
}
