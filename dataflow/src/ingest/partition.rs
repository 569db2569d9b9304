//! What one worker knows of one of its own partitions.

use std::collections::VecDeque;
use std::time::Duration;

use super::board::Report;
use super::held::HeldBatch;
use super::journal::{Facts, Part};
use super::resume::{Bookmarks, ResumePoint};
use crate::admission::PartitionClock;
use crate::record::{Mark, PartitionId, Record, record_hash};
use crate::time::{EventTime, PaneSize};

/// Whether a partition takes part in the minimum.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It does.
    Live,
    /// It does, and asks to be lifted.
    Silent,
    /// It does not, until its next record.
    Lifted,
    /// A record has come: it holds time at this instant, and waits for the floor that the director gives.
    Returning(EventTime),
}

/// One partition on the worker that reads it.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: PartitionId,
    pub(super) clock: PartitionClock,
    pub(super) bookmarks: Bookmarks,
    /// Records that wait for a decision; nothing is read meanwhile.
    pub(super) held: Option<HeldBatch>,
    /// Whether the records held wait for the director's note that some are refused.
    pub(super) refusal_asked: bool,
    /// The first offset that time has gone on without: it was lifted when that was the next one.
    lift_at: Option<i64>,
    /// Floors of records not admitted yet, from which offset on.
    floors: VecDeque<(i64, EventTime)>,
    /// Bounds of records not admitted yet, from which offset on: the configuration has changed since.
    bounds: VecDeque<(i64, Duration)>,
    /// The offset after the last record admitted.
    next: Option<i64>,
    /// Offset and hash of the last record admitted.
    last: Option<(i64, u64)>,
    phase: Phase,
    /// Counts the times the partition changed its phase, so that a decision that crosses a change is
    /// recognised as stale.
    generation: u32,
    /// Wall clock of the last record, or of the first look.
    last_record: EventTime,
    seen_record: bool,
    /// Whether it has been at the end of its log in this run.
    pub(super) caught_up: bool,
    /// Whether another log has taken the place of the one that was read.
    log_is_over: bool,
    /// How many records the last batch had and what they gave, for the room of the next one.
    pub(super) before: (usize, Mark),
    reported: Option<Report>,
}

impl Partition {
    /// A partition before its first record.
    pub(super) fn new(
        id: PartitionId,
        out_of_orderness: Duration,
        grid: PaneSize,
        now: EventTime,
    ) -> Self {
        Partition {
            id,
            clock: PartitionClock::new(out_of_orderness),
            bookmarks: Bookmarks::new(grid),
            held: None,
            refusal_asked: false,
            lift_at: None,
            floors: VecDeque::new(),
            bounds: VecDeque::new(),
            next: None,
            last: None,
            phase: Phase::Live,
            generation: 0,
            last_record: now,
            seen_record: false,
            caught_up: false,
            log_is_over: false,
            before: Default::default(),
            reported: None,
        }
    }

    /// Begins without a state. What an earlier run has decided and had no time to put into a checkpoint holds.
    pub(super) fn begin(&mut self, facts: &Facts) {
        self.floors = facts.floors(self.id, 0).into();
        self.bounds = facts.bounds(self.id, 0).into();
        if let Part::LiftedAt(from) = facts.part(self.id) {
            self.lift_at = Some(from);
        }
    }

    /// Begins with a topic that was made anew, behind everything that was told of the former one. Unlike a
    /// partition found later it takes part at once: nobody else may have anything to say meanwhile.
    pub(super) fn begin_anew(&mut self, floor: EventTime, facts: &Facts) {
        self.clock.raise_floor(floor);
        self.begin(facts);
    }

