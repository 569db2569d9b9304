//! OTLP in Protocol Buffers: field numbers, and nothing copied but what attributes need.

use std::borrow::Cow;

use smallvec::SmallVec;
use tidewatch_dataflow::dead_letter::{Malformed, Reason};

use super::super::protobuf::{Fields, Wire, text};
use super::super::{DEPTH_MAX, FIELDS_MAX};
use super::any::{Any, Attribute, Attributes, hex};
use super::emit::{DataPoint, LogRecord, Sink};

/// Reads a request of metrics or logs.
pub(super) fn request(bytes: &[u8], sink: &mut Sink<'_, '_>) -> Result<(), Malformed> {
    let mut any = false;
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(resource)) = field? {
            any = true;
            of_resource(resource, sink)?;
        }
    }
    if any {
        return Ok(());
    }
    Err(Malformed::new(Reason::MissingField, "a request with neither metrics nor logs"))
}

/// `ResourceMetrics` or `ResourceLogs`: resource 1, scopes 2.
fn of_resource(bytes: &[u8], sink: &mut Sink<'_, '_>) -> Result<(), Malformed> {
    let mut resource = Attributes::new();
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(message)) = field? {
            for field in Fields(message) {
                if let (1, Wire::Bytes(attribute)) = field? {
                    push_attribute(&mut resource, attribute)?;
                }
            }
        }
    }
    for field in Fields(bytes) {
        let (2, Wire::Bytes(scope)) = field? else { continue };
        for field in Fields(scope) {
            let (2, Wire::Bytes(item)) = field? else { continue };
            match kind(item)? {
                Kind::Metric => metric(item, &resource, sink)?,
                Kind::Log => sink.log(&resource, &log(item)?)?,
                Kind::Span => {
                    return Err(Malformed::new(Reason::Unparseable, "spans are not read"));
                }
            }
        }
    }
    Ok(())
}

/// What an item of a scope is.
enum Kind {
    Metric,
    Log,
    Span,
}

/// A metric begins with its name, a log record with a time; a span with bytes, and has times among its fields.
fn kind(item: &[u8]) -> Result<Kind, Malformed> {
    let (mut named, mut timed) = (false, false);
    for field in Fields(item) {
        match field? {
            (1, Wire::Bytes(_)) => named = true,
            (_, Wire::Fixed64(_)) => timed = true,
            _ => {}
        }
    }
    Ok(match (named, timed) {
        (true, true) => Kind::Span,
        (true, false) => Kind::Metric,
        (false, _) => Kind::Log,
    })
}

/// `Metric`: name 1, gauge 5, sum 7, histogram 9, exponential histogram 10, summary 11; each has its points at 1.
fn metric(
    bytes: &[u8],
    resource: &[Attribute<'_>],
    sink: &mut Sink<'_, '_>,
) -> Result<(), Malformed> {
    let mut name = "";
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(bytes)) = field? {
            name = text(bytes, "name of a metric")?;
        }
    }
    for field in Fields(bytes) {
        let (of, Wire::Bytes(data)) = field? else { continue };
        if !matches!(of, 5 | 7 | 9 | 10 | 11) {
            continue;
        }
        for field in Fields(data) {
            if let (1, Wire::Bytes(point)) = field? {
                sink.point(resource, name, &data_point(of, point)?)?;
            }
        }
    }
    Ok(())
}

/// A data point of the metric's field `of`. Its time is 3; the rest differs.
fn data_point(of: u64, bytes: &[u8]) -> Result<DataPoint<'_>, Malformed> {
    let mut point =
        DataPoint { attributes: Attributes::new(), nanos: 0, flags: 0, numbers: SmallVec::new() };
    let [attributes, flags, min, max] = match of {
        9 => [9, 10, 11, 12],
        10 => [1, 10, 12, 13],
        // No number of a field is 0, so there is neither minimum nor maximum.
        _ => [7, 8, 0, 0],
    };
    let scalar = matches!(of, 5 | 7);
    for field in Fields(bytes) {
        let (number, value) = field?;
        let double = |name: &'static str, bits| (Cow::Borrowed(name), f64::from_bits(bits));
        match (number, value) {
            (3, Wire::Fixed64(nanos)) => point.nanos = nanos,
            (4, Wire::Fixed64(bits)) if scalar => point.numbers.push(double("value", bits)),
            (6, Wire::Fixed64(bits)) if scalar => {
                point.numbers.push(("value".into(), bits.cast_signed() as f64));
            }
            (4, Wire::Fixed64(count)) => point.numbers.push(("count".into(), count as f64)),
            (5, Wire::Fixed64(bits)) => point.numbers.push(double("sum", bits)),
            (6, Wire::Bytes(quantile)) if of == 11 => point.numbers.push(at_quantile(quantile)?),
            (n, Wire::Varint(value)) if n == flags => point.flags = value,
            (n, Wire::Bytes(bytes)) if n == attributes => {
                push_attribute(&mut point.attributes, bytes)?;
            }
            (n, Wire::Fixed64(bits)) if n == min => point.numbers.push(double("min", bits)),
            (n, Wire::Fixed64(bits)) if n == max => point.numbers.push(double("max", bits)),
            _ => {}
        }
        room(point.numbers.len(), "numbers")?;
    }
    Ok(point)
}

