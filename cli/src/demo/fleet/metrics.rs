//! The numbers of a host at an instant, and their JSON as Telegraf 1.37 writes it.
//!
//! As there: keys are sorted, a whole number is written without a fraction even where the field is a
//! float, the time is in milliseconds, and the value ends with a newline. The settings imitated are
//! `percpu = false`, `collect_cpu_time = false`, `report_active = true`, `json_timestamp_units = "1ms"`.
//!
//! Healthy numbers keep away from the demo's rules by construction: processor load stays below 84
//! (45 + 14 + 7 + 3 + 14 = 83), memory use within 2.5 points of its level.

use std::fmt::Write;

use super::noise::{Key, Noise, Stream};
use super::plan::{CPU_INTERVAL, Plan};
use super::roster::Host;

/// One value, ready to be sent.
pub(super) fn cpu(noise: Noise, plan: &Plan, host: &Host, time: u64) -> Vec<u8> {
    let tick = time / 1_000;
    let active = if plan.cpu_is_high(host.index, time) {
        95.0 + 2.0 * noise.key(Stream::CpuFast, host.index).wave(time, 40_000)
            + 0.8 * noise.key(Stream::CpuSpike, host.index).sign(tick)
    } else {
        healthy_cpu(noise, host, time)
    };
    // Telegraf divides differences of counters of 10 ms, hence its long fractions and its whole numbers.
    let split = noise.key(Stream::CpuSplit, host.index);
    let total = host.cores * CPU_INTERVAL / 10 - split.below(tick, 4) as u64;
    let busy = (active / 100.0 * total as f64).round() as u64;
    let take =
        |what: u64, share: f64| (busy as f64 * share * split.unit(tick * 8 + what)).round() as u64;
    let (system, iowait, softirq, steal) =
        (take(1, 0.3), take(2, 0.1), take(3, 0.02), take(4, 0.01));
    let user = busy - (system + iowait + softirq + steal).min(busy);
    let percent = |jiffies: u64| 100.0 * jiffies as f64 / total as f64;
    let busy = busy.min(total);
    format!(
        concat!(
            r#"{{"fields":{{"usage_active":{},"usage_guest":0,"usage_guest_nice":0,"usage_idle":{},"#,
            r#""usage_iowait":{},"usage_irq":0,"usage_nice":0,"usage_softirq":{},"usage_steal":{},"#,
            r#""usage_system":{},"usage_user":{}}},"name":"cpu","#,
            r#""tags":{{"cpu":"cpu-total","dc":"{}","host":"{}"}},"timestamp":{}}}"#,
            "\n"
        ),
        percent(busy),
        percent(total - busy),
        percent(iowait),
        percent(softirq),
        percent(steal),
        percent(system),
        percent(user),
        host.datacentre,
        host.name,
        time
    )
    .into_bytes()
}

/// Load of a healthy processor, in percent: a level of its own, slow and fast changes, rare spikes.
fn healthy_cpu(noise: Noise, host: &Host, time: u64) -> f64 {
    let key = |stream| noise.key(stream, host.index);
    let tick = time / 1_000;
    let level = 16.0 + 29.0 * key(Stream::CpuLevel).unit(0);
    let slow = 14.0 * key(Stream::CpuSlow).wave(time, 420_000);
    let fast = 7.0 * key(Stream::CpuFast).wave(time, 40_000);
    let jitter = 3.0 * key(Stream::CpuSpike).sign(tick);
    let spike = if key(Stream::CpuSpike).unit(tick ^ 1 << 40) < 0.01 { 14.0 } else { 0.0 };
    (level + slow + fast + jitter + spike).max(0.5)
}

