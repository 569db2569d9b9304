//! Protocol Buffers as they lie in memory: the fields of a message, one after another, borrowed.
//!
//! A message is `(key value)*`; the key is a number with the field's number and how its value is written. What a
//! field means is known to who asks. Groups, which nobody writes any more, are refused.

use tidewatch_dataflow::dead_letter::{Malformed, Reason};

/// A field's value, by how it is written.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    /// An integer, a truth value or one of an enumeration.
    Varint(u64),
    /// Eight bytes: a double or an integer.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// A text, bytes, a message, or numbers packed together.
    Bytes(&'a [u8]),
}

/// The fields of a message in their order, and at last what is wrong with it, if something is.
#[derive(Copy, Clone, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            // Nothing after it can be read.
            self.0 = &[];
        }
        Some(field.ok_or_else(|| {
            Malformed::new(
                Reason::Unparseable,
                "no Protocol Buffers: a field that does not end, or of no known type",
            )
        }))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 {
            return None;
        }
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Wire::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            5 => {
                let (bytes, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Wire::Fixed32(u32::from_le_bytes(*bytes))
            }
            _ => return None,
        };
        Some((number, value))
    }

    /// Seven bits in each byte, the lowest first; bits beyond 64 are dropped, as everyone does.
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(at + 1..)?;
                return Some(number);
            }
        }
        None
    }
}

/// The text of `bytes`, called `what` in the fault.
pub(super) fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Malformed> {
    std::str::from_utf8(bytes).map_err(|error| {
        Malformed::new(
            Reason::Unparseable,
            format!("the {what} is not UTF-8 at byte {}", error.valid_up_to()),
        )
    })
}
