//! The end of a run: what was broken is mended, and some calm hours later all is well, and everybody has been told.

use std::time::Duration;

use stealthcheck::check::{Check, Respect, Step};
use stealthcheck::engine::hold::{HoldId, HowEnded};
use stealthcheck::unit::{ManagerState, UnitName};
use stealthcheck::verdict::Health;

use crate::config::{UnitPlan, is_of, rival_of};
use crate::faults::Troubles;
use crate::post::Server;
use crate::sim::Sim;

impl Sim {
    /// All causes are gone. What the daemon is there for is left to it: what hangs hangs, and what is down stays down,
    /// where it is to be brought back.
    pub fn all_is_mended(&mut self) {
        self.note(|| "all causes are mended".to_owned());
        self.quiet = true;
        self.crash = None;
        self.troubles = Troubles::default();
        self.rules.network_gone = None;
        self.post.server = Server::Up;
        self.post.disk_full = false;
        self.machine.restore_network();
        self.machine.reject_jobs(None);
        self.machine.reject_resets(false);
        self.machine.bus_returns();
        self.systemd_is_quick();
        self.machine.systemd.slowness = Duration::ZERO;
        if self.machine.systemd.manager() == ManagerState::Stopping {
            self.power_fails(Duration::from_secs(1));
        }
        self.boot_ends();
        self.daemon_starts();
        for id in self.machine.open_leases() {
            self.lease_closes(&HoldId(id.as_str().into()), HowEnded::Done);
        }
        for check in self.plan.checks.clone() {
            self.machine.sees_service(check.name.as_str());
            self.machine.resume(check.name.as_str());
        }
        self.attend();
        self.settle();
        for plan in self.plan.units.clone() {
            self.mend_unit(&plan);
        }
        for plan in self.plan.units.clone() {
            self.start_unit(&plan);
        }
    }

    /// Nothing is wrong with the unit's file and program any more.
    fn mend_unit(&mut self, plan: &UnitPlan) {
        let name = plan.name.as_str();
        self.machine.use_cpu(&plan.name, None);
        self.mend(&plan.name);
        self.kill_left_over(&plan.name);
        self.machine.thaw(name);
        self.machine.edit(name, |file| (file.masked, file.removed) = (false, false));
        self.machine.set_condition(name, true);
        let rival = rival_of(&plan.name);
        if plan.rival && !self.machine.systemd.is_down(&rival) {
            self.machine.stop(rival.as_str());
        }
    }

    /// What no check has started again is started by somebody.
    fn start_unit(&mut self, plan: &UnitPlan) {
        let name = plan.name.as_str();
        let state = self.machine.unit_state(name);
        let skipped = state.start_skipped.is_some() || plan.file.transient;
        if self.machine.systemd.is_gone(&plan.name) {
            self.machine.systemd.run_transient(&plan.name);
        } else if plan.job.is_some() {
            self.machine.start(name);
        } else if skipped || !self.is_the_daemons_to_mend(&plan.name) {
            self.machine.restart(name);
        }
    }

    /// Some check of the unit will have it restarted, however often that takes.
    fn is_the_daemons_to_mend(&self, unit: &UnitName) -> bool {
        let mends = |check: &&Check| {
            let recovery = &check.recovery;
            // The last step is the one that is repeated; a hung service is not mended by a start.
            let last = recovery.steps.last();
            let sees = matches!(check.probe, stealthcheck::check::Probe::Tcp(_));
            is_of(check, unit)
                && sees
                && last == Some(&Step::Restart)
                && recovery.max_attempts.is_none()
                && matches!(recovery.respect_conflict, Respect::For(_))
        };
        // One that stops it as its last resort, or that waits for a person, may be in the way of the others.
        let of_unit = || self.plan.checks.iter().filter(|check| is_of(check, unit));
        let stops = of_unit().any(|check| check.recovery.steps.contains(&Step::Stop));
        let crash_loop = of_unit().any(|check| {
            let book = self.rules.checks.get(&check.name);
            book.is_some_and(|book| book.incident.is_some())
        }) && self.restarts_itself(unit);
        // A stop is respected for as long as the most patient of them says.
        let forever = of_unit().any(|check| check.recovery.respect_stop == Respect::Forever);
        of_unit().any(|check| mends(&check)) && !stops && !crash_loop && !forever
    }

    /// Everything passes, nothing is open, everybody was told.
    pub fn rules_at_the_end(&mut self) {
        let now = self.now();
        let Some(engine) = self.machine.engine() else {
            self.broken("in the end all is well", "the daemon is gone")
        };
        for status in engine.status(now, &[], false) {
            if status.health != Health::PASSING || status.incident.is_some() {
                let why = engine.why(now, &status.name);
                let what = format!("{} is {:?}: {why:#?}", status.name, status.health);
                self.broken("in the end all is well", &what);
            }
        }
        if let Some(id) = engine.pending_notifications().next() {
            self.broken("in the end nothing waits for the spool", &id.to_string());
        }
        if let Some(record) = self.post.disk.values().next() {
            let what = format!("{} for {:?}", record.email.id, record.pending);
            self.broken("in the end the spool is empty", &what);
        }
        if self.post.queue.backlog().0 > 0 {
            self.broken("in the end the queue is empty", "");
        }
        self.everybody_was_told();
        let open = self.rules.threads.iter().find(|(_, thread)| !thread.closed);
        if let Some((id, _)) = open {
            self.broken("what was opened is closed", &id.to_string());
        }
    }

    /// Every notification that was asked for has reached everybody that it was for.
    fn everybody_was_told(&self) {
        for (id, to) in &self.rules.asked {
            for address in to {
                let key = (id.clone(), address.clone());
                if !self.rules.got.contains_key(&key) && !self.rules.dropped.contains(&key) {
                    self.broken("no notice is lost", &format!("{id} never came to {address}"));
                }
            }
        }
    }
}
