//! How messages of a feed travel between processes.
//!
//! Most of what goes from process to process are partials: one for each group, pane and partition. Between
//! neighbours in a batch nearly everything but the numbers is the same or one more, so one byte of flags
//! stands for it.
//!
//! ```text
//! batch     = format "f" (1) │ 0 (3) │ number of records (4) │ record* │ zeros up to a multiple of 8
//! record    = flags (1) │ group or partial
//! group     = hash (8) │ sender │ slot │ number of labels │ (length, name, length, value)*
//! partial   = bucket (1) │ [sender] │ [slot] │ [order] │ [admission pane] │ [panes late]
//!             │ moments │ number of conditions │ condition*
//! moments   = sum (8)                                     of one sample, where all follows from it
//!           │ 0                                           as the samples of the first condition say
//!           │ count + 1 │ sum (8) │ [m2 (8)] │ min (8) │ max (8)
//! condition = number of instants, 0 for none │ (class and change of the distance, [byte (1)], value (7))*
//! ```
//! Numbers without a size in brackets take seven bits to a byte. What is in square brackets is left out when a
//! flag says that it follows from the record before. All floats arrive with the bits they had.

mod bytes;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use smallvec::SmallVec;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::Pane;
use tidewatch_dataflow::wire::{Batch, Codec, WireError};

use self::bytes::{Reader, Writer};
use super::{FeedMessage, FeedPartial};
use crate::aggregate::{Aggregate as _, Moments};
use crate::detect::sustained::ConditionPartial;

/// Messages of a feed as they travel.
pub type FeedBatch = Batch<FeedMessage, FeedCodec>;

/// The codec of [`FeedBatch`]: see the module.
#[derive(Copy, Clone, Debug)]
pub struct FeedCodec;

const FORMAT: u8 = b'f';
const RECORD: &str = "FeedMessage";

/// The first byte that a value is taken to have: of numbers from 2 on.
const FIRST: u8 = 0x40;

const GROUP: u8 = 1;
const SAME_SENDER: u8 = 1 << 1;
const NEXT_SLOT: u8 = 1 << 2;
const SAME_ORDER: u8 = 1 << 3;
const SAME_PANE: u8 = 1 << 4;
const ON_TIME: u8 = 1 << 5;
const ONE_SAMPLE: u8 = 1 << 6;
const NO_SPREAD: u8 = 1 << 7;

/// What a record may leave out, since the one before said it.
#[derive(Default)]
struct Before {
    sender: u32,
    slot: u32,
    order: u64,
    admission_pane: Pane,
}

impl Codec<FeedMessage> for FeedCodec {
    fn encoded_bytes(records: &[FeedMessage]) -> usize {
        encode(records).len()
    }

    fn encode<W: Write>(records: &[FeedMessage], writer: &mut W) -> io::Result<()> {
        writer.write_all(&encode(records))
    }

    fn decode(bytes: &[u8]) -> Result<Vec<FeedMessage>, WireError> {
        let Some((header, body)) = bytes.split_first_chunk::<8>() else {
            return Err(WireError::NoHeader { record: RECORD, found: bytes.len() });
        };
        let [format, 0, 0, 0, count @ ..] = *header else {
            return Err(WireError::Fields { record: RECORD });
        };
        if format != FORMAT {
            return Err(WireError::Format { record: RECORD, found: format, expected: FORMAT });
        }
        let fault = |index| WireError::Record { record: RECORD, index };
        // The shortest record takes more than four bytes.
        let count = u32::from_le_bytes(count);
        let mut records = Vec::with_capacity((count as usize).min(body.len() / 4));
        let (mut reader, mut before) = (Reader(body), Before::default());
        for index in 0..count {
            records.push(read(&mut reader, &mut before).ok_or_else(|| fault(index))?);
        }
        match reader.0 {
            rest if rest.len() < 8 && rest.iter().all(|byte| *byte == 0) => Ok(records),
            _ => Err(fault(count)),
        }
    }
}

