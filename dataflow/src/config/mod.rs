//! The words every configuration shares: durations, sizes and secrets.

mod duration;
mod secret;
mod size;

pub use duration::HumanDuration;
pub use secret::{Secret, SecretError};
pub use size::ByteSize;
