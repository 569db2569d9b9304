//! Why bytes are no batch.

/// Bytes that came from a peer and are not a batch of the expected records.
///
/// Each has the same cause, short of a defect: the peer runs another build, or has other features.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not even the word that a batch begins with.
    #[error(
        "could not decode a batch of `{record}`: {found} bytes are less than its header; \
         run the same build in every process"
    )]
    NoHeader {
        /// The type of the records.
        record: &'static str,
        /// How many bytes there are; at most 7.
        found: usize,
    },
    /// Another codec, or another version of it.
    #[error(
        "could not decode a batch of `{record}`: format {found:#04x} came instead of {expected:#04x}; \
         run the same build with the same features in every process"
    )]
    Format {
        /// The type of the records.
        record: &'static str,
        /// The format that came.
        found: u8,
        /// The format that this codec reads.
        expected: u8,
    },
    /// Records of other fields.
    #[error(
        "could not decode a batch of `{record}`: the sender's record has other fields; \
         run the same build in every process"
    )]
    Fields {
        /// The type of the records.
        record: &'static str,
    },
    /// A record that is none.
    #[error(
        "could not decode a batch of `{record}`: number {index} is none; run the same build in every process"
    )]
    Record {
        /// The type of the records.
        record: &'static str,
        /// Its number in the batch, from 0; the number of records when something follows the last one.
        index: u32,
    },
    /// Fewer or more bytes than the header announces.
    #[error(
        "could not decode a batch of `{record}`: {found} bytes came instead of {expected}; \
         run the same build in every process"
    )]
    Length {
        /// The type of the records.
        record: &'static str,
        /// How many bytes came, header included.
        found: u64,
        /// How many the header announces, itself included.
        expected: u64,
    },
}
