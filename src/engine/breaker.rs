//! The circuit breaker: no unit is restarted, and people are not notified of one check after the other, where the cause is
//! the machine (rule 14).
//!
//! In: the vitals that each group publishes about its checks. Out: permits, surveys (other checks that are to be probed
//! now), and which checks belong to a storm. Units that are down by systemd's account are never held back here, and a unit
//! that fails alone is not delayed.
//!
//! A storm often shows only after a few of its checks are down: they are probed at different times. So before a unit is
//! restarted (or people are notified) for a failing probe while another one fails as well, others are probed at once: the
//! *survey*. It ends when they have answered, which those that do well do at once. The first unit that is restarted does
//! not wait, but a survey begins as well: of a machine that fails as a whole at most one unit is restarted, however far
//! apart its checks are probed.

mod storm;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attempt::JOB_OVERDUE;
use super::check::schedule;
use super::withheld::Withheld;
use crate::check::CheckName;
use crate::time::{Mono, Now};
use crate::unit::UnitName;

pub(super) use storm::{Report, Storm, next_kind};

/// Fewer failures than this are never a storm.
const LEAST: usize = 5;

/// Failures that begin within this time of each other come together.
const TOGETHER: Duration = Duration::from_secs(30);

/// After a storm an attempt keeps the others waiting for this long at most: long enough for nearly all services to come up
/// and to be seen, short where forty wait.
const TURN_AT_MOST: Duration = Duration::from_secs(60);

/// A check that begins to fail within this time of another may do so for the same reason: a reason for a survey before a
/// unit is restarted, and in a storm to count it in.
const RELATED: Duration = Duration::from_secs(300);

/// The most checks that a survey probes: enough to tell a third from a few, few enough to cost nothing.
const SURVEY_SIZE: usize = 24;

/// A storm is reviewed as a whole at most this often: with a thousand checks, there is a result every few milliseconds.
const REVIEW: Duration = Duration::from_millis(250);

/// A check that is probed less often may be too costly for a survey.
const SELDOM: Duration = Duration::from_secs(15 * 60);

/// A survey is not waited for longer; with the default time-out it takes at most 6 s.
const SURVEY_AT_MOST: Duration = Duration::from_secs(15);

/// The result of a survey holds for this long.
const SURVEY_HOLDS: Duration = Duration::from_secs(10);

/// What is counted once, however many checks monitor it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Unit(UnitName),
    Check(CheckName),
}

/// What the breaker knows of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vital {
    pub target: Target,
    /// A probe finds out how it does, not systemd alone.
    pub probed: bool,
    /// A pass says something about the machine. A use is measured even where nothing else works.
    pub tells_of_machine: bool,
    /// Since when it fails or cannot be measured, in a way that counts.
    pub failing_since: Option<Mono>,
    /// systemd's account of the unit explains the failures.
    pub explained: bool,
    pub suppressed: bool,
    /// Its failures do not count until then (it comes up).
    pub excused_until: Option<Mono>,
    /// A recovery of its unit is configured.
    pub recoverable: bool,
    pub interval: Duration,
    pub timeout: Duration,
}

impl Vital {
    /// It fails for a reason that may be the machine's, and began to within that time.
    fn fails(&self, now: Mono, within: Duration) -> bool {
        !self.explained
            && !self.suppressed
            && self.failing_since.is_some_and(|since| now.since(since) <= within)
    }

    /// It is being watched: a failure of it would count (rule 14).
    fn is_watched(&self) -> bool {
        self.probed && !self.suppressed
    }
}

/// Whether a job may be requested for a failing probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Yes,
    No(Withheld),
    /// Other checks are probed first.
    AfterSurvey,
}

/// Other checks, probed before their time to learn whether the cause is the machine.
#[derive(Debug)]
struct Survey {
    /// Those that did well when it began.
    sample: Vec<CheckName>,
    /// Those of them that have not reported back.
    awaited: BTreeSet<CheckName>,
    until: Mono,
}

