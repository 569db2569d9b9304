//! Plain records: structs of a fixed number of `u32`, `u64` and `f64` fields.

use std::io::{self, Write};

/// How many values are gathered before they are written: 1 KiB of the widest, small beside the first-level
/// cache and large beside the cost of a call.
const GATHERED: usize = 128;

/// What a field of a plain record is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Four bytes.
    U32 = 1,
    /// Eight bytes.
    U64 = 2,
    /// Eight bytes, kept to the bit: a NaN's payload and the sign of zero as well.
    F64 = 3,
}

impl Kind {
    /// Bytes of one value.
    pub const fn bytes(self) -> usize {
        match self {
            Kind::U32 => size_of::<u32>(),
            Kind::U64 | Kind::F64 => size_of::<u64>(),
        }
    }

    /// Bytes of a column of `count` values, padded to a multiple of 8. Saturates.
    pub const fn column_bytes(self, count: u64) -> u64 {
        let bytes = count.saturating_mul(self.bytes() as u64);
        bytes.saturating_add(7) & !7
    }
}

mod sealed {
    /// Seals [`super::Field`] and [`super::WordArray`]: what is known of their types must stay so.
    pub trait Sealed {}
}

/// A type that a field of a plain record can have: `u32`, `u64` or `f64`. Sealed.
pub trait Field: Copy + sealed::Sealed + 'static {
    /// Which of them it is.
    const KIND: Kind;
    /// The bytes of one value.
    type Bytes: Copy + 'static;

    /// Writes one field of all `records` as a column: little-endian, padded with zeros to a multiple of 8.
    fn write_column<R, W: Write>(
        records: &[R],
        field: impl Fn(&R) -> Self,
        writer: &mut W,
    ) -> io::Result<()>;

    /// As many whole values as `bytes` has.
    fn column(bytes: &[u8]) -> &[Self::Bytes];

    /// The value of little-endian `bytes`.
    fn from_le_bytes(bytes: Self::Bytes) -> Self;

    /// The value as a word: a number, or the bits of a float.
    fn to_word(self) -> u64;

    /// The value of a word; of a word that is too great for it, the low bits.
    fn from_word(word: u64) -> Self;
}

macro_rules! impl_field {
    ($field:ty, $kind:ident, |$value:ident| $to_word:expr, |$word:ident| $from_word:expr) => {
        impl sealed::Sealed for $field {}

        impl Field for $field {
            const KIND: Kind = Kind::$kind;
            type Bytes = [u8; size_of::<$field>()];

            fn write_column<R, W: Write>(
                records: &[R],
                field: impl Fn(&R) -> Self,
                writer: &mut W,
            ) -> io::Result<()> {
                const WIDTH: usize = size_of::<$field>();
                let mut gathered = [[0; WIDTH]; GATHERED];
                for chunk in records.chunks(GATHERED) {
                    for (bytes, record) in gathered.iter_mut().zip(chunk) {
                        *bytes = field(record).to_le_bytes();
                    }
                    let gathered = gathered.as_flattened();
                    writer.write_all(gathered.get(..chunk.len() * WIDTH).unwrap_or(gathered))?;
                }
                let padding = (records.len() * WIDTH).wrapping_neg() % 8;
                writer.write_all([0; 8].get(..padding).unwrap_or_default())
            }

            fn column(bytes: &[u8]) -> &[Self::Bytes] {
                bytes.as_chunks().0
            }

            fn from_le_bytes(bytes: Self::Bytes) -> Self {
                <$field>::from_le_bytes(bytes)
            }

            fn to_word(self) -> u64 {
                let $value = self;
                $to_word
            }

            fn from_word($word: u64) -> Self {
                $from_word
            }
        }
    };
}

impl_field!(u32, U32, |value| u64::from(value), |word| word as u32);
impl_field!(u64, U64, |value| value, |word| word);
impl_field!(f64, F64, |value| value.to_bits(), |word| f64::from_bits(word));

/// An array of words: `[u64; N]`. Sealed, so that it is known to have no padding and no invalid bits.
pub trait WordArray: Copy + AsRef<[u64]> + sealed::Sealed + 'static {}

impl<const N: usize> sealed::Sealed for [u64; N] {}
impl<const N: usize> WordArray for [u64; N] {}

