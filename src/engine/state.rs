//! What the core remembers of one check.
//!
//! Values and small questions about them; the rules that change them stand in `health` and `recovery`.

use std::sync::Arc;
use std::time::Duration;

use super::hold::{HoldId, Holder};
use super::incident::Incident;
use super::ran::Runs;
use super::trail::Trail;
use super::unmeasured::Unmeasured;
use super::usage::Usage;
use super::watch::{Condition, UnitWatch};
use super::{RunId, schedule};
use crate::check::{Check, Respect};
use crate::time::{Mono, Now, Wall};
use crate::unit::UnitName;
use crate::verdict::{Health, Observation, Seen};

/// Entries of a check's history. Successes leave it before failures do.
const HISTORY: usize = 8;

/// How a check is, before pauses and stops are laid over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Starting,
    Passing,
    Failing,
    Down,
}

/// A probe run under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub id: RunId,
    pub started: Mono,
    /// If it has not been heard of by then, it is lost and another may start.
    pub lost_at: Mono,
}

/// Why a check is left alone: its failures do not count, nothing is done about an incident that is open, and nobody is
/// told (rules 8 to 12). Each ends by itself, or by what somebody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aside {
    /// An operator said so. It is not even probed.
    Paused { at: Mono, until: Wall },
    /// Somebody's command has the unit, or the unit is on its way back from that. `others`: whoever answers now is not the
    /// unit as the check knows it.
    Held { id: HoldId, holder: Holder, ends: Option<Mono>, until: Wall, others: bool },
    /// Somebody stopped its unit; `None`: that is respected for ever.
    Stopped { until: Option<(Mono, Wall)> },
    /// Its unit is down because `by` is up; `over`: because it was up a moment ago.
    Displaced { by: UnitName, until: Option<(Mono, Wall)>, over: bool },
    /// Its unit needs `by`, which is not well; with an end: which is well again.
    Blocked { by: UnitName, until: Option<(Mono, Wall)> },
}

impl Aside {
    /// When it ends if nothing happens; `None`: not by itself.
    pub(super) fn ends(&self) -> Option<Mono> {
        match self {
            Self::Paused { at, .. } => Some(*at),
            Self::Held { ends, .. } => *ends,
            Self::Stopped { until } | Self::Displaced { until, .. } | Self::Blocked { until, .. } => {
                until.map(|(at, _)| at)
            }
        }
    }

    /// The unit is expected back any moment: it is looked at as often as one that comes up.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self, Self::Displaced { over: true, .. } | Self::Blocked { until: Some(_), .. })
    }

    /// An incident that began shortly before, and of which nobody has heard, was the beginning of this.
    pub(super) fn explains_incidents(&self) -> bool {
        matches!(self, Self::Displaced { .. } | Self::Blocked { .. })
    }

    /// Whoever answers a probe now is not the unit.
    pub(super) fn answered_by_others(&self) -> bool {
        match self {
            Self::Paused { .. } | Self::Stopped { .. } | Self::Displaced { .. } => true,
            // Its own unit may run all the same.
            Self::Blocked { .. } => false,
            Self::Held { others, .. } => *others,
        }
    }

    /// As it is shown.
    fn health(&self) -> Health {
        match self {
            Self::Paused { until, .. } => Health::Paused { until: *until },
            Self::Held { id, holder, until, .. } => Health::Held {
                id: Arc::clone(&id.0),
                who: Arc::clone(&holder.who),
                why: Arc::clone(&holder.why),
                until: *until,
            },
            Self::Stopped { until } => Health::Stopped { until: until.map(|(_, until)| until) },
            Self::Displaced { by, until, .. } => {
                Health::Conflict { by: by.clone(), until: until.map(|(_, until)| until) }
            }
            Self::Blocked { by, until } => {
                Health::Dependency { by: by.clone(), until: until.map(|(_, until)| until) }
            }
        }
    }
}

