//! Which jobs may be asked for (rules 4, 5, 7 to 12, 14) and that no check overlaps itself (rule 3).

use std::collections::BTreeSet;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Respect, Step};
use stealthcheck::engine::AttemptId;
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName, UnitState};
use stealthcheck::verdict::{Health, SuppressedBy};

use super::SLACK;
use crate::config::{UnitPlan, is_of};
use crate::sim::Sim;

/// What is told of a unit in a line.
fn describe(state: &UnitState) -> String {
    format!("{} job {:?} stopped by {:?}", state.describe(), state.job, state.stopped_by)
}

/// A boot that takes longer is not waited for.
const BOOT_AT_MOST: Duration = Duration::from_secs(600);

impl Sim {
    /// A job is about to be asked for: by a check, or (`None`) to bring a unit back after a hold.
    pub fn a_job_is_ours_to_ask_for(
        &mut self,
        unit: &UnitName,
        attempt: AttemptId,
        step: &Step,
        asker: Option<&CheckName>,
    ) {
        self.one_job_at_a_time(unit, attempt, step, asker);
        self.not_ours_to_fight(unit, step, asker.is_some());
        self.a_held_unit_is_left_alone(unit);
        let Some(name) = asker else { return self.nobody_stopped_it_after_the_hold(unit) };
        let Some(check) = self.check(name).cloned() else {
            self.broken("only checks ask for recoveries", name.as_str())
        };
        self.what_is_asked_is_on_the_steps(unit, &check, step);
        self.a_paused_check_asks_for_nothing(name);
        self.a_check_that_passes_asks_for_nothing(unit, name);
        self.a_stop_is_respected(unit, &check);
        self.an_operators_stop_is_respected(unit, &check);
        self.a_displaced_unit_is_left_alone(unit, &check);
        self.what_has_just_started_has_its_grace(unit, &check, step);
        self.what_a_unit_needs_is_mended_first(unit);
        self.nothing_starts_what_somebody_stopped(unit, step);
        self.a_storm_restarts_one_at_a_time(unit, attempt);
        self.a_machine_without_network_restarts_nothing(unit, &check);
        self.the_status_agrees(name);
    }

    /// Rule 4.
    fn one_job_at_a_time(
        &mut self,
        unit: &UnitName,
        attempt: AttemptId,
        step: &Step,
        asker: Option<&CheckName>,
    ) {
        let now = self.mono;
        if let (Step::StartUnit(_), Some(asker)) = (step, asker) {
            // It occupies the check alone.
            let open = self.rules.checks.get_mut(asker).and_then(|book| book.other_job.replace(attempt));
            if let Some(open) = open {
                self.broken("one job at a time of a check", &format!("{asker}: {open:?} and {attempt:?}"));
            }
            return;
        }
        let Some(book) = self.rules.units.get_mut(unit) else {
            self.broken("jobs are asked for on guarded units only", unit.as_str())
        };
        book.stopped_by_us = *step == Step::Stop;
        if let Some((open, since)) = book.open.replace((attempt, now)) {
            let what = format!("{unit}: {open:?} since {:?} ago, and {attempt:?}", now.since(since));
            self.broken("one job at a time per unit", &what);
        }
    }

    /// Rule 7, by what the daemon was told. A step that starts another unit may do so whatever is on this one, and what was
    /// held is started again also while the machine boots (rule 10).
    fn not_ours_to_fight(&self, unit: &UnitName, step: &Step, is_recovery: bool) {
        let is_own = !matches!(step, Step::StartUnit(_));
        let broken = |what: &str| self.broken("not ours to fight", &format!("{unit}: {what}"));
        let Some(told) = self.rules.told.get(unit) else { return broken("its state was not told yet") };
        let (manager, since) = self.rules.manager;
        match manager {
            ManagerState::Running => {}
            // A boot that takes long ends nothing, and what was up already is not waited for.
            ManagerState::Starting
                if told.active_enter_usec != 0 || !is_recovery || self.mono.since(since) >= BOOT_AT_MOST => {}
            _ => broken(&format!("systemd is {manager:?}")),
        }
        if is_own && told.job.is_some() {
            broken(&format!("there is a job on it: {}", describe(told)));
        }
        if told.load == LoadState::Masked || (told.load != LoadState::Loaded && told.is_down()) {
            broken("it is masked, or there is no such unit");
        }
        if told.frozen {
            broken("somebody has frozen it");
        }
        if told.start_skipped.is_some() && told.is_down() {
            broken("systemd skips its start");
        }
        let on_its_way = matches!(told.active, ActiveState::Activating | ActiveState::Deactivating);
        if is_own && on_its_way {
            broken(&format!("it is on its way without us: {}", describe(told)));
        }
    }

