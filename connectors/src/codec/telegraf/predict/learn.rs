//! Taking a record that was read apart: into fields, and the bytes that name its series.

use smallvec::SmallVec;

use super::number::{flag, trailing};
use super::{BEGIN, NEXT};

/// What can be learned from one record.
pub(super) struct Lesson<'a> {
    /// The fields' names, each with its quotation mark and colon.
    pub(super) fields: SmallVec<[(&'a [u8], Value); 16]>,
    /// From the brace behind the fields to the colon before the time.
    pub(super) identity: &'a [u8],
}

/// What kind of value a field has.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number,
    Flag,
    Text,
    Null,
}

/// Takes apart `value`, which `serde_json` has accepted: that it is JSON is not checked again. `None` when it
/// is anything but one object with the members `fields`, `name`, `tags` and `timestamp` in this order,
/// without white space but for a line break at the end, with a whole number as time and no array, object
/// or unusual text among its fields.
pub(super) fn lesson(value: &[u8]) -> Option<Lesson<'_>> {
    let mut at = value.starts_with(BEGIN).then_some(BEGIN.len())?;
    let mut fields = SmallVec::new();
    loop {
        let rest = value.get(at..)?;
        let length = text_end(rest)? + 1;
        let name = rest.get(..length)?;
        if name.last() != Some(&b':') || name.contains(&b'\\') {
            return None;
        }
        let rest = rest.get(length..)?;
        let (kind, skip) = match rest.first()? {
            b'-' | b'0'..=b'9' => {
                (Value::Number, rest.iter().position(|byte| matches!(byte, b',' | b'}'))?)
            }
            b'"' => (Value::Text, plain_text(rest)?),
            b'n' => (Value::Null, 4),
            _ => (Value::Flag, flag(rest)?.1),
        };
        fields.push((name, kind));
        at += length + skip;
        if !value.get(at..)?.starts_with(NEXT) {
            break;
        }
        at += NEXT.len();
    }
    let (_, time_at) = trailing(value, end_of_time(value)?)?;
    let identity = value.get(at..time_at)?;
    let name = identity.strip_prefix(b"},\"name\":\"")?;
    let mut rest = name.get(text_end(name)?..)?.strip_prefix(b",\"tags\":{")?;
    // Texts, and what has no quotation marks: neither arrays nor objects are accepted here.
    while let Some(mark) = rest.iter().position(|byte| matches!(byte, b'"' | b'}')) {
        let after = rest.get(mark + 1..)?;
        if rest.get(mark) == Some(&b'}') {
            return (after == b",\"timestamp\":").then_some(Lesson { fields, identity });
        }
        rest = after.get(text_end(after)?..)?;
    }
    None
}

/// Behind the quotation mark that ends the text whose inside `rest` begins with.
fn text_end(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Names and labels are short: byte by byte is quickest.
    loop {
        at += rest.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if rest.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The length of the text at the front of `rest` with both its marks, if all of it is printable ASCII
/// without escapes: then it is a text of JSON for certain.
pub(super) fn plain_text(rest: &[u8]) -> Option<usize> {
    let inside = rest.strip_prefix(b"\"")?;
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let length = inside.iter().position(|byte| !plain(byte))?;
    (inside.get(length) == Some(&b'"')).then_some(length + 2)
}

/// Where the time of a metric ends that is all of `value`, but for a line break.
#[inline(always)]
pub(super) fn end_of_time(value: &[u8]) -> Option<usize> {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"}").map(<[u8]>::len)
}
