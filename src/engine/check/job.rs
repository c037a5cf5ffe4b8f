//! Jobs: units that must run successfully every so often, and are at rest between (the probe `job:`).
//!
//! In: readings of the job's unit. Out: whether its runs are as they should be. systemd forgets a unit that nothing refers
//! to when it ends, and everything at a reboot, so the last successful run is remembered here, and whether the last end was an operator's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::JobProbe;
use crate::time::{Mono, Now, human};
use crate::unit::{ActiveState, JobKind, UnitState};

/// A timer with `Persistent=` runs what it missed within this time after it starts (`RandomizedDelaySec=` aside).
const CATCH_UP: Duration = Duration::from_secs(120);

/// What is known of a job's runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Runs {
    /// Since when they are watched: a job that never ran counts from there.
    since: Mono,
    /// When the last good run ended, and the same in systemd's microseconds, by which it is known again.
    succeeded: Option<(Mono, u64)>,
    /// The latest end of a run: systemd tells who caused it only to those who saw it.
    ended: Option<End>,
    /// The job's unit was read, by this run of the daemon.
    #[serde(skip)]
    seen: bool,
    /// The run under way: when it began by systemd's word, and the same on our clock.
    #[serde(skip)]
    running: Option<(u64, Mono)>,
}

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct End {
    /// `InactiveEnterTimestamp`, by which it is known again.
    usec: u64,
    /// By an operator: the run is neither a success nor a failure.
    stopped: bool,
}

/// How a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum JobVerdict {
    /// It has run successfully, recently enough.
    OnTime(String),
    /// It failed, is late, or runs for too long.
    Failing(String),
    /// It runs, and may yet succeed.
    Running(String),
}

impl Runs {
    pub fn watched_since(now: Mono) -> Self {
        Self { since: now, succeeded: None, ended: None, seen: false, running: None }
    }

    /// Takes a reading of the job's unit. Returns whether it tells of a good run that was not known, or of an operator's
    /// stop.
    pub fn record(&mut self, now: Now, state: &UnitState) -> bool {
        self.running = if is_running(state) {
            let began = state.inactive_exit_usec;
            match self.running {
                Some(known) if known.0 == began => Some(known),
                _ if began == 0 => Some((began, now.mono)),
                _ => Some((began, now.mono_of_usec(began))),
            }
        } else {
            None
        };
        let first = !std::mem::replace(&mut self.seen, true);
        let before = self.ended;
        let usec = state.inactive_enter_usec;
        // Of a unit that systemd has forgotten no end can be known again.
        if state.is_down() && usec != 0 {
            let known = self.ended.filter(|end| end.usec == usec);
            // Of an end in the daemon's absence systemd shows this much.
            let by_stop = state.was_terminated() || (state.ended_in_stop() && state.result != "timeout");
            let unseen = first && known.is_none() && by_stop;
            let stopped = known.is_some_and(|end| end.stopped) || is_stopped(state) || unseen;
            self.ended = Some(End { usec, stopped });
        }
        let learned = self.ended != before && self.was_stopped(state);
        let Some(ended) = good_end(state).filter(|_| !self.was_stopped(state)) else { return learned };
        if self.succeeded.is_some_and(|(_, known)| known == ended) {
            return learned;
        }
        self.succeeded = Some((now.mono_of_usec(ended), ended));
        true
    }

    /// The run that this reading shows the end of was ended by an operator.
    fn was_stopped(&self, state: &UnitState) -> bool {
        let known = |end: End| end.stopped && end.usec == state.inactive_enter_usec;
        state.is_down() && (is_stopped(state) || self.ended.is_some_and(known))
    }

    /// `timer_since`: since when the timer that triggers the job is active; a `Persistent=` timer runs what it missed soon
    /// after.
    pub fn verdict(
        &self,
        now: Mono,
        job: &JobProbe,
        state: &UnitState,
        timer_since: Option<Mono>,
    ) -> JobVerdict {
        if state.active == ActiveState::Failed && !self.was_stopped(state) {
            return JobVerdict::Failing(last_run_failed(state));
        }
        if let Some((_, began)) = self.running {
            let lasting = now.since(began);
            return if lasting >= job.max_runtime {
                let (lasting, most) = (rough(lasting), exact(job.max_runtime));
                JobVerdict::Failing(format!(
                    "has been running for {lasting}, expected to take less than {most}"
                ))
            } else {
                JobVerdict::Running(format!("running for {}", rough(lasting)))
            };
        }
        let just_started = timer_since.filter(|since| now < since.after(CATCH_UP));
        match self.succeeded {
            // (A run since the timer's start was what it had missed.)
            Some((ended, _))
                if just_started.is_some_and(|since| ended < since)
                    && now.since(ended) >= job.succeeded_within =>
            {
                JobVerdict::Running(format!(
                    "last succeeded {} ago; its timer has just started",
                    rough(now.since(ended))
                ))
            }
            Some((ended, _)) if now.since(ended) >= job.succeeded_within => {
                let (ago, within) = (rough(now.since(ended)), exact(job.succeeded_within));
                JobVerdict::Failing(format!("last succeeded {ago} ago, expected within {within}"))
            }
            Some((ended, _)) => JobVerdict::OnTime(format!("succeeded {} ago", rough(now.since(ended)))),
            None if now.since(self.since) >= job.succeeded_within => {
                let lasting = rough(now.since(self.since));
                JobVerdict::Failing(format!("no successful run in the {lasting} since monitoring began"))
            }
            None => JobVerdict::OnTime(format!("no run yet, monitored for {}", rough(now.since(self.since)))),
        }
    }
}

/// The clause for a job whose last run failed.
pub(in crate::engine) fn last_run_failed(state: &UnitState) -> String {
    let exit = state.describe_exit().map_or_else(String::new, |exit| format!(", {exit}"));
    let result = if state.result.is_empty() { "failed" } else { &state.result };
    format!("the last run failed: {result}{exit}")
}

/// A run is under way. One that is over and remains (`RemainAfterExit=`) is none.
fn is_running(state: &UnitState) -> bool {
    let remains = state.active == ActiveState::Active && state.sub == "exited";
    !state.is_down() && !remains
}

/// A stop job ended the run.
fn is_stopped(state: &UnitState) -> bool {
    state.stopped_by.is_some_and(|job| matches!(job.kind, JobKind::Stop | JobKind::Other))
}

/// When the latest run ended, if it ended well and this reading tells it: systemd's microseconds.
fn good_end(state: &UnitState) -> Option<u64> {
    const EXITED: i32 = 1;
    let usec = match state.active {
        ActiveState::Active if state.sub == "exited" => state.active_enter_usec,
        ActiveState::Inactive if matches!(state.result.as_str(), "" | "success") => {
            // After `systemctl reset-failed` too it is inactive, with the exit status of the run that failed.
            let exited_well = matches!((state.exit_code, state.exit_status), (0, _) | (EXITED, 0));
            let on_record = !state.invocation_id.is_empty() && exited_well;
            if on_record { state.inactive_enter_usec } else { state.seen_ended_usec }
        }
        _ => 0,
    };
    (usec != 0).then_some(usec)
}

/// How long ago something was, for a text that does not change with each look.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..259_200 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A bound as it was written, probably: 26h and not 1d 2h.
fn exact(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if (3600..259_200).contains(&seconds) && seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else {
        human(duration)
    }
}

#[cfg(test)]
mod tests;