    /// Goes on from `point`, of a state cut at `cut`. A partition that was lifted is lifted again at the first
    /// record it had not read, unless `facts` know of a floor after the cut for that record: then it holds time,
    /// so that its records are not late at their second reading.
    pub(super) fn resume(
        &mut self,
        point: &ResumePoint,
        cut: EventTime,
        out_of_orderness: Duration,
        facts: &Facts,
    ) {
        // What was read before is admitted again as it was: a part of it is in the state.
        let bound = point.next.map_or(out_of_orderness, |_| point.out_of_orderness);
        self.clock = PartitionClock::from_parts(bound, point.watermark, point.floor);
        self.bounds = facts.bounds(self.id, point.offset.unwrap_or(0)).into();
        if self.bounds.is_empty() {
            self.bounds.extend(point.next.map(|next| (next, out_of_orderness)));
        }
        self.next = point.offset;
        self.last = point.before;
        self.go_on(point.lifted.then_some(point.next.unwrap_or(0)), cut, facts);
    }

    /// Goes on with a partition that was found after the cut: as [`Partition::resume`] does with a lifted one.
    pub(super) fn resume_found(&mut self, cut: EventTime, facts: &Facts) {
        self.bounds = facts.bounds(self.id, 0).into();
        self.go_on(Some(0), cut, facts);
    }

    fn go_on(&mut self, lifted_at: Option<i64>, cut: EventTime, facts: &Facts) {
        let offset = self.next.unwrap_or(0);
        self.floors = facts.floors(self.id, offset).into();
        self.lift_at = match facts.part(self.id) {
            Part::LiftedAt(from) => Some(from),
            Part::ReturnedAt(from) => lifted_at.filter(|at| *at > from),
            // A floor from before the cut is of an earlier return, or of an advance that time went beyond.
            Part::Unknown => lifted_at
                .filter(|at| !self.floors.iter().any(|(from, floor)| from >= at && *floor >= cut)),
        };
        while let Some((_, floor)) = self.floors.pop_front_if(|(from, _)| *from <= offset) {
            self.clock.raise_floor(floor);
        }
        self.reach(Some(offset));
    }