/// What survives a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    storm: Option<Storm>,
    /// Checks of the last storm whose units wait to be recovered one after the other.
    staggered: BTreeSet<CheckName>,
    /// The wall-clock second in the latest storm's id.
    last_storm: i64,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    memory: Memory,
    vitals: BTreeMap<CheckName, Vital>,
    /// How many of the vitals have `failing_since`: usually none, and then nothing is to be counted.
    failing: usize,
    /// The unit whose turn it is, and since when: the next comes once the attempt on this one is concluded.
    turn: Option<(UnitName, Mono)>,
    /// Checks that wait for the end of a survey, or for their turn.
    waiting: BTreeSet<CheckName>,
    survey: Option<Survey>,
    /// When the last survey ended without a storm.
    surveyed: Option<Mono>,
    reviewed: Mono,
    due: Option<Mono>,
    /// Checks to be probed now.
    to_probe: Vec<CheckName>,
    /// A storm began (`true`) or ended: to be reported.
    reports: Vec<Report>,
}

impl Breaker {
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn restore(&mut self, memory: Memory) {
        self.memory = memory;
    }

    // --- what groups publish

    pub fn publish(&mut self, now: Now, name: &CheckName, vital: Vital) {
        let before = self.vitals.get(name);
        if before == Some(&vital) {
            return;
        }
        let (failed, fails) =
            (before.is_some_and(|old| old.failing_since.is_some()), vital.failing_since.is_some());
        self.failing = self.failing + usize::from(fails) - usize::from(failed);
        self.vitals.insert(name.clone(), vital);
        if fails && !failed {
            self.begins_to_fail(now, name);
        }
    }

    pub fn forget(&mut self, name: &CheckName) {
        if self.vitals.remove(name).is_some_and(|old| old.failing_since.is_some()) {
            self.failing -= 1;
        }
        if let Some(storm) = &mut self.memory.storm {
            storm.leave(name);
        }
        self.memory.staggered.remove(name);
        self.waiting.remove(name);
    }

    /// Whether an attempt is open on a unit.
    pub fn note_attempt(&mut self, unit: &UnitName, open: bool) {
        if !open && self.turn.as_ref().is_some_and(|(turn, _)| turn == unit) {
            self.end_turn();
        }
    }

    /// A probe of the check ended, or is lost.
    pub fn probe_finished(&mut self, name: &CheckName) {
        if let Some(survey) = &mut self.survey {
            survey.awaited.remove(name);
        }
    }

    /// The check passes in a way that counts.
    pub fn passed(&mut self, now: Mono, name: &CheckName) {
        if let Some(storm) = &mut self.memory.storm {
            storm.passed(now, name);
        }
    }

    /// systemd says that the check's unit is down: that is a matter of its own, in a storm as well.
    pub fn leave(&mut self, name: &CheckName) {
        if let Some(storm) = &mut self.memory.storm {
            storm.leave(name);
        }
        self.memory.staggered.remove(name);
    }

    fn begins_to_fail(&mut self, now: Now, name: &CheckName) {
        let many = self.failing_targets(now.mono, TOGETHER).len() >= threshold(self.watched());
        match &mut self.memory.storm {
            Some(storm) => {
                let taken = storm.takes(now.mono, name, RELATED);
                // Those that came too late to belong to it are a storm of their own by now: the same for people.
                if !taken && many {
                    self.join_all(now.mono);
                }
            }
            None if many => self.begin_storm(now),
            None => {}
        }
    }

    // --- questions

    /// The check is reported with the storm.
    pub fn is_member(&self, name: &CheckName) -> bool {
        self.memory.storm.as_ref().is_some_and(|storm| storm.has(name))
    }

    /// The storm that is on.
    pub fn storm(&self) -> Option<&Storm> {
        self.memory.storm.as_ref()
    }

