//! How the programs are made that write to Kafka and watch tidewatch (Telegraf, rsyslog, collectd, Prometheus), and
//! those that the distribution has.

use std::{env, process::Command};

use anyhow::Result;
use tidewatch_testkit::cache;

use super::{
    recipe::{BUILD_LIMIT, Site, without_cargo_settings, write},
    toolchain::{self, Tool},
};

/// The plugins of Telegraf that go into its binary: all of them would take an hour to compile.
const TELEGRAF_TAGS: &str = "custom,\
    inputs.cpu,inputs.mem,inputs.disk,inputs.diskio,inputs.system,inputs.net,inputs.processes,\
    inputs.kernel,inputs.swap,inputs.tail,inputs.file,inputs.mock,inputs.internal,\
    outputs.kafka,outputs.file,outputs.discard,\
    parsers.influx,parsers.json,parsers.json_v2,parsers.value,parsers.grok,\
    serializers.json,serializers.influx,processors.rename";

pub(super) fn telegraf(site: &Site<'_>) -> Result<()> {
    site.job.say("building from source, about 3 CPU minutes unless Go's cache has it");
    let version = cache::TELEGRAF.version;
    let mut build = Command::new("go");
    build.args(["install", "-tags", TELEGRAF_TAGS, "-ldflags"]);
    build.arg(format!("-s -w -X github.com/influxdata/telegraf/internal.Version={version}"));
    build.arg(format!("github.com/influxdata/telegraf/cmd/telegraf@v{version}"));
    build.env("GOBIN", site.part).current_dir(env::temp_dir());
    site.job.run(without_cargo_settings(&mut build), BUILD_LIMIT)
}

pub(super) fn victoriametrics(site: &Site<'_>) -> Result<()> {
    site.job.say("building from source, about 2 CPU minutes unless Go's cache has it");
    let version = cache::VICTORIAMETRICS.version;
    let mut build = Command::new("go");
    build.args(["install", "-ldflags", "-s -w"]);
    let program = "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics";
    build.arg(format!("{program}@v{version}")).env("GOBIN", site.part);
    site.job.run(without_cargo_settings(build.current_dir(env::temp_dir())), BUILD_LIMIT)
}

pub(super) fn agents(site: &Site<'_>) -> Result<()> {
    toolchain::ensure(&toolchain::COLLECTD_KAFKA, site.job)?;
    name(site, "rsyslogd", &toolchain::RSYSLOG)?;
    name(site, "collectd", &toolchain::COLLECTD)
}

pub(super) fn influxdb1(site: &Site<'_>) -> Result<()> {
    name(site, "influxd", &toolchain::INFLUXDB1)
}

pub(super) fn prometheus(site: &Site<'_>) -> Result<()> {
    name(site, "prometheus", &toolchain::PROMETHEUS)?;
    // Both come in one package.
    let promtool = toolchain::on_path("promtool").map_err(anyhow::Error::msg)?;
    write(&site.part.join("promtool"), &promtool.display().to_string())
}

/// Leaves the path of `tool` in the file `name`.
fn name(site: &Site<'_>, name: &str, tool: &Tool) -> Result<()> {
    let path = toolchain::ensure(tool, site.job)?;
    write(&site.part.join(name), &path.display().to_string())
}