/// `ValueAtQuantile`: quantile 1, value 2; what is 0 is not written.
fn at_quantile(bytes: &[u8]) -> Result<(Cow<'static, str>, f64), Malformed> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Fixed64(bits)) => quantile = f64::from_bits(bits),
            (2, Wire::Fixed64(bits)) => value = f64::from_bits(bits),
            _ => {}
        }
    }
    Ok((format!("quantile_{quantile}").into(), value))
}

/// `LogRecord`.
fn log(bytes: &[u8]) -> Result<LogRecord<'_>, Malformed> {
    let mut log = LogRecord::default();
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Fixed64(nanos)) => log.nanos = nanos,
            (11, Wire::Fixed64(nanos)) => log.observed_nanos = nanos,
            (2, Wire::Varint(number)) => log.severity = number,
            (3, Wire::Bytes(bytes)) => log.severity_text = text(bytes, "severity")?.into(),
            (5, Wire::Bytes(bytes)) => log.body = any(bytes, DEPTH_MAX)?,
            (6, Wire::Bytes(bytes)) => push_attribute(&mut log.attributes, bytes)?,
            (9, Wire::Bytes(bytes)) => log.trace = hex(bytes).into(),
            (10, Wire::Bytes(bytes)) => log.span = hex(bytes).into(),
            (12, Wire::Bytes(bytes)) => log.event = text(bytes, "name of an event")?.into(),
            _ => {}
        }
    }
    Ok(log)
}

fn room(used: usize, what: &str) -> Result<(), Malformed> {
    if used <= FIELDS_MAX {
        return Ok(());
    }
    Err(Malformed::new(Reason::TooLarge, format!("more than {FIELDS_MAX} {what}")))
}

fn push_attribute<'a>(all: &mut Attributes<'a>, bytes: &'a [u8]) -> Result<(), Malformed> {
    room(all.len() + 1, "attributes")?;
    all.push(key_value(bytes, DEPTH_MAX)?);
    Ok(())
}

/// `KeyValue`: key 1, value 2.
fn key_value(bytes: &[u8], depth: u8) -> Result<Attribute<'_>, Malformed> {
    let (mut key, mut value) = ("", Any::Empty);
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Bytes(bytes)) => key = text(bytes, "name of an attribute")?,
            (2, Wire::Bytes(bytes)) => value = any(bytes, depth)?,
            _ => {}
        }
    }
    Ok((key.into(), value))
}

/// `AnyValue`: text 1, truth 2, integer 3, double 4, array 5, map 6, bytes 7.
fn any(bytes: &[u8], depth: u8) -> Result<Any<'_>, Malformed> {
    let deeper = || {
        depth.checked_sub(1).ok_or_else(|| {
            Malformed::new(Reason::TooLarge, format!("nested deeper than {DEPTH_MAX} levels"))
        })
    };
    let mut value = Any::Empty;
    for field in Fields(bytes) {
        value = match field? {
            (1, Wire::Bytes(bytes)) => Any::Text(text(bytes, "value of an attribute")?.into()),
            (2, Wire::Varint(yes)) => Any::Bool(yes != 0),
            (3, Wire::Varint(number)) => Any::Int(number.cast_signed()),
            (4, Wire::Fixed64(bits)) => Any::Double(f64::from_bits(bits)),
            (5, Wire::Bytes(list)) => {
                let inside = deeper()?;
                let mut values = Vec::new();
                for field in Fields(list) {
                    if let (1, Wire::Bytes(bytes)) = field? {
                        room(values.len() + 1, "values")?;
                        values.push(any(bytes, inside)?);
                    }
                }
                Any::List(values)
            }
            (6, Wire::Bytes(map)) => {
                let inside = deeper()?;
                let mut members = Vec::new();
                for field in Fields(map) {
                    if let (1, Wire::Bytes(bytes)) = field? {
                        room(members.len() + 1, "members")?;
                        members.push(key_value(bytes, inside)?);
                    }
                }
                Any::Map(members)
            }
            (7, Wire::Bytes(bytes)) => Any::Bytes(bytes),
            _ => continue,
        };
    }
    Ok(value)
}
