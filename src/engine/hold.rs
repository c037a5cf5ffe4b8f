//! Holds: a unit is left alone while somebody's command has it, and started when that is over (DESIGN: rule 10).
//!
//! In: leases taken and closed, the state of the unit. Out: grants and refusals, and one start where the unit was up (or
//! should have been) when the hold began and is down when it ends. That start is no recovery attempt: it counts in no
//! backoff and climbs no ladder. Where it fails the checks go down, and recovery begins as after any other failure.
//!
//! It never stops a unit. Whoever has the hold does that, with rights of their own.

mod restart;
mod words;

use std::time::Duration;

use super::event::{Action, AttemptId, JobRequest, What};
use super::state::Aside;
use super::watch::{Condition, InFlight, UnitWatch};
use super::{Engine, changed, human_until, recovery};
use crate::check::{CheckName, Rung};
use crate::notice::Proof;
use crate::time::{Mono, Now, Wall, human};
use crate::unit::{JobResult, ManagerState, UnitName, UnitState};

pub use restart::SavedHold;
pub use words::{HoldAction, HoldEvent, HoldId, Holder, HowEnded};

/// So many holds at once, at most. Each has a descriptor in the service manager's store, which `FileDescriptorStoreMax=` of
/// the unit file bounds (64).
pub const MOST_HOLDS: usize = 32;

/// How long the start after a hold may be put off by what is not ours (a job of others on the unit) until the unit counts
/// as down: longer than systemd itself lets a stop take (`DefaultTimeoutStopSec=`, 90 s), as the holder may have been
/// killed in the middle of one.
const PUT_OFF: Duration = Duration::from_secs(120);

/// The hold on a unit, from when it is taken until the unit has been brought back.
#[derive(Clone, Debug)]
pub(super) struct UnitHold {
    pub id: HoldId,
    pub holder: Holder,
    /// It ends then, whoever has its lease.
    pub until: (Mono, Wall),
    /// The unit was up when it began, or down against everybody's will: it is started when the hold ends.
    pub bring_back: bool,
    /// It is over, and the unit is to be brought back.
    pub over: Option<Over>,
}

/// A hold that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    /// Since when the start could have been asked for.
    since: Mono,
    /// The start that was asked for, and when.
    asked: Option<(AttemptId, Mono)>,
    /// It has taken so long that the checks count again.
    overdue: bool,
}

impl UnitHold {
    /// When something is to be done about it though nothing happens.
    pub(super) fn ends(&self) -> Option<Mono> {
        match self.over {
            None => Some(self.until.0),
            Some(Over { overdue: true, .. }) => None,
            Some(Over { asked: Some((_, asked)), .. }) => Some(asked.after(recovery::JOB_OVERDUE)),
            Some(Over { since, asked: None, .. }) => Some(since.after(PUT_OFF)),
        }
    }

    /// The start after it, if this is the one.
    fn returns_by(&self, attempt: AttemptId) -> bool {
        self.over.and_then(|over| over.asked).is_some_and(|(asked, _)| asked == attempt)
    }

    /// Why the checks of the unit are left alone, if they are. `others`: what answers now is not the unit as its checks
    /// know it.
    pub(super) fn aside(&self, others: bool) -> Option<Aside> {
        if self.over.is_some_and(|over| over.overdue) {
            return None;
        }
        Some(Aside::Held {
            id: self.id.clone(),
            holder: self.holder.clone(),
            ends: self.ends(),
            until: self.until.1,
            others,
        })
    }

    /// One clause: what happens next.
    pub(super) fn next_clause(&self, now: Now) -> String {
        let who = &self.holder.who;
        match self.over {
            None => format!("held by {who}, for {} at most", human_until(now.mono, self.until.0)),
            Some(Over { asked: Some(_), .. }) => format!("being started after the hold of {who}"),
            Some(Over { asked: None, .. }) => format!("to be started after the hold of {who}"),
        }
    }
}

