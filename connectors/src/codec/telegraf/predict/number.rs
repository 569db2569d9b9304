//! Numbers: those of the fields as floats, the time as an integer, `true` and `false`.
//!
//! # Which are read here
//!
//! A field's number with up to 19 digits, at most 7 before the point or 15 without one, as Telegraf writes
//! nearly all, is read by arithmetic on words; any other in JSON's grammar (exponents, more digits) by the
//! standard library. Both round correctly. What has another grammar, or is beyond the floats, is left to
//! `serde_json`, which refuses it.

use super::super::super::json::{digits_end, plain_number_end};
use super::decimal::decimal;
use super::words::{digits_before, digits_in, eight, first_digits, last_digits, word};

/// So much is looked at in one step: a sign, 19 digits, a point and what follows.
const WINDOW: usize = 32;
/// The most digits that are read by arithmetic: 10^19 is below 2^64.
const DIGITS_MAX: usize = 19;

const TENS: [u64; DIGITS_MAX + 1] = {
    let mut tens = [1; DIGITS_MAX + 1];
    let mut i = 1;
    while i < tens.len() {
        tens[i] = tens[i - 1] * 10;
        i += 1;
    }
    tens
};

/// The number at the front of `text` and its length; `None` where it is to be read, or refused, elsewhere.
#[inline(always)]
pub(super) fn leading(text: &[u8]) -> Option<(f64, usize)> {
    match common(text) {
        Some(read) => Some(read),
        None => any(text),
    }
}

#[inline(always)]
fn common(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let text = text.get(usize::from(negative)..)?;
    let window: &[u8; WINDOW] = text.first_chunk()?;
    let first = word(window, 0)?;
    let (number, length) = match digits_in(first) {
        0 => return None,
        2.. if window[0] == b'0' => return None,
        8 => {
            let second = word(window, 8)?;
            let more = digits_in(second);
            if more == 8 {
                return None;
            }
            (eight(first) * TENS[more] + first_digits(second, more), 8 + more)
        }
        whole => {
            let number = first_digits(first, whole);
            if window.get(whole) != Some(&b'.') {
                (number, whole)
            } else {
                let (digits, places) = fraction(window, number, whole + 1)?;
                return finish(text, whole + 1 + places, negative, decimal(digits, places));
            }
        }
    };
    finish(text, length, negative, number as f64)
}

/// The digits of `number` and those of `window` from `at` on together, and how many the latter are.
#[inline(always)]
fn fraction(window: &[u8; WINDOW], number: u64, at: usize) -> Option<(u64, usize)> {
    let first = word(window, at)?;
    let places = digits_in(first);
    if places < 8 {
        let digits = number * TENS[places] + first_digits(first, places);
        return (places > 0).then_some((digits, places));
    }
    let number = number * TENS[8] + eight(first);
    let second = word(window, at + 8)?;
    let more = digits_in(second);
    if at - 1 + 8 + more > DIGITS_MAX {
        return None;
    }
    if more < 8 {
        return Some((number * TENS[more] + first_digits(second, more), 8 + more));
    }
    let third = word(window, at + 16)?;
    let last = digits_in(third);
    if at - 1 + 16 + last > DIGITS_MAX {
        return None;
    }
    let number = number * TENS[8] + eight(second);
    Some((number * TENS[last] + first_digits(third, last), 16 + last))
}

/// The number with its sign, if a comma or a brace follows its `length` digits of `text`: exponents and second
/// points are not for here.
#[inline(always)]
fn finish(text: &[u8], length: usize, negative: bool, number: f64) -> Option<(f64, usize)> {
    let sign = u64::from(negative) << 63;
    matches!(text.get(length), Some(b',' | b'}'))
        .then(|| (f64::from_bits(number.to_bits() | sign), length + usize::from(negative)))
}

/// The length of the number at the front of `text`, which is `None` where that of [`leading`] is.
#[inline(always)]
pub(super) fn length(text: &[u8]) -> Option<usize> {
    match common_length(text) {
        Some(length) => Some(length),
        None => leading(text).map(|(_, length)| length),
    }
}

/// At most 15 digits and 23 places: such numbers are all finite.
#[inline(always)]
fn common_length(text: &[u8]) -> Option<usize> {
    let negative = text.first() == Some(&b'-');
    let text = text.get(usize::from(negative)..)?;
    let window: &[u8; WINDOW] = text.first_chunk()?;
    let whole = match digits_in(word(window, 0)?) {
        0 => return None,
        2.. if window[0] == b'0' => return None,
        8 => 8 + digits_in(word(window, 8)?),
        whole => whole,
    };
    let mut end = whole;
    if window.get(whole) == Some(&b'.') {
        let mut places = 0;
        loop {
            // Beyond the window the whole number is for others.
            let more = digits_in(word(window, whole + 1 + places)?);
            places += more;
            if more < 8 {
                break;
            }
        }
        if places == 0 {
            return None;
        }
        end += 1 + places;
    }
    matches!(text.get(end), Some(b',' | b'}')).then_some(end + usize::from(negative))
}

/// The same for every number of JSON.
#[cold]
fn any(text: &[u8]) -> Option<(f64, usize)> {
    let mut end = plain_number_end(text, 0)?;
    if let Some(b'e' | b'E') = text.get(end) {
        let exponent = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(text, exponent);
        if end == exponent {
            return None;
        }
    }
    let number: f64 = std::str::from_utf8(text.get(..end)?).ok()?.parse().ok()?;
    number.is_finite().then_some((number, end))
}

/// The digits that end at `end`, as a number, and where they begin: one to 19, the first no zero unless
/// it is alone.
#[inline(always)]
pub(super) fn trailing(value: &[u8], end: usize) -> Option<(u64, usize)> {
    let block: &[u8; 16] = value.get(end.checked_sub(16)?..end)?.first_chunk()?;
    let count = digits_before(block);
    let (number, start) = match count {
        0 => return None,
        1..16 => (last_digits(block, count), end - count),
        _ => long(value, end - 16, last_digits(block, 16))?,
    };
    let zero_in_front = value.get(start) == Some(&b'0') && end - start > 1;
    (!zero_in_front).then_some((number, start))
}

/// With the digits before `at`, of which there may be three, in front of the sixteen of `number`.
#[cold]
fn long(value: &[u8], mut at: usize, mut number: u64) -> Option<(u64, usize)> {
    let mut weight = TENS[16];
    while let Some(digit @ b'0'..=b'9') = at.checked_sub(1).and_then(|before| value.get(before)) {
        if weight > TENS[18] {
            return None;
        }
        number += u64::from(digit - b'0') * weight;
        weight = weight.saturating_mul(10);
        at -= 1;
    }
    Some((number, at))
}

/// `true` or `false` at the front of `rest`, and its length.
pub(super) fn flag(rest: &[u8]) -> Option<(bool, usize)> {
    if rest.starts_with(b"true") {
        Some((true, 4))
    } else if rest.starts_with(b"false") {
        Some((false, 5))
    } else {
        None
    }
}
