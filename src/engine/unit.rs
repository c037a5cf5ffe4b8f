//! One unit: systemd's reading, what it means, the attempt on it, and the spacing of attempts. It knows no probes.
//!
//! In: readings in order, the graph's account of its surroundings, the ends of jobs. Out: its condition, and why no job may
//! be requested for it now (rules 4 to 8 and 12).

mod condition;
mod conflict;
mod dependency;
mod hold;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(in crate::engine) use condition::Condition;
pub(in crate::engine) use conflict::{Conflict, Displaced, Moment};
pub(in crate::engine) use dependency::Dependency;
pub(in crate::engine) use hold::{DEFERRED_AT_MOST, UnitHold};

use super::attempt::{Attempt, Pace};
use super::graph::Root;
use super::starts::Starts;
use super::stop::{self, StopRecord};
use super::withheld::Withheld;
use crate::check::Respect;
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, JobKind, LoadState, UnitName, UnitState};

/// A first reading that finds the unit down waits this long for those of the units around. They come within milliseconds;
/// a systemd that reloads its files takes seconds, and after 25 s (libdbus's own time-out) it is given up.
const SURROUNDINGS_WITHIN: Duration = Duration::from_secs(30);

/// A stop of a unit that has relations is reported as an operator's only after this time: another unit's reading, which
/// explains it, may be on its way. Many times what a bus needs, and short for a person.
const STOP_SHOWN_AFTER: Duration = Duration::from_millis(500);

/// What survives a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Memory {
    stops: StopRecord,
    attempt: Option<Attempt>,
    pace: Pace,
    starts: Starts,
    /// Since when no check of the unit has an incident.
    healthy_since: Option<Mono>,
    hold: Option<UnitHold>,
    conflict: Option<Conflict>,
    dependency: Option<Dependency>,
    /// What it requires and went down with.
    fell_with: Option<UnitName>,
    /// Why it is down: it was not started after a hold.
    not_returned: Option<String>,
    /// `ActiveExitTimestamp` of the fall that the marks above are about; `None` while it is up.
    fall_usec: Option<u64>,
}

impl Memory {
    /// A unit that went down again without having been read as up in between: the marks are about the time before, and void.
    fn note_fall(&mut self, state: &UnitState) {
        if !state.is_down() && state.active != ActiveState::Deactivating {
            self.fall_usec = None;
            return;
        }
        let fall = Some(state.active_exit_usec).filter(|usec| *usec != 0);
        if self.fall_usec.is_some() && fall.is_some() && self.fall_usec != fall {
            self.conflict = None;
            self.dependency = None;
            self.fell_with = None;
            self.not_returned = None;
        }
        self.fall_usec = fall.or(self.fall_usec);
    }
}

/// One unit.
#[derive(Debug)]
pub(in crate::engine) struct Unit {
    id: UnitName,
    memory: Memory,
    reading: Option<Arc<UnitState>>,
    /// When it was read last.
    read_at: Option<Mono>,
    condition: Condition,
    /// When it began to come up, or came up: probes that began before saw another run, and failures within the grace from
    /// here do not count.
    started: Option<Mono>,
    /// Since when a job takes it down.
    stopping_since: Option<Mono>,
    /// Since when systemd waits to restart it.
    auto_restart_since: Option<Mono>,
    /// Since when a start job waits for other units.
    waiting_since: Option<Mono>,
    /// When systemd dropped a start job on it, where it is down by that.
    start_dropped: Option<Mono>,
    seen_up: bool,
    /// systemd could not be reached since the latest reading.
    unwatched: bool,
    /// The reader was notified that systemd does not know the unit.
    unknown_reported: bool,
    /// A first reading that waits for those of the units around, and since when.
    deferred: Option<(Arc<UnitState>, Mono)>,
    /// A part of it (`ConsistsOf=`) that has failed.
    failed_part: Option<UnitName>,
    /// It is monitored as a job: how long a run may take.
    job: Option<Duration>,
    /// How long an operator's stop is respected: the longest `respect_stop` of its checks.
    respect_stop: Respect,
}

