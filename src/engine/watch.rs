//! What a unit's state means for the checks that speak for it, and the recovery under way on it.
//!
//! In: readings of the unit ([`UnitState`]). Out: a [`Condition`]. It decides nothing about incidents and asks for nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::AttemptId;
use super::blocked::Blocked;
use super::displaced::Displaced;
use super::hold::UnitHold;
use super::ran::{self, Triggered};
use crate::check::{CheckName, Rung};
use crate::time::{Mono, Now, Wall};
use crate::unit::{ActiveState, JobKind, LoadState, UnitName, UnitState};

/// systemd restarting a service this often within [`CRASH_WINDOW`] is a crash loop (DESIGN: rule 7). systemd's own
/// start limit is five as well, but within 10 s, which `RestartSec=` of 2 s and more never meets.
pub(super) const CRASH_RESTARTS: usize = 5;

/// See [`CRASH_RESTARTS`].
pub(super) const CRASH_WINDOW: Duration = Duration::from_secs(600);

/// A crash loop is over when systemd has not restarted the service for this long.
pub(super) const CRASH_QUIET: Duration = Duration::from_secs(120);

/// A first reading waits so long for those of the units around. They come within milliseconds; a systemd that is busy
/// with a reload of its files takes seconds, and after 25 s (libdbus's own patience) it is given up.
const PLACED_WITHIN: Duration = Duration::from_secs(30);

/// See [`UnitWatch::stop_shown_from`]: many times what a bus needs, and short for a person.
const STOP_TOLD_AFTER: Duration = Duration::from_millis(500);

/// What the state of a unit means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Not read yet.
    Unread,
    /// There is nothing to start: not found, masked, or a file that systemd refuses. The clause says which.
    Missing(String),
    /// Running, or whatever its type calls active.
    Up,
    /// A oneshot that ended well, or a job that does not run.
    Resting,
    /// On the way up by a job.
    Starting,
    /// systemd is itself about to restart it.
    AutoRestart,
    /// On the way down.
    Stopping,
    /// Somebody asked systemd to stop it.
    Stopped,
    /// Not running, and nobody asked for that.
    Ended(String),
    /// systemd calls it failed.
    Failed(String),
}

impl Condition {
    /// The clause for a unit that systemd's own word says is down.
    pub(super) fn down(&self) -> Option<&str> {
        match self {
            Self::Ended(reason) | Self::Failed(reason) => Some(reason),
            _ => None,
        }
    }
}

/// A recovery attempt on the unit that is not settled.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub id: AttemptId,
    /// The check that asked for it.
    pub by: CheckName,
    pub rung: Rung,
    /// Its number in that check's incident.
    pub number: u32,
    /// The incidents that have it in their record, by check, and its number there.
    pub told: Vec<(CheckName, u32)>,
    pub asked: Mono,
    /// The unit's InvocationID before it.
    pub invocation_before: String,
    /// When the job ended, once it has: from then on the unit may come up.
    pub ended: Option<Mono>,
    /// Failures do not count until then.
    pub grace_until: Mono,
}

impl InFlight {
    /// Its job has ended, and the unit has had its time to come up.
    pub(super) fn is_over(&self, now: Mono) -> bool {
        self.ended.is_some() && now >= self.grace_until
    }

    /// The check was in an incident when it was asked for.
    pub(super) fn serves(&self, check: &CheckName) -> bool {
        self.told.iter().any(|(name, _)| name == check)
    }
}

