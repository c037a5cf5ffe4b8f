//! What goes wrong on the simulated machine, and what its operators do.

use std::cmp::Reverse;
use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{Command, Engine, Event};
use stealthcheck::unit::{ActiveState, Job, JobKind, ManagerState, UnitName};

use super::{BOOT, Coming, World, up};

impl World {
    /// The process ends by itself: killed, or a clean exit, without a stop job.
    pub fn end(&mut self, unit: &UnitName, failed: bool) {
        let usec = u64::try_from(self.now.wall.0).unwrap() * 1000;
        let Some(target) = self.units.get_mut(unit) else { return };
        if target.our_job.is_some()
            || target.state.job.is_some()
            || target.state.active != ActiveState::Active
        {
            return;
        }
        target.state.active = if failed { ActiveState::Failed } else { ActiveState::Inactive };
        target.state.sub = "dead".into();
        target.state.result = if failed { "signal".into() } else { "success".into() };
        target.state.stopped_by = None;
        target.state.inactive_enter_usec = usec;
        self.tell_unit(unit);
        self.died.push((unit.clone(), self.now.mono));
        // What somebody stops just then looks as if systemd had stopped what is bound to it.
        for (dependent, needed) in self.needs.clone() {
            if needed == *unit
                && let Some(dependent) = self.units.get_mut(&dependent)
                && dependent.stopped_at.is_some_and(|at| self.now.mono.since(at) <= Duration::from_secs(2))
            {
                dependent.stopped_at = None;
            }
        }
    }

    /// `systemctl stop`, `systemctl start`.
    pub fn operator(&mut self, unit: &UnitName, start: bool) {
        let usec = u64::try_from(self.now.wall.0).unwrap() * 1000;
        let busy = |target: &super::Unit| target.our_job.is_some() || target.state.job.is_some();
        if self.units.get(unit).is_none_or(busy) {
            return;
        }
        if start {
            self.rival_ends(unit, false);
        }
        let Some(target) = self.units.get_mut(unit) else { return };
        if busy(target) {
            return;
        }
        let kind = if start { JobKind::Start } else { JobKind::Stop };
        let job = Some(Job { id: 2, kind, ours: false });
        target.state.job = job;
        if start {
            target.state.active = ActiveState::Activating;
            target.state.stopped_by = None;
        } else {
            if target.state.active == ActiveState::Active {
                let bound = |(needed, at): &(UnitName, stealthcheck::time::Mono)| {
                    self.now.mono.since(*at) <= Duration::from_secs(2)
                        && self.needs.iter().any(|(needs, root)| needs == unit && root == needed)
                };
                if !self.died.iter().any(bound) {
                    target.stopped_at = Some(self.now.mono);
                }
                target.state.stopped_by = job;
                target.state.inactive_enter_usec = usec;
            }
            target.state.active = ActiveState::Deactivating;
        }
        self.tell_unit(unit);
        self.later(Duration::from_millis(700), Coming::OperatorJobEnds { unit: unit.clone(), up: start });
    }

    pub fn set_manager(&mut self, manager: ManagerState) {
        self.manager = manager;
        self.tell(Event::ManagerChanged(manager));
    }

    pub fn pause(&mut self, check: &CheckName, lasting: Duration) {
        self.tell(Event::Command(Command::Pause(check.clone(), lasting)));
    }

    /// The daemon dies and starts again; jobs under way end without anybody to hear of it.
    pub fn restart_daemon(&mut self, away: Duration) {
        self.note(format!("the daemon is restarted, away for {away:?}"));
        let saved = serde_json::to_string(&self.engine.save(self.now, BOOT)).unwrap();
        let saved: Saved = serde_json::from_str(&saved).unwrap();
        self.coming.retain(|Reverse((_, _, what))| !matches!(what, Coming::Observed { .. }));
        self.running.clear();
        self.storm_job = None;
        self.advance_to(self.now.mono.after(away));
        for unit in self.units.values_mut().filter(|unit| unit.our_job.is_some()) {
            unit.our_job = None;
            unit.state.job = None;
            unit.state = up(&unit.state, unit.state.invocation_id.clone() + "x");
        }
        let (engine, effects) = Engine::restore(self.now, BOOT, saved, self.checks.clone());
        self.engine = engine;
        self.perform(effects);
        self.leases_come_back();
        let manager = self.manager;
        self.tell(Event::ManagerChanged(manager));
        self.tell_all_units();
    }
}
