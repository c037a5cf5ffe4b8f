//! The end of a run: what was broken is mended, and some calm hours later all is well, and everybody has been told.

use stealthcheck::check::{Check, Respect, Step};
use stealthcheck::engine::hold::HowEnded;
use stealthcheck::engine::{Command, Event};
use stealthcheck::unit::{JobKind, LoadState, ManagerState, UnitName};
use stealthcheck::verdict::Health;

use crate::config::{is_of, rival_of};
use crate::faults::Troubles;
use crate::machine::{By, Service};
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
        self.daemon_starts();
        if self.manager != ManagerState::Running {
            self.set_manager(ManagerState::Running);
        }
        for id in self.leases.clone() {
            self.lease_closes(&id, HowEnded::Done);
        }
        for check in self.plan.checks.clone() {
            self.tell(Event::Command(Command::Resume(check.name)));
        }
        self.settle();
        for plan in self.plan.units.clone() {
            self.count_cpu(&plan.name);
            let Some(unit) = self.units.get_mut(&plan.name) else { continue };
            unit.cpu = 5;
            (unit.unmet, unit.state.frozen) = (false, false);
            let skipped = unit.state.start_skipped.is_some() || unit.state.settings.transient;
            if unit.service != Service::Hung {
                unit.service = Service::Healthy;
            }
            if unit.state.load != LoadState::Loaded {
                unit.state.load = LoadState::Loaded;
                self.is_changed(&plan.name);
            }
            let rival = rival_of(&plan.name);
            if self.units.get(&rival).is_some_and(|rival| !rival.state.is_down()) {
                let _ = self.queue_job(&rival, JobKind::Stop, By::Somebody);
            }
            if plan.job.is_none() && (skipped || !self.is_the_daemons_to_mend(&plan.name)) {
                let _ = self.queue_job(&plan.name, JobKind::Restart, By::Somebody);
            }
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
                && matches!(recovery.respect_stop, Respect::For(_))
                && matches!(recovery.respect_conflict, Respect::For(_))
        };
        // One that stops it as its last resort, or that waits for a person, may be in the way of the others.
        let of_unit = || self.plan.checks.iter().filter(|check| is_of(check, unit));
        let stops = of_unit().any(|check| check.recovery.steps.contains(&Step::Stop));
        let crash_loop = of_unit().any(|check| {
            let book = self.rules.checks.get(&check.name);
            book.is_some_and(|book| book.incident.is_some())
        }) && self.units.get(unit).is_some_and(|unit| unit.auto_restart);
        of_unit().any(|check| mends(&check)) && !stops && !crash_loop
    }

    /// Everything passes, nothing is open, everybody was told.
    pub fn rules_at_the_end(&mut self) {
        let now = self.now();
        let Some(daemon) = &self.daemon else { self.broken("in the end all is well", "the daemon is gone") };
        for status in daemon.engine.status(now, &[], false) {
            if status.health != Health::PASSING || status.incident.is_some() {
                let why = daemon.engine.why(now, &status.name);
                let what = format!("{} is {:?}: {why:#?}", status.name, status.health);
                self.broken("in the end all is well", &what);
            }
        }
        if let Some(id) = daemon.engine.pending_notifications().next() {
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
