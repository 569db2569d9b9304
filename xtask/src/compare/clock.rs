//! Progress on standard error, each line with the time since the beginning.

use std::time::Instant;

/// The beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress(Instant);

impl Progress {
    pub(super) fn start() -> Self {
        Progress(Instant::now())
    }

    /// Prints a line.
    pub(super) fn say(&self, text: &str) {
        eprintln!("{:7.1} s  {text}", self.0.elapsed().as_secs_f64());
    }
}
