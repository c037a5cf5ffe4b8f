//! Which job took a unit down, or keeps it down. Pure: no I/O, no clock.
//!
//! In: what signals, readings and job replies say of one unit, in the order in which systemd sent them. Out:
//! [`JobTracker::stopped_by`], which becomes `UnitState::stopped_by`.
//!
//! systemd keeps no record of it: a process that ends by SIGTERM ends with `Result=success`, as after `systemctl stop`,
//! and a job is gone from the unit's properties when it has ended. Only the signals show the job. The kind of a job is
//! in no signal; it must be asked for, and a quick job is gone by then.
//!
//! **The last job on the unit counts, whoever requested it.** "Ours" is a job that a request of this process queued.
//!
//! | job | phase | `stopped_by` | `job` |
//! |---|---|---|---|
//! | none | the process ends, or crashes | none | none |
//! | stop | unit on its way down | the stop | the stop |
//! | stop | unit down, job over in whatever way | the stop | none |
//! | stop, replaced by a start or restart before it was done | unit on its way down | as for that job | that job |
//! | stop, of a unit that is down already | crashed before, or between the halves of a restart | the stop | none |
//! | stop that replaces our restart or start, or another's | any | the stop, not ours | the stop |
//! | restart | unit on its way down | the restart | the restart |
//! | restart | unit down, or on its way up again: systemd has turned the job into a start | none | start |
//! | start | waits for another unit, or runs | none | start |
//! | start or restart | attempted, and the unit did not come up: failed, start limit, condition not met | none | none |
//! | start or restart | not attempted: dependency failed (then `start_dropped`), canceled by `systemctl cancel` | none; a stop that was done before stays | none |
//! | reload, verify-active | the unit ends meanwhile | none | that job |
//! | systemd's own restart (`Restart=`) | start limit hit, or stopped by an operator | none; the stop | none |
//!
//! The kind is not known, because the job was gone before it could be asked for:
//!
//! | what the signals showed | taken for |
//! |---|---|
//! | unit came up, or `ConditionTimestamp` moved: a start was attempted | a start |
//! | job done, unit down, no start attempted | a stop; of a oneshot that was not seen to go down, a run |
//! | job not done, unit down | no stop |
//!
//! Where systemd does not show it, the choice is the one that neither works against an operator nor causes a false
//! notification:
//!
//! | case | reported |
//! |---|---|
//! | signals were missed (the bus or systemd was away), and a unit that was up is `inactive` | stopped by a job of kind `Other`, id 0 |
//! | a mount or a swap that was up is `inactive`, and there was no job: umount(8), swapoff(8) | the same |
//! | the same, but it is `failed` | none: it failed |
//! | a job is on the unit whose kind cannot be read, and it goes down | that job, kind `Other` |
//! | a request of ours was merged into a job that was on the unit before | not ours |
//! | an operator's stop was merged into a stop of ours | ours: no signal shows the second request |
//! | jobs of an earlier process of this daemon | not ours |
//! | a job that another unit's job pulled in (`Requires=`, `Conflicts=`), also where that job is ours | not ours |

use crate::unit::{ActiveState, Job, JobKind};

/// What is known of the jobs on one unit.
#[derive(Debug, Default)]
pub(super) struct JobTracker {
    active: Option<ActiveState>,
    /// The last job on the unit that matters still.
    last: Option<SeenJob>,
    /// A stop job that took the unit down, or keeps it down.
    stop: Option<Stop>,
    /// The latest job that a request of ours queued.
    own: Option<u32>,
    /// `ConditionTimestamp`: when the unit was last started.
    started: u64,
    /// Signals may have been missed since the last reading.
    missed: bool,
    /// The unit is a oneshot: a job of unknown kind that is done was a run of it.
    pub oneshot: bool,
    /// The unit is a mount or a swap: it does not end by itself.
    pub mounted: bool,
}

#[derive(Clone, Copy, Debug)]
struct SeenJob {
    id: u32,
    /// `None` while it is being asked for; [`JobKind::Other`] where it cannot be read.
    kind: Option<JobKind>,
    ours: bool,
    /// A start of the unit was seen with it on the unit.
    started_unit: bool,
    /// The unit was seen to go down with it.
    took_down: bool,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    /// A start that was not attempted, as a unit that is required did not start.
    Dependency,
    NotDone,
    /// It is gone, and no signal showed how it ended.
    Unseen,
}

#[derive(Clone, Debug)]
struct Stop {
    job: Job,
    /// The run of the unit that it ended.
    invocation: String,
    done: bool,
}