impl UnitWatch {
    /// Whether it is to be up again after a hold that begins now: not where somebody has stopped it before, or a ladder has
    /// as its last resort, and not where it is at rest or cannot be started.
    fn would_be_brought_back(&self, unit: &UnitName) -> bool {
        let wanted_down = match self.condition {
            Condition::Stopped | Condition::Resting => true,
            Condition::Stopping => self.state.as_ref().is_some_and(|state| self.somebody_stopped(state)),
            _ => self.stopped_by_us,
        };
        unit.can_be_started() && !wanted_down
    }

    /// It is up, or on its way without us.
    fn is_up_or_coming(&self) -> bool {
        self.is_rising() || self.condition == Condition::AutoRestart
    }
}

impl Engine {
    /// The hold with this id that is in force, and its unit.
    #[must_use]
    pub fn held_unit(&self, id: &HoldId) -> Option<&UnitName> {
        self.holds().find(|(_, hold)| hold.id == *id).map(|(unit, _)| unit)
    }

    /// The hold that is in force on a unit.
    #[must_use]
    pub fn hold_on(&self, unit: &UnitName) -> Option<&HoldId> {
        self.holds().find(|(held, _)| *held == unit).map(|(_, hold)| &hold.id)
    }

    fn holds(&self) -> impl Iterator<Item = (&UnitName, &UnitHold)> {
        let held = self.units.iter().filter_map(|(unit, watch)| Some((unit, watch.hold.as_ref()?)));
        held.filter(|(_, hold)| hold.over.is_none())
    }

    pub(super) fn hold_event(&mut self, now: Now, event: HoldEvent, out: &mut Vec<Action>) {
        match event {
            HoldEvent::Take { id, unit, holder, lasting } => self.take(now, id, unit, holder, lasting, out),
            HoldEvent::End(id, how) => {
                if let Some(unit) = self.held_unit(&id).cloned() {
                    self.end_hold(now, &unit, how, out);
                }
            }
            HoldEvent::Kept(ids) => {
                let lost = self.holds().filter(|(_, hold)| !ids.contains(&hold.id));
                for unit in lost.map(|(unit, _)| unit.clone()).collect::<Vec<_>>() {
                    self.end_hold(now, &unit, HowEnded::Lost, out);
                }
            }
        }
    }

    fn take(
        &mut self,
        now: Now,
        id: HoldId,
        unit: UnitName,
        holder: Holder,
        lasting: Duration,
        out: &mut Vec<Action>,
    ) {
        if let Some(why) = self.refuses_hold(now, &unit) {
            out.push(Action::Hold(HoldAction::Refused { id, why }));
            return;
        }
        let Some(watch) = self.units.get_mut(&unit) else { return };
        let until = (now.mono.after(lasting), now.wall.after(lasting));
        let bring_back = watch.would_be_brought_back(&unit);
        watch.hold = Some(UnitHold { id: id.clone(), holder: holder.clone(), until, bring_back, over: None });
        let checks = watch.checks.clone();
        out.push(changed(None, Some(&unit), None, What::HoldTaken { holder, until: until.1 }));
        out.push(Action::Hold(HoldAction::Granted { id, checks }));
        self.settle_unit(now, &unit, out);
    }

    /// Why there can be no hold on the unit now, as a sentence; `None`: there can.
    fn refuses_hold(&self, now: Now, unit: &UnitName) -> Option<String> {
        let Some(watch) = self.units.get(unit) else {
            return Some(format!("no check speaks for {unit}"));
        };
        if let Some(hold) = &watch.hold {
            let Holder { who, why } = &hold.holder;
            return Some(match hold.over {
                None => format!(
                    "{unit} is held already, by {who} ({why}), for {} at most; `stealthctl release {unit}` ends that",
                    human_until(now.mono, hold.until.0)
                ),
                Some(_) => {
                    format!("{unit} is being started after the hold of {who}; try again when it is up")
                }
            });
        }
        if self.holds().count() >= MOST_HOLDS {
            return Some(format!("there are {MOST_HOLDS} holds already, and no more are given"));
        }
        match (self.manager, &watch.condition) {
            (ManagerState::Stopping, _) => Some("the machine is shutting down".to_owned()),
            (ManagerState::Unreachable, _) => Some("systemd cannot be reached over D-Bus".to_owned()),
            (_, Condition::Unread) => {
                Some(format!("systemd has not told the state of {unit} yet; try again in a moment"))
            }
            (_, Condition::Missing(what)) => Some(format!("there is no {unit} to hold: it is {what}")),
            _ => None,
        }
    }