/// Everything known of one unit.
#[derive(Debug)]
pub(super) struct UnitWatch {
    /// The checks that speak for it, in name order.
    pub checks: Vec<CheckName>,
    pub state: Option<UnitState>,
    pub condition: Condition,
    /// Since when it is on its way up, or up: probes that began before saw another run of the unit, and failures within
    /// a check's grace from here do not count.
    pub settling: Option<Mono>,
    /// Since when somebody's stop is respected.
    pub stopped: Option<(Mono, Wall)>,
    /// The last stop was asked for by a rung of a ladder.
    pub stopped_by_us: bool,
    /// Somebody's command has it, or had it and it is not back yet.
    pub hold: Option<UnitHold>,
    /// Why it is down: it was not brought back after a hold. Nobody's stop, whatever took it down.
    pub not_returned: Option<String>,
    pub attempt: Option<InFlight>,
    /// Attempts since the unit was last healthy for long.
    pub attempts: u32,
    /// No attempt before this.
    pub next_attempt: Mono,
    /// Since when no check of the unit has an incident.
    pub healthy: Option<Mono>,
    /// When systemd restarted it, the latest last.
    pub restarts: VecDeque<Mono>,
    /// The reader was told that systemd does not know the unit.
    pub unknown_told: bool,
    /// Since when it is on its way down by somebody's job.
    pub falling: Option<Mono>,
    /// From before a restart of the daemon: since when a stop was respected, and the unit's `InactiveEnterTimestamp` (0
    /// where systemd has forgotten it).
    pub restored_stop: Option<(Mono, u64)>,
    /// A unit that it conflicts with is up in its place, or was.
    pub displaced: Option<Displaced>,
    /// It was down, as far as is known, when `displaced` was last brought up to date.
    pub down_displaced: bool,
    /// What it needs is not well, or was not a moment ago.
    pub blocked: Option<Blocked>,
    /// It went down together with something that it needs.
    pub taken_down: bool,
    /// Its first reading, down, and since when that waits for the readings of what is around it.
    pub unplaced: Option<Box<(UnitState, Mono)>>,
    /// It has been seen up. systemd itself forgets that, with the unit, where it has ended and nothing refers to it.
    pub seen_up: bool,
    /// The unit is a job, at rest when it is inactive: how long a run may take.
    pub job: Option<Duration>,
    /// The unit is the timer of a job that is checked.
    pub times_job: bool,
    /// What the timer triggers.
    pub triggered: Option<Triggered>,
}

impl UnitWatch {
    pub(super) fn new() -> Self {
        Self {
            checks: Vec::new(),
            state: None,
            condition: Condition::Unread,
            settling: None,
            stopped: None,
            stopped_by_us: false,
            hold: None,
            not_returned: None,
            attempt: None,
            attempts: 0,
            next_attempt: Mono::default(),
            healthy: None,
            restarts: VecDeque::new(),
            unknown_told: false,
            falling: None,
            restored_stop: None,
            displaced: None,
            down_displaced: false,
            blocked: None,
            taken_down: false,
            unplaced: None,
            seen_up: false,
            job: None,
            times_job: false,
            triggered: None,
        }
    }

    /// The state of the unit that is the job: this one, or what it triggers.
    pub(super) fn job_state(&self) -> Option<&UnitState> {
        if self.times_job { self.triggered.as_ref()?.state.as_ref() } else { self.state.as_ref() }
    }

    /// The unit that an incident is about: where a timer does its part, what it triggers.
    pub(super) fn subject(&self) -> Option<&UnitState> {
        let job = self.job_state().filter(|_| self.condition == Condition::Up);
        job.or(self.state.as_ref())
    }

    /// Its name where it is not this unit.
    pub(super) fn subject_name(&self) -> Option<&UnitName> {
        let triggered =
            self.triggered.as_ref().filter(|_| self.times_job && self.condition == Condition::Up)?;
        triggered.state.as_ref().map(|_| &triggered.name)
    }

    /// Takes a reading. `expected_up`: there is an incident already, so a unit found down was not left so on purpose.
    pub(super) fn read(&mut self, now: Now, state: UnitState, expected_up: bool) {
        self.count_restarts(now.mono, &state);
        let condition = self.judge(&state, expected_up);
        let new_run = self.state.as_ref().is_some_and(|old| old.invocation_id != state.invocation_id);
        let rising = matches!(condition, Condition::Up | Condition::Starting);
        let entered = condition != self.condition;
        // The first reading ever finds the unit as it has been for long: nothing settles.
        if self.condition != Condition::Unread && rising && (entered || new_run) {
            self.settling = Some(now.mono);
        }
        match condition {
            Condition::Stopped if self.stopped.is_none() => {
                self.stopped = Some(self.stopped_since(now, &state));
            }
            Condition::Stopped | Condition::Stopping | Condition::Unread => {}
            _ => self.stopped = None,
        }
        if rising {
            self.stopped_by_us = false;
            self.not_returned = None;
            self.seen_up = true;
            self.restored_stop = None;
            self.taken_down = false;
        }
        if rising && entered && self.blocked.as_ref().is_some_and(|mark| mark.over.is_some()) {
            // From here on it has the grace of any unit that comes up.
            self.blocked = None;
        }
        let falls = condition == Condition::Stopping && state.stopped_by.is_some();
        self.falling = falls.then(|| self.falling.unwrap_or(now.mono));
        self.condition = condition;
        self.state = Some(state);
    }

