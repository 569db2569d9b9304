//! The values of attributes and bodies.

use std::borrow::Cow;
use std::fmt::Write as _;

use smallvec::SmallVec;

use super::super::json::push_string;

/// A value of any kind.
#[derive(Debug, Default)]
pub(super) enum Any<'a> {
    #[default]
    Empty,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    List(Vec<Any<'a>>),
    Map(Vec<Attribute<'a>>),
}

/// A name and its value.
pub(super) type Attribute<'a> = (Cow<'a, str>, Any<'a>);

/// Attributes in their order.
pub(super) type Attributes<'a> = SmallVec<[Attribute<'a>; 8]>;

impl Any<'_> {
    /// The value as text: what is no text as JSON; nothing for nothing.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Any::Empty => Cow::Borrowed(""),
            Any::Text(text) => Cow::Borrowed(text),
            Any::Bool(true) => Cow::Borrowed("true"),
            Any::Bool(false) => Cow::Borrowed("false"),
            Any::Int(number) => Cow::Owned(number.to_string()),
            Any::Double(number) => Cow::Owned(number.to_string()),
            Any::Bytes(bytes) => Cow::Owned(base64(bytes)),
            Any::List(_) | Any::Map(_) => Cow::Owned(self.json()),
        }
    }

    /// The value as JSON on one line.
    pub(super) fn json(&self) -> String {
        let mut json = String::new();
        self.push_json(&mut json);
        json
    }

    fn push_json(&self, out: &mut String) {
        match self {
            Any::Empty => out.push_str("null"),
            Any::Text(text) => push_string(out, text),
            Any::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
            Any::Int(number) => out.push_str(&number.to_string()),
            Any::Double(number) if number.is_finite() => out.push_str(&format!("{number:?}")),
            // JSON has no such number.
            Any::Double(number) => push_string(out, &number.to_string()),
            Any::Bytes(bytes) => push_string(out, &base64(bytes)),
            Any::List(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    value.push_json(out);
                }
                out.push(']');
            }
            Any::Map(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    push_string(out, name);
                    out.push(':');
                    value.push_json(out);
                }
                out.push('}');
            }
        }
    }
}

/// Bytes in the letters that OTLP's JSON writes them in.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().chain([&0, &0]).take(3).fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        for at in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * at) & 63) as usize).copied();
            text.push(if at <= three.len() { char::from(letter.unwrap_or(b'A')) } else { '=' });
        }
    }
    text
}

/// Bytes as hexadecimal digits, as ids of traces are written.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_letters() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
        assert_eq!(hex(&[0, 0x5b, 0xff]), "005bff");
    }

    #[test]
    fn values_as_text_and_json() {
        let map = Any::Map(vec![
            ("a\n".into(), Any::List(vec![Any::Int(-1), Any::Empty, Any::Double(1.0)])),
            ("b".into(), Any::Double(f64::NAN)),
        ]);
        assert_eq!(map.text(), r#"{"a\n":[-1,null,1.0],"b":"NaN"}"#);
        assert_eq!((Any::Empty.text(), Any::Bool(true).text()), ("".into(), "true".into()));
    }
}
