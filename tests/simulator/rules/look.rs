//! What people are shown agrees with what is (rule 16), and nobody is left without a word.

use std::time::Duration;

use stealthcheck::check::{CheckName, Step};
use stealthcheck::status::CheckStatus;
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName};
use stealthcheck::verdict::{State, SuppressedBy};

use crate::sim::{Coming, Sim};

/// So many checks are looked at in one look.
const MOST: usize = 8;

/// Longer than anything that puts off an opening notification by itself.
const TOLD_WITHIN: Duration = Duration::from_secs(900);

impl Sim {
    /// Somebody looks at the status.
    pub fn look(&mut self) {
        let next = self.random.secs(600, 14_400);
        self.later(next, Coming::Look);
        // What was decided is done, as it is between any two questions to the daemon.
        self.settle();
        self.what_was_accepted_is_noted();
        let checks = self.plan.checks.len();
        let from = self.random.below(checks);
        for n in (0..checks).cycle().skip(from).take(checks.min(MOST)) {
            let name = self.plan.checks[n].name.clone();
            self.is_shown_as_it_is(&name);
        }
        for (unit, over) in &self.rules.leases_over {
            self.what_was_held_is_started_again(unit, *over);
        }
        self.somebody_comes_by();
    }

    /// Rule 10: what the holder stopped and left down is started again.
    fn what_was_held_is_started_again(&self, unit: &UnitName, over: Mono) {
        const LONG: Duration = Duration::from_secs(2400);
        let long_ago = |at: Mono| self.mono.since(at) > LONG;
        let (Some(told), Some(book), Some(truth)) =
            (self.rules.told.get(unit), self.rules.units.get(unit), self.truths.get(unit))
        else {
            return;
        };
        let Some(plan) = self.plan.units.iter().find(|plan| plan.name == *unit) else { return };
        let alone = plan.requires.is_empty() && plan.wants.is_empty() && !plan.rival && plan.job.is_none();
        let watched = self.plan.checks.iter().any(|check| crate::config::is_of(check, unit));
        let (manager, since) = self.rules.manager;
        let asked = manager == ManagerState::Running && long_ago(since) && long_ago(self.rules.blind);
        let ready = told.load == LoadState::Loaded
            && told.job.is_none()
            && !told.settings.transient
            && told.start_skipped.is_none()
            // What was at rest before stays so.
            && !told.oneshot
            && told.settings.triggered_by.is_empty();
        let left_down = told.active == ActiveState::Inactive
            && book.held_stop == Some(told.inactive_enter_usec)
            && book.owed
            && self.machine.systemd.is_down(unit)
            && truth.stopped_by_operator.is_none();
        let held = self.rules.leases.values().any(|held| held == unit);
        let calm = long_ago(over) && long_ago(self.rules.slept) && long_ago(self.rules.denied);
        if left_down && ready && asked && calm && alone && watched && !held && book.hold_start < over {
            let what = format!("{unit}, whose hold was over {:?} ago", self.mono.since(over));
            self.broken("what was held is started again", &what);
        }
    }

    fn is_shown_as_it_is(&mut self, name: &CheckName) {
        let now = self.now();
        let Some(engine) = self.machine.engine() else { return };
        let Some(status) = engine.status(now, std::slice::from_ref(name), true).pop() else {
            self.broken("every check has a status", name.as_str())
        };
        let Some(why) = engine.why(now, name) else { self.broken("every check is explained", name.as_str()) };
        let broken = |what: &str| self.broken("what is shown is so", &format!("{name}: {what}"));
        if why.health != status.health || why.now.is_empty() {
            broken("why and status differ");
        }
        let Some(book) = self.rules.checks.get(name) else { return };
        if status.incident.as_ref().map(|incident| &incident.id) != book.incident.as_ref() {
            broken(&format!("shown with {:?}, {:?} is open", status.incident, book.incident));
        }
        let quiet = status.health.suppressed_by.is_none()
            && matches!(status.health.state, State::Passing | State::Failing { .. } | State::Starting);
        if (status.health.is_down() && status.incident.is_none()) || (quiet && status.incident.is_some()) {
            broken(&format!("{:?} with incident {:?}", status.health, status.incident));
        }
        let paused = book.paused.is_some_and(|until| until > self.mono);
        // A pause that ends now, or has ended while the machine slept, until the engine has looked.
        let ends_now = book.paused == Some(self.mono) || self.rules.slept == self.mono;
        if !ends_now && paused != matches!(status.health.suppressed_by, Some(SuppressedBy::Paused { .. })) {
            broken(&format!("{:?}, and it is paused: {paused}", status.health));
        }
        self.what_is_down_is_recovered(&status);
        self.nobody_is_left_without_a_word(&status);
    }

