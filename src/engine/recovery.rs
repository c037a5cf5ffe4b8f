//! Which job is asked for, when, and whether it helped (DESIGN: rules 4 to 6 and 13).
//!
//! In: checks with an incident and the state of their unit. Out: at most one job for a unit, its judgement, and the
//! reason wherever nothing is done. It opens and closes no incident.

use std::time::Duration;

use super::event::{Action, AttemptId, JobRequest, What};
use super::incident::Hold;
use super::permit::permitted;
use super::proof::unproven;
use super::state::{Base, CheckState};
use super::watch::{Condition, InFlight, UnitWatch};
use super::{Engine, changed};
use crate::check::{CheckName, Rung};
use crate::notice::{Attempt, Proof};
use crate::time::{Mono, Now, human};
use crate::unit::{ActiveState, JobResult, UnitName, UnitState};

/// A job of ours that has not ended after this long is a matter for a person: systemd's own start and stop time-outs
/// (90 s each by default) should have ended it.
pub(super) const JOB_OVERDUE: Duration = Duration::from_secs(300);

impl Engine {
    /// Asks for a job on the unit if one is due and allowed; otherwise says why not.
    pub(super) fn consider_recovery(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Action>) {
        if self.wanting(now, unit).is_empty() {
            return;
        }
        if self.units.get(unit).is_some_and(|watch| watch.condition != Condition::Unread) {
            // How this very event has left it and those around it: a hold, a pause, a stop may have ended just now, and of
            // units that need each other all are read with the last.
            for required in self.graph.required(unit) {
                self.place_reading(now, &required, out);
            }
            self.look_around(now, unit);
        }
        for name in self.wanting(now, unit) {
            let (Some(state), Some(watch)) = (self.checks.get(&name), self.units.get(unit)) else { return };
            let mut permitted = permitted(now, self.manager, state, watch, self.awaits_usage(now, unit));
            if permitted.is_ok()
                && let Some(why) = self.brakes(now, unit, &name, out)
            {
                permitted = Err(why);
            }
            match permitted {
                Ok(rung) => {
                    self.overtake(now, unit, out);
                    self.ask(now, unit, &name, rung, out);
                }
                Err(why) => self.hold_back(&name, why, out),
            }
        }
    }

    /// The checks of the unit that are down and not left alone, and have a recovery: in the order of their incidents.
    fn wanting(&self, now: Now, unit: &UnitName) -> Vec<CheckName> {
        let Some(watch) = self.units.get(unit) else { return Vec::new() };
        let wants = |name: &CheckName| {
            let state = self.checks.get(name)?;
            let incident = state.incident.as_ref()?;
            let set_aside = state.aside(now, Some(watch)).is_some();
            let wants = state.base == Base::Down && !set_aside && !state.check.recovery.ladder.is_empty();
            wants.then(|| (incident.opened, name.clone()))
        };
        let mut wanting: Vec<(Mono, CheckName)> = watch.checks.iter().filter_map(wants).collect();
        wanting.sort();
        wanting.into_iter().map(|(_, name)| name).collect()
    }

