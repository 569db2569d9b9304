//! One line: series, fields, time.

use std::borrow::Cow;

use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::{SeriesId, SeriesTable};

use super::super::point::intern;
use super::super::{Input, LABELS_MAX, excerpt};
use super::InfluxLine;
use super::scan::{instant, number, skip, string_end, unescape, word};

/// What is wrong at byte `at`.
fn wrong(text: &str, at: usize, what: &str) -> Malformed {
    Malformed::new(
        Reason::Unparseable,
        format!("{what} at byte {at}, near {}", excerpt(text.as_bytes(), at.saturating_sub(8))),
    )
}

/// The same fault with its place.
fn at_byte(why: Malformed, at: usize) -> Malformed {
    Malformed::new(why.reason, format!("{} (at byte {at})", why.detail))
}

impl InfluxLine {
    /// Reads the line that begins at `start`; returns where it ends.
    pub(super) fn line(
        &mut self,
        text: &str,
        start: usize,
        input: &Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<usize, Malformed> {
        let bytes = text.as_bytes();
        let (head_end, known) = self.known_head(bytes, start);
        // A series is interned before its fields are read, as they may be many and it may be refused.
        let (id, mut at) = match known {
            Some(id) => (id, head_end),
            None => {
                let (id, end) = head(text, start, series)?;
                if let Some(heads) = self.heads.as_mut().filter(|_| end == head_end) {
                    heads.learn(bytes.get(start..end).unwrap_or_default(), id);
                }
                (id, end)
            }
        };
        at = skip(bytes, at, |byte| byte == b' ');
        self.points.begin(out);
        loop {
            at = self.field(text, at, series, out)?;
            match bytes.get(at) {
                Some(b',') => at += 1,
                _ => break,
            }
        }
        at = skip(bytes, at, |byte| byte == b' ');
        let end = skip(bytes, at, |byte| !matches!(byte, b' ' | b'\r' | b'\n'));
        let event_time = match text.get(at..end).filter(|text| !text.is_empty()) {
            Some(time) => Some(instant(time, self.precision).map_err(|why| at_byte(why, at))?),
            None => None,
        };
        at = skip(bytes, end, |byte| matches!(byte, b' ' | b'\r'));
        if !matches!(bytes.get(at), None | Some(b'\n')) {
            return Err(wrong(text, at, "something after the time"));
        }
        if !self.points.is_empty(out) {
            let event_time = match event_time {
                Some(time) => time,
                None => input.record_time()?,
            };
            self.points.end(id, event_time, input, out)?;
        }
        Ok(at)
    }

    /// Where the part before the fields ends, if that is plain, and its series, if that is known.
    fn known_head(&self, bytes: &[u8], start: usize) -> (usize, Option<SeriesId>) {
        let Some(heads) = &self.heads else { return (start, None) };
        let mut end = start;
        loop {
            match bytes.get(end..).and_then(|rest| memchr::memchr(b' ', rest)) {
                Some(found) => end += found,
                None => return (start, None),
            }
            if end == start || bytes.get(end - 1) != Some(&b'\\') {
                break;
            }
            end += 1;
        }
        (end, bytes.get(start..end).and_then(|head| heads.find(head)))
    }

    /// Reads the field that begins at `start`; returns where it ends.
    #[inline]
    fn field(
        &mut self,
        text: &str,
        start: usize,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<usize, Malformed> {
        let bytes = text.as_bytes();
        let (key_end, escaped) = word(bytes, start, |byte| matches!(byte, b'=' | b',' | b' '));
        if bytes.get(key_end) != Some(&b'=') {
            return Err(wrong(text, key_end, "a field without `=`"));
        }
        if key_end == start {
            return Err(wrong(text, start, "a field without a name"));
        }
        let value_start = key_end + 1;
        if bytes.get(value_start) == Some(&b'"') {
            let end = string_end(bytes, value_start + 1)
                .ok_or_else(|| wrong(text, value_start, "a text that does not end"))?;
            return match bytes.get(end) {
                None | Some(b',' | b' ' | b'\r' | b'\n') => Ok(end),
                Some(_) => Err(wrong(text, end, "something after a text")),
            };
        }
        let ends = |byte| matches!(byte, b',' | b' ' | b'\r' | b'\n');
        let end = skip(bytes, value_start, |byte| !ends(byte));
        let value = text.get(value_start..end).unwrap_or_default();
        let value = number(value).map_err(|why| at_byte(why, value_start))?;
        let name = text.get(start..key_end).unwrap_or_default();
        self.points.number(&unescape(name, escaped, ",= "), value, series, out)?;
        Ok(end)
    }
}

/// Reads the name and the tags that begin at `start`; returns the series, and where they end.
fn head(
    text: &str,
    start: usize,
    series: &mut SeriesTable,
) -> Result<(SeriesId, usize), Malformed> {
    let bytes = text.as_bytes();
    let cut = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let (mut at, escaped) = word(bytes, start, |byte| matches!(byte, b',' | b' '));
    if at == start {
        return Err(wrong(text, start, "a line without a name"));
    }
    let name = unescape(cut(start, at), escaped, ", ");
    let mut tags: SmallVec<[(Cow<'_, str>, Cow<'_, str>); 16]> = SmallVec::new();
    while bytes.get(at) == Some(&b',') {
        let key_start = at + 1;
        let (key_end, escaped) = word(bytes, key_start, |byte| matches!(byte, b'=' | b',' | b' '));
        if key_end == key_start || bytes.get(key_end) != Some(&b'=') {
            return Err(wrong(text, key_end, "a tag without a name or without `=`"));
        }
        let key = unescape(cut(key_start, key_end), escaped, ",= ");
        let (value_end, escaped) =
            word(bytes, key_end + 1, |byte| matches!(byte, b'=' | b',' | b' '));
        if value_end == key_end + 1 {
            return Err(wrong(text, value_end, "a tag without a value"));
        }
        if bytes.get(value_end) == Some(&b'=') {
            return Err(wrong(text, value_end, "`=` in a tag, which is written `\\=`,"));
        }
        if tags.len() >= LABELS_MAX {
            return Err(Malformed::new(Reason::TooLarge, format!("more than {LABELS_MAX} tags")));
        }
        tags.push((key, unescape(cut(key_end + 1, value_end), escaped, ",= ")));
        at = value_end;
    }
    if bytes.get(at) != Some(&b' ') {
        return Err(wrong(text, at, "a line without fields"));
    }
    let mut labels: SmallVec<[(&str, &str); 16]> =
        tags.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
    Ok((intern(&name, &mut labels, series)?, at))
}