/// One check.
#[derive(Debug)]
pub(super) struct CheckState {
    pub check: Arc<Check>,
    pub base: Base,
    /// Consecutive failures.
    pub failures: u32,
    /// Consecutive successes within an incident.
    pub successes: u32,
    pub incident: Option<Incident>,
    /// Since when it fails, or cannot be measured, in a way that counts (rule 14).
    pub bad: Option<Mono>,
    /// It could not be measured the last time.
    pub unmeasured: Option<Unmeasured>,
    pub pause: Option<(Mono, Wall)>,
    pub next_probe: Mono,
    pub running: Option<Run>,
    /// When the latest probe began.
    pub probed: Mono,
    /// The due probe was missed and has a new moment: it must not be put off again.
    pub put_off: bool,
    pub history: Vec<Seen>,
    /// What it uses, for a check of that.
    pub usage: Usage,
    /// Its runs, for a check of a job.
    pub runs: Option<Runs>,
    /// Rungs that did not help, since the unit was last healthy for long.
    pub climbed: u32,
    /// Attempts asked for by this check in that time.
    pub tries: u32,
    /// The wall-clock second that the latest incident's id carries.
    pub last_incident: i64,
    /// The health that was last told.
    pub shown: Health,
    /// Since when it is so.
    pub since: Wall,
    /// What was decided about it.
    pub trail: Trail,
}

impl CheckState {
    pub(super) fn new(check: Arc<Check>, now: Now, next_probe: Mono) -> Self {
        Self {
            runs: check.probe.job().map(|_| Runs::watched_since(now.mono)),
            usage: Usage::default(),
            check,
            base: Base::Starting,
            failures: 0,
            successes: 0,
            incident: None,
            bad: None,
            unmeasured: None,
            pause: None,
            next_probe,
            running: None,
            probed: Mono::default(),
            put_off: false,
            history: Vec::new(),
            climbed: 0,
            tries: 0,
            last_incident: 0,
            shown: Health::Starting,
            since: now.wall,
            trail: Trail::default(),
        }
    }

    pub(super) fn paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Adds to the history; equal observations in a row are one entry.
    pub(super) fn record(&mut self, now: Now, observation: Observation) {
        if let Some(last) = self.history.last_mut()
            && last.observation.same_as(&observation)
        {
            last.observation = observation;
            last.last = now.wall;
            last.count += 1;
            return;
        }
        if self.history.len() >= HISTORY {
            let passing = |seen: &Seen| matches!(seen.observation, Observation::Passing { .. });
            let oldest = self.history.iter().position(passing).unwrap_or(0);
            self.history.remove(oldest);
        }
        self.history.push(Seen { observation, first: now.wall, last: now.wall, count: 1 });
    }

    /// Why the check is left alone now, if it is. An operator's order comes before what is seen of the unit, and an
    /// operator's stop before what else may keep the unit down.
    pub(super) fn aside(&self, now: Now, watch: Option<&UnitWatch>) -> Option<Aside> {
        if let Some((at, until)) = self.pause {
            return Some(Aside::Paused { at, until });
        }
        let watch = watch?;
        // What the command of a hold tries out ends no incident, and neither does what has the port in the unit's place.
        let others = self.incident.is_some() || watch.condition != Condition::Up;
        let held = watch.hold.as_ref().and_then(|hold| hold.aside(others));
        let stop = || self.stop_respected(now, watch);
        let somebodys = || stop().filter(|_| !watch.stopped_for_another() && !watch.taken_down);
        let around = || self.displacement(now, watch).or_else(|| self.blockade(now, watch));
        let its_own = || stop().filter(|_| !watch.stopped_for_another() && !watch.left_behind());
        held.or_else(somebodys).or_else(around).or_else(its_own)
    }

    /// Somebody's stop, unless it has lasted too long (rule 12).
    fn stop_respected(&self, now: Now, watch: &UnitWatch) -> Option<Aside> {
        if watch.condition != Condition::Stopped {
            return None;
        }
        // By the wall clock as it was then: computed anew each time it would waver by the odd millisecond.
        let (since, since_wall) = watch.stopped?;
        match self.check.recovery.respect_stop {
            Respect::Forever => Some(Aside::Stopped { until: None }),
            Respect::For(lasting) => {
                let lasting = lasting.max(watch.reason_may_follow());
                let (at, until) = (since.after(lasting), since_wall.after(lasting));
                (now.mono < at).then_some(Aside::Stopped { until: Some((at, until)) })
            }
        }
    }

