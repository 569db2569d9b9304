//! The records of one partition: which there are, when they arrive, and what they say.

use super::arrival::{DISORDER_MS, LATE_MAX_MS, LATE_MIN_MS, Pending, Stream, in_order};
use super::draw::{Key, Stream as Draw};
use super::logs::{self, About, Line};
use super::plan::Burst;
use super::text::Text;
use super::{CPU, Fact, MARK_PREFIX, MEASUREMENTS, PARTITIONS, Record, Workload, metrics};

/// Draws about lateness, of one host or of the log lines.
#[derive(Copy, Clone, Debug)]
struct Delays {
    regular: Key,
    late: Key,
    late_by: Key,
}

impl Delays {
    /// When what happens at `time` arrives, in milliseconds from second 0; `index` is its number in the draws.
    fn arrival(&self, workload: &Workload, time: u64, index: u64) -> u64 {
        let is_late = workload.late_one_in.is_some_and(|k| self.late.below(index, k) == 0);
        if is_late {
            let by = LATE_MIN_MS + self.late_by.below(index, LATE_MAX_MS - LATE_MIN_MS);
            if time + by < workload.seconds * 1_000 {
                return time + by;
            }
        }
        self.in_time(time, index)
    }

    /// When it arrives if it must not be late.
    fn in_time(&self, time: u64, index: u64) -> u64 {
        time + self.regular.below(index, DISORDER_MS)
    }
}

/// Metrics are numbered by second, host and measurement: 34 bits of seconds are more than a year, 22 of
/// hosts more than a million.
const HOST_SHIFT: u32 = 2;
const SECOND_SHIFT: u32 = 24;

struct Metrics<'a> {
    workload: &'a Workload,
    partition: u32,
}

impl Stream for Metrics<'_> {
    fn of_second(&mut self, second: u64, place: &mut impl FnMut(Pending)) {
        let Workload { options, draws, hosts, .. } = self.workload;
        let round = (second % u64::from(options.interval)) as u32;
        let first = self.partition + round * PARTITIONS;
        let step = (PARTITIONS * options.interval) as usize;
        let sampling = (u64::from(first)..).step_by(step);
        for (index, host) in sampling.zip(hosts.iter().skip(first as usize).step_by(step)) {
            let time = second * 1_000 + host.phase;
            let [regular, late, late_by] =
                [Draw::MetricDelay, Draw::MetricLate, Draw::MetricLateBy]
                    .map(|stream| draws.key(stream, index));
            let delays = Delays { regular, late, late_by };
            let is_edge = host.high.is_some_and(|(first, last)| second == first || second == last);
            for measurement in 0..MEASUREMENTS.len() as u64 {
                let draw = second * 4 + measurement;
                // The samples at which an incident begins and ends say how long it is: never late.
                let arrival = match is_edge && measurement == CPU {
                    true => delays.in_time(time, draw),
                    false => delays.arrival(self.workload, time, draw),
                };
                place((arrival, second << SECOND_SHIFT | index << HOST_SHIFT | measurement));
            }
        }
    }
}

/// See [`Workload::records`].
pub(super) fn metrics<E>(
    workload: &Workload,
    partition: u32,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut text = Text::default();
    let mut stream = Metrics { workload, partition };
    in_order(&mut stream, workload.seconds, |(arrival, number)| {
        let second = number >> SECOND_SHIFT;
        let index = (number >> HOST_SHIFT) & ((1 << (SECOND_SHIFT - HOST_SHIFT)) - 1);
        let measurement = number & 3;
        let Some(host) = workload.hosts.get(index as usize) else { return Ok(()) };
        let offset = second * 1_000 + host.phase;
        let event_time = workload.options.start + offset;
        text.clear();
        let about = (measurement, second, event_time);
        let value = metrics::write(&mut text, (workload.draws, host, index), about);
        let name = MEASUREMENTS.get(measurement as usize).copied().unwrap_or_default();
        visit(&Record {
            key: &host.name,
            payload: text.as_bytes(),
            event_time,
            fact: Fact::Metric { measurement: name, value },
            is_late: arrival - offset >= LATE_MIN_MS,
            is_mark: false,
        })
    })?;
    // The end marks: what the partition's number would send as a host that nobody has heard of.
    let Some(host) = workload.hosts.get(partition as usize) else { return Ok(()) };
    let mut mark = host.clone();
    mark.name = format!("{MARK_PREFIX}{partition:02}").into();
    mark.high = None;
    for (measurement, name) in (0..).zip(MEASUREMENTS) {
        text.clear();
        let about = (measurement, workload.seconds, workload.mark_ms());
        let value = metrics::write(&mut text, (workload.draws, &mark, partition.into()), about);
        visit(&Record {
            key: &mark.name,
            payload: text.as_bytes(),
            event_time: workload.mark_ms(),
            fact: Fact::Metric { measurement: name, value },
            is_late: false,
            is_mark: true,
        })?;
    }
    Ok(())
}

