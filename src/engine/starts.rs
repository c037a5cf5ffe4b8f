//! How often a unit was started: crash loops (rule 7) and systemd's start limit.
//!
//! In: readings. Out: whether the unit is started repeatedly after failures, and whether one more start would hit its limit.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Mono, Now};
use crate::unit::{ActiveState, StartLimit, UnitState};

/// A service that is started this often after failures within [`CRASH_WINDOW`], otherwise than by us, is in a crash loop:
/// `Restart=`, `Upholds=`, a path, a person who tries again. systemd's own start limit is five as well, but within
/// 10 s, which `RestartSec=` of 2 s and more never meets.
const CRASH_RESTARTS: usize = 5;

/// See [`CRASH_RESTARTS`].
const CRASH_WINDOW: Duration = Duration::from_secs(600);

/// A crash loop is over when systemd has not restarted the service for this long (or twice its `RestartSec=`).
const CRASH_QUIET: Duration = Duration::from_secs(120);

/// So many starts are remembered; no start limit in use is higher.
const STARTS_KEPT: usize = 64;

/// The starts of one unit, as far as readings show them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Starts {
    /// When it was started after a failure, the latest last: by systemd or a person, not by us.
    crashes: VecDeque<Mono>,
    /// When it was started, by anybody.
    starts: VecDeque<Mono>,
    /// The same, where that was not by us.
    by_others: VecDeque<Mono>,
    /// Its latest run whose end was seen ended with a failure (`Some(true)`) or well.
    ended_badly: Option<bool>,
    restart_delay: Duration,
    /// systemd's counter at the latest reading.
    n_restarts: Option<u32>,
    /// How many of the failures that this run of the daemon has seen were followed by a start.
    #[serde(skip)]
    failures_followed: u32,
    /// Starts before this may have been missed, as nobody watched the unit.
    unseen_until: Option<Mono>,
}

impl Starts {
    /// Takes a reading; `old`: the one before, where nothing was missed between the two. `by_us`: a start that is new in it
    /// may be one of ours.
    pub fn read(&mut self, now: Now, old: Option<&UnitState>, state: &UnitState, by_us: bool) {
        self.restart_delay = state.settings.restart_delay;
        if old.is_none() || self.n_restarts.is_none() {
            self.unseen_until = unseen_until(now, state);
        }
        let new_run = old.is_some_and(|old| old.invocation_id != state.invocation_id)
            && !state.invocation_id.is_empty();
        // (A unit that comes up for the first time has not been active yet.)
        let began = state.active_enter_usec.max(state.inactive_exit_usec);
        let known = self.n_restarts.replace(state.n_restarts);
        let before = known.or(old.map(|old| old.n_restarts));
        let restarts = before.map_or(0, |before| state.n_restarts.saturating_sub(before));
        let followed =
            state.failures_seen - u32::from(state.active == ActiveState::Failed).min(state.failures_seen);
        let failed_before = std::mem::replace(&mut self.failures_followed, followed);
        if let Some(old) = old {
            // A reading shows the latest start alone; the signals and systemd's counter know of more.
            let seen = state.starts_seen.saturating_sub(old.starts_seen).max(u32::from(new_run));
            keep(&mut self.starts, STARTS_KEPT, now.mono, seen.max(restarts));
            if !by_us {
                keep(&mut self.by_others, STARTS_KEPT, now.mono, seen.max(restarts));
            }
        } else if began != 0 && self.starts.back().is_none_or(|last| *last < now.mono_of_usec(began)) {
            // After a restart of the daemon the first reading tells of a start that may be known.
            keep(&mut self.starts, STARTS_KEPT, now.mono_of_usec(began), 1);
        }
        let Some(before) = before else { return };
        if state.n_restarts < before {
            // A start by hand, ResetFailed, or a reboot resets the counter.
            self.crashes.clear();
        }
        // Where the end of a run was too quick to be seen, `Restart=` tells what it reacts to.
        let badly = self.ended_badly.unwrap_or(!state.settings.restarts_on_success);
        // What restarts were for while nobody watched, and over what time, is not known.
        if old.is_some() {
            let by_systemd = if badly { restarts } else { 0 };
            // systemd counts what `Restart=` does. What only runs at times fails each time for a reason of its own.
            let runs_at_times = state.oneshot || state.settings.is_started_by_timer();
            let loops = !by_us && !state.settings.restarts && !runs_at_times;
            let failures = if loops { followed.saturating_sub(failed_before) } else { 0 };
            keep(&mut self.crashes, CRASH_RESTARTS, now.mono, by_systemd.max(failures));
        }
        self.ended_badly = if state.is_down() || state.auto_restart() {
            Some(!matches!(state.result.as_str(), "" | "success"))
        } else {
            // Of a run whose end was too quick to be seen, the one before tells.
            self.ended_badly
        };
    }

