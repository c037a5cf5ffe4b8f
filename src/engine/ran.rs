//! Jobs: units that are to run well every so often, and are at rest between (`job`).
//!
//! In: readings of the job's unit, and of the timer that triggers it. Out: what these say of its runs. systemd forgets a
//! unit that nothing refers to when it ends, and everything at a reboot, so the last good run is remembered here.

use std::time::Duration;

use super::Engine;
use super::event::Effect;
use super::state::CheckState;
use super::watch::{Condition, UnitWatch};
use crate::check::{CheckName, JobProbe};
use crate::time::{Mono, Now, Wall, human};
use crate::unit::{ActiveState, JobKind, LoadState, UnitName, UnitState};
use crate::verdict::Observation;

/// What is known of a job's runs.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    /// Since when they are watched: a job that never ran counts from there.
    pub since: Mono,
    /// When the last good run ended, and the same in systemd's microseconds, by which it is known again.
    pub well: Option<(Mono, u64)>,
    /// The run under way: when it began by systemd's word, and the same on our clock.
    pub running: Option<(u64, Mono)>,
}

/// What is said of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Well(String),
    NotWell(String),
    /// It runs. How that ends is to be seen.
    Running(String),
}

impl Runs {
    pub(super) fn watched_since(now: Mono) -> Self {
        Self { since: now, well: None, running: None }
    }

    /// Takes a reading of the job's unit. Returns whether it tells of a good run that was not known.
    pub(super) fn note(&mut self, now: Now, state: &UnitState) -> bool {
        let on_our_clock = |usec: u64| {
            let wall = Wall(i64::try_from(usec / 1000).unwrap_or(i64::MAX));
            now.mono_of(wall).min(now.mono)
        };
        self.running = if is_running(state) {
            let began = state.inactive_exit_usec;
            match self.running {
                Some(known) if known.0 == began => Some(known),
                _ if began == 0 => Some((began, now.mono)),
                _ => Some((began, on_our_clock(began))),
            }
        } else {
            None
        };
        let Some(ended) = good_end(state) else { return false };
        if self.well.is_some_and(|(_, known)| known == ended) {
            return false;
        }
        self.well = Some((on_our_clock(ended), ended));
        true
    }

    fn judge(&self, now: Mono, job: &JobProbe, state: &UnitState) -> Word {
        if state.active == ActiveState::Failed && !stopped(state) {
            return Word::NotWell(last_run_failed(state));
        }
        if let Some((_, began)) = self.running {
            let lasting = now.since(began);
            return if lasting >= job.max_runtime {
                let (lasting, most) = (rough(lasting), exact(job.max_runtime));
                Word::NotWell(format!("has been running for {lasting}, expected to take less than {most}"))
            } else {
                Word::Running(format!("running for {}", rough(lasting)))
            };
        }
        match self.well {
            Some((ended, _)) if now.since(ended) >= job.succeeded_within => {
                let (ago, within) = (rough(now.since(ended)), exact(job.succeeded_within));
                Word::NotWell(format!("last ran well {ago} ago, expected within {within}"))
            }
            Some((ended, _)) => Word::Well(format!("ran well {} ago", rough(now.since(ended)))),
            None if now.since(self.since) >= job.succeeded_within => {
                let lasting = rough(now.since(self.since));
                Word::NotWell(format!("no good run was seen in the {lasting} since it is watched"))
            }
            None => Word::Well(format!("no run seen yet, watched for {}", rough(now.since(self.since)))),
        }
    }
}

/// The clause for a job whose last run failed.
pub(super) fn last_run_failed(state: &UnitState) -> String {
    let exit = state.describe_exit().map_or_else(String::new, |exit| format!(", {exit}"));
    let result = if state.result.is_empty() { "failed" } else { &state.result };
    format!("the last run failed: {result}{exit}")
}

/// A run is under way. One that is over and remains (`RemainAfterExit=`) is none.
fn is_running(state: &UnitState) -> bool {
    let remains = state.active == ActiveState::Active && state.sub == "exited";
    !state.is_down() && !remains
}

/// Somebody ended the run: it is neither a good one nor a failure.
fn stopped(state: &UnitState) -> bool {
    state.stopped_by.is_some_and(|job| matches!(job.kind, JobKind::Stop | JobKind::Other))
}

