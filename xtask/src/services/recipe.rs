//! How each artifact is made: one function each, and the table of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tidewatch_testkit::cache::{self, Artifact};

use super::producers;
use super::toolchain::{self, Tool};
use crate::shell::{Job, capture};

/// How long a download may take.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(15);
/// How long a build may take: InfluxDB needs about 15 CPU minutes, on cores
/// that the tests share.
pub(super) const BUILD_LIMIT: Duration = Duration::from_mins(60);

/// The plugin that fetches jars, with its version: Maven picks none by itself.
const MAVEN_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// One artifact: what it is, what it needs, how it is made.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Name, version and place.
    pub(crate) artifact: Artifact,
    /// What it is for.
    pub(crate) summary: &'static str,
    /// Needed whenever it runs, so looked for even when it is cached.
    pub(crate) run_tools: &'static [Tool],
    /// Needed to make it only.
    pub(crate) make_tools: &'static [Tool],
    /// Whether a complete one still works on this machine.
    pub(crate) usable: fn(&Path) -> bool,
    /// Fills an empty folder.
    pub(crate) make: fn(&Site<'_>) -> Result<()>,
}

/// Where an artifact is made.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    /// The project's folder.
    pub(crate) project: &'a Path,
    /// The folder to fill.
    pub(crate) part: &'a Path,
    /// Log and progress.
    pub(crate) job: &'a Job,
}

/// All artifacts. The order is the order in which they are shown.
pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        artifact: cache::KAFKA,
        summary: "Apache Kafka, broker and tools",
        run_tools: &[toolchain::JAVA],
        make_tools: &[toolchain::MAVEN],
        usable: |folder| folder.join("libs").is_dir(),
        make: kafka,
    },
    Recipe {
        artifact: cache::INFLUXDB,
        summary: "InfluxDB 2, built from its Go modules",
        run_tools: &[],
        make_tools: &[toolchain::GO, toolchain::GCC, toolchain::PKG_CONFIG],
        usable: |folder| toolchain::is_executable(&folder.join("influxd")),
        make: influxdb,
    },
    Recipe {
        artifact: cache::INFLUXDB1,
        summary: "InfluxDB 1 of the distribution",
        run_tools: &[toolchain::INFLUXDB1],
        make_tools: &[],
        usable: |folder| names_programs(folder, &["influxd"]),
        make: producers::influxdb1,
    },
    Recipe {
        artifact: cache::VICTORIAMETRICS,
        summary: "VictoriaMetrics, built from its Go module",
        run_tools: &[],
        make_tools: &[toolchain::GO],
        usable: |folder| toolchain::is_executable(&folder.join("victoria-metrics")),
        make: producers::victoriametrics,
    },
    Recipe {
        artifact: cache::ELASTICSEARCH,
        summary: "Elasticsearch, its integration-test archive",
        run_tools: &[toolchain::JAVA],
        make_tools: &[toolchain::MAVEN],
        usable: |folder| toolchain::is_executable(&folder.join("bin/elasticsearch")),
        make: elasticsearch,
    },
    Recipe {
        artifact: cache::OPENSEARCH,
        summary: "OpenSearch, in a runner for tests",
        run_tools: &[toolchain::JAVA],
        make_tools: &[toolchain::MAVEN],
        usable: |folder| folder.join("libs").is_dir(),
        make: opensearch,
    },
    Recipe {
        artifact: cache::AIOSMTPD,
        summary: "an SMTP server for the mail tests",
        run_tools: &[toolchain::PYTHON, toolchain::OPENSSL],
        make_tools: &[],
        usable: |folder| imports(folder, "aiosmtpd.controller"),
        make: smtp,
    },
    Recipe {
        artifact: cache::TELEGRAF,
        summary: "Telegraf, built from its Go module with the plugins in use",
        run_tools: &[],
        make_tools: &[toolchain::GO],
        usable: |folder| toolchain::is_executable(&folder.join("telegraf")),
        make: producers::telegraf,
    },
    Recipe {
        artifact: cache::AGENTS,
        summary: "rsyslog and collectd of the distribution",
        run_tools: &[toolchain::RSYSLOG, toolchain::COLLECTD, toolchain::COLLECTD_KAFKA],
        make_tools: &[],
        usable: |folder| names_programs(folder, &["rsyslogd", "collectd"]),
        make: producers::agents,
    },
    Recipe {
        artifact: cache::PROMETHEUS,
        summary: "Prometheus and promtool of the distribution",
        run_tools: &[toolchain::PROMETHEUS],
        make_tools: &[],
        usable: |folder| names_programs(folder, &["prometheus", "promtool"]),
        make: producers::prometheus,
    },
    Recipe {
        artifact: cache::GRAFANA_SCHEMA,
        summary: "the types of Grafana's dashboards, and TypeScript",
        run_tools: &[toolchain::NODE],
        make_tools: &[toolchain::NPM],
        usable: |folder| folder.join("node_modules/@grafana/schema").is_dir(),
        make: grafana_schema,
    },
    Recipe {
        artifact: cache::SCHEMAS,
        summary: "the schemas of compose and Kubernetes files",
        run_tools: &[toolchain::PYTHON],
        make_tools: &[],
        usable: |folder| imports(folder, "check_jsonschema, kubernetes_validate"),
        make: schemas,
    },
    Recipe {
        artifact: cache::BROWSER,
        summary: "Chromium and its driver for the page test",
        run_tools: &[toolchain::NODE, toolchain::CHROMIUM],
        make_tools: &[toolchain::NPM],
        usable: |folder| names_programs(folder, &["chromium"]),
        make: browser,
    },
    Recipe {
        artifact: cache::CARGO_DENY,
        summary: "checks licences, bans and sources of dependencies",
        run_tools: &[],
        make_tools: &[],
        usable: |folder| toolchain::is_executable(&folder.join("bin/cargo-deny")),
        make: cargo_deny,
    },
];

