//! What is told of checkpoints, in the form of `--json`: names of fields are part of the command line.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tidewatch_dataflow::checkpoint::StateStore;
use tidewatch_dataflow::ingest::IngestState;
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::time::EventTime;

use super::audit::{Checkpoint, Damage, Survey};

/// A line of the list.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Run and number, as the store has it.
    pub name: String,
    /// The run that wrote it.
    pub run: Option<u64>,
    /// Its number in the run.
    pub number: Option<u64>,
    /// The instant of event time that it was cut at: everything before is in it.
    pub event_time: Option<String>,
    /// When it was written.
    pub written_at: Option<String>,
    /// How long ago that is.
    pub age_seconds: Option<u64>,
    /// Bytes of state.
    pub state_bytes: u64,
    /// In so many pieces.
    pub pieces: usize,
    /// `complete` or `damaged`.
    pub state: &'static str,
    /// What is wrong with it.
    pub damages: Vec<Fault>,
}

/// Something wrong with an object.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// Its name.
    pub object: String,
    /// What is wrong.
    pub reason: String,
}

impl Fault {
    /// What is told of `damages`.
    pub fn of<'a>(damages: impl IntoIterator<Item = &'a Damage>) -> Vec<Fault> {
        let fault = |Damage { object, reason }: &Damage| Fault {
            object: object.clone(),
            reason: reason.clone(),
        };
        damages.into_iter().map(fault).collect()
    }
}

/// One checkpoint in detail.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// What the list says of it.
    #[serde(flatten)]
    pub line: Line,
    /// The pipeline it belongs to.
    pub pipeline: Option<String>,
    /// Workers of the run that wrote it.
    pub workers: Option<u32>,
    /// Its processes.
    pub processes: Option<usize>,
    /// How many objects its pieces lie in.
    pub objects: usize,
    /// Where reading goes on; empty when the state cannot be read.
    pub partitions: Vec<PartitionFacts>,
    /// Groups that operators leave out; empty when the state cannot be read.
    pub quarantined: Vec<QuarantineFacts>,
    /// What the operators put.
    pub operators: Vec<OperatorFacts>,
    /// What sinks have still to deliver.
    pub sinks: Vec<SinkFacts>,
}

/// A partition at the cut.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionFacts {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The first offset to read again.
    pub offset: Option<i64>,
    /// Its watermark before that record.
    pub watermark: Option<String>,
    /// Whether it was idle, and time went on without it.
    pub idle: bool,
}

/// A group in quarantine.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineFacts {
    /// The operator that crashed at it: all windows of a feed, or a rule.
    pub operator: String,
    /// The group's labels.
    pub group: String,
    /// The instant of event time from which on it is left out.
    pub from: String,
}

/// An operator's state, of all workers.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorFacts {
    /// Its name.
    pub operator: String,
    /// How many workers put any.
    pub workers: usize,
    /// How many pieces.
    pub pieces: usize,
    /// Bytes of them.
    pub bytes: u64,
}

/// What a sink has spilled.
#[derive(Clone, Debug, Serialize)]
pub struct SinkFacts {
    /// The sink, with its process: `p0000-influxdb`.
    pub sink: String,
    /// How many segments.
    pub segments: usize,
    /// Bytes of them.
    pub bytes: u64,
}

/// A time as people and programs read it.
pub fn rfc3339(time: EventTime) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let shown = jiff::Timestamp::from_millisecond(millis).map(|time| time.to_string());
    shown.unwrap_or_else(|_| format!("{millis} ms"))
}

impl Line {
    /// What the list says of `checkpoint` at the present `now`.
    pub fn of(checkpoint: &Checkpoint, now: EventTime) -> Line {
        let (run, number) = checkpoint.run_and_number().unzip();
        let manifest = checkpoint.manifest.as_ref();
        Line {
            name: checkpoint.title().to_owned(),
            run,
            number,
            event_time: manifest.map(|manifest| rfc3339(manifest.cut.at)),
            written_at: manifest.map(|manifest| rfc3339(manifest.written_at)),
            age_seconds: manifest.map(|manifest| now.since(manifest.written_at).as_secs()),
            state_bytes: checkpoint.state_bytes(),
            pieces: checkpoint.pieces(),
            state: if checkpoint.damages.is_empty() { "complete" } else { "damaged" },
            damages: Fault::of(&checkpoint.damages),
        }
    }
}