impl End {
    /// By the result in `JobRemoved`.
    pub fn of(result: &str) -> Self {
        match result {
            "done" => Self::Done,
            "dependency" => Self::Dependency,
            _ => Self::NotDone,
        }
    }
}

/// The kind of this job must be known first. It is being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided(pub u32);

fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

fn is_up(active: ActiveState) -> bool {
    !is_down(active) && active != ActiveState::Deactivating
}

impl SeenJob {
    fn new(id: u32, own: Option<u32>) -> Self {
        Self { id, kind: None, ours: own == Some(id), started_unit: false, took_down: false, end: None }
    }

    fn as_job(&self, kind: JobKind) -> Job {
        Job { id: self.id, kind, ours: self.ours }
    }

    /// A job that was gone before its kind could be read: by what the signals showed it was a stop.
    fn was_a_stop(&self, oneshot: bool) -> bool {
        let unknown = self.kind == Some(JobKind::Other) && self.end == Some(End::Done);
        unknown && !self.started_unit && (self.took_down || !oneshot)
    }
}

impl JobTracker {
    /// The latest state.
    pub fn active(&self) -> Option<ActiveState> {
        self.active
    }

    /// A stop job took it down, or keeps it down.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// The latest job on it was a start that was not attempted, as a unit that is required did not start.
    pub fn start_dropped(&self) -> bool {
        self.active.is_some_and(is_down) && self.last.is_some_and(|job| job.end == Some(End::Dependency))
    }

    /// The job on the unit, where there is one.
    pub fn running(&self) -> Option<u32> {
        self.last.filter(|job| job.end.is_none()).map(|job| job.id)
    }

    /// The same, where its kind is known.
    pub fn known_job(&self) -> Option<Job> {
        let job = self.last.filter(|job| job.end.is_none())?;
        Some(job.as_job(job.kind?))
    }

    /// What is known of the job `id`.
    pub fn describe(&self, id: u32) -> Option<Job> {
        let job = self.last.filter(|job| job.id == id)?;
        Some(job.as_job(job.kind.unwrap_or(JobKind::Other)))
    }

    /// `JobNew`. Returns whether the kind must be asked for.
    pub fn job_new(&mut self, id: u32) -> bool {
        if self.last.is_some_and(|job| job.id == id) {
            return false;
        }
        self.last = Some(SeenJob::new(id, self.own));
        true
    }

    /// A request of ours has queued this job. (Its reply comes right after its `JobNew` and before anything else about it.)
    pub fn own_job(&mut self, id: u32, kind: JobKind) {
        self.own = Some(id);
        if let Some(job) = self.last.as_mut().filter(|job| job.id == id) {
            job.ours = true;
        }
        if let Some(stop) = self.stop.as_mut().filter(|stop| stop.job.id == id) {
            stop.job.ours = true;
        }
        self.job_kind(id, kind);
    }

    /// The kind of a job; [`JobKind::Other`] where it could not be read.
    pub fn job_kind(&mut self, id: u32, kind: JobKind) {
        let Some(job) = self.last.as_mut().filter(|job| job.id == id) else { return };
        if matches!(job.kind, None | Some(JobKind::Other)) {
            job.kind = Some(kind);
            self.turn_restart(self.active);
            self.note_stop("");
        }
    }

    /// `JobRemoved`.
    pub fn job_removed(&mut self, id: u32, end: End) {
        if let Some(stop) = self.stop.as_mut().filter(|stop| stop.job.id == id) {
            stop.done |= end == End::Done;
        }
        if let Some(job) = self.last.as_mut().filter(|job| job.id == id) {
            job.end = Some(end);
            self.note_stop("");
            self.forget_ended();
        }
    }

