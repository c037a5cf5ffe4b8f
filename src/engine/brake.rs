//! The storm brake: nothing is restarted, and nobody is told of one check after the other, where it is the machine that
//! is not well (rule 14).
//!
//! In: the moments at which checks begin to fail and to pass, and recoveries that are about to be asked for. Out: those
//! that are held back, and a word on storms. Units that are down by systemd's own word are never held back here, and
//! a unit that fails alone is not delayed.
//!
//! A storm is often seen only after a few checks of it are down: they are probed at different times. So before a unit is
//! restarted (or anybody is told) for a failing probe while another one fails as well, others are probed at once: the
//! *look-around*. It is over when they have answered, which those that are well do in no time. For the first unit that
//! is restarted nobody waits, but others are looked at as well: so that of a machine that fails as a whole one unit is
//! restarted at most, however far apart the checks are probed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::{ChangeKind, Effect};
use super::incident::Hold;
use super::recovery::JOB_OVERDUE;
use super::state::CheckState;
use super::storm::{LEAST, LookAround, RELATED, Storm, TOGETHER, Thing, explained, threshold};
use super::{Engine, changed, schedule};
use crate::check::CheckName;
use crate::notification::IncidentId;
use crate::time::{Mono, Now, human};
use crate::unit::UnitName;

/// The most checks that a look-around probes: enough to tell a third from a few, few enough to cost nothing.
const SAMPLE: usize = 24;

/// A storm is looked at as a whole at most this often: with a thousand checks in it, there is an observation every few
/// milliseconds.
const REVIEW: Duration = Duration::from_millis(250);

/// What is probed less often than this may cost too much to be probed by the way.
const SELDOM: Duration = Duration::from_mins(15);

/// A look-around is not waited for longer than this; with the default time-out it is 6 s.
const LOOK_AT_MOST: Duration = Duration::from_secs(15);

/// What a look-around has found holds for this long.
const LOOK_HOLDS: Duration = Duration::from_secs(10);

const LOOKING: &str = "other checks fail as well: the rest are probed first, as it may be the machine";
const ONE_BY_ONE: &str = "after a storm the units are recovered one by one";

impl Engine {
    /// A check has failed, or could not be measured, in a way that counts.
    pub(super) fn turned_bad(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        if state.bad.is_some() {
            return;
        }
        state.bad = Some(now.mono);
        let together = self.bad_things(now, TOGETHER).len();
        let many = together >= threshold(self.things());
        match &mut self.brake.storm {
            Some(storm) => {
                if now.mono.since(storm.joined) <= RELATED || storm.members.contains_key(name) {
                    storm.members.insert(name.clone(), None);
                    storm.joined = now.mono;
                } else if many {
                    // Those that came too late to belong to it are a storm of their own by now: the same one for people.
                    self.join_all(now);
                }
            }
            None if many => self.begin_storm(now, out),
            None => {}
        }
    }

    /// A check passes in a way that counts.
    pub(super) fn turned_good(&mut self, now: Now, name: &CheckName) {
        let Some(state) = self.checks.get_mut(name) else { return };
        state.bad = None;
        if let Some(passes) = self.brake.storm.as_mut().and_then(|storm| storm.members.get_mut(name)) {
            passes.get_or_insert(now.mono);
        }
    }

    /// systemd itself says that the check's unit is down: that is a matter of its own, in a storm as well.
    pub(super) fn leave_storm(&mut self, name: &CheckName) {
        if let Some(state) = self.checks.get_mut(name) {
            state.bad = None;
        }
        if let Some(storm) = &mut self.brake.storm {
            storm.members.remove(name);
        }
        self.brake.convoy.remove(name);
    }

