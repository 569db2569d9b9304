//! A pipeline that runs on the workers of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tidewatch_dataflow::checkpoint::CheckpointError;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_operators::feed::FeedError;
use timely::WorkerConfig;
use timely::communication::WorkerGuards;

use super::durability::{BeginFailure, DurabilityError};
use super::worker::{Shared, run};
use crate::cluster::{Membership, connect};

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
    /// The state of an earlier run cannot be gone on from.
    #[error("could not go on from the state: {0}")]
    Durability(#[from] DurabilityError),
    /// Another worker could not begin the run.
    #[error("another worker could not begin the run: {0}")]
    Begin(BeginFailure),
    /// No checkpoint can be written any more.
    #[error("checkpoints have ended: {0}")]
    Checkpoints(Arc<CheckpointError>),
    /// Topics were made anew: the next run reads them.
    #[error("`{}` was recreated: to be read from its beginning by the next run", topics.join("`, `"))]
    Recreated {
        /// Their names.
        topics: Vec<String>,
    },
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
    let failed = |reason| PipelineError::Start { process: membership.process, reason };
    let (builders, others) = connect(membership, &stop, &shared.counters.traffic)
        .map_err(|error| failed(error.to_string()))?;
    let worker = WorkerConfig::default();
    let guards =
        timely::execute::execute_from(builders, others, worker, move |worker| run(worker, &shared))
            .map_err(failed)?;
    Ok(Running { guards, stop })
}

impl PipelineError {
    /// Whether a newer run has taken over, so that this one must not be started again.
    pub fn is_fenced(&self) -> bool {
        match self {
            PipelineError::Durability(DurabilityError::Checkpoint(error)) => error.is_fenced(),
            PipelineError::Checkpoints(error) => error.is_fenced(),
            _ => false,
        }
    }

    /// Whether topics were made anew, so that another start is all that is needed.
    pub fn is_recreated(&self) -> bool {
        matches!(self, PipelineError::Recreated { .. })
    }

    /// Whether the state itself is at fault: another start would find it as it is.
    pub fn is_refused_state(&self) -> bool {
        match self {
            PipelineError::Durability(error) => error.is_refused_state(),
            PipelineError::Begin(failure) => failure.is_refused_state,
            _ => false,
        }
    }
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
