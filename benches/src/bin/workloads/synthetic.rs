//! A fleet without a broker: a thread makes messages, readers hand them out as a Kafka client would.
//!
//! ```text
//!  generator ─► two batches for each partition ─► reader ─► the real codec, the real dataflow
//!       ▲                                           │
//!       └───────────── used buffers ◄───────────────┘
//! ```
//! So a million series need neither a broker nor memory for messages, and what making them costs is the
//! generator's CPU and told apart by its thread. A reader that is told so stays close to what is applied,
//! as one does that reads live: it hands nothing out beyond that much of event time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewatch::pipeline::{PipelineCounters, Sources};
use tidewatch_connectors::codec::{self, LogLabels, SourceFormat};
use tidewatch_dataflow::ingest::ResumePoint;
use tidewatch_dataflow::record::{PartitionId, Record, RecordBatch, RecordTime};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, Poll, SourceReader};
use tidewatch_dataflow::time::{EventTime, millis};

use super::fleet::{Draft, KINDS, START, Scribe, Wire, mix};
use super::process::GENERATOR;

/// The topic that the messages claim to come from.
pub(crate) const TOPIC: &str = "fleet-metrics";

/// Messages of a batch: 300 KB of them stay in a core's second-level cache.
const BATCH: usize = 1_024;
/// Batches ahead of the reader, for each partition.
const AHEAD: usize = 2;

/// Which messages there are: without end.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Rhythm {
    /// Hosts, each with [`KINDS`] series.
    pub(crate) hosts: u64,
    /// How often each series has a sample, in event time.
    pub(crate) every: Duration,
    /// Partitions; a host's is its number modulo this.
    pub(crate) partitions: u64,
    /// How far beyond what is applied readers hand out: the open pane, the bound, and some. `None`: as far
    /// as the engine lets them.
    pub(crate) live: Option<Duration>,
    /// How the messages are written.
    pub(crate) wire: Wire,
}

impl Rhythm {
    /// Series of the whole fleet.
    pub(crate) fn series(&self) -> u64 {
        self.hosts * KINDS
    }

    /// Messages of one round of `partition`, in which each of its series has one.
    fn round(&self, partition: u64) -> u64 {
        let hosts = (self.hosts + self.partitions - 1 - partition) / self.partitions;
        hosts * KINDS
    }

    /// The message at `offset` of `partition`. Each round lies inside its own stretch of `every`, up to a second
    /// out of order, so that windows hold the same number of samples of every series.
    fn draft(&self, partition: u64, offset: u64) -> Draft {
        let in_round = self.round(partition).max(1);
        let (round, at) = (offset / in_round, offset % in_round);
        let every = millis(self.every);
        let jitter = every.clamp(1, 1_000);
        let salt = mix(offset * self.partitions + partition);
        let time = START + round * every + at * (every - jitter) / in_round + salt % jitter;
        let host = partition + at / KINDS * self.partitions;
        Draft { host, kind: at % KINDS, time, salt, busy: false }
    }
}

/// Messages of one partition in one piece of memory.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where key and value end, and the event time.
    ends: Vec<(usize, usize, u64)>,
    first_offset: u64,
}

impl Batch {
    fn fill(&mut self, rhythm: &Rhythm, scribe: &Scribe, partition: u64, first_offset: u64) {
        self.bytes.clear();
        self.ends.clear();
        self.first_offset = first_offset;
        for offset in (first_offset..).take(BATCH) {
            let draft = rhythm.draft(partition, offset);
            Scribe::key(draft.host, &mut self.bytes);
            let key_end = self.bytes.len();
            scribe.write(rhythm.wire, draft, &mut self.bytes);
            self.ends.push((key_end, self.bytes.len(), draft.time));
        }
    }
}

/// Wakes a reader's worker.
type Wake = Arc<dyn Fn() + Send + Sync>;

