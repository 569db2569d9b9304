//! Messages of a fleet, made fast: cpu, mem and disk as Telegraf writes them, in JSON (250 to 330 bytes) or line
//! protocol (150 to 230), or log lines in JSON (200 to 230).
//!
//! Numbers are taken from a table of texts with 16 and 17 digits, so that making a message costs a fraction
//! of reading it.

use std::io::Write as _;

use tidewatch_connectors::codec::Format;

/// Event time of the first message of runs in the past: 2023-11-14T22:13:20Z, a multiple of ten seconds.
pub(crate) const START: u64 = 1_700_000_000_000;

/// Measurements of each host: cpu, mem and disk.
pub(crate) const KINDS: u64 = 3;

/// How many number texts there are: a power of two.
const NUMBERS: u64 = 4_096;

/// A well-mixed number (splitmix64): the same for the same input, everywhere.
pub(crate) fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How messages are written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Telegraf's JSON.
    Json,
    /// The same metrics in line protocol.
    Line,
    /// Log lines in JSON, one in a hundred an error.
    Log,
}

impl Wire {
    /// The format by which they are read.
    pub(crate) fn format(self) -> Format {
        match self {
            Wire::Json => Format::TelegrafJson,
            Wire::Line => Format::InfluxLine,
            Wire::Log => Format::JsonLog,
        }
    }
}

/// Services that write log lines.
pub(crate) const SERVICES: u64 = 50;

/// Writes messages.
pub(crate) struct Scribe {
    /// Percentages below 88.
    numbers: Vec<Box<str>>,
}

/// One message to be.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) host: u64,
    /// 0 to 2.
    pub(crate) kind: u64,
    /// Event time in milliseconds.
    pub(crate) time: u64,
    /// Chooses the numbers.
    pub(crate) salt: u64,
    /// Whether the processors are at work: above 95.
    pub(crate) busy: bool,
}

impl Scribe {
    pub(crate) fn new() -> Self {
        let number = |at| (mix(at) >> 11) as f64 / (1u64 << 53) as f64 * 88.0;
        Scribe { numbers: (0..NUMBERS).map(|at| number(at).to_string().into()).collect() }
    }

    fn number(&self, at: u64) -> &str {
        self.numbers.get((at % NUMBERS) as usize).map_or("0", |text| text)
    }

    /// Appends the key of `host`.
    pub(crate) fn key(host: u64, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(out, "host-{host:06}");
    }

    /// Appends the value as `wire` has it.
    pub(crate) fn write(&self, wire: Wire, draft: Draft, out: &mut Vec<u8>) {
        match wire {
            Wire::Json => self.value(draft, out),
            Wire::Line => self.line(draft, out),
            Wire::Log => self.log(draft, out),
        }
    }

    fn line(&self, draft: Draft, out: &mut Vec<u8>) {
        let Draft { host, kind, time, salt, .. } = draft;
        let seed = mix(salt);
        let [a, b, c, d] = [0u32, 12, 24, 36].map(|by| self.number(seed >> by));
        let large = seed >> 30;
        let tags = format_args!("host=host-{host:06},rack=r{:02},role=web", host % 40);
        // Writing to memory does not fail.
        let _ = match kind {
            0 => writeln!(
                out,
                "cpu,cpu=cpu-total,dc=eu-1,{tags} usage_active={a},usage_idle={b},usage_iowait={c},usage_system={d},usage_user={b} {time}000000"
            ),
            1 => writeln!(
                out,
                "mem,dc=eu-1,{tags} available={large}i,available_percent={b},total=34359738368i,used={large}i,used_percent={a} {time}000000"
            ),
            _ => writeln!(
                out,
                "disk,dc=eu-1,device=vda,fstype=ext4,path=/,{tags} free={large}i,inodes_used_percent={c},total=107374182400i,used={large}i,used_percent={a} {time}000000"
            ),
        };
    }

    fn log(&self, draft: Draft, out: &mut Vec<u8>) {
        let Draft { host, time, salt, .. } = draft;
        let seed = mix(salt);
        let level = if seed.is_multiple_of(100) { "ERROR" } else { "INFO" };
        let (service, basket) = ((seed >> 8) % SERVICES, seed >> 40);
        // Writing to memory does not fail.
        let _ = writeln!(
            out,
            "{{\"@timestamp\":{time},\"host\":\"host-{host:06}\",\"level\":\"{level}\",\"message\":\"GET /basket/{basket} answered in {} ms, 12 items, 3 of them from the cache of the neighbour\",\"service\":\"service-{service:02}\"}}",
            self.number(seed >> 20)
        );
    }

    /// Appends the value in JSON.
    pub(crate) fn value(&self, draft: Draft, out: &mut Vec<u8>) {
        let Draft { host, kind, time, salt, busy } = draft;
        let seed = mix(salt);
        let [a, b, c, d] = [0u32, 12, 24, 36].map(|by| self.number(seed >> by));
        let large = seed >> 30;
        let rack = host % 40;
        // Writing to memory does not fail.
        let _ = match kind {
            0 => {
                let active = if busy { "97.12345678901234" } else { a };
                writeln!(
                    out,
                    "{{\"fields\":{{\"usage_active\":{active},\"usage_idle\":{b},\"usage_iowait\":{c},\"usage_system\":{d},\"usage_user\":{b}}},\"name\":\"cpu\",\"tags\":{{\"cpu\":\"cpu-total\",\"dc\":\"eu-1\",\"host\":\"host-{host:06}\",\"rack\":\"r{rack:02}\",\"role\":\"web\"}},\"timestamp\":{time}}}"
                )
            }
            1 => writeln!(
                out,
                "{{\"fields\":{{\"available\":{large},\"available_percent\":{b},\"total\":34359738368,\"used\":{large},\"used_percent\":{a}}},\"name\":\"mem\",\"tags\":{{\"dc\":\"eu-1\",\"host\":\"host-{host:06}\",\"rack\":\"r{rack:02}\",\"role\":\"web\"}},\"timestamp\":{time}}}"
            ),
            _ => writeln!(
                out,
                "{{\"fields\":{{\"free\":{large},\"inodes_used_percent\":{c},\"total\":107374182400,\"used\":{large},\"used_percent\":{a}}},\"name\":\"disk\",\"tags\":{{\"dc\":\"eu-1\",\"device\":\"vda\",\"fstype\":\"ext4\",\"host\":\"host-{host:06}\",\"path\":\"/\",\"rack\":\"r{rack:02}\",\"role\":\"web\"}},\"timestamp\":{time}}}"
            ),
        };
    }
}

/// The event time at the end of a value, as [`Scribe::value`] writes it.
pub(crate) fn time_of(value: &[u8]) -> Option<u64> {
    let digits = value.strip_suffix(b"}\n")?.last_chunk::<13>()?;
    digits.iter().try_fold(0u64, |time, digit| {
        digit.is_ascii_digit().then(|| time * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_size_of_a_real_one_and_ends_with_its_time() {
        let scribe = Scribe::new();
        for kind in 0..KINDS {
            let mut value = Vec::new();
            let draft = Draft { host: 7, kind, time: START + 5, salt: 99, busy: false };
            scribe.value(draft, &mut value);
            assert!((200..=330).contains(&value.len()), "{}", value.len());
            assert_eq!(time_of(&value), Some(START + 5));
        }
    }
}
