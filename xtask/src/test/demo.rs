//! The released program: its demo in figures, its page in a browser, and how fast its parts are beside each other.

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tidewatch_testkit::cache::BROWSER;

use super::{Context, outcome::Outcome, skipping_is_forbidden, steps::COMPILE_LIMIT};
use crate::{
    services::named_program,
    shell::{Job, end_tree},
};

/// How long a demo of 90 seconds may take, catching up and stopping included.
const DEMO_LIMIT: Duration = Duration::from_mins(5);
/// How long the ratios may take, which are seconds of CPU.
const GATE_LIMIT: Duration = Duration::from_mins(5);
/// How long the browser may take to see what it waits for.
const PAGE_LIMIT: Duration = Duration::from_mins(5);

/// Builds the program as it is released and the gate, and gives the path of the one called `name`.
///
/// All steps here build the same things, so that cargo chooses the same features and the second has nothing to do.
fn build(context: &Context, job: &Job, name: &str) -> Result<PathBuf> {
    let packages = ["--package", "tidewatch", "--package", "tidewatch-benches"];
    let mut command = context.cargo(&["build", "--release"]);
    command.args(packages).args(["--bin", "tidewatch", "--bin", "gate"]);
    job.run(&mut command, COMPILE_LIMIT)?;
    Ok(context.targets.folder.join("release").join(name))
}

/// Ratios of what must not get slower, inside one run; fails when one is above its limit.
pub(super) fn gate(context: &Context, job: &Job) -> Result<Outcome> {
    let program = build(context, job, "gate")?;
    job.run(Command::new(program).current_dir(&context.project), GATE_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// The demo, which fails when it misses a fault or raises a false alarm.
pub(super) fn run(context: &Context, job: &Job) -> Result<Outcome> {
    let program = build(context, job, "tidewatch")?;
    let report = context.output.join("demo.json");
    let mut demo = Command::new(program);
    demo.args(["demo", "--for", "90s", "--no-page", "--report"]).arg(&report);
    job.run(demo.current_dir(&context.project), DEMO_LIMIT)?;
    if !report.is_file() {
        bail!("the demo wrote no report `{}`", report.display());
    }
    let shown = report.strip_prefix(&context.project).unwrap_or(&report);
    Ok(Outcome::Passed(format!("report in {}", shown.display())))
}

/// The demo's page, looked at by a headless browser while the demo runs.
pub(super) fn page(context: &Context, job: &Job) -> Result<Outcome> {
    if let Err(error) = context.fetch.wait(BROWSER) {
        if skipping_is_forbidden() {
            return Err(error);
        }
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    let program = build(context, job, "tidewatch")?;
    let port = free_port()?;
    let mut demo = Command::new(program);
    let limit = format!("{}s", PAGE_LIMIT.as_secs());
    demo.args(["demo", "--for", &limit, "--port", &port.to_string()]);
    let server = Job::new("page", context.output.join("page-demo.log"))?;
    let mut running = server.spawn(demo.current_dir(&context.project))?;
    let looked = look(context, job, port);
    end_tree(&mut running);
    looked.with_context(|| format!("the page\n{}", server.tail()))?;
    let picture = Path::new("target/xtask/page.png");
    Ok(Outcome::Passed(format!("picture in {}", picture.display())))
}

fn look(context: &Context, job: &Job, port: u16) -> Result<()> {
    let installed = BROWSER.folder()?;
    let chromium = named_program(&installed.join("chromium"))
        .context("the browser has gone: run `cargo xtask services fetch playwright-core`")?;
    let mut node = Command::new("node");
    node.arg(context.project.join("xtask/browser/page.cjs"));
    node.arg(format!("http://127.0.0.1:{port}/")).arg(chromium);
    node.arg(context.output.join("page.png"));
    node.env("NODE_PATH", installed.join("node_modules"));
    // Its profile goes where temporary files go.
    node.current_dir(env::temp_dir());
    job.run(&mut node, PAGE_LIMIT)
}

/// A port that nobody listens on right now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("could not find a free port")?;
    Ok(listener.local_addr().context("could not read a socket's address")?.port())
}
