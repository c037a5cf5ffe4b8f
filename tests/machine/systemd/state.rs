//! A unit's state changes: timestamps, what that means for its job, for its dependents and for the machine (unit_notify
//! in src/core/unit.c), and which units stay loaded.

use std::collections::BTreeSet;

use stealthcheck::unit::{ActiveState, JobResult, UnitName};

use super::job::{By, JobType};
use super::unit::{Links, Sub, is_down, is_up};
use super::{Happened, Kind, Review, Systemd};

impl Systemd {
    /// The unit enters a state. `restarts`: systemd restarts the service itself right away.
    pub(super) fn set_state(&mut self, unit: usize, sub: Sub, restarts: bool) {
        let usec = self.usec;
        let this = &mut self.units[unit];
        let old = this.active();
        this.sub = sub;
        this.state_serial += 1;
        let new = this.active();
        this.times.state_change = usec;
        match (is_down(old), is_down(new)) {
            (true, false) => this.times.inactive_exit = usec,
            (false, true) => this.times.inactive_enter = usec,
            _ => {}
        }
        if !is_up(old) && is_up(new) {
            this.times.active_enter = usec;
        } else if is_up(old) && !is_up(new) {
            this.times.active_exit = usec;
        }
        if new == ActiveState::Failed || new == ActiveState::Inactive {
            this.frozen = false;
        }
        self.mark_changed(unit);
        self.note_state(unit);
        self.happened(|this| Happened::State {
            unit: this.units[unit].name().clone(),
            from: old,
            to: new,
            by_job: this.units[unit].job.is_some_and(|job| job.running && job.kind.stops()),
        });
        let unexpected = self.tell_job(unit, new);
        if unexpected && is_down(old) && !self.units[unit].is_down_or_going() {
            self.start_dependencies(unit);
        }
        if unexpected
            && !is_down(old)
            && old != ActiveState::Deactivating
            && self.units[unit].is_down_or_going()
        {
            self.stop_bound(unit);
        }
        let links = self.units[unit].links.clone();
        if old != new && new == ActiveState::Failed && !restarts {
            self.start_all(&links.on_failure);
        }
        if new == ActiveState::Inactive && !is_down(old) && !restarts {
            self.start_all(&links.on_success);
        }
        if old != ActiveState::Failed && new == ActiveState::Failed && self.units[unit].file.failure_reboots {
            let name = self.units[unit].name().clone();
            self.reboot_wanted = Some(format!("FailureAction= of {name}"));
        }
        if new == ActiveState::Inactive && !is_down(old) && self.units[unit].file.success_reboots {
            let name = self.units[unit].name().clone();
            self.reboot_wanted = Some(format!("SuccessAction= of {name}"));
        }
        self.review_around(unit, new, &links);
    }

    fn note_state(&mut self, unit: usize) {
        if self.keeps_notes {
            let this = &self.units[unit];
            let (name, state) = (this.name().clone(), this.read().describe());
            self.note(|| format!("{name} is {state}"));
        }
    }

    /// What a change of state means for the unit's job (unit_process_job in src/core/unit.c). Returns whether no job
    /// asked for it.
    fn tell_job(&mut self, unit: usize, new: ActiveState) -> bool {
        let Some(job) = self.units[unit].job else { return true };
        if !job.running {
            self.run_queue.push_back(unit);
        }
        let ended = if new == ActiveState::Failed { JobResult::Failed } else { JobResult::Done };
        match job.kind {
            JobType::Start | JobType::VerifyActive => {
                if is_up(new) {
                    self.finish_job(unit, JobResult::Done, true);
                } else if job.running && new != ActiveState::Activating {
                    if is_down(new) {
                        self.finish_job(unit, ended, true);
                    }
                    return true;
                }
            }
            JobType::Reload if job.running => {
                if new == ActiveState::Active {
                    self.finish_job(unit, JobResult::Done, true);
                } else if !matches!(new, ActiveState::Activating | ActiveState::Reloading) {
                    if is_down(new) {
                        self.finish_job(unit, ended, true);
                    }
                    return true;
                }
            }
            JobType::Reload => {}
            JobType::Stop | JobType::Restart => {
                if is_down(new) {
                    self.finish_job(unit, JobResult::Done, true);
                } else if job.running && new != ActiveState::Deactivating {
                    self.finish_job(unit, JobResult::Failed, true);
                    return true;
                }
            }
        }
        false
    }

    /// The unit has come up without a job: so does what it requires, and what it conflicts with goes.
    fn start_dependencies(&mut self, unit: usize) {
        let links = self.units[unit].links.clone();
        let start: Vec<usize> =
            [links.requires, links.binds_to, links.wants, links.upholds].into_iter().flatten().collect();
        for other in start {
            if !links.after.contains(&other) && !self.units[other].is_up_or_coming() {
                let _ = self.add_job(other, JobType::Start, By::Systemd);
            }
        }
        for other in links.conflicts.into_iter().chain(links.conflicted_by) {
            if !self.units[other].is_down_or_going() {
                let _ = self.add_job(other, JobType::Stop, By::Systemd);
            }
        }
    }

    /// The unit has gone without a job: so does what is bound to it.
    fn stop_bound(&mut self, unit: usize) {
        let links = &self.units[unit].links;
        for other in [links.bound_by.clone(), links.propagates_stop_to.clone()].concat() {
            if !self.units[other].is_down_or_going() {
                let _ = self.add_job(other, JobType::Stop, By::Systemd);
            }
        }
    }

