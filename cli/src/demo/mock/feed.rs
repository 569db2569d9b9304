//! Plays the fleet: its backlog as fast as it goes, then live with the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_connectors::kafka::producer::{self as kafka, Producer};
use tidewatch_dataflow::time::{Clock, EventTime};

use super::super::fleet::{Fleet, Message};

/// Live messages are sent in steps of this length.
const STEP: Duration = Duration::from_millis(100);

/// How long the broker may take to make room or to acknowledge before the fleet gives up.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Something that takes the fleet's messages.
pub trait Produce: Send + 'static {
    /// Takes one message; waits while too many are under way.
    ///
    /// # Errors
    /// When it can take no more messages at all.
    fn produce(&mut self, message: &Message) -> anyhow::Result<()>;

    /// Waits until everything taken has arrived.
    ///
    /// # Errors
    /// When something did not arrive.
    fn flush(&mut self) -> anyhow::Result<()>;
}

/// How far the feeder is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FeedProgress {
    /// Messages handed to the producer.
    pub sent: u64,
    /// How many of them are the backlog; known once it has arrived as a whole.
    pub backlog: Option<u64>,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    /// One more than the size of the backlog; 0 while it is unknown.
    backlog: AtomicU64,
}

/// The thread that plays a fleet.
#[derive(Debug)]
pub struct Feeder {
    counters: Arc<Counters>,
    stop: Sender<()>,
    thread: JoinHandle<anyhow::Result<Fleet>>,
}

impl Feeder {
    /// Plays `fleet` into `producer`: everything that has arrived by its start at once, then every
    /// message when `clock` shows its arrival.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(fleet: Fleet, producer: impl Produce, clock: Clock) -> anyhow::Result<Self> {
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&counters);
        let thread = thread::Builder::new()
            .name("demo-fleet".to_owned())
            .spawn(move || {
                let mut feed = Feed { fleet, producer, counters: shared };
                feed.backlog()?;
                // Anything else than the passing of a step is the end.
                while stopped.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                    feed.until(clock.now())?;
                }
                feed.producer.flush()?;
                Ok(feed.fleet)
            })
            .context("could not start the thread of the simulated fleet")?;
        Ok(Feeder { counters, stop, thread })
    }

    /// How far it is.
    pub fn progress(&self) -> FeedProgress {
        FeedProgress {
            backlog: self.counters.backlog.load(Ordering::Acquire).checked_sub(1),
            sent: self.counters.sent.load(Ordering::Acquire),
        }
    }

    /// Whether the thread has ended by itself, which is an error that [`Feeder::stop`] tells.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops playing, waits until everything sent has arrived, and gives the fleet back.
    ///
    /// # Errors
    /// When a message could not be sent or did not arrive.
    pub fn stop(self) -> anyhow::Result<Fleet> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow!("the thread of the simulated fleet panicked"))?
    }
}

/// What the thread owns.
struct Feed<P> {
    fleet: Fleet,
    producer: P,
    counters: Arc<Counters>,
}

impl<P: Produce> Feed<P> {
    fn backlog(&mut self) -> anyhow::Result<()> {
        self.until(self.fleet.start())?;
        self.producer.flush()?;
        let sent = self.counters.sent.load(Ordering::Acquire);
        self.counters.backlog.store(sent + 1, Ordering::Release);
        Ok(())
    }

    fn until(&mut self, limit: EventTime) -> anyhow::Result<()> {
        for message in self.fleet.until(limit) {
            self.producer.produce(&message)?;
            self.counters.sent.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// A Kafka producer as agents use it: keyed by host, in order, each record once.
pub struct FleetProducer {
    client: Producer,
}

impl FleetProducer {
    /// Connects to `brokers`, in the background.
    ///
    /// # Errors
    /// When the client refuses the configuration.
    pub fn connect(brokers: &str) -> anyhow::Result<Self> {
        let config = KafkaConfig::new(brokers.split(','));
        Ok(FleetProducer { client: Producer::new(&config)? })
    }
}

impl Produce for FleetProducer {
    fn produce(&mut self, message: &Message) -> anyhow::Result<()> {
        let record = kafka::Message {
            topic: message.topic,
            key: Some(message.key.as_bytes()),
            value: Some(&message.value),
            time: Some(message.event_time),
            ..kafka::Message::default()
        };
        Ok(self.client.send(&record, WAIT_MAX)?)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.client.flush(WAIT_MAX).context("the fleet's last records were not acknowledged")?;
        Ok(())
    }
}
