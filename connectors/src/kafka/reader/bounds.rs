//! Asks brokers where a log begins and ends, on a thread beside the worker, which must not wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use tidewatch_dataflow::record::PartitionId;

use super::super::batch_queue::Wake;
use super::super::context::Context;

/// How long one question may take; it is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Where a log begins, and the offset after its last record.
pub(super) type Bounds = (i64, i64);

/// Questions and answers. The thread is started by the first question, which most readers never have, and
/// ends when this is dropped, after the question it is at.
///
/// Each partition has at most one question open, so both channels are bounded by the partitions.
#[derive(Default)]
pub(super) struct BoundsFinder {
    channels: Option<Channels>,
}

impl BoundsFinder {
    /// Asks for the bounds of `partition` of topic `topic`; `false` when there is nobody to ask.
    pub(super) fn ask(
        &mut self,
        consumer: &Arc<BaseConsumer<Context>>,
        wake: &Arc<Wake>,
        partition: PartitionId,
        topic: &str,
    ) -> bool {
        if self.channels.is_none() {
            self.channels = start(Arc::clone(consumer), Arc::clone(wake));
        }
        let question = (partition, topic.to_owned());
        self.channels.as_ref().is_some_and(|(questions, _)| questions.send(question).is_ok())
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&mut self) -> Option<(PartitionId, KafkaResult<Bounds>)> {
        self.channels.as_ref()?.1.try_recv().ok()
    }
}

type Channels = (Sender<(PartitionId, String)>, Receiver<(PartitionId, KafkaResult<Bounds>)>);

fn start(consumer: Arc<BaseConsumer<Context>>, wake: Arc<Wake>) -> Option<Channels> {
    let (questions, asked) = channel::<(PartitionId, String)>();
    let (answer, answers) = channel();
    let work = move || {
        for (partition, topic) in asked {
            let bounds = consumer.fetch_watermarks(&topic, partition.partition, ANSWER_MAX);
            if answer.send((partition, bounds)).is_err() {
                return;
            }
            wake.wake();
        }
    };
    let started = thread::Builder::new().name("kafka-bounds".to_owned()).spawn(work);
    match started {
        Ok(_) => Some((questions, answers)),
        Err(error) => {
            tracing::warn!(%error, "could not start the thread that asks for the bounds of logs, trying again");
            None
        }
    }
}
