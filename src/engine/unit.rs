//! One unit: systemd's reading, what it means, the attempt on it, and the spacing of attempts. It knows no probes.
//!
//! In: readings in order, the graph's account of its surroundings, the ends of jobs. Out: its condition, and why no job may
//! be requested for it now (rules 4 to 8 and 12).
//!
//! | file | what it owns |
//! |---|---|
//! | `condition` | what a reading means |
//! | `timeline` | since when the unit is what it is |
//! | `marks` | what other units mean for one that is down: `conflict`, `dependency` |
//! | `hold` | the hold on the unit |
//! | `withholds` | why its own state and settings withhold a job |

mod condition;
mod conflict;
mod dependency;
mod hold;
mod marks;
mod timeline;
mod withholds;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(in crate::engine) use condition::Condition;
pub(in crate::engine) use conflict::Moment;
pub(in crate::engine) use hold::{DEFERRED_AT_MOST, UnitHold};
pub(in crate::engine) use marks::Surroundings;

use marks::{Marked, Marks};
use timeline::Timeline;

use super::attempt::{Attempt, Pace};
use super::starts::Starts;
use super::stop::{self, Stop, StopRecord};
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
    #[serde(flatten)]
    marks: Marks,
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
    timeline: Timeline,
    /// Since when nothing has been seen of the unit: until its first reading, and since systemd can no longer be reached.
    unseen_since: Option<Mono>,
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
            timeline: Timeline::default(),
            unseen_since: Some(Mono::default()),
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

    /// The unit after a restart of the daemon. `saved`: when its memory was.
    pub fn restore(
        &mut self,
        memory: Memory,
        saved: Mono,
        now: Now,
        grace: Duration,
        longest_wait: Duration,
    ) {
        self.memory = memory;
        self.unseen_since = Some(saved);
        self.memory.pace.bound(now.mono.after(longest_wait));
        if let Some(attempt) = &mut self.memory.attempt {
            attempt.resume_after_restart(grace);
        }
        if let Some(hold) = &mut self.memory.hold {
            hold.resume_after_restart(now);
        }
    }

    /// The machine was rebooted since the memory was saved. `shutdown`: since when it was shutting down, if that was seen.
    pub fn record_reboot(&mut self, shutdown: Option<Mono>) {
        self.memory.stops.record_reboot(shutdown);
        // systemd has begun to count anew.
        self.memory.starts = Starts::default();
    }

    /// systemd cannot be reached: what becomes of the unit meanwhile is not seen.
    pub fn lose_sight(&mut self, now: Mono) {
        self.unseen_since.get_or_insert(now);
    }

    /// systemd can be reached again, and what became of the unit meanwhile has been read.
    pub fn regain_sight(&mut self) {
        self.unseen_since.take_if(|_| self.reading.is_some());
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
    pub fn read(&mut self, now: Now, mut state: Arc<UnitState>) {
        self.deferred = None;
        // What happened while systemd could not be reached was not seen, as before the first reading.
        let unseen = self.unseen_since.take();
        let first = unseen.is_some();
        if self.memory.marks.read_dropped(&state) {
            Arc::make_mut(&mut state).start_dropped = true;
        }
        let by_us = self.may_be_started_by_us(now, &state);
        self.memory.starts.read(now, self.reading.as_deref().filter(|_| !first), &state, by_us);
        self.memory.marks.read(&state);
        let comes = state.has_start_job();
        let known_job = self.memory.stops.stop().and_then(Stop::job);
        let stopped = state.is_down() && !comes && self.memory.stops.read_down(now, &state, unseen);
        let job = self.memory.stops.stop().and_then(Stop::job);
        if !first && job.is_some() && job != known_job {
            self.memory.marks.forget_not_returned();
        }
        if !first && !comes && self.is_coming() && stop::is_operators_job(&state) {
            self.memory.hold.iter_mut().for_each(|hold| hold.record_stop(now.mono));
        }
        let condition = condition::classify(
            &state,
            condition::Facts {
                is_job: self.job.is_some(),
                stopped,
                stopped_by_step: self.memory.stops.is_by_step(),
                not_returned: self.memory.marks.not_returned(),
                seen_up: self.timeline.was_seen_up(),
            },
        );
        let new_run = self.reading.as_ref().is_some_and(|old| old.invocation_id != state.invocation_id);
        let entered = condition != self.condition;
        if let Some(attempt) = self.memory.attempt.as_mut().filter(|_| state.job.is_none()) {
            attempt.no_job_read(now.mono);
        }
        if condition.is_rising() {
            self.memory.marks.read_rising(&state, entered);
            if !state.is_down() {
                self.memory.stops.read_up();
            }
        }
        let reloaded = self.was_reloaded(&state);
        self.timeline.read(now, &state, &condition, first, entered || new_run || reloaded);
        self.condition = condition;
        self.reading = Some(state);
        self.read_at = Some(now.mono);
    }

    /// What a timer, a socket or a path starts is at rest when an operator's stop of it is no longer respected: it will be
    /// started as ever. Whether it is so now.
    pub fn rests_after_stop(&mut self, now: Now) -> bool {
        let rests = self.condition == Condition::Stopped
            && self.reading.as_ref().is_some_and(|state| {
                condition::ended_well(state)
                    && state.load == LoadState::Loaded
                    && !state.frozen
                    && !state.settings.triggered_by.is_empty()
            });
        if rests {
            self.memory.stops.spend();
            self.classify_again(now);
        }
        rests
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
        self.timeline.started()
    }

    /// It comes up now, although no reading shows another run (a reload, a job of an earlier daemon).
    pub fn set_started(&mut self, now: Mono) {
        self.timeline.set_started(now);
    }

    pub fn stopping_since(&self) -> Option<Mono> {
        self.timeline.stopping_since()
    }

    /// Since when it ends without a job, where systemd will restart it then.
    pub fn ending_since(&self) -> Option<Mono> {
        self.timeline
            .ending_since()
            .filter(|_| self.reading.as_ref().is_some_and(|state| state.settings.restarts))
    }

    /// Since when a reload that somebody else requested runs.
    pub fn reloading_since(&self) -> Option<Mono> {
        self.timeline.reloading_since()
    }

    /// A reload that somebody else requested has ended.
    fn was_reloaded(&self, state: &UnitState) -> bool {
        self.reading.as_ref().is_some_and(|old| {
            old.job.is_some_and(|job| !job.ours && job.kind == JobKind::Reload)
                && state.job.is_none()
                && state.active == ActiveState::Active
                && old.invocation_id == state.invocation_id
        })
    }

    /// Since when a start job waits for other units.
    pub fn waiting_since(&self) -> Option<Mono> {
        self.timeline.waiting_since()
    }

    /// When systemd will restart it itself.
    pub fn auto_restart_at(&self) -> Option<Mono> {
        self.auto_restart().map(|(since, delay)| since.after(delay))
    }

    /// Since when systemd waits to restart it, and for how long.
    pub fn auto_restart(&self) -> Option<(Mono, Duration)> {
        Some((self.timeline.auto_restart_since()?, self.reading.as_ref()?.settings.restart_delay))
    }

    /// The latest start in a reading lies in the time of a job of ours.
    fn may_be_started_by_us(&self, now: Now, state: &UnitState) -> bool {
        let began = now.mono_of_usec(state.inactive_exit_usec.max(state.active_enter_usec));
        let by_attempt = self.attempt().is_some_and(|attempt| {
            attempt.requested() <= began && attempt.ended().is_none_or(|ended| began <= ended)
        });
        by_attempt || self.has_job_of_ours() || self.memory.hold.as_ref().is_some_and(|hold| !hold.is_open())
    }

    pub fn starts(&self) -> &Starts {
        &self.memory.starts
    }

    /// It has been active since the machine booted.
    pub fn was_active(&self) -> bool {
        self.timeline.was_seen_up() || self.reading.as_ref().is_some_and(|state| state.active_enter_usec != 0)
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
        Some(self.timeline.start_dropped()?.after(self.reason_may_follow()))
    }

    /// A stop is not reported before this.
    pub fn stop_shown_from(&self) -> Option<Mono> {
        let (since, _) = self.stopped_since()?;
        let unexplained = !self.memory.marks.explain_a_stop();
        let after = if self.fell_with().is_some() { self.reason_may_follow() } else { STOP_SHOWN_AFTER };
        (unexplained && !self.reason_may_follow().is_zero()).then(|| since.after(after))
    }

    // --- surroundings

    fn marks(&self) -> &Marks {
        &self.memory.marks
    }

    /// Brings the marks up to date with what the graph says.
    pub fn update_marks(&mut self, now: Now, around: Surroundings) {
        let unit = Marked {
            condition: &self.condition,
            may_be_displaced: self.may_be_displaced(),
            remembered_stop: self.memory.stops.stop().is_some(),
            went_down: self.went_down(now),
            oneshot: self.reading.as_ref().is_some_and(|state| state.oneshot),
            start_dropped: self.timeline.start_dropped().is_some(),
        };
        self.memory.marks.update(now, around, &unit);
    }

    /// Why it is down after a hold.
    pub fn set_not_returned(&mut self, reason: String) {
        self.memory.marks.set_not_returned(reason);
    }

    /// Takes what the graph says of its parts. Returns whether another one has failed, or none any more.
    pub fn update_failed_part(&mut self, part: Option<UnitName>) -> bool {
        let changed = self.failed_part != part;
        self.failed_part = part;
        changed
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

    /// systemd's counters of the unit were reset.
    pub fn record_reset(&mut self) {
        self.memory.starts.reset();
    }

    // --- holds

    /// A start is queued on it, and it is not up.
    fn is_coming(&self) -> bool {
        self.reading.as_ref().is_some_and(|state| {
            state.has_start_job() && (state.is_down() || state.active == ActiveState::Deactivating)
        })
    }

    pub fn hold(&self) -> Option<&UnitHold> {
        self.memory.hold.as_ref()
    }

    pub fn hold_mut(&mut self) -> &mut Option<UnitHold> {
        &mut self.memory.hold
    }

    /// It is up, or on its way without us.
    pub fn is_up_or_coming(&self) -> bool {
        self.condition.is_rising() || self.condition == Condition::AutoRestart
    }
}
