//! Eight digits at a time, in ordinary registers.
//!
//! A word holds eight bytes of text, the first in its lowest byte.

const ZEROS: u64 = 0x3030_3030_3030_3030;
const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// What turns ten and more into 128 and more, and nine into 127.
const TO_HIGH: u64 = 0x7676_7676_7676_7676;

/// The eight bytes of `window` from `at` on.
#[inline(always)]
pub(super) fn word(window: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*window.get(at..)?.first_chunk()?))
}

/// How many digits `word` begins with, 0 to 8.
#[inline(always)]
pub(super) fn digits_in(word: u64) -> usize {
    let value = word ^ ZEROS;
    // The highest bit of each byte that is no digit. Such a byte may carry into the next one, so only the
    // first mark is to be trusted, and only that is used.
    let marks = (value.wrapping_add(TO_HIGH) | value) & HIGH;
    marks.trailing_zeros() as usize / 8
}

/// How many digits `block` ends with, 0 to 16.
#[inline(always)]
pub(super) fn digits_before(block: &[u8; 16]) -> usize {
    let value = u128::from_le_bytes(*block) ^ twice(ZEROS);
    // As above, but the last mark counts: each byte by itself, for 0x7f + 0x76 does not carry.
    let marks = (((value & twice(LOW)) + twice(TO_HIGH)) | value) & twice(HIGH);
    marks.leading_zeros() as usize / 8
}

const fn twice(word: u64) -> u128 {
    (word as u128) << 64 | word as u128
}

/// The number that the eight digits of `word` spell.
#[inline(always)]
pub(super) fn eight(word: u64) -> u64 {
    weigh(word ^ ZEROS)
}

/// The number spelled by eight decimal digits with the values 0 to 9.
#[inline(always)]
fn weigh(digits: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    // Bytes 0, 2, 4 and 6 become the pairs; then two pairs of pairs are weighed at once, in the upper half.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let upper = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let lower = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    upper.wrapping_add(lower) >> 32
}

/// The number spelled by the first `count` bytes of `word`, which are digits; `count` is at most 7.
#[inline(always)]
pub(super) fn first_digits(word: u64, count: usize) -> u64 {
    // Zeros in front, bytes of no interest out; in two steps, for a shift by all 64 bits is none.
    weigh(((word ^ ZEROS) << 8) << (56 - 8 * (count & 7)))
}

/// The number spelled by the last `count` bytes of `block`, which are digits; `count` is from 1 to 16.
#[inline(always)]
pub(super) fn last_digits(block: &[u8; 16], count: usize) -> u64 {
    let shift = (16 - count.clamp(1, 16)) * 8;
    let digits = (u128::from_le_bytes(*block) ^ twice(ZEROS)) >> shift << shift;
    weigh(digits as u64) * 100_000_000 + weigh((digits >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_counted(
            block in prop_oneof![
                any::<[u8; 16]>(),
                // What is next to the digits, and what could carry into them.
                prop::array::uniform16(prop::sample::select(b"0999/:\x00\x7f\x80\x8a\xb0\xb9\xff".to_vec())),
            ],
        ) {
            let first = word(&block, 0).unwrap();
            let digits = |byte: &&u8| byte.is_ascii_digit();
            prop_assert_eq!(digits_in(first), block[..8].iter().take_while(digits).count());
            prop_assert_eq!(digits_before(&block), block.iter().rev().take_while(digits).count());
        }

        #[test]
        fn digits_spell_numbers(text in "[0-9]{16}", junk in any::<[u8; 16]>(), count in 0_usize..=16) {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            let mut block: [u8; 16] = text.as_bytes().try_into().unwrap();
            block[..16 - count].copy_from_slice(&junk[count..]);
            if count > 0 {
                prop_assert_eq!(last_digits(&block, count), number(&text[16 - count..]));
            }
            let mut word: [u8; 8] = junk[..8].try_into().unwrap();
            let count = count % 9;
            word[..count].copy_from_slice(&text.as_bytes()[..count]);
            let found = match count {
                8 => eight(u64::from_le_bytes(word)),
                _ => first_digits(u64::from_le_bytes(word), count),
            };
            prop_assert_eq!(found, number(&text[..count]));
        }
    }
}
