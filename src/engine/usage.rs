//! What a row of samples says: too much of something is used, and has been for so long that it is no spike.
//!
//! In: samples, one at a time, and when each was asked for. Out: a judgement, which goes the way of every observation.
//! It remembers no more than the window that the check's `over` spans, in at most some forty readings, and never the
//! readings of another run.
//!
//! | the window | means |
//! |---|---|
//! | the use fell below the limit somewhere in it | passing |
//! | it spans `over`, and at no time did the use fall below | failing |
//! | not so long yet, and the use never fell below | too soon to tell |
//!
//! Too soon to tell passes where nothing is amiss. Within an incident that such a use opened it is neither: the incident
//! goes on, no attempt is judged by it, and none is asked for.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::{Effect, RunId};
use super::watch::Condition;
use super::{Engine, turn};
use crate::check::{CheckName, Percent, Size, UsageLimit, UsageProbe};
use crate::time::{Mono, Now, human};
use crate::verdict::{Observation, Sample};

/// A window is kept in about so many readings: those that are closer are joined. What is found by it comes late by at
/// most this part of `over`.
const READINGS: u32 = 32;

/// Windows are saved no more often than this, as long as nothing else has the state saved.
const REMEMBER_EVERY: Duration = Duration::from_secs(60);

/// What a window says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Below(String),
    TooSoon(String),
    TooMuch(String),
}

/// One reading, or several that were joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// When it was asked for.
    pub at: Mono,
    /// The counter of CPU time in nanoseconds; of memory the use itself, as the limit counts it.
    pub used: u64,
    /// The least use since the reading before, as the limit counts it; nothing is known of the time before the first.
    pub least: u64,
}

/// The window of one check.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// The run that the readings are of.
    pub run: String,
    /// The oldest first. The oldest is the one from which the window's time counts.
    pub window: VecDeque<Reading>,
    /// The latest judgement that was one: too much.
    pub exceeded: bool,
    /// The latest judgement was none.
    pub undecided: bool,
}

impl Usage {
    /// Too much was used, and it is not known yet whether it still is.
    pub(super) fn too_soon(&self) -> bool {
        self.exceeded && self.undecided
    }

    /// The window begins anew.
    pub(super) fn forget(&mut self) {
        self.window.clear();
        self.undecided = true;
    }

    /// Takes a reading that was asked for at `asked` and is here now, and judges the window.
    fn take(&mut self, asked: Mono, now: Mono, reading: &Taken<'_>, interval: Duration) -> Judgement {
        if self.broken(asked, reading, interval) {
            self.forget();
            reading.run.clone_into(&mut self.run);
        }
        // One that an operator asked for in between says as little about a stretch of time as a single look at a clock.
        let between = self.window.back().is_some_and(|last| asked.since(last.at) < interval / 2);
        if !between {
            let least = self.window.back().map_or(reading.level(), |last| reading.since(last, now));
            self.push(Reading { at: asked, used: reading.counted(), least }, reading.probe.over);
        }
        let judgement = self.judge(now, reading);
        self.undecided = matches!(judgement, Judgement::TooSoon(_));
        judgement
    }

    /// The reading has nothing to do with those before: another run, a counter that went down, or memory that nobody
    /// looked at for long. (CPU time was counted meanwhile: a gap is one long stretch.)
    fn broken(&self, asked: Mono, reading: &Taken<'_>, interval: Duration) -> bool {
        let Some(last) = self.window.back() else { return true };
        let cpu = reading.probe.limit.is_cpu();
        let gap = interval.saturating_mul(3).saturating_add(turn::LOST_AFTER);
        self.run != reading.run || (cpu && reading.used < last.used) || (!cpu && asked.since(last.at) > gap)
    }

    fn push(&mut self, reading: Reading, over: Duration) {
        let before_last = self.window.len().checked_sub(2).and_then(|n| self.window.get(n)).copied();
        match (before_last, self.window.back_mut()) {
            (Some(before), Some(last)) if reading.at.since(before.at) < over / READINGS => {
                *last = Reading { least: last.least.min(reading.least), ..reading };
            }
            _ => self.window.push_back(reading),
        }
        while self.window.get(1).is_some_and(|second| reading.at.since(second.at) >= over) {
            self.window.pop_front();
        }
    }

    fn judge(&self, now: Mono, reading: &Taken<'_>) -> Judgement {
        let (probe, level) = (reading.probe, reading.probe.limit.level());
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else {
            return Judgement::TooSoon(NOTHING_YET.to_owned());
        };
        if probe.limit.is_cpu() && self.window.len() < 2 {
            return Judgement::TooSoon(NOTHING_YET.to_owned());
        }
        if last.least < level {
            return Judgement::Below(reading.below(now, first, last, self.window.len()));
        }
        // Of CPU time a stretch begins at the reading before it. So does one of memory if that was at the limit already.
        let reaches = |earlier: &Reading| probe.limit.is_cpu() || earlier.used >= level;
        let (mut since, mut least, mut whole) = (last.at, last.least, true);
        for (n, earlier) in self.window.iter().enumerate().rev() {
            let of_stretch = earlier.least >= level && (n > 0 || !probe.limit.is_cpu());
            if of_stretch {
                least = least.min(earlier.least);
            }
            if of_stretch || reaches(earlier) {
                since = earlier.at;
            }
            if !of_stretch {
                whole = n == 0 && probe.limit.is_cpu();
                break;
            }
        }
        let lasting = last.at.since(since);
        if lasting >= probe.over {
            return Judgement::TooMuch(reading.too_much(least));
        }
        let detail = reading.too_soon(least, lasting);
        if whole { Judgement::TooSoon(detail) } else { Judgement::Below(detail) }
    }
}

