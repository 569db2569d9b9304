//! What the JSON codecs share: errors with their place, bounded skipping, borrowed strings.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};

use super::{DEPTH_MAX, FIELDS_MAX, excerpt};

/// Begins the text of an error that carries its own reason; no error of `serde_json` begins so.
const MARK: char = '\u{1}';

/// An error from inside a visitor, with a reason of our own.
pub(super) fn fault<E: de::Error>(reason: Reason, detail: impl fmt::Display) -> E {
    E::custom(format_args!("{MARK}{}{MARK}{detail}", reason.as_str()))
}

/// The same for a fault that is there already.
pub(super) fn pass<E: de::Error>(why: Malformed) -> E {
    fault(why.reason, why.detail)
}

/// Why `text` could not be read, with the byte where reading stopped.
pub(super) fn malformed(text: &str, error: &serde_json::Error) -> Malformed {
    let at = match error.is_eof() {
        true => text.len(),
        false => offset(text, error.line(), error.column()),
    };
    let said = error.to_string();
    // The place is told as a byte below, which is what helps in a message of one line.
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    if let Some((name, detail)) = said.strip_prefix(MARK).and_then(|s| s.split_once(MARK)) {
        let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == name);
        return Malformed::new(
            reason.unwrap_or(Reason::Unparseable),
            format!("{detail} (near byte {at})"),
        );
    }
    let reason = if said.starts_with("number out of range") {
        Reason::NotANumber
    } else {
        Reason::Unparseable
    };
    Malformed::new(
        reason,
        format!("{said} at byte {at}, near {}", excerpt(text.as_bytes(), at.saturating_sub(8))),
    )
}

/// The byte that `serde_json` means by a line and a column, both counted from one.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = match line.checked_sub(2) {
        None => 0,
        Some(skip) => memchr::memchr_iter(b'\n', text.as_bytes()).nth(skip).map_or(0, |at| at + 1),
    };
    (start + column.saturating_sub(1)).min(text.len())
}

/// Refuses JSON that is nested too deeply or has too many objects, before memory is taken for them.
pub(super) fn check_shape(text: &str, objects_max: usize) -> Result<(), Malformed> {
    let (mut depth, mut objects, mut at) = (0_usize, 0_usize, 0);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                objects += 1;
                if depth > usize::from(DEPTH_MAX) {
                    return Err(Malformed::new(
                        Reason::TooLarge,
                        format!("nested deeper than {DEPTH_MAX} levels (near byte {at})"),
                    ));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => match string_end(bytes, at) {
                Some(end) => at = end + 1,
                None => break,
            },
            _ => {}
        }
    }
    if objects > objects_max {
        return Err(Malformed::new(
            Reason::TooLarge,
            format!("{objects} objects and arrays, more than {objects_max}"),
        ));
    }
    Ok(())
}

/// Where the string whose inside begins at `at` ends.
pub(super) fn string_end(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json.get(found) == Some(&b'"') {
            return Some(found);
        }
        at = found + 2;
    }
}

/// Where the number that begins at `at` ends, as far as it has no exponent.
pub(super) fn plain_number_end(json: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(json.get(at) == Some(&b'-'));
    let end = digits_end(json, start);
    if end == start || (end > start + 1 && json.get(start) == Some(&b'0')) {
        return None;
    }
    if json.get(end) != Some(&b'.') {
        return Some(end);
    }
    let fraction_end = digits_end(json, end + 1);
    (fraction_end > end + 1).then_some(fraction_end)
}

/// Where the digits end, if any, that stand from `at` on.
pub(super) fn digits_end(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// A string that borrows from the input unless it has escapes.
pub(super) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Reads a value of any kind and forgets it, at most so many levels deep.
pub(super) struct Skip(pub(super) u8);

impl Skip {
    /// For a member of the record's own object.
    pub(super) const MEMBER: Skip = Skip(DEPTH_MAX - 1);

    fn deeper<E: de::Error>(&self) -> Result<Skip, E> {
        match self.0.checked_sub(1) {
            Some(left) => Ok(Skip(left)),
            None => {
                Err(fault(Reason::TooLarge, format_args!("nested deeper than {DEPTH_MAX} levels")))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while seq.next_element_seed(Skip(inside.0))?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while map.next_key_seed(Text)?.is_some() {
            map.next_value_seed(Skip(inside.0))?;
        }
        Ok(())
    }
}

/// The members of one object in their order, with their values as the text they have; of a repeated name
/// the last value, at the place of the first.
pub(super) type Members<'de> = SmallVec<[(Cow<'de, str>, &'de str); 16]>;

/// Reads the members of one object.
pub(super) struct Object;

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Members<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Members<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::new();
        let mut seen = 0_usize;
        while let Some(name) = map.next_key_seed(Text)? {
            let value: &RawValue = map.next_value()?;
            seen += 1;
            if seen > FIELDS_MAX {
                return Err(fault(
                    Reason::TooLarge,
                    format_args!("more than {FIELDS_MAX} members"),
                ));
            }
            members.push((name, value.get()));
        }
        keep_last(&mut members);
        Ok(members)
    }
}

/// Of repeated names keeps the last value, at the place of the first.
pub(super) fn keep_last(members: &mut Members<'_>) {
    // Up to here comparing all pairs is quicker than sorting, and it is where log lines are.
    const FEW: usize = 24;
    let repeated = if members.len() <= FEW {
        members
            .iter()
            .enumerate()
            .any(|(i, (a, _))| members.iter().skip(i + 1).any(|(b, _)| a == b))
    } else {
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    };
    if repeated {
        let mut places = std::collections::HashMap::new();
        let mut kept = Members::new();
        for (name, value) in members.drain(..) {
            match places.get(&name) {
                Some(&at) => {
                    let slot: Option<&mut (Cow<'_, str>, &str)> = kept.get_mut(at);
                    if let Some((_, old)) = slot {
                        *old = value;
                    }
                }
                None => {
                    places.insert(name.clone(), kept.len());
                    kept.push((name, value));
                }
            }
        }
        *members = kept;
    }
}

/// Appends `text` as a JSON string.
pub(super) fn push_string(out: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}