    fn ask(&mut self, now: Now, unit: &UnitName, name: &CheckName, rung: Rung, out: &mut Vec<Action>) {
        let (Some(state), Some(watch)) = (self.checks.get_mut(name), self.units.get_mut(unit)) else {
            return;
        };
        let recovery = &state.check.recovery;
        let Some(incident) = &mut state.incident else { return };
        if let Some(last) = incident.attempts.last_mut().filter(|last| last.verdict.is_none()) {
            // The life of the daemon that made it ended before it could be judged, and here we are again.
            last.verdict = Some(Proof::DidNotHelp(String::new()));
            state.climbed = state.climbed.saturating_add(1);
        }
        watch.attempts = watch.attempts.saturating_add(1);
        let exhausted = state.climbed >= recovery.exhausted_after();
        let wait = if exhausted { recovery.backoff.max } else { recovery.backoff.delay(watch.attempts) };
        watch.next_attempt = now.mono.after(wait);
        state.tries = state.tries.saturating_add(1);
        let number = incident.attempts_total.saturating_add(1);
        incident.held_back = None;
        let incident_id = incident.id.clone();
        let id = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        let unit_state = watch.state.as_ref();
        watch.attempt = Some(InFlight {
            id,
            by: name.clone(),
            rung: rung.clone(),
            number,
            told: Vec::new(),
            asked: now.mono,
            invocation_before: unit_state.map_or_else(String::new, |state| state.invocation_id.clone()),
            ended: None,
            grace_until: now.mono,
        });
        let reset_failed =
            unit_state.is_some_and(|state| may_have_hit_its_start_limit(state, watch.attempts));
        out.push(Action::StartJob(JobRequest {
            unit: unit.clone(),
            attempt: id,
            step: rung.clone(),
            reset_failed,
        }));
        self.record_attempt(now, unit, &rung);
        out.push(changed(Some(name), Some(unit), Some(&incident_id), What::RecoveryAsked { number, rung }));
    }

    /// Writes the attempt that begins into every open incident of the unit: whichever check asked, it serves them all.
    fn record_attempt(&mut self, now: Now, unit: &UnitName, rung: &Rung) {
        let Some(watch) = self.units.get_mut(unit) else { return };
        let Some(flight) = &mut watch.attempt else { return };
        for name in &watch.checks {
            let state = self.checks.get_mut(name);
            let Some(incident) = state.and_then(|state| state.incident.as_mut()) else { continue };
            let number = incident.attempts_total.saturating_add(1);
            let rung = rung.clone();
            incident.record(Attempt { number, rung, asked: now.wall, result: None, verdict: None });
            flight.told.push((name.clone(), number));
        }
    }

    /// Lets `tell` complete the record of an attempt in every incident that has it.
    fn complete_attempt(&mut self, flight: &InFlight, tell: impl Fn(&mut Attempt)) {
        for (name, number) in &flight.told {
            let incident = self.checks.get_mut(name).and_then(|state| state.incident.as_mut());
            if let Some(attempt) = incident.and_then(|incident| incident.attempt_mut(*number)) {
                tell(attempt);
            }
        }
    }

    fn hold_back(&mut self, name: &CheckName, why: Hold, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let unit = state.check.unit.clone();
        let Some(incident) = &mut state.incident else { return };
        if incident.held_back.as_ref() == Some(&why) {
            return;
        }
        incident.held_back = Some(why.clone());
        if let Hold::Not(why) = why {
            let id = incident.id.clone();
            out.push(changed(Some(name), unit.as_ref(), Some(&id), What::RecoveryHeldBack { why }));
        }
    }

