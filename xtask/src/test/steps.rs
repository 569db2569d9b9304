//! The steps of `cargo xtask test`, in their order. To add one, write its
//! function and a line of the table.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use tidewatch_testkit::cache::{self, Artifact};

use super::{Context, demo, deny, outcome::Outcome, outcome::count_tests, services};
use crate::{
    services::toolchain::{self, Tool},
    shell::Job,
    tidy,
};

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    /// What `--only` and `--skip` call it.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) title: &'static str,
    /// What has to be fetched for it.
    pub(crate) needs: &'static [Artifact],
    /// Does it.
    pub(crate) run: fn(&Context, &Job) -> Result<Outcome>,
}

/// The servers of the service tests.
const SERVERS: &[Artifact] = &[
    cache::KAFKA,
    cache::INFLUXDB,
    cache::INFLUXDB1,
    cache::VICTORIAMETRICS,
    cache::ELASTICSEARCH,
    cache::OPENSEARCH,
    cache::AIOSMTPD,
    cache::TELEGRAF,
    cache::AGENTS,
    cache::PROMETHEUS,
    cache::GRAFANA_SCHEMA,
    cache::SCHEMAS,
];

/// All steps. Cheap checks of the text come first, then what only compiles, then
/// what runs; what needs fetched servers comes last, when they are there.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "toolchain", title: "what the build needs", needs: &[], run: toolchain },
    Step { name: "fmt", title: "formatting", needs: &[], run: fmt },
    Step { name: "tidy", title: "house rules", needs: &[], run: tidy },
    Step { name: "clippy", title: "lints, as errors", needs: &[], run: clippy },
    Step { name: "doc", title: "documentation, warnings as errors", needs: &[], run: doc },
    Step {
        name: "deny",
        title: "licences, bans and sources of dependencies",
        needs: &[cache::CARGO_DENY],
        run: deny::run,
    },
    Step { name: "unit", title: "unit, property and golden tests", needs: &[], run: unit },
    Step { name: "doctest", title: "examples in the documentation", needs: &[], run: doctest },
    Step { name: "examples", title: "each example runs", needs: &[], run: examples },
    Step { name: "benches", title: "each benchmark runs once", needs: &[], run: benches },
    Step {
        name: "services",
        title: "real servers are fetched",
        needs: SERVERS,
        run: |context, _| services::wait(context, SERVERS),
    },
    Step {
        name: "service-tests",
        title: "tests against real servers",
        needs: SERVERS,
        run: |context, job| services::test(context, job, SERVERS),
    },
    Step { name: "demo", title: "the demo finds its faults", needs: &[], run: demo::run },
    Step {
        name: "page",
        title: "the live page in a browser",
        needs: &[cache::BROWSER],
        run: demo::page,
    },
    Step {
        name: "gate",
        title: "nothing has become slower, by ratios",
        needs: &[],
        run: demo::gate,
    },
];

/// How long a step that compiles the workspace may take.
pub(super) const COMPILE_LIMIT: Duration = Duration::from_mins(40);
/// How long a step that compiles and runs tests may take.
pub(super) const TEST_LIMIT: Duration = Duration::from_mins(40);
/// How long one example may run.
const EXAMPLE_LIMIT: Duration = Duration::from_mins(2);

/// What compiling the workspace needs besides Rust.
const BUILD_TOOLS: &[Tool] =
    &[toolchain::GCC, toolchain::MAKE, toolchain::PKG_CONFIG, toolchain::OPENSSL_HEADERS];

fn passed() -> Result<Outcome> {
    Ok(Outcome::Passed(String::new()))
}

fn toolchain(_: &Context, job: &Job) -> Result<Outcome> {
    for tool in BUILD_TOOLS {
        toolchain::ensure(tool, job)?;
    }
    passed()
}

fn fmt(context: &Context, job: &Job) -> Result<Outcome> {
    job.run(
        &mut context.cargo(&["fmt", "--all", "--", "--check", "--color", "never"]),
        COMPILE_LIMIT,
    )?;
    passed()
}

fn tidy(context: &Context, _: &Job) -> Result<Outcome> {
    tidy::run(&context.project)?;
    passed()
}

fn clippy(context: &Context, job: &Job) -> Result<Outcome> {
    let arguments =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    job.run(&mut context.cargo(&arguments), COMPILE_LIMIT)?;
    passed()
}

fn doc(context: &Context, job: &Job) -> Result<Outcome> {
    let mut command = context.cargo(&["doc", "--workspace", "--no-deps"]);
    job.run(command.env("RUSTDOCFLAGS", "-D warnings"), COMPILE_LIMIT)?;
    passed()
}

fn unit(context: &Context, job: &Job) -> Result<Outcome> {
    let mut command = context.cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
    name_each(&mut command, "--test", &context.targets.tests);
    job.run(&mut command, TEST_LIMIT)?;
    count_tests(&job.text())
}

fn doctest(context: &Context, job: &Job) -> Result<Outcome> {
    let mut command = context.cargo(&["test", "--workspace", "--no-fail-fast", "--doc"]);
    job.run(&mut command, TEST_LIMIT)?;
    count_tests(&job.text())
}

fn examples(context: &Context, job: &Job) -> Result<Outcome> {
    let names = &context.targets.examples;
    if names.is_empty() {
        bail!("there is no example");
    }
    job.run(&mut context.cargo(&["build", "--workspace", "--examples"]), COMPILE_LIMIT)?;
    for name in names {
        let program = context.targets.folder.join("debug/examples").join(name);
        let mut command = Command::new(program);
        job.run(command.current_dir(&context.project), EXAMPLE_LIMIT)
            .with_context(|| format!("the example `{name}`"))?;
    }
    Ok(Outcome::Passed(names.join(", ")))
}

fn benches(context: &Context, job: &Job) -> Result<Outcome> {
    let names = &context.targets.benches;
    if names.is_empty() {
        bail!("there is no benchmark");
    }
    let mut command = context.cargo(&["test", "--workspace"]);
    name_each(&mut command, "--bench", names);
    job.run(&mut command, TEST_LIMIT)?;
    Ok(Outcome::Passed(names.join(", ")))
}

/// Adds `flag NAME` for each name.
pub(super) fn name_each(command: &mut Command, flag: &str, names: &[String]) {
    for name in names {
        command.arg(flag).arg(name);
    }
}
