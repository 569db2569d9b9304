//! From a decimal fraction to the nearest float: the method of Eisel and Lemire for few digits.
//!
//! D. Lemire, "Number parsing at a gigabyte per second", Software: Practice and Experience 51 (2021); that
//! the result is always right for the exponents used here: N. Mushtak and D. Lemire, "Fast number parsing
//! without fallback" (2023).

/// The most places after the point: 5^27 is the last power of five below 2^64.
pub(super) const PLACES_MAX: usize = 27;

/// For each count of places `n` the 128 leading bits of 5^-n, rounded up, upper half first.
static INVERSE: [(u64, u64); PLACES_MAX + 1] = {
    let mut table = [(1 << 63, 0); PLACES_MAX + 1];
    let (mut n, mut power) = (1, 1_u64);
    while n <= PLACES_MAX {
        power *= 5;
        table[n] = inverse(power);
        n += 1;
    }
    table
};

/// The 128 leading bits of 1 / `power`, rounded up; `power` is no power of two.
const fn inverse(power: u64) -> (u64, u64) {
    // Long division of 2^k, where 2^k < power is the first dividend that can give a one with its next bit.
    let mut rest = 1_u128 << (63 - power.leading_zeros());
    let (mut quotient, mut bits) = (0_u128, 0);
    while bits < 128 {
        rest *= 2;
        quotient *= 2;
        if rest >= power as u128 {
            rest -= power as u128;
            quotient += 1;
        }
        bits += 1;
    }
    quotient += 1;
    ((quotient >> 64) as u64, quotient as u64)
}

/// The float nearest to `digits` / 10^`places`, of two the even one. `places` is at most [`PLACES_MAX`].
#[inline(always)]
pub(super) fn decimal(digits: u64, places: usize) -> f64 {
    let places = places.min(PLACES_MAX);
    if digits == 0 {
        return 0.0;
    }
    // digits / 10^n = digits * 5^-n * 2^-n. Both factors with their highest bit at 63:
    let shift = digits.leading_zeros();
    let scaled = digits << shift;
    let (upper, lower) = INVERSE[places];
    let product = u128::from(scaled) * u128::from(upper);
    let (mut high, mut low) = ((product >> 64) as u64, product as u64);
    // 55 bits are needed: 53, one for rounding, one for the position of the highest. The lower half of the
    // inverse can only change them by a carry through all bits below.
    if high & 0x1ff == 0x1ff {
        let carried = ((u128::from(scaled) * u128::from(lower)) >> 64) as u64;
        let (sum, carry) = low.overflowing_add(carried);
        low = sum;
        high += u64::from(carry);
    }
    let top = (high >> 63) as u32;
    let drop = top + 9;
    let mut mantissa = high >> drop;
    // Of the binary exponent, biased. 217706 / 2^16 is so near to log2(10) that this is the number of bits of
    // 10^n for each n of the table.
    let bits = (places as u64 * 217_706).div_ceil(1 << 16);
    let exponent = u64::from(1_086 + top - shift) - bits;
    // Exactly between two floats lie odd numbers of 54 bits, so `digits` would be 5^n times such a one: below 2^64
    // that is so for n up to 4 only.
    if low <= 1 && places <= 4 && mantissa & 3 == 1 && mantissa << drop == high {
        mantissa &= !1;
    }
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    // The mantissa's highest bit is not stored: added, it makes the exponent one larger, and so does a carry.
    f64::from_bits(((exponent - 1) << 52) + mantissa)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(digits: u64, places: usize) -> Result<(), TestCaseError> {
        let expected: f64 = format!("{digits}e-{places}").parse().unwrap();
        let found = decimal(digits, places);
        prop_assert_eq!(found.to_bits(), expected.to_bits(), "{}e-{}: {}", digits, places, found);
        Ok(())
    }

    #[test]
    fn numbers_between_two_floats_become_the_even_one() {
        // 2^53 + 1 and 2^54 + 2 have no float of their own; with places they are multiples of 5^n.
        for places in 0..=PLACES_MAX {
            for base in [(1_u64 << 53) + 1, (1 << 54) + 2, (1 << 54) + 6, (1 << 53) + 3, u64::MAX] {
                check(base, places).unwrap();
                let power = 5_u64.pow(places as u32);
                let near = base / power;
                for odd in (near.saturating_sub(20)..near.saturating_add(20)).chain(0..40) {
                    check(odd.wrapping_mul(power), places).unwrap();
                    check(odd, places).unwrap();
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn agrees_with_std(digits in any::<u64>(), drop in 0_u32..64, places in 0_usize..=PLACES_MAX) {
            check(digits >> drop, places)?;
        }

        /// What prints as a float's shortest text comes back as this float.
        #[test]
        fn shortest_texts_come_back(number in 0.0..1e6) {
            let text = f64::to_string(&number);
            let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
            if let Ok(digits) = format!("{whole}{part}").parse() && part.len() <= PLACES_MAX {
                prop_assert_eq!(decimal(digits, part.len()).to_bits(), f64::to_bits(number));
            }
        }

        /// As close to the middle of two floats as sixty-four bits can tell.
        #[test]
        fn near_the_middle(mantissa in (1_u64 << 53)..(1 << 54), places in 0_usize..=PLACES_MAX, off in 0_u64..5) {
            // (2m + 1) * 2^e is a middle; its decimal digits cut to a number that fits, and neighbours.
            let middle = u128::from(mantissa | 1);
            let scaled = middle * 10_u128.pow(places.min(20) as u32);
            let digits = (scaled >> scaled.ilog2().saturating_sub(62)) as u64;
            check(digits.saturating_add(off).saturating_sub(2), places)?;
        }
    }
}