    /// A job has ended: either the unit comes up now, or the attempt has failed.
    pub(super) fn job_ended(
        &mut self,
        now: Now,
        unit: &UnitName,
        attempt: AttemptId,
        result: JobResult,
        state: Option<UnitState>,
        out: &mut Vec<Action>,
    ) {
        if self.start_ended(now, unit, attempt, &result, state.as_ref(), out) {
            return;
        }
        let Some(watch) = self.units.get_mut(unit) else { return };
        let Some(mut flight) = watch.attempt.clone().filter(|flight| flight.id == attempt) else {
            if let Some(state) = state {
                self.unit_changed(now, unit, state, out);
            }
            return;
        };
        if flight.ended.is_some() {
            return;
        }
        let done = result == JobResult::Done;
        watch.stopped_by_us |= done && flight.rung == Rung::Stop;
        let was = watch.condition.clone();
        if let Some(state) = &state {
            self.graph.read(now, unit, state);
        }
        let Some(watch) = self.units.get_mut(unit) else { return };
        if let Some(state) = state {
            // Read while the attempt is still open: what its job did to the unit is nobody else's stop.
            watch.read(now, state, true);
        }
        let asker = self.checks.get(&flight.by);
        let grace = asker.map_or(Duration::ZERO, |state| state.check.recovery.grace);
        self.complete_attempt(&flight, |attempt| attempt.result = Some(result.clone()));
        self.changed_for(
            &flight.by,
            unit,
            What::RecoveryEnded { number: flight.number, rung: flight.rung.clone(), result: result.clone() },
            out,
        );
        flight.ended = Some(now.mono);
        flight.grace_until = now.mono.after(grace);
        let Some(watch) = self.units.get_mut(unit) else { return };
        // What was refused has not been done: nothing comes up now.
        if !matches!(result, JobResult::Refused(_) | JobResult::Unasked(_)) {
            watch.settling = Some(now.mono);
        }
        let missing =
            if done { unproven(&flight, watch) } else { Some(format!("the job ended as {result}")) };
        watch.attempt = Some(flight);
        match missing {
            Some(why) => {
                // Somebody else's job took the place of ours, or nobody could be asked: that says nothing about the rung.
                let climbs = result != JobResult::Canceled && result.not_the_units().is_none();
                if matches!(result, JobResult::Unasked(_)) {
                    self.was_no_try(unit);
                }
                self.judge(now, unit, Proof::DidNotHelp(why), climbs, out);
            }
            None => self.look_now(now, unit),
        }
        self.look_around(now, unit);
        self.condition_changed(now, unit, &was, out);
        self.settle_unit(now, unit, out);
        self.stir(now, unit);
    }

    /// The attempt under way did nothing to its unit: it does not count for the limit.
    fn was_no_try(&mut self, unit: &UnitName) {
        let Some(by) = self.units.get(unit).and_then(|watch| watch.attempt.as_ref()).map(|flight| &flight.by)
        else {
            return;
        };
        if let Some(state) = self.checks.get_mut(by) {
            state.tries = state.tries.saturating_sub(1);
        }
    }

    /// All checks of the unit are to be probed at once.
    pub(super) fn look_now(&mut self, now: Now, unit: &UnitName) {
        let Some(watch) = self.units.get(unit) else { return };
        for name in &watch.checks {
            if let Some(state) = self.checks.get_mut(name) {
                state.next_probe = now.mono;
                // The run under way began before the job ended: it sees the old run of the unit. One that begins in this
                // very moment does not, and a second one beside it would see no more.
                state.running = state.running.filter(|run| run.started == now.mono);
            }
        }
    }

    /// Settles the attempt that is under way. `climbs`: a rung that did not help is left behind.
    pub(super) fn judge(
        &mut self,
        now: Now,
        unit: &UnitName,
        proof: Proof,
        climbs: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(flight) = self.units.get_mut(unit).and_then(|watch| watch.attempt.take()) else { return };
        if let Some(state) = self.checks.get_mut(&flight.by) {
            if climbs && matches!(proof, Proof::DidNotHelp(_)) {
                state.climbed = state.climbed.saturating_add(1);
            }
            state.next_probe = state.next_probe.min(now.mono.after(state.check.schedule.retry));
        }
        self.complete_attempt(&flight, |attempt| attempt.verdict = Some(proof.clone()));
        self.changed_for(&flight.by, unit, What::RecoveryJudged { number: flight.number, proof }, out);
    }

    /// An incident opens on a check of the unit. One that follows soon after the last was not really mended by what was
    /// done then, so it begins a rung higher; after a long healthy time everything begins anew (DESIGN: rule 5).
    pub(super) fn begin_trouble(&mut self, now: Now, unit: &UnitName, name: &CheckName) {
        let Some(watch) = self.units.get_mut(unit) else { return };
        let healthy = watch.healthy.take().map(|since| now.mono.since(since));
        let rested = |state: &CheckState| healthy.is_some_and(|lasting| lasting >= state.rested_after());
        for name in &watch.checks {
            if let Some(state) = self.checks.get_mut(name).filter(|state| rested(state)) {
                state.climbed = 0;
                state.tries = 0;
            }
        }
        if self.checks.get(name).is_some_and(rested) {
            watch.attempts = 0;
        } else if let Some(state) = self.checks.get_mut(name)
            && state.tries > 0
        {
            state.climbed = state.climbed.saturating_add(1);
        }
    }

