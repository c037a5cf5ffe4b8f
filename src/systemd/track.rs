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
    /// The job that is on the unit, once its kind was asked for.
    job: Option<SeenJob>,
    /// What took it down.
    down: Option<Down>,
    /// The latest reading.
    reading: Option<UnitState>,
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
    /// `None` while it is being asked for.
    kind: Option<JobKind>,
}

#[derive(Clone, Debug)]
struct Down {
    job: SeenJob,
    /// The run that it ended.
    invocation: String,
    /// The job is over, and it was done.
    done: bool,
}

/// Whether a job of this kind takes its unit down. Of one that was gone too early, the unit's fall says so.
fn takes_down(kind: JobKind) -> bool {
    matches!(kind, JobKind::Stop | JobKind::Restart | JobKind::Other)
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
        self.job = Some(SeenJob { id, kind: None });
        true
    }

    /// The answer to what kind of job that is; [`JobKind::Other`] where it was gone already.
    pub fn job_kind(&mut self, id: u32, kind: JobKind) {
        if let Some(job) = self.job.as_mut().filter(|job| job.id == id && job.kind.is_none()) {
            job.kind = Some(kind);
        }
        if let Some(down) = self.down.as_mut().filter(|down| down.job.id == id && down.job.kind.is_none()) {
            down.job.kind = Some(kind);
            if !takes_down(kind) {
                self.down = None;
            }
        }
        self.infer();
    }

    /// The job is no more.
    pub fn job_removed(&mut self, id: u32, done: bool) {
        if let Some(down) = self.down.as_mut().filter(|down| down.job.id == id) {
            down.done = done;
        }
        // One whose kind is still being asked for stays, so that the answer finds it.
        if self.job.is_some_and(|job| job.id == id && job.kind.is_some()) {
            self.job = None;
        }
        self.infer();
    }

    /// A job that was done and left the unit down was a stop, even where it was too quick to be asked.
    fn infer(&mut self) {
        if let Some(down) = &mut self.down
            && down.done
            && down.job.kind == Some(JobKind::Other)
            && self.active.is_some_and(is_down)
        {
            down.job.kind = Some(JobKind::Stop);
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
                // The second half of a restart is a start: what fails now was not stopped by it.
                if active == ActiveState::Activating
                    && let Some(seen) = &mut self.job
                    && seen.id == job
                    && seen.kind == Some(JobKind::Restart)
                {
                    seen.kind = Some(JobKind::Start);
                }
            }
            ActiveState::Deactivating => self.fall(job, invocation),
            // Down already, or never seen up: a job that comes now did not do it.
            ActiveState::Inactive | ActiveState::Failed if before.is_none_or(is_down) => {}
            ActiveState::Inactive | ActiveState::Failed => self.fall(job, invocation),
        }
        ask
    }

    /// The unit goes down with `job` on it.
    fn fall(&mut self, job: u32, invocation: &str) {
        if job == 0 || self.down.is_some() {
            return;
        }
        let kind = self.job.filter(|seen| seen.id == job).and_then(|seen| seen.kind);
        if kind.is_none_or(takes_down) {
            self.down =
                Some(Down { job: SeenJob { id: job, kind }, invocation: invocation.to_owned(), done: false });
        }
    }

    /// The job that is known to be on the unit, with its kind.
    pub fn known_job(&self) -> Option<Job> {
        self.job.and_then(|job| Some(Job { id: job.id, kind: job.kind? }))
    }

    /// The unit's properties were read. `state.stopped_by` is not looked at.
    pub fn read_done(&mut self, state: UnitState) {
        if let Some(job) = state.job {
            // The reading has asked for the kind where nobody knew it.
            self.job_new(job.id);
            self.job_kind(job.id, job.kind);
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
        self.reading = Some(state);
    }

    /// The state to tell, if it differs from what was told; nothing while the kind of the job that took the unit
    /// down is still being asked for.
    pub fn news(&mut self) -> Option<UnitState> {
        let state = self.current()?;
        if self.told.as_ref() == Some(&state) {
            return None;
        }
        self.told = Some(state.clone());
        Some(state)
    }

    /// The latest reading with what took the unit down, once that is settled.
    pub fn current(&self) -> Option<UnitState> {
        let mut state = self.reading.clone()?;
        if let Some(job) = &mut state.job
            && let Some(known) = self.known_job().filter(|known| known.id == job.id)
        {
            job.kind = known.kind;
        }
        state.stopped_by = match &self.down {
            Some(down) => Some(Job { id: down.job.id, kind: down.job.kind? }),
            None => None,
        };
        Some(state)
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
mod tests {
    use super::*;
    use crate::unit::LoadState;
    use ActiveState::{Activating, Active, Deactivating, Failed, Inactive};

    fn reading(active: ActiveState, invocation: &str) -> UnitState {
        UnitState {
            load: LoadState::Loaded,
            active,
            invocation_id: invocation.to_owned(),
            ..UnitState::default()
        }
    }

    fn running() -> Track {
        let mut track = Track::default();
        track.read_done(reading(Active, "a"));
        track.news();
        track
    }

    fn stopped_by(track: &mut Track, active: ActiveState, invocation: &str) -> Option<Job> {
        track.read_done(reading(active, invocation));
        track.current().unwrap().stopped_by
    }

    #[test]
    fn an_end_has_no_job() {
        let mut track = running();
        track.observe(Inactive, 0, "a");
        assert_eq!(stopped_by(&mut track, Inactive, "a"), None);
    }

    #[test]
    fn a_stop_is_told_with_its_job_and_forgotten_when_the_unit_is_up_again() {
        let mut track = running();
        assert!(track.job_new(7));
        track.job_kind(7, JobKind::Stop);
        track.observe(Deactivating, 7, "a");
        track.observe(Inactive, 7, "a");
        track.job_removed(7, true);
        let stop = Some(Job { id: 7, kind: JobKind::Stop });
        assert_eq!(stopped_by(&mut track, Inactive, "a"), stop);
        assert_eq!(stopped_by(&mut track, Inactive, ""), stop, "systemd forgot the unit, we did not");
        track.observe(Activating, 8, "b");
        assert_eq!(stopped_by(&mut track, Active, "b"), None);
    }

    #[test]
    fn nothing_is_told_until_the_kind_of_the_job_is_known() {
        let mut track = running();
        assert_eq!(track.observe(Deactivating, 7, "a"), Some(7), "JobNew was not seen: ask");
        track.read_done(UnitState { job: None, ..reading(Inactive, "a") });
        assert!(track.news().is_none());
        track.job_kind(7, JobKind::Stop);
        assert_eq!(track.news().unwrap().stopped_by, Some(Job { id: 7, kind: JobKind::Stop }));
        assert!(track.news().is_none(), "told once");
    }

    #[test]
    fn a_stop_too_quick_to_be_asked_is_known_by_its_end() {
        let mut track = running();
        track.job_new(7);
        track.observe(Inactive, 7, "a");
        track.job_removed(7, true);
        track.job_kind(7, JobKind::Other);
        assert_eq!(stopped_by(&mut track, Inactive, "a"), Some(Job { id: 7, kind: JobKind::Stop }));
    }

    #[test]
    fn a_job_that_comes_after_the_end_did_not_cause_it() {
        let mut track = running();
        track.observe(Inactive, 0, "a");
        track.job_new(9);
        track.job_kind(9, JobKind::Restart);
        track.observe(Inactive, 9, "a");
        assert_eq!(stopped_by(&mut track, Inactive, "a"), None);
    }

    #[test]
    fn a_start_that_fails_is_no_stop_and_neither_is_the_start_within_a_restart() {
        let mut track = running();
        track.job_new(9);
        track.job_kind(9, JobKind::Restart);
        track.observe(Deactivating, 9, "a");
        track.observe(Inactive, 9, "a");
        assert_eq!(stopped_by(&mut track, Inactive, "a").unwrap().kind, JobKind::Restart);
        track.observe(Activating, 9, "b");
        track.observe(Failed, 9, "b");
        assert_eq!(stopped_by(&mut track, Failed, "b"), None);

        let mut oneshot = Track::default();
        oneshot.read_done(reading(Inactive, ""));
        oneshot.job_new(3);
        oneshot.job_kind(3, JobKind::Start);
        oneshot.observe(Activating, 3, "a");
        oneshot.observe(Inactive, 3, "a");
        assert_eq!(stopped_by(&mut oneshot, Inactive, "a"), None);
    }

    #[test]
    fn a_unit_first_seen_down_was_stopped_by_nobody_we_know() {
        let mut track = Track::default();
        track.observe(Inactive, 4, "");
        assert_eq!(stopped_by(&mut track, Inactive, ""), None);
    }

    #[test]
    fn another_run_that_nobody_watched_clears_the_stop() {
        let mut track = running();
        track.job_new(7);
        track.job_kind(7, JobKind::Stop);
        track.observe(Inactive, 7, "a");
        assert_eq!(stopped_by(&mut track, Inactive, "c"), None);
    }
}