const NOTHING_YET: &str = "measured for the first time: there is nothing to compare with yet";

/// A reading as it came, with what it is measured against.
struct Taken<'a> {
    probe: &'a UsageProbe,
    run: &'a str,
    used: u64,
    whole: u64,
}

impl Taken<'_> {
    /// The use itself, as the limit counts it. A counter has none.
    fn level(&self) -> u64 {
        match self.probe.limit {
            UsageLimit::OneCpu(_) | UsageLimit::AllCpus(_) => 0,
            UsageLimit::Bytes(_) => self.used,
            UsageLimit::Memory(_) => Percent::part(self.used.into(), self.whole.into()),
        }
    }

    /// What is kept of it: the counter, or the use.
    fn counted(&self) -> u64 {
        if self.probe.limit.is_cpu() { self.used } else { self.level() }
    }

    /// The use since an earlier reading, as the limit counts it. The time is the longest that it can have taken, from
    /// asking for that reading to having this one: nothing that happens between (a busy bus, a stopped daemon) makes the
    /// use seem more than it is.
    fn since(&self, earlier: &Reading, now: Mono) -> u64 {
        let time = now.since(earlier.at).as_nanos();
        let cpu_time = u128::from(self.used.saturating_sub(earlier.used));
        match self.probe.limit {
            UsageLimit::OneCpu(_) => Percent::part(cpu_time, time),
            UsageLimit::AllCpus(_) => Percent::part(cpu_time, time.saturating_mul(self.whole.into())),
            UsageLimit::Bytes(_) | UsageLimit::Memory(_) => self.level(),
        }
    }

    /// A use in words.
    fn show(&self, used: u64) -> String {
        let shown = self.probe.limit.show(used);
        match self.probe.limit {
            UsageLimit::Memory(_) => format!("{shown} of {}", Size(self.whole)),
            _ => shown,
        }
    }

    fn below(&self, now: Mono, first: &Reading, last: &Reading, readings: usize) -> String {
        let used = self.show(last.least);
        if !self.probe.limit.is_cpu() {
            return format!("{used} (limit {})", self.probe.limit.show_level());
        }
        if readings <= 2 {
            return used;
        }
        let average = Percent(self.since(first, now));
        let lasting = whole_seconds(last.at.since(first.at).min(self.probe.over));
        format!("{used} ({average} over the last {lasting})")
    }

    fn too_soon(&self, least: u64, lasting: Duration) -> String {
        let (used, lasting) = (self.show(least), whole_seconds(lasting));
        let limit = self.probe.limit.show_level();
        format!("{used} for {lasting}, {limit} is the limit; too much after {}", human(self.probe.over))
    }

    fn too_much(&self, least: u64) -> String {
        let (used, over) = (self.show(least), human(self.probe.over));
        format!("at least {used} for {over}, {} is the limit", self.probe.limit.show_level())
    }
}

fn whole_seconds(duration: Duration) -> String {
    human(Duration::from_secs(duration.as_secs()))
}

impl Engine {
    /// Takes the sample of the run that is under way; any other is late and means nothing any more.
    pub(super) fn sampled(
        &mut self,
        now: Now,
        name: &CheckName,
        run: RunId,
        sample: Result<Sample, String>,
        out: &mut Vec<Effect>,
    ) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let Some(current) = state.running.filter(|current| current.id == run) else { return };
        let check = std::sync::Arc::clone(&state.check);
        let Some(probe) = check.probe.usage() else { return };
        let watch = check.unit.as_ref().and_then(|unit| self.units.get(unit));
        if watch.and_then(|watch| watch.settling).is_some_and(|since| current.started < since) {
            // It may be of the run of the unit before this one: look again.
            state.running = None;
            self.start_probe(now, name, false, out);
            self.wake(now, name);
            return;
        }
        let passing = |detail| Observation::Passing { detail, latency: Duration::ZERO };
        let (observation, counts) = match sample {
            Err(reason) => (Observation::Unknown { reason }, true),
            Ok(Sample::Idle { state: words }) => {
                state.usage.forget();
                // A unit that is at rest uses nothing. Of any other that is not up its state is told by systemd.
                let at_rest = watch.is_none_or(|watch| watch.condition == Condition::Resting);
                state.usage.exceeded &= !at_rest;
                (passing(format!("nothing to measure: the unit is {words}")), at_rest)
            }
            Ok(Sample::Used { run, used, whole }) => {
                let taken = Taken { probe, run: &run, used, whole };
                match state.usage.take(current.started, now.mono, &taken, check.schedule.interval) {
                    Judgement::Below(detail) => {
                        state.usage.exceeded = false;
                        (passing(detail), true)
                    }
                    Judgement::TooMuch(reason) => {
                        state.usage.exceeded = true;
                        (Observation::Failing { reason }, true)
                    }
                    Judgement::TooSoon(detail) => {
                        state.usage.exceeded &= state.incident.is_some();
                        (passing(detail), !state.usage.exceeded)
                    }
                }
            }
        };
        self.remember_windows(now, out);
        if counts {
            self.observed(now, name, run, observation, out);
            return;
        }
        if let Some(state) = self.checks.get_mut(name) {
            state.running = None;
            state.record(now, observation);
        }
        self.plan_next(now, name);
        self.settle(now, name, out);
    }

    /// Has the state saved every now and then, so that a daemon that is killed forgets little of its windows.
    fn remember_windows(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.mono.since(self.windows_saved) >= REMEMBER_EVERY {
            self.windows_saved = now.mono;
            out.push(Effect::Remember);
        }
    }
}

#[cfg(test)]
mod tests;
