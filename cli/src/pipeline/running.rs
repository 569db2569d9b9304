//! A pipeline that runs on the workers of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_operators::feed::FeedError;
use timely::WorkerConfig;
use timely::communication::WorkerGuards;

use super::worker::{Shared, run};
use crate::cluster::Membership;

/// Why a pipeline ended other than by a stop.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Timely could not start: a peer cannot be reached, or a port is taken.
    #[error("could not start the workers of process {process}: {reason}")]
    Start {
        /// Index of this process.
        process: usize,
        /// What timely said.
        reason: String,
    },
    /// A source could not be opened.
    #[error(transparent)]
    Source(#[from] ConnectorError),
    /// A statistic or rule makes no sense over its panes.
    #[error("could not build the dataflow: {0}")]
    Feed(#[from] FeedError),
    /// A worker panicked.
    #[error("a worker ended with a panic: {0}")]
    Panicked(String),
}

/// A running pipeline.
pub struct Running {
    guards: WorkerGuards<Result<(), PipelineError>>,
    stop: Arc<AtomicBool>,
}

/// Starts the workers of this process; in a cluster this waits for all other processes.
///
/// `shared.gauges` must hold one entry for each worker of this process.
///
/// # Errors
/// [`PipelineError::Start`].
pub fn start(membership: &Membership, shared: Shared) -> Result<Running, PipelineError> {
    let stop = Arc::clone(&shared.stop);
    let config = timely::Config {
        communication: membership.communication(),
        worker: WorkerConfig::default(),
    };
    let guards = timely::execute(config, move |worker| run(worker, &shared))
        .map_err(|reason| PipelineError::Start { process: membership.process, reason })?;
    Ok(Running { guards, stop })
}

impl Running {
    /// Asks all workers of all processes to stop: nothing that is open is fired.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether all workers of this process have ended.
    pub fn has_ended(&self) -> bool {
        self.guards.guards().iter().all(JoinHandle::is_finished)
    }

    /// Waits until all workers of this process have ended.
    ///
    /// # Errors
    /// The first error of a worker.
    pub fn join(self) -> Result<(), PipelineError> {
        let mut outcome = Ok(());
        for ended in self.guards.join() {
            let ended = ended.map_err(PipelineError::Panicked).and_then(|outcome| outcome);
            outcome = outcome.and(ended);
        }
        outcome
    }
}
