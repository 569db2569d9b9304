//! Exit codes: what a member's end says to its supervisor, and a supervisor's end to whoever started it.
//!
//! | code | meaning | what a supervisor does |
//! | --- | --- | --- |
//! | 0 | stopped as asked | ends with 0 once all members have |
//! | 1 | failed | starts all members again |
//! | 2 | wrong usage or an invalid configuration | ends with 2 |
//! | 3 | the state was refused: a person must act | ends with 3 |
//! | 4 | fenced: a newer run has taken over | ends with 4 |
//! | 5 | a topic was recreated: the next run reads it | starts all members again |
//! | 130 | asked twice to stop, left at once | |
//! | a signal | crashed, or was killed | starts all members again |

use std::process::ExitStatus;

use crate::cluster::HostfileError;
use crate::config::ConfigErrors;

/// Stopped as asked.
pub const STOPPED: u8 = 0;
/// Failed: another attempt may succeed.
pub const FAILED: u8 = 1;
/// Wrong usage or an invalid configuration: nothing was tried.
pub const INVALID: u8 = 2;
/// The state was refused, as [`Final::Refused`] says.
pub const REFUSED: u8 = 3;
/// Fenced, as [`Final::Fenced`] says.
pub const FENCED: u8 = 4;
/// Ended by [`Renewed`].
pub const RENEWED: u8 = 5;
/// Asked twice to stop.
pub const FORCED: u8 = 130;

/// An end that no restart mends. Give it to an error as context, and [`code`] finds it:
///
/// ```
/// use anyhow::{Context, anyhow};
/// use tidewatch::cluster::exit;
/// let error = anyhow!("`manifests/7` has a bad checksum").context(exit::Final::Refused);
/// assert_eq!(exit::code(&error), exit::REFUSED);
/// assert_eq!(exit::code(&error.context("could not restore")), exit::REFUSED);
/// assert_eq!(exit::code(&anyhow!("no broker answers")), exit::FAILED);
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Final {
    /// The state is of a newer version, of another pipeline, or damaged. It is left as it is until a person
    /// has decided.
    #[error("the state was refused, and nothing is changed in it")]
    Refused,
    /// A newer run has taken the state over. Starting again would take it back, and so for ever.
    #[error("a newer run of this pipeline has taken over")]
    Fenced,
}

impl Final {
    /// The exit code that says so.
    pub fn code(self) -> u8 {
        match self {
            Final::Refused => REFUSED,
            Final::Fenced => FENCED,
        }
    }

    /// Ends the process at once, without flushing anything.
    ///
    /// A member of a cluster that ends for good has to leave this way: the others notice that its
    /// connections are gone, abort, and the supervisor would take that for a crash. The kernel fixes the exit
    /// code before it closes the connections, so a supervisor finds it whatever it noticed first.
    pub fn leave(self) -> ! {
        std::process::exit(self.code().into())
    }
}

/// An end that only another start can follow: a topic was made anew, and is read from its beginning by the next
/// run. Give it to an error as context, and [`code`] finds it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run has ended, so that the next one reads the new topic")]
pub struct Renewed;

/// The exit code for an error that ends a process.
pub fn code(error: &anyhow::Error) -> u8 {
    if let Some(end) = error.downcast_ref::<Final>() {
        end.code()
    } else if error.is::<Renewed>() {
        RENEWED
    } else if error.is::<ConfigErrors>() || error.is::<HostfileError>() {
        INVALID
    } else {
        FAILED
    }
}

/// The code of a member that must not be started again, if it ended with one.
pub(super) fn for_good(status: ExitStatus) -> Option<u8> {
    let code = status.code().and_then(|code| u8::try_from(code).ok())?;
    matches!(code, INVALID | REFUSED | FENCED).then_some(code)
}

/// Whether a member ended for the next run to read a topic that was made anew.
pub(super) fn is_renewal(status: ExitStatus) -> bool {
    status.code() == Some(i32::from(RENEWED))
}

/// Whether a process was ended by something that its own code did not see coming: a signal, or a panic where
/// it was not made to abort.
pub(super) fn is_crash(status: ExitStatus) -> bool {
    const PANICKED: i32 = 101;
    status.code().is_none_or(|code| code == PANICKED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_three_codes_are_for_good() {
        for code in 0..=255_u8 {
            let status = ExitStatus::from_raw(i32::from(code) << 8);
            let wanted = [2, 3, 4].contains(&code).then_some(code);
            assert_eq!(for_good(status), wanted);
            assert_eq!(is_crash(status), code == 101);
        }
        let killed = ExitStatus::from_raw(9);
        assert_eq!(for_good(killed), None);
        assert!(is_crash(killed));
    }

    #[test]
    fn a_configuration_that_cannot_be_used_is_no_failure() {
        let error = HostfileError::WrongCount { path: "hosts".into(), found: 1, wanted: 2 };
        assert_eq!(code(&anyhow::Error::new(error)), INVALID);
    }
}
