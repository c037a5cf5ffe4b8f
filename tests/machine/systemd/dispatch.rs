//! Jobs are installed, run and finished, and signals are sent (job.c and the loop of manager.c in src/core).

use stealthcheck::unit::{JobResult, ManagerState};

use super::job::{By, Job, JobType};
use super::start::Start;
use super::{Changed, Review, Signal, Systemd, Timer, Version};

impl Systemd {
    /// Puts a job on a unit: in place of one that conflicts with it, else merged with it.
    pub(super) fn install(&mut self, unit: usize, kind: JobType, by: By) -> u32 {
        if let Some(old) = self.units[unit].job {
            match old.kind.merge(kind, self.units[unit].is_up()) {
                None => self.finish_job(unit, JobResult::Canceled, false),
                Some(merged) => {
                    // A running job that does the same already goes on; any other begins again.
                    let covers = merged == old.kind && kind != JobType::Reload;
                    let job = Job { kind: merged, running: old.running && covers, ..old };
                    self.units[unit].job = Some(job);
                    self.mark_changed(unit);
                    self.run_queue.push_back(unit);
                    return old.id;
                }
            }
        }
        self.next_job += 1;
        let id = self.next_job;
        self.units[unit].job = Some(Job { id, kind, by, running: false });
        self.signals.push(Signal::JobNew { id, unit: self.units[unit].name().clone() });
        self.mark_changed(unit);
        self.run_queue.push_back(unit);
        id
    }

    /// A job waits for those of other units that are ordered before it. Stopping comes before starting.
    fn is_runnable(&self, unit: usize, job: Job) -> bool {
        let links = &self.units[unit].links;
        let waits_for_earlier = !job.kind.stops()
            && links.after.iter().any(|other| *other != unit && self.units[*other].job.is_some());
        let waits_for_later = links
            .before
            .iter()
            .any(|other| *other != unit && self.units[*other].job.is_some_and(|job| job.kind.stops()));
        !waits_for_earlier && !waits_for_later
    }

    fn run_job(&mut self, unit: usize) {
        let Some(job) = self.units[unit].job else { return };
        if job.running || !self.is_runnable(unit, job) {
            return;
        }
        self.units[unit].job = Some(Job { running: true, ..job });
        self.mark_changed(unit);
        if let Some(timeout) = self.units[unit].file.job_timeout_reboots {
            self.later(timeout, Timer::JobTimeout { unit, job: job.id, kind: job.kind });
        }
        let this = &self.units[unit];
        let refuses = this.frozen && self.version == Version::V257 && !this.is_down();
        if refuses && job.kind != JobType::VerifyActive {
            return self.finish_job(unit, JobResult::Other("frozen".to_owned()), true);
        }
        if this.frozen && self.version == Version::V252 {
            self.units[unit].frozen = false;
        }
        let outcome = match job.kind {
            JobType::Start => self.start_unit(unit),
            JobType::Stop | JobType::Restart => self.stop_unit(unit),
            JobType::Reload => self.reload_unit(unit),
            JobType::VerifyActive if self.units[unit].is_up() => Start::End(JobResult::Done),
            JobType::VerifyActive if self.units[unit].is_up_or_coming() => Start::Later,
            JobType::VerifyActive => Start::End(JobResult::Skipped),
        };
        // What it did may have ended or replaced it already.
        let Some(job) = self.units[unit].job.filter(|now| now.id == job.id && now.kind == job.kind) else {
            return;
        };
        match outcome {
            Start::Running => {}
            Start::Later => self.units[unit].job = Some(Job { running: false, ..job }),
            Start::End(result) => self.finish_job(unit, result, true),
        }
    }

    /// `JobRunningTimeoutSec=` of a job is over (job_dispatch_timer).
    pub(super) fn job_times_out(&mut self, unit: usize, id: u32, kind: JobType) {
        if self.units[unit].job.is_some_and(|job| job.running && job.id == id && job.kind == kind) {
            self.finish_job(unit, JobResult::Timeout, true);
            let name = self.units[unit].name().clone();
            self.reboot_wanted = Some(format!("JobTimeoutAction= of {name}"));
        }
    }