    /// The partition takes no part any more once it stands where time has gone on without it.
    pub(super) fn reach(&mut self, position: Option<i64>) {
        let next = self.next(position);
        if self.phase == Phase::Live && self.lift_at.is_some_and(|at| next.unwrap_or(0) >= at) {
            self.lift_at = None;
            self.phase = Phase::Lifted;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Whether time has gone on without the record at `offset`.
    pub(super) fn is_left_behind(&self, offset: i64) -> bool {
        self.lift_at.is_some_and(|at| offset >= at)
    }

    /// A partition found while others are read already: its first record asks for a floor.
    pub(super) fn lift_from_the_start(&mut self) {
        self.phase = Phase::Lifted;
    }

    pub(super) fn is_lifted(&self) -> bool {
        self.phase == Phase::Lifted
    }

    /// Whether its records may be admitted as they come.
    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether it waits for a decision.
    pub(super) fn is_waiting(&self) -> bool {
        self.refusal_asked || matches!(self.phase, Phase::Returning(_))
    }

    /// Nothing of it will be admitted before this.
    pub(super) fn watermark(&self) -> Option<EventTime> {
        match self.phase {
            Phase::Returning(at) => Some(at),
            _ => self.clock.watermark(),
        }
    }

    /// The floors, and the bound, that hold for the record at `offset` come into force.
    pub(super) fn pass(&mut self, offset: i64) {
        while let Some((_, bound)) = self.bounds.pop_front_if(|(from, _)| *from <= offset) {
            self.clock.set_bound(bound);
        }
        while let Some((_, floor)) = self.floors.pop_front_if(|(from, _)| *from <= offset) {
            self.clock.raise_floor(floor);
        }
    }

    /// A record has come to a partition that does not take part: it holds time at `capability`, before which
    /// this worker can send nothing, and asks the director for its floor.
    pub(super) fn ask_to_return(&mut self, held: HeldBatch, capability: EventTime) {
        self.held = Some(held);
        self.phase = Phase::Returning(capability);
        self.generation = self.generation.wrapping_add(1);
    }

    /// The director's answer about `generation`.
    pub(super) fn return_at(&mut self, generation: u32, floor: EventTime) {
        if matches!(self.phase, Phase::Returning(_)) && self.generation == generation {
            self.clock.raise_floor(floor);
            self.lift_at = None;
            self.phase = Phase::Live;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Records up to the one at `offset`, with hash `hash`, have been admitted; `appended` is the broker's time
    /// of the last, if it said one.
    pub(super) fn admitted(&mut self, last: &Record<'_>, now: EventTime) {
        self.next = Some(last.offset.saturating_add(1));
        self.last = Some((last.offset, record_hash(last)));
        // A record that has been in the log for long proves no present activity.
        self.last_record = last.appended().map_or(now, |appended| appended.min(now));
        self.seen_record = true;
    }

    /// Offset and hash of the last record admitted.
    pub(super) fn last(&self) -> Option<(i64, u64)> {
        self.last
    }

    /// The first offset not admitted, `position` being the reader's.
    pub(super) fn next(&self, position: Option<i64>) -> Option<i64> {
        let held = self.held.as_ref().and_then(HeldBatch::first_offset);
        self.next.or(held).or(position)
    }

    /// The broker says there is nothing more. An empty partition is silent at once, another after
    /// `idle_timeout`.
    pub(super) fn at_end(&mut self, now: EventTime, idle_timeout: Duration) {
        self.caught_up = true;
        let silent = !self.seen_record || now.since(self.last_record) >= idle_timeout;
        if silent && self.phase == Phase::Live {
            self.phase = Phase::Silent;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Its log is over: another one has taken its place. It is silent from now on; returns, once, the first
    /// instant after everything that was admitted of it, `now_at` being where its worker's capability stands.
    pub(super) fn log_ended(&mut self, now: EventTime, now_at: EventTime) -> Option<EventTime> {
        self.at_end(now, Duration::ZERO);
        let is_first = !std::mem::replace(&mut self.log_is_over, true);
        let end = match self.seen_record {
            true => now_at.max(self.bookmarks.end()),
            false => EventTime::MIN,
        };
        is_first.then_some(end)
    }

    /// The director's decision about `generation`; stale ones are ignored.
    pub(super) fn lift(&mut self, generation: u32) {
        if self.phase == Phase::Silent && self.generation == generation {
            self.phase = Phase::Lifted;
        }
    }

    /// A report when there is news: the watermark, floored to the tick, moved or the phase changed.
    pub(super) fn report(&mut self, tick: PaneSize, position: Option<i64>) -> Option<Report> {
        let changed = |report: &Report| Report { next: 0, ..*report };
        let report = Report {
            partition: self.id,
            generation: self.generation,
            watermark: self.watermark().map(|w| match self.phase {
                Phase::Returning(_) => w,
                _ => tick.floor(w),
            }),
            silent: matches!(self.phase, Phase::Silent | Phase::Lifted),
            returning: matches!(self.phase, Phase::Returning(_)),
            // Of importance only when silent or returning: then it stands still.
            next: self.next(position).unwrap_or(0),
        };
        if self.reported.as_ref().map(changed) == Some(changed(&report)) {
            return None;
        }
        self.reported = Some(report);
        Some(report)
    }

    /// Where reading goes on after a restore of the cut at `cut`.
    pub(super) fn resume_point(&self, cut: EventTime, position: Option<i64>) -> ResumePoint {
        let (offset, (watermark, floor), before) = match self.bookmarks.at(cut) {
            Some(mark) => (Some(mark.offset), mark.clock, mark.before),
            None => (self.next(position), self.clock.parts(), self.last),
        };
        let is_out = matches!(self.phase, Phase::Lifted | Phase::Returning(_));
        ResumePoint {
            partition: self.id,
            offset,
            watermark,
            floor,
            before,
            lifted: is_out || self.lift_at.is_some(),
            // What holds for unread records and has not come into force yet must not do so earlier.
            next: self
                .bounds
                .back()
                .map(|(from, _)| *from)
                .max(self.lift_at)
                .max(self.next(position)),
            out_of_orderness: self.clock.bound(),
        }
    }
}