    /// The hold on a unit is over: its checks count again, and the unit is brought back.
    fn end_hold(&mut self, now: Now, unit: &UnitName, how: HowEnded, out: &mut Vec<Action>) {
        let Some(hold) = self.units.get_mut(unit).and_then(|watch| watch.hold.as_mut()) else { return };
        hold.over = Some(Over { since: now.mono, asked: None, overdue: false });
        let (id, holder) = (hold.id.clone(), hold.holder.clone());
        out.push(changed(None, Some(unit), None, What::HoldOver { holder, how }));
        out.push(Action::Hold(HoldAction::Over(id)));
        self.settle_unit(now, unit, out);
    }

    /// The unit is guarded no more, and a hold on it ends with that. Nothing brings it back: nobody may.
    pub(super) fn forget_hold(&mut self, unit: &UnitName, watch: &UnitWatch, out: &mut Vec<Action>) {
        let Some(hold) = watch.hold.as_ref().filter(|hold| hold.over.is_none()) else { return };
        let what = What::HoldOver { holder: hold.holder.clone(), how: HowEnded::Unguarded };
        out.push(changed(None, Some(unit), None, what));
        out.push(Action::Hold(HoldAction::Over(hold.id.clone())));
    }

    /// The time of a hold on the check's unit may have run out, or the time for the unit's return.
    pub(super) fn hold_due(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let Some(unit) = self.checks.get(name).and_then(|state| state.check.unit.clone()) else { return };
        let hold = self.units.get(&unit).and_then(|watch| watch.hold.as_ref());
        if hold.is_some_and(|hold| hold.over.is_none() && hold.until.0 <= now.mono) {
            self.end_hold(now, &unit, HowEnded::Expired, out);
        }
        self.bring_back(now, &unit, out);
    }