    fn quiet_after(&self) -> Duration {
        CRASH_QUIET.max(self.restart_delay.saturating_mul(2))
    }

    /// How often and within what time the unit was started after failures, if that is a crash loop.
    pub fn crash_loop(&self, now: Mono) -> Option<(usize, Duration)> {
        let last = *self.crashes.back()?;
        if now.since(last) >= self.quiet_after() {
            return None;
        }
        let window = CRASH_WINDOW.max(self.restart_delay.saturating_mul(8));
        let recent: Vec<Mono> = self.crashes.iter().copied().filter(|at| now.since(*at) <= window).collect();
        (recent.len() >= CRASH_RESTARTS).then(|| (recent.len(), last.since(recent[0])))
    }

    /// When the unit was last started after a failure.
    pub fn last_crash(&self) -> Option<Mono> {
        self.crashes.back().copied()
    }

    /// When the crash loop ends if the unit is not started after a failure again.
    pub fn crash_loop_ends(&self, now: Mono) -> Option<Mono> {
        self.crash_loop(now)?;
        self.crashes.back().map(|last| last.after(self.quiet_after()))
    }

    /// Whether others have started it more often than makes a crash loop, in as short a time, counting such starts.
    pub fn loops_by_others(&self, now: Mono, counts: impl Fn(Mono) -> bool) -> bool {
        let recent = self.by_others.iter().filter(|at| now.since(**at) <= CRASH_WINDOW && counts(**at));
        recent.count() > CRASH_RESTARTS
    }

    /// Until when one more start would hit the unit's start limit; `None`: it would not. Where that triggers an action,
    /// starts that may have been missed count.
    pub fn limited_until(&self, now: Mono, limit: StartLimit) -> Option<Mono> {
        let burst = to_usize(limit.burst);
        let recent: Vec<Mono> =
            self.starts.iter().copied().filter(|at| now.since(*at) < limit.interval).collect();
        let seen = (burst > 0 && recent.len() >= burst).then(|| {
            let oldest_that_counts = recent[recent.len() - burst];
            oldest_that_counts.after(limit.interval)
        });
        let unseen_until = if self.n_restarts.is_none() { Some(now) } else { self.unseen_until };
        let unseen = unseen_until.filter(|_| limit.action).map(|at| at.after(limit.interval));
        seen.max(unseen.filter(|until| now < *until))
    }

    /// `ResetFailed` has reset systemd's counters.
    pub fn reset(&mut self) {
        self.starts.clear();
        self.unseen_until = None;
    }
}

/// Adds `at` to the list, `times` times; of more than `most` entries the oldest go.
fn keep(list: &mut VecDeque<Mono>, most: usize, at: Mono, times: u32) {
    for _ in 0..to_usize(times).min(most) {
        if list.len() >= most {
            list.pop_front();
        }
        list.push_back(at);
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Until when a unit may have had starts that its first reading does not show. While it is active there are none.
fn unseen_until(now: Now, state: &UnitState) -> Option<Mono> {
    let never_ended =
        state.inactive_enter_usec == 0 && state.n_restarts == 0 && state.active != ActiveState::Failed;
    match state.active {
        _ if never_ended => None,
        ActiveState::Active | ActiveState::Reloading => Some(now.mono_of_usec(state.active_enter_usec)),
        _ => Some(now.mono),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn starts_between_two_readings_bring_the_limit_nearer() {
        let now = Now { mono: Mono(Duration::from_secs(1000)), wall: Wall(1_000_000) };
        let up = |run: &str, starts_seen| UnitState {
            active: ActiveState::Active,
            invocation_id: run.to_owned(),
            starts_seen,
            ..UnitState::default()
        };
        let limit = StartLimit { interval: Duration::from_secs(120), burst: 4, action: false };
        for (seen, limited) in [(3, false), (4, true)] {
            let mut starts = Starts::default();
            let first = up("a", 0);
            starts.read(now, None, &first, false);
            starts.read(now, Some(&first), &up("e", seen), false);
            assert_eq!(starts.limited_until(now.mono, limit).is_some(), limited, "{seen}");
        }
    }
}
