//! The log lines of the fleet: JSON as a log shipper writes it, with a healthy background.
//!
//! A host writes a line in four of five slots of 3 s, never at level ERROR. Errors of a healthy service
//! come one at most in each slot of 40 s: a window of 60 s touches three slots at most, so it never holds
//! more than 3, whatever the seed.

use jiff::Timestamp;
use serde::Serialize;
use tidewatch_dataflow::record::Level;

use super::noise::{Key, Noise, Stream};
use super::plan::Burst;
use super::roster::{Host, SERVICES};

/// A host's lines come in slots of this many milliseconds.
pub(super) const LINE_SLOT: u64 = 3_000;
/// A service's background errors come in slots of this many milliseconds.
const ERROR_SLOT: u64 = 40_000;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    host: &'a str,
    level: &'a str,
    message: String,
    request_id: String,
    service: &'a str,
}

/// The value of one line, ready to be sent.
pub(super) fn line(host: &Host, time: u64, level: Level, message: String, bits: u64) -> Vec<u8> {
    let stamp = i64::try_from(time).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let line = Line {
        timestamp: stamp.map(|stamp| format!("{stamp:.3}")).unwrap_or_default(),
        host: &host.name,
        level: level.as_str(),
        message,
        request_id: format!("{:010x}", bits >> 24),
        service: SERVICES.get(host.service).copied().unwrap_or("unknown"),
    };
    // A map of strings always serialises.
    serde_json::to_vec(&line).unwrap_or_default()
}

/// The line of `host` in `slot`, if it writes one: when, how serious, and what.
pub(super) fn healthy(noise: Noise, host: &Host, slot: u64) -> Option<(u64, Level, String)> {
    let when = noise.key(Stream::LogTime, host.index);
    if when.unit(slot * 2) >= 0.8 {
        return None;
    }
    let time = slot * LINE_SLOT + when.below(slot * 2 + 1, LINE_SLOT as usize) as u64;
    let text = noise.key(Stream::LogText, host.index);
    let draw = |what: u64| slot * 16 + what;
    let number = |what: u64, bound: usize| 1 + text.below(draw(what), bound);
    let other = text.pick(draw(9), &SERVICES);
    let chance = text.unit(draw(0));
    let (level, message) = if chance < 0.07 {
        let message = match number(1, 3) {
            1 => format!("connection pool: {} of 32 in use", number(2, 31)),
            2 => format!("cache refreshed, {} entries kept", number(2, 20_000)),
            _ => format!("heartbeat to {other} answered in {} ms", number(2, 9)),
        };
        (Level::Debug, message)
    } else if chance < 0.14 {
        let message = match number(1, 3) {
            1 => format!("slow query: {} ms on table {other}", 500 + number(2, 1_500)),
            2 => format!("call to {other} failed, retry {} of 5 succeeded", number(2, 4)),
            _ => format!("queue of {other} is {} % full", 60 + number(2, 25)),
        };
        (Level::Warn, message)
    } else {
        let message = match number(1, 4) {
            1 => format!("GET /{other}/{} answered 200 in {} ms", number(2, 90_000), number(3, 80)),
            2 => format!("POST /{other} answered 201 in {} ms", number(3, 140)),
            3 => format!("session {:08x} opened", text.bits(draw(2)) >> 32),
            _ => format!("job {other}/{} done in {} ms", number(2, 9_000), number(3, 900)),
        };
        (Level::Info, message)
    };
    Some((time, level, message))
}

/// The background error of `service` whose slot holds `time`, if there is one: when it is written.
pub(super) fn background_error(noise: Noise, service: usize, time: u64) -> Option<u64> {
    let key = noise.key(Stream::ErrorTime, service);
    let slot = time / ERROR_SLOT;
    (key.unit(slot * 2) < 0.8)
        .then(|| slot * ERROR_SLOT + key.below(slot * 2 + 1, ERROR_SLOT as usize) as u64)
}

/// What a background error says.
pub(super) fn error_text(key: Key, index: u64) -> String {
    let other = key.pick(index * 4, &SERVICES);
    match key.below(index * 4 + 1, 3) {
        0 => format!("call to {other} timed out after 5000 ms"),
        1 => format!("request to {other} refused: 503 service unavailable"),
        _ => "deadlock found, transaction rolled back".to_owned(),
    }
}

/// What line `index` of a burst says: one cause, and a last word when it gives up.
pub(super) fn burst_text(burst: &Burst, index: u64) -> (Level, String) {
    if index + 1 == burst.lines && burst.lines > 20 {
        return (Level::Fatal, format!("giving up after {} failed attempts, restarting", index));
    }
    let message = match burst.start % 3 {
        0 => format!("database connection refused (attempt {})", index + 1),
        1 => format!("could not commit: disk quota exceeded, {} rows lost", 1 + index % 7),
        _ => format!("certificate of upstream expired, request {} dropped", index + 1),
    };
    (Level::Error, message)
}