    /// Brings the unit back after a hold, as soon as that is ours to do.
    pub(super) fn bring_back(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Action>) {
        let displaced = self.is_displaced(now, unit);
        let Some(watch) = self.units.get_mut(unit) else { return };
        let Some(UnitHold { bring_back, over: Some(over), .. }) = &mut watch.hold else { return };
        if let Some((_, asked)) = over.asked {
            let lasting = now.mono.since(asked);
            if lasting >= recovery::JOB_OVERDUE && !over.overdue {
                over.overdue = true;
                let why = format!("the start job has been running for {}", human(lasting));
                self.all_down(now, unit, &not_started(&why), out);
            }
            return;
        }
        if self.manager == ManagerState::Unreachable || watch.condition == Condition::Unread || displaced {
            // Nobody knows how it is, or a start would stop what is up in its place. That time does not count.
            over.since = now.mono;
            return;
        }
        let (bring_back, since) = (*bring_back, over.since);
        if !bring_back || watch.is_up_or_coming() {
            let was = watch.condition.clone();
            self.finish_hold(now, unit, &was, out);
            return;
        }
        let put_off = match self.manager {
            ManagerState::Stopping => Some("the machine is shutting down".to_owned()),
            ManagerState::Starting => Some("the machine is still booting".to_owned()),
            _ if watch.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none()) => {
                Some("a recovery of the unit is under way".to_owned())
            }
            _ => watch.not_ours(),
        };
        match put_off {
            None => self.ask_for_start(now, unit, out),
            Some(why) if now.mono.since(since) >= PUT_OFF => self.not_brought_back(now, unit, why, out),
            Some(_) => {}
        }
    }

    fn ask_for_start(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Action>) {
        // An attempt from before the hold whose worth nobody could tell any more.
        self.judge(now, unit, Proof::DidNotHelp("the unit was held".to_owned()), false, out);
        let id = AttemptId(self.next_attempt);
        let Some(watch) = self.units.get_mut(unit) else { return };
        let Some(by) = watch.checks.first().cloned() else { return };
        let Some(UnitHold { holder, over: Some(over), .. }) = &mut watch.hold else { return };
        self.next_attempt += 1;
        over.asked = Some((id, now.mono));
        let holder = holder.clone();
        let state = watch.state.as_ref();
        let reset_failed =
            state.is_some_and(|state| recovery::may_have_hit_its_start_limit(state, watch.attempts));
        watch.attempt = Some(InFlight {
            id,
            by,
            rung: Rung::Start,
            number: 0,
            told: Vec::new(),
            asked: now.mono,
            invocation_before: state.map_or_else(String::new, |state| state.invocation_id.clone()),
            ended: None,
            grace_until: now.mono,
        });
        out.push(Action::StartJob(JobRequest {
            unit: unit.clone(),
            attempt: id,
            step: Rung::Start,
            reset_failed,
        }));
        out.push(changed(None, Some(unit), None, What::HoldStartAsked { holder }));
    }

    /// A job of ours has ended. `true`: it was the start after a hold, and all is done about it.
    pub(super) fn start_ended(
        &mut self,
        now: Now,
        unit: &UnitName,
        attempt: AttemptId,
        result: &JobResult,
        state: Option<&UnitState>,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(watch) = self.units.get_mut(unit) else { return false };
        if !watch.hold.as_ref().is_some_and(|hold| hold.returns_by(attempt)) {
            return false;
        }
        let was = watch.condition.clone();
        if let Some(state) = state {
            // Read while the job counts as ours: what it did to the unit is nobody else's stop.
            watch.read(now, state.clone(), true);
        }
        watch.attempt = None;
        watch.settling = Some(now.mono);
        let rising = watch.is_up_or_coming();
        out.push(changed(None, Some(unit), None, What::HoldStartEnded { result: result.clone() }));
        match result {
            // Cancelled: somebody else's job took the place of ours, and has its own reasons.
            JobResult::Done | JobResult::Canceled => self.finish_hold(now, unit, &was, out),
            _ if rising => self.finish_hold(now, unit, &was, out),
            _ => self.not_brought_back(now, unit, format!("the start job ended as {result}"), out),
        }
        self.settle_unit(now, unit, out);
        true
    }

    /// The unit is not up after a hold, and that is a failure like any other from now on.
    fn not_brought_back(&mut self, now: Now, unit: &UnitName, why: String, out: &mut Vec<Action>) {
        let Some(watch) = self.units.get_mut(unit) else { return };
        let was = watch.condition.clone();
        let reason = not_started(&why);
        watch.not_returned = Some(reason.clone());
        if let Some(state) = watch.state.clone() {
            watch.read(now, state, true);
        }
        self.finish_hold(now, unit, &was, out);
        // Where systemd's word is not that it is down (it is being stopped, say), ours is.
        self.all_down(now, unit, &reason, out);
    }

    fn all_down(&mut self, now: Now, unit: &UnitName, reason: &str, out: &mut Vec<Action>) {
        let Some(watch) = self.units.get(unit) else { return };
        for name in watch.checks.clone() {
            if self.checks.get(&name).is_some_and(|state| !state.paused()) {
                self.go_down(now, &name, reason.to_owned(), out);
            }
        }
    }

    /// Nothing is left of the hold: the checks count, from now.
    fn finish_hold(&mut self, now: Now, unit: &UnitName, was: &Condition, out: &mut Vec<Action>) {
        let Some(watch) = self.units.get_mut(unit) else { return };
        watch.hold = None;
        for name in &watch.checks {
            if let Some(state) = self.checks.get_mut(name) {
                state.failures = 0;
            }
        }
        self.look_now(now, unit);
        self.condition_changed(now, unit, was, out);
    }
}

fn not_started(why: &str) -> String {
    format!("unit was not started again after a hold: {why}")
}
