//! Bytes of a message, appended to a buffer that is used again for the next one.

/// A message under construction.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
}

impl Text {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn int(&mut self, number: u64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    /// The shortest decimal that reads as `number` again; a whole one without a fraction, as Telegraf
    /// writes it. `number` is finite, and between 0.001 and 1e15 or 0, so that no exponent is needed.
    pub(super) fn float(&mut self, number: f64) -> &mut Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(number);
        self.raw(text.strip_suffix(".0").unwrap_or(text))
    }

    /// Sixteen hexadecimal digits.
    pub(super) fn hex(&mut self, number: u64) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |shift: u32| DIGITS[(number >> shift & 15) as usize];
        self.bytes.extend((0..16).rev().map(|place| digit(place * 4)));
        self
    }

    /// Whatever can be displayed.
    pub(super) fn display(&mut self, what: impl std::fmt::Display) -> &mut Self {
        use std::io::Write as _;
        // Writing to memory does not fail.
        let _ = write!(self.bytes, "{what}");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_telegraf_writes_them() {
        let mut text = Text::default();
        text.float(0.0).raw(" ").float(25.0).raw(" ").float(100.0 / 3.0).raw(" ");
        text.int(7).raw(" ").hex(0xabc).raw(" ").float(0.03125);
        assert_eq!(text.as_bytes(), b"0 25 33.333333333333336 7 0000000000000abc 0.03125");
    }
}