    /// Failures do not count now: the unit has only just been started, by us or by somebody else (rule 6), or
    /// somebody's job is taking it down, for good or to start it again (rule 12).
    pub(super) fn excused(&self, now: Mono, watch: Option<&UnitWatch>) -> bool {
        let Some(watch) = watch else { return false };
        if watch.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none() || now < attempt.grace_until)
        {
            return true;
        }
        if let Some(since) = watch.falling {
            let recovery = &self.check.recovery;
            return match recovery.respect_stop {
                Respect::Forever => true,
                Respect::For(lasting) => now < since.after(lasting.max(recovery.grace)),
            };
        }
        watch.settling.is_some_and(|since| now < since.after(self.check.recovery.grace))
    }

    /// The health to show: what sets a check aside lies over everything else.
    pub(super) fn health(&self, now: Now, watch: Option<&UnitWatch>) -> Health {
        if let Some(aside) = self.aside(now, watch) {
            return aside.health();
        }
        match self.base {
            Base::Starting | Base::Passing | Base::Failing if self.unknown() => Health::Unknown,
            Base::Starting => Health::Starting,
            Base::Passing => Health::Passing,
            Base::Failing => {
                let m = self.check.schedule.failure_threshold;
                // More than that are waited for where something that the unit needs fails as well.
                Health::Failing { n: self.failures.min(m), m }
            }
            Base::Down => Health::Down,
        }
    }

    /// A unit that was well for this long begins anew (rule 5). What only shows after a while must have had that
    /// while besides.
    pub(super) fn rested_after(&self) -> Duration {
        let over = self.check.probe.usage().map_or(Duration::ZERO, |usage| usage.over);
        self.check.recovery.backoff.max.saturating_add(over)
    }

    /// The next probe while all is well: on the check's grid, and not right after one that was off it (the first, or one
    /// that an operator asked for).
    pub(super) fn next_on_grid(&self, now: Mono) -> Mono {
        let interval = self.check.schedule.interval;
        schedule::next(&self.check.name, interval, now.max(self.probed.after(interval / 2)))
    }

    /// From now to the next probe when something is not as it should be. While a unit comes up it is looked at more
    /// often than `retry_interval` says, so that a recovery ends as soon as it has worked.
    pub(super) fn retry(&self, now: Now, watch: Option<&UnitWatch>) -> Duration {
        const WHILE_SETTLING: Duration = Duration::from_secs(1);
        if self.check.probe.usage().is_some() {
            // The time between two samples is what is measured: a short one would say something else.
            return self.check.schedule.interval;
        }
        let retry = self.check.schedule.retry_interval;
        let expected = self.aside(now, watch).is_some_and(|aside| aside.is_ending());
        if expected || self.excused(now.mono, watch) { retry.min(WHILE_SETTLING) } else { retry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Alert, CheckName, Probe, Recovery, Schedule};

    #[test]
    fn a_history_counts_equal_ones_and_keeps_failures_longer() {
        let check = Check {
            name: CheckName::new("x").unwrap(),
            unit: None,
            probe: Probe::Unit,
            schedule: Schedule::default(),
            recovery: Recovery::default(),
            alert: Alert::default(),
            runbook: None,
        };
        let mut state = CheckState::new(Arc::new(check), Now::default(), Mono::default());
        state.record(Now::default(), Observation::Failing { reason: "first".into() });
        for i in 0..40_u32 {
            let detail = if i % 4 < 2 { "200 OK" } else { "204 No Content" };
            state.record(
                Now::default(),
                Observation::Passing { detail: detail.into(), latency: Duration::ZERO },
            );
        }
        assert_eq!(state.history.len(), HISTORY);
        assert_eq!(state.history[0].observation.text(), "first");
        assert_eq!(state.history.last().map(|seen| seen.count), Some(2));
    }
}
