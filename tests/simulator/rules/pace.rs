//! The distance of attempts, their order and their number (rule 5).

use stealthcheck::check::{Check, CheckName, Step};
use stealthcheck::unit::{ActiveState, UnitName};

use super::{Pace, SLACK};
use crate::config::is_of;
use crate::sim::Sim;

impl Sim {
    /// Rule 5: from one attempt on a unit to the next the backoff, doubling, as long as there is no long healthy time. Jobs
    /// that a check's step starts on another unit have a pace of their own.
    pub fn attempts_keep_their_distance(&mut self, unit: &UnitName, check: &CheckName, step: &Step) {
        let now = self.mono;
        let other = matches!(step, Step::StartUnit(_));
        let concerned = |of: &&Check| if other { of.name == *check } else { is_of(of, unit) };
        let backoffs = || self.plan.checks.iter().filter(concerned).map(|check| check.recovery.backoff);
        let longest = backoffs().map(|backoff| backoff.max).min().unwrap_or_default();
        let book = match other {
            true => self.rules.checks.get(check).map(|book| book.other_pace),
            false => self.rules.units.get(unit).map(|book| book.pace),
        };
        let Some(Pace { mut streak, last, least: then }) = book else { return };
        let gap = last.map(|last| now.since(last).saturating_add(SLACK));
        if gap.is_none_or(|gap| gap >= longest) {
            streak = 0;
        }
        let least_after = |streak| backoffs().map(|backoff| backoff.delay(streak)).min().unwrap_or_default();
        // The checks may be others since.
        let least = least_after(streak).min(then);
        if let Some(gap) = gap
            && streak > 0
            && gap < least
        {
            let what = format!("{unit}: {gap:?} after attempt {streak} in a row, at least {least:?}");
            self.broken("attempts keep their distance", &what);
        }
        let pace = Pace { streak: streak + 1, last: Some(now), least: least_after(streak + 1) };
        if other {
            for books in [&mut self.rules.checks, &mut self.rules.committed] {
                if let Some(book) = books.get_mut(check) {
                    book.other_pace = pace;
                }
            }
        } else if let Some(book) = self.rules.units.get_mut(unit) {
            book.pace = pace;
        }
    }

    /// Rule 5: the steps of an incident that opens after lasting health begin with the first that can change anything.
    pub fn the_first_step_comes_first(&self, name: &CheckName, unit: &UnitName, step: &Step) {
        let (Some(check), Some(book)) = (self.check(name), self.rules.checks.get(name)) else { return };
        let Some(told) = self.rules.told.get(unit).filter(|_| book.rested && book.tries == 0) else { return };
        // (A job that another check has requested may have moved the steps on.)
        if self.attempts_of(name) > 1 {
            return;
        }
        let up = told.active == ActiveState::Active;
        let applies = |step: &&Step| match step {
            Step::Reload => up,
            Step::Start => !up,
            _ => true,
        };
        let crashes = self.restarts_itself(unit);
        let first = check.recovery.steps.iter().find(applies);
        // A unit that is down when the job of such a step has ended gets a step of its own.
        let own = !up && matches!(first, Some(Step::StartUnit(_)));
        // (Rule 9: it may be started in place of a restart.)
        let in_place = !up && *step == Step::Start && first == Some(&Step::Restart);
        if !crashes && !own && !in_place && first.is_some_and(|first| first != step) {
            self.broken(
                "the first step comes first",
                &format!("{name}: {step:?} of {:?}", check.recovery.steps),
            );
        }
    }

    /// How many attempts the open incident of a check has had, whichever check requested them.
    fn attempts_of(&self, name: &CheckName) -> u32 {
        let status =
            self.machine.engine().map(|engine| engine.status(self.now(), std::slice::from_ref(name), false));
        let incident = status.and_then(|mut status| status.pop()?.incident);
        incident.map_or(0, |incident| incident.attempts)
    }

    /// Rule 5.
    pub fn the_limit_is_kept(&mut self, name: &CheckName) {
        let limit = self.check(name).and_then(|check| check.recovery.max_attempts);
        for books in [&mut self.rules.checks, &mut self.rules.committed] {
            if let Some(book) = books.get_mut(name) {
                book.tries += 1;
            }
        }
        let tries = self.rules.checks.get(name).map_or(0, |book| book.tries);
        let changed = self.rules.checks.get(name).is_some_and(|book| book.reconfigured);
        if !changed && limit.is_some_and(|limit| tries > limit) {
            self.broken("the limit of attempts is kept", &format!("{name}: {tries} of {limit:?}"));
        }
    }

    /// Nobody could be asked for it: the limit is of those that became a job.
    pub fn it_was_no_attempt(&mut self, name: &CheckName) {
        for books in [&mut self.rules.checks, &mut self.rules.committed] {
            if let Some(book) = books.get_mut(name) {
                book.tries = book.tries.saturating_sub(1);
            }
        }
    }
}