    /// Rule 10.
    fn a_held_unit_is_left_alone(&self, unit: &UnitName) {
        if let Some((id, _)) = self.rules.leases.iter().find(|(_, held)| *held == unit) {
            self.broken("a held unit is left alone", &format!("a job on {unit}, held by {id}"));
        }
    }

    /// A unit that is down may be started in place of a restart (rule 9).
    fn what_is_asked_is_on_the_steps(&self, unit: &UnitName, check: &Check, step: &Step) {
        let down = self.rules.told.get(unit).is_some_and(UnitState::is_down);
        let in_place = *step == Step::Start && down && check.recovery.steps.contains(&Step::Restart);
        if !check.recovery.steps.contains(step) && !in_place {
            self.broken("what is asked for is on the check's ladder", &format!("{}: {step:?}", check.name));
        }
    }

    /// Rule 11.
    fn a_paused_check_asks_for_nothing(&self, name: &CheckName) {
        let paused = self.rules.checks.get(name).and_then(|book| book.paused);
        if paused.is_some_and(|until| until > self.mono.after(SLACK)) {
            self.broken("a paused check is left alone", &format!("{name} asks for a job"));
        }
    }

    /// Rule 2: however often it must pass to count as well. That a unit which systemd restarts again and again answers in
    /// between is another matter (rule 7).
    fn a_check_that_passes_asks_for_nothing(&self, unit: &UnitName, name: &CheckName) {
        let crashes = self.restarts_itself(unit);
        if !crashes && self.rules.checks.get(name).is_some_and(|book| book.passes) {
            self.broken("a check that passes asks for nothing", &format!("{name} asks for a job"));
        }
    }

    /// systemd restarts the unit by itself.
    pub fn restarts_itself(&self, unit: &UnitName) -> bool {
        self.plan.units.iter().find(|plan| plan.name == *unit).is_none_or(|plan| plan.auto_restart)
    }

    /// Rule 12. What went down with something that it needs is another matter.
    fn a_stop_is_respected(&self, unit: &UnitName, check: &Check) {
        let Some((since, _)) = self.rules.units.get(unit).and_then(|book| book.stop) else { return };
        let alone = self.plan.units.iter().any(|plan| plan.name == *unit && plan.requires.is_empty());
        let rival = self.rules.units.get(unit).is_some_and(|book| book.rival_up.is_some());
        let job = check.probe.job().is_some();
        if !alone || rival || job {
            return;
        }
        // (The time may be that of the fall before, where a stop came with it.)
        let rested = self.mono.since(since);
        let respected = match check.recovery.respect_stop {
            Respect::For(lasting) => rested.saturating_add(Duration::from_secs(5)) >= lasting,
            Respect::Forever => false,
        };
        if !respected {
            let what = format!("{} asks for a job on {unit}, stopped {rested:?} ago", check.name);
            self.broken("somebody's stop is respected", &what);
        }
    }

    /// Rule 12, by the machine's account: whatever job of ours was on the unit when the operator stopped it.
    fn an_operators_stop_is_respected(&self, unit: &UnitName, check: &Check) {
        let Some(since) = self.rules.units.get(unit).and_then(|book| book.operators_stop) else { return };
        let rested = self.mono.since(since);
        // A stop of what was down, which took a start job away at most, before the daemon was there: nothing tells of it.
        let down_before = self.truths.get(unit).is_none_or(|truth| truth.down_at < since);
        if down_before && since <= self.rules.started {
            return;
        }
        // The clock was set after it, before the daemon was there: systemd's timestamp does not tell how long ago it was.
        let set_since = since <= self.rules.clock_set && self.rules.clock_set <= self.rules.started;
        if set_since && matches!(check.recovery.respect_stop, Respect::For(_)) {
            return;
        }
        let respected = match check.recovery.respect_stop {
            Respect::For(lasting) => rested >= lasting,
            Respect::Forever => false,
        };
        if !respected && check.probe.job().is_none() {
            let with_root = self.required(unit).iter().any(|root| {
                let down_at = self.truths.get(root).map_or(Mono::default(), |truth| truth.down_at);
                down_at.after(Duration::from_secs(5)) >= since
            });
            if with_root {
                let what = format!("{} asks for a job on {unit}, stopped {rested:?} ago", check.name);
                self.broken("an operator's stop is respected beside a stop of its root", &what);
            }
            let what = format!("{} asks for a job on {unit}, stopped {rested:?} ago", check.name);
            self.broken("an operator's stop is respected", &what);
        }
    }

    /// Rule 10: the unit is started after a hold, unless an operator has stopped it since. A stop that a holder who was
    /// killed had just requested is of the hold.
    fn nobody_stopped_it_after_the_hold(&self, unit: &UnitName) {
        let stop = self.rules.units.get(unit).and_then(|book| book.operators_stop);
        let (Some(stop), Some(over)) = (stop, self.rules.leases_over.get(unit)) else { return };
        if stop > over.after(Duration::from_millis(300)) {
            let what = format!("{unit}, stopped {:?} after its hold", stop.since(*over));
            self.broken("a stop after a hold is respected", &what);
        }
    }

