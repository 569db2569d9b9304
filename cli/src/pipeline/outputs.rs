//! What a pipeline writes to.

use tidewatch_dataflow::alert::{Incident, Transition};
use tidewatch_dataflow::checkpoint::{Cut, PieceWriter, WorkerPieces};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::series::Labels;

use super::durability::{DurabilityError, Resumption};

/// Called when everything handed over is durable.
pub type Durable = Box<dyn FnOnce(WorkerPieces, Vec<String>) + Send>;

/// The far side of the dataflow. Called on timely workers, so no method may block; all items carry
/// identities, so that handing one over twice is harmless. As it is without the methods about checkpoints, an
/// output keeps nothing of its own and what it was given counts as durable at once.
pub trait Outputs: Send + Sync {
    /// Statistics of windows, on the worker that owns the group.
    fn points(&self, points: Vec<MetricPoint>);
    /// Points as they were read, on the worker that read them; only those that the pipeline's
    /// [`raw`](super::PipelineSpec::raw) takes.
    fn raw(&self, points: Vec<MetricPoint>) {
        let _ = points;
    }
    /// Log lines, on the worker that read them.
    fn logs(&self, lines: Vec<LogLine>);
    /// Refused records, on the worker that read them.
    fn dead_letters(&self, letters: Vec<DeadLetter>);
    /// The transition log, in order, on worker 0 only.
    fn transitions(&self, transitions: Vec<Transition>);
    /// Changes of the active incidents with what the inventory knows of them, on worker 0 only: +1 for one
    /// that opened, -1 for one that ended. At most one change of each in a call, and never an end of what
    /// was not open.
    fn active(&self, changes: Vec<((Incident, Labels), isize)>);
    /// Goes on from what [`Outputs::put`] and [`Outputs::make_durable`] had put, before anything else is called.
    ///
    /// # Errors
    /// [`DurabilityError`] when the state cannot be taken over.
    fn resume(&self, resumption: &Resumption) -> Result<(), DurabilityError> {
        let _ = resumption;
        Ok(())
    }
    /// Puts the state that follows from the transition log, on worker 0, between two transitions.
    fn put(&self, pieces: &mut PieceWriter<'_>) {
        let _ = pieces;
    }
    /// Makes durable whatever was handed over before this call, and then calls `done` with pieces of its own
    /// and with the names of further objects that they speak of; if it cannot, it never calls. Called once in
    /// each process for a cut, after everything before the cut was handed over.
    fn make_durable(&self, cut: Cut, done: Durable) {
        let _ = cut;
        done(Vec::new(), Vec::new());
    }
    /// The checkpoint at `cut` is complete.
    fn committed(&self, cut: Cut) {
        let _ = cut;
    }
    /// Whether reading must pause, since an output that may lose nothing is full.
    fn is_full(&self) -> bool;
}
