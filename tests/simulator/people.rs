//! What people and programs do at the machine, by chance: `systemctl`, `stealthctl`, edits of the configuration. Each of it
//! can come at any moment, also while a job is under way or a unit is held.

use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::{HoldId, HowEnded};
use stealthcheck::unit::UnitName;

use crate::config::{is_of, rival_of, units::stem};
use crate::faults::Fault;
use crate::machine::{Exit, unit_name};
use crate::sim::{Coming, Sim};

/// Something that somebody does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// `systemctl VERB UNIT…`, as one command.
    Systemctl(&'static str, Vec<UnitName>),
    /// `systemctl kill`.
    Kill(UnitName),
    Hold(UnitName),
    Reload,
    /// `systemd-run`, again.
    RunTransient(UnitName),
}

impl Sim {
    pub fn somebody(&mut self, act: Act) {
        match act {
            Act::Systemctl(verb, units) => {
                let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
                self.machine.systemctl(verb, &names);
            }
            Act::Kill(unit) => self.machine.exit(unit.as_str(), Exit::Signal(15)),
            Act::Hold(unit) => self.somebody_holds(unit),
            Act::Reload => self.somebody_reloads(),
            Act::RunTransient(unit) => {
                if self.machine.systemd.is_gone(&unit) {
                    self.machine.systemd.run_transient(&unit);
                }
            }
        }
    }

    /// `systemctl`, by hand or in a package's script.
    pub fn somebody_acts(&mut self, unit: &UnitName) {
        match self.random.below(17) {
            0..=3 => self.somebody(Act::Systemctl("stop", vec![unit.clone()])),
            4..=5 => self.somebody(Act::Systemctl("start", vec![unit.clone()])),
            6 => self.somebody(Act::Systemctl("restart", vec![unit.clone()])),
            7 => self.somebody(Act::Kill(unit.clone())),
            8..=9 => {
                let verb = self.random.of(&["stop", "restart", "restart", "start"]);
                let units = self.several(unit);
                self.somebody(Act::Systemctl(verb, units));
            }
            10..=11 => self.somebody_freezes(unit),
            12..=13 => self.somebody_breaks_a_condition(unit),
            14 => {
                if self.random.percent(70) {
                    self.somebody(Act::Systemctl("stop", vec![unit.clone()]));
                }
                self.machine.mask(unit.as_str());
                self.lasting(Fault::Masked(unit.clone()), 20, 14_400);
            }
            15 => {
                self.machine.systemd.set_removed(unit, true);
                self.lasting(Fault::Gone(unit.clone()), 20, 14_400);
            }
            _ => {
                let reload = if self.random.percent(50) { "reload" } else { "restart" };
                self.somebody(Act::Systemctl(reload, vec![unit.clone()]));
            }
        }
    }

    fn somebody_freezes(&mut self, unit: &UnitName) {
        if self.machine.is_up(unit.as_str()) && self.machine.systemd.job_on(unit).is_none() {
            self.machine.freeze(unit.as_str());
            self.lasting(Fault::Frozen(unit.clone()), 20, 14_400);
        }
    }

    fn somebody_breaks_a_condition(&mut self, unit: &UnitName) {
        let has_condition =
            self.plan.units.iter().any(|plan| plan.name == *unit && plan.file.condition.is_some());
        if has_condition {
            self.machine.set_condition(unit.as_str(), false);
            if self.random.percent(50) {
                self.somebody(Act::Systemctl("restart", vec![unit.clone()]));
            }
            self.lasting(Fault::Condition(unit.clone()), 20, 14_400);
        }
    }

    /// The unit and others, most of which depend on it or which it depends on.
    fn several(&mut self, unit: &UnitName) -> Vec<UnitName> {
        let mut units = vec![unit.clone()];
        for plan in self.plan.units.clone() {
            let own = self.plan.units.iter().any(|own| {
                own.name == *unit && (own.requires.contains(&plan.name) || own.wants.contains(&plan.name))
            });
            let related = own || plan.requires.contains(unit) || plan.wants.contains(unit);
            let percent = if related { 70 } else { 5 };
            if plan.name != *unit && self.random.percent(percent) {
                units.push(plan.name);
            }
        }
        if self.random.percent(50) {
            units.reverse();
        }
        units
    }

    /// While a job of ours is under way on a unit, or it is held, an operator has other plans with it or with another.
    pub fn somebody_interferes(&mut self, unit: &UnitName, percent: u64) {
        if self.quiet || !self.random.percent(percent) {
            return;
        }
        let after =
            if self.random.percent(80) { self.random.millis(1, 3000) } else { self.random.secs(1, 60) };
        let unit = if self.random.percent(75) {
            unit.clone()
        } else {
            let others = self.several(unit);
            self.random.of(&others)
        };
        let act = match self.random.below(20) {
            0..=10 => Act::Systemctl("stop", vec![unit]),
            11..=12 => Act::Systemctl("restart", vec![unit]),
            13 => Act::Systemctl("start", vec![unit]),
            14 => Act::Kill(unit),
            15 => Act::Systemctl("stop", self.several(&unit)),
            16 => Act::Systemctl("restart", self.several(&unit)),
            17 => Act::Hold(unit),
            _ => Act::Reload,
        };
        self.later(after, Coming::Person(act));
    }

