//! Flat objects in one pass: what nearly all loggers write.
//!
//! [`members`] takes one object whose names and texts have no escapes and whose values are texts, numbers without
//! exponent, `true`, `false` and `null`, with spaces between them or without. It says nothing about any other text,
//! right or wrong: that is read by `serde_json`, whose answer is the same where this has one.

use std::borrow::Cow;

use super::super::FIELDS_MAX;
use super::super::json::{Members, keep_last, plain_number_end};

/// The members of `text`, if it is such an object as a whole.
pub(super) fn members(text: &str) -> Option<Members<'_>> {
    let mut rest = Rest { text, at: 0 };
    let mut members = Members::new();
    if rest.next()? != b'{' {
        return None;
    }
    loop {
        let name = rest.value().filter(|name| name.starts_with('"'))?;
        if rest.next()? != b':' || members.len() >= FIELDS_MAX {
            return None;
        }
        members.push((Cow::Borrowed(name.get(1..name.len() - 1)?), rest.value()?));
        match rest.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    if !text.as_bytes().get(rest.at..)?.iter().all(is_space) {
        return None;
    }
    keep_last(&mut members);
    Some(members)
}

/// What has not been read yet.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b' ' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Takes the next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Takes a value as it is written, a text with its quotes.
    fn value(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let first = self.peek()?;
        let start = self.at;
        let word = |word: &str| {
            let is_it = bytes.get(start..)?.starts_with(word.as_bytes());
            is_it.then_some(start + word.len())
        };
        self.at = match first {
            b'"' => text_end(bytes, start + 1)? + 1,
            b't' => word("true")?,
            b'f' => word("false")?,
            b'n' => word("null")?,
            _ => plain_number_end(bytes, start)?,
        };
        self.text.get(start..self.at)
    }
}

/// Where the quote is that ends a text whose inside begins at `at`; `None` when the text has escapes, control
/// characters or no end.
fn text_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at a time. The highest bit of each byte that is to be found: of one that is below `limit`, up to
    // 128, after the subtraction. A byte that is found may borrow from the next one, so only the first mark is to be
    // trusted, and only that is used.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..)?.first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let marks = below(word, 0x20) | equal(b'"') | equal(b'\\');
        if marks != 0 {
            at += marks.trailing_zeros() as usize / 8;
            return (bytes.get(at) == Some(&b'"')).then_some(at);
        }
        at += 8;
    }
    let marked = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    at += bytes.get(at..)?.iter().position(marked)?;
    (bytes.get(at) == Some(&b'"')).then_some(at)
}