    /// The unit is in this state with this job on it (0: none), by a signal or a reading. `started` is
    /// `ConditionTimestamp`. Returns a job whose kind must be asked for.
    pub fn observe(&mut self, active: ActiveState, job: u32, invocation: &str, started: u64) -> Option<u32> {
        let ask = (job != 0 && self.job_new(job)).then_some(job);
        if job == 0
            && let Some(last) = self.last.as_mut().filter(|last| last.end.is_none())
        {
            last.end = Some(End::Unseen);
        }
        let before = self.active.replace(active);
        let attempted = started != 0 && std::mem::replace(&mut self.started, started) != started;
        if let Some(last) = self.last.as_mut().filter(|last| attempted && last.end == Some(End::Dependency)) {
            last.end = Some(End::NotDone);
        }
        let came_up = before.is_some_and(is_down) && is_up(active);
        if let Some(last) = self.last.as_mut().filter(|last| last.id == job) {
            last.started_unit |= (attempted && before.is_some()) || came_up;
            last.took_down |= before.is_some_and(is_up) && !is_up(active);
        }
        self.turn_restart(before);
        if is_up(active) {
            self.stop = None;
        } else {
            self.note_stop(invocation);
        }
        if self.mounted {
            self.note_gone(before);
        }
        // It has run again since, and how that run ended was not seen. (No id: systemd has unloaded the unit.)
        let another_run = |stop: &Stop| {
            !invocation.is_empty() && !stop.invocation.is_empty() && stop.invocation != invocation
        };
        if let Some(stop) = self.stop.take_if(|stop| another_run(stop)) {
            self.last = self.last.filter(|job| job.id != stop.job.id);
        }
        self.forget_ended();
        ask
    }

    /// Signals may be missed from here on, and the answers to questions will not come.
    pub fn lose_signals(&mut self) {
        self.missed = true;
        if let Some(job) = &mut self.last {
            job.kind.get_or_insert(JobKind::Other);
        }
    }

    /// A reading follows the loss of signals. `before`: the state before the loss. `at_rest`: the unit is one that is
    /// expected to end by itself.
    pub fn note_missed(&mut self, before: Option<ActiveState>, at_rest: bool) {
        if std::mem::take(&mut self.missed) && !at_rest {
            self.note_gone(before);
        }
    }

    /// A unit that was up is inactive, and no job explains that: somebody has stopped it.
    fn note_gone(&mut self, before: Option<ActiveState>) {
        let unexplained = self.active == Some(ActiveState::Inactive) && self.running().is_none();
        if before.is_some_and(is_up) && unexplained && self.stop.is_none() {
            let job = Job { id: 0, kind: JobKind::Other, ours: false };
            self.stop = Some(Stop { job, invocation: String::new(), done: true });
        }
    }

    /// Of a restart the start is left once the unit is down. systemd changes the kind of the job then; whether it was read
    /// before or after that must make no difference.
    fn turn_restart(&mut self, before: Option<ActiveState>) {
        let (Some(active), Some(job)) = (self.active, &mut self.last) else { return };
        let has_stopped = is_down(active) || (is_up(active) && before.is_some_and(|before| !is_up(before)));
        if job.kind == Some(JobKind::Restart) && has_stopped {
            job.kind = Some(JobKind::Start);
        }
    }

    /// The last job is, or is to be taken for, a stop: it counts. A start counts where it has replaced a stop, or was
    /// attempted.
    fn note_stop(&mut self, invocation: &str) {
        let Some(last) = &self.last else { return };
        if self.active.is_none_or(is_up) {
            return;
        }
        if last.kind == Some(JobKind::Stop) || last.was_a_stop(self.oneshot) {
            let known = self.stop.take().filter(|stop| stop.job.id == last.id);
            let invocation = known.map_or_else(|| invocation.to_owned(), |stop| stop.invocation);
            let done = last.end == Some(End::Done);
            self.stop = Some(Stop { job: last.as_job(JobKind::Stop), invocation, done });
        } else {
            let starts = matches!(last.kind, Some(JobKind::Start | JobKind::Restart));
            self.stop.take_if(|stop| last.started_unit || (starts && !stop.done));
        }
    }

    /// A job that has ended while the unit is up does not explain what comes later.
    fn forget_ended(&mut self) {
        if self.active.is_some_and(is_up) && self.last.is_some_and(|job| job.end.is_some()) {
            self.last = None;
        }
    }

    /// The job that took the unit down, or keeps it down.
    ///
    /// # Errors
    /// The job on which it depends, where its kind is still being asked for.
    pub fn stopped_by(&self) -> Result<Option<Job>, Undecided> {
        let Some(active) = self.active.filter(|active| !is_up(*active)) else { return Ok(None) };
        let stop = self.stop.as_ref().map(|stop| stop.job);
        let Some(last) = &self.last else { return Ok(stop) };
        if last.kind.is_none() {
            return Err(Undecided(last.id));
        }
        let running = last.end.is_none();
        Ok(match last.kind {
            Some(JobKind::Start) if running && is_down(active) => None,
            Some(JobKind::Restart) if running => Some(last.as_job(JobKind::Restart)),
            Some(JobKind::Other) if running && (last.took_down || !is_down(active)) => {
                stop.or(Some(last.as_job(JobKind::Other)))
            }
            _ => stop,
        })
    }
}

#[cfg(test)]
mod tests;