/// Log lines are numbered as they come, those of bursts after all others.
struct Lines<'a> {
    workload: &'a Workload,
    partition: u64,
    delays: Delays,
    /// The first line of no second so far.
    next: u64,
}

/// A log line by its number: milliseconds from second 0, service, level.
fn line(workload: &Workload, number: u64) -> Option<(u64, u64, &'static str)> {
    let draws = &workload.line_draws;
    if number < workload.lines {
        // Evenly spaced. The product has 68 bits in the longest run of the largest fleet.
        let millis = u128::from(number) * u128::from(workload.seconds * 1_000);
        let time = (millis / u128::from(workload.lines)) as u64;
        return Some((time, logs::service(draws, number), logs::level(draws, number)));
    }
    let mut index = number - workload.lines;
    for burst in &workload.bursts {
        if index < burst.lines {
            return Some((burst.line_at(index), burst.service.into(), "ERROR"));
        }
        index -= burst.lines;
    }
    None
}

impl Stream for Lines<'_> {
    fn of_second(&mut self, second: u64, place: &mut impl FnMut(Pending)) {
        let Lines { workload, partition, delays, next } = self;
        let mut consider = |number: u64| match line(workload, number) {
            Some((time, service, _)) if time / 1_000 == second => {
                if service % u64::from(PARTITIONS) == *partition {
                    place((delays.arrival(workload, time, number), number));
                }
                true
            }
            _ => false,
        };
        while *next < workload.lines && consider(*next) {
            *next += 1;
        }
        let mut number = workload.lines;
        for Burst { start, length, lines, .. } in &workload.bursts {
            if (*start..start + length).contains(&second) {
                (number..number + lines).for_each(|number| {
                    consider(number);
                });
            }
            number += lines;
        }
    }
}

/// See [`Workload::records`].
pub(super) fn logs<E>(
    workload: &Workload,
    partition: u32,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut text = Text::default();
    let draws = &workload.line_draws;
    let [regular, late, late_by] =
        [About::Delay, About::Late, About::LateBy].map(|about| draws.key(about));
    let delays = Delays { regular, late, late_by };
    let mut stream = Lines { workload, partition: partition.into(), delays, next: 0 };
    in_order(&mut stream, workload.seconds, |(arrival, number)| {
        let Some((offset, service, level)) = line(workload, number) else { return Ok(()) };
        let host = logs::host(draws, number, service, workload.hosts.len() as u64);
        let (Some(host), Some(service)) =
            (workload.hosts.get(host as usize), workload.services.get(service as usize))
        else {
            return Ok(());
        };
        let time = workload.options.start + offset;
        let salt = draws.key(About::Text).bits(number);
        text.clear();
        logs::write(&mut text, &Line { time, level, service, host: &host.name, salt });
        visit(&Record {
            key: service,
            payload: text.as_bytes(),
            event_time: time,
            fact: Fact::Log { is_error: level == "ERROR" },
            is_late: arrival - offset >= LATE_MIN_MS,
            is_mark: false,
        })
    })?;
    let service = format!("{MARK_PREFIX}{partition:02}");
    text.clear();
    let (time, salt) = (workload.mark_ms(), 0);
    logs::write(&mut text, &Line { time, level: "ERROR", service: &service, host: &service, salt });
    visit(&Record {
        key: &service,
        payload: text.as_bytes(),
        event_time: time,
        fact: Fact::Log { is_error: true },
        is_late: false,
        is_mark: true,
    })
}
