//! What the sections of stores have in common.

use std::num::NonZeroUsize;

use tidewatch_dataflow::config::Secret;

use super::OpenError;
use crate::delivery::{default_batch_items, default_queue_items};

/// The default of `queue_items`, where 0 cannot be written.
pub(super) fn queue_items() -> NonZeroUsize {
    NonZeroUsize::new(default_queue_items()).unwrap_or(NonZeroUsize::MIN)
}

/// The default of `batch_items`, likewise.
pub(super) fn batch_items() -> NonZeroUsize {
    NonZeroUsize::new(default_batch_items()).unwrap_or(NonZeroUsize::MIN)
}

/// Checks that user and password are given together, and nothing beside them: `instead` is another credential that is
/// given, with its field's name and what to say of it.
///
/// # Errors
/// [`OpenError::Invalid`] naming the field.
pub(super) fn check_credentials(
    username: Option<&str>,
    password: Option<&Secret>,
    instead: Option<(&'static str, &str)>,
) -> Result<(), OpenError> {
    let (field, reason) = match (username, password, instead) {
        (None, None, _) | (Some(_), Some(_), None) => return Ok(()),
        (Some(_), None, None) => ("username", "`password` is missing beside it"),
        (None, Some(_), None) => ("password", "`username` is missing beside it"),
        (_, _, Some(instead)) => instead,
    };
    Err(OpenError::Invalid { field, reason: reason.into() })
}
