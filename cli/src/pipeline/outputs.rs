//! What a pipeline writes to.

use tidewatch_dataflow::alert::{Incident, Transition};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::series::Labels;

/// The far side of the dataflow. Called on timely workers, so no method may block; all items carry
/// identities, so that handing one over twice is harmless.
pub trait Outputs: Send + Sync {
    /// Statistics of windows, on the worker that owns the group.
    fn points(&self, points: Vec<MetricPoint>);
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
    /// Whether reading must pause, since an output that may lose nothing is full.
    fn is_full(&self) -> bool;
}
