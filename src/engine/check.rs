//! One check: its phase, its probe timer, its history, its sampling window. It knows nothing about jobs.
//!
//! In: observations that the group has found to count, and commands. Out: whether the check is due, down, passing. The
//! states are rules 1 and 2 of rules.md; what an observation counts for is decided in `group/observation.rs`.

mod decision_log;
mod history;
mod incident;
mod job;
mod pause;
mod probe_timer;
mod recurrence;
pub(in crate::engine) mod schedule;
mod unknown;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(in crate::engine) use decision_log::DecisionLog;
pub(in crate::engine) use history::History;
pub(in crate::engine) use incident::{Incident, WAIT_FOR_RESULT};
pub(in crate::engine) use job::{JobVerdict, Runs, last_run_failed};
pub(in crate::engine) use pause::Pause;
pub(in crate::engine) use probe_timer::{LOST_AFTER, ProbeTimer};
pub(in crate::engine) use unknown::Unknown;
pub(in crate::engine) use usage::{Usage, UsageSample, WindowVerdict};

use recurrence::Recurrence;

use super::attempt::{Attempt, Pace};
use crate::check::{Check as Settings, CheckName, Probe};
use crate::notification::IncidentId;
use crate::time::{Mono, Now, Wall};
use crate::verdict::{Health, Observation};

/// The phase of a check (rules 1 and 2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    /// Nothing is known yet.
    #[default]
    Starting,
    /// The latest result that counts was a pass.
    Passing,
    /// It has failed `n` times in a row, not often enough to be down.
    Failing { n: u32 },
    /// An incident is open.
    Down(Box<Incident>),
}

/// What survives a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Memory {
    phase: Phase,
    since: Wall,
    pause: Option<Pause>,
    /// Since when it fails, or cannot be measured, in a way that counts for the breaker (rule 14).
    failing_since: Option<Mono>,
    last_pass: Option<Mono>,
    unknown: Option<Unknown>,
    usage: Option<Usage>,
    runs: Option<Runs>,
    /// The recovery step that is next.
    step_index: usize,
    /// The step whose attempt recovered the last incident.
    recovered_by: Option<usize>,
    /// Jobs on other units that its steps start: the one under way, and their spacing.
    other_attempt: Option<Attempt>,
    other_pace: Pace,
    #[serde(flatten)]
    recurrence: Recurrence,
    log: DecisionLog,
}

/// One check.
#[derive(Debug)]
pub(in crate::engine) struct Check {
    settings: Arc<Settings>,
    memory: Memory,
    timer: ProbeTimer,
    history: History,
    /// The state that was last reported.
    shown: Health,
}

impl Check {
    pub fn new(settings: Arc<Settings>, now: Now) -> Self {
        let memory = Memory {
            since: now.wall,
            usage: settings.probe.usage().map(Usage::new),
            runs: settings.probe.job().map(|_| Runs::watched_since(now.mono)),
            ..Memory::default()
        };
        Self {
            timer: ProbeTimer::new(Arc::clone(&settings), now.mono),
            settings,
            memory,
            history: History::default(),
            shown: Health::STARTING,
        }
    }

    /// The same check under changed settings: what is known of it stays, counters only where it is the same question.
    pub fn reconfigured(self, settings: Arc<Settings>, now: Now) -> Self {
        if *self.settings == *settings {
            return self;
        }
        let mut new = Self::new(Arc::clone(&settings), now);
        let old = self.memory;
        if matches!(old.phase, Phase::Down(_)) {
            new.memory.phase = old.phase;
            new.memory.step_index = old.step_index.min(settings.recovery.steps.len().saturating_sub(1));
        }
        if let Some(probe) = settings.probe.usage() {
            new.memory.usage =
                old.usage.map(|usage| if usage.is_of(probe) { usage } else { usage.renewed(probe) });
        }
        if new.memory.runs.is_some() {
            new.memory.runs = old.runs.or(new.memory.runs);
        }
        new.memory.unknown = old.unknown.filter(Unknown::is_notified);
        new.memory.pause = old.pause;
        new.memory.other_attempt = old.other_attempt;
        new.memory.other_pace = old.other_pace;
        new.memory.recurrence = old.recurrence;
        new.memory.log = old.log;
        new.memory.since = old.since;
        new.history = self.history;
        new.shown = self.shown;
        new
    }