    /// Rule 6: from the unit's own start, whoever caused it; a pass ends it.
    fn what_has_just_started_has_its_grace(&self, unit: &UnitName, check: &Check, step: &Step) {
        let (Some(truth), Some(told)) = (self.truths.get(unit), self.rules.told.get(unit)) else { return };
        let Some(book) = self.rules.checks.get(&check.name) else { return };
        let this_run = told.active == ActiveState::Active
            && told.active_enter_usec == self.machine.systemd.read(unit).active_enter_usec
            && self.rules.clock_set < truth.up_at;
        let up = self.mono.since(truth.up_at);
        let passed = book.last_pass >= truth.up_at;
        let own = !matches!(step, Step::StartUnit(_)) && !self.restarts_itself(unit);
        if this_run && own && !passed && up.saturating_add(SLACK) < check.recovery.grace {
            let what = format!("{} asks for a job on {unit}, which came up {up:?} ago", check.name);
            self.broken("what has just started has its grace", &what);
        }
    }

    /// Rule 9: a job on `unit` has systemd start `required` as well.
    pub fn rules_pulled_in(&self, unit: &UnitName, required: &UnitName) {
        let stop = self.rules.units.get(required).and_then(|book| book.operators_stop);
        let stop = stop.filter(|since| self.is_still_respected(required, unit, *since));
        if let Some(since) = stop {
            let checked = self.plan.checks.iter().any(|check| is_of(check, required));
            if !checked && self.rules.started >= since {
                let what = format!("our job on {unit} starts {required}, which no check monitors");
                self.broken("a restart of the daemon forgets no stop", &what);
            }
            if !self.pulled_in(unit).contains(required) {
                let what = format!("our job on {unit} restarts a dependent and starts {required}");
                self.broken("no job starts through a dependent what somebody has stopped", &what);
            }
            let what = format!("our job on {unit} starts {required}, which an operator has stopped");
            self.broken("no job starts what somebody has stopped", &what);
        }
    }

    /// Rule 8.
    fn a_displaced_unit_is_left_alone(&self, unit: &UnitName, check: &Check) {
        let Some(book) = self.rules.units.get(unit) else { return };
        let Some(since) = book.rival_up.filter(|_| book.rival_went.is_none()) else { return };
        let lasting = self.mono.since(since);
        let known = self.rules.told.contains_key(&crate::config::rival_of(unit));
        let long = match check.recovery.respect_conflict {
            Respect::For(most) => lasting >= most,
            Respect::Forever => false,
        };
        if known && !long {
            let what = format!("{} asks for a job on {unit}, displaced for {lasting:?}", check.name);
            self.broken("a displaced unit is left alone", &what);
        }
    }

    /// What a start of the unit starts as well, directly or not.
    fn pulled_in(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.reached(unit, |plan| plan.requires.iter().chain(&plan.wants).cloned().collect())
    }

    /// What the unit needs, directly or not.
    pub fn required(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.reached(unit, |plan| plan.requires.clone())
    }

    fn reached(&self, unit: &UnitName, edges: impl Fn(&UnitPlan) -> Vec<UnitName>) -> BTreeSet<UnitName> {
        let mut found = BTreeSet::new();
        let mut open = vec![unit.clone()];
        while let Some(next) = open.pop() {
            let plan = self.plan.units.iter().find(|plan| plan.name == next);
            for name in plan.map(&edges).unwrap_or_default() {
                if name != *unit && found.insert(name.clone()) {
                    open.push(name);
                }
            }
        }
        found
    }

    /// Rule 9. In a circle either may be the root.
    fn what_a_unit_needs_is_mended_first(&self, unit: &UnitName) {
        if self.plan.circle {
            return;
        }
        for required in self.required(unit) {
            let told = self.rules.told.get(&required);
            // A oneshot that somebody has stopped is at rest, however it has ended; so is what a timer starts, if it ended
            // well.
            let down = told.is_some_and(|told| {
                let ended_well = told.active == ActiveState::Inactive && told.result == "success";
                let at_rest = (told.oneshot && told.stopped_by.is_some())
                    || (ended_well && !told.settings.triggered_by.is_empty());
                told.is_down() && told.job.is_none() && !at_rest
            });
            let ill = self.plan.checks.iter().find(|check| {
                is_of(check, &required)
                    && self.rules.committed.get(&check.name).is_some_and(|book| book.incident.is_some())
                    && self.rules.checks.get(&check.name).is_some_and(|book| book.incident.is_some())
            });
            if let (Some(check), true) = (ill, down) {
                let what = format!("a job on {unit}, which needs {required}, and {} is down", check.name);
                self.broken("what a unit needs is mended first", &what);
            }
        }
    }

