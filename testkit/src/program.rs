//! A program under test.

use std::{
    io,
    process::{Child, ExitStatus},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A child process that is killed, and waited for, when a test ends, however it does.
#[derive(Debug)]
pub struct Program(pub Child);

impl Program {
    /// Asks it to end (`SIGTERM`), and waits until it has.
    ///
    /// # Errors
    /// When it cannot be asked or waited for.
    pub fn terminate(mut self) -> io::Result<ExitStatus> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        self.0.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