    /// Whether a job on `unit` may be requested for the failing probe of `name`.
    pub fn permits(&mut self, now: Now, unit: &UnitName, name: &CheckName) -> Permit {
        let storm = self.memory.storm.as_ref();
        let member = storm.filter(|storm| storm.has(name));
        if let Some(storm) = member.filter(|storm| !self.permits_trial(now.mono, storm)) {
            return Permit::No(storm.withholds());
        }
        let of_storm = member.is_some() || self.memory.staggered.contains(name);
        let one_by_one = storm.is_some() || of_storm;
        if one_by_one && self.is_turn_taken(now.mono) {
            self.waiting.insert(name.clone());
            return Permit::No(Withheld::Staggered);
        }
        if self.is_in_doubt(now.mono, name, one_by_one) {
            return Permit::AfterSurvey;
        }
        let nobody_to_ask = !self.has_result(now.mono);
        if let Some(storm) = self.memory.storm.as_mut().filter(|_| nobody_to_ask && !of_storm) {
            // It began to fail long after the others, but nothing does well any more: it is the machine still.
            storm.add(name);
            return Permit::No(storm.withholds());
        }
        if one_by_one {
            self.turn = Some((unit.clone(), now.mono));
        }
        if let Some(storm) = self.memory.storm.as_mut().filter(|_| of_storm) {
            storm.record_trial();
        } else if !self.has_result(now.mono) && self.watched() >= LEAST {
            // A unit that fails alone is recovered at once; but it may only be the first that was probed.
            self.begin_survey(now.mono);
        }
        Permit::Yes
    }

    /// Whether the first notification of the check, which is due, must wait: the cause may be the machine.
    pub fn defers_notification(&mut self, now: Now, name: &CheckName) -> bool {
        let by_probe =
            self.vitals.get(name).is_some_and(|vital| vital.failing_since.is_some() && !vital.explained);
        by_probe && !self.memory.staggered.contains(name) && self.is_in_doubt(now.mono, name, false)
    }

    fn permits_trial(&self, now: Mono, storm: &Storm) -> bool {
        storm.permits_trial(now, |name| self.vitals.get(name).is_some_and(|vital| vital.tells_of_machine))
    }

    fn has_result(&self, now: Mono) -> bool {
        self.surveyed.is_some_and(|at| now.since(at) < SURVEY_HOLDS)
    }

    fn is_turn_taken(&self, now: Mono) -> bool {
        self.turn_ends().is_some_and(|at| now < at)
    }

    /// When the others do not wait any longer for the attempt on the unit whose turn it is. In a storm it shows whether the
    /// storm is over; a job that does not end is for a person to look at.
    fn turn_ends(&self) -> Option<Mono> {
        let most = if self.memory.storm.is_some() { JOB_OVERDUE } else { TURN_AT_MOST };
        self.turn.as_ref().map(|(_, since)| since.after(most))
    }

    /// Whether it must be known first how others do; then a survey is under way, and `name` is evaluated again after it.
    /// `in_storm`: many others fail, or did, and a machine that seemed well again may not be so.
    fn is_in_doubt(&mut self, now: Mono, name: &CheckName, in_storm: bool) -> bool {
        let doubt = self.survey.is_some()
            || (!self.has_result(now)
                && (in_storm || self.fails_in_company(now, name))
                && self.begin_survey(now));
        if doubt {
            self.waiting.insert(name.clone());
        }
        doubt
    }

    /// Something unrelated began to fail not long ago as well, on a machine that is large enough for a storm.
    fn fails_in_company(&self, now: Mono, name: &CheckName) -> bool {
        let Some(own) = self.vitals.get(name).map(|vital| &vital.target) else { return false };
        self.failing_targets(now, RELATED).iter().any(|other| *other != own) && self.watched() >= LEAST
    }

    fn failing_targets(&self, now: Mono, within: Duration) -> BTreeSet<&Target> {
        if self.failing == 0 {
            return BTreeSet::new();
        }
        self.vitals.values().filter(|vital| vital.fails(now, within)).map(|vital| &vital.target).collect()
    }

    /// How many targets are being watched by probes: not the suppressed ones.
    fn watched(&self) -> usize {
        let watched = self.vitals.values().filter(|vital| vital.is_watched());
        watched.map(|vital| &vital.target).collect::<BTreeSet<_>>().len()
    }

    // --- surveys