/// Who has found nothing and wants to be woken.
#[derive(Default)]
struct Bell {
    wanted: AtomicBool,
    wakes: Mutex<Vec<Wake>>,
}

impl Bell {
    fn ring(&self) {
        if self.wanted.swap(false, Ordering::AcqRel) {
            let wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            wakes.iter().for_each(|wake| wake());
        }
    }
}

/// The sources of a pipeline over a synthetic fleet.
pub(crate) struct SyntheticSources {
    partitions: Vec<PartitionId>,
    queues: Mutex<BTreeMap<PartitionId, Receiver<Batch>>>,
    used: Sender<Batch>,
    bell: Arc<Bell>,
    live: Option<Duration>,
    wire: Wire,
    /// Told by the pipeline how far it has come.
    counters: Arc<PipelineCounters>,
}

impl SyntheticSources {
    /// Starts the generator, which ends with the readers.
    pub(crate) fn start(
        rhythm: Rhythm,
        counters: Arc<PipelineCounters>,
    ) -> std::io::Result<SyntheticSources> {
        let (mut queues, mut senders) = (BTreeMap::new(), Vec::new());
        for number in (0i32..).take(rhythm.partitions as usize) {
            let (sender, receiver) = sync_channel(AHEAD);
            queues.insert(PartitionId { topic: 0, partition: number }, receiver);
            senders.push(sender);
        }
        let partitions = queues.keys().copied().collect();
        let (used, back) = channel();
        let bell = Arc::new(Bell::default());
        let rings = Arc::clone(&bell);
        std::thread::Builder::new()
            .name(GENERATOR.to_owned())
            .spawn(move || generate(&rhythm, &senders, &back, &rings))?;
        let (queues, live, wire) = (Mutex::new(queues), rhythm.live, rhythm.wire);
        Ok(SyntheticSources { partitions, queues, used, bell, live, wire, counters })
    }
}

/// Makes batches, always for the partition that is farthest behind in event time, until nobody reads one of them
/// any more. Partitions have different numbers of hosts: batches in turn would drift apart without end.
fn generate(rhythm: &Rhythm, to: &[SyncSender<Batch>], used: &Receiver<Batch>, bell: &Bell) {
    let scribe = Scribe::new();
    let mut next = vec![0u64; to.len()];
    loop {
        let time = |(partition, offset): (u64, &u64)| rhythm.draft(partition, *offset).time;
        let behind = (0u64..).zip(&next).enumerate().min_by_key(|(_, at)| time(*at));
        let Some((index, (partition, first_offset))) = behind else { return };
        let mut batch = used.try_recv().unwrap_or_default();
        batch.fill(rhythm, &scribe, partition, *first_offset);
        let sent = to.get(index).is_some_and(|sender| sender.send(batch).is_ok());
        if !sent {
            return;
        }
        bell.ring();
        if let Some(next) = next.get_mut(index) {
            *next += BATCH as u64;
        }
    }
}

impl Sources for SyntheticSources {
    fn partitions(&self) -> Vec<PartitionId> {
        self.partitions.clone()
    }

    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = partitions.iter().filter_map(|(id, _)| {
            let queue = queues.remove(id)?;
            Some((*id, Slot { queue, batch: None, at: 0, next: 0 }))
        });
        Ok(Box::new(SyntheticReader {
            partitions: partitions.iter().map(|(id, _)| *id).collect(),
            slots: slots.collect(),
            used: self.used.clone(),
            bell: Arc::clone(&self.bell),
            live: self.live,
            counters: Arc::clone(&self.counters),
        }))
    }

    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        // Logs are asked for Q4 only, errors by service: as a pipeline of that query reads them.
        let log_labels = LogLabels { host: false, ..LogLabels::ALL };
        let format = SourceFormat::new(TOPIC, self.wire.format());
        vec![codec::for_source(&SourceFormat { log_labels, ..format })]
    }
}