    /// A check of the same name on another unit: only what concerns the name stays.
    pub fn moved(self, settings: Arc<Settings>, now: Now) -> Self {
        let mut new = Self::new(settings, now);
        new.memory.pause = self.memory.pause;
        new.memory.recurrence = self.memory.recurrence.moved();
        new.memory.log = self.memory.log;
        new.memory.since = self.memory.since;
        new.history = self.history;
        new.shown = self.shown;
        new
    }

    /// The check after a restart of the daemon.
    pub fn restore(&mut self, memory: Memory, now: Now) {
        let (usage, runs) = (self.memory.usage.take(), self.memory.runs.take());
        self.memory = memory;
        let known = self
            .memory
            .usage
            .take()
            .filter(|known| self.settings.probe.usage().is_some_and(|p| known.is_of(p)));
        self.memory.usage = usage.map(|fresh| known.unwrap_or(fresh));
        self.memory.runs = runs.map(|fresh| self.memory.runs.take().unwrap_or(fresh));
        self.memory.step_index =
            self.memory.step_index.min(self.settings.recovery.steps.len().saturating_sub(1));
        self.memory.pause = self.memory.pause.filter(|pause| !pause.is_over(now.mono));
        if let Some(incident) = self.incident_mut() {
            incident.resume_after_restart(now.mono);
        }
        if let Some(attempt) = &mut self.memory.other_attempt {
            attempt.resume_after_restart(self.settings.recovery.grace);
        }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn settings_arc(&self) -> &Arc<Settings> {
        &self.settings
    }

    pub fn name(&self) -> &CheckName {
        &self.settings.name
    }

    // --- phase

    pub fn incident(&self) -> Option<&Incident> {
        match &self.memory.phase {
            Phase::Down(incident) => Some(incident),
            _ => None,
        }
    }

    pub fn incident_mut(&mut self) -> Option<&mut Incident> {
        match &mut self.memory.phase {
            Phase::Down(incident) => Some(incident),
            _ => None,
        }
    }

    pub fn is_down(&self) -> bool {
        self.incident().is_some()
    }

    pub fn is_failing(&self) -> bool {
        matches!(self.memory.phase, Phase::Failing { .. })
    }

    pub fn is_passing(&self) -> bool {
        self.memory.phase == Phase::Passing
    }

    /// Failures in a row, outside of an incident.
    pub fn failures(&self) -> u32 {
        if let Phase::Failing { n } = self.memory.phase { n } else { 0 }
    }

    /// A failure that counts, outside of an incident. Returns how many there are in a row.
    pub fn count_failure(&mut self) -> u32 {
        let n = self.failures().saturating_add(1);
        if !self.is_down() {
            self.memory.phase = Phase::Failing { n };
        }
        n
    }

    /// Failures that were counted before do not count any more: the check was suppressed since.
    pub fn forget_failures(&mut self) {
        if self.is_failing() {
            self.memory.phase = Phase::Starting;
        }
    }

    /// A pass that counts, outside of an incident.
    pub fn set_passing(&mut self) {
        if !self.is_down() {
            self.memory.phase = Phase::Passing;
        }
    }

    /// Opens an incident. The id carries the wall-clock second, counted up where that is taken. Returns it, and how many
    /// incidents there were within the hour where that is flapping.
    pub fn open_incident(
        &mut self,
        now: Now,
        cause: String,
        failed_invocation: String,
    ) -> (IncidentId, Option<usize>) {
        let second = self.memory.recurrence.next_second(now);
        let id = IncidentId(Arc::from(format!("{}-{second}", self.settings.name)));
        let mut incident = Incident::open(id.clone(), now, cause, failed_invocation);
        let flapping = self.memory.recurrence.record(now.mono);
        if let Some(incidents) = flapping {
            incident.set_flapping(incidents);
        }
        self.timer.retry_soon(now.mono);
        self.memory.phase = Phase::Down(Box::new(incident));
        (id, flapping)
    }

    /// Closes the incident; the check passes.
    pub fn close_incident(&mut self) -> Option<Box<Incident>> {
        match std::mem::replace(&mut self.memory.phase, Phase::Passing) {
            Phase::Down(incident) => Some(incident),
            other => {
                self.memory.phase = other;
                None
            }
        }
    }

    /// For how long a recovery must hold until the open incident closes (rule 13).
    pub fn proving_time(&self, now: Mono) -> Duration {
        let longest = self.settings.recovery.backoff.max;
        self.memory.recurrence.proving_time(self.incident(), now, longest)
    }

    // --- steps

    pub fn step_index(&self) -> usize {
        self.memory.step_index
    }

    pub fn set_step_index(&mut self, index: usize) {
        self.memory.step_index = index.min(self.settings.recovery.steps.len().saturating_sub(1));
    }

    /// An attempt of this step has recovered the open incident.
    pub fn record_recovering_step(&mut self, step: &crate::check::Step) {
        self.memory.recovered_by = self.settings.recovery.steps.iter().position(|one| one == step);
    }

    /// An incident follows the last one before lasting health. The steps continue where they were; a use, which shows only
    /// when its window is full, can not prove a recovery any sooner, so the step that seemed to have worked is left behind.
    pub fn resume_steps(&mut self) {
        if let Some(step) = self.memory.recovered_by.take().filter(|_| self.settings.probe.usage().is_some())
        {
            self.set_step_index(step.saturating_add(1));
        }
    }

    /// The job on another unit that a step of this check has started.
    pub fn other_attempt(&self) -> Option<&Attempt> {
        self.memory.other_attempt.as_ref()
    }

    pub fn other_attempt_mut(&mut self) -> &mut Option<Attempt> {
        &mut self.memory.other_attempt
    }

    pub fn other_pace(&self) -> &Pace {
        &self.memory.other_pace
    }

    pub fn other_pace_mut(&mut self) -> &mut Pace {
        &mut self.memory.other_pace
    }

    /// A unit that passed for this long starts again from the first step and the shortest backoff (rule 5). A use that
    /// shows only after a while must have had that while besides.
    pub fn rested_after(&self) -> Duration {
        let over = self.settings.probe.usage().map_or(Duration::ZERO, |usage| usage.over);
        self.settings.recovery.backoff.max.saturating_add(over)
    }

    // --- observations

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn record(&mut self, now: Now, observation: Observation) {
        self.history.record(now, observation);
    }

    pub fn log(&self) -> &DecisionLog {
        &self.memory.log
    }

    pub fn log_mut(&mut self) -> &mut DecisionLog {
        &mut self.memory.log
    }

    /// It has passed after that moment.
    pub fn passed_since(&self, since: Mono) -> bool {
        self.memory.last_pass.is_some_and(|pass| pass > since)
    }

    pub fn record_pass(&mut self, now: Mono) {
        self.memory.last_pass = Some(now);
        self.memory.failing_since = None;
    }

    pub fn failing_since(&self) -> Option<Mono> {
        self.memory.failing_since
    }

    pub fn set_failing(&mut self, now: Mono) {
        self.memory.failing_since.get_or_insert(now);
    }

    pub fn clear_failing(&mut self) {
        self.memory.failing_since = None;
    }

    /// Nothing is the matter with it, so that a pass changes nothing but its timer.
    pub fn is_quiet(&self) -> bool {
        self.memory.phase == Phase::Passing
            && self.memory.failing_since.is_none()
            && self.memory.unknown.is_none()
            && self.shown == Health::PASSING
    }

    pub fn unknown(&self) -> Option<&Unknown> {
        self.memory.unknown.as_ref()
    }

    /// Its state is unknown: as many runs in a row measured nothing as make a check down when they fail.
    pub fn is_unknown(&self) -> bool {
        self.unknown().is_some_and(|unknown| unknown.runs() >= self.settings.schedule.failure_threshold)
    }

    pub fn record_unknown(&mut self, now: Now, reason: String) {
        self.memory.unknown.get_or_insert_with(|| Unknown::begin(now)).record(reason);
    }

    pub fn take_unknown(&mut self) -> Option<Unknown> {
        self.memory.unknown.take()
    }

    /// The notification that is due about the unknown state.
    pub fn take_unknown_due(&mut self, now: Now) -> Option<crate::notification::Notification> {
        if self.unknown()?.next_due(&self.settings)? > now.mono {
            return None;
        }
        let second = if self.unknown()?.is_notified() { 0 } else { self.memory.recurrence.next_second(now) };
        self.memory.unknown.as_mut()?.take_due(now, &self.settings, second)
    }

    /// What was seen before a time without probes says nothing about how long it lasts. A thread that was begun stays.
    pub fn forget_unknown(&mut self) {
        self.memory.failing_since = None;
        self.memory.unknown = self.memory.unknown.take().filter(Unknown::is_notified);
    }

    pub fn usage(&self) -> Option<&Usage> {
        self.memory.usage.as_ref()
    }

    pub fn usage_mut(&mut self) -> Option<&mut Usage> {
        self.memory.usage.as_mut()
    }

    /// Too much was used, and the window since the unit's start is not full yet.
    pub fn awaits_window(&self) -> bool {
        self.usage().is_some_and(Usage::too_soon)
    }

    pub fn runs(&self) -> Option<&Runs> {
        self.memory.runs.as_ref()
    }

    pub fn runs_mut(&mut self) -> Option<&mut Runs> {
        self.memory.runs.as_mut()
    }

    // --- pause

    pub fn pause(&self) -> Option<Pause> {
        self.memory.pause
    }

    pub fn is_paused(&self) -> bool {
        self.memory.pause.is_some()
    }

    pub fn begin_pause(&mut self, now: Now, lasting: Duration) {
        self.memory.pause = Some(Pause::begin(now, lasting));
        self.timer.drop_run();
        if let Some(usage) = &mut self.memory.usage {
            usage.clear();
        }
    }

    pub fn end_pause(&mut self, now: Mono) {
        self.memory.pause = None;
        self.forget_failures();
        self.forget_unknown();
        self.timer.probe_at(now);
    }

    /// Ends the pause if its time is over.
    pub fn expire_pause(&mut self, now: Mono) {
        if self.pause().is_some_and(|pause| pause.is_over(now)) {
            self.end_pause(now);
        }
    }

    // --- probes

    pub fn timer(&self) -> &ProbeTimer {
        &self.timer
    }

    pub fn timer_mut(&mut self) -> &mut ProbeTimer {
        &mut self.timer
    }

    /// The probe asks the unit's state, or nothing but systemd.
    pub fn looks_at_unit(&self) -> bool {
        self.settings.probe.looks_at_unit()
    }

    pub fn probe(&self) -> &Probe {
        &self.settings.probe
    }

    // --- the reported state

    pub fn shown(&self) -> &Health {
        &self.shown
    }

    pub fn since(&self) -> Wall {
        self.memory.since
    }

    /// Reports another state. Returns the one before.
    pub fn show(&mut self, now: Now, health: Health) -> Health {
        if health.word() != self.shown.word() {
            self.memory.since = now.wall;
        }
        std::mem::replace(&mut self.shown, health)
    }

    /// The state is known to people already (after a restart of the daemon).
    pub fn set_shown(&mut self, health: Health) {
        self.shown = health;
    }
}
