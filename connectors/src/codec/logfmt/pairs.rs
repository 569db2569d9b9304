//! Taking a line of logfmt apart.

use std::borrow::Cow;

use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};

use super::super::{FIELDS_MAX, excerpt};

/// One pair.
pub(super) struct Pair<'a> {
    pub(super) key: &'a str,
    pub(super) value: Cow<'a, str>,
    /// Has no equals sign.
    pub(super) bare: bool,
    /// Has become part of the line and is not to be repeated in `extra`.
    pub(super) used: bool,
}

/// The pairs of `line` in their order.
pub(super) fn pairs(line: &str) -> Result<SmallVec<[Pair<'_>; 16]>, Malformed> {
    let wrong = |rest: &str, what: &str| {
        let at = line.len() - rest.len();
        Malformed::new(
            Reason::Unparseable,
            format!("{what} at byte {at}, near {}", excerpt(line.as_bytes(), at)),
        )
    };
    let mut pairs = SmallVec::new();
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        if pairs.len() >= FIELDS_MAX {
            return Err(Malformed::new(Reason::TooLarge, format!("more than {FIELDS_MAX} pairs")));
        }
        let end = rest.find(|c| ends_word(c) || matches!(c, '=' | '"')).unwrap_or(rest.len());
        let (key, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if key.is_empty() {
            return Err(wrong(rest, "a pair without a key"));
        }
        let mut pair = Pair { key, value: Cow::Borrowed(""), bare: true, used: false };
        rest = after;
        if let Some(after) = after.strip_prefix('=') {
            pair.bare = false;
            (pair.value, rest) = if after.starts_with('"') {
                quoted(after).ok_or_else(|| {
                    wrong(after, "a text in quotes that does not end, or a wrong escape in it")
                })?
            } else {
                let end = after.find(ends_word).unwrap_or(after.len());
                let (value, rest) = after.split_at_checked(end).unwrap_or((after, ""));
                (Cow::Borrowed(value), rest)
            };
        }
        pairs.push(pair);
        let trimmed = rest.trim_ascii_start();
        if !rest.is_empty() && trimmed.len() == rest.len() {
            return Err(wrong(rest, "no space after a pair"));
        }
        rest = trimmed;
    }
    Ok(pairs)
}

fn ends_word(c: char) -> bool {
    c == ' ' || c.is_ascii_control()
}

/// The text in quotes at the front of `text`, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let bytes = text.as_bytes();
    let mut at = 1;
    let mut escaped = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            break;
        }
        escaped = true;
        at += 2;
    }
    let rest = text.get(at + 1..)?;
    if !escaped {
        return Some((Cow::Borrowed(text.get(1..at)?), rest));
    }
    // The escapes are those of JSON; a tab as it is, which JSON does not allow, is common.
    let json = text.get(..at + 1)?.replace('\t', "\\t");
    serde_json::from_str(&json).ok().map(|text| (Cow::Owned(text), rest))
}