    /// An incident closed; the unit is healthy if it was the last one.
    pub(super) fn end_trouble(&mut self, now: Now, unit: &UnitName) {
        let Some(watch) = self.units.get_mut(unit) else { return };
        let in_trouble =
            |name: &CheckName| self.checks.get(name).is_some_and(|state| state.incident.is_some());
        if !watch.checks.iter().any(in_trouble) {
            watch.healthy = Some(now.mono);
        }
    }

    /// Calls for a person when what may be tried has been tried.
    pub(super) fn review(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let Some(why) = needs_you(now, state, watch) else { return };
        let unit = state.check.unit.clone();
        let Some(incident) = &mut state.incident else { return };
        if incident.needs_you.is_none() {
            incident.needs_you = Some(why.clone());
            let id = incident.id.clone();
            out.push(changed(Some(name), unit.as_ref(), Some(&id), What::NeedsYou { why }));
        }
    }

    fn changed_for(&self, name: &CheckName, unit: &UnitName, what: What, out: &mut Vec<Action>) {
        let incident = self.checks.get(name).and_then(|state| state.incident.as_ref());
        out.push(changed(Some(name), Some(unit), incident.map(|incident| &incident.id), what));
    }
}

/// A unit that has hit its start limit is not started again before `ResetFailed`. That it has is not always visible:
/// `Result` may still be `exit-code`. It takes repeated starts, though, by systemd or by us; a unit that failed once has
/// not, and is spared the time of another call.
pub(super) fn may_have_hit_its_start_limit(state: &UnitState, attempts: u32) -> bool {
    state.active == ActiveState::Failed
        && (state.result == "start-limit-hit" || state.n_restarts > 0 || attempts > 1)
}

/// See [`JOB_OVERDUE`]. The start of a job lasts as long as the job.
pub(super) fn overdue(watch: Option<&UnitWatch>) -> Duration {
    watch.and_then(|watch| watch.job).map_or(JOB_OVERDUE, |runtime_max| runtime_max.max(JOB_OVERDUE))
}

fn needs_you(now: Now, state: &CheckState, watch: Option<&UnitWatch>) -> Option<String> {
    let recovery = &state.check.recovery;
    state.incident.as_ref()?;
    if recovery.ladder.is_empty() || state.aside(now, watch).is_some() {
        return None;
    }
    let attempt = watch.and_then(|watch| watch.attempt.as_ref());
    if let Some(attempt) = attempt.filter(|attempt| attempt.ended.is_none()) {
        let running = now.mono.since(attempt.asked);
        return (running >= overdue(watch))
            .then(|| format!("the {} job has been running for {}", attempt.rung.describe(), human(running)));
    }
    if attempt.is_some() {
        return None;
    }
    if recovery.limit.is_some_and(|limit| state.tries >= limit) {
        return Some(format!("{} attempts were made, the limit, and it is still failing", state.tries));
    }
    // As often as would have been enough for the whole ladder.
    let unheard =
        state.incident.as_ref()?.attempts.last().and_then(|last| last.result.as_ref()?.not_the_units());
    if let (Some(why), Some(watch)) = (unheard, watch)
        && watch.attempts >= recovery.exhausted_after()
    {
        return Some(format!("no recovery can be asked for: {why}"));
    }
    (state.climbed >= recovery.exhausted_after()).then(|| match state.tries {
        0 | 1 => "a recovery attempt did not help for long".to_owned(),
        tries => format!("{tries} recovery attempts did not help for long"),
    })
}
