//! The rules change between two runs: what is unchanged goes on to the bit, what is new begins at the cut, what is
//! gone ends there, and people hear of all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use tidewatch_dataflow::alert::{EndReason, IncidentId, Transition, TransitionKind};
use tidewatch_dataflow::time::EventTime;

use super::change::{Change, Fate};
use super::disturb::Disturbed;
use super::plan::{Nature, Plan, seconds, start};
use super::sink::{Delivered, Fields, Origin, PointKey};
use super::world::{Begin, Outcome, World};

const RULE_CHANGED: TransitionKind = TransitionKind::Ended(EndReason::RuleChanged);

/// What is compared.
struct Case {
    plan: Plan,
    change: Change,
    /// The old rules all the time.
    before: Outcome,
    /// The new rules all the time.
    after: Outcome,
    /// The new rules over the samples from each of the cuts on at which they began in some run.
    fresh: BTreeMap<EventTime, Outcome>,
    /// The cut at which they began in the last run and in those it goes on from.
    cut: EventTime,
    /// One undisturbed run with the new rules, from the same cut.
    calm: Option<Outcome>,
    disturbed: Outcome,
}

/// Runs that die and hang, of which the later ones have other rules than the earlier ones.
pub fn changed(rng: &mut Rng) -> Result<(), String> {
    let mut nature = Nature::of_the_log(rng);
    nature.has_poison = rng.u32(..4) == 0;
    nature.has_future = rng.u32(..4) == 0;
    nature.keyed = rng.bool();
    let change = Change::new(nature.feeds, nature.lateness, rng);
    let plan = Plan::new(nature, rng);
    let now = start() + seconds(3_600);
    let what = format!("{:?} with {:?}", change.what, change.on_change);
    let case = Case::run(plan, change, now, rng).map_err(|error| format!("{what}: {error}"))?;
    case.check().map_err(|error| format!("{what}, cut {:?}: {error}", case.cut))
}

impl Case {
    fn run(plan: Plan, change: Change, now: EventTime, rng: &mut Rng) -> Result<Self, String> {
        let straight = |world: &World, is_changed: bool, with: Begin| {
            let spec = |clock| change.apply(plan.spec(clock, plan.topics()), is_changed);
            let begin = Begin { decisions: plan.decisions(), ..with };
            world.begin(spec, &begin).finish(plan.arrivals.len() as u64, plan.end())
        };
        let (disturbed, world) = Disturbed::new(&plan, now, rng).changing(&change).run()?;
        let begun = &disturbed.delivered.begun;
        let cuts: BTreeSet<EventTime> =
            begun.iter().filter(|(edition, _)| *edition == 1).map(|(_, cut)| *cut).collect();
        let cut = begun.last().map(|(_, cut)| *cut).ok_or("nothing has begun")?;
        let alone = |is_changed, from| {
            let hour = Duration::from_secs(3_600);
            let world = world.beside(&world.store, &[]);
            let with = Begin { every: hour, from, ..Begin::plain(now) };
            straight(&world, is_changed, with).map_err(|e| format!("straight from {from:?}: {e}"))
        };
        let (before, after) = (alone(false, EventTime::MIN)?, alone(true, EventTime::MIN)?);
        let fresh = cuts.iter().map(|cut| Ok((*cut, alone(true, *cut)?)));
        let fresh = fresh.collect::<Result<_, String>>()?;
        let copy = world.copy.get().ok_or("nothing has changed")?;
        let beside = world.beside(copy, &[""]);
        let with = Begin { edition: Some(1), ..Begin::plain(now) };
        let calm = straight(&beside, true, with).map_err(|e| format!("calm: {e}"))?;
        // The last run of the old rules may have come to a later checkpoint while it was being overtaken.
        let calm = Some(calm).filter(|calm| calm.delivered.begun == [(1, cut)]);
        Ok(Case { plan, change, before, after, fresh, cut, calm, disturbed })
    }

    fn check(&self) -> Result<(), String> {
        let (one, two) = (&self.before.counted, &self.disturbed.counted);
        if (one.records, one.points, one.log_lines) != (two.records, two.points, two.log_lines) {
            return Err(format!("counted: {one:?} and {two:?}"));
        }
        if self.before.delivered.logs != self.disturbed.delivered.logs {
            return Err("log lines differ".to_owned());
        }
        self.check_letters()?;
        self.check_points()?;
        self.check_transitions()?;
        self.check_active()?;
        self.check_heard()
    }