impl Unit {
    pub fn new(id: UnitName) -> Self {
        Self {
            id,
            memory: Memory::default(),
            reading: None,
            read_at: None,
            condition: Condition::Unread,
            started: None,
            stopping_since: None,
            auto_restart_since: None,
            waiting_since: None,
            start_dropped: None,
            seen_up: false,
            unwatched: false,
            unknown_reported: false,
            deferred: None,
            failed_part: None,
            job: None,
            respect_stop: Respect::Forever,
        }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The unit after a restart of the daemon.
    pub fn restore(&mut self, memory: Memory, now: Now, grace: Duration, longest_wait: Duration) {
        self.memory = memory;
        self.memory.pace.bound(now.mono.after(longest_wait));
        if let Some(attempt) = &mut self.memory.attempt {
            attempt.resume_after_restart(grace);
        }
        if let Some(hold) = &mut self.memory.hold {
            hold.resume_after_restart(now);
        }
    }

    /// The machine was rebooted since the memory was saved.
    pub fn record_reboot(&mut self) {
        self.memory.stops.record_reboot();
    }

    /// systemd cannot be reached: what becomes of the unit meanwhile is not seen.
    pub fn lose_sight(&mut self) {
        self.unwatched = true;
    }

    /// systemd can be reached again, and what became of the unit meanwhile has been read.
    pub fn regain_sight(&mut self) {
        self.unwatched = false;
    }

    /// The same unit under another primary id.
    pub fn rename(&mut self, id: UnitName) {
        self.id = id;
    }

    /// `max_runtime` of the check that monitors the unit as a job, if one does.
    pub fn set_job(&mut self, job: Option<Duration>) {
        self.job = job;
    }

    /// The longest `respect_stop` of the checks that monitor the unit.
    pub fn set_respect_stop(&mut self, respect: Respect) {
        self.respect_stop = respect;
    }

    pub fn respect_stop(&self) -> Respect {
        self.respect_stop
    }

    pub fn id(&self) -> &UnitName {
        &self.id
    }

    pub fn reading(&self) -> Option<&Arc<UnitState>> {
        self.reading.as_ref()
    }

    /// When it was read last.
    pub fn read_at(&self) -> Option<Mono> {
        self.read_at
    }

    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    // --- readings

    /// Takes a reading.
    pub fn read(&mut self, now: Now, state: Arc<UnitState>) {
        self.deferred = None;
        // What happened while systemd could not be reached was not seen, as before the first reading.
        let first = std::mem::take(&mut self.unwatched) || self.reading.is_none();
        self.memory.starts.read(now, self.reading.as_deref().filter(|_| !first), &state);
        self.memory.note_fall(&state);
        let comes = state.job.is_some_and(|job| matches!(job.kind, JobKind::Start | JobKind::Restart));
        let stopped = state.is_down() && !comes && self.memory.stops.read_down(now, &state, first);
        if !first && !comes && self.is_coming() && stop::is_operators_job(&state) {
            self.memory.hold.iter_mut().for_each(|hold| hold.record_stop(now.mono));
        }
        self.start_dropped = state.start_dropped.then(|| self.start_dropped.unwrap_or(now.mono));
        let condition = condition::classify(
            &state,
            condition::Facts {
                is_job: self.job.is_some(),
                stopped,
                stopped_by_step: self.memory.stops.is_by_step(),
                not_returned: self.memory.not_returned.as_deref(),
                seen_up: self.seen_up,
            },
        );
        let new_run = self.reading.as_ref().is_some_and(|old| old.invocation_id != state.invocation_id);
        let entered = condition != self.condition;
        if let Some(attempt) = self.memory.attempt.as_mut().filter(|_| state.job.is_none()) {
            attempt.no_job_read(now.mono);
        }
        if condition.is_rising() {
            if first {
                self.started = Some(begin_of_start(now, &state));
            } else if entered || new_run {
                self.started = Some(now.mono);
            }
            self.seen_up |= condition == Condition::Up;
            self.memory.not_returned = None;
            if !state.is_down() {
                self.memory.stops.read_up();
                self.memory.fell_with = None;
            }
            if entered && self.memory.dependency.as_ref().is_some_and(Dependency::is_over) {
                // From here on it has the grace of any unit that comes up.
                self.memory.dependency = None;
            }
        }
        self.waiting_since = (condition == Condition::Starting && state.is_down())
            .then(|| self.waiting_since.unwrap_or(now.mono));
        let falls = condition == Condition::Stopping && state.stopped_by.is_some();
        self.stopping_since = falls.then(|| self.stopping_since.unwrap_or(now.mono));
        self.auto_restart_since =
            (condition == Condition::AutoRestart).then(|| self.auto_restart_since.unwrap_or(now.mono));
        self.condition = condition;
        self.reading = Some(state);
        self.read_at = Some(now.mono);
    }

    /// The latest reading means something else now (what is known besides has changed).
    pub fn classify_again(&mut self, now: Now) {
        if let Some(state) = self.reading.clone() {
            self.read(now, state);
        }
    }

    /// Reports once that systemd does not know the unit, and once that it does.
    pub fn take_unknown_change(&mut self) -> Option<bool> {
        let unknown = self.reading.as_ref().is_some_and(|state| state.load == LoadState::NotFound);
        (std::mem::replace(&mut self.unknown_reported, unknown) != unknown).then_some(unknown)
    }

    /// A first reading that finds the unit down may be explained by units that are not read yet.
    pub fn must_wait(&self, now: Mono, state: &UnitState, surroundings_known: bool) -> bool {
        let patient = self.deferred_until().is_none_or(|until| now < until);
        self.condition == Condition::Unread && state.is_down() && patient && !surroundings_known
    }

    /// Keeps a first reading for later.
    pub fn defer_reading(&mut self, now: Mono, state: Arc<UnitState>) {
        let since = self.deferred.take().map_or(now, |(_, since)| since);
        self.deferred = Some((state, since));
    }

    /// The reading that waits.
    pub fn deferred_reading(&self) -> Option<&Arc<UnitState>> {
        self.deferred.as_ref().map(|(state, _)| state)
    }

    /// When it no longer waits.
    pub fn deferred_until(&self) -> Option<Mono> {
        self.deferred.as_ref().map(|(_, since)| since.after(SURROUNDINGS_WITHIN))
    }

    // --- starts

    /// When it began to come up, or came up.
    pub fn started(&self) -> Option<Mono> {
        self.started
    }

    /// It comes up now, although no reading shows another run (a reload, a job of an earlier daemon).
    pub fn set_started(&mut self, now: Mono) {
        self.started = Some(now);
    }

    pub fn stopping_since(&self) -> Option<Mono> {
        self.stopping_since
    }

    /// Since when a start job waits for other units.
    pub fn waiting_since(&self) -> Option<Mono> {
        self.waiting_since
    }

    /// When systemd will restart it itself.
    pub fn auto_restart_at(&self) -> Option<Mono> {
        let delay = self.reading.as_ref()?.settings.restart_delay;
        self.auto_restart_since.map(|since| since.after(delay))
    }

    /// Since when systemd waits to restart it, and for how long.
    pub fn auto_restart(&self) -> Option<(Mono, Duration)> {
        Some((self.auto_restart_since?, self.reading.as_ref()?.settings.restart_delay))
    }

    pub fn starts(&self) -> &Starts {
        &self.memory.starts
    }

    /// It has been active since the machine booted.
    pub fn was_active(&self) -> bool {
        self.seen_up || self.reading.as_ref().is_some_and(|state| state.active_enter_usec != 0)
    }

    // --- stops

    /// Since when an operator's stop is respected, if one is in force.
    pub fn stopped_since(&self) -> Option<Moment> {
        let stop = self.memory.stops.stop().filter(|_| self.condition == Condition::Stopped)?;
        Some(stop.since())
    }

    /// When it began to go down, by systemd's timestamp.
    pub fn went_down(&self, now: Now) -> Option<Mono> {
        let state = self.reading.as_ref().filter(|state| state.is_down() && state.active_exit_usec != 0)?;
        Some(now.mono_of_usec(state.active_exit_usec))
    }

    /// An operator has frozen the unit (`systemctl freeze`). One that has ended since cannot be thawed.
    pub fn is_frozen(&self) -> bool {
        self.reading.as_ref().is_some_and(|state| state.frozen && !state.is_down())
    }

    pub fn stops(&self) -> &StopRecord {
        &self.memory.stops
    }

    /// What an earlier configuration knew of a stop.
    pub fn recall_stop(&mut self, stops: StopRecord) {
        self.memory.stops = stops;
    }

    /// It may be stopped: a reading that waits for others may well say so, and what was known before it still holds.
    pub fn may_be_stopped(&self) -> bool {
        self.condition == Condition::Unread && (self.deferred.is_some() || self.memory.stops.stop().is_some())
    }

    pub fn is_stopped_by_step(&self) -> bool {
        self.memory.stops.is_by_step()
    }

    pub fn record_stop_step(&mut self) {
        self.memory.stops.record_step();
    }

    /// Our job on it was canceled.
    pub fn record_canceled(&mut self) {
        self.memory.stops.record_canceled();
    }

    /// How long at least a stop is respected, so that its reason can be seen.
    pub fn reason_may_follow(&self) -> Duration {
        let related = self.reading.as_ref().is_some_and(|state| state.relations.is_some());
        if related { Duration::from_secs(2) } else { Duration::ZERO }
    }

    /// Another unit's reading may be on its way that explains why systemd has dropped its start: until then it counts for
    /// nothing.
    pub fn explained_until(&self) -> Option<Mono> {
        Some(self.start_dropped?.after(self.reason_may_follow()))
    }

    /// A stop is not reported before this.
    pub fn stop_shown_from(&self) -> Option<Mono> {
        let (since, _) = self.stopped_since()?;
        let unexplained = self.memory.conflict.is_none() && self.memory.dependency.is_none();
        let after = if self.fell_with().is_some() { self.reason_may_follow() } else { STOP_SHOWN_AFTER };
        (unexplained && !self.reason_may_follow().is_zero()).then(|| since.after(after))
    }

    // --- surroundings

    /// Brings the marks up to date with what the graph says. Returns whether they changed.
    pub fn update_marks(
        &mut self,
        now: Now,
        surroundings_known: bool,
        in_the_way: Option<(UnitName, Mono)>,
        fell: Option<Mono>,
        (root, fell_with): (Option<Root>, Option<(UnitName, bool)>),
    ) -> bool {
        let before = (self.memory.conflict.clone(), self.memory.dependency.clone());
        // What it requires did not come up: its end is a matter of that one.
        let dropped_for = root.as_ref().filter(|root| self.start_dropped.is_some() && !root.held);
        let fell_with = fell_with.or_else(|| Some((dropped_for?.by.clone(), false)));
        // After a restart of the daemon: as long as what stood in the way is not read, nothing says that it has gone.
        if surroundings_known || self.condition != Condition::Unread {
            // A oneshot comes and goes; it is what displaces others.
            let oneshot = self.reading.as_ref().is_some_and(|state| state.oneshot);
            let displaced = Displaced {
                may_be: self.may_be_displaced(),
                stopping: matches!(self.condition, Condition::Stopping | Condition::Stopped),
                remembered_stop: self.memory.stops.stop().is_some(),
                fell,
                went_down: self.went_down(now),
            };
            Conflict::update(&mut self.memory.conflict, now, in_the_way.filter(|_| !oneshot), displaced);
        }
        if let Some((by, is_up)) =
            fell_with.filter(|_| !self.condition.is_rising() && self.memory.fell_with.is_none())
        {
            if is_up && root.is_none() && self.memory.dependency.is_none() {
                // systemd has restarted that one already; it does not bring back what it stopped for it.
                self.memory.dependency = Some(Dependency::back(by.clone(), now));
            }
            self.memory.fell_with = Some(by);
        }
        // Likewise: a root that is not read yet is not back.
        if root.is_some() || (surroundings_known && self.condition != Condition::Unread) {
            Dependency::update(&mut self.memory.dependency, now, root);
        }
        before.0 != self.memory.conflict || before.1 != self.memory.dependency
    }

    /// Takes what the graph says of its parts. Returns whether another one has failed, or none any more.
    pub fn update_failed_part(&mut self, part: Option<UnitName>) -> bool {
        let changed = self.failed_part != part;
        self.failed_part = part;
        changed
    }

    fn may_be_displaced(&self) -> bool {
        let stopping = || {
            let job = self.reading.as_ref().and_then(|state| state.job).map(|job| job.kind);
            matches!(job, Some(JobKind::Stop | JobKind::Restart))
        };
        match self.condition {
            Condition::Unread
            | Condition::Stopping
            | Condition::Stopped
            | Condition::Skipped(_)
            | Condition::Ended(_)
            | Condition::Failed(_) => true,
            Condition::Up => self.memory.attempt.is_none() && stopping(),
            Condition::Missing(_) | Condition::AtRest | Condition::Starting | Condition::AutoRestart => false,
        }
    }

    /// The conflict, where the unit is down with it.
    pub fn conflict(&self) -> Option<&Conflict> {
        self.memory.conflict.as_ref().filter(|_| self.may_be_displaced())
    }

    /// A unit that is up and conflicts with something that a job on this unit, which is up, would start.
    pub fn would_stop(&self) -> Option<&UnitName> {
        let conflict = self.memory.conflict.as_ref().filter(|conflict| !conflict.is_over())?;
        (!self.may_be_displaced()).then_some(conflict.by())
    }

    pub fn dependency(&self) -> Option<&Dependency> {
        self.memory.dependency.as_ref()
    }

    /// What it requires and went down with.
    pub fn fell_with(&self) -> Option<&UnitName> {
        // A stop of what was down already is a person's, whatever took it down.
        self.memory.fell_with.as_ref().filter(|_| !self.memory.stops.is_explicit())
    }

    /// It went down with a root that is back, and nothing has started it again.
    pub fn is_left_down(&self) -> bool {
        self.fell_with().is_some() && self.memory.dependency.as_ref().is_some_and(Dependency::brings_back)
    }

    /// The stop that took it down was not an operator's wish, but made room for another unit.
    pub fn stopped_for_conflict(&self) -> bool {
        let stop = self.memory.stops.stop().map(|stop| stop.since().0);
        stop.zip(self.conflict()).is_some_and(|(stop, conflict)| conflict.explains_stop(stop))
    }

    // --- attempts

    pub fn attempt(&self) -> Option<&Attempt> {
        self.memory.attempt.as_ref()
    }

    pub fn attempt_mut(&mut self) -> &mut Option<Attempt> {
        &mut self.memory.attempt
    }

    /// A job of ours is queued or runs on the unit.
    pub fn has_job_of_ours(&self) -> bool {
        self.attempt().is_some_and(Attempt::is_running)
    }

    pub fn pace(&self) -> &Pace {
        &self.memory.pace
    }

    pub fn pace_mut(&mut self) -> &mut Pace {
        &mut self.memory.pace
    }

    pub fn set_healthy(&mut self, now: Mono) {
        self.memory.healthy_since = Some(now);
    }

    /// For how long no check of it had an incident, until now.
    pub fn take_healthy(&mut self, now: Mono) -> Option<Duration> {
        self.memory.healthy_since.take().map(|since| now.since(since))
    }

    /// Whether `ResetFailedUnit` is to be called before a start: repeated starts may have hit the unit's start limit, or
    /// one more would. It would delete a transient unit.
    pub fn needs_reset(&self, now: Mono) -> bool {
        let Some(state) = &self.reading else { return false };
        if state.settings.transient {
            return false;
        }
        let failed = state.active == ActiveState::Failed
            && (state.result == "start-limit-hit" || state.n_restarts > 0 || self.memory.pace.attempts() > 1);
        failed || self.start_limited_until(now).is_some()
    }

    fn start_limited_until(&self, now: Mono) -> Option<Mono> {
        let limit = self.reading.as_ref()?.settings.start_limit?;
        self.memory.starts.limited_until(now, limit)
    }

    /// Until when one more start would trigger its `StartLimitAction=`.
    pub fn start_limit_action_until(&self, now: Mono) -> Option<Mono> {
        let limit = self.reading.as_ref()?.settings.start_limit.filter(|limit| limit.action)?;
        self.memory.starts.limited_until(now, limit)
    }

    /// systemd's counters of the unit were reset.
    pub fn record_reset(&mut self) {
        self.memory.starts.reset();
    }

    /// Why no job may be requested for the unit, by its own state (rule 7).
    pub fn withholds(&self, now: Now) -> Option<Withheld> {
        match &self.condition {
            Condition::Unread => return Some(Withheld::Unread),
            Condition::Missing(what) => return Some(Withheld::Missing(what.clone())),
            Condition::Starting => return Some(Withheld::Starting),
            Condition::Stopping => return Some(Withheld::Stopping),
            Condition::AutoRestart => {
                const SOON: Duration = Duration::from_secs(10);
                let at = self.auto_restart_at().filter(|at| at.since(now.mono) > SOON);
                return Some(Withheld::AutoRestart(at.map(|at| now.wall_of(at))));
            }
            Condition::Skipped(_) => {
                let which = self.reading.as_ref().and_then(|state| state.start_skipped.clone());
                return Some(Withheld::StartSkipped(which.unwrap_or_default()));
            }
            _ => {}
        }
        let state = self.reading.as_ref()?;
        match state.load {
            LoadState::Masked => return Some(Withheld::Masked),
            LoadState::NotFound => return Some(Withheld::Missing(state.describe())),
            _ => {}
        }
        if self.is_frozen() {
            return Some(Withheld::Frozen(self.id.clone()));
        }
        if let Some(which) = state.start_skipped.as_ref().filter(|_| state.is_down()) {
            return Some(Withheld::StartSkipped(which.clone()));
        }
        state.job.map(|job| Withheld::JobQueued(job_kind(job.kind).to_owned()))
    }

    /// Why a start or restart may not be requested, by the unit's settings (rule 7).
    pub fn withholds_start(&self, now: Now) -> Option<Withheld> {
        let state = self.reading.as_ref()?;
        if state.settings.refuses_start {
            return Some(Withheld::Refused("RefuseManualStart"));
        }
        if state.settings.failure_action {
            return Some(Withheld::FailureAction);
        }
        let until = self.start_limited_until(now.mono).filter(|_| state.settings.transient)?;
        Some(Withheld::StartLimit(now.wall_of(until)))
    }

    /// Why a stop, or a restart, may not be requested, by the unit's settings (rule 7).
    pub fn withholds_stop(&self) -> Option<Withheld> {
        let state = self.reading.as_ref()?;
        if state.settings.refuses_stop {
            return Some(Withheld::Refused("RefuseManualStop"));
        }
        if state.is_down() {
            return None;
        }
        if state.settings.success_action {
            return Some(Withheld::SuccessAction);
        }
        state.settings.failure_action.then_some(Withheld::FailureAction)
    }

    // --- holds

    /// An operator has stopped it, down or on its way down as it was, when its hold was over.
    pub fn is_stopped_after_hold(&self) -> bool {
        let Some(hold) = &self.memory.hold else { return false };
        let stop = self.memory.stops.stop().filter(|_| self.memory.stops.is_explicit());
        let later = hold.stops_until().zip(stop).is_some_and(|(over, stop)| stop.since().0 > over);
        later || hold.is_overruled()
    }

    /// A start is queued on it, and it is not up.
    fn is_coming(&self) -> bool {
        let starts = |state: &&Arc<UnitState>| {
            let job = state.job.filter(|job| matches!(job.kind, JobKind::Start | JobKind::Restart));
            job.is_some() && (state.is_down() || state.active == ActiveState::Deactivating)
        };
        self.reading.as_ref().filter(starts).is_some()
    }

    pub fn hold(&self) -> Option<&UnitHold> {
        self.memory.hold.as_ref()
    }

    pub fn hold_mut(&mut self) -> &mut Option<UnitHold> {
        &mut self.memory.hold
    }

    /// Why it is down after a hold.
    pub fn set_not_returned(&mut self, reason: String) {
        self.memory.not_returned = Some(reason);
    }

    /// Whether it is to be up again after a hold that begins now: not where it was stopped on purpose before, and not
    /// where it is at rest or cannot be started.
    pub fn is_wanted_up(&self) -> bool {
        let wanted_down = match self.condition {
            Condition::Stopped | Condition::AtRest => true,
            Condition::Stopping => self.is_being_stopped(),
            _ => self.memory.stops.is_by_step(),
        };
        self.id.can_be_started() && !wanted_down
    }

    fn is_being_stopped(&self) -> bool {
        let job = self.reading.as_ref().and_then(|state| state.stopped_by);
        job.is_some_and(|job| !job.ours && matches!(job.kind, JobKind::Stop | JobKind::Other))
    }

    /// It is up, or on its way without us.
    pub fn is_up_or_coming(&self) -> bool {
        self.condition.is_rising() || self.condition == Condition::AutoRestart
    }
}

/// When a unit that is found up, or on its way, began to be so, by systemd's timestamp.
fn begin_of_start(now: Now, state: &UnitState) -> Mono {
    let usec = match state.active {
        ActiveState::Activating => state.inactive_exit_usec,
        _ if state.is_down() => 0,
        _ => state.active_enter_usec,
    };
    match usec / 1000 {
        1.. => now.mono_of_usec(usec),
        // A start job that waits; or a unit that was never started and is up: a mount, a device.
        _ if state.is_down() => now.mono,
        _ => Mono::default(),
    }
}

fn job_kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Start => "start",
        JobKind::Stop => "stop",
        JobKind::Restart => "restart",
        JobKind::Reload => "reload",
        JobKind::Other => "systemd",
    }
}