    /// When a first reading no longer waits for those of the units around this one.
    pub(super) fn placed_by(&self) -> Option<Mono> {
        self.unplaced.as_ref().map(|unplaced| unplaced.1.after(PLACED_WITHIN))
    }

    /// On its way up, or up.
    pub(super) fn is_rising(&self) -> bool {
        matches!(self.condition, Condition::Up | Condition::Starting)
    }

    /// How long at least a stop is respected, so that what it made room for can be seen.
    pub(super) fn reason_may_follow(&self) -> Duration {
        let related = self.state.as_ref().is_some_and(|state| state.relations.is_some());
        if related { Duration::from_secs(2) } else { Duration::ZERO }
    }

    /// A stop is told as somebody's wish only then: the unit may have made room for another, or gone down with one, and
    /// that one's reading is under way.
    pub(super) fn stop_shown_from(&self) -> Option<Mono> {
        let (since, _) = self.stopped.filter(|_| self.condition == Condition::Stopped)?;
        let unexplained = self.displaced.is_none() && self.blocked.is_none();
        (unexplained && !self.reason_may_follow().is_zero()).then(|| since.after(STOP_TOLD_AFTER))
    }

    fn judge(&self, state: &UnitState, expected_up: bool) -> Condition {
        match state.active {
            ActiveState::Active | ActiveState::Reloading | ActiveState::Maintenance => return Condition::Up,
            ActiveState::Activating if state.auto_restart() => return Condition::AutoRestart,
            ActiveState::Activating => return Condition::Starting,
            ActiveState::Deactivating => return Condition::Stopping,
            ActiveState::Inactive | ActiveState::Failed => {}
        }
        if matches!(
            state.load,
            LoadState::NotFound | LoadState::Masked | LoadState::BadSetting | LoadState::Error
        ) {
            return Condition::Missing(state.describe());
        }
        if self.job.is_some() {
            return self.judge_job(state);
        }
        if self.not_returned.is_none() && (self.somebody_stopped(state) || self.still_stopped(state)) {
            return Condition::Stopped;
        }
        if state.has_start_job() {
            return Condition::Starting;
        }
        if self.stopped_by_us {
            return Condition::Ended(
                "unit was stopped by a recovery (`stop`), and not started since".to_owned(),
            );
        }
        let exit = state.describe_exit().map_or_else(String::new, |exit| format!(", {exit}"));
        if state.active == ActiveState::Failed {
            return Condition::Failed(format!("unit is {}{exit}", state.describe()));
        }
        if let Some(reason) = &self.not_returned {
            return Condition::Ended(reason.clone());
        }
        if state.oneshot && matches!(state.result.as_str(), "" | "success") {
            return Condition::Resting;
        }
        if self.found_stopped(state, expected_up) {
            return Condition::Stopped;
        }
        if state.active_enter_usec == 0 && state.inactive_enter_usec == 0 && !self.seen_up {
            return Condition::Ended("unit has not been started since the machine booted".to_owned());
        }
        Condition::Ended(format!("unit ended without a stop job: {}{exit}", state.describe()))
    }

    /// A job that does not run is at rest, whoever ended its run; what is late is told by its check.
    fn judge_job(&self, state: &UnitState) -> Condition {
        if state.active == ActiveState::Failed && !self.somebody_stopped(state) {
            Condition::Failed(ran::last_run_failed(state))
        } else {
            Condition::Resting
        }
    }