/// Timely wants to know the length before it takes the bytes, so a batch is encoded twice; a partial costs
/// about 50 ns each time, and there are few of them next to the samples that they stand for.
fn encode(records: &[FeedMessage]) -> Vec<u8> {
    let mut writer = Writer(Vec::with_capacity(16 + records.len() * 64));
    writer.bytes(&[FORMAT, 0, 0, 0]);
    // Timely's batches hold hundreds.
    writer.bytes(&u32::try_from(records.len()).unwrap_or(u32::MAX).to_le_bytes());
    let mut before = Before::default();
    for record in records {
        write(record, &mut writer, &mut before);
    }
    let padded = writer.0.len().next_multiple_of(8);
    writer.0.resize(padded, 0);
    writer.0
}

fn write(record: &FeedMessage, out: &mut Writer, before: &mut Before) {
    match record {
        FeedMessage::Group { hash, sender, slot, labels } => {
            out.byte(GROUP);
            out.word(*hash);
            out.unsigned(u64::from(*sender));
            out.unsigned(u64::from(*slot));
            out.unsigned(labels.iter().count() as u64);
            for text in labels.iter().flat_map(|(name, value)| [name, value]) {
                out.unsigned(text.len() as u64);
                out.bytes(text.as_bytes());
            }
        }
        FeedMessage::Partial {
            bucket,
            sender,
            slot,
            order,
            event_pane,
            admission_pane,
            partial,
        } => {
            let moments = &partial.moments;
            let mut flags = 0;
            let mut set = |flag, is_so| flags |= if is_so { flag } else { 0 };
            set(SAME_SENDER, *sender == before.sender);
            set(NEXT_SLOT, *slot == before.slot.wrapping_add(1));
            set(SAME_ORDER, *order == before.order);
            set(SAME_PANE, *admission_pane == before.admission_pane);
            set(ON_TIME, event_pane == admission_pane);
            set(ONE_SAMPLE, is_one_sample(moments));
            set(NO_SPREAD, moments.m2.to_bits() == 0);
            out.byte(flags);
            out.byte(*bucket);
            let mut unless = |flag, number| {
                if flags & flag == 0 {
                    out.unsigned(number);
                }
            };
            unless(SAME_SENDER, u64::from(*sender));
            unless(NEXT_SLOT, u64::from(*slot));
            unless(SAME_ORDER, *order);
            unless(SAME_PANE, admission_pane.0);
            unless(ON_TIME, admission_pane.0.wrapping_sub(event_pane.0));
            *before = Before {
                sender: *sender,
                slot: *slot,
                order: *order,
                admission_pane: *admission_pane,
            };
            write_partial(partial, flags, out);
        }
    }
}

/// Whether all moments follow from the sum.
fn is_one_sample(moments: &Moments) -> bool {
    let Moments { count, sum, m2, min, max } = moments;
    let sum = sum.to_bits();
    *count == 1 && m2.to_bits() == 0 && min.to_bits() == sum && max.to_bits() == sum
}

fn write_partial(partial: &FeedPartial, flags: u8, out: &mut Writer) {
    let moments = &partial.moments;
    if flags & ONE_SAMPLE != 0 {
        out.float(moments.sum);
    } else if let Some(Some(condition)) = partial.conditions.first()
        && has_bits_of(moments, &Moments::of(condition.values()))
    {
        out.unsigned(0);
    } else {
        out.unsigned(moments.count.saturating_add(1));
        out.float(moments.sum);
        if flags & NO_SPREAD == 0 {
            out.float(moments.m2);
        }
        out.float(moments.min);
        out.float(moments.max);
    }
    out.unsigned(partial.conditions.len() as u64);
    for condition in &partial.conditions {
        let Some(condition) = condition else {
            out.unsigned(0);
            continue;
        };
        out.unsigned(condition.len() as u64);
        let (mut distance, mut offset, mut first) = (0i64, 0i64, FIRST);
        for (at, class, value) in condition.parts() {
            // Samples come at a steady pace, so it is the change of the distance that is small; and numbers of
            // one kind begin with the same byte, of sign and exponent.
            let next = i64::from(at) - offset;
            let [byte, rest @ ..] = value.to_bits().to_be_bytes();
            let is_other = byte != first;
            out.signed(((next - distance) * 3 + i64::from(class)) * 2 + i64::from(is_other));
            if is_other {
                out.byte(byte);
            }
            out.bytes(&rest);
            (distance, offset, first) = (next, i64::from(at), byte);
        }
    }
}