/// Whether each of `names` in `folder` names a program that is there.
fn names_programs(folder: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| named_program(&folder.join(name)).is_some())
}

/// The program whose path is the content of `file`, if it is still there.
pub(crate) fn named_program(file: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(fs::read_to_string(file).ok()?.trim());
    toolchain::is_executable(&path).then_some(path)
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("could not write `{}`", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("could not copy `{}`", from.display()))?;
    Ok(())
}

/// Maven, quiet and without questions.
fn maven() -> Command {
    let mut command = Command::new("mvn");
    command.args(["-B", "-ntp", "-q"]);
    command
}

fn kafka(site: &Site<'_>) -> Result<()> {
    jars(site, "xtask/kafka/pom.xml")
}

fn opensearch(site: &Site<'_>) -> Result<()> {
    jars(site, "xtask/opensearch/pom.xml")
}

/// The jars that a `pom.xml` of this project names, in the folder `libs`.
fn jars(site: &Site<'_>, pom: &str) -> Result<()> {
    site.job.say("fetching about 90 jars");
    let copied = site.part.join("pom.xml");
    copy(&site.project.join(pom), &copied)?;
    let mut command = maven();
    command.arg("-f").arg(&copied).arg(format!("{MAVEN_PLUGIN}:copy-dependencies"));
    command.arg(format!("-DoutputDirectory={}", site.part.join("libs").display()));
    command.arg("-DincludeScope=runtime");
    site.job.run(&mut command, DOWNLOAD_LIMIT)
}

fn elasticsearch(site: &Site<'_>) -> Result<()> {
    site.job.say("fetching 102 MiB");
    let version = cache::ELASTICSEARCH.version;
    let group = "org.elasticsearch.distribution.integ-test-zip";
    let mut command = maven();
    command.arg(format!("{MAVEN_PLUGIN}:unpack"));
    command.arg(format!("-Dartifact={group}:elasticsearch:{version}:zip"));
    command.arg(format!("-DoutputDirectory={}", site.part.display()));
    command.arg(format!("-DmarkersDirectory={}", site.part.join("markers").display()));
    site.job.run(command.current_dir(site.part), DOWNLOAD_LIMIT)?;
    // The archive has one folder at its top; its content belongs one level up.
    let inner = site.part.join(format!("elasticsearch-{version}"));
    let entries = fs::read_dir(&inner);
    let entries = entries.with_context(|| format!("no `{}` in the archive", inner.display()))?;
    for entry in entries {
        let entry = entry.context("could not list the archive")?;
        let to = site.part.join(entry.file_name());
        fs::rename(entry.path(), &to)
            .with_context(|| format!("could not move to `{}`", to.display()))?;
    }
    fs::remove_dir(&inner).with_context(|| format!("could not remove `{}`", inner.display()))
}

