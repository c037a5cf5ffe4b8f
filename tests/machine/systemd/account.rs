//! What happened and at whose request, for whoever checks what the daemon made of it; and the unit files that come and go.

use stealthcheck::unit::{ActiveState, UnitName};

use super::Systemd;
use super::job::{By, JobType};

#[derive(Clone, Debug)]
pub enum Happened {
    /// A job was put on a unit. `root`: the unit of the request that led to it, which `by` made.
    Queued {
        unit: UnitName,
        kind: JobType,
        root: UnitName,
        by: By,
        /// The unit was not down, or about to be started.
        was_up: bool,
        /// It is merged into a job of its kind that is there already: nothing tells of it.
        merged: bool,
    },
    /// A unit is in another state. `by_job`: a job that stops the unit was running.
    State { unit: UnitName, from: ActiveState, to: ActiveState, by_job: bool },
    /// A run of the unit failed.
    Failed { unit: UnitName },
    /// `StartLimitAction=` reboots the machine over a start job that `by` requested.
    LimitHit { unit: UnitName, by: By },
}

impl Systemd {
    pub(super) fn happened(&mut self, what: impl FnOnce(&Self) -> Happened) {
        if self.keeps_account {
            let what = what(self);
            self.account.push(what);
        }
    }

    /// The unit's file is removed, or is there again, and systemd has read so.
    pub fn set_removed(&mut self, name: &UnitName, removed: bool) {
        self.edit(name, |file| file.removed = removed);
    }

    /// `systemd-run`: a transient unit that is gone is made again, and started.
    pub fn run_transient(&mut self, name: &UnitName) {
        self.at_mut(name).gone = false;
        let _ = self.request(name, JobType::Start, By::Operator);
        self.run();
    }

    pub fn is_gone(&self, name: &UnitName) -> bool {
        self.at(name).gone
    }

    /// A process of an earlier run answers in the place of the unit's own.
    pub fn has_left_over(&self, name: &UnitName) -> bool {
        self.at(name).left_over
    }

    /// The unit's processes run.
    pub fn has_process(&self, name: &UnitName) -> bool {
        self.at(name).main_pid != 0
    }

    /// The unit's present run answers nothing, and one after a restart would.
    pub fn is_hung(&self, name: &UnitName) -> bool {
        self.at(name).file.program.hung
    }
}
