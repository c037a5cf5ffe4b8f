//! What the daemon is told: from here on it knows.

use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::{HoldEvent, HoldId};
use stealthcheck::engine::{Command, Event};
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, JobKind, JobResult, UnitName, UnitState};
use stealthcheck::verdict::Observation;

use crate::config::{is_of, real};
use crate::sim::Sim;

impl Sim {
    /// The daemon is about to be told something: from here on it knows.
    pub fn rules_before(&mut self, event: &Event) {
        let now = self.mono;
        match event {
            Event::UnitRead { unit, state } => {
                self.rules_told(unit, state);
                self.an_operators_stop_is_known(unit);
            }
            Event::JobEnded { unit, attempt, result, state } => {
                if let Some(state) = state {
                    self.rules_told(unit, state);
                }
                self.an_operators_stop_is_known(unit);
                self.upset(unit);
                for book in self.rules.checks.values_mut() {
                    book.other_job = book.other_job.filter(|open| open != attempt);
                }
                if let Some(book) = self.rules.units.get_mut(unit)
                    && book.open.is_some_and(|(open, _)| open == *attempt)
                {
                    book.open = None;
                    // (What was not requested was no job.)
                    if !matches!(result, JobResult::Unasked(_) | JobResult::Refused(_) | JobResult::Canceled)
                    {
                        book.job_ended = now;
                    }
                }
            }
            Event::ManagerChanged(manager) if self.rules.manager.0 != *manager => {
                self.rules.manager = (*manager, now);
            }
            Event::Observed { check, run, observation } => {
                let asked = self.probe_ended(check, run.0);
                self.is_answered(check, asked, observation);
            }
            Event::Sampled { check, run, .. } => {
                self.probe_ended(check, run.0);
            }
            Event::Configured(_) => {
                for book in self.rules.checks.values_mut() {
                    book.passes = false;
                }
            }
            Event::Command(Command::Pause(check, lasting)) => {
                if let Some(book) = self.rules.checks.get_mut(check) {
                    book.paused = Some(now.after(*lasting));
                }
                self.all_upset();
            }
            Event::Command(Command::Resume(check)) => {
                if let Some(book) = self.rules.checks.get_mut(check) {
                    book.paused = None;
                }
                self.all_upset();
            }
            Event::Command(Command::Check(check)) => {
                self.rules.upset.insert(check.clone(), now);
            }
            Event::Hold(HoldEvent::Take { id, unit, .. }) => {
                self.rules.wanted_leases.insert(id.clone(), real(unit));
            }
            Event::Hold(HoldEvent::End(id, _)) => self.lease_is_over(&id.clone()),
            Event::Hold(HoldEvent::Kept(ids)) => {
                let lost: Vec<HoldId> =
                    self.rules.leases.keys().filter(|id| !ids.contains(*id)).cloned().collect();
                for id in lost {
                    self.lease_is_over(&id);
                }
            }
            _ => {}
        }
    }

    /// When the probe was asked for, if nobody has given it up.
    fn probe_ended(&mut self, check: &CheckName, run: u64) -> Option<Mono> {
        self.rules.probing.get_mut(check)?.remove(&run)
    }

    /// A probe that was asked for at `asked` has seen something. `None`: it was given up.
    fn is_answered(&mut self, check: &CheckName, asked: Option<Mono>, observation: &Observation) {
        let now = self.mono;
        let unit = self.unit_of(check);
        let told = unit.as_ref().and_then(|unit| self.rules.told.get(unit));
        let up = told.is_some_and(|told| told.active == ActiveState::Active && told.job.is_none());
        let unit_book = unit.as_ref().and_then(|unit| self.rules.units.get(unit));
        let of_this_run = asked.is_some_and(|asked| unit_book.is_some_and(|book| book.changed < asked));
        let left_alone = unit_book.is_some_and(|book| book.open.is_some() || book.rival_up.is_some())
            || self.rules.leases.values().any(|held| Some(held) == unit.as_ref());
        let open = self.rules.checks.get(check).is_some_and(|book| book.incident.is_some());
        if open && matches!(observation, Observation::Passing { .. }) {
            // What needs its unit may be well again.
            self.all_upset();
        }
        let Some(book) = self.rules.checks.get_mut(check) else { return };
        let good = matches!(observation, Observation::Passing { .. });
        if good {
            book.last_pass = now;
        }
        book.passes = good && up && of_this_run && !left_alone && book.paused.is_none();
        match observation {
            Observation::Failing { .. } | Observation::NotRestartable { .. } => book.failures += 1,
            Observation::Passing { .. } if book.passes => book.failures = 0,
            Observation::Passing { .. } | Observation::Unknown { .. } => {}
        }
    }

    /// What was stopped within a hold was the holder's to stop.
    pub fn lease_is_over(&mut self, id: &HoldId) {
        if let Some(unit) = self.rules.leases.remove(id) {
            self.rules.leases_over.insert(unit.clone(), self.mono);
            self.all_upset();
            if let Some(book) = self.rules.units.get_mut(&unit) {
                (book.stop, book.operators_stop) = (None, None);
            }
        }
    }

    fn upset(&mut self, unit: &UnitName) {
        let now = self.mono;
        for check in self.plan.checks.iter().filter(|check| is_of(check, unit)) {
            self.rules.upset.insert(check.name.clone(), now);
        }
    }