    /// Why a recovery that is permitted in itself must wait; `None`: it is asked for now.
    pub(super) fn brakes(
        &mut self,
        now: Now,
        unit: &UnitName,
        name: &CheckName,
        out: &mut Vec<Effect>,
    ) -> Option<Hold> {
        if self.units.get(unit).is_none_or(|watch| explained(&watch.condition)) {
            return None;
        }
        let storm = self.brake.storm.as_ref();
        let member = storm.filter(|storm| storm.members.contains_key(name));
        if let Some(storm) = member.filter(|storm| !self.permits_trial(now, storm)) {
            return Some(Hold::Not(storm.why()));
        }
        let of_storm = member.is_some() || self.brake.convoy.contains(name);
        let one_by_one = storm.is_some() || of_storm;
        if one_by_one && self.turn_is_taken(now) {
            self.brake.waiting.insert(name.clone());
            return Some(Hold::Not(ONE_BY_ONE.to_owned()));
        }
        if self.in_doubt(now, name, one_by_one, out) {
            return Some(Hold::Not(LOOKING.to_owned()));
        }
        let nobody_to_ask = !self.knows_the_others(now);
        if let Some(storm) = self.brake.storm.as_mut().filter(|_| nobody_to_ask && !of_storm) {
            // It began to fail long after the others. But nothing is left that is well: it is the machine still.
            storm.members.insert(name.clone(), None);
            return Some(Hold::Not(storm.why()));
        }
        if one_by_one {
            self.brake.turn = Some((unit.clone(), now.mono));
        }
        match &mut self.brake.storm {
            Some(storm) if of_storm => storm.trials += 1,
            _ => self.look_while_restarting(now, out),
        }
        None
    }

    fn permits_trial(&self, now: Now, storm: &Storm) -> bool {
        storm.permits_trial(now.mono, |name| self.checks.get(name).is_some_and(tells_of_others))
    }

    /// A unit that fails alone is recovered at once; but it may only be the first that was probed. Whether it is, is
    /// looked at meanwhile, so that it is known before the next one is restarted. At each attempt anew: the machine may
    /// have gone since the one before.
    fn look_while_restarting(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.knows_the_others(now) && self.things() >= LEAST {
            self.probe_others(now, out);
        }
    }

    fn knows_the_others(&self, now: Now) -> bool {
        self.brake.looked.is_some_and(|at| now.mono.since(at) < LOOK_HOLDS)
    }

    /// Whether the opening notification of the check's incident, which is due, must wait: what it tells of may be the machine.
    pub(super) fn hushes(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) -> bool {
        let Some(state) = self.checks.get(name) else { return false };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let by_probe = state.bad.is_some() && !watch.is_some_and(|watch| explained(&watch.condition));
        by_probe && !self.brake.convoy.contains(name) && self.in_doubt(now, name, false, out)
    }

    /// Whether the check is told of with the storm that is on.
    pub(super) fn is_in_storm(&self, name: &CheckName) -> bool {
        self.brake.storm.as_ref().is_some_and(|storm| storm.members.contains_key(name))
    }

    /// A probe of this check ended, or is lost.
    pub(super) fn heard(&mut self, name: &CheckName) {
        if let Some(look) = &mut self.brake.look {
            look.awaited.remove(name);
        }
    }

    /// What is due here: the end of a look-around, of a turn, of a storm; notifications of one.
    pub(super) fn review_brake(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.end_look_around(now, out);
        if self.brake.turn.is_some() && !self.turn_is_taken(now) {
            self.end_turn(now, out);
        }
        let next = self.brake.reviewed.after(REVIEW);
        let look = self.brake.look.as_ref().map(|look| look.until);
        if self.brake.storm.is_none() || next <= now.mono {
            self.brake.reviewed = now.mono;
            self.review_storm(now, out);
            self.tell_storm(now, out);
            let settles = self.brake.storm.as_ref().and_then(Storm::settles);
            let due = [look, settles, self.storm_notification_due()].into_iter().flatten();
            self.brake.due = due.filter(|at| *at > now.mono).min();
        } else {
            self.brake.due = Some(look.map_or(next, |until| until.min(next)));
        }
    }

    /// A storm that is on, in a sentence for the status.
    #[must_use]
    pub fn storm(&self, now: Now) -> Option<String> {
        let storm = self.brake.storm.as_ref()?;
        let lasting = human(Duration::from_secs(now.wall.since(storm.since).as_secs()));
        Some(format!(
            "A storm, for {lasting}: {} of {} checks began to fail together, {} of them pass again. It looks like the \
             machine, not the units: none is restarted for a failing probe until checks pass again.",
            storm.members.len(),
            self.checks.len(),
            storm.passing()
        ))
    }

