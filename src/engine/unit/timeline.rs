//! Since when a unit is what it is: up, on its way, going down, waiting.
//!
//! In: readings, each with the condition that it means. Out: moments on the monotonic clock. They are not saved: the first
//! reading of each run of the daemon sets them again.

use super::Condition;
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, JobKind, UnitState};

/// The moments of one unit.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// When it began to come up, or came up: probes that began before saw another run, and failures within the grace from
    /// here do not count.
    started: Option<Mono>,
    /// Since when a job takes it down, or waits until it is.
    stopping_since: Option<Mono>,
    /// Since when it ends without a job.
    ending_since: Option<Mono>,
    /// Since when a reload that somebody else requested runs.
    reloading_since: Option<Mono>,
    /// Since when systemd waits to restart it.
    auto_restart_since: Option<Mono>,
    /// Since when a start job waits for other units.
    waiting_since: Option<Mono>,
    /// When systemd dropped a start job on it, where it is down by that.
    start_dropped: Option<Mono>,
    seen_up: bool,
}

impl Timeline {
    /// Takes a reading. `first`: nothing says what the unit was before. `is_new`: it has another condition than before, or
    /// this is another run.
    pub fn read(&mut self, now: Now, state: &UnitState, condition: &Condition, first: bool, is_new: bool) {
        if condition.is_rising() {
            if first {
                self.started = Some(begin_of_start(now, state));
            } else if is_new {
                self.started = Some(now.mono);
            }
        }
        self.seen_up |= *condition == Condition::Up;
        let waits = *condition == Condition::Starting && state.is_down();
        let falls = *condition == Condition::Stopping && (state.stopped_by.is_some() || state.job.is_some());
        let ends = *condition == Condition::Stopping && !falls;
        let since = |known: Option<Mono>, lasts: bool| lasts.then(|| known.unwrap_or(now.mono));
        self.waiting_since = since(self.waiting_since, waits);
        self.stopping_since = since(self.stopping_since, falls);
        self.ending_since = since(self.ending_since, ends);
        let reload = state.job.is_some_and(|job| job.kind == JobKind::Reload && !job.ours);
        self.reloading_since = since(self.reloading_since, reload);
        self.auto_restart_since = since(self.auto_restart_since, *condition == Condition::AutoRestart);
        self.start_dropped = since(self.start_dropped, state.start_dropped);
    }

    pub fn started(&self) -> Option<Mono> {
        self.started
    }

    pub fn set_started(&mut self, now: Mono) {
        self.started = Some(now);
    }

    pub fn stopping_since(&self) -> Option<Mono> {
        self.stopping_since
    }

    pub fn ending_since(&self) -> Option<Mono> {
        self.ending_since
    }

    pub fn reloading_since(&self) -> Option<Mono> {
        self.reloading_since
    }

    pub fn auto_restart_since(&self) -> Option<Mono> {
        self.auto_restart_since
    }

    pub fn waiting_since(&self) -> Option<Mono> {
        self.waiting_since
    }

    pub fn start_dropped(&self) -> Option<Mono> {
        self.start_dropped
    }

    /// A reading has found it up.
    pub fn was_seen_up(&self) -> bool {
        self.seen_up
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