    /// The job is over. A restart whose first half is done becomes a start.
    pub(super) fn finish_job(&mut self, unit: usize, result: JobResult, recursive: bool) {
        let Some(job) = self.units[unit].job else { return };
        if result == JobResult::Done && job.kind == JobType::Restart {
            self.units[unit].job = Some(Job { kind: JobType::Start, running: false, ..job });
            self.mark_changed(unit);
            self.run_queue.push_back(unit);
            self.wake_around(unit);
            return;
        }
        // The unit's own signal comes first, with the job still on it.
        self.send_change(unit);
        self.units[unit].job = None;
        let name = self.units[unit].name().clone();
        self.note(|| format!("systemd: job {} ({:?} of {name}) ended: {result}", job.id, job.kind));
        self.signals.push(Signal::JobRemoved { id: job.id, unit: name, result: result.clone() });
        self.mark_changed(unit);
        let links = self.units[unit].links.clone();
        let starts = matches!(job.kind, JobType::Start | JobType::VerifyActive);
        if recursive && result != JobResult::Done && starts {
            for other in links.required_by.iter().chain(&links.requisite_of).chain(&links.bound_by) {
                self.fail_start(*other);
            }
        }
        if recursive && result != JobResult::Done && job.kind == JobType::Stop {
            links.conflicted_by.iter().for_each(|other| self.fail_start(*other));
        }
        if recursive && result == JobResult::Done && starts && !self.units[unit].is_up() {
            links.requisite_of.iter().for_each(|other| self.fail_start(*other));
        }
        if matches!(result, JobResult::Timeout | JobResult::Dependency) {
            for other in &links.on_failure {
                let _ = self.add_job(*other, JobType::Start, By::Systemd);
            }
        }
        self.wake_around(unit);
    }

    fn fail_start(&mut self, unit: usize) {
        let starts = |job: Job| matches!(job.kind, JobType::Start | JobType::VerifyActive);
        if self.units[unit].job.is_some_and(starts) {
            self.finish_job(unit, JobResult::Dependency, true);
        }
    }

    fn wake_around(&mut self, unit: usize) {
        let links = &self.units[unit].links;
        let around: Vec<usize> = links.after.iter().chain(&links.before).copied().collect();
        self.run_queue.extend(around.into_iter().filter(|other| self.units[*other].job.is_some()));
    }

    pub(super) fn mark_changed(&mut self, unit: usize) {
        if !self.changed.contains(&unit) {
            self.changed.push(unit);
        }
    }

    /// Sends the signal of a unit that has changed, with its values as they are now.
    fn send_change(&mut self, unit: usize) {
        let before = self.changed.len();
        self.changed.retain(|changed| *changed != unit);
        if self.changed.len() == before {
            return;
        }
        let this = &self.units[unit];
        let state = Changed {
            active: this.active(),
            job: this.job.map_or(0, |job| job.id),
            invocation: this.invocation,
            inactive_enter: this.times.inactive_enter,
            active_exit: this.times.active_exit,
            started: this.times.condition,
        };
        self.signals.push(Signal::Changed { unit: this.name().clone(), state: Box::new(state) });
    }

    pub(super) fn flush(&mut self) {
        for unit in self.changed.clone() {
            self.send_change(unit);
        }
    }

    /// systemd's main loop, until nothing is left that can be done now.
    pub(super) fn dispatch(&mut self) {
        let mut touched = Vec::new();
        loop {
            while let Some((review, unit)) = self.reviews.pop_first() {
                self.review(review, unit);
            }
            touched.extend(self.changed.iter().copied());
            self.flush();
            if self.run_queue.is_empty() {
                break;
            }
            while let Some(unit) = self.run_queue.pop_front() {
                self.run_job(unit);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for unit in touched {
            let around = self.units[unit].links.clone();
            self.collect_garbage(unit);
            // What only this one referred to.
            for other in around.after.iter().chain(&around.wants).chain(&around.requires) {
                self.collect_garbage(*other);
            }
        }
        if self.booting && self.units.iter().all(|unit| unit.job.is_none()) {
            self.booting = false;
            self.note(|| "systemd: the boot is finished".to_owned());
            self.signals.push(Signal::Manager(ManagerState::Running));
        }
    }

    pub(super) fn review_all(&mut self) {
        for unit in 0..self.units.len() {
            self.reviews.extend([(Review::Upheld, unit), (Review::Bound, unit), (Review::Unneeded, unit)]);
        }
    }
}
