//! The messages: Telegraf JSON of cpu, mem and disk, 250 to 300 bytes, up to two seconds out of order.

use std::time::Duration;

use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_dataflow::time::EventTime;

/// The topic they are written to.
pub(crate) const TOPIC: &str = "fleet-metrics";
/// Event time of the first message: 2023-11-14T22:13:20Z, a multiple of ten seconds.
pub(crate) const START: u64 = 1_700_000_000_000;

/// How many, of how many hosts.
pub(crate) struct Fleet {
    pub(crate) hosts: u64,
    pub(crate) messages: u64,
}

/// A well-mixed number (splitmix64): the same for the same input, everywhere.
fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number with 16 or 17 digits between 0 and `most`.
fn percentage(input: u64, most: f64) -> f64 {
    (mix(input) >> 11) as f64 / (1u64 << 53) as f64 * most
}

impl Fleet {
    /// Windows of ten seconds that must fire: one for each host, measurement and started window.
    pub(crate) fn windows(&self) -> u64 {
        let seconds = self.messages.div_ceil(3 * self.hosts);
        seconds.div_ceil(10) * 3 * self.hosts
    }

    /// Writes all messages in order of time, but for the jitter.
    pub(crate) fn write(&self, brokers: &str) -> anyhow::Result<()> {
        let producer = Producer::new(&KafkaConfig::new([brokers]))?;
        for index in 0..self.messages {
            let (key, value, time) = self.message(index);
            let message = Message {
                topic: TOPIC,
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                time: Some(EventTime::from_millis(time)),
                ..Message::default()
            };
            producer.send(&message, Duration::from_secs(30))?;
        }
        producer.flush(Duration::from_secs(60))?;
        Ok(())
    }

    fn message(&self, index: u64) -> (String, String, u64) {
        let (second, rest) = (index / (3 * self.hosts), index % (3 * self.hosts));
        let (host, kind) = (rest / 3, rest % 3);
        let key = format!("host-{host:05}");
        let time = START + second * 1_000 + mix(index) % 1_000;
        let active = percentage(index, 88.0);
        let tags = format!(
            "\"dc\":\"eu-1\",\"host\":\"{key}\",\"rack\":\"r{:02}\",\"role\":\"web\"",
            host % 40
        );
        let value = match kind {
            0 => format!(
                "{{\"fields\":{{\"usage_active\":{active},\"usage_idle\":{},\"usage_iowait\":{},\"usage_system\":{},\"usage_user\":{}}},\"name\":\"cpu\",\"tags\":{{\"cpu\":\"cpu-total\",{tags}}},\"timestamp\":{time}}}\n",
                100.0 - active,
                active * 0.01,
                active * 0.2,
                active * 0.79
            ),
            1 => format!(
                "{{\"fields\":{{\"available\":{},\"available_percent\":{},\"total\":34359738368,\"used\":{},\"used_percent\":{active}}},\"name\":\"mem\",\"tags\":{{{tags}}},\"timestamp\":{time}}}\n",
                mix(index) % 34_359_738_368,
                100.0 - active,
                mix(index + 1) % 34_359_738_368
            ),
            _ => format!(
                "{{\"fields\":{{\"free\":{},\"inodes_used_percent\":{},\"total\":107374182400,\"used\":{},\"used_percent\":{active}}},\"name\":\"disk\",\"tags\":{{\"device\":\"vda\",\"fstype\":\"ext4\",{tags},\"path\":\"/\"}},\"timestamp\":{time}}}\n",
                mix(index) % 107_374_182_400,
                active * 0.1,
                mix(index + 1) % 107_374_182_400
            ),
        };
        (key, value, time)
    }
}