    /// By one of the unit's checks; without any, by one for which there may be a job on `by`. (A oneshot is not stopped, but
    /// at rest.)
    fn is_still_respected(&self, unit: &UnitName, by: &UnitName, since: Mono) -> bool {
        let of_own = self.plan.checks.iter().any(|check| is_of(check, unit));
        let asks =
            |check: &Check| is_of(check, by) || check.recovery.steps.contains(&Step::StartUnit(by.clone()));
        let mut checks =
            self.plan.checks.iter().filter(|check| if of_own { is_of(check, unit) } else { asks(check) });
        let respects = |check: &Check| match check.recovery.respect_stop {
            Respect::For(lasting) => self.mono.since(since) < lasting,
            Respect::Forever => true,
        };
        let oneshot = self.rules.told.get(unit).is_some_and(|told| told.oneshot);
        !oneshot && checks.any(respects)
    }

    /// Rule 9: as long as the stop is respected, and whether or not the unit has checks.
    fn nothing_starts_what_somebody_stopped(&self, unit: &UnitName, step: &Step) {
        if !matches!(step, Step::Restart | Step::Start) {
            return;
        }
        for other in self.pulled_in(unit) {
            let told = self.rules.told.get(&other);
            // (Of a unit without checks nobody tells what it made room for: the machine's account counts.)
            let checked = self.plan.checks.iter().any(|check| is_of(check, &other));
            let stop = self.rules.units.get(&other).and_then(|book| {
                if checked { book.stop.map(|(since, _)| since) } else { book.operators_stop }
            });
            let stopped = stop.is_some_and(|since| self.is_still_respected(&other, unit, since));
            // (What is not there is not started.)
            let there = |told: &&UnitState| told.load == LoadState::Loaded;
            if stopped && told.filter(there).is_some_and(|told| told.is_down() && told.job.is_none()) {
                let what = format!("a job on {unit} would start {other}, which somebody has stopped");
                self.broken("no job starts what somebody has stopped", &what);
            }
        }
    }

    fn the_status_agrees(&self, name: &CheckName) {
        let Some(engine) = self.machine.engine() else { return };
        let status = engine.status(self.now(), std::slice::from_ref(name), false);
        // In a circle of units that need each other, another of them may be the root by now.
        let of_circle = |health: &Health| {
            self.plan.circle && matches!(health.suppressed_by, Some(SuppressedBy::Dependency { .. }))
        };
        if status.iter().any(|status| !status.health.is_down() && !of_circle(&status.health)) {
            if let Some(SuppressedBy::Dependency { by, .. }) =
                status.first().and_then(|status| status.health.suppressed_by.as_ref())
            {
                let what = format!("{name} asks for a job, and waits for {by}");
                self.broken("what waits for its root asks for no job", &what);
            }
            let what = format!("{name} asks for a job and is {:?}", status.first().map(|s| &s.health));
            self.broken("only a check that is down asks for a job", &what);
        }
    }

    /// Rule 3. A probe that is given up, since its unit begins anew or somebody pauses the check, may still run.
    pub fn a_check_does_not_overlap_itself(&mut self, check: &CheckName, run: u64) {
        let now = self.mono;
        let timeout = self.check(check).map_or(Duration::ZERO, |check| check.schedule.timeout);
        let lost = timeout + Duration::from_secs(5);
        let upset = self.rules.upset.get(check).copied().unwrap_or_default();
        let probing = self.rules.probing.entry(check.clone()).or_default();
        probing.retain(|_, since| now.since(*since) < lost && *since > upset);
        let overlapped = probing.iter().next().map(|(run, since)| (*run, *since));
        let grows = probing.keys().all(|before| *before < run);
        probing.insert(run, now);
        // (The unit is started within two minutes, or counts as down.)
        let unit = self.unit_of(check);
        let held = unit.and_then(|unit| self.rules.leases_over.get(&unit).copied());
        let held = held.is_some_and(|over| now.since(over) < Duration::from_secs(121));
        if let Some((before, since)) = overlapped.filter(|_| !held) {
            let what =
                format!("{check}: run {run} while run {before} is under way for {:?}", now.since(since));
            self.broken("a check does not overlap itself", &what);
        }
        if !grows {
            self.broken("the numbers of runs grow", check.as_str());
        }
        let paused = self.rules.checks.get(check).and_then(|book| book.paused);
        if paused.is_some_and(|until| until > now.after(SLACK)) && self.rules.upset.get(check) != Some(&now) {
            self.broken("a paused check is not probed", check.as_str());
        }
    }
}