    /// `stealthctl hold`, by one of the unit's names.
    pub fn somebody_holds(&mut self, unit: UnitName) {
        if self.random.percent(15) && self.post.is_safe() {
            // All leases are gone: the store was lost.
            self.daemon_stops(Duration::from_secs(1));
            self.machine.lose_leases();
            return;
        }
        let lasting = self.random.heavy(10, 7200);
        let other = self.random.percent(50);
        let mut names =
            self.plan.checks.iter().filter(|check| is_of(check, &unit)).flat_map(|check| &check.unit);
        let name = if other { names.next_back() } else { names.next() }.cloned().unwrap_or(unit);
        let id = self.machine.hold(name.as_str(), lasting.as_secs());
        self.attend();
        if self.random.percent(10) {
            self.settle();
            self.lease_closes(&HoldId(id.as_str().into()), HowEnded::Released);
        }
    }

    /// The configuration is edited, and read again. (A daemon that is killed over it is another matter.)
    pub fn somebody_reloads(&mut self) {
        if !self.machine.is_daemon_up() || self.crash.is_some() {
            return;
        }
        self.attend();
        self.settle();
        if !self.machine.is_daemon_up() {
            return;
        }
        let before = self.plan.checks.clone();
        for _ in 0..self.random.below(3) {
            self.edit_a_check();
        }
        for check in &before {
            self.former.insert(check.name.clone(), check.clone());
        }
        self.note(|| "the configuration is read again".to_owned());
        self.rules_reconfigures();
        self.machine.reload_checks(self.plan.checks.clone());
        self.attend();
        self.settle();
        self.rules_reconfigured(&before);
    }

    fn edit_a_check(&mut self) {
        let n = self.random.below(self.plan.checks.len());
        let unit = self.some_unit();
        let job = self.plan.checks[n].probe.job().is_some();
        let plain =
            self.plan.units.iter().any(|plan| plan.name == unit && plan.job.is_none() && !plan.triggered);
        match self.random.below(5) {
            // Renamed.
            0..=1 => {
                let name = &self.plan.checks[n].name;
                let (stem, version) = name.as_str().split_once(".r").unwrap_or((name.as_str(), "0"));
                let version: u32 = version.parse().unwrap_or(0);
                let name = CheckName::new(&format!("{stem}.r{}", version + 1)).unwrap();
                self.plan.checks[n].name = name;
            }
            2 if self.plan.checks.len() > 1 => drop(self.plan.checks.remove(n)),
            // Pointed to another unit.
            3 if !job && self.plan.checks[n].unit.is_some() && plain => {
                self.plan.checks[n].unit = Some(unit);
            }
            _ => {
                let recovery = crate::config::recovery(&mut self.random, job);
                if self.plan.checks[n].unit.is_some() {
                    self.plan.checks[n].recovery = recovery;
                }
            }
        }
    }

    pub fn somebody_pauses(&mut self) {
        let check = self.some_check();
        match self.random.below(10) {
            0..=5 => {
                let lasting = self.random.heavy(10, 86_400);
                self.machine.pause(check.as_str(), lasting.as_secs());
            }
            6 => {
                // Most of them, for some work on the machine.
                let (share, lasting) = (self.random.between(55, 100), self.random.heavy(60, 14_400));
                self.note(|| format!("{share}% of the checks are paused"));
                for check in self.plan.checks.clone() {
                    if self.random.percent(share) {
                        self.machine.pause(check.name.as_str(), lasting.as_secs());
                    }
                }
            }
            _ => self.machine.resume(check.as_str()),
        }
    }

    /// A unit that conflicts with this one is started, by a timer or by somebody.
    pub fn something_displaces(&mut self, unit: &UnitName) {
        let lasting = self.random.heavy(5, 2 * 3600);
        let back = self.random.percent(70);
        let rival = rival_of(unit);
        let has_rival = self.plan.units.iter().any(|plan| plan.name == *unit && plan.rival);
        if !has_rival || !self.machine.systemd.is_down(&rival) {
            return;
        }
        let name = unit.clone();
        self.machine.edit(rival.as_str(), |file| {
            file.start_takes = lasting;
            file.on_success = if back { vec![name] } else { vec![] };
            file.on_failure.clone_from(&file.on_success);
        });
        self.machine.start(rival.as_str());
    }

    /// A client connects to the unit's socket, and another will.
    pub fn somebody_connects(&mut self, unit: UnitName) {
        self.machine.connect(stem(&unit));
        let next = self.random.heavy(60, 14_400);
        self.later(next, Coming::Connects(unit));
    }

    /// A transient unit that has gone is made again some time.
    pub fn somebody_makes_transient_units_again(&mut self) {
        for plan in self.plan.units.clone() {
            if plan.file.transient && self.machine.systemd.is_gone(&unit_name(plan.name.as_str())) {
                self.somebody(Act::RunTransient(plan.name));
            }
        }
    }
}
