//! The numbers of a host at a second, and their JSON as Telegraf writes it: keys sorted, whole numbers without a
//! fraction, the time in milliseconds.
//!
//! A healthy processor stays below 81 %, but for single seconds above 90 %; those keep away from incidents,
//! so that an incident is exactly as long as planned.

use super::draw::{Draws, Stream};
use super::roster::Host;
use super::text::Text;
use super::{CPU, MEM};

/// No second above 90 % so near to an incident, in seconds.
const QUIET: u64 = 60;
/// Bytes of a page of memory, or of a block of the file system.
const PAGE: u64 = 4_096;

/// `part` of `whole` in percent, rounded once.
fn percent(part: u64, whole: u64) -> f64 {
    (100 * part) as f64 / whole as f64
}

/// Clock ticks of all processors within a second.
#[derive(Copy, Clone, Debug)]
struct Ticks {
    total: u64,
    busy: u64,
    iowait: u64,
    system: u64,
}

/// How busy the processors are meant to be, in percent.
fn load(draws: Draws, host: &Host, index: u64, second: u64) -> f64 {
    let key = |stream| draws.key(stream, index);
    let noise = key(Stream::CpuNoise).unit(second);
    let is_high = host.high.is_some_and(|(first, last)| (first..=last).contains(&second));
    let is_near =
        host.high.is_some_and(|(first, last)| second + QUIET >= first && second <= last + QUIET);
    let spikes = !is_near && key(Stream::CpuSpike).below(second, 1_000) == 0;
    if is_high || spikes {
        return 91.0 + 8.0 * noise;
    }
    let [level, _, _] = host.levels;
    let (slow, fast) =
        (key(Stream::CpuSlow).wave(second, 300), key(Stream::CpuFast).wave(second, 20));
    10.0 + 25.0 * level + 25.0 * slow + 12.0 * fast + 8.0 * noise
}

fn ticks(draws: Draws, host: &Host, index: u64, second: u64) -> Ticks {
    let split = draws.key(Stream::CpuSplit, index);
    let draw = |what: u64, bound: u64| split.below(second * 4 + what, bound);
    let total = 100 * host.cores - draw(0, 4);
    let busy = (total as f64 * (load(draws, host, index, second) / 100.0) + 0.5) as u64;
    let iowait = busy * draw(1, 100) / 1_000;
    let system = busy * (100 + draw(2, 200)) / 1_000;
    Ticks { total, busy, iowait, system }
}

/// Bytes of memory in use.
fn memory(draws: Draws, host: &Host, index: u64, second: u64) -> u64 {
    let [_, level, _] = host.levels;
    let slow = draws.key(Stream::MemorySlow, index).wave(second, 600);
    let fast = draws.key(Stream::MemoryFast, index).wave(second, 30);
    used(host.memory, 20.0 + 50.0 * level + 10.0 * slow + 2.0 * fast)
}

/// Bytes of the file system in use.
fn disk(draws: Draws, host: &Host, index: u64, second: u64) -> u64 {
    let [_, _, level] = host.levels;
    let slow = draws.key(Stream::DiskSlow, index).wave(second, 900);
    used(host.disk, 15.0 + 60.0 * level + 10.0 * slow)
}

/// Whole pages that are `share` percent of `total` bytes.
fn used(total: u64, share: f64) -> u64 {
    (total as f64 * (share / 100.0) / PAGE as f64) as u64 * PAGE
}

/// Writes the message of `host`, number `index`, for `second`; gives the number that the queries ask about.
pub(super) fn write(
    out: &mut Text,
    (draws, host, index): (Draws, &Host, u64),
    (measurement, second, time): (u64, u64, u64),
) -> f64 {
    let value = match measurement {
        CPU => {
            let Ticks { total, busy, iowait, system } = ticks(draws, host, index, second);
            let active = percent(busy, total);
            out.raw(r#"{"fields":{"usage_active":"#).float(active);
            out.raw(r#","usage_idle":"#).float(percent(total - busy, total));
            out.raw(r#","usage_iowait":"#).float(percent(iowait, total));
            out.raw(r#","usage_system":"#).float(percent(system, total));
            out.raw(r#","usage_user":"#).float(percent(busy - iowait - system, total));
            out.raw(r#"},"name":"cpu","tags":{"cpu":"cpu-total","dc":""#).raw(host.centre);
            out.raw(r#"","host":""#).raw(&host.name);
            active
        }
        MEM => {
            let used = memory(draws, host, index, second);
            let (available, share) = (host.memory - used, percent(used, host.memory));
            let cached = available / 8 * 5 / PAGE * PAGE;
            out.raw(r#"{"fields":{"available":"#).int(available);
            out.raw(r#","available_percent":"#).float(percent(available, host.memory));
            out.raw(r#","cached":"#).int(cached).raw(r#","free":"#).int(available - cached);
            out.raw(r#","total":"#).int(host.memory).raw(r#","used":"#).int(used);
            out.raw(r#","used_percent":"#).float(share);
            out.raw(r#"},"name":"mem","tags":{"dc":""#).raw(host.centre);
            out.raw(r#"","host":""#).raw(&host.name);
            share
        }
        _ => {
            let used = disk(draws, host, index, second);
            let share = percent(used, host.disk);
            out.raw(r#"{"fields":{"free":"#).int(host.disk - used);
            out.raw(r#","total":"#).int(host.disk).raw(r#","used":"#).int(used);
            out.raw(r#","used_percent":"#).float(share);
            out.raw(r#"},"name":"disk","tags":{"dc":""#).raw(host.centre);
            out.raw(r#"","device":"nvme0n1p1","fstype":"ext4","host":""#).raw(&host.name);
            out.raw(r#"","mode":"rw","path":"/var/lib"#);
            share
        }
    };
    out.raw(if host.rack < 10 { r#"","rack":"r0"# } else { r#"","rack":"r"# }).int(host.rack);
    out.raw(r#"","role":""#).raw(host.role).raw(r#""},"timestamp":"#).int(time).raw("}");
    value
}
