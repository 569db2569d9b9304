//! What the examples share: nothing of tidewatch, only how a timely run is ended.
//!
//! The examples are in `examples/`; each is one file, and asserts what it prints. See `README.md`.

use anyhow::{Result, anyhow};
use timely::communication::WorkerGuards;

/// Waits for all workers to come to their end, and takes what they return, in order of workers.
///
/// # Errors
/// What a worker died of, or why the workers could not be started.
pub fn finish<T: Send + 'static>(run: Result<WorkerGuards<T>, String>) -> Result<Vec<T>> {
    let guards = run.map_err(|error| anyhow!("the workers could not be started: {error}"))?;
    guards
        .join()
        .into_iter()
        .map(|ended| ended.map_err(|error| anyhow!("a worker died: {error}")))
        .collect()
}