    /// A stop job that is not ours took the unit down. A service that exits with 143 on SIGTERM is `failed` after
    /// `systemctl stop`, so this counts before systemd's word `failed` does.
    pub(super) fn somebody_stopped(&self, state: &UnitState) -> bool {
        let ours = self.stopped_by_us || self.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none());
        !ours
            && state
                .stopped_by
                .is_some_and(|job| !job.ours && matches!(job.kind, JobKind::Stop | JobKind::Other))
    }

    /// The stop goes on that was respected before, be it by an earlier life of the daemon.
    fn still_stopped(&self, state: &UnitState) -> bool {
        let before = match (&self.state, &self.condition) {
            (None, _) => self.restored_stop.map(|(_, inactive_enter)| inactive_enter),
            (Some(old), Condition::Stopped) => Some(old.inactive_enter_usec),
            _ => None,
        };
        !self.stopped_by_us && before == Some(state.inactive_enter_usec)
    }

    /// It was down already when it was first seen, so nobody knows whether a job or an end took it down; a stop is
    /// assumed, because to fight an operator is worse than to come a little late.
    fn found_stopped(&self, state: &UnitState, expected_up: bool) -> bool {
        !self.stopped_by_us && state.inactive_enter_usec != 0 && self.state.is_none() && !expected_up
    }

    /// Since when the unit is stopped: from now, unless it was so already when it was first seen. Then a stop that is
    /// remembered counts from its beginning, any other from systemd's own record of it.
    fn stopped_since(&self, now: Now, state: &UnitState) -> (Mono, Wall) {
        if self.state.is_some() {
            return (now.mono, now.wall);
        }
        if let Some(since) = self.known_stop(state) {
            return (since, now.wall_of(since));
        }
        match i64::try_from(state.inactive_enter_usec / 1000) {
            Ok(millis) if millis > 0 => {
                let since = Wall(millis).min(now.wall);
                (now.mono_of(since), since)
            }
            _ => (now.mono, now.wall),
        }
    }

    /// The stop from before a restart of the daemon, if it is the one that the unit is still in.
    fn known_stop(&self, state: &UnitState) -> Option<Mono> {
        let (since, usec) = self.restored_stop?;
        (usec == state.inactive_enter_usec).then_some(since)
    }

    fn count_restarts(&mut self, now: Mono, state: &UnitState) {
        let Some(old) = &self.state else { return };
        if state.n_restarts < old.n_restarts {
            // A start by hand, or ResetFailed, begins to count anew.
            self.restarts.clear();
            return;
        }
        let more = usize::try_from(state.n_restarts - old.n_restarts).unwrap_or(usize::MAX);
        for _ in 0..more.min(CRASH_RESTARTS) {
            if self.restarts.len() == CRASH_RESTARTS {
                self.restarts.pop_front();
            }
            self.restarts.push_back(now);
        }
    }

    /// How often and within what time systemd restarted the unit, if that is a crash loop.
    pub(super) fn crash_loop(&mut self, now: Mono) -> Option<(usize, Duration)> {
        if self.restarts.back().is_some_and(|last| now.since(*last) >= CRASH_QUIET) {
            self.restarts.clear();
        }
        while self.restarts.front().is_some_and(|first| now.since(*first) > CRASH_WINDOW) {
            self.restarts.pop_front();
        }
        let (first, last) = (self.restarts.front()?, self.restarts.back()?);
        (self.restarts.len() >= CRASH_RESTARTS).then(|| (self.restarts.len(), last.since(*first)))
    }

    /// Why no recovery may be asked for now, by the unit's own state (DESIGN: rule 7); `None`: it may.
    pub(super) fn not_ours(&self) -> Option<String> {
        match &self.condition {
            Condition::Unread => return Some("systemd has not told the unit's state yet".to_owned()),
            Condition::Missing(what) => return Some(format!("there is no unit to act on: {what}")),
            Condition::Starting => return Some("systemd is starting the unit".to_owned()),
            Condition::Stopping => return Some("systemd is stopping the unit".to_owned()),
            Condition::AutoRestart => return Some("systemd is itself restarting the unit".to_owned()),
            _ => {}
        }
        let state = self.state.as_ref()?;
        if state.load == LoadState::Masked {
            return Some("the unit is masked".to_owned());
        }
        state.job.map(|job| format!("a job is queued on the unit: {}", job_word(job.kind)))
    }
}

fn job_word(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Start => "start",
        JobKind::Stop => "stop",
        JobKind::Restart => "restart",
        JobKind::Reload => "reload",
        JobKind::Other => "not ours",
    }
}

#[cfg(test)]
mod tests;
