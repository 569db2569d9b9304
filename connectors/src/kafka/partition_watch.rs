//! Looks for new partitions while the pipeline runs, and for topics that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;

use super::health::KafkaHealth;
use super::topics::{Layout, TopicWatch};

/// Asks the brokers again and again which partitions there are, on a thread of its own, until dropped.
///
/// An outage of the brokers only delays it. A partition is told of once, even when its topic is deleted
/// and made anew: that is for its reader to find out. What is missing is said in the log when it is first
/// missed, and stays in [`PartitionWatch::health`] until it is back.
#[derive(Debug)]
pub struct PartitionWatch {
    health: Arc<KafkaHealth>,
    stop: Arc<AtomicBool>,
    thread: Thread,
}

impl PartitionWatch {
    /// How often to ask where nothing else is wanted.
    pub const INTERVAL: Duration = Duration::from_secs(10);

    /// How the thread's client fares: topics and partitions that are missing, partitions without leader.
    pub fn health(&self) -> &Arc<KafkaHealth> {
        &self.health
    }
}

impl Drop for PartitionWatch {
    fn drop(&mut self) {
        // The thread is not waited for: it ends as soon as its request is answered, at most seconds later.
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl TopicWatch {
    /// Looks every `interval` for partitions of `topics` that are not among `known`, and sends each found
    /// through the channel, once. The first look is at once: `known` may be some time old.
    ///
    /// The channel holds no more than the partitions of `topics`. Dropping its receiver or the watch ends
    /// the thread.
    ///
    /// # Errors
    /// [`ConnectorError::Transient`] when the system gives no thread.
    pub fn watch(
        self,
        topics: &Topics,
        known: &[PartitionId],
        interval: Duration,
    ) -> Result<(PartitionWatch, Receiver<PartitionId>), ConnectorError> {
        let (send, found) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let health = Arc::clone(self.health());
        let mut rounds = Rounds {
            watch: self,
            topics: topics.clone(),
            known: known.iter().copied().collect(),
            missing: Missing::default(),
            failing: false,
            send,
        };
        let stopped = Arc::clone(&stop);
        let work = move || {
            while !stopped.load(Ordering::Acquire) && rounds.look() {
                let next = Instant::now() + interval;
                while let left = next.saturating_duration_since(Instant::now())
                    && !left.is_zero()
                    && !stopped.load(Ordering::Acquire)
                {
                    thread::park_timeout(left);
                }
            }
        };
        let started = thread::Builder::new().name("kafka-topics".to_owned()).spawn(work);
        let thread = started.map_err(|source| ConnectorError::Transient {
            endpoint: "kafka topics".to_owned(),
            retry_after: None,
            source: source.into(),
        })?;
        let thread = thread.thread().clone();
        Ok((PartitionWatch { health, stop, thread }, found))
    }
}

/// What was known and is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Missing {
    topics: BTreeSet<String>,
    partitions: BTreeSet<(String, i32)>,
}

struct Rounds {
    watch: TopicWatch,
    topics: Topics,
    known: BTreeSet<PartitionId>,
    missing: Missing,
    failing: bool,
    send: Sender<PartitionId>,
}

impl Rounds {
    /// One round over all topics; whether somebody still listens.
    fn look(&mut self) -> bool {
        let topics = self.topics.clone();
        let mut layouts = BTreeMap::new();
        for (index, name) in (0..).zip(topics.iter()) {
            match self.watch.ask(name, Instant::now() + Duration::from_secs(60)) {
                Ok(layout) => {
                    layouts.insert((index, name), layout);
                }
                Err(error) => {
                    // Told once; the other topics would fail alike, and nothing is known to be gone.
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, topic = name, "could not look for new partitions, trying again");
                    }
                    return true;
                }
            }
        }
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!("looking for new partitions again");
        }
        self.compare(&layouts)
    }

    fn compare(&mut self, layouts: &BTreeMap<(u32, &str), Option<Layout>>) -> bool {
        let mut missing = Missing::default();
        let mut leaderless = Vec::new();
        for ((index, name), layout) in layouts {
            let Some(layout) = layout else {
                missing.topics.insert((*name).to_owned());
                continue;
            };
            leaderless.extend(layout.leaderless.iter().map(|p| ((*name).to_owned(), *p)));
            let there =
                layout.partitions.iter().map(|p| PartitionId { topic: *index, partition: *p });
            let there: BTreeSet<PartitionId> = there.collect();
            for gone in self.known.iter().filter(|k| k.topic == *index && !there.contains(k)) {
                missing.partitions.insert(((*name).to_owned(), gone.partition));
            }
            for new in there {
                if self.known.insert(new) {
                    tracing::info!(topic = name, partition = new.partition, "new partition");
                    if self.send.send(new).is_err() {
                        return false;
                    }
                }
            }
        }
        for topic in missing.topics.difference(&self.missing.topics) {
            tracing::warn!(
                topic,
                "the topic is gone; create it with `tidewatch topics`, or take it out of `[[sources]]`"
            );
        }
        for (topic, partition) in missing.partitions.difference(&self.missing.partitions) {
            tracing::warn!(topic, partition, "the partition is gone: was the topic made anew?");
        }
        if missing == Missing::default() && self.missing != missing {
            tracing::info!("all topics and partitions are there again");
        }
        leaderless.sort_unstable();
        self.watch.health().update(|snapshot| {
            snapshot.unknown_topics = missing.topics.iter().cloned().collect();
            snapshot.unknown = missing.partitions.iter().cloned().collect();
            snapshot.leaderless = leaderless;
        });
        self.missing = missing;
        true
    }
}
