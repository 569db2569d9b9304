//! The lines that services log, and their JSON.

use jiff::Timestamp;

use super::draw::{Draws, Key, Stream};
use super::text::Text;
use super::{BURSTS, SERVICES};

/// What is drawn about a line.
#[derive(Copy, Clone, Debug)]
pub(super) enum About {
    Service = 0,
    Level = 1,
    Host = 2,
    Text = 3,
    Delay = 4,
    Late = 5,
    LateBy = 6,
}

/// The draws about lines, made once.
#[derive(Copy, Clone, Debug)]
pub(super) struct LineDraws([Key; 7]);

impl LineDraws {
    pub(super) fn new(draws: Draws) -> Self {
        LineDraws(std::array::from_fn(|about| draws.key(Stream::Log, about as u64)))
    }

    pub(super) fn key(&self, about: About) -> Key {
        self.0[about as usize]
    }
}

/// Who logs line `number` of those that are always there.
pub(super) fn service(draws: &LineDraws, number: u64) -> u64 {
    draws.key(About::Service).below(number, u64::from(SERVICES))
}

/// On which of `hosts` a line of `service` is logged: one whose number leaves the service's as the rest.
pub(super) fn host(draws: &LineDraws, number: u64, service: u64, hosts: u64) -> u64 {
    let services = u64::from(SERVICES);
    let of_service = (hosts + services - 1 - service) / services;
    service + services * draws.key(About::Host).below(number, of_service)
}

/// The level of line `number`: 1 % ERROR, 9 % WARN, 10 % DEBUG, the rest INFO.
pub(super) fn level(draws: &LineDraws, number: u64) -> &'static str {
    match draws.key(About::Level).below(number, 100) {
        0 => "ERROR",
        1..=9 => "WARN",
        10..=19 => "DEBUG",
        _ => "INFO",
    }
}

/// What a line says of itself.
#[derive(Copy, Clone, Debug)]
pub(super) struct Line<'a> {
    pub(super) time: u64,
    pub(super) level: &'a str,
    pub(super) service: &'a str,
    pub(super) host: &'a str,
    /// What its text is made of.
    pub(super) salt: u64,
}

/// Writes a line as JSON.
pub(super) fn write(out: &mut Text, line: &Line<'_>) {
    let Line { time, level, service, host, salt } = *line;
    // Times are before the year 10000, which is what can be written.
    let stamp = i64::try_from(time).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
    let stamp = stamp.unwrap_or(Timestamp::MAX);
    out.raw(r#"{"@timestamp":""#).display(format_args!("{stamp:.3}"));
    out.raw(r#"","level":""#).raw(level).raw(r#"","service":""#).raw(service);
    out.raw(r#"","host":""#).raw(host).raw(r#"","message":""#);
    let item = salt % 100_000;
    match level {
        "ERROR" => {
            out.raw("upstream timed out after ").int(1_000 + salt % 9_000);
            out.raw(" ms while reading the response header for item ").int(item);
        }
        "WARN" => {
            out.raw("slow request: GET /api/v1/items/").int(item).raw(" took ");
            out.int(500 + salt % 4_500).raw(" ms");
        }
        "DEBUG" => {
            out.raw("cache miss for item ").int(item).raw(", filled in ").int(salt % 90).raw(" ms");
        }
        _ => {
            out.raw("GET /api/v1/items/").int(item).raw(" 200 ").int(salt % 900).raw(" ms");
        }
    }
    out.raw(", request_id=").hex(salt).raw(r#""}"#);
}

/// As many bursts as the plan has.
const _: () = assert!(BURSTS < SERVICES as u64);
