//! Outputs that lose what they have not delivered when their process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tidewatch::pipeline::{DurabilityError, Durable, Outputs, Resumption};
use tidewatch_dataflow::alert::{Incident, Transition};
use tidewatch_dataflow::checkpoint::{Cut, PieceWriter};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::{LogLine, PartitionId};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

use super::people::{Ear, People, Setting};

/// Fields of a point, floats as bits.
pub type Fields = BTreeMap<String, u64>;
/// Statistic, labels and window end.
pub type PointKey = (String, String, u64);
/// Partition, offset, and generation with the index of a line or the reason of a letter.
pub type Origin = (PartitionId, i64, String);

/// What has been delivered, by any run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    /// All values a point had, one after another, without repetition of the last.
    pub points: BTreeMap<PointKey, Vec<Fields>>,
    /// All contents that points as they were read had.
    pub raw: BTreeMap<PointKey, BTreeSet<Fields>>,
    /// The newest run that wrote a point.
    writers: BTreeMap<PointKey, u64>,
    /// All contents a transition had.
    pub transitions: BTreeMap<String, BTreeSet<Transition>>,
    pub logs: BTreeMap<Origin, BTreeSet<String>>,
    pub letters: BTreeMap<Origin, BTreeSet<String>>,
    /// What people were told, and by which run, in that order.
    pub heard: Vec<(u64, Transition)>,
    /// For each run in turn, the edition of its rules and the cut from which on they are computed.
    pub begun: Vec<(u32, EventTime)>,
}

