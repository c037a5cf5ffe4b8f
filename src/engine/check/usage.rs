//! A window of samples: whether a use is too high, and has been for so long that it is no spike.
//!
//! In: samples, one at a time, with the time each was requested. Out: a verdict, which becomes an observation.
//! It keeps no more than the window that the check's `over` spans, in at most some forty readings, and never the
//! readings of another run.
//!
//! | the window | means |
//! |---|---|
//! | the use fell below the limit somewhere in it | passing |
//! | it spans `over`, and at no time did the use fall below | failing |
//! | not so long yet, and the use never fell below | too soon to tell |
//!
//! Too soon to tell passes where nothing is amiss. Within an incident that such a use opened it is neither: the incident
//! continues, no attempt is concluded by it, and none is requested.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LOST_AFTER;
use crate::check::{Percent, Size, UsageLimit, UsageProbe};
use crate::time::{Mono, human};

/// A window is kept in about so many readings: those that are closer are joined. What is found by it comes late by at
/// most this part of `over`.
const READINGS: u32 = 32;

/// What a window says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum WindowVerdict {
    Below(String),
    TooSoon(String),
    TooMuch(String),
}

/// One reading, or several that were joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Reading {
    /// When it was asked for.
    at: Mono,
    /// The counter of CPU time in nanoseconds; of memory the use itself, as the limit counts it.
    used: u64,
    /// The least use since the reading before, as the limit counts it; nothing is known of the time before the first.
    least: u64,
}

/// The window of one check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Usage {
    /// The probe in its own words: the readings of another probe mean nothing.
    probe: String,
    /// The run that the readings are of.
    run: String,
    /// The oldest first. The oldest is the one from which the window's time counts.
    window: VecDeque<Reading>,
    /// The latest verdict that was one: too much.
    exceeded: bool,
    /// The latest verdict was none.
    undecided: bool,
}

impl Usage {
    /// Too much was used, and it is not known yet whether it still is.
    pub fn too_soon(&self) -> bool {
        self.exceeded && self.undecided
    }

    /// An empty window for this probe.
    pub fn new(probe: &UsageProbe) -> Self {
        Self { probe: probe.describe(), ..Self::default() }
    }

    /// Whether the window is of this probe.
    pub fn is_of(&self, probe: &UsageProbe) -> bool {
        self.probe == probe.describe()
    }

    /// An empty window for another probe of the same unit: that too much was used is remembered.
    pub fn renewed(&self, probe: &UsageProbe) -> Self {
        Self { exceeded: self.exceeded, ..Self::new(probe) }
    }

    /// The unit does not run, so there is nothing to measure. `at_rest`: that is its normal state.
    pub fn idle(&mut self, at_rest: bool) {
        self.clear();
        self.exceeded &= !at_rest;
    }

    /// Takes a sample and decides what it means: the verdict, and whether it counts. `in_incident`: the check is down.
    pub fn sample(
        &mut self,
        (asked, now): (Mono, Mono),
        sample: &UsageSample<'_>,
        interval: Duration,
        in_incident: bool,
    ) -> (WindowVerdict, bool) {
        let UsageSample { probe, run, used, whole } = *sample;
        let verdict = self.take(asked, now, &Taken { probe, run, used, whole }, interval);
        let counts = match verdict {
            WindowVerdict::Below(_) => {
                self.exceeded = false;
                true
            }
            WindowVerdict::TooMuch(_) => {
                self.exceeded = true;
                true
            }
            WindowVerdict::TooSoon(_) => {
                self.exceeded &= in_incident;
                !self.exceeded
            }
        };
        (verdict, counts)
    }

    /// Empties the window.
    pub fn clear(&mut self) {
        self.window.clear();
        self.undecided = true;
    }

    /// Takes a reading that was asked for at `asked` and is here now, and judges the window.
    fn take(&mut self, asked: Mono, now: Mono, reading: &Taken<'_>, interval: Duration) -> WindowVerdict {
        if self.broken(asked, reading, interval) {
            self.clear();
            reading.run.clone_into(&mut self.run);
        }
        // One that an operator asked for in between says as little about a stretch of time as a single look at a clock.
        let between = self.window.back().is_some_and(|last| asked.since(last.at) < interval / 2);
        if !between {
            let least = self.window.back().map_or(reading.level(), |last| reading.since(last, now));
            self.push(Reading { at: asked, used: reading.counted(), least }, reading.probe.over);
        }
        let verdict = self.judge(now, reading);
        self.undecided = matches!(verdict, WindowVerdict::TooSoon(_));
        verdict
    }

    /// The reading has nothing to do with those before: another run, a counter that went down, or memory that nobody
    /// looked at for long. (CPU time was counted meanwhile: a gap is one long stretch.)
    fn broken(&self, asked: Mono, reading: &Taken<'_>, interval: Duration) -> bool {
        let Some(last) = self.window.back() else { return true };
        let cpu = reading.probe.limit.is_cpu();
        let gap = interval.saturating_mul(3).saturating_add(LOST_AFTER);
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

    fn judge(&self, now: Mono, reading: &Taken<'_>) -> WindowVerdict {
        let (probe, level) = (reading.probe, reading.probe.limit.level());
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else {
            return WindowVerdict::TooSoon(NOTHING_YET.to_owned());
        };
        if probe.limit.is_cpu() && self.window.len() < 2 {
            return WindowVerdict::TooSoon(NOTHING_YET.to_owned());
        }
        if last.least < level {
            return WindowVerdict::Below(reading.below(now, first, last, self.window.len()));
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
            return WindowVerdict::TooMuch(reading.too_much(least));
        }
        let detail = reading.too_soon(least, lasting);
        if whole { WindowVerdict::TooSoon(detail) } else { WindowVerdict::Below(detail) }
    }
}

const NOTHING_YET: &str = "measured for the first time: there is nothing to compare with yet";

/// A sample of a use (`verdict::Sample::Used`), and the probe that it is for.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct UsageSample<'a> {
    pub probe: &'a UsageProbe,
    pub run: &'a str,
    pub used: u64,
    pub whole: u64,
}

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

#[cfg(test)]
mod tests;