/// A plain record: a fixed number of `u32`, `u64` and `f64` fields, in a fixed order, and nothing else.
///
/// [`impl_pod!`](crate::impl_pod) implements it. The trait is safe: a wrong implementation gives wrong
/// records, never undefined behaviour.
pub trait Pod: Copy + Send + 'static {
    /// The kinds of its fields in order.
    const FIELDS: &'static [Kind];
    /// One word for each field.
    type Words: WordArray;

    /// Writes the column of each field in order.
    fn write_columns<W: Write>(records: &[Self], writer: &mut W) -> io::Result<()>;

    /// Reads the column of each field in order; `None` when they are too short.
    fn read_columns(columns: &mut ColumnReader<'_>) -> Option<Vec<Self>>;

    /// The fields as words, in order. Two records are the same to the bit when their words are equal,
    /// which `==` does not say of floats.
    fn to_words(self) -> Self::Words;

    /// The record that has these fields.
    fn from_words(words: Self::Words) -> Self;
}

/// Columns of bytes, taken one after the other.
#[derive(Clone, Debug)]
pub struct ColumnReader<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> ColumnReader<'a> {
    /// Reads `bytes`, which are columns of `count` values each.
    pub fn new(bytes: &'a [u8], count: usize) -> Self {
        Self { rest: bytes, count }
    }

    /// How many values each column has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The next column: exactly [`count`](Self::count) values, or `None` when there are not so many.
    pub fn take<F: Field>(&mut self) -> Option<&'a [F::Bytes]> {
        let bytes = usize::try_from(F::KIND.column_bytes(self.count as u64)).ok()?;
        let (column, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        F::column(column).get(..self.count)
    }
}

/// Implements [`wire::Pod`](crate::wire::Pod) for a struct whose fields are listed, all of them, in the order
/// of the wire.
///
/// A field that is missing, is of another type than listed, or is not a `u32`, `u64` or `f64`, does not
/// compile.
///
/// ```
/// use tidewatch_dataflow::{impl_pod, wire::{Kind, Pod}};
///
/// #[derive(Copy, Clone)]
/// struct Point { slot: u32, value: f64 }
/// impl_pod!(Point { slot: u32, value: f64 });
///
/// assert_eq!(Point::FIELDS, [Kind::U32, Kind::F64]);
/// assert_eq!(Point { slot: 3, value: 0.0 }.to_words(), [3, 0]);
/// ```
///
/// ```compile_fail
/// # use tidewatch_dataflow::impl_pod;
/// #[derive(Copy, Clone)]
/// struct Point { slot: u32, value: f64 }
/// impl_pod!(Point { slot: u32 });
/// ```
#[macro_export]
macro_rules! impl_pod {
    ($record:ty { $($field:ident: $kind:ty),+ $(,)? }) => {
        impl $crate::wire::Pod for $record {
            const FIELDS: &'static [$crate::wire::Kind] =
                &[$(<$kind as $crate::wire::Field>::KIND),+];
            type Words = [u64; [$(<$kind as $crate::wire::Field>::KIND),+].len()];

            fn write_columns<W: ::std::io::Write>(
                records: &[Self],
                writer: &mut W,
            ) -> ::std::io::Result<()> {
                $(<$kind as $crate::wire::Field>::write_column(
                    records,
                    |record| record.$field,
                    writer,
                )?;)+
                Ok(())
            }

            fn read_columns(
                columns: &mut $crate::wire::ColumnReader<'_>,
            ) -> ::std::option::Option<::std::vec::Vec<Self>> {
                $(let $field = columns.take::<$kind>()?;)+
                // Every column has exactly `count` values, so no index is out of bounds.
                let record = |index: usize| Self {
                    $($field: <$kind as $crate::wire::Field>::from_le_bytes($field[index])),+
                };
                Some((0..columns.count()).map(record).collect())
            }

            fn to_words(self) -> Self::Words {
                [$($crate::wire::Field::to_word(self.$field)),+]
            }

            fn from_words([$($field),+]: Self::Words) -> Self {
                Self { $($field: <$kind as $crate::wire::Field>::from_word($field)),+ }
            }
        }
    };
}