impl Delivered {
    /// A topic has been added before the only one.
    pub fn renumber(&mut self) {
        for origins in [&mut self.logs, &mut self.letters] {
            let old = std::mem::take(origins);
            let moved = old.into_iter().map(|((partition, offset, what), contents)| {
                ((PartitionId { topic: partition.topic + 1, ..partition }, offset, what), contents)
            });
            *origins = moved.collect();
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    points: Vec<MetricPoint>,
    raw: Vec<MetricPoint>,
    transitions: Vec<Transition>,
    logs: Vec<LogLine>,
    letters: Vec<DeadLetter>,
}

impl Pending {
    /// Delivers what run `run` has put out. No store can tell that a run is overtaken: an old value that such a run
    /// writes after its successor has corrected it would stay. What it writes must be true all the same.
    fn deliver(&mut self, run: u64, to: &mut Delivered) {
        for point in self.points.drain(..) {
            let (key, fields) = content(&point);
            let writer = to.writers.entry(key.clone()).or_default();
            let values = to.points.entry(key).or_default();
            if run < *writer {
                values.insert(0, fields);
            } else if values.last() != Some(&fields) {
                values.push(fields);
            }
            *writer = run.max(*writer);
        }
        for point in self.raw.drain(..) {
            let (key, fields) = content(&point);
            to.raw.entry(key).or_default().insert(fields);
        }
        for transition in self.transitions.drain(..) {
            to.transitions.entry(transition.id()).or_default().insert(transition);
        }
        for line in self.logs.drain(..) {
            let origin =
                (line.partition, line.offset, format!("{}-{}", line.generation, line.index));
            to.logs.entry(origin).or_default().insert(line.message.to_string());
        }
        for letter in self.letters.drain(..) {
            let origin = (
                letter.partition,
                letter.offset,
                format!("{}-{}", letter.generation, letter.reason.as_str()),
            );
            let DeadLetter { detail, value, event_time, .. } = letter;
            let content = format!("{detail} {value:?} {event_time:?}");
            to.letters.entry(origin).or_default().insert(content);
        }
    }
}

fn content(point: &MetricPoint) -> (PointKey, Fields) {
    let fields = point.fields.iter().map(|(n, v)| (n.to_string(), v.to_bits())).collect();
    let (measurement, labels) = (point.measurement.to_string(), point.labels.to_string());
    ((measurement, labels, point.time.as_millis()), fields)
}

/// The outputs of one run.
pub struct Sink {
    far: Arc<Mutex<Delivered>>,
    pending: Mutex<Pending>,
    active: Mutex<BTreeSet<(Incident, Labels)>>,
    dead: Arc<AtomicBool>,
    /// Rises from run to run.
    run: u64,
    /// Every so many calls what waits is delivered, 0 for never before it must be.
    eager: u64,
    calls: AtomicU64,
    /// What the active incidents did that they may not.
    pub offence: Mutex<Option<String>>,
    /// What people are told of, if there are any.
    setting: Option<Setting>,
    people: OnceLock<People>,
}

impl Sink {
    pub fn new(
        far: &Arc<Mutex<Delivered>>,
        run: u64,
        eager: u64,
        setting: Option<Setting>,
    ) -> Self {
        Sink {
            setting,
            people: OnceLock::new(),
            run,
            far: Arc::clone(far),
            pending: Mutex::default(),
            active: Mutex::default(),
            dead: Arc::default(),
            eager,
            calls: AtomicU64::new(0),
            offence: Mutex::default(),
        }
    }

    /// Nothing is delivered any more; what waits is lost.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub fn flush(&self) {
        let mut pending = self.pending.lock().unwrap();
        let mut far = self.far.lock().unwrap();
        if !self.dead.load(Ordering::SeqCst) {
            pending.deliver(self.run, &mut far);
        }
    }

    pub fn delivered(&self) -> Delivered {
        self.far.lock().unwrap().clone()
    }

    pub fn active(&self) -> BTreeSet<(Incident, Labels)> {
        self.active.lock().unwrap().clone()
    }

    /// Everything is applied up to `applied`: waits until people have heard of it; whether they have.
    pub fn settle(&self, applied: EventTime) -> bool {
        let Some(people) = self.people.get() else { return true };
        let ends = people.settle(applied);
        let is_settled = ends.is_some();
        self.add(|pending| pending.transitions.extend(ends.unwrap_or_default()));
        is_settled
    }

    fn add(&self, add: impl FnOnce(&mut Pending)) {
        add(&mut self.pending.lock().unwrap());
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.eager > 0 && calls.is_multiple_of(self.eager) {
            self.flush();
        }
    }
}

impl Outputs for Sink {
    fn points(&self, points: Vec<MetricPoint>) {
        self.add(|pending| pending.points.extend(points));
    }
    fn raw(&self, points: Vec<MetricPoint>) {
        self.add(|pending| pending.raw.extend(points));
    }
    fn logs(&self, lines: Vec<LogLine>) {
        self.add(|pending| pending.logs.extend(lines));
    }
    fn dead_letters(&self, letters: Vec<DeadLetter>) {
        self.add(|pending| pending.letters.extend(letters));
    }
    fn transitions(&self, transitions: Vec<Transition>) {
        let ends = self.people.get().map(|people| people.hear(&transitions)).unwrap_or_default();
        self.add(|pending| pending.transitions.extend(ends.into_iter().chain(transitions)));
    }
    fn active(&self, changes: Vec<((Incident, Labels), isize)>) {
        let mut active = self.active.lock().unwrap();
        for (incident, diff) in changes {
            let is_new = match diff {
                1 => active.insert(incident.clone()),
                -1 => active.remove(&incident),
                _ => false,
            };
            if !is_new {
                *self.offence.lock().unwrap() = Some(format!("{diff:+} of {incident:?}"));
            }
        }
    }
    fn resume(&self, resumption: &Resumption) -> Result<(), DurabilityError> {
        let Some(setting) = &self.setting else { return Ok(()) };
        let (far, dead) = (Arc::clone(&self.far), Arc::clone(&self.dead));
        let people = People::open(setting, resumption, Ear { far, run: self.run, dead })?;
        // Nobody resumes twice.
        let _ = self.people.set(people);
        Ok(())
    }
    fn put(&self, pieces: &mut PieceWriter<'_>) {
        if let Some(people) = self.people.get() {
            people.put(pieces);
        }
    }
    fn make_durable(&self, _cut: Cut, done: Durable) {
        self.flush();
        // A dead process tells nobody.
        if self.dead.load(Ordering::SeqCst) {
            return;
        }
        match self.people.get() {
            Some(people) => people.make_durable(|pieces| done(pieces, Vec::new())),
            None => done(Vec::new(), Vec::new()),
        }
    }
    fn committed(&self, cut: Cut) {
        if let Some(people) = self.people.get() {
            people.committed(cut.at);
        }
    }
    fn is_full(&self) -> bool {
        false
    }
}