    /// Has others probed now. False where there are none to be asked.
    fn begin_survey(&mut self, now: Mono) -> bool {
        let well = self.vitals.iter().filter(|(_, vital)| {
            vital.failing_since.is_none()
                && vital.tells_of_machine
                && vital.interval <= SELDOM
                && !vital.suppressed
                // What comes up may well fail, and says nothing.
                && vital.excused_until.is_none_or(|until| until <= now)
                && !vital.explained
        });
        let mut well: Vec<(&CheckName, Duration)> = well.map(|(name, vital)| (name, vital.timeout)).collect();
        // Those that answer soon first, and besides in an order that is not that of names.
        well.sort_by_key(|(name, timeout)| (*timeout, schedule::place(name, RELATED)));
        well.truncate(SURVEY_SIZE);
        let Some(longest) = well.iter().map(|(_, timeout)| *timeout).max() else { return false };
        let sample: Vec<CheckName> = well.into_iter().map(|(name, _)| name.clone()).collect();
        self.to_probe.extend(sample.iter().cloned());
        let until = now.after(longest.min(SURVEY_AT_MOST)).after(Duration::from_secs(1));
        self.survey = Some(Survey { awaited: sample.iter().cloned().collect(), sample, until });
        true
    }

    fn end_survey(&mut self, now: Now) {
        let over = |survey: &mut Survey| survey.awaited.is_empty() || survey.until <= now.mono;
        let Some(survey) = self.survey.take_if(over) else { return };
        // (What is suppressed since tells nothing, whatever its answer was.)
        let tells = |vital: &&Vital| !vital.suppressed && !vital.explained;
        let sample = || survey.sample.iter().filter_map(|name| self.vitals.get(name)).filter(tells);
        let targets = |fails: bool| {
            let counted = sample().filter(|vital| !fails || vital.failing_since.is_some());
            counted.map(|vital| &vital.target).collect::<BTreeSet<_>>().len()
        };
        let many = targets(true).saturating_mul(3) >= targets(false);
        // In a storm there are enough that fail already.
        let enough = self.memory.storm.is_some() || self.failing_targets(now.mono, RELATED).len() >= LEAST;
        if !(many && enough) {
            self.surveyed = Some(now.mono);
        } else if self.memory.storm.is_some() {
            self.join_all(now.mono);
        } else {
            self.begin_storm(now);
        }
    }

    /// The checks that are to be probed now.
    pub fn take_probes(&mut self) -> Vec<CheckName> {
        std::mem::take(&mut self.to_probe)
    }

    // --- time

    /// What is due: the end of a survey, of a turn, of a storm. Returns the checks that are to be evaluated again.
    pub fn review(&mut self, now: Now) -> BTreeSet<CheckName> {
        self.end_survey(now);
        if self.turn.is_some() && !self.is_turn_taken(now.mono) {
            self.end_turn();
        }
        let next = self.reviewed.after(REVIEW);
        let survey = self.survey.as_ref().map(|survey| survey.until);
        if self.memory.storm.is_none() || next <= now.mono {
            self.reviewed = now.mono;
            self.review_storm(now);
            let settles = self.memory.storm.as_ref().and_then(Storm::settles);
            let due = [survey, settles, self.turn_ends()].into_iter().flatten();
            self.due = due.filter(|at| *at > now.mono).min();
        } else {
            self.due = [survey, self.turn_ends(), Some(next)].into_iter().flatten().min();
        }
        if self.survey.is_some() || self.is_turn_taken(now.mono) {
            return BTreeSet::new();
        }
        std::mem::take(&mut self.waiting)
    }

    /// When something is due here although nothing happens.
    pub fn due(&self) -> Option<Mono> {
        self.due
    }

    /// The attempt on the unit whose turn it was is concluded: the next has its turn.
    fn end_turn(&mut self) {
        let Some((unit, _)) = self.turn.take() else { return };
        let vitals = &self.vitals;
        self.memory.staggered.retain(|name| {
            vitals.get(name).is_some_and(|vital| {
                vital.failing_since.is_some() && vital.target != Target::Unit(unit.clone())
            })
        });
    }
}

/// At least that many targets must fail together, of so many.
fn threshold(targets: usize) -> usize {
    LEAST.max(targets.div_ceil(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_third_and_five_at_least() {
        assert_eq!([1, 5, 12, 15, 16, 200].map(threshold), [5, 5, 5, 5, 6, 67]);
    }
}
