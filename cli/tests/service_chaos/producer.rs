//! Writes the fleet's records to Kafka for as long as the chaos lasts, many times faster than they
//! happened, through every outage of the broker, each exactly once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::fleet::{Fleet, Outage, Record, Topic};

/// How many seconds of event time are there before anybody reads: each partition that is ever written
/// has records by then.
pub const HEAD_START: u64 = 60;
/// How often records are written.
const EVERY: Duration = Duration::from_millis(50);
/// How long the last records may take to be acknowledged: a broker may just be starting again.
const FLUSH_WITHIN: Duration = Duration::from_secs(60);

/// A running producer.
pub struct Producer {
    shared: Arc<Shared>,
    thread: JoinHandle<(Fleet, u64)>,
}

#[derive(Default)]
struct Shared {
    finish: AtomicBool,
    second: AtomicU64,
    /// The partitions whose hosts are to be off.
    off: Mutex<Vec<(Topic, i32)>>,
}

impl Producer {
    /// Writes the head start, then goes on by itself at `speed` seconds of event time in a second.
    pub fn start(bootstrap: &str, fleet: Fleet, speed: u64) -> Self {
        let failures = Failures::default();
        let producer: BaseProducer<Failures> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("reconnect.backoff.max.ms", "500")
            .create_with_context(failures.clone())
            .unwrap();
        let mut writer = Writer { producer, failures, fleet, next: 0 };
        writer.up_to(HEAD_START);
        writer.flush();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || writer.run(speed, &of_thread));
        Producer { shared, thread }
    }

    /// The second of event time up to which everything is written.
    pub fn second(&self) -> u64 {
        self.shared.second.load(Ordering::Relaxed)
    }

    /// Switches the hosts of a partition off.
    pub fn switch_off(&self, topic: Topic, partition: i32) {
        self.shared.off.lock().unwrap().push((topic, partition));
    }

    /// Switches all hosts on.
    pub fn switch_on(&self) {
        self.shared.off.lock().unwrap().clear();
    }

    /// Lets all become quiet, writes the end, and gives the fleet with all its outages and the second from which on
    /// all is quiet.
    pub fn finish(self) -> (Fleet, u64) {
        self.switch_on();
        self.shared.finish.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

struct Writer {
    producer: BaseProducer<Failures>,
    failures: Failures,
    fleet: Fleet,
    /// The next second to write.
    next: u64,
}

impl Writer {
    fn run(mut self, speed: u64, shared: &Shared) -> (Fleet, u64) {
        let began = Instant::now();
        while !shared.finish.load(Ordering::Relaxed) {
            self.switch(&shared.off.lock().unwrap());
            self.up_to(HEAD_START + began.elapsed().as_millis() as u64 * speed / 1_000);
            shared.second.store(self.next, Ordering::Relaxed);
            self.producer.poll(EVERY);
            std::thread::sleep(EVERY);
        }
        self.switch(&[]);
        let quiet_from = self.next;
        let last = Fleet::last_second(quiet_from);
        while self.next < last {
            let records = self.fleet.arriving(self.next, quiet_from);
            self.write(&records);
            self.next += 1;
        }
        let closing = self.fleet.closing(last);
        self.write(&closing);
        self.flush();
        (self.fleet, quiet_from)
    }

    /// Begins and ends outages with the next second, so that these hosts are off and no others.
    fn switch(&mut self, off: &[(Topic, i32)]) {
        let next = self.next;
        for outage in self.fleet.outages.iter_mut().filter(|outage| outage.to == u64::MAX) {
            if !off.contains(&(outage.topic, outage.partition)) {
                outage.to = next;
            }
        }
        for &(topic, partition) in off {
            let is_this = |o: &Outage| (o.topic, o.partition, o.to) == (topic, partition, u64::MAX);
            if !self.fleet.outages.iter().any(is_this) {
                self.fleet.outages.push(Outage { topic, partition, from: next, to: u64::MAX });
            }
        }
    }

    fn up_to(&mut self, second: u64) {
        while self.next < second {
            let records = self.fleet.arriving(self.next, u64::MAX);
            self.write(&records);
            self.next += 1;
        }
    }

    fn write(&self, records: &[Record]) {
        for record in records {
            let mut send = BaseRecord::to(record.topic.name())
                .partition(record.partition)
                .key(record.key.as_bytes())
                .payload(record.value.as_bytes())
                .timestamp(record.time as i64);
            while let Err((error, returned)) = self.producer.send(send) {
                let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                assert!(full, "could not write to `{}`: {error}", record.topic.name());
                self.producer.poll(Duration::from_millis(100));
                send = returned;
            }
        }
        self.producer.poll(Duration::ZERO);
        self.failures.check();
    }

    fn flush(&self) {
        self.producer.flush(FLUSH_WITHIN).unwrap();
        self.failures.check();
    }
}

/// Why records were not written: then the run proves nothing.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<Option<String>>>);

impl Failures {
    fn check(&self) {
        let failure = self.0.lock().unwrap();
        assert!(failure.is_none(), "a record was not written: {failure:?}");
    }
}

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap().get_or_insert_with(|| error.to_string());
        }
    }
}