    /// Whether a sample is late depends on the windows of then; nothing else does on what is computed.
    fn check_letters(&self) -> Result<(), String> {
        let of = |outcome: &Outcome| outcome.delivered.letters.clone();
        let (before, after, found) = (of(&self.before), of(&self.after), of(&self.disturbed));
        let is_late = |origin: &Origin| origin.2.ends_with("late");
        for (origin, contents) in &found {
            let known = [before.get(origin), after.get(origin)];
            let known: BTreeSet<_> = known.into_iter().flatten().flatten().collect();
            if !contents.iter().all(|content| known.contains(content)) {
                return Err(format!("letter {origin:?} is {contents:?}, of {known:?}"));
            }
        }
        let lost = before.keys().find(|origin| {
            !found.contains_key(*origin) && (!is_late(origin) || after.contains_key(*origin))
        });
        lost.map_or(Ok(()), |origin| Err(format!("letter {origin:?} is missing")))
    }

    fn check_points(&self) -> Result<(), String> {
        let end = self.plan.end();
        let fates = self.change.windows();
        let fate_of = |(statistic, labels, time): &PointKey| {
            let of_window = |((name, label), _): &(&(String, String), &(Fate, Duration))| {
                let window = format!("window={label}");
                name == statistic && labels.split([',', '{', '}', ' ']).any(|l| l == window)
            };
            let found = fates.iter().find(of_window).map(|(_, fate)| *fate);
            let (fate, size) = found.ok_or(format!("{statistic} {labels} is no window"))?;
            Ok::<_, String>((fate, EventTime::from_millis(*time).saturating_sub(size)))
        };
        let of = |outcome: &'_ Outcome| -> BTreeMap<PointKey, Vec<Fields>> {
            let points = outcome.delivered.points.iter();
            let upto = points.filter(|((_, _, time), _)| *time <= end.as_millis());
            upto.map(|(key, values)| (key.clone(), values.clone())).collect()
        };
        let (before, after, found) = (of(&self.before), of(&self.after), of(&self.disturbed));
        let fresh: BTreeMap<_, _> = self.fresh.iter().map(|(cut, o)| (*cut, of(o))).collect();
        let differs = |key: &PointKey, expected: Option<&Vec<Fields>>| {
            let (fate, values) = (fate_of(key), found.get(key));
            Err(format!("point {key:?} ({fate:?}): expected {expected:?}, found {values:?}"))
        };
        for (key, values) in &found {
            let (fate, from) = fate_of(key)?;
            // What it may have been told as, and what it has to be in the end.
            let (known, last): (Vec<&Vec<Fields>>, _) = match fate {
                Fate::Kept => (before.get(key).into_iter().collect(), before.get(key)),
                Fate::Gone => (before.get(key).into_iter().collect(), None),
                Fate::Carried => (after.get(key).into_iter().collect(), after.get(key)),
                Fate::Fresh => {
                    let fresh = fresh.iter().filter(|(cut, _)| **cut <= from);
                    let known = fresh.filter_map(|(_, points)| points.get(key)).collect();
                    (known, after.get(key))
                }
            };
            let is_known = |value: &Fields| known.iter().any(|values| values.contains(value));
            let is_last = last.is_none_or(|last| last.last() == values.last());
            if !values.iter().all(is_known) || !is_last {
                return differs(key, known.first().copied());
            }
        }
        let (kept, begun) = ([Fate::Kept], [Fate::Carried, Fate::Fresh]);
        for (points, fates) in [(&before, &kept[..]), (&after, &begun[..])] {
            for (key, values) in points {
                let (fate, from) = fate_of(key)?;
                let is_due = fate == Fate::Kept || from >= self.cut;
                if fates.contains(&fate) && is_due && !found.contains_key(key) {
                    return differs(key, Some(values));
                }
            }
        }
        Ok(())
    }

    fn transitions(&self, outcome: &Outcome) -> Vec<Transition> {
        let all = outcome.delivered.transitions.values().flatten();
        all.filter(|t| t.decided_at <= self.plan.end()).cloned().collect()
    }

    /// Those that the old rules had open at a cut.
    fn open_at(&self, cut: EventTime) -> BTreeSet<IncidentId> {
        let upto = self.transitions(&self.before);
        let upto = upto.iter().filter(|t| t.decided_at <= cut);
        let (opened, ended): (Vec<_>, Vec<_>) = upto.partition(|t| t.is_opening());
        let ended: BTreeSet<_> = ended.iter().map(|t| t.incident).collect();
        opened.iter().map(|t| t.incident).filter(|incident| !ended.contains(incident)).collect()
    }

    fn check_transitions(&self) -> Result<(), String> {
        let fates = self.change.rules();
        let fate = |t: &Transition| fates[&*t.rule];
        let set = |all: Vec<Transition>| all.into_iter().collect::<BTreeSet<_>>();
        let found = set(self.transitions(&self.disturbed));
        let before = set(self.transitions(&self.before));
        let fresh = self.fresh.values().flat_map(|outcome| self.transitions(outcome));
        let fresh: BTreeSet<_> = fresh.collect();
        let calm = self.calm.as_ref().map(|calm| set(self.transitions(calm)));
        for transition in &found {
            let is_old = before.contains(transition);
            let is_changed = transition.kind == RULE_CHANGED;
            let is_known = match fate(transition) {
                Fate::Kept => is_old,
                _ if is_changed => self.may_be_ended(transition, &before, &fresh),
                Fate::Gone => is_old,
                Fate::Fresh => is_old || fresh.contains(transition),
                Fate::Carried => {
                    is_old || calm.as_ref().is_none_or(|calm| calm.contains(transition))
                }
            };
            if !is_known {
                return Err(format!("{transition:?} ({:?}) was told", fate(transition)));
            }
        }
        let kept = before.iter().filter(|t| fate(t) == Fate::Kept);
        let last = set(self.transitions(&self.fresh[&self.cut]));
        let begun = last.iter().filter(|t| fate(t) == Fate::Fresh);
        let mut due = kept.chain(begun).chain(calm.iter().flatten());
        if let Some(lost) = due.find(|transition| !found.contains(*transition)) {
            return Err(format!("{lost:?} ({:?}) is missing", fate(lost)));
        }
        let open = self.open_at(self.cut);
        for opening in before.iter().filter(|t| t.is_opening() && open.contains(&t.incident)) {
            let is_end = |t: &&Transition| {
                (t.incident, t.kind, t.decided_at) == (opening.incident, RULE_CHANGED, self.cut)
            };
            let is_over = matches!(fate(opening), Fate::Gone | Fate::Fresh);
            if is_over != found.iter().any(|t| is_end(&t)) {
                return Err(format!("{opening:?} ({:?}): ended {}", fate(opening), !is_over));
            }
        }
        Ok(())
    }

    /// Whether an incident may end since its rule has changed: it was open at a cut, or was opened after one by
    /// a run that had died since.
    fn may_be_ended(
        &self,
        end: &Transition,
        before: &BTreeSet<Transition>,
        fresh: &BTreeSet<Transition>,
    ) -> bool {
        if self.fresh.contains_key(&end.decided_at)
            && self.open_at(end.decided_at).contains(&end.incident)
        {
            return true;
        }
        let first = self.fresh.keys().next().copied().unwrap_or_default();
        let mut all = before.iter().chain(fresh);
        all.any(|t| t.is_opening() && t.incident == end.incident && t.decided_at > first)
    }

    fn check_active(&self) -> Result<(), String> {
        let fates = self.change.rules();
        let of = |outcome: &Outcome, fate: Fate| -> BTreeSet<_> {
            let active = outcome.active.iter();
            active.filter(|(incident, _)| fates[&*incident.rule] == fate).cloned().collect()
        };
        let mut pairs = vec![
            (of(&self.before, Fate::Kept), of(&self.disturbed, Fate::Kept)),
            (of(&self.fresh[&self.cut], Fate::Fresh), of(&self.disturbed, Fate::Fresh)),
            (BTreeSet::new(), of(&self.disturbed, Fate::Gone)),
        ];
        if let Some(calm) = &self.calm {
            pairs.push((calm.active.clone(), self.disturbed.active.clone()));
        }
        match pairs.iter().find(|(expected, found)| expected != found) {
            Some((expected, found)) => Err(format!("active: {expected:?} and {found:?}")),
            None => Ok(()),
        }
    }

    /// People have heard of everything that is open, and of the end of all they have heard of.
    fn check_heard(&self) -> Result<(), String> {
        let Delivered { heard, .. } = &self.disturbed.delivered;
        let active: BTreeSet<_> = self.disturbed.active.iter().map(|(i, _)| i.id).collect();
        let mut incidents: BTreeMap<IncidentId, Vec<&(u64, Transition)>> = BTreeMap::new();
        for told in heard {
            incidents.entry(told.1.incident).or_default().push(told);
        }
        if let Some(unheard) = active.iter().find(|incident| !incidents.contains_key(*incident)) {
            return Err(format!("nobody has heard of {unheard}, which is open"));
        }
        for (incident, told) in incidents {
            let opened = told.iter().rposition(|(_, t)| t.is_opening());
            let ended = told.iter().position(|(_, t)| !t.is_opening());
            let twice = told.iter().enumerate().any(|(index, (run, t))| {
                told.iter().skip(index + 1).any(|(r, u)| r == run && u.sequence == t.sequence)
            });
            let is_right = match (opened, ended) {
                (Some(opened), Some(ended)) => opened < ended && !active.contains(&incident),
                (Some(_), None) => active.contains(&incident),
                // Whoever died may not have come to tell the opening.
                (None, Some(ended)) => told[ended].1.kind == RULE_CHANGED,
                (None, None) => false,
            };
            if !is_right || twice {
                let is_open = active.contains(&incident);
                return Err(format!("{incident}, open now: {is_open}, was heard as {told:?}"));
            }
        }
        Ok(())
    }
}
