//! Kafka within the process: librdkafka's mock cluster, and the thread that plays the fleet into it.
//!
//! ```text
//!   thread demo-fleet                     thread demo-kafka          the engine
//!   fleet ──► producer of librdkafka ──►  mock cluster on 127.0.0.1 ──► source of production
//! ```
//!
//! The mock speaks the Kafka protocol over sockets; producer and consumer do not know that it is not a
//! real cluster. It keeps 5 MiB or 100,000 messages of a partition, in memory, and ends with the process;
//! [`fleet`](super::fleet) says why the backlog fits.

mod feed;
#[cfg(test)]
mod tests;

use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow};
use rdkafka::mocking::MockCluster;

pub use feed::{FeedProgress, Feeder, FleetProducer, Produce};

use super::fleet::{TOPICS, partitions};

/// An in-process Kafka with the demo's topics. It lives until this is dropped; drop every client first.
#[derive(Debug)]
pub struct MockKafka {
    brokers: String,
    /// Dropping it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MockKafka {
    /// Starts a mock of one broker with the four topics, partitioned for `hosts`.
    ///
    /// # Errors
    /// When librdkafka cannot start it, for example because no loopback socket can be opened.
    pub fn start(hosts: usize) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (ready, started) = mpsc::channel();
        // The cluster's handle may not move between threads, so one thread keeps it.
        let thread = thread::Builder::new()
            .name("demo-kafka".to_owned())
            .spawn(move || match open(hosts) {
                Ok(cluster) => {
                    let told = ready.send(Ok(cluster.bootstrap_servers()));
                    // Both an answer and a hang-up mean the end; nothing else is ever sent.
                    let _ = told.map(|()| stopped.recv());
                    drop(cluster);
                }
                Err(error) => drop(ready.send(Err(error))),
            })
            .context("could not start the thread of the in-process Kafka")?;
        let brokers = started
            .recv()
            .map_err(|_| anyhow!("the in-process Kafka ended while it started"))??;
        Ok(MockKafka { brokers, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens: `host:port`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }
}

impl Drop for MockKafka {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been reported by the panic hook; the process is ending anyway.
            let _ = thread.join();
        }
    }
}

fn open(
    hosts: usize,
) -> anyhow::Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>> {
    let cluster = MockCluster::new(1).context("could not start the in-process Kafka")?;
    for topic in TOPICS {
        cluster
            .create_topic(topic, partitions(hosts), 1)
            .with_context(|| format!("could not create topic `{topic}` of the in-process Kafka"))?;
    }
    Ok(cluster)
}
