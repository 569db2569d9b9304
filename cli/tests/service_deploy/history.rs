//! What a fleet of three hosts has written before anything is started: 13 minutes, up to now; and the one of them that goes
//! on burning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidewatch_testkit::kafka::{Broker, Message};

use crate::world::now;

/// How long it is.
pub const SECONDS: u64 = 780;
/// Its hosts. `web-2` burns until the end, `db-1` for a while.
pub const HOSTS: [&str; 3] = ["web-1", "web-2", "db-1"];
/// How many errors the service `pay` writes within 20 s.
pub const BURST: u64 = 40;

/// Keeps `web-2` burning, a sample a second, until it is dropped: its incident stays open.
pub struct Burner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Burner {
    /// Begins.
    pub fn start(broker: &Arc<Broker>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (broker, stopped) = (Arc::clone(broker), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let fields = "\"usage_active\":97.5";
                let burning = sample("web-2", "cpu", "\"cpu\":\"cpu-total\",", fields, now());
                broker.produce("cpu-usage", &[burning]).unwrap();
                thread::sleep(Duration::from_secs(1));
            }
        });
        Burner { stop, thread: Some(thread) }
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// How busy a host is.
fn cpu(host: &str, second: u64) -> f64 {
    match host {
        "web-2" if second >= 60 => 97.5,
        "db-1" if (60..440).contains(&second) => 95.25,
        _ => 20.0 + (second % 50) as f64 * 0.37,
    }
}

fn message(host: &str, millis: u64, value: String) -> Message {
    let (key, timestamp) = (Some(host.to_owned()), Some(millis.cast_signed()));
    Message { partition: None, key, value, timestamp }
}

/// As Telegraf writes it.
fn sample(host: &str, name: &str, tags: &str, fields: &str, millis: u64) -> Message {
    message(
        host,
        millis,
        format!(
            "{{\"fields\":{{{fields}}},\"name\":\"{name}\",\"tags\":{{{tags}\"host\":\"{host}\"}},\"timestamp\":{millis}}}\n"
        ),
    )
}

/// As Logstash writes it.
fn line(host: &str, service: &str, level: &str, millis: u64, text: &str) -> Message {
    message(
        host,
        millis,
        format!(
            "{{\"@timestamp\":{millis},\"log\":{{\"level\":\"{level}\"}},\"host\":{{\"name\":\"{host}\"}},\"service\":{{\"name\":\"{service}\"}},\"message\":\"{text}\"}}"
        ),
    )
}

/// Writes it, `start` being its beginning in milliseconds.
pub fn write(broker: &Broker, start: u64) {
    let (mut cpus, mut memories, mut disks, mut lines) = (vec![], vec![], vec![], vec![]);
    for second in 0..SECONDS {
        let at = start + second * 1_000;
        for host in HOSTS {
            let busy = cpu(host, second);
            let fields = format!("\"usage_active\":{busy},\"usage_idle\":{}", 100.0 - busy);
            cpus.push(sample(host, "cpu", "\"cpu\":\"cpu-total\",", &fields, at));
            // One of the cores, which no statistic may count.
            cpus.push(sample(host, "cpu", "\"cpu\":\"cpu0\",", "\"usage_active\":100", at));
            let used = 41.0 + (second % 7) as f64;
            let fields = format!("\"used_percent\":{used},\"total\":8589934592");
            memories.push(sample(host, "mem", "", &fields, at));
            if second % 10 == 0 {
                for (path, used) in [("/", 61.5), ("/var", 33.25)] {
                    let tags = format!("\"path\":\"{path}\",\"fstype\":\"ext4\",");
                    let fields = format!("\"used_percent\":{used}");
                    disks.push(sample(host, "disk", &tags, &fields, at));
                }
            }
        }
        lines.push(line("web-1", "web", "INFO", at, &format!("GET /cart {second}")));
        if second % 60 == 30 {
            lines.push(line("web-2", "web", "WARN", at, "slow answer of the basket"));
            lines.push(line("db-1", "pay", "ERROR", at, "connection to the bank was closed"));
        }
    }
    for i in 0..BURST {
        let at = start + 600_000 + i * 500;
        lines.push(line("db-1", "pay", "ERROR", at, &format!("payment {i} was refused")));
    }
    lines.sort_by_key(|line| line.timestamp);
    for (topic, messages) in [
        ("cpu-usage", cpus),
        ("memory-usage", memories),
        ("disk-usage", disks),
        ("server-logs", lines),
    ] {
        broker.produce(topic, &messages).unwrap();
    }
}