impl Detail {
    /// What there is to say of checkpoint `index` of the survey.
    pub fn of(
        store: &dyn StateStore,
        survey: &Survey,
        index: usize,
        now: EventTime,
    ) -> Option<Detail> {
        let checkpoint = survey.checkpoints.get(index)?;
        let manifest = checkpoint.manifest.as_ref();
        let ingest = ingest(store, checkpoint);
        let objects: BTreeSet<&String> = checkpoint.parts.iter().flat_map(|p| &p.objects).collect();
        Some(Detail {
            line: Line::of(checkpoint, now),
            pipeline: manifest.map(|manifest| manifest.pipeline.clone()),
            workers: manifest.map(|manifest| manifest.workers),
            processes: manifest.map(|manifest| manifest.parts.len()),
            objects: objects.len(),
            partitions: ingest.as_ref().map(|i| partitions(i, checkpoint)).unwrap_or_default(),
            quarantined: ingest.as_ref().map(quarantined).unwrap_or_default(),
            operators: operators(checkpoint),
            sinks: sinks(checkpoint, &survey.sizes),
        })
    }
}

/// The state of the sources; `None` when it cannot be read, which the checkpoint's damages say.
fn ingest(store: &dyn StateStore, checkpoint: &Checkpoint) -> Option<IngestState> {
    let manifest = checkpoint.manifest.as_ref().filter(|_| checkpoint.damages.is_empty())?;
    let state = manifest.load(store).ok()?;
    IngestState::read(state.operators.get("ingest")?, Some).ok()
}

/// Where reading goes on.
fn partitions(ingest: &IngestState, checkpoint: &Checkpoint) -> Vec<PartitionFacts> {
    let topics = checkpoint.manifest.as_ref().map(|manifest| &manifest.topics);
    let topic = |id: PartitionId| {
        let name = usize::try_from(id.topic).ok().and_then(|topic| topics?.get(topic));
        name.map_or("?", String::as_str).to_owned()
    };
    let facts = ingest.points.values().map(|point| PartitionFacts {
        topic: topic(point.partition),
        partition: point.partition.partition,
        offset: point.offset,
        watermark: point.watermark.map(rfc3339),
        idle: point.lifted,
    });
    facts.collect()
}

/// Which groups are left out.
fn quarantined(ingest: &IngestState) -> Vec<QuarantineFacts> {
    let facts = ingest.facts.quarantined().map(|(what, from)| QuarantineFacts {
        operator: what.operator.to_string(),
        group: what.group.to_string(),
        from: rfc3339(from),
    });
    facts.collect()
}

fn operators(checkpoint: &Checkpoint) -> Vec<OperatorFacts> {
    let mut facts: BTreeMap<&str, OperatorFacts> = BTreeMap::new();
    for put in checkpoint.parts.iter().flat_map(|part| &part.operators) {
        let operator = facts.entry(&put.operator).or_insert_with(|| OperatorFacts {
            operator: put.operator.to_string(),
            workers: 0,
            pieces: 0,
            bytes: 0,
        });
        operator.workers += 1;
        operator.pieces += put.pieces.len();
        operator.bytes += put.pieces.iter().map(|piece| piece.length).sum::<u64>();
    }
    facts.into_values().collect()
}

fn sinks(checkpoint: &Checkpoint, sizes: &BTreeMap<String, u64>) -> Vec<SinkFacts> {
    let mut facts: BTreeMap<&str, SinkFacts> = BTreeMap::new();
    for segment in checkpoint.segments() {
        let sink = facts.entry(sink_of(segment)).or_insert_with_key(|sink| SinkFacts {
            sink: (*sink).to_owned(),
            segments: 0,
            bytes: 0,
        });
        sink.segments += 1;
        sink.bytes += sizes.get(segment).copied().unwrap_or_default();
    }
    facts.into_values().collect()
}

/// `spill/00000007-p0000-influxdb/00000000` is of `p0000-influxdb`.
fn sink_of(segment: &str) -> &str {
    let below = segment.strip_prefix("spill/").unwrap_or(segment);
    let folder = below.rsplit_once('/').map_or(below, |(folder, _)| folder);
    match folder.split_once('-') {
        Some((run, sink)) if run.bytes().all(|b| b.is_ascii_digit()) => sink,
        _ => folder,
    }
}
