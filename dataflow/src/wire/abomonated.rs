//! Abomonation as a codec: rows as the memory has them. For measuring only, and never the default.
//!
//! # Read this before you turn the feature on
//!
//! - The crate `abomonation` is **unsound**: RUSTSEC-2021-0120 (CVE-2021-45708). Its trait is safe to
//!   implement for types whose bytes mean nothing elsewhere, and its functions make references to such types
//!   out of bytes. There is no patched version. Tools that read the advisory database flag it; `deny.toml`
//!   has the exception and its reason.
//! - Its own tests abort in a debug build of today's compiler: it makes slices of elements at addresses
//!   that are not aligned for them, which the compiler now checks.
//! - It gains nothing here. What it is good at, borrowing a decoded value out of the receive buffer, wants a
//!   buffer that may be written to, while timely's is shared: the bytes are copied to a buffer of our own
//!   first, and out of it afterwards. [`Columns`](super::Columns) needs no `unsafe` and is no slower:
//!   `benches/README.md` has the figures.
//! - It is here because it was asked for by name, as timely's codec of former times, so that it can be
//!   measured beside the others.
//!
//! # What is given to it, and why that much is sound
//!
//! ```text
//! ┌────────┬───────────────────────┬───────────────────────┬───
//! │ header │ words of record 1     │ words of record 2     │ …      in the machine's byte order
//! └────────┴───────────────────────┴───────────────────────┴───
//! ```
//!
//! Nothing but [`Pod::Words`]: arrays of `u64`. [`WordArray`](super::WordArray) is sealed, so not even a
//! wrong implementation of [`Pod`] can slip in another type. For these the obligations that the crate leaves to
//! its callers are met:
//!
//! 1. *Every bit pattern is a value, and no byte is padding.* True of arrays of `u64`: writing them reads
//!    no uninitialised byte, and whatever a peer sends is some array.
//! 2. *No pointers.* No `Vec`, `String` or `Box` is given to it, whose decoding plants pointers into the
//!    buffer and trusts the lengths that came. `entomb` and `exhume` of arrays of `u64` do nothing.
//! 3. *Alignment, which `decode` does not check.* The bytes are decoded in a buffer that is a `Vec<u64>`,
//!    at offsets that are multiples of 8.
//! 4. *Length.* `decode` refuses an input that is shorter than the type, then takes the address of the
//!    input's first byte. For a type of no size an empty input would pass: a record without fields does not
//!    compile.
//!
//! One thing is not ours to mend: `decode` makes the reference to the array out of a reference to its first
//! byte. Compilers have always given that the expected meaning, yet the stricter of the proposed aliasing
//! models (Stacked Borrows) calls it undefined.
//!
//! The byte order is the machine's, so both ends must have the same.

#![allow(unsafe_code)]

use std::io::{self, Write};

use abomonation::Abomonation;

use super::{Batch, Codec, Pod, WireError, header};

/// The first version of the format.
const FORMAT: u8 = 0xa1;

/// How many rows are copied before they are decoded: at most 8 KiB, as a row has at most 32 words.
const ROWS: usize = 32;

/// Batches of plain records that travel by abomonation. Unsound at its root: see the module's source.
pub type Abomonated<R> = Batch<R, AbomonationCodec>;

/// Rows by the crate `abomonation`, one after the other, in the machine's byte order.
///
/// That crate is **unsound** (RUSTSEC-2021-0120, no patched version), and its own tests abort in a debug
/// build. So this is compiled with the feature `abomonation` only, is never the default, and is there
/// because it was asked for by name, to be measured beside the others; it gains nothing over
/// [`Columns`](super::Columns). It is given arrays of `u64` and nothing else, for which its callers'
/// obligations can be met; the head of `dataflow/src/wire/abomonated.rs` has the proof and what remains
/// open. Records have at most 32 fields.
#[derive(Copy, Clone, Debug, Default)]
pub struct AbomonationCodec;

/// Bytes of the rows of `count` records. Saturates.
fn body_bytes<R: Pod>(count: u64) -> u64 {
    count.saturating_mul(size_of::<R::Words>() as u64)
}

impl<R: Pod<Words: Abomonation>> Codec<R> for AbomonationCodec {
    fn encoded_bytes(records: &[R]) -> usize {
        header::HEADER_BYTES + size_of::<R::Words>() * records.len()
    }

    fn encode<W: Write>(records: &[R], writer: &mut W) -> io::Result<()> {
        writer.write_all(&header::encode::<R>(FORMAT, records.len()))?;
        for record in records {
            // SAFETY: an array of `u64` (obligation 1: no padding; 2: `entomb` does nothing).
            unsafe { abomonation::encode(&record.to_words(), writer)? };
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Vec<R>, WireError> {
        const { assert!(size_of::<R::Words>() > 0, "a record has at least one field") };
        let (count, body) = header::decode::<R>(FORMAT, bytes, body_bytes::<R>)?;
        let mut records = Vec::with_capacity(count);
        let mut words: Vec<u64> = Vec::new();
        for rows in body.chunks(size_of::<R::Words>() * ROWS) {
            words.clear();
            words.extend(rows.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)));
            // SAFETY: the vector's own memory, borrowed mutably for as long as the slice is used; `u8` has
            // no alignment, and any bytes are valid words.
            let mut rest = unsafe {
                std::slice::from_raw_parts_mut(
                    words.as_mut_ptr().cast::<u8>(),
                    size_of_val(&*words),
                )
            };
            // SAFETY: an array of `u64` (obligations 1 and 2) of at least one element (4), at a multiple of
            // its own size from the start of a `Vec<u64>` (3).
            while let Some((row, following)) = unsafe { abomonation::decode::<R::Words>(rest) } {
                records.push(R::from_words(*row));
                rest = following;
            }
        }
        Ok(records)
    }
}
