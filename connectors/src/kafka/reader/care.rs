//! What the reader does beside reading: hears its client, and helps partitions that have lost their place.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::sink::ConnectorError;

use super::super::batch_queue::Wake;
use super::super::context::Context;
use super::super::error::classify;
use super::progress::Todo;
use super::{KafkaReader, endpoint};

/// A partition that the brokers knew nothing of for so many seconds does not exist: a topic that was just
/// made, or whose partitions are being moved, is known to them sooner. Told anew after as many again.
const DENIED_MAX: u32 = 10;

/// At most so many log lines, errors and statistics are taken from the client in one go, so that a
/// client in distress cannot keep its worker from reading.
const EVENTS_MAX: usize = 64;

/// Lets the client say what it has to say: log lines, errors and statistics go to its context.
pub(super) fn hear(consumer: &BaseConsumer<Context>, wake: &Wake) {
    let context = consumer.context();
    for _ in 0..EVENTS_MAX {
        // `poll` itself answers `None` both for an empty queue and for an event that the context dealt with.
        let before = context.events();
        let error = consumer.poll(Duration::ZERO).is_some();
        if !error && context.events() == before {
            return;
        }
    }
    // The queue is told of only when it was empty, so the rest must be remembered here.
    wake.main_ready.store(true, Ordering::Release);
}

impl KafkaReader {
    /// Tells those who watch over this reader which partitions have stopped, and what is lost.
    pub(super) fn publish(&self) {
        let stopped = self.partitions.iter().zip(&self.slots).filter_map(|(partition, slot)| {
            let fault = slot.progress.stopped?;
            let topic = self.topics.name(partition.topic);
            let said = fault.said(self.on_recreated);
            Some(format!("{}: {said}", endpoint(topic, *partition, &self.brokers)))
        });
        self.health().update(|snapshot| {
            snapshot.stopped = stopped.collect();
            snapshot.lost = self.lost();
        });
    }

    /// Takes log lines, errors and statistics from the client.
    pub(super) fn serve_client(&mut self) -> Result<(), ConnectorError> {
        if !self.wake.main_ready.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        hear(&self.consumer, &self.wake);
        let context = Arc::clone(self.consumer.context());
        let renewed = context.take_renewed();
        if !renewed.is_empty() {
            for (partition, slot) in self.partitions.iter().zip(&mut self.slots) {
                if renewed.contains(self.topics.name(partition.topic)) {
                    slot.progress.replaced();
                }
            }
            self.publish();
        }
        if let Some(statistics) = context.take_statistics() {
            for (partition, slot) in self.partitions.iter().zip(&mut self.slots) {
                let topic = self.topics.name(partition.topic);
                slot.served = statistics.serves(topic, partition.partition, self.idle_max_us);
                if !statistics.denies(topic, partition.partition) {
                    slot.denied = 0;
                    continue;
                }
                slot.denied += 1;
                if slot.denied == 1
                    && let Some(start) = slot.progress.vanished()
                    && let Err(error) = slot.queue.restart(start)
                {
                    tracing::warn!(topic, partition = partition.partition, %error, "could not go back to the last record read");
                }
                if slot.denied % DENIED_MAX == 0 {
                    slot.fault = Some(classify(
                        &endpoint(topic, *partition, &self.brokers),
                        RDKafkaErrorCode::UnknownTopicOrPartition,
                        "the brokers do not know of the partition",
                    ));
                }
            }
        }
        match context.health().take_refusal() {
            Some((code, text)) => Err(classify(&self.brokers, code, &text)),
            None => Ok(()),
        }
    }

    /// Takes what the brokers said about the bounds of logs, and does what partitions need that lost their
    /// place.
    pub(super) fn recover(&mut self) {
        let now = Instant::now();
        let mut changed = false;
        while let Some((partition, answer)) = self.bounds.answer() {
            let at = endpoint(self.topics.name(partition.topic), partition, &self.brokers);
            let policy = self.on_retention;
            let Ok(slot) = self.slot_mut(partition) else { continue };
            match answer {
                Ok(bounds) => {
                    let lost = slot.progress.judged(bounds, policy, now);
                    if lost > 0 {
                        let first = bounds.0;
                        tracing::warn!(
                            partition = at,
                            lost,
                            first,
                            "retention removed unread records"
                        );
                    }
                    changed |= lost > 0 || slot.progress.stopped.is_some();
                }
                Err(error) => {
                    tracing::warn!(partition = at, %error, "could not ask where the log begins, trying again");
                    slot.progress.unanswered(now);
                }
            }
        }
        for (partition, slot) in self.partitions.iter().zip(&mut self.slots) {
            let topic = self.topics.name(partition.topic);
            let done = match slot.progress.todo(now) {
                Todo::Nothing => continue,
                Todo::Ask => self.bounds.ask(&self.consumer, &self.wake, *partition, topic),
                Todo::Restart(start) => slot.queue.restart(start).is_ok(),
            };
            if !done {
                slot.progress.unanswered(now);
            }
        }
        self.recovering = self.slots.iter().any(|slot| slot.progress.is_recovering());
        if changed {
            self.publish();
        }
    }
}