    fn begin_storm(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.brake.last_storm = now.wall.0.div_euclid(1000).max(self.brake.last_storm.saturating_add(1));
        let id = IncidentId::storm(self.brake.last_storm);
        self.brake.storm = Some(Storm {
            id: id.clone(),
            since: now.wall,
            opened: now.mono,
            failed: (0, self.checks.len()),
            members: Default::default(),
            joined: now.mono,
            trials: 0,
            asked: 0,
            told: (0, 0),
            last_notified: now.mono,
            to: BTreeSet::new(),
        });
        self.join_all(now);
        let Some(storm) = &mut self.brake.storm else { return };
        storm.failed.0 = storm.members.len();
        let (checks, of) = storm.failed;
        out.push(changed(None, None, Some(&id), ChangeKind::StormBegan { checks, of }));
        self.brake.convoy.clear();
        self.brake.look = None;
        self.brake.reviewed = Mono::default();
        let members: Vec<CheckName> = storm.members.keys().cloned().collect();
        self.brake.waiting.extend(members);
    }

    /// Every check that fails, and began to not long ago, belongs to the storm.
    fn join_all(&mut self, now: Now) {
        let bad = self.checks.values().filter(|state| self.is_bad(now, state, RELATED));
        let joining: Vec<CheckName> = bad.map(|state| state.check.name.clone()).collect();
        let Some(storm) = &mut self.brake.storm else { return };
        storm.joined = now.mono;
        for name in joining {
            storm.members.entry(name).or_insert(None);
        }
    }

    fn review_storm(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(storm) = &mut self.brake.storm else {
            self.settle_waiting(now, out);
            return;
        };
        let checks = &self.checks;
        storm.members.retain(|name, _| checks.contains_key(name));
        let Some(storm) = &self.brake.storm else { return };
        let member = |state: &&CheckState| storm.members.contains_key(&state.check.name);
        let bad = self.checks.values().filter(member).filter(|state| self.is_bad(now, state, Duration::MAX));
        let still: BTreeSet<Thing<'_>> = bad.map(thing).collect();
        let (still, settled) = (still.len(), storm.settles().is_some_and(|at| at <= now.mono));
        // All of it is paused, no longer configured, or down by systemd's word; or the machine has too few checks now.
        let pointless = (still == 0 && storm.passing() == 0) || self.things() < LEAST;
        if pointless || (settled && still < threshold(self.things())) {
            self.end_storm(now, out);
        } else if self.permits_trial(now, storm) && !self.turn_is_taken(now) {
            let members: Vec<CheckName> = storm.members.keys().cloned().collect();
            self.brake.waiting.extend(members);
        }
        self.settle_waiting(now, out);
    }

    /// The machine is well again. What is still down is recovered, one unit after the other.
    fn end_storm(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.tell_storm_over(now, out);
        let Some(storm) = self.brake.storm.take() else { return };
        let members = || storm.members.keys().filter_map(|name| self.checks.get(name));
        let convoy = members().filter(|state| state.bad.is_some() && state.check.unit.is_some());
        let convoy: BTreeSet<CheckName> = convoy.map(|state| state.check.name.clone()).collect();
        let failing = members().filter(|state| state.bad.is_some()).count();
        let passing = storm.members.len().saturating_sub(failing);
        let what = ChangeKind::StormOver { since: storm.since, passing, failing };
        out.push(changed(None, None, Some(&storm.id), what));
        self.brake.convoy = convoy;
        self.brake.waiting.extend(storm.members.into_keys());
    }

    /// The attempt on the unit whose turn it was is judged: it has had its chance, the next has it now.
    fn end_turn(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some((unit, _)) = self.brake.turn.take() else { return };
        let checks = &self.checks;
        self.brake.convoy.retain(|name| {
            checks
                .get(name)
                .is_some_and(|state| state.bad.is_some() && state.check.unit.as_ref() != Some(&unit))
        });
        self.settle_waiting(now, out);
    }

    /// Looks again at the checks that waited here. One of them may take the turn; the others wait on.
    fn settle_waiting(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.brake.look.is_some() || self.turn_is_taken(now) {
            return;
        }
        for name in std::mem::take(&mut self.brake.waiting) {
            self.settle(now, &name, out);
        }
    }

    fn turn_is_taken(&self, now: Now) -> bool {
        self.brake.turn.as_ref().is_some_and(|(unit, since)| {
            // A job that does not end is for a person to look at; the others are not kept waiting for it.
            let open = self.units.get(unit).is_some_and(|watch| watch.attempt.is_some());
            open && now.mono.since(*since) < JOB_OVERDUE
        })
    }

