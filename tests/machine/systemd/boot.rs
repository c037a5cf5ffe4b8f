//! The machine boots, shuts down, and is switched off.

use std::cmp::Reverse;

use stealthcheck::time::Now;
use stealthcheck::unit::ManagerState;

use super::job::{By, JobType};
use super::{Signal, Systemd};

impl Systemd {
    /// The power goes. Files stay as they are, and so does what timers note on the disk.
    pub fn power_off(&mut self) {
        for unit in &mut self.units {
            let gone = unit.file.transient;
            unit.unload();
            unit.gone = gone;
            unit.left_over = false;
            unit.file.program.hung = false;
        }
        self.run_queue.clear();
        self.reviews.clear();
        self.changed.clear();
        self.signals.clear();
        self.timers.clear();
        (self.booting, self.stopping) = (false, false);
        self.reboot_wanted = None;
    }

    /// The machine boots: every enabled unit gets its start job in one transaction.
    pub fn boot(&mut self, now: Now) {
        self.set_time(now);
        self.booting = true;
        self.link();
        self.note(|| "systemd: the machine boots".to_owned());
        for unit in 0..self.units.len() {
            if self.units[unit].file.enabled {
                let _ = self.add_job(unit, JobType::Start, By::Systemd);
            }
        }
        self.dispatch();
        self.review_all();
    }

    /// The machine begins to shut down: every unit gets a stop job, which is dropped as
    /// redundant where the unit is inactive or failed (job_type_is_redundant in systemd's src/core/job.c).
    pub fn shut_down(&mut self) {
        self.stopping = true;
        self.booting = false;
        self.signals.push(Signal::Manager(ManagerState::Stopping));
        for unit in 0..self.units.len() {
            if !self.units[unit].is_down() {
                let _ = self.add_job(unit, JobType::Stop, By::Systemd);
            }
        }
        self.dispatch();
    }

    /// Everything that was enabled runs, and has done so for long: nothing of that is waited for.
    pub fn settle(&mut self, until: Now) {
        while let Some(at) = self.next_due().filter(|at| *at <= until.mono) {
            let before = until.mono.since(at);
            self.set_time(Now { mono: at, wall: until.wall.before(before) });
            self.fire();
        }
        self.set_time(until);
        self.signals.clear();
    }

    /// Waits for nothing any more. (For tests of the model itself.)
    pub fn is_idle(&self) -> bool {
        self.timers.iter().all(|Reverse((at, _, _))| *at > self.now) && self.run_queue.is_empty()
    }
}