    /// What nothing forbids is done: a unit that is down for long has had an attempt (rules 4, 5, 7 and 9).
    fn what_is_down_is_recovered(&self, status: &CheckStatus) {
        const LONG: Duration = Duration::from_secs(2400);
        let long_ago = |at: Mono| self.mono.since(at) > LONG;
        let (Some(check), Some(book), Some(unit)) =
            (self.check(&status.name), self.rules.checks.get(&status.name), self.unit_of(&status.name))
        else {
            return;
        };
        let (Some(told), Some(plan)) =
            (self.rules.told.get(&unit), self.plan.units.iter().find(|plan| plan.name == unit))
        else {
            return;
        };
        let simple = plan.requires.is_empty()
            && plan.wants.is_empty()
            && !plan.rival
            && !plan.auto_restart
            && !plan.triggered
            && plan.file.start_limit.is_none_or(|limit| !limit.reboots);
        let (manager, since) = self.rules.manager;
        let asked = matches!(manager, ManagerState::Running | ManagerState::Starting) && long_ago(since);
        let quiet = !self.rules.storm
            && long_ago(self.rules.storm_over)
            && long_ago(self.rules.slept)
            && long_ago(self.rules.denied)
            && self.rules.network_gone.is_none();
        let ready = told.load == LoadState::Loaded
            && told.job.is_none()
            && !told.frozen
            && !told.settings.transient
            && told.start_skipped.is_none()
            && matches!(told.active, ActiveState::Active | ActiveState::Inactive | ActiveState::Failed);
        let open = self.rules.units.get(&unit).is_some_and(|book| book.open.is_some());
        let mends = check.recovery.steps.first() == Some(&Step::Restart)
            && check.recovery.max_attempts.is_none()
            && check.probe.usage().is_none()
            && check.probe.job().is_none();
        let down = status.health.is_down() && book.down_since.is_some_and(long_ago);
        if down
            && simple
            && asked
            && quiet
            && ready
            && !open
            && mends
            && book.tries == 0
            && !book.reconfigured
        {
            let what = format!("{} since {:?}", status.name, book.down_since.map(|at| self.mono.since(at)));
            self.broken("what is down is recovered", &what);
        }
    }

    /// An incident that lasts is told.
    fn nobody_is_left_without_a_word(&self, status: &CheckStatus) {
        let (Some(check), Some(book)) = (self.check(&status.name), self.rules.checks.get(&status.name))
        else {
            return;
        };
        let Some(incident) = &status.incident else { return };
        let since = book.down_since.unwrap_or(self.mono).max(self.rules.storm_over).max(self.rules.slept);
        let long = self.mono.since(since) > check.alert.after + check.recovery.grace + TOLD_WITHIN;
        if status.health.is_down()
            && !self.rules.storm
            && long
            && incident.notifications.0 == 0
            && !check.alert.is_silent()
        {
            let what = format!("{} for {:?}", incident.id, self.mono.since(since));
            self.broken("an incident that lasts is told", &what);
        }
    }

    /// Somebody has read the mails, and restarts what has been down for long.
    fn somebody_comes_by(&mut self) {
        self.somebody_makes_transient_units_again();
        let Some(engine) = self.machine.engine() else { return };
        let statuses = engine.status(self.now(), &[], false);
        let long = |status: &&CheckStatus| {
            let book = self.rules.checks.get(&status.name);
            book.is_some_and(|book| {
                book.incident.is_some() && self.mono.since(book.opened) > Duration::from_secs(14_400)
            })
        };
        let units: Vec<_> = statuses
            .iter()
            .filter(long)
            .filter_map(|status| status.unit.as_ref().map(crate::config::real))
            .collect();
        for unit in units {
            if self.random.percent(30) {
                self.machine.restart(unit.as_str());
            }
        }
    }
}
