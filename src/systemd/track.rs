//! What is known of one unit between two readings, and which job took it down.
//!
//! In: what signals and readings say of the unit, in the order systemd sent them. Out: the [`UnitState`] to tell, if
//! there is news. No I/O and no clock: every order of events is a test.
//!
//! A process that ends by SIGTERM (killall) ends cleanly for systemd, as after `systemctl stop`. Only the job that is
//! on the unit *while it goes down* tells them apart, and only the signals show it: once the unit is down the job is
//! gone from its properties.

use crate::unit::{ActiveState, Job, JobKind, UnitState};

/// The life of one configured unit name.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// The latest that signals or readings said.
    active: Option<ActiveState>,
    /// The job that is on the unit.
    job: Option<SeenJob>,
    /// What took it down.
    down: Option<Down>,
    /// The latest reading, with what had taken the unit down at that point of what systemd said.
    reading: Option<UnitState>,
    /// The reading's `stopped_by` waits for the kind of this job.
    open: Option<u32>,
    /// When its latest run ended that was seen to end otherwise than in `failed`.
    ended: u64,
    /// What was told last.
    told: Option<UnitState>,
    /// Where its reading stands.
    pub read: Read,
}

/// Where the reading of a unit's properties stands: at most one is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Read {
    /// None is wanted.
    #[default]
    Idle,
    /// It waits behind the others.
    Waiting,
    /// It is next.
    Queued,
    /// It is under way.
    Running,
    /// It is under way, and a hint came since: once more.
    Stale,
}

#[derive(Clone, Copy, Debug)]
struct SeenJob {
    id: u32,
    /// `None` while it is being asked for; [`JobKind::Other`] where the job was gone before it could be asked.
    kind: Option<JobKind>,
    /// The unit was seen to rise from rest with it: no stop does that.
    rose: bool,
}

impl SeenJob {
    fn new(id: u32) -> Self {
        Self { id, kind: None, rose: false }
    }

    fn learn(&mut self, id: u32, kind: JobKind) {
        if self.id == id && matches!(self.kind, None | Some(JobKind::Other)) {
            self.kind = Some(kind);
        }
    }
}

#[derive(Clone, Debug)]
struct Down {
    job: SeenJob,
    /// The run that it ended.
    invocation: String,
    /// The job is over; whether it was done.
    ended: Option<bool>,
}

impl Down {
    /// What this says of who stopped the unit, as far as is known now. `Err`: the kind of the job is still being asked
    /// for.
    fn verdict(&self) -> Result<Option<Job>, u32> {
        let id = self.job.id;
        let kind = match (self.job.kind, self.ended) {
            // Too quick to be asked, and it had brought the unit up: a oneshot that has run.
            (None | Some(JobKind::Other), Some(true)) if self.job.rose => return Ok(None),
            // Too quick to be asked: a job that was done and left the unit down was a stop.
            (None | Some(JobKind::Other), Some(true)) | (Some(JobKind::Stop), _) => JobKind::Stop,
            (None, None) => return Err(id),
            // The unit is between two runs.
            (Some(JobKind::Restart | JobKind::Other), None) => self.job.kind.unwrap_or(JobKind::Other),
            // A start that failed (of a restart the second half; systemd's own restarts, at their limit, are such), or
            // a oneshot that has run.
            (None | Some(JobKind::Restart | JobKind::Other), Some(_))
            | (Some(JobKind::Start | JobKind::Reload), _) => return Ok(None),
        };
        Ok(Some(Job { id, kind, ours: false }))
    }
}

fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

impl Track {
    /// systemd queued a job on the unit. Returns whether its kind is to be asked for.
    pub fn job_new(&mut self, id: u32) -> bool {
        if self.job.is_some_and(|job| job.id == id) {
            return false;
        }
        self.job = Some(SeenJob::new(id));
        true
    }

    /// What kind of job that is; [`JobKind::Other`] where it was gone already.
    pub fn job_kind(&mut self, id: u32, kind: JobKind) {
        if let Some(job) = &mut self.job {
            job.learn(id, kind);
        }
        if let Some(down) = &mut self.down {
            down.job.learn(id, kind);
        }
        self.settle(id);
    }

    /// A job was done at this moment (microseconds since 1970) on a unit that was at rest before and is so now. Of a
    /// oneshot that ran for some milliseconds, and that nothing refers to, systemd tells no more than this: it has made
    /// the unit and forgotten it before it came to tell of it. Called before [`Track::job_removed`].
    pub fn note_done(&mut self, id: u32, now: u64) {
        let at_rest = |reading: &UnitState| reading.oneshot && reading.job.is_none_or(|job| job.id == id);
        let oneshot = self.reading.as_ref().is_some_and(at_rest);
        let kind = self.job.filter(|job| job.id == id).and_then(|job| job.kind);
        let may_have_run = matches!(kind, None | Some(JobKind::Start | JobKind::Restart | JobKind::Other));
        if oneshot && may_have_run && self.active == Some(ActiveState::Inactive) && self.down.is_none() {
            self.ended = self.ended.max(now);
        }
    }

    /// The job is no more.
    pub fn job_removed(&mut self, id: u32, done: bool) {
        // One whose kind is still being asked for stays, so that the answer finds it.
        if self.job.is_some_and(|job| job.id == id && job.kind.is_some()) {
            self.job = None;
        }
        if let Some(down) = self.down.as_mut().filter(|down| down.job.id == id) {
            down.ended = Some(done);
        }
        self.settle(id);
    }