    fn start_all(&mut self, units: &[usize]) {
        for other in units {
            let _ = self.add_job(*other, JobType::Start, By::Systemd);
        }
    }

    fn review_around(&mut self, unit: usize, new: ActiveState, links: &Links) {
        if is_down(new) {
            let needed = [&links.requires, &links.requisite, &links.binds_to, &links.wants, &links.upholds];
            let needed = needed.into_iter().flatten().map(|other| (Review::Unneeded, *other));
            self.reviews.extend(needed);
            self.reviews.extend(links.bound_by.iter().map(|other| (Review::Bound, *other)));
            self.reviews.insert((Review::Upheld, unit));
        }
        if is_up(new) {
            self.reviews.extend(links.upholds.iter().map(|other| (Review::Upheld, *other)));
            self.reviews.insert((Review::Unneeded, unit));
            self.reviews.insert((Review::Bound, unit));
        }
    }

    pub(super) fn review(&mut self, review: Review, unit: usize) {
        let this = &self.units[unit];
        if this.job.is_some() {
            return;
        }
        let any = |units: &[usize], is: &dyn Fn(usize) -> bool| units.iter().any(|other| is(*other));
        let up = |other: usize| self.units[other].is_up();
        let idle_and_down = |other: usize| self.units[other].job.is_none() && self.units[other].is_down();
        let links = &this.links;
        let kind = match review {
            Review::Upheld if this.is_down() && any(&links.upheld_by, &up) => JobType::Start,
            Review::Bound if this.is_up() && any(&links.binds_to, &idle_and_down) => JobType::Stop,
            Review::Unneeded if this.file.stop_when_unneeded && this.is_up() => {
                let pins = [
                    &links.required_by,
                    &links.requisite_of,
                    &links.bound_by,
                    &links.wanted_by,
                    &links.upheld_by,
                ];
                if pins.into_iter().flatten().any(|other| !idle_and_down(*other)) {
                    return;
                }
                JobType::Stop
            }
            _ => return,
        };
        let _ = self.add_job(unit, kind, By::Systemd);
    }

    /// Unloads the unit if it is inactive and nothing that stays loaded names it.
    pub(super) fn collect_garbage(&mut self, unit: usize) {
        let mut seen = BTreeSet::new();
        if self.units[unit].is_pristine() {
            return;
        }
        if !self.stays_loaded(unit, &mut seen) {
            let name = self.units[unit].name().clone();
            self.note(|| format!("systemd has unloaded {name}"));
            self.units[unit].unload();
        }
    }

    pub(super) fn stays_loaded(&self, unit: usize, seen: &mut BTreeSet<usize>) -> bool {
        let this = &self.units[unit];
        if this.job.is_some() || this.file.enabled || this.active() != ActiveState::Inactive {
            return true;
        }
        seen.insert(unit);
        let referrers = &this.links.referenced_by;
        referrers.iter().any(|other| !seen.contains(other) && self.stays_loaded(*other, seen))
    }

    /// Resolves the names in all unit files.
    pub(super) fn link(&mut self) {
        let mut links = vec![Links::default(); self.units.len()];
        let resolve = |names: &[UnitName]| -> Vec<usize> {
            names.iter().filter_map(|name| self.names.get(name).copied()).collect()
        };
        for (n, unit) in self.units.iter().enumerate() {
            let file = &unit.file;
            macro_rules! link {
                ($setting:ident, $back:ident) => {
                    for other in resolve(&file.$setting) {
                        links[n].$setting.push(other);
                        links[other].$back.push(n);
                        links[other].referenced_by.push(n);
                    }
                };
            }
            link!(requires, required_by);
            link!(requisite, requisite_of);
            link!(binds_to, bound_by);
            link!(wants, wanted_by);
            link!(upholds, upheld_by);
            link!(conflicts, conflicted_by);
            // A setting of the other unit's file.
            for other in resolve(&file.stop_propagated_from) {
                links[n].stop_propagated_from.push(other);
                links[other].propagates_stop_to.push(n);
                links[n].referenced_by.push(other);
            }
            link!(after, before);
            for other in resolve(&file.part_of) {
                links[other].consists_of.push(n);
                links[other].referenced_by.push(n);
            }
            links[n].on_success = resolve(&file.on_success);
            links[n].on_failure = resolve(&file.on_failure);
            let triggered = match &file.kind {
                Kind::Timer { triggers, .. } => resolve(std::slice::from_ref(triggers)),
                Kind::Socket { service } => resolve(std::slice::from_ref(service)),
                _ => vec![],
            };
            for other in
                triggered.iter().chain(&links[n].on_success.clone()).chain(&links[n].on_failure.clone())
            {
                links[*other].referenced_by.push(n);
            }
            for other in triggered {
                links[other].triggered_by.push(n);
            }
        }
        let names: Vec<UnitName> = self.units.iter().map(|unit| unit.name().clone()).collect();
        let named = |units: &[usize]| -> Vec<UnitName> {
            let mut named: Vec<UnitName> = units.iter().map(|unit| names[*unit].clone()).collect();
            named.sort();
            named.dedup();
            named
        };
        for (unit, links) in self.units.iter_mut().zip(links) {
            let conflicts = named(&[links.conflicts.clone(), links.conflicted_by.clone()].concat());
            let required_by =
                named(&[&links.required_by[..], &links.requisite_of[..], &links.bound_by[..]].concat());
            unit.describe_file(named(&links.triggered_by), named(&links.consists_of), required_by, conflicts);
            unit.links = links;
        }
    }
}
