//! The frame around every object of the checkpoint layer: what it is, which version wrote it, a checksum.
//!
//! ```text
//!  "tidewatch" │ kind: 1 byte │ schema: 2 bytes │ crc32 of the payload: 4 bytes │ payload: postcard
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::encode;

/// The schema that this version writes, of all but the outbox. It reads this one and, once there has been one, the one
/// before.
pub const SCHEMA: u16 = 1;
/// The schema of the outbox.
const OUTBOX_SCHEMA: u16 = 2;

const MAGIC: &[u8; 9] = b"tidewatch";
const HEADER: usize = MAGIC.len() + 1 + 2 + 4;

/// Why a framed object cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is no object of this kind at all.
    #[error("it is not a {kind} of tidewatch")]
    Foreign {
        /// What was expected.
        kind: &'static str,
    },
    /// Another version of tidewatch wrote it.
    #[error(
        "it has schema {found} and this version reads {read}: start the version that wrote it, or begin \
         with a new `store`"
    )]
    Schema {
        /// The schema found.
        found: u16,
        /// The schema that this version reads.
        read: u16,
    },
    /// Its checksum is wrong, or it is cut off.
    #[error("it is damaged ({0})")]
    Damaged(String),
}

/// What an object is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The claim of a run.
    Run,
    /// The list of a process's pieces.
    Part,
    /// A checkpoint.
    Manifest,
    /// Decisions of the director.
    Journal,
    /// What people were told.
    Outbox,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Run => b'R',
            Kind::Part => b'P',
            Kind::Manifest => b'M',
            Kind::Journal => b'J',
            Kind::Outbox => b'O',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Run => "run",
            Kind::Part => "part",
            Kind::Manifest => "manifest",
            Kind::Journal => "journal",
            Kind::Outbox => "part of the outbox",
        }
    }

    /// The schema that this version writes and reads.
    pub fn schema(self) -> u16 {
        match self {
            Kind::Outbox => OUTBOX_SCHEMA,
            _ => SCHEMA,
        }
    }
}

/// `value` in its frame.
pub fn frame<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    let payload = encode(value);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(MAGIC);
    bytes.push(kind.code());
    bytes.extend_from_slice(&kind.schema().to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// The payload in a frame that is whole.
///
/// # Errors
/// [`FrameError`].
pub fn payload(kind: Kind, bytes: &[u8]) -> Result<&[u8], FrameError> {
    let foreign = FrameError::Foreign { kind: kind.name() };
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or(foreign.clone())?;
    let (magic, rest) = header.split_at(MAGIC.len());
    let [code, s0, s1, c0, c1, c2, c3] = rest else { return Err(foreign) };
    if magic != MAGIC || *code != kind.code() {
        return Err(foreign);
    }
    let (found, read) = (u16::from_le_bytes([*s0, *s1]), kind.schema());
    if found != read {
        return Err(FrameError::Schema { found, read });
    }
    if crc32fast::hash(payload) != u32::from_le_bytes([*c0, *c1, *c2, *c3]) {
        return Err(FrameError::Damaged("its checksum is wrong".to_owned()));
    }
    Ok(payload)
}

/// The value in a frame.
///
/// # Errors
/// [`FrameError`].
pub fn unframe<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(payload(kind, bytes)?) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(FrameError::Damaged(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(FrameError::Damaged(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_refused() {
        let bytes = frame(Kind::Run, &(7u64, "seven".to_owned()));
        let read = |bytes: &[u8]| unframe::<(u64, String)>(Kind::Run, bytes);
        assert_eq!(read(&bytes), Ok((7, "seven".to_owned())));
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert!(read(&damaged).is_err(), "byte {at} changed");
        }
        assert_eq!(
            unframe::<(u64, String)>(Kind::Manifest, &bytes),
            Err(FrameError::Foreign { kind: "manifest" })
        );
        let mut newer = bytes;
        newer[10] = 9;
        assert_eq!(read(&newer), Err(FrameError::Schema { found: 9, read: SCHEMA }));
    }
}