    /// More is known of this job: say so in the reading, if it is the one that it waits for or names.
    fn settle(&mut self, id: u32) {
        let Some(reading) = &mut self.reading else { return };
        if let Some(job) = &mut reading.job
            && job.id == id
            && job.kind == JobKind::Other
            && let Some(kind) = self.job.filter(|known| known.id == id).and_then(|known| known.kind)
        {
            job.kind = kind;
        }
        let named = self.open.or_else(|| reading.stopped_by.map(|job| job.id));
        if named == Some(id)
            && let Some(down) = self.down.as_ref().filter(|down| down.job.id == id)
            && let Ok(verdict) = down.verdict()
        {
            reading.stopped_by = verdict;
            self.open = None;
        }
    }

    /// The unit is `active` with this job on it (0: none), by a signal or a reading. Returns a job whose kind is to be
    /// asked for.
    pub fn observe(&mut self, active: ActiveState, job: u32, invocation: &str) -> Option<u32> {
        let ask = (job != 0 && self.job_new(job)).then_some(job);
        let before = self.active.replace(active);
        match active {
            ActiveState::Active
            | ActiveState::Reloading
            | ActiveState::Activating
            | ActiveState::Maintenance => {
                self.down = None;
                if active == ActiveState::Activating
                    && let Some(seen) = self.job.as_mut().filter(|seen| seen.id == job)
                {
                    seen.rose |= before.is_some_and(is_down);
                    // The second half of a restart is a start: what fails now was not stopped by it.
                    if seen.kind == Some(JobKind::Restart) {
                        seen.kind = Some(JobKind::Start);
                    }
                }
            }
            ActiveState::Deactivating => self.fall(job, invocation),
            // Down already, or never seen up: a job that comes now did not do it.
            ActiveState::Inactive | ActiveState::Failed if before.is_none_or(is_down) => {}
            ActiveState::Inactive | ActiveState::Failed => self.fall(job, invocation),
        }
        ask
    }

    /// A signal says that the unit is in this state now, and when it last became inactive or failed. Called before
    /// [`Track::observe`], which forgets what it was in before. (Of a run of some milliseconds systemd tells the end
    /// alone: the moment of it is news, though the unit was never seen to be up.)
    pub fn note_end(&mut self, active: ActiveState, inactive_enter: Option<u64>) {
        let known =
            self.reading.as_ref().map_or(u64::MAX, |reading| reading.inactive_enter_usec.max(self.ended));
        let ran = self.active.is_some_and(|before| !is_down(before)) || inactive_enter > Some(known);
        if active == ActiveState::Inactive && ran {
            self.ended = inactive_enter.unwrap_or(self.ended).max(self.ended);
        }
    }

    /// The unit goes down with `job` on it.
    fn fall(&mut self, job: u32, invocation: &str) {
        if job == 0 || self.down.is_some() {
            return;
        }
        let job = self.job.filter(|seen| seen.id == job).unwrap_or_else(|| SeenJob::new(job));
        if !matches!(job.kind, Some(JobKind::Start | JobKind::Reload)) {
            self.down = Some(Down { job, invocation: invocation.to_owned(), ended: None });
        }
    }

    /// The job that is known to be on the unit, with its kind.
    pub fn known_job(&self) -> Option<Job> {
        self.job.and_then(|job| Some(Job { id: job.id, kind: job.kind?, ours: false }))
    }

    /// The unit's properties were read. `state.stopped_by` and `state.seen_ended_usec` are
    /// not looked at.
    pub fn read_done(&mut self, mut state: UnitState) {
        if let Some(job) = &mut state.job {
            // The reading has asked for the kind where nobody knew it.
            self.job_new(job.id);
            self.job_kind(job.id, job.kind);
            job.kind = self.known_job().map_or(job.kind, |known| known.kind);
        } else if self.job.is_some_and(|job| job.kind.is_some()) {
            self.job = None;
        }
        self.observe(state.active, state.job.map_or(0, |job| job.id), &state.invocation_id);
        // It has run again since, and nobody saw how that run ended. (No id: systemd has forgotten the unit.)
        if let Some(down) = &self.down
            && !state.invocation_id.is_empty()
            && !down.invocation.is_empty()
            && down.invocation != state.invocation_id
        {
            self.down = None;
        }
        if let Some(before) = self.reading.as_ref().filter(|before| before.relations == state.relations) {
            // Shared with what was told before: the same edges are in memory once.
            state.relations.clone_from(&before.relations);
        }
        let verdict = self.down.as_ref().map_or(Ok(None), Down::verdict);
        self.open = verdict.err();
        state.stopped_by = verdict.unwrap_or_default();
        state.seen_ended_usec = self.ended;
        self.reading = Some(state);
    }

    /// The state to tell, if it differs from what was told; nothing while the kind of the job that took the unit
    /// down is still being asked for.
    pub fn news(&mut self) -> Option<UnitState> {
        let reading = self.reading.as_ref().filter(|_| self.open.is_none())?;
        if self.told.as_ref() == Some(reading) {
            return None;
        }
        self.told = Some(reading.clone());
        Some(reading.clone())
    }

    /// The latest reading.
    pub fn current(&self) -> Option<UnitState> {
        self.reading.clone()
    }

    /// Whether a listing that says this of the unit agrees with the latest reading.
    pub fn agrees(&self, listed: &Listed) -> bool {
        self.reading.as_ref().is_some_and(|read| {
            read.load == listed.load
                && read.active == listed.active
                && read.sub == listed.sub
                && read.job.map_or(0, |job| job.id) == listed.job
        })
    }
}

/// One line of systemd's list of units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where its signals come from.
    pub path: String,
    pub load: crate::unit::LoadState,
    pub active: ActiveState,
    pub sub: String,
    /// 0 for none.
    pub job: u32,
}

#[cfg(test)]
mod tests;