/// When the latest run ended, if it ended well and this reading tells it: systemd's microseconds.
fn good_end(state: &UnitState) -> Option<u64> {
    const EXITED: i32 = 1;
    let usec = match state.active {
        ActiveState::Active if state.sub == "exited" => state.active_enter_usec,
        ActiveState::Inactive if matches!(state.result.as_str(), "" | "success") && !stopped(state) => {
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

/// What a timer triggers.
#[derive(Clone, Debug)]
pub(super) struct Triggered {
    pub name: UnitName,
    pub state: Option<UnitState>,
}

impl Engine {
    /// A unit was read: that tells of the runs of the checks whose job it is.
    pub(super) fn note_runs(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Effect>) {
        let Some(watch) = self.units.get(unit) else { return };
        let Some(job) = watch.job_state() else { return };
        let mut learned = false;
        for name in &watch.checks {
            let runs = self.checks.get_mut(name).and_then(|state| state.runs.as_mut());
            learned |= runs.is_some_and(|runs| runs.note(now, job));
        }
        if learned {
            out.push(Effect::Remember);
        }
    }

    /// A timer was read: the unit that it triggers is to be watched as well.
    pub(super) fn follow_timer(&mut self, unit: &UnitName) {
        let Some(watch) = self.units.get(unit).filter(|watch| watch.times_job) else { return };
        let Some(triggers) = watch.state.as_ref().and_then(|state| state.triggers.clone()) else { return };
        if watch.triggered.as_ref().is_some_and(|known| known.name == triggers) {
            return;
        }
        let state = self.units.get(&triggers).and_then(|watch| watch.state.clone());
        if let Some(watch) = self.units.get_mut(unit) {
            watch.triggered = Some(Triggered { name: triggers, state });
            self.graph.set_changed();
        }
    }

    /// A unit was read that a timer may trigger.
    pub(super) fn triggered_changed(
        &mut self,
        now: Now,
        unit: &UnitName,
        state: &UnitState,
        out: &mut Vec<Effect>,
    ) {
        let triggers = |watch: &UnitWatch| watch.triggered.as_ref().is_some_and(|known| known.name == *unit);
        let timers: Vec<UnitName> =
            self.units.iter().filter(|(_, watch)| triggers(watch)).map(|(name, _)| name.clone()).collect();
        for timer in timers {
            let Some(watch) = self.units.get_mut(&timer) else { continue };
            if let Some(known) = &mut watch.triggered {
                known.state = Some(state.clone());
            }
            let names = watch.checks.clone();
            self.note_runs(now, &timer, out);
            for name in &names {
                let watches_runs = |state: &CheckState| state.runs.is_some() && !state.paused();
                if self.checks.get(name).is_some_and(watches_runs) {
                    self.look_at_unit(now, name, out);
                }
            }
            self.settle_unit(now, &timer, out);
        }
    }

    /// What is seen of a check's job; `None`: nothing yet. The flag says whether it counts.
    pub(super) fn job_observation(&self, now: Now, name: &CheckName) -> Option<(Observation, bool)> {
        let state = self.checks.get(name)?;
        let (job, runs) = (state.check.probe.job()?, state.runs.as_ref()?);
        let watch = self.units.get(state.check.unit.as_ref()?)?;
        let failing = |reason| Some((Observation::Failing { reason }, true));
        let passing = |detail| Observation::Passing { detail, latency: Duration::ZERO };
        match &watch.condition {
            Condition::Unread => return None,
            Condition::Missing(what) => return failing(format!("unit is {what}")),
            // Of a timer that is not active systemd's word is told, as of any unit.
            condition if watch.times_job && *condition != Condition::Up => return None,
            _ => {}
        }
        let of = watch.triggered.as_ref().map_or_else(String::new, |known| format!("{}: ", known.name));
        let unit = watch.job_state()?;
        if matches!(
            unit.load,
            LoadState::NotFound | LoadState::Masked | LoadState::BadSetting | LoadState::Error
        ) {
            return failing(format!("{of}unit is {}", unit.describe()));
        }
        match runs.judge(now.mono, job, unit) {
            Word::Well(detail) => Some((passing(detail), true)),
            Word::NotWell(reason) => failing(format!("{of}{reason}")),
            Word::Running(detail) => Some((passing(detail), state.incident.is_none())),
        }
    }
}

#[cfg(test)]
mod tests;
