//! The steps around real servers.

use anyhow::{Result, bail};
use tidewatch_testkit::cache::Artifact;

use super::{
    Context,
    outcome::{Outcome, count_tests},
    skipping_is_forbidden,
    steps::{TEST_LIMIT, name_each},
};
use crate::shell::Job;

/// Waits for the fetches. What is missing is a failure on a build machine;
/// elsewhere, the tests that need it will say that they are skipped.
pub(super) fn wait(context: &Context, servers: &[Artifact]) -> Result<Outcome> {
    let missing = servers.iter().filter_map(|server| context.fetch.wait(*server).err());
    let missing: Vec<String> = missing.map(|error| format!("{error:#}")).collect();
    let names = servers.iter().map(|server| format!("{} {}", server.name, server.version));
    let names = names.collect::<Vec<_>>().join(", ");
    match missing.join("; ") {
        missing if missing.is_empty() => Ok(Outcome::Passed(names)),
        missing if skipping_is_forbidden() => bail!("{missing}"),
        missing => Ok(Outcome::Skipped(missing)),
    }
}

/// Runs the integration tests that need servers.
pub(super) fn test(context: &Context, job: &Job, servers: &[Artifact]) -> Result<Outcome> {
    let available = wait(context, servers)?;
    if context.targets.service_tests.is_empty() {
        bail!("there is no service test");
    }
    let mut command = context.cargo(&["test", "--workspace", "--no-fail-fast"]);
    name_each(&mut command, "--test", &context.targets.service_tests);
    job.run(&mut command, TEST_LIMIT)?;
    let counted = count_tests(&job.text())?;
    match available {
        Outcome::Skipped(missing) => Ok(Outcome::Skipped(format!("some: {missing}"))),
        Outcome::Passed(_) | Outcome::Failed(_) => Ok(counted),
    }
}