fn has_bits_of(a: &Moments, b: &Moments) -> bool {
    let bits =
        |m: &Moments| [m.count, m.sum.to_bits(), m.m2.to_bits(), m.min.to_bits(), m.max.to_bits()];
    bits(a) == bits(b)
}

fn read(reader: &mut Reader<'_>, before: &mut Before) -> Option<FeedMessage> {
    let flags = reader.byte()?;
    if flags == GROUP {
        let hash = reader.word()?;
        let (sender, slot) = (reader.unsigned32()?, reader.unsigned32()?);
        let count = reader.count(2)?;
        let mut text = || {
            let length = reader.count(1)?;
            std::str::from_utf8(reader.bytes(length)?).ok()
        };
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((text()?, text()?));
        }
        return Some(FeedMessage::Group { hash, sender, slot, labels: Labels::from_pairs(pairs) });
    }
    if flags & GROUP != 0 {
        return None;
    }
    let bucket = reader.byte()?;
    let sender = if flags & SAME_SENDER != 0 { before.sender } else { reader.unsigned32()? };
    let slot =
        if flags & NEXT_SLOT != 0 { before.slot.wrapping_add(1) } else { reader.unsigned32()? };
    let order = if flags & SAME_ORDER != 0 { before.order } else { reader.unsigned()? };
    let admission_pane =
        if flags & SAME_PANE != 0 { before.admission_pane } else { Pane(reader.unsigned()?) };
    let panes_late = if flags & ON_TIME != 0 { 0 } else { reader.unsigned()? };
    let event_pane = Pane(admission_pane.0.wrapping_sub(panes_late));
    *before = Before { sender, slot, order, admission_pane };
    let partial = read_partial(reader, flags)?;
    Some(FeedMessage::Partial { bucket, sender, slot, order, event_pane, admission_pane, partial })
}

fn read_partial(reader: &mut Reader<'_>, flags: u8) -> Option<FeedPartial> {
    let moments = match flags & ONE_SAMPLE != 0 {
        true => {
            let sum = reader.float()?;
            Some(Moments { count: 1, sum, m2: 0.0, min: sum, max: sum })
        }
        false => match reader.unsigned()? {
            0 => None,
            count => Some(Moments {
                count: count - 1,
                sum: reader.float()?,
                m2: if flags & NO_SPREAD != 0 { 0.0 } else { reader.float()? },
                min: reader.float()?,
                max: reader.float()?,
            }),
        },
    };
    let count = reader.count(1)?;
    let mut conditions: SmallVec<[Option<ConditionPartial>; 1]> = SmallVec::with_capacity(count);
    for _ in 0..count {
        conditions.push(match reader.count(8)? {
            0 => None,
            instants => Some(read_condition(reader, instants)?),
        });
    }
    let moments = match moments {
        Some(moments) => moments,
        None => Moments::of(conditions.first()?.as_ref()?.values()),
    };
    Some(FeedPartial { moments, conditions })
}

fn read_condition(reader: &mut Reader<'_>, instants: usize) -> Option<ConditionPartial> {
    let (mut distance, mut offset, mut first) = (0i64, 0i64, FIRST);
    let mut parts = Vec::with_capacity(instants);
    for _ in 0..instants {
        let code = reader.signed()?;
        if code & 1 != 0 {
            first = reader.byte()?;
        }
        let mut value = [first; 8];
        value.get_mut(1..)?.copy_from_slice(reader.bytes(7)?);
        let value = f64::from_bits(u64::from_be_bytes(value));
        let code = code >> 1;
        distance = distance.checked_add(code.div_euclid(3))?;
        offset = offset.checked_add(distance)?;
        parts.push((u32::try_from(offset).ok()?, code.rem_euclid(3) as u8, value));
    }
    ConditionPartial::from_parts(parts)
}