    fn rules_told(&mut self, unit: &UnitName, state: &UnitState) {
        let now = self.mono;
        // What is found so at the first look has been so since systemd says.
        let since_systemd_says = self.usec().saturating_sub(state.inactive_enter_usec);
        let before = self.rules.told.insert(unit.clone(), state.clone());
        let rival_of = unit.as_str().strip_prefix("rival-of-").and_then(|name| UnitName::new(name).ok());
        if let Some(book) = rival_of.and_then(|unit| self.rules.units.get_mut(&unit)) {
            let coming = state.job.is_some_and(|job| matches!(job.kind, JobKind::Start | JobKind::Restart));
            if !state.is_down() || coming {
                let chain = book.rival_went.is_some_and(|went| now.since(went).as_secs() < 300);
                if book.rival_went.take().is_some() && !chain {
                    book.rival_up = None;
                }
                book.rival_up.get_or_insert(now);
            } else if book.rival_up.is_some() && book.rival_went.is_none() {
                book.rival_went = Some(now);
            }
        }
        // (A first reading tells how what it needs is.)
        let first = before.is_none();
        let was_down = before.as_ref().is_some_and(UnitState::is_down);
        let stopped_again =
            was_down && before.as_ref().is_some_and(|before| before.stopped_by != state.stopped_by);
        // A stop of a unit that has failed already stops nothing.
        let had_failed = before.as_ref().is_some_and(|before| {
            before.active == ActiveState::Failed && before.inactive_enter_usec == state.inactive_enter_usec
        });
        let before_run = before.as_ref().map(|before| before.invocation_id.clone());
        let other_run = before.is_none_or(|before| {
            before.invocation_id != state.invocation_id || before.active != state.active
        });
        if other_run {
            // What needs it is looked at as well, and what it stands in the way of.
            self.all_upset();
        }
        if other_run || state.job.is_some() {
            let checks = self.plan.checks.iter().filter(|check| is_of(check, unit));
            for check in checks {
                if let Some(book) = self.rules.checks.get_mut(&check.name) {
                    book.passes = false;
                }
            }
        }
        let held = self.rules.leases.values().any(|held| held == unit);
        let Some(book) = self.rules.units.get_mut(unit) else { return };
        let somebodys = state
            .stopped_by
            .is_some_and(|job| !job.ours && matches!(job.kind, JobKind::Stop | JobKind::Other));
        let goes_on = book.stop.is_some_and(|(_, usec)| usec == state.inactive_enter_usec);
        let still_up = !state.is_down() && state.active != ActiveState::Deactivating;
        book.stopped_by_us &= !still_up || state.job.is_some();
        let at = Some(state.inactive_enter_usec);
        let falls = state.active == ActiveState::Deactivating;
        book.held_fall = (falls || state.is_down()) && (book.held_fall || (held && somebodys && falls));
        if stopped_again && !held {
            // A second stop that is read after the hold may be a later one: it is respected.
            book.owed = false;
        }
        if (held || book.held_fall) && somebodys && state.is_down() {
            book.held_stop = at;
            // (What was down before is not owed anything.)
            book.owed = !was_down || (book.owed && held);
        }
        let counts = !held && !had_failed && book.held_stop != at && !book.stopped_by_us;
        if !state.is_down() || !(somebodys || goes_on) {
            book.stop = None;
        } else if somebodys && book.stop.is_none() && book.open.is_none() && counts {
            let ago = Duration::from_micros(since_systemd_says);
            book.stop = Some((Mono(now.0.saturating_sub(ago)), state.inactive_enter_usec));
        }
        if other_run {
            book.changed = now;
        }
        if !first && before_run.is_some_and(|run| run != state.invocation_id) && !state.is_down() {
            book.started = now;
        }
        let comes = state.job.is_some_and(|job| matches!(job.kind, JobKind::Start | JobKind::Restart));
        book.waits = (state.is_down() && comes).then(|| book.waits.unwrap_or(now));
    }

    /// The machine knows who has stopped a unit; from when it is read as it is now, the daemon could.
    fn an_operators_stop_is_known(&mut self, unit: &UnitName) {
        let stopped = self.truths.get(unit).and_then(|truth| truth.stopped_by_operator);
        if stopped.is_none() {
            if let Some(book) = self.rules.units.get_mut(unit) {
                book.operators_stop = None;
            }
            return;
        }
        let truth = self.machine.systemd.read(unit);
        let job = self.machine.systemd.job_on(unit);
        let told = self.rules.told.get(unit);
        let up_to_date = told.is_some_and(|told| {
            told.is_down()
                && truth.is_down()
                && told.job.is_none()
                && job.is_none()
                && told.inactive_enter_usec == truth.inactive_enter_usec
        });
        let stopped = stopped.filter(|_| truth.active == ActiveState::Inactive);
        if let Some(book) = self.rules.units.get_mut(unit) {
            let open = book.open.is_some();
            book.operators_stop =
                if up_to_date && !open { stopped } else { book.operators_stop.and(stopped) };
        }
    }

    pub fn all_upset(&mut self) {
        for check in &self.plan.checks {
            self.rules.upset.insert(check.name.clone(), self.mono);
        }
    }
}