/// A Go build that compiles a Rust library through a wrapped `pkg-config`.
fn influxdb(site: &Site<'_>) -> Result<()> {
    let module = site.project.join("xtask/influxd");
    let tools = site.part.join("tools");
    site.job.say("building from source, about 15 CPU minutes unless Go's cache has it");
    let mut wrapper = Command::new("go");
    wrapper.args(["install", "github.com/influxdata/pkg-config@v0.3.0"]);
    site.job.run(wrapper.env("GOBIN", &tools).current_dir(site.part), BUILD_LIMIT)?;

    // The wrapper has to be found before the system's pkg-config, which it calls for the rest.
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([tools.clone()].into_iter().chain(env::split_paths(&path)))
        .context("could not extend PATH")?;
    let mut build = Command::new("go");
    build.args(["build", "-tags", "sqlite_foreign_keys,sqlite_json", "-ldflags", "-s -w", "-o"]);
    build.arg(site.part.join("influxd")).arg(".").current_dir(&module);
    build.env("PATH", path).env("CGO_ENABLED", "1");
    // A library of it pins an old Rust in a toolchain file: the one in use here does as well.
    if let Some(toolchain) = active_rust_toolchain() {
        build.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    site.job.run(without_cargo_settings(&mut build), BUILD_LIMIT)?;
    fs::remove_dir_all(&tools).with_context(|| format!("could not remove `{}`", tools.display()))
}

/// The name rustup knows our own toolchain by, if rustup is used.
fn active_rust_toolchain() -> Option<String> {
    let inherited = env::var("RUSTUP_TOOLCHAIN").ok().filter(|name| !name.is_empty());
    inherited.or_else(|| {
        let shown = capture(Command::new("rustup").args(["show", "active-toolchain"])).ok()?;
        shown.split_whitespace().next().map(str::to_owned)
    })
}

/// Takes settings meant for this workspace's own build out of a foreign one.
pub(super) fn without_cargo_settings(command: &mut Command) -> &mut Command {
    ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"]
        .into_iter()
        .fold(command, |command, name| command.env_remove(name))
}

/// Fetches Python `packages` into `lib`, and leaves the interpreter's name in `python`.
fn pip(site: &Site<'_>, python: &Path, packages: &[String]) -> Result<()> {
    let library = site.part.join("lib");
    fs::create_dir(&library).with_context(|| format!("could not make `{}`", library.display()))?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&library).args(packages);
    site.job.run(&mut pip, DOWNLOAD_LIMIT)?;
    write(&site.part.join("python"), &python.display().to_string())
}

fn schemas(site: &Site<'_>) -> Result<()> {
    let python = toolchain::ensure(&toolchain::PYTHON, site.job)?;
    let (compose, kubernetes) = cache::SCHEMAS.version.split_once('-').unwrap_or_default();
    let packages =
        [format!("check-jsonschema=={compose}"), format!("kubernetes-validate=={kubernetes}")];
    pip(site, &python, &packages)
        .with_context(|| format!("install pip for `{}` (on Debian: python3-pip)", python.display()))
}

fn smtp(site: &Site<'_>) -> Result<()> {
    let python = toolchain::ensure(&toolchain::PYTHON, site.job)?;
    let package = format!("aiosmtpd=={}", cache::AIOSMTPD.version);
    let Err(problem) = pip(site, &python, &[package]) else { return Ok(()) };
    site.job.say("pip did not work, trying the distribution's `python3-aiosmtpd`");
    toolchain::install("python3-aiosmtpd", site.job).with_context(|| {
        format!(
            "install pip for `{}` (python3-pip), or python3-aiosmtpd: {problem}",
            python.display()
        )
    })?;
    write(&site.part.join("python"), "/usr/bin/python3")
}

/// Whether the interpreter is still there and finds these modules.
fn imports(folder: &Path, modules: &str) -> bool {
    named_program(&folder.join("python")).is_some_and(|python| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import {modules}")]);
        capture(command.env("PYTHONPATH", folder.join("lib"))).is_ok()
    })
}

fn browser(site: &Site<'_>) -> Result<()> {
    let chromium = toolchain::ensure(&toolchain::CHROMIUM, site.job)?;
    site.job.say("fetching the driver");
    npm_packages(site, "xtask/browser")?;
    write(&site.part.join("chromium"), &chromium.display().to_string())
}

fn grafana_schema(site: &Site<'_>) -> Result<()> {
    site.job.say("fetching the types");
    npm_packages(site, "xtask/grafana")
}

/// The packages that the lock file in `folder` names.
fn npm_packages(site: &Site<'_>, folder: &str) -> Result<()> {
    for file in ["package.json", "package-lock.json"] {
        copy(&site.project.join(folder).join(file), &site.part.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
    site.job.run(npm.current_dir(site.part), DOWNLOAD_LIMIT)
}

fn cargo_deny(site: &Site<'_>) -> Result<()> {
    site.job.say("building, about 6 CPU minutes");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["install", "--locked", "--quiet", "--version", cache::CARGO_DENY.version]);
    command.arg("--root").arg(site.part).arg("cargo-deny");
    // Outside the project, so that its Cargo settings don't apply.
    site.job.run(without_cargo_settings(command.current_dir(site.part)), BUILD_LIMIT)
}
