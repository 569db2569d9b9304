//! What objects of a state store may be called.

use tidewatch_dataflow::checkpoint::StoreError;

/// Parts of a name have at most this many bytes: what file systems take, less room for none of their own.
const PART_MAX: usize = 255;
/// A whole name has at most this many bytes: S3 takes 1,024 with the prefix of the store before it.
const NAME_MAX: usize = 768;

/// Why something cannot be the name of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no name of an object: use parts of lower-case letters, digits, `.`, `-` and `_`, separated by \
     single `/`, none of which begins with `.`", name.escape_debug()
)]
pub struct NameError {
    name: String,
}

/// Whether `name` is the name of an object: a path that stays below the store's root, whatever it is
/// joined to.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX && name.split('/').all(is_part)
}

fn is_part(part: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    !part.is_empty()
        && part.len() <= PART_MAX
        && !part.starts_with('.')
        && part.bytes().all(allowed)
}

/// Refuses to do `action` with what is no name.
pub(super) fn check(action: &'static str, name: &str) -> Result<(), StoreError> {
    if is_name(name) { Ok(()) } else { Err(refused(action, name)) }
}

/// Refuses to list what is neither empty nor a name with `/` behind it. Gives the prefix without it.
pub(super) fn check_prefix(prefix: &str) -> Result<&str, StoreError> {
    match prefix.strip_suffix('/') {
        Some(name) if is_name(name) => Ok(name),
        None if prefix.is_empty() => Ok(prefix),
        _ => Err(refused("list", prefix)),
    }
}

fn refused(action: &'static str, name: &str) -> StoreError {
    let source = Box::new(NameError { name: name.to_owned() });
    StoreError::Failed { action, name: name.to_owned(), source }
}