/// One partition of a reader.
struct Slot {
    queue: Receiver<Batch>,
    batch: Option<Batch>,
    /// The next message of the batch.
    at: usize,
    /// Its offset.
    next: u64,
}

struct SyntheticReader {
    partitions: Vec<PartitionId>,
    slots: BTreeMap<PartitionId, Slot>,
    used: Sender<Batch>,
    bell: Arc<Bell>,
    live: Option<Duration>,
    counters: Arc<PipelineCounters>,
}

/// The event time up to which messages are handed out.
fn gate(live: Option<Duration>, applied: &AtomicU64) -> u64 {
    live.map_or(u64::MAX, |lead| applied.load(Ordering::Relaxed).max(START) + millis(lead))
}

impl SourceReader for SyntheticReader {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn poll(
        &mut self,
        partition: PartitionId,
        budget: NonZeroUsize,
        visit: &mut dyn FnMut(RecordBatch<'_>),
    ) -> Result<Poll, ConnectorError> {
        let gate = gate(self.live, &self.counters.applied);
        let Some(slot) = self.slots.get_mut(&partition) else { return Ok(Poll::AtEnd) };
        if slot.batch.is_none() {
            // Wanted before the look, so that what comes in between rings.
            self.bell.wanted.store(true, Ordering::Release);
            let Ok(batch) = slot.queue.try_recv() else { return Ok(Poll::Pending) };
            (slot.at, slot.next) = (0, batch.first_offset);
            slot.batch = Some(batch);
        }
        let Some(batch) = &slot.batch else { return Ok(Poll::Pending) };
        let begin = slot.at.checked_sub(1).and_then(|before| batch.ends.get(before));
        let mut from = begin.map_or(0, |(_, end, _)| *end);
        let mut records = Vec::with_capacity(budget.get().min(BATCH));
        let open = batch.ends.iter().skip(slot.at).take(budget.get());
        for (offset, (key_end, end, time)) in (slot.next..).zip(open) {
            if *time > gate {
                break;
            }
            records.push(Record {
                offset: i64::try_from(offset).unwrap_or(i64::MAX),
                time: RecordTime::Created(EventTime::from_millis(*time)),
                key: batch.bytes.get(from..*key_end),
                value: batch.bytes.get(*key_end..*end),
                headers: &[],
            });
            from = *end;
        }
        let handed = records.len();
        if handed == 0 {
            // The frontier's advance wakes the source.
            return Ok(Poll::Pending);
        }
        visit(RecordBatch { partition, records: &records });
        drop(records);
        slot.at += handed;
        slot.next += handed as u64;
        if slot.at == batch.ends.len()
            && let Some(batch) = slot.batch.take()
        {
            // The generator is gone when this fails: it needs no buffers.
            let _ = self.used.send(batch);
        }
        Ok(Poll::Ready)
    }

    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        let mut wakes = self.bell.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        wakes.push(Arc::from(wake));
    }

    fn position(&self, partition: PartitionId) -> Option<i64> {
        i64::try_from(self.slots.get(&partition)?.next).ok()
    }

    fn assign(&mut self, _: PartitionId, _: Option<i64>) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn lag(&self, _: PartitionId) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_one_sample_in_each_round() {
        for (hosts, every) in [(5, 10), (1_000, 10), (24, 1)] {
            let every = Duration::from_secs(every);
            let rhythm = Rhythm { hosts, every, partitions: 12, live: None, wire: Wire::Json };
            let mut seen = BTreeMap::new();
            for partition in 0..12 {
                for offset in 0..rhythm.round(partition) * 3 {
                    let draft = rhythm.draft(partition, offset);
                    let round = (draft.time - START) / millis(every);
                    assert_eq!(draft.host % 12, partition);
                    *seen.entry((draft.host, draft.kind, round)).or_insert(0) += 1;
                }
            }
            assert_eq!(seen.len() as u64, rhythm.series() * 3);
            assert!(seen.values().all(|count| *count == 1));
        }
    }
}