/// One value, ready to be sent.
pub(super) fn memory(noise: Noise, plan: &Plan, host: &Host, time: u64) -> Vec<u8> {
    let key = |stream| noise.key(stream, host.index);
    let used_percent = 36.0
        + 16.0 * key(Stream::MemoryLevel).unit(0)
        + 1.8 * key(Stream::MemorySlow).wave(time, 1_200_000)
        + 0.7 * key(Stream::MemoryFast).wave(time, 60_000)
        + plan.memory_shift(host.index, time);
    let used = pages(host.memory, used_percent / 100.0);
    let available = host.memory - used.min(host.memory);
    let part = |whole: u64, share: f64| pages(whole, share);
    let percent = |bytes: u64| 100.0 * bytes as f64 / host.memory as f64;
    let mut json = String::with_capacity(1_024);
    json.push_str(r#"{"fields":{"#);
    let numbers: [(&str, f64); 34] = [
        ("active", part(used, 0.7) as f64),
        ("available", available as f64),
        ("available_percent", percent(available)),
        ("buffered", part(available, 0.03) as f64),
        ("cached", part(available, 0.45) as f64),
        ("commit_limit", part(host.memory, 0.5) as f64),
        ("committed_as", part(used, 1.2) as f64),
        ("dirty", part(available, 0.0004 * key(Stream::MemoryFast).unit(time)) as f64),
        ("free", part(available, 0.4) as f64),
        ("high_free", 0.0),
        ("high_total", 0.0),
        ("huge_page_size", 2_097_152.0),
        ("huge_pages_free", 0.0),
        ("huge_pages_total", 0.0),
        ("inactive", part(available, 0.3) as f64),
        ("low_free", 0.0),
        ("low_total", 0.0),
        ("mapped", part(used, 0.12) as f64),
        ("page_tables", part(used, 0.004) as f64),
        ("shared", part(used, 0.01) as f64),
        ("slab", part(available, 0.06) as f64),
        ("sreclaimable", part(available, 0.04) as f64),
        ("sunreclaim", part(available, 0.02) as f64),
        ("swap_cached", 0.0),
        ("swap_free", 0.0),
        ("swap_total", 0.0),
        ("total", host.memory as f64),
        ("used", used as f64),
        ("used_percent", percent(used)),
        ("vmalloc_chunk", 0.0),
        ("vmalloc_total", 35_184_372_087_808.0),
        ("vmalloc_used", 24_870_912.0),
        ("write_back", 0.0),
        ("write_back_tmp", 0.0),
    ];
    for (index, (name, value)) in numbers.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(json, r#"{comma}"{name}":{value}"#);
    }
    let _ = writeln!(
        json,
        r#"}},"name":"mem","tags":{{"dc":"{}","host":"{}"}},"timestamp":{time}}}"#,
        host.datacentre, host.name
    );
    json.into_bytes()
}

/// One value, ready to be sent.
pub(super) fn disk(noise: Noise, host: &Host, time: u64) -> Vec<u8> {
    let total: u64 = 270_553_174_016;
    let (level, slow) =
        (noise.key(Stream::DiskLevel, host.index), noise.key(Stream::DiskSlow, host.index));
    let share = 0.25 + 0.5 * level.unit(0) + 0.006 * slow.wave(time, 900_000);
    let used = pages(total, share);
    let inodes_total: u64 = 16_777_216;
    let inodes_used = inode_count(level, slow, time);
    format!(
        concat!(
            r#"{{"fields":{{"free":{},"inodes_free":{},"inodes_total":{},"inodes_used":{},"#,
            r#""inodes_used_percent":{},"total":{},"used":{},"used_percent":{}}},"name":"disk","#,
            r#""tags":{{"dc":"{}","device":"vda1","fstype":"ext4","host":"{}","mode":"rw","path":"/"}},"#,
            r#""timestamp":{}}}"#,
            "\n"
        ),
        total - used,
        inodes_total - inodes_used,
        inodes_total,
        inodes_used,
        100.0 * inodes_used as f64 / inodes_total as f64,
        total,
        used,
        100.0 * used as f64 / total as f64,
        host.datacentre,
        host.name,
        time
    )
    .into_bytes()
}

fn inode_count(level: Key, slow: Key, time: u64) -> u64 {
    400_000 + level.bits(1) % 900_000 + (2_000.0 * (1.0 + slow.wave(time, 900_000))) as u64
}

/// `share` of `whole`, in whole pages of 4 KiB.
fn pages(whole: u64, share: f64) -> u64 {
    ((whole as f64 * share) as u64) / 4_096 * 4_096
}