    /// Whether it must be seen first how the other checks are; then that is under way, and `name` is looked at again.
    /// `in_storm`: many others fail, or did, and a machine that seemed well again may not be so any more.
    fn in_doubt(&mut self, now: Now, name: &CheckName, in_storm: bool, out: &mut Vec<Effect>) -> bool {
        let doubt = self.brake.look.is_some()
            || (!self.knows_the_others(now)
                && (in_storm || self.fails_in_company(now, name))
                && self.probe_others(now, out));
        if doubt {
            self.brake.waiting.insert(name.clone());
        }
        doubt
    }

    /// Something unrelated began to fail not long ago as well, on a machine that is large enough for a storm.
    fn fails_in_company(&self, now: Now, name: &CheckName) -> bool {
        let Some(own) = self.checks.get(name).map(thing) else { return false };
        self.bad_things(now, RELATED).iter().any(|other| *other != own) && self.things() >= LEAST
    }

    /// Probes others now. False where there are none to be asked.
    fn probe_others(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let well = self.checks.values().filter(|state| {
            let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
            state.bad.is_none()
                && tells_of_others(state)
                && state.check.schedule.interval <= SELDOM
                && state.aside(now, watch).is_none()
                // What is only coming up may well fail, and says nothing.
                && !state.excused(now.mono, watch)
        });
        // Those that answer soon first, and besides by chance: neighbours by name may be neighbours in trouble.
        let place = |state: &&CheckState| schedule::place(&state.check.name, RELATED);
        let mut well: Vec<&CheckState> = well.collect();
        well.sort_by_key(|state| (state.check.schedule.timeout, place(state)));
        well.truncate(SAMPLE);
        let Some(longest) = well.iter().map(|state| state.check.schedule.timeout).max() else { return false };
        let sample: Vec<CheckName> = well.iter().map(|state| state.check.name.clone()).collect();
        for name in &sample {
            if self.checks.get(name).is_some_and(|state| state.running.is_none()) {
                self.start_probe(now, name, false, out);
                self.wake(now, name);
            }
        }
        let until = now.mono.after(longest.min(LOOK_AT_MOST)).after(Duration::from_secs(1));
        self.brake.look = Some(LookAround { awaited: sample.iter().cloned().collect(), sample, until });
        true
    }

    /// The look-around is over: either it has found a storm, or what waited for it goes on.
    fn end_look_around(&mut self, now: Now, out: &mut Vec<Effect>) {
        let over = |look: &mut LookAround| look.awaited.is_empty() || look.until <= now.mono;
        let Some(look) = self.brake.look.take_if(over) else { return };
        let fails = |name: &&CheckName| self.checks.get(*name).is_some_and(|state| state.bad.is_some());
        let failing = look.sample.iter().filter(fails).count();
        let many = failing.saturating_mul(3) >= look.sample.len();
        if !many || self.bad_things(now, RELATED).len() < LEAST {
            self.brake.looked = Some(now.mono);
        } else if self.brake.storm.is_some() {
            self.join_all(now);
        } else {
            self.begin_storm(now, out);
        }
    }

    /// Whether the check fails, not by what systemd says of its unit, and has begun to within that time.
    fn is_bad(&self, now: Now, state: &CheckState, within: Duration) -> bool {
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let crash_loop = state.incident.as_ref().is_some_and(|incident| incident.crash_loop);
        state.bad.is_some_and(|since| now.mono.since(since) <= within)
            && !crash_loop
            && !watch.is_some_and(|watch| explained(&watch.condition))
            && state.aside(now, watch).is_none()
    }

    fn bad_things(&self, now: Now, within: Duration) -> BTreeSet<Thing<'_>> {
        self.checks.values().filter(|state| self.is_bad(now, state, within)).map(thing).collect()
    }

    /// How many things there are that a probe can find failing.
    fn things(&self) -> usize {
        let probed = self.checks.values().filter(|state| !state.check.probe.looks_at_unit());
        probed.map(thing).collect::<BTreeSet<_>>().len()
    }
}

fn thing(state: &CheckState) -> Thing<'_> {
    state.check.unit.as_ref().map_or(Thing::Check(&state.check.name), Thing::Unit)
}

/// That it passes says something about others. What a unit uses is measured in a kernel that is well even where nothing else
/// is, and systemd's word on one unit says nothing about another.
fn tells_of_others(state: &CheckState) -> bool {
    !state.check.probe.looks_at_unit() && state.check.probe.usage().is_none()
}
