//! When an incident opens and closes (rules 1, 6 and 13).

use std::time::Duration;

use stealthcheck::check::{CheckName, Probe};
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName};

use super::SLACK;
use crate::sim::Sim;

/// A recovery is proven after this time, and twice as long for each further incident of the check within [`AN_HOUR`].
const PROVEN_AFTER: Duration = Duration::from_secs(10);
const AN_HOUR: Duration = Duration::from_secs(3600);

/// More incidents than this within the hour are flapping; then it must pass for this long.
const FLAPPING: usize = 6;
const STEADY: Duration = Duration::from_secs(600);

/// Units that go down within this time of each other may have gone together.
const A_FALL: Duration = Duration::from_secs(60);

/// A start job that waits longer than this for other units is a failure.
const WAITS_AT_MOST: Duration = Duration::from_secs(600);

impl Sim {
    /// An incident opens. A unit whose start job waits is on its way (rule 6), and one that a job has stopped, or is
    /// restarting, has not ended by itself (rule 1), however late it is read.
    pub fn what_is_down_is_down(&self, check: &CheckName, cause: &str) {
        self.failures_come_first(check, cause);
        let Some(unit) = self.unit_of(check) else { return };
        let Some(book) = self.rules.units.get(&unit) else { return };
        if let Some(since) = book.waits
            && self.mono.since(since) < WAITS_AT_MOST
            && book.open.is_none()
            // (What is not there is not on its way; a crash loop is told of all the same.)
            && self.rules.told.get(&unit).is_some_and(|told| told.load == LoadState::Loaded)
            && !cause.starts_with("crash-looping")
        {
            let what = format!("{check}: {cause}, and a start job waits on {unit}");
            self.broken("what is on its way is not down", &what);
        }
        let at_rest = self.rules.told.get(&unit).is_some_and(|told| {
            let ended_well = told.active == ActiveState::Inactive && told.result == "success";
            !told.settings.triggered_by.is_empty() && ended_well && told.start_skipped.is_none()
        });
        if at_rest && cause.starts_with("unit ended without a stop job") {
            self.broken(
                "what a socket starts is at rest when it has ended well",
                &format!("{check}: {cause}"),
            );
        }
        let by_job = self.truths.get(&unit).is_some_and(|truth| {
            let told = self.rules.told.get(&unit);
            let ended = self.machine.systemd.read(&unit).inactive_enter_usec;
            truth.ended_by_job && told.is_some_and(|told| told.inactive_enter_usec == ended)
        });
        // (A daemon that comes back in the middle of a shutdown takes that for the boot after it.)
        let shuts_down = self.machine.systemd.manager() == ManagerState::Stopping;
        if by_job && !shuts_down && cause.starts_with("unit ended without a stop job") {
            let down_at = self.truths.get(&unit).map_or(self.mono, |truth| truth.down_at);
            let with = |root: &UnitName| {
                let root = self.truths.get(root);
                root.is_some_and(|root| root.down_at.after(A_FALL) >= down_at)
            };
            if self.required(&unit).iter().any(with) {
                let what = format!("{check}: {cause}");
                self.broken("what went down with its root has not ended by itself", &what);
            }
            self.broken("what a job has stopped has not ended by itself", &format!("{check}: {cause}"));
        }
    }

    /// Rules 1 and 15: an incident over a probe's answers follows so many failures; that nothing could be measured is none.
    fn failures_come_first(&self, check: &CheckName, cause: &str) {
        const ANSWERS: [&str; 5] = ["connection refused", "no answer", "no route", "500 ", "the body lacks"];
        let (Some(book), Some(settings)) = (self.rules.checks.get(check), self.check(check)) else { return };
        let of_probe =
            matches!(settings.probe, Probe::Tcp(_)) && ANSWERS.iter().any(|a| cause.starts_with(a));
        if of_probe && book.failures < settings.schedule.failure_threshold {
            let what = format!("{check}: {cause}, after {} failures", book.failures);
            self.broken("an incident follows its failures", &what);
        }
    }

