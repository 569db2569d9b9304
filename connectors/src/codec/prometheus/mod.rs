//! Prometheus' remote write, version 1: a `WriteRequest` in Protocol Buffers, compressed as a Snappy block.
//!
//! # Grammar
//!
//! ```text
//! record       = snappy(WriteRequest)           the block format, without frames
//! WriteRequest = { 1: TimeSeries }*             other fields, metadata among them, are skipped
//! TimeSeries   = { 1: Label* 2: Sample* 4: Histogram* }
//! Label        = { 1: name 2: value }
//! Sample       = { 1: value, a double  2: time, milliseconds }
//! Histogram    = { 1: count, an integer  2: count, a double  3: sum, a double  15: time, milliseconds }
//! ```
//!
//! # What it means
//!
//! - Each sample is one point of the measurement that the label `__name__` names, with all other labels that
//!   are not empty, and one field `value`. A native histogram is one with the fields `count` and `sum`; its
//!   buckets and exemplars are passed over.
//! - A sample that is no number is counted ([`Decoded::no_numbers`]) and passed over: **a stale marker** (a
//!   certain NaN) says that its series has ended, and any other NaN or infinity that there was nothing to
//!   measure. Both are what a missing record says as well, and refusing the request would lose the thousands of
//!   samples beside it.
//! - Of a repeated label the last value counts.
//!
//! # What is refused
//!
//! What is no Snappy block or no such message (`unparseable`), a series with samples and without `__name__`
//! (`missing_field`), a time out of range (`time_out_of_range`), a request of more than
//! [`UNPACKED_MAX`] bytes, 10,000 samples or 128 labels of a series (`too_large`, `series_limit`).

use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::EventTime;

use super::point::{PointWriter, intern};
use super::protobuf::{Fields, Wire, text};
use super::{Decode, Input, LABELS_MAX, time};

/// The most bytes of a request when unpacked: 8 MiB. Prometheus sends 2,000 samples at a time, of some hundred
/// bytes each; Snappy packs them to a tenth.
pub const UNPACKED_MAX: usize = 8 << 20;
/// Unpacking reuses memory up to here from record to record.
const KEPT_MAX: usize = 1 << 20;

/// The codec; see the module.
#[derive(Default)]
pub(super) struct RemoteWrite {
    points: PointWriter,
    unpacked: Vec<u8>,
}

impl Decode for RemoteWrite {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let mut unpacked = std::mem::take(&mut self.unpacked);
        let result = unpack(input.value, &mut unpacked)
            .and_then(|request| self.request(request, &input, series, out));
        if unpacked.len() <= KEPT_MAX {
            self.unpacked = unpacked;
        }
        result
    }
}

/// Unpacks `block` into the front of `memory`.
fn unpack<'a>(block: &[u8], memory: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let wrong = |error: snap::Error| {
        Malformed::new(Reason::Unparseable, format!("no block of Snappy: {error}"))
    };
    let length = snap::raw::decompress_len(block).map_err(wrong)?;
    if length > UNPACKED_MAX {
        return Err(Malformed::new(
            Reason::TooLarge,
            format!("the request has {length} bytes unpacked, more than {UNPACKED_MAX}"),
        ));
    }
    if memory.len() < length {
        memory.resize(length, 0);
    }
    let unpacked = memory.get_mut(..length).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(block, unpacked).map_err(wrong)?;
    Ok(unpacked.get(..written).unwrap_or_default())
}

impl RemoteWrite {
    fn request(
        &mut self,
        request: &[u8],
        input: &Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        self.points.begin_record();
        for field in Fields(request) {
            if let (1, Wire::Bytes(one)) = field? {
                self.series(one, input, series, out)?;
            }
        }
        Ok(())
    }

    fn series(
        &mut self,
        message: &[u8],
        input: &Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let mut labels: SmallVec<[(&str, &str); 16]> = SmallVec::new();
        let mut name = "";
        for field in Fields(message) {
            let (1, Wire::Bytes(pair)) = field? else { continue };
            let (label, value) = label(pair)?;
            if label == "__name__" {
                name = value;
            } else if labels.len() >= LABELS_MAX {
                return Err(Malformed::new(
                    Reason::TooLarge,
                    format!("more than {LABELS_MAX} labels"),
                ));
            } else if !value.is_empty() {
                labels.push((label, value));
            }
        }
        let mut known = None;
        for field in Fields(message) {
            let (numbers, millis) = match field? {
                (2, Wire::Bytes(message)) => sample(message)?,
                (4, Wire::Bytes(message)) => histogram(message)?,
                _ => continue,
            };
            if name.is_empty() {
                return Err(Malformed::new(
                    Reason::MissingField,
                    "samples of a series without the label `__name__`",
                ));
            }
            self.points.begin(out);
            for (field, number) in numbers.into_iter().flatten() {
                self.points.number(field, number, series, out)?;
            }
            if self.points.is_empty(out) {
                continue;
            }
            let event_time = instant(millis)?;
            let id = match known {
                Some(id) => id,
                None => *known.insert(intern(name, &mut labels, series)?),
            };
            self.points.end(id, event_time, input, out)?;
        }
        Ok(())
    }
}

/// Up to two named numbers, and milliseconds since the epoch.
type Sample = ([Option<(&'static str, f64)>; 2], i64);

fn label(message: &[u8]) -> Result<(&str, &str), Malformed> {
    let (mut name, mut value) = ("", "");
    for field in Fields(message) {
        match field? {
            (1, Wire::Bytes(bytes)) => name = text(bytes, "name of a label")?,
            (2, Wire::Bytes(bytes)) => value = text(bytes, "value of a label")?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn sample(message: &[u8]) -> Result<Sample, Malformed> {
    // What is 0 need not be written.
    let (mut value, mut millis) = (0.0, 0);
    for field in Fields(message) {
        match field? {
            (1, Wire::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Wire::Varint(number)) => millis = number.cast_signed(),
            _ => {}
        }
    }
    Ok(([Some(("value", value)), None], millis))
}

fn histogram(message: &[u8]) -> Result<Sample, Malformed> {
    let (mut count, mut sum, mut millis) = (0.0, 0.0, 0);
    for field in Fields(message) {
        match field? {
            (1, Wire::Varint(number)) => count = number as f64,
            (2, Wire::Fixed64(bits)) => count = f64::from_bits(bits),
            (3, Wire::Fixed64(bits)) => sum = f64::from_bits(bits),
            (15, Wire::Varint(number)) => millis = number.cast_signed(),
            _ => {}
        }
    }
    // The sum of a stale histogram is the stale marker, and its count means nothing.
    let count = sum.is_finite().then_some(("count", count));
    Ok(([count, Some(("sum", sum))], millis))
}

fn instant(millis: i64) -> Result<EventTime, Malformed> {
    let millis = u64::try_from(millis).map_err(|_| {
        Malformed::new(
            Reason::TimeOutOfRange,
            format!("the time {millis} lies before 1970 or after the year 9999"),
        )
    })?;
    time::checked(EventTime::from_millis(millis))
}