    /// An incident closes (rule 13).
    pub fn what_is_closed_is_proven(&self, check: &CheckName, attempts: u32) {
        let now = self.mono;
        let (Some(book), Some(settings)) = (self.rules.checks.get(check), self.check(check)) else { return };
        let unit = self.unit_of(check);
        let unit_book = unit.as_ref().and_then(|unit| self.rules.units.get(unit));
        if let Some(unit) = &unit {
            self.what_is_closed_is_up(check, unit);
        }
        let within = |at: &&Mono| now.since(**at) < AN_HOUR;
        let recent = book.openings.iter().filter(within).count();
        let flaps = recent > FLAPPING;
        let doublings = u32::try_from(recent.saturating_sub(1)).unwrap_or(0).min(8);
        let longest = settings.recovery.backoff.max.max(PROVEN_AFTER);
        let proven = match flaps {
            true => STEADY,
            false => (PROVEN_AFTER * (1 << doublings)).min(longest),
        };
        // (What was counted when it began to pass may have left the hour since.)
        let proven = if recent > 1 { proven.min(PROVEN_AFTER) } else { proven };
        let since = unit_book.map_or(book.opened, |book| {
            let started = unit.as_ref().map_or(book.started, |unit| self.up_since(unit, book.started));
            book.job_ended.max(started)
        });
        // (A run of a job that has succeeded proves it. Where the clock was set, a daemon that was restarted cannot tell since
        // when the unit is up.)
        let moved = settings.probe.job().is_none()
            && since >= book.opened
            && self.rules.clock_set < since
            && (attempts > 0 || unit_book.is_some());
        if moved && now.since(since).saturating_add(SLACK) < proven {
            let what = format!("{check} closes {:?} after the latest start or job", now.since(since));
            self.broken("a recovery is proven before it counts", &what);
        }
    }

    /// Since when the unit is up, where the daemon was told of this run; `told`: when it was.
    fn up_since(&self, unit: &UnitName, told: Mono) -> Mono {
        let run = self.rules.told.get(unit).map(|told| told.invocation_id.clone());
        let same = run.is_some_and(|run| run == self.machine.systemd.read(unit).invocation_id);
        self.truths.get(unit).filter(|_| same).map_or(told, |truth| told.min(truth.up_at))
    }

    /// Rule 7: restarts after runs that ended well are none.
    pub fn a_crash_loop_is_one(&self, unit: &UnitName) {
        const RESTARTS: usize = 5;
        const WITHIN: Duration = Duration::from_secs(1200);
        // (With a long `RestartSec=` five restarts take longer.)
        let delay = self.plan.units.iter().find(|plan| plan.name == *unit).map(|plan| plan.file.restart_sec);
        let within = WITHIN.max(delay.unwrap_or_default() * 8 + WITHIN / 2);
        let Some(truth) = self.truths.get(unit) else { return };
        let failures = truth.failures.iter().filter(|at| self.mono.since(**at) < within).count();
        // (A restart may come long after the failure, where the machine slept in between.)
        let earlier = usize::from(truth.failures.len() > failures);
        if failures + earlier < RESTARTS {
            self.broken("a crash loop is one", &format!("{unit} failed {failures} times"));
        }
    }

    /// What answers in the place of a unit that is down is no recovery.
    fn what_is_closed_is_up(&self, check: &CheckName, unit: &UnitName) {
        let Some(told) = self.rules.told.get(unit) else {
            self.broken("nothing is closed unseen", check.as_str())
        };
        let down = matches!(told.active, ActiveState::Failed | ActiveState::Inactive);
        let settings = &told.settings;
        let rests = !settings.triggered_by.is_empty() || settings.stop_when_unneeded;
        let at_rest = told.active == ActiveState::Inactive && rests;
        if down && !told.oneshot && !at_rest {
            self.broken("what is closed is up", &format!("{check}: {}", told.describe()));
        }
    }
}
